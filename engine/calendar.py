"""Calendar windows: panes of days, months and years as the clocks of a place show them, whatever their length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from .windows import Cumulate, Hop, Numbers, Times, Window

DAY_US = 86_400_000_000
_SPAN_MAX = 1_024  # units between the first time and the last; more are not looked up edge by edge
_NEVER = 1 << 62
CYCLE_US = 146_097 * DAY_US  # 400 years, after which the Gregorian calendar and the rules of clocks repeat


@dataclass(frozen=True)
class Zone:
    """The clocks of a place: from `starts[i]` on, up to the next, they are `offsets[i]` ahead of UTC.

    After `end` they go on as in the 400 years before it, for ever. Units: microseconds.
    """

    name: str
    starts: npt.NDArray[np.int64] = field(compare=False)
    offsets: npt.NDArray[np.int64] = field(compare=False)
    end: int = field(compare=False)

    def local(self, times: Times) -> Times:
        """What the clocks show at each time."""
        known = self._known(times)
        local: Times = times + self.offsets[np.searchsorted(self.starts, known, side="right") - 1]
        return local

    def first_times(self, local: Times) -> Times:
        """When the clocks first show `local` or more: the first hour of two, the end of one left out."""
        known = self._known(local)
        shown = np.append(self.starts[1:], _NEVER) + self.offsets  # up to where each stretch goes on the clocks
        place = np.searchsorted(np.maximum.accumulate(shown), known, side="right")
        times: Times = np.maximum(self.starts[place], known - self.offsets[place]) + (local - known)
        return times

    def _known(self, times: Times) -> Times:
        """The times, by whole cycles earlier where they are after `end`."""
        after = times >= self.end
        if not after.any():
            return times
        known: Times = np.where(after, (times - self.end) % CYCLE_US + self.end - CYCLE_US, times)
        return known


@dataclass(frozen=True)
class Grid:
    """Time cut at each midnight, or at that of the first of each month, and `shift` later on the clocks of `zone`.

    Shape: unit n begins n days or months after 1970-01-01; without a zone the clocks are those of UTC.
    """

    unit: Literal["day", "month"]
    zone: Zone | None = None
    shift: int = 0

    def times(self, units: Numbers) -> Times:
        """When each unit begins."""
        begin = units * DAY_US if self.unit == "day" else units.astype("M8[M]").astype("M8[us]").astype(np.int64)
        return begin + self.shift if self.zone is None else self.zone.first_times(begin + self.shift)

    def units(self, times: Times) -> Numbers:
        """The unit that each time is in."""
        if not len(times):
            return times
        first, last = self._units(np.array([times.min(), times.max()])).tolist()
        if first == last:
            return np.full(len(times), first)
        if last - first > _SPAN_MAX:
            return self._units(times)
        edges = self.times(np.arange(first + 1, last + 1))
        units: Numbers = np.searchsorted(edges, times, side="right") + first
        return units

    def _units(self, times: Times) -> Numbers:
        local = times if self.zone is None else self.zone.local(times)
        local = local - self.shift
        units: Numbers = local // DAY_US
        if self.unit == "month":
            units = units.astype("M8[D]").astype("M8[M]").astype(np.int64)
        # Where clocks went back over midnight they show the day before once more, but it is over.
        return units + (self.times(units + 1) <= times) if self.zone is not None else units


@dataclass(frozen=True)
class Calendar(Window):
    """The panes of `rule`, whose lengths are numbers of units of `grid`.

    >>> months = Calendar(Hop(size=3, slide=3), Grid("month"))
    >>> months.starts(months.last_numbers(np.array([0]))).astype("M8[us]").tolist()
    [datetime.datetime(1970, 1, 1, 0, 0)]
    """

    rule: Hop | Cumulate
    grid: Grid

    @property
    def overlaps(self) -> bool:
        return self.rule.overlaps

    @property
    def starts_differ(self) -> bool:
        return self.rule.starts_differ

    def first_numbers(self, times: Times) -> Numbers:
        return self.rule.first_numbers(self.grid.units(times))

    def last_numbers(self, times: Times) -> Numbers:
        return self.rule.last_numbers(self.grid.units(times))

    def starts(self, numbers: Numbers) -> Times:
        return self.grid.times(self.rule.starts(numbers))

    def ends(self, numbers: Numbers) -> Times:
        return self.grid.times(self.rule.ends(numbers))

    def ended(self, watermark: int) -> int:
        return self.rule.ended(_unit(self.grid, watermark))

    def slices(self, times: Times) -> Times:
        return self.grid.times(self.rule.slices(self.grid.units(times)))


@dataclass(frozen=True)
class ByDay(Window):
    """Panes that start every `months` months, counted from 1970 plus `offset` months, and end after each of their days.

    Shape: pane n is the one that ends with day n of `days`, whose edges include those of `grid`.
    """

    months: int
    offset: int
    days: Grid
    grid: Grid

    @property
    def overlaps(self) -> bool:
        return True

    @property
    def starts_differ(self) -> bool:
        return False

    def first_numbers(self, times: Times) -> Numbers:
        return self.days.units(times)

    def last_numbers(self, times: Times) -> Numbers:
        following = self._periods(times) + self.months
        return self.days.units(self.grid.times(following)) - 1

    def starts(self, numbers: Numbers) -> Times:
        return self.grid.times(self._periods(self.days.times(numbers)))

    def ends(self, numbers: Numbers) -> Times:
        return self.days.times(numbers + 1)

    def ended(self, watermark: int) -> int:
        return _unit(self.days, watermark) - 1

    def slices(self, times: Times) -> Times:
        return self.days.times(self.days.units(times))

    def _periods(self, times: Times) -> Numbers:
        """The month that each time's panes start with."""
        months = self.grid.units(times)
        return months - (months - self.offset) % self.months


def _unit(grid: Grid, time: int) -> int:
    """The unit of one time, or of the first or last that is sure to be in one."""
    return int(grid.units(np.array([min(max(time, -_NEVER), _NEVER)]))[0])
