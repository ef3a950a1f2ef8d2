"""Recompute obeys the laws, whole and by partition, and says no before it keeps too much."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings

from headrace.engine.delta import Delta
from headrace.engine.operator import Time
from headrace.engine.operators.recompute import Recompute
from headrace.sql.types import translate
from headrace.storage import limits
from headrace.storage.errors import DataError, OperationalError
from tests.laws import batch_query, changes, check_laws, delta_of, oracle, step

SCHEMA = pa.schema([("k", pa.string()), ("v", pa.int64()), ("f", pa.float64())])

QUERIES = [
    ("SELECT k, sum(v % 100) AS s, count(*) AS n FROM in0 GROUP BY k", ()),
    ("SELECT k, v FROM in0 ORDER BY v DESC, k, f LIMIT 3", ()),
    ("SELECT l.k, l.v, r.v AS w FROM in0 AS l LEFT JOIN in0 AS r ON l.v = r.v AND l.k < r.k", ()),
    ("SELECT k, v, rank() OVER (PARTITION BY k ORDER BY v) AS place FROM in0", (("k",),)),
    ("SELECT k, v FROM in0 UNION SELECT k, v + 1 FROM in0 WHERE v < 100", ()),
]


def recompute(sql: str, partition: tuple[tuple[str, ...], ...]) -> Recompute:
    connection = oracle()
    connection.register("in0", SCHEMA.empty_table())
    schema = connection.sql(sql).to_arrow_table().schema
    read = 'SELECT * FROM "in0_rows"'
    return Recompute(sql, ["in0"], [read], [SCHEMA], schema, partition, oracle(), translate)


@pytest.mark.parametrize(("sql", "partition"), QUERIES)
@given(inputs=changes(SCHEMA))
@settings(max_examples=8)
def test_laws(sql: str, partition: Any, inputs: list[Delta]) -> None:
    check_laws(lambda: recompute(sql, partition), batch_query(sql.replace("in0", "input")), inputs)


def test_only_touched_partitions_come_out() -> None:
    operator = recompute("SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v) AS place FROM in0", (("k",),))
    step(operator, delta_of(SCHEMA, [("a", 2, 0.0), ("b", 1, 0.0), (None, 5, 0.0)]), 1)
    change = step(operator, delta_of(SCHEMA, [("a", 1, 0.0)]), 2)
    assert change is not None
    assert sorted(zip(change.batch.to_pylist(), change.weight_array().tolist(), strict=True), key=str) == [
        ({"k": "a", "v": 1, "place": 1}, 1),
        ({"k": "a", "v": 2, "place": 1}, -1),
        ({"k": "a", "v": 2, "place": 2}, 1),
    ]
    null = step(operator, delta_of(SCHEMA, [(None, 4, 0.0)]), 3)
    assert null is not None
    assert set(null.batch.column("k").to_pylist()) == {None}


def test_too_many_rows_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECOMPUTE_ROWS_MAX", 2)
    operator = recompute(QUERIES[0][0], ())
    with pytest.raises(OperationalError, match="cannot recompute over 3 rows"):
        step(operator, delta_of(SCHEMA, [("a", 1, 0.0), ("b", 2, 0.0), ("c", 3, 0.0)]), 1)


@pytest.mark.parametrize("large", [False, True])
def test_partitions_meet_across_integer_types(large: bool) -> None:
    small_schema, large_schema = pa.schema([("k", pa.int8())]), pa.schema([("k", pa.int64())])
    read = ['SELECT * FROM "in0_rows"', 'SELECT * FROM "in1_rows"']
    sql = "SELECT l.k AS a, r.k AS b FROM in0 AS l FULL JOIN in1 AS r ON l.k IS NOT DISTINCT FROM r.k"
    schema = pa.schema([("a", pa.int8()), ("b", pa.int64())])
    operator = Recompute(
        sql, ["in0", "in1"], read, [small_schema, large_schema], schema, (("k",), ("k",)), oracle(), translate
    )
    parts = [delta_of(small_schema, [(1,), (None,)]), delta_of(large_schema, [(1,), (257,), (None,)])]
    if large:
        operator.process(parts[1], 1)
        operator.process(parts[0], 0)
        operator.advance(Time(epoch=1, clock=0))
    else:
        for port, part in enumerate(parts):
            operator.process(part, port)
            operator.advance(Time(epoch=port, clock=0))
    expected = [{"a": 1, "b": 1}, {"a": None, "b": 257}, {"a": None, "b": None}]
    assert sorted(operator.rows().to_pylist(), key=str) == sorted(expected, key=str)


def test_what_fails_in_it_is_an_error_of_ours() -> None:
    operator = Recompute(
        "SELECT CAST(s AS BIGINT) AS n FROM in0", ["in0"], ["SELECT * FROM in0_rows"],
        [pa.schema([("s", pa.string())])], pa.schema([("n", pa.int64())]), (), oracle(), translate,
    )  # fmt: skip
    operator.process(delta_of(pa.schema([("s", pa.string())]), [("1",), ("x",)]))
    with pytest.raises(DataError, match=r"^could not convert string 'x' to INT64"):
        operator.advance(Time(epoch=1, clock=0))
