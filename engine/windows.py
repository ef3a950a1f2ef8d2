"""Windows: rules that put a time into panes, intervals that include their start and not their end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..storage import limits
from ..storage.errors import ProgrammingError

Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """Panes of `size` that start every `slide`, counted from 1970-01-01 plus `offset`, before it too.

    Shape: `slide` is `size` for 'tumble'; for 'hop' at most `size`, which need not be a multiple of it.
    Units: microseconds.

    >>> Window("hop", size=10, slide=5).panes(np.array([12]))[1].tolist()
    [5, 10]
    """

    kind: Literal["tumble", "hop"]
    size: int
    slide: int
    offset: int = 0

    def __post_init__(self) -> None:
        assert 0 < self.slide <= self.size, "a window needs 0 < slide <= size"
        assert self.kind == "hop" or self.slide == self.size, "TUMBLE has one pane at a time"
        if self.size > self.slide * limits.PANES_PER_ROW_MAX:
            raise ProgrammingError(
                f"cannot put a row into {-(-self.size // self.slide):,} windows",
                detail=f"A row belongs to size / slide windows, at most {limits.PANES_PER_ROW_MAX:,}.",
                hint="Take a larger slide.",
            )

    def last_start(self, times: Times) -> Times:
        """The start of the latest pane that holds each time, or would if panes had no gaps."""
        starts: Times = times - (times - self.offset) % self.slide
        return starts

    def first_end(self, times: Times) -> Times:
        """The end of the earliest pane that holds each time."""
        last = self.last_start(times)
        return last - (last + self.size - times - 1) // self.slide * self.slide + self.size

    def panes(self, times: Times) -> tuple[npt.NDArray[np.int64], Times]:
        """Every pair of a row and the start of a pane that holds its time; rows ascend, and in each its panes."""
        last = self.last_start(times)
        if self.slide == self.size:
            return np.arange(len(times)), last
        counts = (last + self.size - times - 1) // self.slide + 1
        rows = np.repeat(np.arange(len(times)), counts)
        earlier = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(rows))  # panes from here to the last
        return rows, last[rows] - earlier * self.slide
