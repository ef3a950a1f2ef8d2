"""Upsert: the present rows of a table with a key, from its changelog."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ...storage.last_rows import WEIGHT_COLUMN
from ...storage.memory import current
from ..delta import Delta
from ..key_index import KeyIndex, worth_storing
from ..operator import ResultHolder, Snapshot
from ..row_store import Numbers, RowStore
from ..slot_array import LARGE_PIECE, Mask, SlotArray, Slots, pieces, where

_DEAD_MIN = 1024  # rows that were superseded and still take room, before they are dropped


class Upsert(ResultHolder):
    """For each key whose row changes its old row retracted and its new row inserted.

    The input only grows: a row of weight 1 takes the place of the one with its key, if there is one, and one of weight
    -1 deletes it. Rows that were superseded may be missing, as compaction leaves them out.

    Shape: the columns of the input are those of `schema` and `_weight`.
    State: per key its row, 8 bytes, and the key once more with 8 to 32 bytes of table.
    From: ksqlDB's tables and Flink's upsert-kafka, over a compacted log.
    """

    def __init__(self, key: Sequence[str], schema: pa.Schema) -> None:
        self.schema = schema
        self._key = list(key)
        self._index = KeyIndex(pa.schema([schema.field(name) for name in key]))
        self._stored = RowStore(schema)
        self._numbers = SlotArray(np.int64, start=-1)  # in the store, of each key's row
        self._last = SlotArray(np.int64)  # where in the delta that is looked at each key comes last

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        assert delta.weights is None, "the log of a table only grows"
        if not delta.rows:
            return None
        batch = delta.batch.select(self.schema.names)
        slots, _ = self._index.lookup_or_insert(batch.select(self._key))
        self._numbers.reserve(self._index.slots)
        final = self._last_rows(slots)  # what came before in the same delta never shows
        slots = slots[final]
        weights = delta.batch.column(WEIGHT_COLUMN).to_numpy(zero_copy_only=False)[final]
        live, old = weights > 0, self._numbers.values[slots]
        came = batch if len(final) == batch.num_rows and live.all() else batch.take(pa.array(final[live]))
        left = old[old >= 0]
        change = self._change(came, left) if self.emits else None
        self._numbers[slots[live]] = self._stored.append(came)
        self._numbers[slots[~live]] = -1
        self._index.delete(slots[~live])
        self._tidy()
        return change

    def find(self, keys: pa.RecordBatch) -> tuple[Mask, pa.RecordBatch]:
        """Which of `keys` are there, and the rows of those that are, in that order."""
        slots = self._index.lookup(keys)
        found = slots >= 0
        return found, self._stored.take(self._numbers.values[slots[found]])

    def rows(self) -> pa.Table:
        rows = [current().batch(self._stored.take(numbers)) for numbers in pieces(self._present())]
        return pa.Table.from_batches(rows, schema=self.schema)

    def snapshot(self) -> Snapshot:
        if self._index.slots != self._index.size:
            self._numbers.keep(self._index.compact())
        index = self._index.snapshot("index") if worth_storing(self._index.size) else {}
        return {"rows": self.rows(), **index}

    def restore(self, snapshot: Snapshot) -> None:
        batches = snapshot["rows"].to_batches(max_chunksize=LARGE_PIECE)
        if "index" in snapshot:
            self._index.restore(snapshot, "index")
        else:
            self._index.fill(batch.select(self._key) for batch in batches)
        for batch in batches:
            self._stored.append(batch)
        self._numbers.load(np.arange(self._stored.size))

    @property
    def kept(self) -> int | None:
        return self._index.size

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._index.bytes + self._stored.bytes + self._numbers.bytes + self._last.bytes

    def _last_rows(self, slots: Slots) -> Numbers:
        """The last row of each key in a delta, in the order of the delta."""
        self._last.reserve(self._index.slots)
        rows = np.arange(len(slots))
        self._last[slots] = rows
        return where(self._last.values[slots] == rows)

    def _present(self) -> Numbers:
        numbers: Numbers = self._numbers.values[: self._index.slots]
        return numbers[numbers >= 0]

    def _change(self, came: pa.RecordBatch, left: Numbers) -> Delta | None:
        if not len(left):
            return Delta(came) if came.num_rows else None
        gone = self._stored.take(left)
        weights = np.ones(len(left) + came.num_rows, np.int64)
        weights[: len(left)] = -1
        return Delta(pa.concat_batches([gone, came]), weights)

    def _tidy(self) -> None:
        """Rows that were superseded, and slots of deleted keys, are dropped once they are as many as the others."""
        if self._index.wasteful:
            self._numbers.keep(self._index.compact())
        if self._stored.size > 2 * self._index.size + _DEAD_MIN:
            slots = where(self._numbers.values[: self._index.slots] >= 0)
            self._stored.keep(self._numbers.values[slots])
            self._numbers[slots] = np.arange(len(slots))
