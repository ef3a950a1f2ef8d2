"""Key to many weighted rows: the rows of a relation as it changes, found by some of their columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from .delta import Delta, Weights
from .key_index import KeyIndex, worth_storing
from .operator import Snapshot
from .row_lists import RowIds
from .slot_array import LARGE_PIECE, Mask, Slots, distinct, pieces, where
from .slotted_rows import Inserted, SlottedRows


class KeyedRows:
    """The sum of all deltas inserted so far, by the columns `keys`.

    An operator that compares a key's rows before and after an epoch calls `prepare(delta)`, `slots = touched(delta)`,
    `before = rows_of(slots)`, `insert(delta)` and `after = rows_of(slots)`; row ids in both did not change, and
    `take` still knows those that are gone.

    State: a KeyIndex entry a key, and per row its columns and 8 to 16 bytes; see SlottedRows.
    Holds: row ids and slots stay until the next `prepare` (`insert` does it where nobody has) or `compact`. NULL equals
    NULL, NaN equals NaN.
    """

    def __init__(self, schema: pa.Schema, keys: Sequence[str]) -> None:
        self.schema = schema
        self._keys = list(keys)
        self._key_schema = pa.schema([schema.field(name) for name in keys])
        self._index = KeyIndex(self._key_schema)
        self._rows = SlottedRows(schema)

    @property
    def size(self) -> int:
        """Rows that are there; from the first retraction on equal ones count once."""
        return self._rows.size

    @property
    def key_types(self) -> list[pa.DataType]:
        """The types of the key columns."""
        return list(self._key_schema.types)

    def prepare(self, delta: Delta) -> Slots | None:
        """Make ready to insert `delta`: rows and keys are renumbered here, if it is time, and then not in `insert`.

        The old slots of the keys in their new order, if keys were renumbered.
        """
        kept = self.compact() if self._rows.wasteful else None
        self._rows.prepare(delta)
        return kept

    def insert(self, delta: Delta) -> Inserted:
        """Add `delta`: which rows it brought and took."""
        self.prepare(delta)
        return self._rows.insert(self.slots(delta), delta)

    def slots(self, delta: Delta) -> Slots:
        """The slot of each row's key; a new key gets a new one."""
        keys = [delta.batch.column(name) for name in self._keys]
        if not keys:
            slots = np.zeros(delta.rows, np.int64)
        else:
            slots, _ = self._index.lookup_or_insert(pa.RecordBatch.from_arrays(keys, schema=self._key_schema))
        self._rows.reserve(self.slots_end)
        return slots

    def touched(self, delta: Delta) -> Slots:
        """The slots of the keys that `delta` has rows of, each once."""
        return distinct(self.slots(delta), self.slots_end)

    def find(self, key_columns: Sequence[pa.Array]) -> tuple[RowIds, RowIds]:
        """Every pair of a query's position and the id of a row with that key. Without keys: one query, all rows."""
        if not key_columns:
            return self.rows_of(np.zeros(1, np.int64))
        batch = pa.RecordBatch.from_arrays(list(key_columns), schema=self._key_schema)
        return self.rows_of(self._index.lookup(batch))

    def rows_of(self, slots: Slots) -> tuple[RowIds, RowIds]:
        """Every pair of a position in `slots` and the id of a row with that slot's key, oldest first."""
        self._rows.reserve(self.slots_end)
        return self._rows.find(slots)

    def take(self, rows: RowIds, names: Sequence[str] | None = None) -> pa.RecordBatch:
        """The rows of these ids, or their columns `names`."""
        return self._rows.take(rows, names)

    def repeated(self, rows: RowIds) -> pa.RecordBatch:
        """The rows of these ids, each as often as it is there."""
        weights = self.weights(rows)
        return self.take(rows if weights is None else np.repeat(rows, weights))

    def held(self, batch: pa.RecordBatch) -> Mask:
        """Which of these rows are there. Only after a retraction, or `prepare` of one, can they be found."""
        return self._rows.held(batch)

    def weights(self, rows: RowIds) -> Weights | None:
        """How often each of these rows is there; None if each is once."""
        return self._rows.weights(rows)

    def slots_of(self, rows: RowIds) -> Slots:
        """The slots of these rows' keys."""
        return self._rows.slots_of(rows)

    def by_row(self) -> Slots:
        """The slot of the key of each row that is there, in the order of a snapshot."""
        return self.slots_of(self.rows())

    def rows(self) -> RowIds:
        """The ids of all rows that are there, in ascending order."""
        return self._rows.rows()

    def pieces(self) -> Iterator[Slots]:
        """The slots of all keys that have rows, so many at once that these are few, or of one key alone."""
        self._rows.reserve(self.slots_end)
        counts = self._rows.counts(np.arange(self.slots_end))
        slots = where(counts > 0)
        ends = np.cumsum(counts[slots])
        start = 0
        while start < len(slots):
            most = LARGE_PIECE + (int(ends[start - 1]) if start else 0)
            end = max(start + 1, int(np.searchsorted(ends, most, side="right")))
            yield slots[start:end]
            start = end

    def remove(self, rows: RowIds) -> None:
        """Forget these rows, which are there and named once each."""
        self._rows.remove(rows)

    @property
    def wasteful(self) -> bool:
        """True when most row ids are of rows that are gone: `prepare` will then renumber rows and keys."""
        return self._rows.wasteful

    def compact(self) -> Slots | None:
        """Renumber rows and keys that are there from 0 on, and forget the others; the keys' old slots, if there are."""
        if not self._keys:
            self._rows.compact()
            return None
        counts = self._rows.counts(np.arange(self.slots_end))
        self._index.delete((counts == 0).nonzero()[0])
        kept = self._index.compact()
        numbers = np.full(len(counts), -1, np.int64)
        numbers[kept] = np.arange(len(kept))
        self._rows.compact(numbers)
        return kept

    def snapshot(self) -> Snapshot:
        """All rows; renumbers them, and the keys, if they are not numbered from 0 on."""
        if not self._tidy:
            self.compact()
        index = self._index.snapshot("index") if self._keys and worth_storing(self._rows.end) else {}
        return {**self._rows.snapshot(), **index}

    def restore(self, snapshot: Snapshot) -> bool:
        """Become the rows that `snapshot` was taken of; only what is empty can. Whether keys have the slots of then."""
        whole = self._rows.restore(snapshot)
        if not self._keys or not self._rows.size:
            return True
        if whole and "index" in snapshot:
            self._index.restore(snapshot, "index")
            return True
        parts = []
        for rows in pieces(range(self._rows.end)):
            keys = pa.RecordBatch.from_arrays(self._rows.columns(rows, self._keys), schema=self._key_schema)
            parts.append(self._index.lookup_or_insert(keys)[0])
        self._rows.place(parts)
        return False

    @property
    def _tidy(self) -> bool:
        """Whether all rows and keys are there that have a number."""
        if self._rows.size < self._rows.end or (self._keys and self._index.size < self._index.slots):
            return False
        self._rows.reserve(self.slots_end)
        return not self._keys or bool(self._rows.counts(np.arange(self.slots_end)).all())

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._index.bytes + self._rows.bytes

    @property
    def slots_end(self) -> int:
        """All slots of keys are below this number."""
        return self._index.slots if self._keys else 1
