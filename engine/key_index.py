"""Keys to dense slots: an open hash table of slots over slot-addressed key columns, probed a whole batch at a time.

Equality of the real keys is always verified: a 64-bit hash is a filter, never a proof.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.hashing import Hashes, hash_columns
from .key_columns import KeyColumn, Rows, key_column
from .operator import Snapshot
from .slot_array import Mask, SlotArray, Slots

_FREE = -1
_DELETED = -2
_CELLS_MIN = 256
_INSERTED_MIN = 2048  # a big batch of new keys goes in piece by piece, so that its repeated keys do not swell the table


class KeyIndex:
    """A set of keys, each with a slot: 0, 1, 2, ... in the order of their coming.

    State: per key its columns, 8 bytes of hash, 8 to 16 bytes of table.
    Holds: a slot keeps its key until `delete`, and its number until `compact`.
    From: linear probing, Knuth, The Art of Computer Programming 3, section 6.4, algorithm L, made to work on arrays:
    all rows probe once, those that met a stranger move on one cell and probe again.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._columns: list[KeyColumn] = [key_column(field.type) for field in schema]
        self._exact = all(column.exact for column in self._columns)
        self._hashes = SlotArray(np.uint64)
        self._cells: npt.NDArray[np.int32] = np.full(_CELLS_MIN, _FREE, np.int32)
        self._shift = np.uint64(64 - _CELLS_MIN.bit_length() + 1)
        self._occupied = 0  # cells that are not free
        self.slots = 0  # slots given out since the last compact: slot-addressed columns need this many
        self.size = 0  # keys present

    def lookup_or_insert(self, batch: pa.RecordBatch, hashes: Hashes | None = None) -> tuple[Slots, Mask]:
        """The slot of each row's key, and True for the first row of each key that was not present before."""
        hashes = self._load(batch, hashes)
        slots = self._find(hashes)
        new = np.zeros(len(slots), np.bool_)
        missing = np.flatnonzero(slots < 0)
        while len(missing):
            piece, missing = np.split(missing, [max(_INSERTED_MIN, self.size)])
            self._insert(piece, hashes, slots, new)
            if len(missing):
                slots[missing] = self._find(hashes, missing)
                missing = missing[slots[missing] < 0]
        return slots, new

    def lookup(self, batch: pa.RecordBatch, hashes: Hashes | None = None) -> Slots:
        """The slot of each row's key; -1 where it is not present."""
        return self._find(self._load(batch, hashes))

    def keys(self, slots: Slots) -> pa.RecordBatch:
        """The keys of `slots`, in that order."""
        return pa.RecordBatch.from_arrays([column.take(slots) for column in self._columns], schema=self.schema)

    def delete(self, slots: Slots) -> None:
        """Forget the keys of `slots`, which are present and named once each."""
        pending = slots
        cells = self._home(self._hashes.values[slots])
        while len(pending):
            here = self._cells[cells] == pending
            self._cells[cells[here]] = _DELETED
            away = ~here
            pending = pending[away]
            cells = (cells[away] + 1) & (len(self._cells) - 1)
        self.size -= len(slots)

    @property
    def wasteful(self) -> bool:
        """True when most slots are of deleted keys, so that it is time for `compact`."""
        return self.slots > 2 * self.size + _CELLS_MIN

    def compact(self) -> Slots:
        """Renumber the keys present from 0 on, in the order they had; their old slots, in the new order."""
        kept = self._present()
        for column in self._columns:
            column.keep(kept)
        self._hashes.keep(kept)
        self.slots = len(kept)
        self._rebuild(len(kept))
        return kept

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._cells.nbytes + self._hashes.bytes + sum(column.bytes for column in self._columns)

    def snapshot(self) -> Snapshot:
        """The keys present, in the order of their slots; `restore` numbers them from 0 on."""
        present = self._present()
        keys = pa.Table.from_batches([self.keys(present)])
        return {"keys": keys, "hashes": pa.table({"hash": self._hashes.values[present]})}

    def restore(self, snapshot: Snapshot) -> None:
        """Become the index that `snapshot` was taken of, its keys numbered from 0 on."""
        batches = snapshot["keys"].combine_chunks().to_batches()
        empty = pa.RecordBatch.from_pylist([], schema=self.schema)
        self.load(batches[0] if batches else empty, snapshot["hashes"]["hash"].to_numpy())

    def load(self, batch: pa.RecordBatch, hashes: Hashes | None = None) -> None:
        """Fill an empty index with the keys of `batch`, all different: row i gets slot i."""
        assert not self.slots, "only an empty index can be filled"
        hashes = self._load(batch, hashes)
        for column in self._columns:
            column.append(0, np.arange(len(hashes)))
        self._hashes.load(hashes)
        self.slots = self.size = len(hashes)
        self._rebuild(self.size)

    def _present(self) -> Slots:
        if self.size == self.slots:
            return np.arange(self.slots)
        return np.sort(self._cells[self._cells >= 0]).astype(np.int64)

    def _load(self, batch: pa.RecordBatch, hashes: Hashes | None) -> Hashes:
        for column, array in zip(self._columns, batch.columns, strict=True):
            column.load(array)
        return hash_columns(batch.columns) if hashes is None else hashes

    def _home(self, hashes: Hashes) -> Rows:
        """The cell where the search for a hash begins: its leading bits."""
        return (hashes >> self._shift).astype(np.int64)

    def _find(self, hashes: Hashes, rows: Rows | None = None) -> Slots:
        """The slots of `rows` of the loaded batch (of all, without `rows`), -1 where the key is not present."""
        cells = self._home(hashes if rows is None else hashes[rows])
        slots = self._cells[cells].astype(np.int64)
        found = self._same(hashes, slots, rows)
        if found.all():
            return slots
        pending = np.flatnonzero(~found & (slots != _FREE))
        slots[~found] = _FREE
        cells = cells[pending]
        while len(pending):
            cells = (cells + 1) & (len(self._cells) - 1)
            candidates = self._cells[cells].astype(np.int64)
            found = self._same(hashes, candidates, pending if rows is None else rows[pending])
            slots[pending[found]] = candidates[found]
            going_on = np.flatnonzero(~found & (candidates != _FREE))
            pending, cells = pending[going_on], cells[going_on]
        return slots

    def _same(self, hashes: Hashes, slots: Slots, rows: Rows | None) -> Mask:
        """Where `slots[i]` is a slot and holds the key of row `rows[i]`."""
        if self._exact:
            same = slots >= 0
            for column in self._columns:
                same &= column.equal(slots, rows)
            return same
        same = (self._hashes.values[slots] == (hashes if rows is None else hashes[rows])) & (slots >= 0)
        if same.all():
            for column in self._columns:
                same &= column.equal(slots, rows)
            return same
        likely = np.flatnonzero(same)
        for column in self._columns:
            same[likely] &= column.equal(slots[likely], likely if rows is None else rows[likely])
        return same

    def _insert(self, rows: Rows, hashes: Hashes, slots: Slots, new: Mask) -> None:
        """Give the keys of `rows`, none of them present, a cell and a slot; `slots` and `new` learn of it."""
        if 2 * (self._occupied + len(rows)) > len(self._cells):
            self._rebuild(self.size + len(rows))
        cells = self._home(hashes[rows])
        while len(rows):
            free = np.flatnonzero(self._cells[cells] == _FREE)
            claims = (-3 - free).astype(np.int32)
            self._cells[cells[free[::-1]]] = claims[::-1]  # of all who write a cell the last has it: the first row
            winners = free[self._cells[cells[free]] == claims]
            self._give_slots(rows[winners], cells[winners], hashes, slots, new)
            candidates = self._cells[cells].astype(np.int64)
            found = self._same(hashes, candidates, rows)
            slots[rows[found]] = candidates[found]
            going_on = np.flatnonzero(~found)
            rows = rows[going_on]
            cells = (cells[going_on] + 1) & (len(self._cells) - 1)

    def _give_slots(self, rows: Rows, cells: Rows, hashes: Hashes, slots: Slots, new: Mask) -> None:
        if not len(rows):
            return
        end = self.slots + len(rows)
        self._cells[cells] = np.arange(self.slots, end)
        self._hashes.reserve(end)
        self._hashes.values[self.slots : end] = hashes[rows]
        for column in self._columns:
            column.append(self.slots, rows)
        new[rows] = True
        self.slots = end
        self.size += len(rows)
        self._occupied += len(rows)

    def _rebuild(self, room: int) -> None:
        """A table fit for `room` keys, with the present keys in it and no trace of deleted ones."""
        present = self._present()
        bits = max(_CELLS_MIN, 3 * room).bit_length()
        self._cells = np.full(1 << bits, _FREE, np.int32)
        self._shift = np.uint64(64 - bits)
        self._occupied = len(present)
        cells = self._home(self._hashes.values[present])
        while len(present):
            free = self._cells[cells] == _FREE
            self._cells[cells[free]] = present[free]
            going_on = np.flatnonzero(self._cells[cells] != present)
            present = present[going_on]
            cells = (cells[going_on] + 1) & (len(self._cells) - 1)
