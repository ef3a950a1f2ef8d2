"""Recompute: any query at all, run again by DuckDB on what it needs of its inputs when they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...storage import limits
from ...storage.errors import OperationalError
from ..arrangement import Arrangement
from ..delta import Delta, concat
from ..keyed_rows import KeyedRows
from ..operator import ResultHolder, Snapshot, Time

_WEIGHT = "_weight"


class Recompute(ResultHolder):
    """The change of a query's result, given changes of its inputs: the new result less the old one.

    `sql` is the query over relations named `names`; `reads[i]` is SQL that gives the registered Arrow relation
    `names[i] + '_rows'` its SQL types back. With `partition`, only the parts of the inputs that agree with a changed
    row in those columns are looked up and run, before and after the change.
    Holds: its inputs; without `partition` also its result.
    State: all rows of all inputs, O(rows); nothing bounds it but LIMIT or an aggregate below it.
    Raises: OperationalError beyond limits.RECOMPUTE_ROWS_MAX rows of input; what `translate` makes of DuckDB's errors.
    """

    def __init__(
        self,
        sql: str,
        names: Sequence[str],
        reads: Sequence[str],
        input_schemas: Sequence[pa.Schema],
        schema: pa.Schema,
        partition: Sequence[Sequence[str]],
        connection: duckdb.DuckDBPyConnection,
        translate: Callable[[duckdb.Error], Exception],
    ) -> None:
        self.schema = schema
        self._sql = sql
        self._names = list(names)
        self._reads = list(reads)
        self._partition = [list(columns) for columns in partition]
        self._connection = connection
        self._translate = translate
        self._inputs: list[Arrangement | KeyedRows] = [
            KeyedRows(input_schema, partition[place]) if partition else Arrangement(input_schema)
            for place, input_schema in enumerate(input_schemas)
        ]
        self._pending: list[list[Delta]] = [[] for _ in names]
        self._result = Arrangement(schema)
        self._started = False

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        self._pending[port].append(delta)
        return None

    def advance(self, time: Time) -> Delta | None:
        changed = any(self._pending)
        if not changed and self._started:
            return None
        keyed = bool(self._partition)
        touched = self._touched() if keyed and changed else None
        old = self._run(touched) if touched is not None else self._result.rows()
        for arrangement, deltas in zip(self._inputs, self._pending, strict=True):
            if deltas:
                arrangement.insert(concat([Delta(d.batch, d.weights) for d in deltas]))
        self._pending = [[] for _ in self._names]
        self._started = True
        if keyed and touched is None:
            return None
        new = self._run(touched)
        if not keyed:
            self._result = self._held(new)
        return self._difference(old, new)

    def rows(self) -> pa.Table:
        return self._run(None) if self._partition else self._result.rows()

    def snapshot(self) -> Snapshot:
        tables = {
            f"input{i}/{name}": table
            for i, arrangement in enumerate(self._inputs)
            for name, table in arrangement.snapshot().items()
        }
        return {**tables, "result": self._result.rows(), "started": pa.table({"started": [self._started]})}

    def restore(self, snapshot: Snapshot) -> None:
        for i, arrangement in enumerate(self._inputs):
            prefix = f"input{i}/"
            arrangement.restore({n.removeprefix(prefix): t for n, t in snapshot.items() if n.startswith(prefix)})
        self._result = self._held(snapshot["result"])
        self._started = snapshot["started"].column(0)[0].as_py()

    @property
    def kept(self) -> int | None:
        return sum(arrangement.size for arrangement in self._inputs)

    @property
    def bytes(self) -> int:
        """Memory of its inputs and, without `partition`, its result. Units: bytes."""
        return sum(arrangement.bytes for arrangement in self._inputs) + self._result.bytes

    def _held(self, result: pa.Table) -> Arrangement:
        """The result, where there is room for it."""
        held = Arrangement(self.schema)
        for batch in result.to_batches():
            held.insert(Delta(batch))
        return held

    def _touched(self) -> pa.Table:
        """The partition values, each once, that any pending row has."""
        names = [f"_k{i}" for i in range(len(self._partition[0]))]
        parts = [
            pa.table([d.batch.column(c) for c in columns], names=names)
            for columns, deltas in zip(self._partition, self._pending, strict=True)
            for d in deltas
        ]
        values = pa.concat_tables(parts, promote_options="permissive")
        return values.group_by(names, use_threads=False).aggregate([])

    def _run(self, touched: pa.Table | None) -> pa.Table:
        """The query's result over the inputs as they stand, or over their touched partitions only."""
        total = 0
        ctes = []
        for name, read, kept in zip(self._names, self._reads, self._inputs, strict=True):
            rows = _rows(kept, touched)
            total += rows.num_rows
            self._connection.register(f"{name}_rows", rows)
            ctes.append(f'"{name}" AS ({read})')
        if total > limits.RECOMPUTE_ROWS_MAX:
            raise OperationalError(
                f"cannot recompute over {total:,} rows",
                detail=f"It runs the query again on every change, over at most {limits.RECOMPUTE_ROWS_MAX:,} rows.",
                hint="EXPLAIN shows which part is recomputed; filter or aggregate below it.",
            )
        with_clause = f"WITH {', '.join(ctes)} " if ctes else ""
        try:
            result = self._connection.sql(f"{with_clause}SELECT * FROM ({self._sql})").to_arrow_table()
        except duckdb.Error as error:
            raise self._translate(error) from None
        return result.rename_columns(self.schema.names).cast(self.schema)

    def _difference(self, old: pa.Table, new: pa.Table) -> Delta | None:
        """What turns `old` into `new`: rows with the weights by which their counts differ."""
        if old.num_rows == 0 and new.num_rows == 0:
            return None
        self._connection.register("_new", new)
        self._connection.register("_old", old)
        names = ", ".join(_quoted(name) for name in self.schema.names)
        both = f"SELECT {names}, 1 AS {_WEIGHT} FROM _new UNION ALL SELECT {names}, -1 FROM _old"
        changes = self._connection.sql(
            f"SELECT {names}, sum({_WEIGHT})::BIGINT AS {_WEIGHT} FROM ({both}) GROUP BY ALL HAVING sum({_WEIGHT}) <> 0"
        ).to_arrow_table()
        if changes.num_rows == 0:
            return None
        weights = changes.column(_WEIGHT).to_numpy().astype(np.int64)
        order = np.argsort(weights, kind="stable")  # retractions first
        table = changes.drop_columns([_WEIGHT]).cast(self.schema).take(pa.array(order)).combine_chunks()
        batch = table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=self.schema)
        return Delta(batch, weights[order])


def _rows(kept: Arrangement | KeyedRows, touched: pa.Table | None) -> pa.Table:
    """All rows of an input, or those whose partition is in `touched`."""
    if isinstance(kept, Arrangement):
        return kept.rows()
    if touched is None:
        return pa.Table.from_batches([kept.repeated(kept.rows())])
    columns = [column.combine_chunks() for column in touched.columns]
    fits = np.ones(touched.num_rows, np.bool_)
    keys = []
    for column, kind in zip(columns, kept.key_types, strict=True):
        if column.type != kind:  # another integer type: what does not fit is no partition here
            cast = pc.cast(column, kind, safe=False)
            fits &= pc.equal(cast, column).fill_null(True).to_numpy(zero_copy_only=False)
            column = cast
        keys.append(column)
    _, rows = kept.find([column.filter(pa.array(fits)) for column in keys])
    return pa.Table.from_batches([kept.repeated(np.unique(rows))])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
