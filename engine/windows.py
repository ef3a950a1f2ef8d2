"""Windows: rules that put a time into panes, intervals that include their start and not their end."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..storage import limits
from ..storage.errors import ProgrammingError

Times = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]  # of panes: a larger number never ends earlier

WINDOW_TIME_US = 1_000  # how long before a pane's end its window_time is, as in Flink


class Rule(ABC):
    """What puts times into windows, of whatever kind. Units: microseconds since 1970-01-01."""

    @abstractmethod
    def overtaken(self, times: Times, watermark: int) -> Mask:
        """Which times come too late, at `watermark`, for a window that holds them or might have."""

    @abstractmethod
    def counted(self, times: Times, watermark: int) -> Mask:
        """Which times are, nonetheless, in a window that is still open at `watermark`."""


@dataclass(frozen=True)
class Moments(Rule):
    """Each moment is over when the watermark is past it: rows behind the watermark take no part at all."""

    def overtaken(self, times: Times, watermark: int) -> Mask:
        overtaken: Mask = times < watermark
        return overtaken

    def counted(self, times: Times, watermark: int) -> Mask:
        return np.zeros(len(times), np.bool_)


class Window(Rule):
    """Panes that are there before any row: numbered in the order of their ends, those of a time in succession."""

    @property
    @abstractmethod
    def overlaps(self) -> bool:
        """Whether a time can be in several panes."""

    @property
    def starts_differ(self) -> bool:
        """Whether no two panes start together, so that its start tells a pane."""
        return True

    @abstractmethod
    def first_numbers(self, times: Times) -> Numbers:
        """The number of the earliest pane that holds each time."""

    @abstractmethod
    def last_numbers(self, times: Times) -> Numbers:
        """The number of the latest pane that holds each time."""

    @abstractmethod
    def starts(self, numbers: Numbers) -> Times:
        """The start of each pane."""

    @abstractmethod
    def ends(self, numbers: Numbers) -> Times:
        """The end of each pane."""

    @abstractmethod
    def ended(self, watermark: int) -> int:
        """The number of the latest pane that ends at or before `watermark`."""

    @abstractmethod
    def slices(self, times: Times) -> Times:
        """A time in the slice that holds each time: two times in one slice are in the same panes."""

    def pane_numbers(self, times: Times) -> tuple[npt.NDArray[np.int64], Numbers]:
        """Every pair of a row and the number of a pane that holds its time; rows ascend, and in each its panes."""
        last = self.last_numbers(times)
        if not self.overlaps:
            return np.arange(len(times)), last
        counts = last - self.first_numbers(times) + 1
        rows = np.repeat(np.arange(len(times)), counts)
        earlier = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(rows))  # panes from here to the last
        return rows, last[rows] - earlier

    def overtaken(self, times: Times, watermark: int) -> Mask:
        return self.first_numbers(times) <= self.ended(watermark)

    def counted(self, times: Times, watermark: int) -> Mask:
        return self.last_numbers(times) > self.ended(watermark)


@dataclass(frozen=True)
class Hop(Window):
    """Panes of `size` that start every `slide`, counted from 1970-01-01 plus `offset`, before it too.

    Shape: pane n starts at n * slide + offset; the slide is at most the size, which need not be a multiple of it.
    Where they are equal it is called TUMBLE.
    Raises: ProgrammingError for more panes per time than limits.PANES_PER_ROW_MAX.

    >>> Hop(size=10, slide=5).starts(Hop(size=10, slide=5).pane_numbers(np.array([12]))[1]).tolist()
    [5, 10]
    """

    size: int
    slide: int
    offset: int = 0

    def __post_init__(self) -> None:
        assert 0 < self.slide <= self.size, "a window needs 0 < slide <= size"
        _limit(-(-self.size // self.slide), "size / slide", "Take a larger slide.")

    @property
    def overlaps(self) -> bool:
        return self.slide != self.size

    def first_numbers(self, times: Times) -> Numbers:
        return _floor(times, self.slide, self.offset + self.size) + 1

    def last_numbers(self, times: Times) -> Numbers:
        return _floor(times, self.slide, self.offset)

    def starts(self, numbers: Numbers) -> Times:
        return numbers * self.slide + self.offset

    def ends(self, numbers: Numbers) -> Times:
        return numbers * self.slide + (self.offset + self.size)

    def ended(self, watermark: int) -> int:
        return (watermark - self.size - self.offset) // self.slide

    def slices(self, times: Times) -> Times:
        length = math.gcd(self.size, self.slide)
        slices: Times = (times - self.offset) // length * length + self.offset
        return slices


def tumble(size: int, offset: int = 0) -> Hop:
    """Panes of `size`, one after the other."""
    return Hop(size, size, offset)


@dataclass(frozen=True)
class Cumulate(Window):
    """Panes that start every `size` and end after one `step`, two, three, up to `size`, which is a multiple of it.

    Shape: pane n is the one that ends at (n + 1) * step + offset.
    Raises: ProgrammingError for more panes per time than limits.PANES_PER_ROW_MAX.
    From: Flink, "Windowing table-valued functions", CUMULATE.

    >>> Cumulate(size=30, step=10).ends(Cumulate(size=30, step=10).pane_numbers(np.array([12]))[1]).tolist()
    [20, 30]
    """

    size: int
    step: int
    offset: int = 0

    def __post_init__(self) -> None:
        assert 0 < self.step <= self.size, "a window needs 0 < step <= size"
        assert self.size % self.step == 0, "a size is a multiple of its step"
        _limit(self._steps, "size / step", "Take a larger step.")

    @property
    def overlaps(self) -> bool:
        return self.step != self.size

    @property
    def starts_differ(self) -> bool:
        return not self.overlaps

    def first_numbers(self, times: Times) -> Numbers:
        return _floor(times, self.step, self.offset)

    def last_numbers(self, times: Times) -> Numbers:
        return _floor(times, self.size, self.offset) * self._steps + (self._steps - 1)

    def starts(self, numbers: Numbers) -> Times:
        starts: Times = numbers // self._steps * self.size + self.offset
        return starts

    def ends(self, numbers: Numbers) -> Times:
        return numbers * self.step + (self.offset + self.step)

    def ended(self, watermark: int) -> int:
        return (watermark - self.offset) // self.step - 1

    def slices(self, times: Times) -> Times:
        return _floor(times, self.step, self.offset) * self.step + self.offset

    @property
    def _steps(self) -> int:
        return self.size // self.step


@dataclass(frozen=True)
class Given(Window):
    """Panes whose ends the rows themselves say, in a column that is `before_end` earlier. Pane n ends at n."""

    before_end: int = 0

    @property
    def overlaps(self) -> bool:
        return False

    def first_numbers(self, times: Times) -> Numbers:
        return times + self.before_end

    def last_numbers(self, times: Times) -> Numbers:
        return times + self.before_end

    def starts(self, numbers: Numbers) -> Times:
        raise AssertionError("what says its end says its start itself")

    def ends(self, numbers: Numbers) -> Times:
        return numbers

    def ended(self, watermark: int) -> int:
        return watermark

    def slices(self, times: Times) -> Times:
        return times


@dataclass(frozen=True)
class Sessions(Rule):
    """Stretches of rows none of which comes more than `gap` after the one before it, that end `gap` after the last.

    Which they are depends on the rows: see operators/session.py. A row behind the watermark may be in an open session,
    and yet be less than the gap away from one that has ended.
    From: Akidau et al., "The Dataflow Model" (VLDB 2015), section 2.2; that equality joins is Flink's TimeWindow.
    """

    gap: int

    def overtaken(self, times: Times, watermark: int) -> Mask:
        overtaken: Mask = times <= watermark
        return overtaken

    def counted(self, times: Times, watermark: int) -> Mask:
        counted: Mask = times + self.gap > watermark
        return counted


def _floor(times: Times, length: int, offset: int) -> Numbers:
    """How many whole lengths lie between `offset` and each time."""
    since = times - offset if offset else times
    if len(since):
        first, last = int(since.min()) // length, int(since.max()) // length
        if first == last:
            return np.full(len(since), first)
    return since // length


def _limit(panes: int, ratio: str, hint: str) -> None:
    if panes > limits.PANES_PER_ROW_MAX:
        raise ProgrammingError(
            f"cannot put a row into {panes:,} windows",
            detail=f"A row belongs to {ratio} windows, at most {limits.PANES_PER_ROW_MAX:,}.",
            hint=hint,
        )
