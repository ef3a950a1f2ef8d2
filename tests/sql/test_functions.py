"""Every row of the tables of functions and casts computes what DuckDB computes, or declines, on adversarial values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import sqlglot

from headrace.engine.delta import Delta
from headrace.engine.expression import Projection
from headrace.engine.operators.map import Map
from headrace.sql.casts import CASTS, Cast
from headrace.sql.dialect import Headrace
from headrace.sql.expressions import compile_map
from headrace.sql.functions import FUNCTIONS, Function
from headrace.sql.types import connect

TEXTS = [
    "",
    "a",
    "ab",
    "aabb",
    "A b ",
    "  x\t",
    "é",
    "ß",
    "İı",
    "日本",
    "a%b",
    "a_b",
    "a\\b",
    "a\nb",
    "🤦🏼‍♂️",
    "b",
    "axa",
]
NUMBERS = [
    "0",
    "-0",
    "007",
    "5",
    "-7",
    "+5",
    " 12 ",
    "1.5",
    "2.5",
    "1e2",
    "0x10",
    "1_000",
    "300",
    "9223372036854775808",
]
FLOATS = ["nan", "inf", "-Infinity", ".5", "1e400", "-0.0", "0x1p3", "1.", "5e-324", "0.1", "t", "True", "no"]
DATES = ["2020-02-29", "2020-13-01", "2020-1-1", "infinity", "0001-01-01", "2020-01-01 10", "2020-01-01T10:00:00Z"]
MOMENTS = ["2020-01-01 10:11:12.5", "1969-12-31 23:59:59.999999", "2020-01-01T10:11", "2020-01-01 00:00:00+01"]
TIMES = ["1970-01-01", "1969-12-31 23:59:59.999999", "2000-01-03 00:00:00", "2020-02-29 12:34:56.789123", "1582-10-10"]
TIMES += [
    "0001-01-01",
    "9999-12-31 23:59:59",
    "infinity",
    "-infinity",
    "290000-01-01",
    "2021-01-03 23:59:59.5",
    "1900-01-01",
]
DAYS = ["1970-01-01", "1969-12-31", "2020-02-29", "2021-01-03", "0001-01-01", "9999-12-31", "infinity", "-infinity"]
REALS = ["0", "-0.0", "1", "-1", "0.5", "-0.5", "2.5", "2.675", "1e15", "1e300", "-7.5", "nan", "inf", "-inf", "1e-300"]

VALUES: dict[str, list[str]] = {
    "BOOLEAN": ["true", "false"],
    "TINYINT": ["0", "1", "-1", "7", "-128", "127"],
    "INTEGER": ["0", "1", "-1", "7", "-2147483648", "2147483647"],
    "BIGINT": ["0", "1", "-1", "3", "-7", "9007199254740993", "-9223372036854775808", "9223372036854775807"],
    "UINTEGER": ["0", "1", "4294967295"],
    "UBIGINT": ["0", "1", "18446744073709551615"],
    "HUGEINT": [
        "0",
        "1",
        "-3",
        "9007199254740993",
        "-9223372036854775808",
        "9223372036854775807",
        "99999999999999999999",
    ],
    "FLOAT": ["0", "-0.0", "1", "0.1", "-2.5", "16777217", "3e38", "nan", "inf"],
    "DOUBLE": REALS,
    "DECIMAL(9,2)": ["0", "1.25", "-1.25", "0.05", "-2.50", "9999999.99", "-9999999.99"],
    "DECIMAL(18,4)": ["0", "1.2345", "-0.00005", "99999999999999.9999", "-99999999999999.9999", "90071992547409.9301"],
    "DECIMAL(38,3)": ["0", "1.500", "-0.001", "9007199254740.993", "12345678901234567890123.456"],
    "VARCHAR": TEXTS,
    "BLOB": ["", "a", "ab"],
    "DATE": DAYS,
    "TIME": ["00:00:00", "12:34:56.789", "23:59:59.999999"],
    "TIMESTAMP": TIMES,
    "TIMESTAMP WITH TIME ZONE": TIMES,
    "BIGINT[]": ["[]", "[1]", "[1, 2, 3, 2]", "[NULL]", "[3, NULL, 1]", "[-7, 9223372036854775807, 3]", "[0, 7, 7]"],
    "VARCHAR[]": ["[]", "['']", "[a, b, ab]", "[NULL, a]", "['a,b', é, 日本]", "[b, a, a]"],
    "DOUBLE[]": ["[]", "[1.5, nan, -0.0]", "[0.0, NULL, 1.0]", "[inf, -7.5]"],
    "BIGINT[][]": ["[]", "[[1], [], NULL]", "[[1, 2]]"],
    "TINYINT[]": ["[]", "[127, 127]", "[-128, 1, 7]", "[0]", "[NULL, 7]"],
    "STRUCT(a BIGINT, b VARCHAR)": ["{'a': 1, 'b': x}", "{'a': NULL, 'b': ''}", "{'a': -7, 'b': NULL}"],
    'STRUCT("B" BIGINT[], a STRUCT(c DOUBLE))': ["{'B': [1, NULL], 'a': {'c': nan}}", "{'B': NULL, 'a': NULL}"],
    "MAP(VARCHAR, BIGINT)": ["{}", "{a=1}", "{ab=2, a=NULL, b=3}", "{é=7}"],
    "MAP(BIGINT, VARCHAR[])": ["{}", "{1=[a], -7=NULL}", "{3=[], 0=[NULL, b]}"],
}
KINDS: dict[str, list[str]] = {
    "boolean": ["BOOLEAN"],
    "integer": ["BIGINT", "TINYINT", "UBIGINT", "INTEGER", "UINTEGER"],
    "huge": ["HUGEINT"],
    "float": ["DOUBLE", "FLOAT"],
    "decimal": ["DECIMAL(9,2)", "DECIMAL(18,4)", "DECIMAL(38,3)"],
    "text": ["VARCHAR"],
    "blob": ["BLOB"],
    "date": ["DATE"],
    "time": ["TIME"],
    "timestamp": ["TIMESTAMP"],
    "instant": ["TIMESTAMP WITH TIME ZONE"],
    "list": ["BIGINT[]", "VARCHAR[]", "DOUBLE[]", "BIGINT[][]", "TINYINT[]"],
    "struct": ["STRUCT(a BIGINT, b VARCHAR)", 'STRUCT("B" BIGINT[], a STRUCT(c DOUBLE))'],
    "map": ["MAP(VARCHAR, BIGINT)", "MAP(BIGINT, VARCHAR[])"],
}


class Declined(Exception):
    """Arrow kernels gave the batch to DuckDB."""


@pytest.fixture(scope="module")
def oracle() -> duckdb.DuckDBPyConnection:
    return connect()


@pytest.fixture
def _kernels_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def decline(self: Projection, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, np.ndarray]:
        raise Declined

    monkeypatch.setattr(Projection, "run", decline)


def column_sql(type: str, texts: tuple[str, ...]) -> str:
    """A relation with one column of the texts as values of the type, and NULL."""
    literals = ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
    return f"SELECT unnest([{literals}]::VARCHAR[])::{type} AS x UNION ALL SELECT NULL"


@cache
def rows_of(columns: tuple[tuple[str, tuple[str, ...]], ...]) -> pa.RecordBatch:
    """All combinations of the values of typed columns, as c0, c1, ..."""
    sources = [f"({column_sql(type, texts)}) AS t{i}" for i, (type, texts) in enumerate(columns)]
    names = ", ".join(f"t{i}.x AS c{i}" for i in range(len(columns)))
    table = connect().sql(f"SELECT {names} FROM {', '.join(sources)}").to_arrow_table().combine_chunks()
    return table.to_batches()[0]


def kernel_results(operator: Map, batch: pa.RecordBatch, start: int = 0) -> Iterator[tuple[int, pa.Array]]:
    """The results of the largest slices that the kernels accept, each with its first row."""
    try:
        delta = operator.process(Delta(batch))
        assert delta is not None
        yield start, delta.batch.column(0)
    except Declined:
        half = batch.num_rows // 2
        if half:
            yield from kernel_results(operator, batch.slice(0, half), start)
            yield from kernel_results(operator, batch.slice(half), start + half)


def comparable(array: pa.Array, sql: str) -> list[str]:
    """The values such that equal means the same: also NaN, the sign of zero, and times Python has not."""
    if pa.types.is_floating(array.type) and sql.startswith(("greatest", "least")):
        array = pc.add(array, 0.0)  # which of two zeros DuckDB returns depends on where its vectors come from
    if pa.types.is_temporal(array.type) and not pa.types.is_interval(array.type):
        array = array.view(pa.int32() if pa.types.is_date32(array.type) else pa.int64())
    if pa.types.is_list(array.type):
        values, ends = comparable(array.values, sql), array.offsets.to_pylist()
        parts = [str(values[start:end]) for start, end in itertools.pairwise(ends)]
        return [part if there else "None" for part, there in zip(parts, array.is_valid().to_pylist(), strict=True)]
    if pa.types.is_struct(array.type):
        fields = [comparable(field, sql) for field in array.flatten()]
        return [str(row) if array[i].is_valid else "None" for i, row in enumerate(zip(*fields, strict=True))]
    return [repr(value) for value in array.to_pylist()]


def check(oracle: duckdb.DuckDBPyConnection, sql: str, types: tuple[str, ...], texts: list[list[str]]) -> int | None:
    """How many rows the kernels of `sql` accepted, all as DuckDB has them; None if DuckDB or the table lacks it."""
    batch = rows_of(tuple((type, tuple(values)) for type, values in zip(types, texts, strict=True)))
    connection = oracle.cursor()
    connection.register("input", batch)
    columns = ", ".join(f"c{i}::{type} AS c{i}" for i, type in enumerate(types))
    try:
        expected = connection.sql(f"SELECT TRY({sql}) AS result FROM (SELECT {columns} FROM input)").to_arrow_table()
    except duckdb.Error:
        return None
    operator = compile_map(
        [("result", sqlglot.parse_one(sql, read=Headrace))], None, batch.schema, expected.schema, input_types=types
    )
    if not operator.kernel:
        return None
    wanted = comparable(expected.column(0).combine_chunks(), sql)
    accepted = 0
    for start, array in kernel_results(operator, batch):
        for i, got in enumerate(comparable(array, sql), start):
            assert got == wanted[i], (
                f"{sql} of {types} over {[column[i] for column in batch.columns]}: {got}, not {wanted[i]}"
            )
        accepted += len(array) - array.null_count
    return accepted


def plausible(types: tuple[str, ...]) -> bool:
    """Whether it makes sense to try types together: one kind, numbers, or dates and times."""
    kinds = {kind for kind, members in KINDS.items() for type in types if type in members}
    return (
        len(kinds) == 1
        or kinds <= {"integer", "huge", "float", "decimal"}
        or kinds in ({"date", "timestamp"}, {"date", "integer"})
        or (not kinds.isdisjoint({"list", "map"}) and len(kinds) == 2)
    )


def place_types(row: Function, example: str) -> list[list[str]]:
    """For each placeholder of the example the types to try there."""
    count = 1 + max(i for i in range(3) if f"{{{i}}}" in example)
    places = [row.takes[min(i, len(row.takes) - 1)] for i in range(count)]
    used = [f"{{{i}}}" in example for i in range(count)]
    few = {1: 5, 2: 2 if "|" in places[0] else 5, 3: 1}[sum(used)]  # the more columns, the fewer types of a kind
    return [
        [type for kind in place.split("|") for type in KINDS.get(kind, [])[:few]] if there else ["BOOLEAN"]
        for place, there in zip(places, used, strict=True)
    ]


@pytest.mark.usefixtures("_kernels_only")
@pytest.mark.parametrize("row", FUNCTIONS, ids=lambda row: f"{row.name}({','.join(row.takes)})")
def test_a_kernel_agrees_with_duckdb_or_declines(row: Function, oracle: duckdb.DuckDBPyConnection) -> None:
    for example in row.examples:
        sql = example.format("c0", "c1", "c2")
        accepted: list[int] = []
        for types in itertools.product(*place_types(row, example)):
            used = tuple(type for i, type in enumerate(types) if f"{{{i}}}" in example)
            if not plausible(used) and "boolean" not in row.takes[:1]:
                continue
            texts = [VALUES[type] if f"{{{i}}}" in example else ["true"] for i, type in enumerate(types)]
            rows = check(oracle, sql, types, texts)
            if rows is not None:
                accepted.append(rows)
        assert accepted, f"no types for which {sql} has a kernel"
        assert any(accepted), f"the kernels for {sql} decline every row"


@pytest.mark.usefixtures("_kernels_only")
@pytest.mark.parametrize("function", ["lower", "upper"])
def test_the_case_of_each_character_is_duckdbs(function: str, oracle: duckdb.DuckDBPyConnection) -> None:
    characters = [chr(code) for code in range(1, 0x30000) if not 0xD800 <= code < 0xE000]
    blocks = [characters[start : start + 64] for start in range(0, len(characters), 64)]
    table = pa.table({"c0": [" ".join(block) for block in blocks]})
    connection = oracle.cursor()
    connection.register("input", table)
    expected = connection.sql(f"SELECT {function}(c0) AS result FROM input").to_arrow_table()
    operator = compile_map([("result", sqlglot.parse_one(f"{function}(c0)"))], None, table.schema, expected.schema)
    batch = table.to_batches()[0]
    accepted = 0
    for start, array in kernel_results(operator, batch):
        assert array.equals(expected.column(0).combine_chunks().slice(start, len(array)))
        accepted += len(array)
    assert accepted > 800, "the kernels should take nearly all of the basic plane"


CAST_TEXTS = [*NUMBERS, *FLOATS, *DATES, *MOMENTS, ""]


@pytest.mark.usefixtures("_kernels_only")
@pytest.mark.parametrize("row", CASTS, ids=lambda row: f"{row.source} to {row.target}")
def test_a_cast_agrees_with_duckdb_or_declines(row: Cast, oracle: duckdb.DuckDBPyConnection) -> None:
    kinds = row.source.split("|"), row.target.split("|")
    for source, target in itertools.product(*[[type for kind in side for type in KINDS[kind]] for side in kinds]):
        if source == target:
            continue
        rows = check(
            oracle, f"CAST(c0 AS {target})", (source,), [CAST_TEXTS if source == "VARCHAR" else VALUES[source]]
        )
        assert rows is None or rows > 0, f"the cast from {source} to {target} declines every row"
