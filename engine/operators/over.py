"""Over: each row with what a window says of it and its neighbours, kept as rows come and go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ...storage.memory import current
from ..arrangement import consolidate
from ..delta import Delta
from ..keyed_rows import KeyedRows
from ..operator import ResultHolder, Snapshot, Time
from ..over_frames import Sorted
from ..over_functions import OverCall, compute
from ..slot_array import Slots
from ..sort_keys import SortKey, changes, order_words, sorted_rows


class Over(ResultHolder):
    """Every row of the input with the values of `calls` beside it: what they say of the rows that agree in `partition`.

    Rows that are equal in all of `order` are equal altogether, or no call tells them apart.

    Shape: the input's columns, then a column per call.
    State: all rows of the input, by partition, in KeyedRows. What a delta touches is computed before and after it.
    """

    def __init__(
        self, partition: Sequence[str], order: Sequence[SortKey], calls: Sequence[OverCall], input_schema: pa.Schema
    ) -> None:
        self.schema = pa.schema([*input_schema, *(pa.field(call.name, call.type) for call in calls)])
        self._order = list(order)
        self._calls = list(calls)
        self._rows = KeyedRows(input_schema, partition)

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        delta = Delta(delta.batch, delta.weights)
        self._rows.prepare(delta)
        if not self.emits:
            self._rows.insert(delta)
            return None
        touched = self._rows.touched(delta)
        before = self._computed(touched)
        self._rows.insert(delta)
        after = self._computed(touched)
        weights = np.repeat(np.array([-1, 1]), [before.num_rows, after.num_rows])
        change = consolidate(Delta(pa.concat_batches([before, after]), weights))
        if not change.rows:
            return None
        return change if change.weights is None else change.take(np.argsort(change.weights > 0, kind="stable"))

    def advance(self, time: Time) -> Delta | None:
        return None

    def rows(self) -> pa.Table:
        computed = [current().batch(self._computed(slots)) for slots in self._rows.pieces()]
        return pa.Table.from_batches(computed, schema=self.schema)

    def snapshot(self) -> Snapshot:
        return self._rows.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        self._rows.restore(snapshot)

    @property
    def kept(self) -> int | None:
        return self._rows.size

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._rows.bytes

    def _computed(self, slots: Slots) -> pa.RecordBatch:
        """The result rows of the partitions `slots`."""
        groups, ids = self._rows.rows_of(slots)
        weights = self._rows.weights(ids)
        if weights is not None and (weights != 1).any():
            groups, ids = np.repeat(groups, weights), np.repeat(ids, weights)
        batch = self._rows.take(ids)
        words = order_words(batch, self._order)
        places = sorted_rows(groups, words)
        batch, groups = batch.take(pa.array(places)), groups[places]
        first = changes([groups], len(groups))
        peers = {}
        for count in {call.peers for call in self._calls}:
            leading = order_words(batch, self._order[:count])
            peers[count] = first | changes(leading, len(groups))
        rows = Sorted(batch, first, peers, self._order)
        values = [compute(call, rows) for call in self._calls]
        return pa.RecordBatch.from_arrays([*batch.columns, *values], schema=self.schema)
