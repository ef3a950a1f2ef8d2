"""Windows: rules that put a time into panes, intervals that include their start and not their end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..storage import limits
from ..storage.errors import ProgrammingError

Times = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int64]  # of panes: pane n starts at n * slide + offset


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

    def panes(self, times: Times) -> tuple[npt.NDArray[np.int64], Times]:
        """Every pair of a row and the start of a pane that holds its time; rows ascend, and in each its panes."""
        rows, numbers = self.pane_numbers(times)
        return rows, self.starts(numbers)

    def pane_numbers(self, times: Times) -> tuple[npt.NDArray[np.int64], Numbers]:
        """As `panes`, with the number of each pane."""
        last = self.last_numbers(times)
        if self.slide == self.size:
            return np.arange(len(times)), last
        counts = self._counts(times, last)
        rows = np.repeat(np.arange(len(times)), counts)
        earlier = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(rows))  # panes from here to the last
        return rows, last[rows] - earlier

    def last_numbers(self, times: Times) -> Numbers:
        """The number of the latest pane that holds each time."""
        since = times - self.offset if self.offset else times
        if len(since):
            first, last = int(since.min()) // self.slide, int(since.max()) // self.slide
            if first == last:
                return np.full(len(since), first)
        return since // self.slide

    def starts(self, numbers: Numbers) -> Times:
        """The start of each pane."""
        return numbers * self.slide + self.offset

    def ended(self, watermark: int) -> int:
        """The number of the latest pane that ends at or before `watermark`."""
        return (watermark - self.size - self.offset) // self.slide

    def first_end(self, times: Times) -> Times:
        """The end of the earliest pane that holds each time."""
        last = self.last_numbers(times)
        return self.starts(last - self._counts(times, last) + 1) + self.size

    def slices(self, times: Times) -> Times:
        """The start of the slice that holds each time: two times in one slice are in the same panes."""
        length = math.gcd(self.size, self.slide)
        slices: Times = (times - self.offset) // length * length + self.offset
        return slices

    def _counts(self, times: Times, last: Numbers) -> npt.NDArray[np.int64]:
        """How many panes hold each time, of which the latest is `last`."""
        counts: npt.NDArray[np.int64] = (self.starts(last) + self.size - times - 1) // self.slide + 1
        return counts
