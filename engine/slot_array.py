"""NumPy columns addressed by slot: they grow by doubling, start at zero and shrink to the slots that are kept."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..storage.memory import current
from .copying import Copying

Slots = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

LARGE_PIECE = 1 << 18  # rows or slots gone through at once, where there may be many
_SLOTS_MIN = 64
_PIECE = 1 << 20  # slots moved at once
_COPIED_AT_ONCE = 1 << 16  # bytes that are copied sooner than others are told of a copy


class SlotArray:
    """One value per slot; a slot that nobody wrote holds `start`.

    Read from `values`, and write by the methods here: a copy may be under way of what it held at a checkpoint.
    With `appended` a slot is written once only, after all slots before it.
    Shape: `values` has room for more than the slots in use, so index it by slots and never take its length.
    """

    def __init__(self, dtype: npt.DTypeLike, start: object = 0, *, appended: bool = False) -> None:
        self.start = start
        self.appended = appended
        self.frozen = False  # nobody writes to it any more but who copies it from another
        self.values: npt.NDArray[Any] = np.full(_SLOTS_MIN, start, dtype)
        self._end = _SLOTS_MIN  # nobody has written from here on
        self._copying: weakref.ref[Copying] | None = None

    def __setitem__(self, slots: Slots | slice, values: object) -> None:
        """Write `values` to these slots."""
        self.touch(slots)
        self.values[slots] = values

    def add(self, slots: Slots, amounts: npt.ArrayLike) -> None:
        """Add `amounts` to these slots, each as often as it is named."""
        self.touch(slots)
        np.add.at(self.values, slots, amounts)

    def apply(self, function: np.ufunc, slots: Slots, others: npt.ArrayLike) -> None:
        """Slot by slot `function` of what it holds and another value, for each time that it is named."""
        self.touch(slots)
        function.at(self.values, slots, others)

    def touch(self, slots: Slots | slice) -> None:
        """To be called before what these slots hold is written over in `values` itself."""
        if self._copying is not None:
            copying = self._copying()
            if copying is None or not copying.save(slots):
                self._copying = None

    def reserve(self, size: int) -> None:
        """Make room for slots below `size`, which alone may be written."""
        self._end = max(self._end, size)
        room = len(self.values)
        if size > room:
            self._become(current().grown(self.values, size, self.start))

    def keep(self, slots: Slots) -> None:
        """Slot `slots[i]` becomes slot i; all others are gone."""
        self._end = max(_SLOTS_MIN, len(slots))
        kept = current().array(max(_SLOTS_MIN, len(slots)), self.values.dtype, self.start)
        for start in range(0, len(slots), _PIECE):
            piece = slots[start : start + _PIECE]
            kept[start : start + len(piece)] = self.values[piece]
        self._become(kept)

    def load(self, values: npt.NDArray[Any], *, grows: bool = True) -> None:
        """Slots from 0 on become `values`, which do not change; all others are gone. Without `grows` none will come."""
        self._end = max(_SLOTS_MIN, len(values))
        memory = current()
        loaded = memory.adopted(values, grows=grows) if values.dtype == self.values.dtype else None
        if loaded is None:
            loaded = memory.array(max(_SLOTS_MIN, len(values)), self.values.dtype, self.start)
            loaded[: len(values)] = values
        self._become(loaded)

    def copied(self, size: int) -> npt.NDArray[Any]:
        """What the slots below `size` hold, which does not change later."""
        return self.values[:size] if self.frozen else current().copied(self.values[:size])

    def freeze(self) -> tuple[SlotArray, Copying | None]:
        """Another one, that holds what this one holds now; what has to run first, if any, and then be its `values`."""
        twin = object.__new__(SlotArray)
        twin.start, twin.appended, twin.frozen = self.start, self.appended, True
        twin._end, twin._copying = self._end, None
        copying = None if self._copying is None else self._copying()
        if copying is not None:
            copying.run()
        if self.appended:
            twin.values = self.values[: self._end]
        elif self._end * self.values.itemsize <= _COPIED_AT_ONCE:
            twin.values = self.values[: self._end].copy()
        else:
            copying = Copying(self.values, self._end)
            self._copying = weakref.ref(copying)
            return twin, copying
        return twin, None

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
        self._last[slots] = rows
        return np.sort(slots[where(self._last.values[slots] == rows)])

    def freeze(self) -> tuple[Distinct, None]:
        """Another one: it keeps nothing from one array to the next."""
        return Distinct(), None

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


def pieces(slots: Slots | range) -> Iterator[Slots]:
    """The same slots, so many at once that what is made of them takes little memory."""
    for start in range(0, len(slots), LARGE_PIECE):
        piece = slots[start : start + LARGE_PIECE]
        yield np.arange(piece.start, piece.stop) if isinstance(piece, range) else piece
