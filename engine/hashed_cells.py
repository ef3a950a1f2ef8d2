"""A hash table of slots: open addressing with double hashing, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..storage.hashing import Hashes
from .key_columns import KeyColumn, Lookup, Rows, hashes_of
from .slot_array import Mask, SlotArray, Slots, pieces, where

FREE = -1
_DELETED = -2
_CLAIM = -3  # and below: of the first, the second, ... of those who want a cell
_CELLS_MIN = 256
_STEP_BITS = np.uint64(0xFFFF)
_ODD = np.uint64(1)


class HashedCells:
    """Where the slot of each key is found by the key's hash; what a slot's key is, `columns` know.

    State: 8 to 24 bytes of cells a key, and 8 bytes of hash a slot where `keeps_hashes`.
    Holds: equal hashes prove nothing, keys are compared; at least half of the cells are free.
    From: double hashing, Knuth, The Art of Computer Programming 3, section 6.4, algorithm D. All rows probe once, those
    that met a stranger go on and probe again; each by a step of its own, so that few have to go far.
    """

    def __init__(
        self, columns: Sequence[KeyColumn], present: Slots | range, hashes: SlotArray | None, room: int
    ) -> None:
        """A table fit for `room` keys, with the slots `present` in it; `hashes`, by slot, are its own from now on."""
        self._columns = columns
        self._ends: Rows = np.zeros(0, np.int64)  # where the search for each row of the last lookup ended
        self._exact = all(column.exact for column in columns)
        self.by_slot = hashes
        self._cells = SlotArray(np.int32, FREE)
        self._resize(1 << max(_CELLS_MIN, 3 * room).bit_length())
        self._cells.reserve(self._size)
        self._occupied = len(present)
        for piece in pieces(present):
            self._enter(piece)

    @classmethod
    def restored(
        cls, columns: Sequence[KeyColumn], hashes: SlotArray | None, cells: npt.NDArray[np.int32], keys: int
    ) -> HashedCells:
        """The table whose `stored` cells these are, when it had so many keys."""
        table = cls(columns, range(0), hashes, room=0)
        table._cells.load(cells, grows=False)
        table._resize(len(cells))
        table._occupied = keys
        return table

    def stored(self) -> npt.NDArray[np.int32]:
        """The cells, for `restored`: where keys are numbered from 0 on, so that none was deleted. Does not change."""
        return self._cells.copied(self._size)

    def _resize(self, size: int) -> None:
        """Go by so many cells: a power of two."""
        self._size = size
        self._shift = np.uint64(64 - (size.bit_length() - 1))

    def _enter(self, present: Slots) -> None:
        slots, hashes = present.astype(np.int32), self._hashes(present)
        table, cells = self._cells.values, self._home(hashes)
        while len(slots):
            free = where(table[cells] == FREE)
            table[cells[free]] = slots[free]
            going_on = where(table[cells] != slots)
            slots, hashes = slots[going_on], hashes[going_on]
            cells = self._next(cells[going_on], hashes)

    def has_room(self, keys: int) -> bool:
        """Whether `keys` more can be inserted."""
        return 2 * (self._occupied + keys) <= self._size

    def find(self, lookup: Lookup) -> Slots:
        """The slot of each row's key; -1 where it is not present."""
        hashes = lookup.hashes
        cells = self._ends = self._home(hashes)
        slots = self._cells.values[cells].astype(np.int64)
        pending = where(~self._same(hashes, slots, None))
        met = slots[pending]
        slots[pending] = FREE
        pending = pending[where(met != FREE)]
        cells = cells[pending]
        while len(pending):
            cells = self._next(cells, hashes[pending])
            met = self._cells.values[cells].astype(np.int64)
            same = self._same(hashes, met, pending)
            found = where(same)
            slots[pending[found]] = met[found]
            self._ends[pending] = cells
            going_on = where(~same & (met != FREE))
            pending, cells = pending[going_on], cells[going_on]
        return slots

    def insert(self, lookup: Lookup, rows: Rows, slots: Slots, give: Callable[[Rows], Slots]) -> None:
        """Put the keys of `rows`, none of them present, into cells, and into `slots` what `give` made their slots.

        Holds: `lookup` is the one that `find` was last called with.
        """
        while len(rows):
            owners, ends = self._claim(lookup.hashes[rows], self._ends[rows])
            first = owners == np.arange(len(rows))
            firsts = where(first)
            new = rows[firsts]
            given = give(new)
            if self.by_slot is not None:
                self.by_slot.reserve(int(given[-1]) + 1)
                self.by_slot[given] = lookup.hashes[new]
            self._cells[ends[firsts]] = given
            self._occupied += len(new)
            if len(firsts) == len(rows):
                slots[rows] = given
                return
            found = np.empty(len(rows), np.int64)
            found[firsts] = given
            slots[rows] = found[owners]
            again = rows[where(~first)]
            rows = again[where(~self._same(lookup.hashes, slots[again], again))]  # strangers of equal hash: one by one

    def _claim(self, hashes: Hashes, cells: Rows) -> tuple[Rows, Rows]:
        """Claim a free cell for each different hash, the search for which begins at `cells`; to be written over.

        The first place of each one's hash, and for those the cell.
        """
        owners = np.arange(len(hashes))
        ends = cells.copy()
        claims = np.arange(_CLAIM, _CLAIM - len(hashes), -1, dtype=np.int32)
        pending, table = owners.copy(), self._cells.values
        while len(pending):
            free = where(table[cells] == FREE)[::-1]
            self._cells[cells[free]] = claims[pending[free]]  # of all who write a cell the last stays
            met = table[cells]
            lost = where(met != claims[pending])
            pending, cells = pending[lost], cells[lost]
            others = _CLAIM - met[lost].astype(np.int64)
            same = (others >= 0) & (hashes[np.maximum(others, 0)] == hashes[pending])
            owners[pending[same]] = others[same]
            going_on = where(~same)
            pending = pending[going_on]
            cells = ends[pending] = self._next(cells[going_on], hashes[pending])
        return owners, ends

    def delete(self, slots: Slots) -> None:
        """Take out `slots`, which are in and named once each."""
        hashes = self._hashes(slots)
        cells = self._home(hashes)
        while len(slots):
            here = self._cells.values[cells] == slots
            self._cells[cells[where(here)]] = _DELETED
            going_on = where(~here)
            slots, hashes = slots[going_on], hashes[going_on]
            cells = self._next(cells[going_on], hashes)

    def present(self) -> Slots:
        """All slots that are in, in ascending order."""
        return np.sort(self._cells.values[self._cells.values >= 0]).astype(np.int64)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._cells.bytes + (0 if self.by_slot is None else self.by_slot.bytes)

    def _hashes(self, slots: Slots) -> Hashes:
        """The hashes of the keys of `slots`."""
        hashes: Hashes = hashes_of(self._columns, slots) if self.by_slot is None else self.by_slot.values[slots]
        return hashes

    def _home(self, hashes: Hashes) -> Rows:
        """The cell where the search for a hash begins: its leading bits."""
        cells: Rows = (hashes >> self._shift).view(np.int64)
        return cells

    def _next(self, cells: Rows, hashes: Hashes) -> Rows:
        """The cell after each of `cells` in the search for a hash: further by its last bits, an odd number."""
        steps = (hashes & _STEP_BITS | _ODD).view(np.int64)
        following: Rows = (cells + steps) & (self._size - 1)
        return following

    def _same(self, hashes: Hashes, slots: Slots, rows: Rows | None) -> Mask:
        """Where `slots[i]` is a slot and holds the key of row `rows[i]`."""
        same: Mask = slots >= 0
        if self._exact and len(self._columns) == 1:
            same &= self._columns[0].equal(slots, rows)
            return same
        assert self.by_slot is not None
        same &= self.by_slot.values[slots] == (hashes if rows is None else hashes[rows])
        if same.all():
            for column in self._columns:
                same &= column.equal(slots, rows)
            return same
        likely = where(same)
        sure = np.ones(len(likely), np.bool_)
        for column in self._columns:
            sure &= column.equal(slots[likely], likely if rows is None else rows[likely])
        same[likely] = sure
        return same


def keeps_hashes(columns: Sequence[KeyColumn]) -> bool:
    """Whether a table of such keys has their hashes by slot: to compare by, or since to make them again takes long."""
    return len(columns) != 1 or not columns[0].hashed_again


def claim(cells: SlotArray, wanted: Rows) -> Rows:
    """The first to want each cell, as places in `wanted`; the cells then hold numbers below -2, to be written over."""
    claims = np.arange(_CLAIM, _CLAIM - len(wanted), -1, dtype=np.int32)
    cells[wanted[::-1]] = claims[::-1]  # of all who write a cell the last stays
    return where(cells.values[wanted] == claims)
