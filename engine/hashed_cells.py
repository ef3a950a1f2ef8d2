"""A hash table of slots: open addressing with double hashing, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..storage.hashing import Hashes
from .key_columns import KeyColumn, Lookup, Rows
from .slot_array import Mask, SlotArray, Slots, where

FREE = -1
_DELETED = -2
_CELLS_MIN = 256
_STEP_BITS = np.uint64(0xFFFF)
_ODD = np.uint64(1)


class HashedCells:
    """Where the slot of each key is found by the key's hash; what a slot's key is, `columns` know.

    State: 8 bytes of hash a slot, and 8 to 24 bytes of cells a key.
    Holds: equal hashes prove nothing, keys are compared; at least half of the cells are free.
    From: double hashing, Knuth, The Art of Computer Programming 3, section 6.4, algorithm D. All rows probe once, those
    that met a stranger go on and probe again; each by a step of its own, so that few have to go far.
    """

    def __init__(self, columns: Sequence[KeyColumn], present: Slots, hashes: Hashes, room: int) -> None:
        """A table fit for `room` keys, with the slots `present` in it, whose hashes are `hashes`."""
        self._columns = columns
        self._ends: Rows = np.zeros(0, np.int64)  # where the search for each row of the last lookup ended
        self._exact = all(column.exact for column in columns)
        self._hashes = SlotArray(np.uint64)
        self._hashes.reserve(int(present.max(initial=-1)) + 1)
        self._hashes.values[present] = hashes
        bits = max(_CELLS_MIN, 3 * room).bit_length()
        self._cells: npt.NDArray[np.int32] = np.full(1 << bits, FREE, np.int32)
        self._shift = np.uint64(64 - bits)
        self._occupied = len(present)
        slots = present.astype(np.int32)
        cells = self._home(hashes)
        while len(slots):
            free = where(self._cells[cells] == FREE)
            self._cells[cells[free]] = slots[free]
            going_on = where(self._cells[cells] != slots)
            slots, hashes = slots[going_on], hashes[going_on]
            cells = self._next(cells[going_on], hashes)

    def has_room(self, keys: int) -> bool:
        """Whether `keys` more can be inserted."""
        return 2 * (self._occupied + keys) <= len(self._cells)

    def find(self, lookup: Lookup) -> Slots:
        """The slot of each row's key; -1 where it is not present."""
        hashes = lookup.hashes
        cells = self._ends = self._home(hashes)
        slots = self._cells[cells].astype(np.int64)
        pending = where(~self._same(hashes, slots, None))
        met = slots[pending]
        slots[pending] = FREE
        pending = pending[where(met != FREE)]
        cells = cells[pending]
        while len(pending):
            cells = self._next(cells, hashes[pending])
            met = self._cells[cells].astype(np.int64)
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
        hashes = lookup.hashes
        cells = self._ends[rows]
        while len(rows):
            free = where(self._cells[cells] == FREE)
            winners = free[claim(self._cells, cells[free])]
            given = give(rows[winners])
            self._hashes.reserve(int(given[-1]) + 1 if len(given) else 0)
            self._hashes.values[given] = hashes[rows[winners]]
            self._cells[cells[winners]] = given
            self._occupied += len(winners)
            slots[rows[winners]] = given
            losers = np.ones(len(rows), np.bool_)
            losers[winners] = False
            rows, cells = rows[losers], cells[losers]
            met = self._cells[cells].astype(np.int64)
            same = self._same(hashes, met, rows)
            found = where(same)
            slots[rows[found]] = met[found]
            going_on = where(~same)
            rows = rows[going_on]
            cells = self._next(cells[going_on], hashes[rows])

    def delete(self, slots: Slots) -> None:
        """Take out `slots`, which are in and named once each."""
        hashes = self._hashes.values[slots]
        cells = self._home(hashes)
        while len(slots):
            here = self._cells[cells] == slots
            self._cells[cells[where(here)]] = _DELETED
            going_on = where(~here)
            slots, hashes = slots[going_on], hashes[going_on]
            cells = self._next(cells[going_on], hashes)

    def present(self) -> Slots:
        """All slots that are in, in ascending order."""
        return np.sort(self._cells[self._cells >= 0]).astype(np.int64)

    def hashes(self, slots: Slots) -> Hashes:
        """The hashes of `slots`."""
        hashes: Hashes = self._hashes.values[slots]
        return hashes

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._cells.nbytes + self._hashes.bytes

    def _home(self, hashes: Hashes) -> Rows:
        """The cell where the search for a hash begins: its leading bits."""
        cells: Rows = (hashes >> self._shift).view(np.int64)
        return cells

    def _next(self, cells: Rows, hashes: Hashes) -> Rows:
        """The cell after each of `cells` in the search for a hash: further by its last bits, an odd number."""
        steps = (hashes & _STEP_BITS | _ODD).view(np.int64)
        following: Rows = (cells + steps) & (len(self._cells) - 1)
        return following

    def _same(self, hashes: Hashes, slots: Slots, rows: Rows | None) -> Mask:
        """Where `slots[i]` is a slot and holds the key of row `rows[i]`."""
        same: Mask = slots >= 0
        if self._exact:
            for column in self._columns:
                same &= column.equal(slots, rows)
            return same
        same &= self._hashes.values[slots] == (hashes if rows is None else hashes[rows])
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


def claim(cells: npt.NDArray[np.int32], wanted: Rows) -> Rows:
    """The first to want each cell, as places in `wanted`; the cells then hold numbers below -2, to be written over."""
    claims = np.arange(-3, -3 - len(wanted), -1, dtype=np.int32)
    cells[wanted[::-1]] = claims[::-1]  # of all who write a cell the last stays
    return where(cells[wanted] == claims)
