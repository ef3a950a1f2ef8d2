"""LookupJoin: each row beside what is there when it comes, and then as it is for ever."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ..delta import Delta, concat
from ..join_side import JoinInput, JoinSide
from ..keyed_rows import KeyedRows
from ..operator import Operator, Snapshot, Time
from ..slot_array import where


class LookupJoin(Operator):
    """Each left row beside the right rows that have its keys at the end of the epoch in which it comes.

    Without any it comes out beside NULLs, with `outer`, or not at all. Nothing is said again when the right changes.
    Rows of the left that are late stay so.

    Shape: the outputs of the left input, then those of the right one.
    State: the right rows, by key.
    Holds: the left takes no row back.
    From: Flink's lookup joins, and RisingWave's joins FOR SYSTEM_TIME AS OF PROCTIME().
    """

    shows_cuts = True

    def __init__(self, left: JoinInput, right: JoinInput, schema: pa.Schema, *, outer: bool) -> None:
        self.schema = schema
        self._left = left
        self._outer = outer
        self._right = JoinSide(right, alone=False, matched=False, counts=False)
        self._rows = KeyedRows(right.schema, right.keys)
        self._came: list[Delta] = []  # in this epoch

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        if port == 0:
            assert delta.weights is None or (delta.weights > 0).all(), "what was looked up is not kept"
            self._came.append(delta)
            return None
        delta, _ = self._right.split(delta)
        if delta.rows:
            self._rows.insert(delta)
        return None

    def advance(self, time: Time) -> Delta | None:
        came, self._came = self._came, []
        output: list[Delta] = []
        for delta in came:
            places, rows = self._rows.find([delta.batch.column(name) for name in self._left.keys])
            if len(rows):
                output.append(self._beside(delta.take(places), self._rows.take(rows, self._right.input.output).columns))
                weights = self._rows.weights(rows)
                if weights is not None:
                    last = output[-1]
                    output[-1] = Delta(last.batch, last.weight_array() * weights, last.closed)
            if self._outer:
                alone = np.ones(delta.rows, np.bool_)
                alone[places] = False
                lone = where(alone)
                kinds = self.schema.types[len(self._left.output) :]
                output.append(self._beside(delta.take(lone), [pa.nulls(len(lone), kind) for kind in kinds]))
        return concat(output) if output else None

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

    def _beside(self, left: Delta, right: list[pa.Array]) -> Delta:
        columns = [*(left.batch.column(name) for name in self._left.output), *right]
        return Delta(pa.RecordBatch.from_arrays(columns, schema=self.schema), left.weights, left.closed)
