"""NumPy columns addressed by slot: they grow by doubling, start at zero and shrink to the slots that are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..storage.memory import current

Slots = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_SLOTS_MIN = 64
_PIECE = 1 << 20  # slots moved at once


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
            self._become(current().grown(self.values, size, self.start))

    def keep(self, slots: Slots) -> None:
        """Slot `slots[i]` becomes slot i; all others are gone."""
        kept = current().array(max(_SLOTS_MIN, len(slots)), self.values.dtype, self.start)
        for start in range(0, len(slots), _PIECE):
            piece = slots[start : start + _PIECE]
            kept[start : start + len(piece)] = self.values[piece]
        self._become(kept)

    def load(self, values: npt.NDArray[Any]) -> None:
        """Slots from 0 on become `values`, which do not change; all others are gone."""
        memory = current()
        loaded = memory.adopted(values) if values.dtype == self.values.dtype else None
        if loaded is None:
            loaded = memory.array(max(_SLOTS_MIN, len(values)), self.values.dtype, self.start)
            loaded[: len(values)] = values
        self._become(loaded)

    def move(self) -> None:
        """Lie where there is room now."""
        self.values = current().moved(self.values)

    def _become(self, values: npt.NDArray[Any]) -> None:
        self.values = values
        current().watch(self)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return int(self.values.nbytes)


class Distinct:
    """Finds which slots occur in an array of them, at a cost that does not depend on how many slots there are.

    In ascending order, and so in the same one whether those that are not in use were taken out, as a checkpoint does.

    State: 4 bytes a slot.
    """

    def __init__(self) -> None:
        self._last = SlotArray(np.int32)  # the row where a slot was seen last; true while one array is looked at

    def __call__(self, slots: Slots, size: int) -> Slots:
        """The slots that occur in `slots`, all below `size`, each once, in ascending order."""
        if size <= 4 * len(slots):
            return distinct(slots, size)
        self._last.reserve(size)
        rows = np.arange(len(slots), dtype=np.int32)
        self._last.values[slots] = rows
        return np.sort(slots[where(self._last.values[slots] == rows)])

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._last.bytes


def distinct(slots: Slots, size: int) -> Slots:
    """The slots that occur in `slots`, each once, in ascending order; all are below `size`."""
    if size <= 64 * len(slots):
        seen = np.zeros(size, np.bool_)
        seen[slots] = True
        return where(seen)
    if len(slots) < 2:
        return slots
    ordered = np.sort(slots)
    first = np.empty(len(ordered), np.bool_)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def where(mask: Mask) -> npt.NDArray[np.int64]:
    """The places where a one-dimensional mask is True; np.flatnonzero with less ceremony."""
    return mask.nonzero()[0]
