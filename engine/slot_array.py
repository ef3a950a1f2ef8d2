"""NumPy columns addressed by slot: they grow by doubling, start at zero and shrink to the slots that are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Slots = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_SLOTS_MIN = 64


class SlotArray:
    """One value per slot; a slot that nobody wrote holds `start`.

    Shape: `values` has room for more than the slots in use, so index it by slots and never take its length.
    """

    def __init__(self, dtype: npt.DTypeLike, start: object = 0) -> None:
        self.start = start
        self.values: npt.NDArray[Any] = np.full(_SLOTS_MIN, start, dtype)

    def reserve(self, size: int) -> None:
        """Make room for slots below `size`."""
        room = len(self.values)
        if size > room:
            grown = np.empty(max(size, 2 * room), self.values.dtype)
            grown[:room] = self.values
            grown[room:] = self.start
            self.values = grown

    def keep(self, slots: Slots) -> None:
        """Slot `slots[i]` becomes slot i; all others are gone."""
        kept = self.values[slots]
        self.values = np.full(max(_SLOTS_MIN, len(slots)), self.start, self.values.dtype)
        self.values[: len(slots)] = kept

    def load(self, values: npt.NDArray[Any]) -> None:
        """Slots from 0 on become `values`; all others are gone."""
        self.values = np.full(max(_SLOTS_MIN, len(values)), self.start, self.values.dtype)
        self.values[: len(values)] = values

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return int(self.values.nbytes)


def distinct(slots: Slots, size: int) -> Slots:
    """The slots that occur in `slots`, each once, in ascending order; all are below `size`."""
    if size <= 64 * len(slots):
        seen = np.zeros(size, np.bool_)
        seen[slots] = True
        return np.flatnonzero(seen)
    if len(slots) < 2:
        return slots
    ordered = np.sort(slots)
    first = np.empty(len(ordered), np.bool_)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]
