"""The laws for grouping sets: of Expand below Aggregate, and of Aggregate alone; their row of no keys needs no rows."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import grouping_sets
from headrace.engine.aggregates import AggregateCall
from headrace.engine.delta import Delta
from headrace.engine.operator import ResultHolder, Snapshot, Time
from headrace.engine.operators.aggregate import Aggregate
from headrace.engine.operators.expand import Expand
from tests.laws import batch_query, changes, check_laws, delta_of, step

SCHEMA = pa.schema([("a", pa.string()), ("b", pa.bool_()), ("v", pa.int32())])
EXPANDED = pa.schema([*SCHEMA, ("ga", pa.string()), ("gb", pa.bool_()), ("set", pa.int32())])
SETS = {
    "ROLLUP (a, b)": [{0, 1}, {0}, set()],
    "CUBE (a, b)": [{0, 1}, {0}, {1}, set()],
    "GROUPING SETS ((b), (), (a, b), ())": [{1}, set(), {0, 1}, set()],
    "GROUPING SETS ((a), (b))": [{0}, {1}],
}
SQL = "SELECT a, b, sum(v) AS total, count(*) AS n, count(DISTINCT v) AS different FROM input GROUP BY {}"
COUNTS = "SELECT a, b, count(*) AS n FROM input GROUP BY {}"
OUTPUT_KEYS = pa.schema([("ga", pa.string()), ("gb", pa.bool_()), ("set", pa.int32())])
OUTPUT = pa.schema([*OUTPUT_KEYS, ("total", pa.decimal128(38, 0)), ("n", pa.int64()), ("different", pa.int64())])


class Grouped(ResultHolder):
    """Aggregate over grouping sets without the set's number; with `expands` Expand below it makes the sets.

    State: that of Aggregate.
    """

    def __init__(
        self, sets: list[frozenset[int]], append_only: bool, *, expands: bool = False, counts: bool = False
    ) -> None:
        calls = [
            AggregateCall("sum", "v", None, "total", OUTPUT.field("total").type),
            AggregateCall("count_star", None, None, "n", pa.int64()),
            AggregateCall("count", "v", None, "different", pa.int64(), distinct=True),
        ]
        calls = calls[1:2] if counts else calls
        output = pa.schema([*OUTPUT_KEYS, *(field for field in OUTPUT if field.name in [call.name for call in calls])])
        standing = pa.array([place for place, some in enumerate(sets) if not some], pa.int32())
        nothing = [pa.nulls(len(standing), pa.string()), pa.nulls(len(standing), pa.bool_())]
        keys = pa.RecordBatch.from_arrays([*nothing, standing], schema=OUTPUT_KEYS)
        self.schema = pa.schema([field for field in output if field.name != "set"])
        stands = keys if len(standing) else None
        self._expand = Expand(["a", "b"], sets, EXPANDED) if expands else None
        if expands:
            self._aggregate = Aggregate(["ga", "gb", "set"], calls, EXPANDED, output, append_only, stands)
        else:
            names = OUTPUT_KEYS.names
            self._aggregate = Aggregate(["a", "b"], calls, SCHEMA, output, append_only, stands, sets, names)

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        self._aggregate.emits = self.emits
        expanded = delta if self._expand is None else self._expand.process(delta)
        return None if expanded is None else self._narrow(self._aggregate.process(expanded))

    def advance(self, time: Time) -> Delta | None:
        self._aggregate.emits = self.emits
        return self._narrow(self._aggregate.advance(time))

    def _narrow(self, delta: Delta | None) -> Delta | None:
        return None if delta is None else Delta(delta.batch.select(self.schema.names), delta.weights)

    def rows(self) -> pa.Table:
        return self._aggregate.rows().select(self.schema.names)

    def snapshot(self) -> Snapshot:
        return self._aggregate.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        self._aggregate.restore(snapshot)


@pytest.mark.parametrize("append_only", [True, False])
@pytest.mark.parametrize("text", SETS)
@settings(max_examples=6)
@given(data=st.data())
def test_laws(text: str, append_only: bool, data: st.DataObject) -> None:
    sets = [frozenset(some) for some in SETS[text]]
    inputs = data.draw(changes(SCHEMA, append_only=append_only))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping_sets, "_COMBINATIONS_MIN", data.draw(st.sampled_from([0, 65_536])))
        check_laws(lambda: Grouped(sets, append_only), batch_query(SQL.format(text)), inputs)
        check_laws(lambda: Grouped(sets, append_only, counts=True), batch_query(COUNTS.format(text)), inputs)


@settings(max_examples=6)
@given(inputs=changes(SCHEMA, append_only=False))
def test_laws_of_expanded_rows(inputs: list[Delta]) -> None:
    sets = [frozenset(some) for some in SETS["CUBE (a, b)"]]
    check_laws(lambda: Grouped(sets, False, expands=True), batch_query(SQL.format("CUBE (a, b)")), inputs)


def test_the_row_of_no_keys_outlives_all_rows() -> None:
    operator = Grouped([frozenset({0}), frozenset()], append_only=False)
    row = [("x", True, 5)]
    first = step(operator, delta_of(SCHEMA, []), 1)
    assert first is not None
    assert first.batch.to_pylist() == [{"ga": None, "gb": None, "total": None, "n": 0, "different": 0}]
    step(operator, delta_of(SCHEMA, row), 2)
    assert operator.rows().num_rows == 2
    step(operator, delta_of(SCHEMA, row, [-1]), 3)
    assert operator.rows().to_pylist() == first.batch.to_pylist()
