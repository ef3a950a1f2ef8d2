"""Keys to dense slots, a whole batch at a time: a table of slots over slot-addressed key columns.

Integers that lie close together address their cell directly; all other keys are hashed, and compared where hashes meet:
a 64-bit hash is a filter, never a proof.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from ..storage.hashing import Hashes
from ..storage.limits import STORED_KEYS
from ..storage.memory import current
from .delta import PIECE_ROWS
from .direct_cells import DirectCells, box_cells, box_of, grown_box, joined_box
from .hashed_cells import HashedCells, keeps_hashes
from .key_columns import Integers, KeyColumn, Lookup, Rows, all_or_none, hashes_of, key_column
from .operator import Snapshot
from .slot_array import LARGE_PIECE, Mask, SlotArray, Slots, pieces, where

_SLOTS_WASTED_MIN = 256
_INSERTED_MIN = 2048  # so few rows may have a new key each; of more it is counted how many they have
_DIRECT_CELLS_MIN = 4096  # so few cells are always worth it
_DIRECT_CELLS_PER_KEY = 6
_LAYOUT = "1"  # of cells in a checkpoint; another one when they are put, or keys are hashed, in another way
_KEYS_TRIED = 256
_DIRECT_CELLS_PER_KEY_KEPT = 24  # a table that is direct stays so while many of its keys go and come


class KeyIndex:
    """A set of keys, each with a slot: 0, 1, 2, ... in the order of their coming.

    State: per key its columns and 8 to 32 bytes of table.
    Holds: a slot keeps its key until `delete`, and its number until `compact`. NULL equals NULL, NaN equals NaN.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._columns: list[KeyColumn] = [key_column(field.type) for field in schema]
        self._rows_since_rebuild = 0
        self.slots = 0  # slots given out since the last compact: slot-addressed columns need this many
        self.size = 0  # keys present
        self._table: HashedCells | DirectCells = HashedCells(self._columns, range(0), self._hashes(), 0)

    def lookup_or_insert(self, batch: pa.RecordBatch, hashes: Hashes | None = None) -> tuple[Slots, Mask]:
        """The slot of each row's key, and True for the first row of each key that was not present before.

        `hashes` is what `hash_columns` makes of `batch`, where the caller knows it already.
        """
        rows = batch.num_rows
        new = np.zeros(rows, np.bool_)
        if rows > 2 * PIECE_ROWS:
            found = np.empty(rows, np.int64)
            for start in range(0, rows, PIECE_ROWS):
                end = start + PIECE_ROWS
                part = None if hashes is None else hashes[start:end]
                found[start:end], new[start:end] = self.lookup_or_insert(batch.slice(start, PIECE_ROWS), part)
            return found, new
        if not rows:
            return _none(), new
        lookup = Lookup(self._columns, batch, hashes)

        def give(winners: Rows) -> Slots:
            new[winners] = True
            return self._give(winners)

        self._rows_since_rebuild += lookup.rows
        if not self.slots:
            self._rebuild(lookup, None)
        while True:
            slots = self._table.find(lookup)
            if slots is None:
                self._rebuild(lookup, None)
                continue
            missing = where(slots < 0)
            if not len(missing):
                return slots, new
            if self._table.has_room(len(missing)) or self._table.has_room(_different(lookup, missing)):
                self._table.insert(lookup, missing, slots, give)
                return slots, new
            self._rebuild(lookup, missing)

    def lookup(self, batch: pa.RecordBatch, hashes: Hashes | None = None) -> Slots:
        """The slot of each row's key; -1 where it is not present."""
        rows = batch.num_rows
        if rows > 2 * PIECE_ROWS:
            parts = []
            for start in range(0, rows, PIECE_ROWS):
                part = None if hashes is None else hashes[start : start + PIECE_ROWS]
                parts.append(self.lookup(batch.slice(start, PIECE_ROWS), part))
            return np.concatenate(parts)
        lookup = Lookup(self._columns, batch, hashes)
        slots = self._table.find(lookup)
        if slots is None:
            self._table = self._hashed(0)
            slots = self._table.find(lookup)
        return slots

    def keys(self, slots: Slots) -> pa.RecordBatch:
        """The keys of `slots`, in that order."""
        return pa.RecordBatch.from_arrays(self.key_columns(slots), schema=self.schema)

    def key_columns(self, slots: Slots, places: Sequence[int] | None = None) -> list[pa.Array]:
        """The keys of `slots`, a column each; only the columns at `places`, where those are said."""
        columns = self._columns if places is None else [self._columns[place] for place in places]
        return [column.take(slots) for column in columns]

    def delete(self, slots: Slots) -> None:
        """Forget the keys of `slots`, which are present and named once each."""
        if isinstance(self._table, HashedCells):
            self._table.delete(slots)
        else:
            keys = self._integers(slots)
            assert keys is not None
            self._table.delete(keys)
        self.size -= len(slots)

    @property
    def wasteful(self) -> bool:
        """True when most slots are of deleted keys, so that it is time for `compact`."""
        return self.slots > 2 * self.size + _SLOTS_WASTED_MIN

    def compact(self) -> Slots:
        """Renumber the keys present from 0 on, in the order they had; their old slots, in the new order."""
        kept = self._present()
        kept = np.arange(self.slots) if isinstance(kept, range) else kept
        if isinstance(self._table, HashedCells) and self._table.by_slot is not None:
            self._table.by_slot.keep(kept)
        for column in self._columns:
            column.keep(kept)
        self.slots = len(kept)
        self._table = self._direct(None) or self._hashed(0)
        return kept

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._table.bytes + sum(column.bytes for column in self._columns)

    def snapshot(self, name: str = "keys") -> Snapshot:
        """The keys present, in the order of their slots, as a table of this name; `restore` numbers them from 0 on.

        Where there are many, beside it the tables of what would take long to be made of them again.
        """
        memory = current()
        if self.slots != self.size or not worth_storing(self.size):
            keys = [memory.batch(self.keys(piece)) for piece in pieces(self._present())]
            return {name: pa.Table.from_batches(keys, schema=self.schema)}
        columns = [column.whole(self.slots) for column in self._columns]
        tables = {name: pa.Table.from_arrays(columns, names=self.schema.names)}
        for place, column in enumerate(self._columns):
            extra = column.extra(self.slots)
            if extra is not None:
                tables[_extra(name, place)] = extra
        box = json.dumps(self._table.box) if isinstance(self._table, DirectCells) else ""
        known = {"layout": _LAYOUT, "keys": str(self.size), "box": box}
        tables[_cells(name)] = pa.table({"cell": self._table.stored()}, metadata=known)
        if isinstance(self._table, HashedCells) and self._table.by_slot is not None:
            tables[_hashes(name)] = pa.table({"hash": self._table.by_slot.copied(self.slots)})
        return tables

    def restore(self, snapshot: Snapshot, name: str = "keys") -> None:
        """Become the index that `snapshot` was taken of, its keys numbered from 0 on; only what is empty can."""
        assert not self.slots, "only an empty index can be restored"
        keys = snapshot[name]
        for place, column in enumerate(self._columns):
            column.adopt(keys.column(place), snapshot.get(_extra(name, place)))
        self.slots = self.size = keys.num_rows
        cells = snapshot.get(_cells(name))
        table = None if cells is None else self._restored(cells, snapshot.get(_hashes(name)))
        if table is not None:
            self._table = table
        elif self.slots:
            self._table = self._new_table()

    def _restored(self, cells: pa.Table, hashes: pa.Table | None) -> HashedCells | DirectCells | None:
        """The table with these cells; None if it does not go with the keys, and has to be made anew."""
        known = {key.decode(): value.decode() for key, value in (cells.schema.metadata or {}).items()}
        needed = keeps_hashes(self._columns) and not known.get("box")
        if known.get("layout") != _LAYOUT or known.get("keys") != str(self.size) or needed != (hashes is not None):
            return None
        values = cells.column("cell").to_numpy()
        table: HashedCells | DirectCells
        if known["box"]:
            table = DirectCells.restored(json.loads(known["box"]), values)
        else:
            by_slot = None
            if hashes is not None:
                by_slot = SlotArray(np.uint64, appended=True)
                by_slot.load(hashes.column("hash").to_numpy())
            table = HashedCells.restored(self._columns, by_slot, values, self.size)
        some = np.unique(np.linspace(0, self.slots - 1, _KEYS_TRIED).astype(np.int64))
        found = table.find(Lookup(self._columns, self.keys(some)))
        return table if found is not None and np.array_equal(found, some) else None

    def load(self, batch: pa.RecordBatch) -> None:
        """Fill an empty index with the keys of `batch`, all different: row i gets slot i."""
        self.fill(batch.slice(start, LARGE_PIECE) for start in range(0, batch.num_rows, LARGE_PIECE))

    def fill(self, batches: Iterable[pa.RecordBatch]) -> None:
        """The same with the keys of several batches, of which none has very many."""
        assert not self.slots, "only an empty index can be filled"
        for batch in batches:
            lookup = Lookup(self._columns, batch)
            self._give(np.arange(lookup.rows))
        if self.slots:
            self._table = self._new_table()

    def _new_table(self) -> HashedCells | DirectCells:
        return self._direct(None) or HashedCells(self._columns, self._present(), self._hashes(), self.size)

    def _give(self, rows: Rows) -> Slots:
        """New slots for the keys of `rows` of the loaded batch."""
        end = self.slots + len(rows)
        for column in self._columns:
            column.append(self.slots, rows)
        given = np.arange(self.slots, end)
        self.slots = end
        self.size += len(rows)
        return given

    def _integers(self, slots: Slots) -> Integers | None:
        """The keys of `slots` as integers of the same equality; None where some are not, or might be NULL."""
        return all_or_none([column.integers(slots) for column in self._columns])

    def _present(self) -> Slots | range:
        return range(self.slots) if self.size == self.slots else self._table.present()

    def _rebuild(self, lookup: Lookup, missing: Slots | None) -> None:
        """A table that can take the new keys of `lookup`, which are at its rows `missing` (None: at any of them)."""
        self._table = self._direct(lookup) or self._hashed(_different(lookup, missing))
        self._rows_since_rebuild = 0

    def _hashed(self, room: int) -> HashedCells:
        """A hash table of all keys present, with room for `room` more."""
        present = self._present()
        hashes = self._table.by_slot if isinstance(self._table, HashedCells) else self._hashes()
        return HashedCells(self._columns, present, hashes, self.size + room)

    def _hashes(self) -> SlotArray | None:
        """The hashes of all keys present, by slot, where a table keeps them."""
        if not keeps_hashes(self._columns):
            return None
        hashes = SlotArray(np.uint64, appended=True)
        hashes.reserve(self.slots)
        for piece in pieces(self._present()):
            hashes[piece] = hashes_of(self._columns, piece)
        return hashes

    def _direct(self, lookup: Lookup | None) -> DirectCells | None:
        """A direct table of all keys present, with cells for those of `lookup`; None where that is not worth it."""
        if (lookup is not None and lookup.integers is None) or self._integers(_none()) is None:
            return None
        per_key = _DIRECT_CELLS_PER_KEY_KEPT if isinstance(self._table, DirectCells) else _DIRECT_CELLS_PER_KEY
        cells_max = max(_DIRECT_CELLS_MIN, per_key * (self.size + (lookup.rows // 4 if lookup else 0)))
        needed = box_of(lookup.integers) if lookup is not None and lookup.integers is not None else None
        present = self._present()
        for piece in pieces(present):
            keys = self._integers(piece)
            assert keys is not None
            needed = joined_box(needed, box_of(keys))
            if box_cells(needed) > cells_max:
                return None
        if needed is None or box_cells(needed) > cells_max:
            return None
        if isinstance(self._table, DirectCells):
            if self._rows_since_rebuild < self.size // 4:
                return None
            roomy = grown_box(self._table.box, needed)
            if box_cells(roomy) <= cells_max * _DIRECT_CELLS_PER_KEY // _DIRECT_CELLS_PER_KEY_KEPT:
                needed = roomy
        table = DirectCells(needed)
        for piece in pieces(present):
            keys = self._integers(piece)
            assert keys is not None
            table.put(keys, piece)
        return table


def worth_storing(keys: int) -> bool:
    """Whether a checkpoint of so many keys, or rows by key, has what it would take long to make of them again."""
    return keys >= STORED_KEYS


def _different(lookup: Lookup, rows: Slots | None) -> int:
    """How many keys there are at `rows` of the batch (None: at all of them), or a few more."""
    count = lookup.rows if rows is None else len(rows)
    if count <= _INSERTED_MIN:
        return count
    hashes = np.sort(lookup.hashes if rows is None else lookup.hashes[rows])
    return 1 + int(np.count_nonzero(hashes[1:] != hashes[:-1]))


def _none() -> Slots:
    return np.zeros(0, np.int64)


def _cells(name: str) -> str:
    return f"{name} cells"


def _hashes(name: str) -> str:
    return f"{name} hashes"


def _extra(name: str, place: int) -> str:
    return f"{name} column {place}"
