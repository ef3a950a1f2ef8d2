"""Over: each row with what a window says of it and its neighbours, kept as rows come and go."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from ...storage.memory import current
from ..delta import Delta
from ..idle import Idle
from ..operator import Operator, ResultHolder, Snapshot, Time
from ..over_functions import OverCall
from ..over_rows import OverRows
from ..sort_keys import SortKey


class Over(ResultHolder):
    """Every row of the input with the values of `calls` beside it: what they say of the rows that agree in `partition`.

    Rows that are equal in all of `order` are equal altogether, or no call tells them apart.

    Shape: the input's columns, then a column per call.
    State: all rows of the input, by partition, in KeyedRows. What a delta touches is computed before and after it.
    """

    def __init__(
        self, partition: Sequence[str], order: Sequence[SortKey], calls: Sequence[OverCall], input_schema: pa.Schema
    ) -> None:
        self._over = OverRows(partition, order, calls, input_schema)
        self.schema = self._over.schema
        self._rows = self._over.kept

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        delta = Delta(delta.batch, delta.weights)
        self._rows.prepare(delta)
        if not self.emits:
            self._rows.insert(delta)
            return None
        return self._over.change(delta, self._rows.touched(delta))

    def advance(self, time: Time) -> Delta | None:
        return None

    def rows(self) -> pa.Table:
        computed = [current().batch(batch) for batch in self._over.results()]
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


class ExpiringOver(Operator):
    """The same, but that a partition to which nothing came for `ttl_us`, by the clock of the epochs, is forgotten.

    What came out of it stays, so that this operator does not hold its result; with its next row it begins anew. No
    row is retracted of a partition that may be forgotten.

    Shape: as Over.
    State: the rows of the partitions that are not forgotten, as Over has them, and 24 bytes a partition.
    """

    dated = shows_cuts = True  # it counts when rows came

    def __init__(
        self,
        partition: Sequence[str],
        order: Sequence[SortKey],
        calls: Sequence[OverCall],
        input_schema: pa.Schema,
        ttl_us: int,
    ) -> None:
        self._over = OverRows(partition, order, calls, input_schema)
        self.schema = self._over.schema
        self._rows = self._over.kept
        self._idle = Idle(ttl_us)

    def expire(self, time: Time) -> Delta | None:
        if len(expired := self._idle.expire(time.clock)):
            self._rows.remove(self._rows.rows_of(expired)[1])
        return None

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        delta = Delta(delta.batch, delta.weights)
        self._idle.keep(self._rows.prepare(delta))
        touched = self._rows.touched(delta)
        self._idle.touch(touched)
        return self._over.change(delta, touched)

    def advance(self, time: Time) -> Delta | None:
        self._idle.stamp(time.clock)
        self.wake = self._idle.wake
        return None

    def snapshot(self) -> Snapshot:
        self._idle.keep(self._rows.compact())
        idle = self._idle.times(self._rows.by_row())
        return {**self._rows.snapshot(), "idle": idle}

    def restore(self, snapshot: Snapshot) -> None:
        self._rows.restore(snapshot)
        self._idle.load(self._rows.by_row(), snapshot["idle"])
        self.wake = self._idle.wake

    @property
    def kept(self) -> int | None:
        return self._rows.size

    @property
    def oldest(self) -> int | None:
        return self._idle.oldest

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._rows.bytes + self._idle.bytes
