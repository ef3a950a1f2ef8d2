"""Aggregate: one row per group, updated as rows come and go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ..aggregates import AggregateCall
from ..delta import Delta
from ..groups import Change, Groups, Reading, change
from ..operator import ResultHolder, Snapshot, Time


class Aggregate(ResultHolder):
    """For each group of rows with equal keys its old row retracted and its new row inserted, where they differ.

    NULL keys form a group, so do NaN keys. A group whose rows have all gone is gone. Without keys there is always one
    row, which first comes out of the first `advance`.

    Shape: the columns of `output_schema` are keys, by their names in the input, and the calls, by theirs.
    State: per group its key, a count and 8 to 32 bytes a call; min and max over rows that can go keep every different
    value of the group.
    """

    def __init__(
        self,
        keys: Sequence[str],
        calls: Sequence[AggregateCall],
        input_schema: pa.Schema,
        output_schema: pa.Schema,
        append_only: bool,
    ) -> None:
        self.schema = output_schema
        self._keys = list(keys)
        self._groups = Groups(
            pa.schema([input_schema.field(name) for name in keys]), calls, input_schema, append_only=append_only
        )
        names = [*keys, *(call.name for call in calls)]
        self._order = [names.index(name) for name in output_schema.names]
        self._shown = bool(keys)  # without keys: whether the one row has come out

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        groups = self._groups
        if not delta.rows:
            return None
        if groups.wasteful:
            groups.compact()
        slots = groups.find([delta.batch.column(name) for name in self._keys], delta.rows)
        columns = {name: delta.batch.column(name) for name in groups.columns}
        if not self.emits:
            groups.update(slots, columns, delta.weights)
            groups.bury(slots if delta.weights is None else np.unique(slots))
            return None
        touched, before, after = groups.update_and_read(slots, columns, delta.weights)
        if not self._keys:
            before = Reading(np.full(1, int(self._shown)), before.values)
            after = Reading(np.ones(1, np.int64), after.values)
            self._shown = True
        output = self._output(change(touched, before, after))
        groups.bury(touched)
        return output

    def advance(self, time: Time) -> Delta | None:
        if self._shown:
            return None
        self._shown = True
        if not self.emits:
            return None
        slot = self._groups.live()
        return self._output(Change(slot, self._groups.read(slot), None))

    def rows(self) -> pa.Table:
        slots = self._groups.live()
        output = self._output(Change(slots, self._groups.read(slots), None))
        assert output is not None
        return pa.Table.from_batches([output.batch])

    def snapshot(self) -> Snapshot:
        return {**self._groups.snapshot(), "shown": pa.table({"shown": [self._shown]})}

    def restore(self, snapshot: Snapshot) -> None:
        self._groups.restore(snapshot)
        self._shown = snapshot["shown"]["shown"][0].as_py()

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._groups.bytes

    def _output(self, change: Change | None) -> Delta | None:
        if change is None:
            return None
        columns = [*self._groups.key_columns(change.slots), *self._groups.value_columns(change.reading)]
        ordered = [columns[place] for place in self._order]
        return Delta(pa.RecordBatch.from_arrays(ordered, schema=self.schema), change.weights)
