"""How far apart the times of two joined rows may be, and so for how long either is needed and where it is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .row_lists import RowIds
from .slot_array import Mask, where
from .windows import Times

Kind = Literal["inner", "left", "right", "full", "semi", "anti"]


@dataclass(frozen=True)
class TimeBound:
    """Of each pair of rows that a join makes: low <= the right row's time - the left row's <= high; None: no bound.

    No row with a time comes or goes once the watermark is `left_settled` or `right_settled` after that time.
    Units: microseconds.
    """

    left: str
    right: str
    low: int | None
    high: int | None
    left_settled: int = 1
    right_settled: int = 1

    def holds(self, left: Times, right: Times) -> Mask:
        """Which pairs of a left and a right time are as far apart as it says."""
        apart = right - left
        if self.low is not None and self.high is not None and self.low <= self.high:
            apart -= self.low  # what is below 0 is a large number without a sign
            both: Mask = apart.view(np.uint64) <= np.uint64(self.high - self.low)
            return both
        near = np.ones(len(apart), np.bool_) if self.low is None else apart >= self.low
        return near if self.high is None else near & (apart <= self.high)

    @property
    def left_needed(self) -> int | None:
        """How far the watermark is past a left row's time when neither it nor its pairs change; None: never."""
        return None if self.high is None else max(self.high + self.right_settled, self.left_settled)

    @property
    def right_needed(self) -> int | None:
        """The same for a right row."""
        return None if self.low is None else max(self.left_settled - self.low, self.right_settled)

    @property
    def kept(self) -> Literal["left", "right"] | None:
        """The side whose rows may have partners at any later time."""
        return "left" if self.left_needed is None else "right" if self.right_needed is None else None

    @property
    def band(self) -> Band | None:
        """Where pairs are found by time; None where they are at any distance, or at one and so by equality."""
        if self.low is None or self.high is None or self.low >= self.high:
            return None
        return Band(self.high - self.low, self.low)


def settled(bounds: Sequence[TimeBound], kind: Kind) -> dict[str, int]:
    """How long after its time, which is of one side and never NULL, a row that a join gives is settled.

    Units: microseconds.
    """
    found: dict[str, int] = {}
    for bound in bounds:
        left, right = (bound.left, bound.left_needed), (bound.right, bound.right_needed)
        for (name, needed), nulls in ((left, ("right", "full")), (right, ("left", "full"))):
            if needed is not None and kind not in nulls:
                found[name] = min(needed, found.get(name, needed))
    return found


@dataclass(frozen=True)
class Band:
    """Buckets of time a little wider than pairs may be apart: the partners of a row are in one of them, or in two.

    A right row is 0 to `width` after the left row's time plus `shift`. Ports: 0 left, 1 right. Units: microseconds.
    From: DeWitt et al., "An Evaluation of Non-Equijoin Algorithms" (VLDB 1991), on band joins.
    """

    width: int
    shift: int

    def buckets(self, times: Times, port: int) -> Times:
        """The bucket that each row is in itself."""
        own: Times = (times + self.shift if port == 0 else times) // (self.width + 1)
        return own

    def opposite(self, times: Times, port: int) -> tuple[RowIds, Times]:
        """Places in `times`, once or twice each, and the buckets of the other side that partners are in."""
        low = times + self.shift if port == 0 else times - self.width
        first, last = low // (self.width + 1), (low + self.width) // (self.width + 1)
        twice = where(last > first)
        return np.concatenate([np.arange(len(times)), twice]), np.concatenate([first, last[twice]])
