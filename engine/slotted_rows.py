"""Many weighted rows per slot, whatever the slots stand for: rows in columns by id, and per slot a list of ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.memory import current
from .delta import Delta, Weights
from .key_columns import KeyColumn, key_column
from .key_index import KeyIndex, worth_storing
from .operator import Snapshot
from .row_lists import RowIds, RowLists
from .slot_array import LARGE_PIECE, SlotArray, Slots, distinct, pieces, where

_GONE_MIN = 256
_ROWS_TRIED = 256


@dataclass(frozen=True)
class Inserted:
    """What an insert did.

    Shape: `rows` has the id of each row of the delta; `came` and `went` the ids of rows that are there only after it,
    or only before it. A row that the delta both brings and takes has an id that is in no list.
    """

    rows: RowIds
    came: RowIds
    went: RowIds


class SlottedRows:
    """The sum of all deltas inserted so far, each row in the list of its slot.

    While rows only come, each has an id of its own. From the first retraction on equal rows share one, and are found by
    a KeyIndex of whole rows.
    State: per row its columns, 4 bytes of slot and a RowLists entry; after a retraction also 8 bytes of weight and the
    index. Per slot 20 bytes.
    Holds: ids are given out ascending and stay until the next `prepare` or `compact`. No row is retracted that is not
    there.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._columns: list[KeyColumn] = [key_column(field.type, compared=False) for field in schema]
        self._index: KeyIndex | None = None  # of whole rows, from the first retraction on
        self._weights = SlotArray(np.int64)  # by row, from then on
        self._slots = SlotArray(np.int32)  # by row
        self._lists = RowLists()
        self._dead = SlotArray(np.int64)  # by slot: how many rows of its list are not there
        self._gone: SlotArray | None = None  # by row: taken out while there is no index
        self.end = 0  # ids given out since the last compact
        self.size = 0  # rows that are there, equal ones that share an id once

    def reserve(self, slots: int) -> None:
        """Make room for slots below `slots`."""
        self._lists.reserve(slots)
        self._dead.reserve(slots)

    def prepare(self, delta: Delta) -> RowIds | None:
        """Make ready to insert `delta`, so that ids found from here on stay true.

        If that renumbers rows: the old id of each row (of one, where several now share an id), in the new order.
        """
        if self._index is None and delta.weights is not None and (delta.weights < 0).any():
            return self._index_rows()
        return self.compact() if self.wasteful else None

    def insert(self, slots: Slots, delta: Delta) -> Inserted:
        """Add `delta`, whose row i belongs to slot `slots[i]`."""
        self.prepare(delta)
        if self._index is not None:
            return self._change(self._index, slots, delta)
        batch = delta.batch
        rows: RowIds | None = None
        if delta.weights is not None and (delta.weights != 1).any():
            repeated = np.repeat(np.arange(delta.rows), delta.weights)
            batch, slots = batch.take(pa.array(repeated)), slots[repeated]
            rows = self.end + np.cumsum(delta.weights) - delta.weights
        came = self._append(slots, batch)
        return Inserted(came if rows is None else rows, came, came[:0])

    def counts(self, slots: Slots) -> npt.NDArray[np.int64]:
        """How many different rows each of `slots` has; equal ones may count once or each."""
        counts: npt.NDArray[np.int64] = self._lists.counts(slots) - self._dead.values[slots]
        return counts

    def held(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Which of these rows are there. Only after a retraction, or `prepare` of one, can they be found."""
        assert self._index is not None, "rows are found from the first retraction on"
        rows = self._index.lookup(batch)
        return (rows >= 0) & (self._weights.values[rows] > 0)

    def find(self, slots: Slots) -> tuple[RowIds, RowIds]:
        """Every pair of a place in `slots` and the id of a row there; below slot 0 there are none."""
        queries, rows = self._lists.find(slots)
        if self.size < self.end:
            there = self.there(rows)
            if not there.all():
                return queries[there], rows[there]
        return queries, rows

    def take(self, rows: RowIds, names: Sequence[str] | None = None) -> pa.RecordBatch:
        """The rows of these ids, or their columns `names`."""
        schema = self.schema if names is None else pa.schema([self.schema.field(name) for name in names])
        if not schema.names:  # which from_arrays would take for no rows
            return pa.RecordBatch.from_struct_array(pa.Array.from_buffers(pa.struct([]), len(rows), [None]))
        return pa.RecordBatch.from_arrays(self.columns(rows, schema.names), schema=schema)

    def columns(self, rows: RowIds, names: Sequence[str]) -> list[pa.Array]:
        """The same as arrays."""
        places = [self.schema.get_field_index(name) for name in names]
        if self._index is not None:
            return self._index.key_columns(rows, places)
        return [self._columns[place].take(rows) for place in places]

    def weights(self, rows: RowIds) -> Weights | None:
        """How often each of these rows is there; None if each is once."""
        return None if self._index is None else self._weights.values[rows]

    def slots_of(self, rows: RowIds) -> Slots:
        """The slots these rows belong to."""
        return self._slots.values[rows].astype(np.int64)

    def rows(self) -> RowIds:
        """All rows that are there, in ascending order."""
        every = np.arange(self.end)
        return every if self.size == self.end else every[self.there(every)]

    def present(self, rows: RowIds) -> RowIds:
        """Those of `rows` that are there."""
        return rows if self.size == self.end else rows[self.there(rows)]

    def remove(self, rows: RowIds) -> None:
        """Forget these rows, which are there and named once each, whatever their weights."""
        if not len(rows):
            return
        if self._index is not None:
            self._weights[rows] = 0
            self._index.delete(rows)
        else:
            if self._gone is None:
                self._gone = SlotArray(np.bool_, start=False)
            self._gone.reserve(self.end)
            self._gone[rows] = True
        self._shorten(rows)

    @property
    def wasteful(self) -> bool:
        """True when most ids are of rows that are gone, so that it is time for `compact`."""
        return self.end > 2 * self.size + _GONE_MIN

    def compact(self, numbers: Slots | None = None) -> RowIds:
        """Renumber the rows that are there from 0 on, in the order they had; their old ids, in the new order.

        With `numbers` slots are renumbered too: slot s becomes `numbers[s]`.
        """
        kept = self.rows()
        if self._index is not None:
            self._index.compact()
            self._weights.keep(kept)
        else:
            for column in self._columns:
                column.keep(kept)
        slots = self.slots_of(kept)
        self.place([slots if numbers is None else numbers[slots]])
        return kept

    def snapshot(self) -> Snapshot:
        """The rows in the order of their ids, and their slots and weights. Renumbers the rows: see `compact`.

        Where there are many, the lists as well.
        """
        if self.size < self.end:
            self.compact()
        slots = self._slots.copied(self.end)
        places, many = {"slot": slots}, worth_storing(self.end)
        tables: dict[str, pa.Table] = {}
        if self._index is not None:
            places["weight"] = self._weights.copied(self.end)
            tables |= self._index.snapshot("rows")
        elif many and self._columns:
            columns = [column.whole(self.end) for column in self._columns]
            tables["rows"] = pa.Table.from_arrays(columns, names=self.schema.names)
        else:
            rows = [current().batch(self.take(every)) for every in pieces(range(self.end))]
            tables["rows"] = pa.Table.from_batches(rows, schema=self.schema)
        if many:
            tables |= self._lists.snapshot(int(slots.max()) + 1)
        return {**tables, "places": pa.table(places)}

    def restore(self, snapshot: Snapshot) -> bool:
        """Become what `snapshot` was taken of, with the same ids and slots; only what is empty can.

        Whether there is nothing left to do, and `place` need not be called.
        """
        assert not self.end, "only what is empty can be restored"
        slots = snapshot["places"]["slot"].to_numpy()
        if "weight" in snapshot["places"].column_names:
            self._columns, self._index = [], KeyIndex(self.schema)
            self._index.restore(snapshot, "rows")
            self._weights.load(snapshot["places"]["weight"].to_numpy())
        else:
            for column, rows in zip(self._columns, snapshot["rows"].columns, strict=True):
                column.adopt(rows, None)
        self.size = self.end = len(slots)
        if "lists" in snapshot:
            self._lists.restore(snapshot)
            if self._lists.fits(slots, np.linspace(0, self.end - 1, _ROWS_TRIED).astype(np.int64)):
                self._slots.load(slots)
                self._dead.reserve(snapshot["lists"].num_rows)
                return True
        self.place([slots[start : start + LARGE_PIECE].astype(np.int64) for start in range(0, len(slots), LARGE_PIECE)])
        return False

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        columns = sum(column.bytes for column in self._columns) if self._index is None else self._index.bytes
        weights = self._weights.bytes if self._index is not None else 0
        gone = self._gone.bytes if self._gone is not None else 0
        return columns + weights + gone + self._slots.bytes + self._lists.bytes + self._dead.bytes

    def there(self, rows: RowIds) -> npt.NDArray[np.bool_]:
        """Which of `rows` are there."""
        if self._index is not None:
            there: npt.NDArray[np.bool_] = self._weights.values[rows] > 0
            return there
        if self._gone is None:
            return np.ones(len(rows), np.bool_)
        self._gone.reserve(self.end)
        return ~self._gone.values[rows]

    def _append(self, slots: Slots, batch: pa.RecordBatch) -> RowIds:
        """New ids for rows that only come."""
        self._store(batch)
        return self._enter(slots, np.arange(self.end, self.end + batch.num_rows))

    def _store(self, batch: pa.RecordBatch) -> None:
        rows = np.arange(batch.num_rows)
        for column, array in zip(self._columns, batch.columns, strict=True):
            column.load(array)
            column.append(self.end, rows)

    def _enter(self, slots: Slots, rows: RowIds) -> RowIds:
        """Put new rows into the lists of `slots`."""
        if len(rows):
            self.end = max(self.end, int(rows[-1]) + 1)
            self.size += len(rows)
            self._slots.reserve(self.end)
            self._slots[rows] = slots
            self._lists.add(slots, rows)
        return rows

    def _change(self, index: KeyIndex, slots: Slots, delta: Delta) -> Inserted:
        """Add `delta` to the weights of its rows, equal ones together."""
        ids, _ = index.lookup_or_insert(delta.batch)
        self._weights.reserve(index.slots)
        self._slots.reserve(index.slots)
        self._slots[ids] = slots
        touched = distinct(ids, index.slots)
        before = self._weights.values[touched]
        self._weights.add(ids, 1 if delta.weights is None else delta.weights)
        after = self._weights.values[touched]
        assert after.min(initial=0) >= 0, "a row was retracted that is not there"
        came = touched[where((before == 0) & (after > 0))]
        self._enter(self.slots_of(came), came)
        self.end = index.slots
        gone = touched[where(after == 0)]
        if len(gone):
            index.delete(gone)
        went = touched[where((before > 0) & (after == 0))]
        self._shorten(went)
        return Inserted(ids, came, went)

    def _shorten(self, rows: RowIds) -> None:
        """Take rows that are no longer there off their lists, at the latest when they are half of one."""
        if not len(rows):
            return
        self.size -= len(rows)
        slots = self.slots_of(rows)
        self._dead.add(slots, 1)
        slots = distinct(slots, len(self._dead.values))
        slots = slots[where(2 * self._dead.values[slots] >= self._lists.counts(slots))]
        self._lists.keep(slots, self.there(self._lists.find(slots)[1]))
        self._dead[slots] = 0

    def _index_rows(self) -> RowIds:
        """From here on equal rows share an id; an old id of each, in the new order."""
        rows = self.rows()
        batch, slots = self.take(rows), self.slots_of(rows)
        self._index = KeyIndex(self.schema)
        ids, new = self._index.lookup_or_insert(batch)
        self._columns, self._gone = [], None
        self._weights.reserve(self._index.slots)
        self._weights.add(ids, 1)
        first = np.empty(self._index.slots, np.int64)
        first[ids[where(new)]] = where(new)
        self.place([slots[first]])
        return rows[first]

    def place(self, parts: Iterable[Slots]) -> None:
        """Make the lists anew: row i, of all that are there, belongs to the i-th slot of `parts` together."""
        known = len(self._dead.values)
        self._lists, self._dead, self._slots = RowLists(), SlotArray(np.int64), SlotArray(np.int32)
        self._gone, self.end, self.size = None, 0, 0
        self.reserve(known)
        for slots in parts:
            self.reserve(int(slots.max(initial=-1)) + 1)
            self._enter(slots, np.arange(self.end, self.end + len(slots)))
