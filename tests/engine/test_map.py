"""Map: the laws, and that whoever looks from outside cannot tell kernels from DuckDB."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headrace.engine.delta import Delta, Slice
from headrace.engine.expression import Projection
from headrace.engine.operators.map import Map
from headrace.sql.expressions import compile_map
from headrace.sql.types import connect
from headrace.storage.errors import DataError, Error
from tests.laws import batch_query, batch_rows, changes, check_laws, values

SCHEMA = pa.schema(
    [
        ("i", pa.int32()),
        ("b", pa.int64()),
        ("f", pa.float64()),
        ("d", pa.decimal128(9, 2)),
        ("s", pa.string()),
        ("ts", pa.timestamp("us")),
        ("ok", pa.bool_()),
    ]
)


def output_schema(items: list[str], schema: pa.Schema) -> pa.Schema:
    """What DuckDB says the items are."""
    connection = connect()
    connection.register("input", schema.empty_table())
    names = ", ".join(f"{item} AS c{i}" for i, item in enumerate(items))
    return connection.sql(f"SELECT {names} FROM input").to_arrow_table().schema


def map_of(
    items: list[str], where: str | None = None, schema: pa.Schema = SCHEMA, output: pa.Schema | None = None
) -> Map:
    """The operator for SQL texts."""
    output = output_schema(items, schema) if output is None else output
    named = [(name, sqlglot.parse_one(item, read="duckdb")) for name, item in zip(output.names, items, strict=True)]
    return compile_map(named, None if where is None else sqlglot.parse_one(where, read="duckdb"), schema, output)


def batch_of(**columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


NUMBERS = batch_of(a=pa.array([5, None, 7, 8], pa.int64()), s=pa.array(["x", "y", None, "z"]))


@pytest.mark.parametrize(
    ("items", "where", "kernel"),
    [
        (["i", "s"], None, True),
        (["s", "i + 1", "CAST(i AS BIGINT) * 2", "upper(s)"], "i >= 0 AND s <> 'b'", True),
        (["f / 3", "CASE WHEN ok THEN d ELSE 0 END", "date_trunc('minute', ts)"], "f > 1 OR ok IS NULL", True),
        (["coalesce(s, 'none')", "1", "NULL"], None, True),
        (["strftime(ts, '%A')", "i"], "ok", False),
        (["s || i", "md5(s)"], "s LIKE 'a%'", False),
        (["10 // i"], "i <> 0", True),
    ],
)
@given(data=st.data())
@settings(max_examples=5)
def test_the_laws(items: list[str], where: str | None, kernel: bool, data: st.DataObject) -> None:
    operator = map_of(items, where)
    assert operator.kernel == kernel
    names = ", ".join(f"{item} AS c{i}" for i, item in enumerate(items))
    condition = "" if where is None else f" WHERE {where}"
    drawn = data.draw(changes(SCHEMA))
    query = batch_query(f"SELECT {names} FROM input{condition}")
    try:
        query(pa.Table.from_batches([delta.batch for delta in drawn]))
    except duckdb.Error:
        assume(False)  # an overflow: there is no answer to compare with
    check_laws(lambda: operator, query, drawn)


SCALARS = st.recursive(
    st.sampled_from([("number", text) for text in ("i", "b", "f", "d", "1", "2.5", "0", "NULL")]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "/", "%", "//"]), inner, inner).map(
            lambda parts: ("number", f"({parts[1][1]} {parts[0]} {parts[2][1]})")
        ),
        st.tuples(st.sampled_from(["<", "=", ">=", "IS DISTINCT FROM"]), inner, inner, inner, inner).map(
            lambda p: ("number", f"CASE WHEN {p[1][1]} {p[0]} {p[2][1]} THEN {p[3][1]} ELSE {p[4][1]} END")
        ),
        st.tuples(st.sampled_from(["abs", "coalesce", "round", "floor", "-", "least"]), inner).map(
            lambda parts: ("number", f"{parts[0]}({parts[1][1]})")
        ),
    ),
    max_leaves=8,
).map(lambda pair: pair[1])


@given(items=st.lists(SCALARS, min_size=1, max_size=3), where=st.none() | SCALARS, data=st.data())
@settings(max_examples=80)
def test_nested_expressions_are_duckdbs(items: list[str], where: str | None, data: st.DataObject) -> None:
    condition = None if where is None else f"{where} > 0"
    rows = data.draw(st.lists(st.tuples(*(values(field.type) for field in SCHEMA)), max_size=5))
    arrays = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(SCHEMA)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
    try:
        output = output_schema([*items, condition or "true"], SCHEMA).remove(len(items))
    except duckdb.Error:  # no such types, or a constant that cannot be folded: no view would be made of it
        assume(False)
    try:
        expected = by_duckdb(items, condition, batch)
    except duckdb.Error:
        expected = None
    operator = map_of(items, condition, output=output)
    try:
        delta = operator.process(Delta(batch))
    except Error:
        assert expected is None
        return
    assert expected is not None, "DuckDB raises an error"
    got = [] if delta is None else batch_rows(delta.batch)
    assert got == expected


def by_duckdb(items: list[str], where: str | None, batch: pa.RecordBatch) -> list[tuple[object, ...]]:
    connection = connect()
    connection.register("input", batch)
    condition = "" if where is None else f" WHERE {where}"
    table = connection.sql(f"SELECT {', '.join(items)} FROM input{condition}").to_arrow_table()
    return [row for part in table.to_batches() for row in batch_rows(part)]


@pytest.mark.parametrize("where", [None, "a > 5", "a > 5 AND strftime(make_timestamp(a), '%Y') = '1970'"])
def test_weights_and_closing_times_stay_with_their_rows(where: str | None) -> None:
    delta = Delta(NUMBERS, np.array([1, -1, -2, 3]), np.array([10, 20, 30, 40]), (Slice(0, 0, 4),))
    result = map_of(["a * 10"], where, NUMBERS.schema).process(delta)
    assert result is not None
    assert result.weights is not None
    assert result.closed is not None
    passed = slice(0, 4) if where is None else slice(2, 4)
    assert result.batch.column(0).to_pylist() == [50, None, 70, 80][passed]
    assert result.weights.tolist() == [1, -1, -2, 3][passed]
    assert result.closed.tolist() == [10, 20, 30, 40][passed]
    assert result.origin is None


@pytest.mark.parametrize("item", ["a", "strftime(make_timestamp(a), '%A')"])
def test_nothing_passes_nothing_comes(item: str) -> None:
    operator = map_of([item], "a > 100", NUMBERS.schema)
    assert operator.process(Delta(NUMBERS)) is None
    assert operator.process(Delta(NUMBERS.slice(0, 0))) is None


@pytest.mark.parametrize("where", [None, "true", "a > 0 OR a IS NULL"])
def test_columns_are_not_copied(where: str | None) -> None:
    result = map_of(["s", "a"], where, NUMBERS.schema).process(Delta(NUMBERS))
    assert result is not None
    for name, column in (("s", result.batch.column(0)), ("a", result.batch.column(1))):
        addresses = [buffer and buffer.address for buffer in NUMBERS.column(name).buffers()]
        assert [buffer and buffer.address for buffer in column.buffers()] == addresses


def test_what_depends_on_no_column_is_repeated() -> None:
    result = map_of(["1 + 1", "'x'", "NULL"], "a > 5", NUMBERS.schema).process(Delta(NUMBERS))
    assert result is not None
    assert batch_rows(result.batch) == [(2, "x", None)] * 2


def test_a_sliced_batch_is_read_from_its_first_row() -> None:
    items = ["a + 1", "upper(s)", "time_bucket(INTERVAL '1' SECOND, make_timestamp(a))", "CAST(a AS DOUBLE) % 2"]
    operator = map_of([*items, "split_part(s, 'q', 1)"], None, NUMBERS.schema)
    assert operator.kernel or "make_timestamp" in operator.describe()
    result = operator.process(Delta(NUMBERS.slice(2, 2)))
    assert result is not None
    assert result.batch.column(0).to_pylist() == [8, 9]
    assert result.batch.column(4).to_pylist() == [None, "z"]


def test_equal_expressions_are_computed_once() -> None:
    operator = map_of(["a + 1", "(a + 1) * (a + 1)", "-(a + 1)"], None, NUMBERS.schema)
    assert operator._items is not None
    assert len(operator._items.steps) == 3


def test_a_branch_not_taken_raises_nothing() -> None:
    operator = map_of(
        ["CASE WHEN a = 5 THEN 0 ELSE 10 // (a - 5) END", "CAST(s AS BIGINT)"], "s IS NULL", NUMBERS.schema
    )
    assert operator.kernel
    result = operator.process(Delta(NUMBERS))
    assert result is not None
    assert batch_rows(result.batch) == [(5, None)]
    result = map_of(["CASE WHEN a = 5 THEN 0 ELSE 10 // (a - 5) END"], None, NUMBERS.schema).process(Delta(NUMBERS))
    assert result is not None
    assert result.batch.column(0).to_pylist() == [0, None, 5, 3]


@pytest.mark.parametrize(
    ("item", "headline"),
    [
        ("a + 9223372036854775807", "overflow in addition"),
        ("CAST(s AS BIGINT)", "could not convert string 'x' to INT64"),
        ("repeat(s, CAST(s AS BIGINT))", "could not convert string 'x' to INT64"),
        ("a // (a - 7)", "division by zero"),
    ],
)
def test_errors_are_duckdbs(item: str, headline: str) -> None:
    with pytest.raises(DataError) as caught:
        map_of([item], None, NUMBERS.schema).process(Delta(NUMBERS))
    assert headline in str(caught.value)


def test_an_error_leaves_the_operator_as_it_was() -> None:
    operator = map_of(["strftime(make_timestamp(a * 1000000000000000), '%Y')"], None, NUMBERS.schema)
    small = replace(Delta(NUMBERS), batch=NUMBERS.set_column(0, "a", pa.array([0, 0, 0, 0], pa.int64())))
    with pytest.raises(DataError):
        operator.process(Delta(NUMBERS.set_column(0, "a", pa.array([1 << 40] * 4))))
    result = operator.process(small)
    assert result is not None
    assert result.batch.column(0).to_pylist() == ["1970"] * 4


def test_it_says_who_computes() -> None:
    assert map_of(["a"], None, NUMBERS.schema).describe() == "kernels"
    assert map_of(["dayname(make_timestamp(a))"], None, NUMBERS.schema).describe().startswith("duckdb: because of ")


def test_results_get_the_types_asked_for() -> None:
    output = pa.schema([("c0", pa.int64()), ("c1", pa.decimal128(38, 0)), ("c2", pa.string())])
    schema = pa.schema([("i", pa.int32()), ("h", pa.decimal128(38, 0))])
    batch = pa.RecordBatch.from_arrays(
        [pa.array([1, None], pa.int32()), pa.array([2, None], pa.decimal128(38, 0))], schema=schema
    )
    for item, value in (("h", 2), ("h + 1", 3), ("xor(h, 3)", 1)):  # of a HUGEINT, by kernels and by DuckDB
        operator = map_of(["i", item, "NULL"], None, schema, output)
        assert operator.kernel == ("xor" not in item)
        result = operator.process(Delta(batch))
        assert result is not None
        assert result.batch.schema == output
        assert result.batch.column(1).to_pylist() == [value, None]


def test_a_column_named_row_is_no_other_than_the_users() -> None:
    batch = batch_of(row=pa.array([3, 4]), row_=pa.array(["a", "b"]))
    result = map_of(["format('{}-{}', row, row_)"], "row > 3", batch.schema).process(Delta(batch, np.array([1, -1])))
    assert result is not None
    assert result.weights is not None
    assert (result.batch.column(0).to_pylist(), result.weights.tolist()) == (["4-b"], [-1])


def test_duckdb_keeps_no_batch_alive() -> None:
    operator = map_of(["dayname(make_timestamp(a))"], None, NUMBERS.schema)
    operator.process(Delta(NUMBERS))
    projection = operator._projection
    assert isinstance(projection, Projection)
    assert projection._slot.batch.num_rows == 0
