"""A map that skips what it fails on: the laws, and who is told of which rows."""

from __future__ import annotations

import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.delta import Delta, Slice
from headrace.engine.operators.late import Late
from headrace.engine.operators.map import Map
from headrace.engine.screening import FailedRows
from headrace.engine.windows import Moments
from headrace.sql import plan as p
from headrace.sql.lower import lower_map
from headrace.sql.relations import Column
from headrace.storage import limits
from headrace.storage.errors import ProgrammingError
from tests.laws import batch_query, check_laws, delta_of

SCHEMA = pa.schema([("s", pa.string()), ("n", pa.int32())])
COLUMNS = (Column("s", "VARCHAR", pa.string()), Column("n", "INTEGER", pa.int32()))
TEXTS = ["1", "2.5", "0", "x", "", None, "7", "999999999999", "-3"]


def skipping_map(
    items: dict[str, tuple[str, str, pa.DataType]], where: str | None, failed: list[FailedRows] | None = None
) -> Map:
    """The operator for items by name: SQL, and the type in DuckDB and in Arrow."""
    columns = tuple(Column(name, sql_type, arrow) for name, (_, sql_type, arrow) in items.items())
    values = tuple((name, sqlglot.parse_one(sql, read="duckdb")) for name, (sql, _, _) in items.items())
    condition = None if where is None else sqlglot.parse_one(where, read="duckdb")
    plan = p.SkippingMap(p.Scan("s", COLUMNS, None), values, condition, columns, "s")
    told = [] if failed is None else failed
    return lower_map(plan, lambda source, rows: told.append(rows))


THIRDS = {"m": ("CAST(s AS INTEGER) % 3", "INTEGER", pa.int32()), "n": ("n", "INTEGER", pa.int32())}


@st.composite
def updates(draw: st.DrawFn) -> list[Delta]:
    """Changes of rows of which some fail: what is retracted was inserted before."""
    there: list[tuple[str | None, int]] = []
    deltas = []
    for _ in range(draw(st.integers(1, 4))):
        rows, weights = [], []
        for _ in range(draw(st.integers(1, 8))):
            if there and draw(st.booleans()):
                rows.append(there.pop(draw(st.integers(0, len(there) - 1))))
                weights.append(-1)
            else:
                rows.append((draw(st.sampled_from(TEXTS)), draw(st.integers(0, 2))))
                weights.append(1)
        there += [row for row, weight in zip(rows, weights, strict=True) if weight > 0]
        deltas.append(delta_of(SCHEMA, rows, weights))
    return deltas


@settings(max_examples=8)
@given(updates())
def test_the_laws_of_a_map_that_skips(inputs: list[Delta]) -> None:
    expected = """
      SELECT i % 3 AS m, n FROM (SELECT *, TRY_CAST(s AS INTEGER) AS i, TRY_CAST(s AS DOUBLE) AS d FROM input)
      WHERE d > 0.5 AND (i IS NOT NULL OR s IS NULL)
    """
    check_laws(lambda: skipping_map(THIRDS, "CAST(s AS DOUBLE) > 0.5"), batch_query(expected), inputs)


@settings(max_examples=8)
@given(updates())
def test_the_laws_where_duckdb_computes(inputs: list[Delta]) -> None:
    items = {"m": ("strptime(s, '%d')", "TIMESTAMP", pa.timestamp("us"))}
    expected = "SELECT try_strptime(s, '%d') AS m FROM input WHERE s IS NULL OR try_strptime(s, '%d') IS NOT NULL"
    check_laws(lambda: skipping_map(items, None), batch_query(expected), inputs)


@settings(max_examples=8)
@given(updates())
def test_the_laws_where_casts_are_not_all_that_fails(inputs: list[Delta]) -> None:
    items = {
        "i": ("CAST(s AS BIGINT)", "BIGINT", pa.int64()),
        "d": ("strptime(s, '%d')", "TIMESTAMP", pa.timestamp("us")),
    }
    expected = """
      SELECT TRY_CAST(s AS BIGINT) AS i, try_strptime(s, '%d') AS d FROM input
      WHERE s IS NULL OR (i IS NOT NULL AND d IS NOT NULL)
    """
    check_laws(lambda: skipping_map(items, None), batch_query(expected), inputs)


def test_who_fails_is_told_with_its_place_and_its_reason() -> None:
    failed: list[FailedRows] = []
    operator = skipping_map(THIRDS, None, failed)
    batch = pa.RecordBatch.from_pydict({"s": ["4", "x", "5", "y"], "n": [1, 2, 3, 4]}, schema=SCHEMA)
    origin = (Slice(3, 100, 1), Slice(1, 7, 3))
    output = operator.process(Delta(batch, origin=origin))
    assert output is not None
    assert output.batch.to_pydict() == {"m": [1, 2], "n": [1, 3]}
    assert len(failed) == 1
    assert failed[0].partitions is not None
    assert failed[0].partitions.tolist() == [1, 1]
    assert failed[0].offsets is not None
    assert failed[0].offsets.tolist() == [7, 9]
    assert failed[0].reasons == [
        f"could not convert string '{text}' to INT32 when casting from source column s" for text in "xy"
    ]


def test_what_goes_again_is_not_told_again() -> None:
    failed: list[FailedRows] = []
    operator = skipping_map(THIRDS, None, failed)
    assert operator.process(delta_of(SCHEMA, [("x", 1)])) is None
    assert operator.process(delta_of(SCHEMA, [("x", 1), ("y", 2)], [-1, 1])) is None
    assert [rows.batch.to_pylist() for rows in failed] == [[{"s": "x", "n": 1}], [{"s": "y", "n": 2}]]
    assert failed[0].offsets is None


def test_many_that_fail_share_a_reason() -> None:
    failed: list[FailedRows] = []
    operator = skipping_map(THIRDS, None, failed)
    count = limits.FAILURES_EXPLAINED + 3
    batch = pa.RecordBatch.from_pydict({"s": ["x"] * count, "n": [0] * count}, schema=SCHEMA)
    assert operator.process(Delta(batch, origin=(Slice(0, 0, count),))) is None
    assert len(failed[0].reasons) == count
    assert sum("'x'" in reason for reason in failed[0].reasons) == limits.FAILURES_EXPLAINED


def test_what_no_row_is_to_blame_for_is_raised() -> None:
    operator = skipping_map({"m": ("no_such_function(s)", "INTEGER", pa.int32())}, None)
    with pytest.raises(ProgrammingError, match="no_such_function"):
        operator.process(delta_of(SCHEMA, [("x", 1)]))


def test_rows_behind_late_ones_are_still_known_by_their_places() -> None:
    """A join bound in time leaves out late rows first; then some of the rest fail."""
    schema = pa.schema([("s", pa.string()), ("ts", pa.timestamp("us"))])
    late = Late(Moments(), "ts", schema, lambda rows: None)
    late.watermark = 10
    batch = pa.RecordBatch.from_arrays(
        [pa.array(["a", "b", "c", "d"]), pa.array([20, 5, 30, 7], pa.timestamp("us"))], schema=schema
    )
    passed = late.process(Delta(batch, origin=(Slice(0, 50, 3), Slice(2, 0, 1))))
    assert passed is not None
    assert passed.origin == (Slice(0, 50, 1), Slice(0, 52, 1))
    assert passed.batch.column("s").to_pylist() == ["a", "c"]
