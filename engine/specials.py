"""How many NaN and infinities each slot holds beside its finite floats, and what they make of a sum or a mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .delta import Weights
from .slot_array import Mask, SlotArray, Slots, where

Floats = npt.NDArray[np.float64]


class Specials:
    """Counts of NaN, +infinity and -infinity by slot.

    State: nothing until the first of them comes, then 24 bytes a slot.
    """

    def __init__(self) -> None:
        self._counts: list[SlotArray] = []
        self._size = 0

    def reserve(self, size: int) -> None:
        """Make room for slots below `size`."""
        self._size = size
        for count in self._counts:
            count.reserve(size)

    def take(self, slots: Slots, floats: Floats, weights: Weights | None) -> Mask | None:
        """Count those among `floats`; which of these are finite, or None if all are."""
        finite: Mask = np.isfinite(floats)
        if finite.all():
            return None
        if not self._counts:
            self._counts = [SlotArray(np.int64) for _ in range(3)]
            self.reserve(self._size)
        masks = (np.isnan(floats), np.isposinf(floats), np.isneginf(floats))
        for count, mask in zip(self._counts, masks, strict=True):
            rows = where(mask)
            count.add(slots[rows], 1 if weights is None else weights[rows])
        return finite

    def absorb(self, slots: Slots, other: Specials, sources: Slots) -> None:
        """Add what slot `sources[i]` of `other` holds to `slots[i]`."""
        if other._counts and not self._counts:
            self._counts = [SlotArray(np.int64) for _ in range(3)]
            self.reserve(self._size)
        for count, added in zip(self._counts, other._counts, strict=False):
            count.add(slots, added.values[sources])

    def added_to(self, floats: Floats, slots: Slots) -> Floats:
        """Sums or means of the finite floats of `slots`, made those of all floats."""
        if not self._counts:
            return floats
        nans, ups, downs = (count.values[slots] > 0 for count in self._counts)
        floats = np.where(ups, np.inf, np.where(downs, -np.inf, floats))
        return np.where(nans | ups & downs, np.nan, floats)

    def held_by(self, slots: Slots) -> Mask:
        """Which of `slots` hold one."""
        if not self._counts:
            return np.zeros(len(slots), np.bool_)
        nans, ups, downs = (count.values[slots] > 0 for count in self._counts)
        held: Mask = nans | ups | downs
        return held

    def keep(self, slots: Slots) -> None:
        """Slot `slots[i]` becomes slot i; all others are gone."""
        for count in self._counts:
            count.keep(slots)

    @property
    def arrays(self) -> list[SlotArray]:
        """The three counts, or nothing, for a snapshot."""
        return self._counts

    def load(self, columns: list[npt.NDArray[np.int64]]) -> None:
        """Become the counts that `columns`, three or none, were taken of."""
        self._counts = [SlotArray(np.int64) for _ in columns]
        for count, values in zip(self._counts, columns, strict=True):
            count.load(values)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return sum(count.bytes for count in self._counts)
