"""Rows by partition, and what OVER says of each: how a delta changes that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from .arrangement import consolidate
from .delta import Delta
from .keyed_rows import KeyedRows
from .over_frames import Sorted
from .over_functions import OverCall, compute
from .slot_array import Slots
from .sort_keys import SortKey, changes, order_words, sorted_rows


class OverRows:
    """The sum of all deltas, by the columns `partition`; `calls` say something of each row in `order`.

    Rows that are equal in all of `order` are equal altogether, or no call tells them apart.
    Shape: `schema` is that of the input, then a column per call.
    State: all rows of the input in KeyedRows, `kept`.
    """

    def __init__(
        self, partition: Sequence[str], order: Sequence[SortKey], calls: Sequence[OverCall], input_schema: pa.Schema
    ) -> None:
        self.schema = pa.schema([*input_schema, *(pa.field(call.name, call.type) for call in calls)])
        self.kept = KeyedRows(input_schema, partition)
        self._order = list(order)
        self._calls = list(calls)

    def change(self, delta: Delta, touched: Slots) -> Delta | None:
        """Insert `delta`, for which `kept` is prepared and which touches these partitions: how the result changes."""
        before = self._computed(touched)
        self.kept.insert(delta)
        after = self._computed(touched)
        weights = np.repeat(np.array([-1, 1]), [before.num_rows, after.num_rows])
        change = consolidate(Delta(pa.concat_batches([before, after]), weights))
        if not change.rows:
            return None
        return change if change.weights is None else change.take(np.argsort(change.weights > 0, kind="stable"))

    def results(self) -> Iterator[pa.RecordBatch]:
        """All rows of the result, some partitions at a time."""
        for slots in self.kept.pieces():
            yield self._computed(slots)

    def _computed(self, slots: Slots) -> pa.RecordBatch:
        """The result rows of the partitions `slots`."""
        groups, ids = self.kept.rows_of(slots)
        weights = self.kept.weights(ids)
        if weights is not None and (weights != 1).any():
            groups, ids = np.repeat(groups, weights), np.repeat(ids, weights)
        batch = self.kept.take(ids)
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
