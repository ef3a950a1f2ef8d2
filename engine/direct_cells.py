"""A table of slots addressed by the keys themselves, where these are integers that lie close together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .hashed_cells import FREE, claim
from .key_columns import Integers, Lookup, Rows
from .slot_array import SlotArray, Slots

_LEAST, _GREATEST = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)

Box = Sequence[tuple[int, int]]  # the least and the greatest value of each key column


class DirectCells:
    """One cell for each combination of integers in `box`: no hash, no probing, and the address proves the key.

    State: 4 bytes for each combination.
    """

    def __init__(self, box: Box) -> None:
        self.box = box
        self._strides = _strides(box)
        self._found: Rows = np.zeros(0, np.int64)
        self._cells = SlotArray(np.int32, FREE)
        self._cells.reserve(box_cells(box))

    @classmethod
    def restored(cls, box: Box, cells: npt.NDArray[np.int32]) -> DirectCells:
        """The table of this box whose `stored` cells these are."""
        table = cls([(0, 0)] * len(box))
        table.box, table._strides = box, _strides(box)
        table._cells.load(cells, grows=False)
        return table

    def stored(self) -> npt.NDArray[np.int32]:
        """The cells, for `restored`. Does not change."""
        return self._cells.copied(box_cells(self.box))

    def put(self, keys: Integers, slots: Slots) -> None:
        """Each of `keys`, none of which is there, is found at its slot."""
        self._cells[self._addresses(keys)] = slots

    def has_room(self, keys: int) -> bool:
        """Whether `keys` more can be inserted: always, for all in the box have a cell."""
        return True

    def find(self, lookup: Lookup) -> Slots | None:
        """The slot of each row's key, -1 where it is not present; None if a key is outside the box."""
        if lookup.integers is None:
            return None
        for column, (low, high) in zip(lookup.integers, self.box, strict=True):
            if len(column) and (column.min() < low or column.max() > high):
                return None
        self._found = self._addresses(lookup.integers)
        return self._cells.values[self._found].astype(np.int64)

    def insert(self, lookup: Lookup, rows: Rows, slots: Slots, give: Callable[[Rows], Slots]) -> None:
        """Put the keys of `rows`, none of them present, into cells, and into `slots` what `give` made their slots.

        Holds: `lookup` is the one that `find` was last called with.
        """
        cells = self._found[rows]
        winners = claim(self._cells, cells)
        self._cells[cells[winners]] = give(rows[winners])
        slots[rows] = self._cells.values[cells]

    def delete(self, keys: Integers) -> None:
        """Take out `keys`, which are in."""
        self._cells[self._addresses(keys)] = FREE

    def present(self) -> Slots:
        """All slots that are in, in ascending order."""
        return np.sort(self._cells.values[self._cells.values >= 0]).astype(np.int64)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._cells.bytes

    def _addresses(self, keys: Integers) -> Rows:
        addresses: Rows | None = None
        for column, (low, _), stride in zip(keys, self.box, self._strides, strict=True):
            places = np.subtract(column, low, dtype=np.int64)
            if stride != 1:
                places *= stride
            addresses = places if addresses is None else np.add(addresses, places, out=addresses)
        assert addresses is not None
        return addresses


def box_of(keys: Integers) -> Box:
    """The smallest box that holds all rows of `keys`; there is at least one."""
    return [(int(column.min()), int(column.max())) for column in keys]


def box_cells(box: Box) -> int:
    """How many combinations there are."""
    cells = 1
    for low, high in box:
        cells *= high - low + 1
    return cells


def grown_box(old: Box, needed: Box) -> Box:
    """`needed`, with as much room again on every side where it goes beyond `old`: keys that wander seldom leave it."""
    grown = []
    for (old_low, old_high), (low, high) in zip(old, needed, strict=True):
        span = high - low + 1
        low = max(low - span, _LEAST) if low < old_low else low
        high = min(high + span, _GREATEST) if high > old_high else high
        grown.append((low, high))
    return grown


def joined_box(left: Box | None, right: Box) -> Box:
    """The smallest box that holds both."""
    if left is None:
        return right
    return [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(left, right, strict=True)]


def _strides(box: Box) -> list[int]:
    """How many cells lie between two neighbours, by column."""
    return [box_cells(box[:place]) for place in range(len(box))]
