"""Values as text: as DuckDB prints them, as JSON reads them back, as CSV reads them back."""

from __future__ import annotations

import csv
import io
import json
import math

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.repl.formats import csv_header, csv_lines, json_lines
from headrace.repl.text import json_text, sql_text

LITERALS = [
    "TRUE",
    "(-128)::TINYINT",
    "170141183460469231731687303715884105727::HUGEINT",
    "-1.50::DECIMAL(9, 2)",
    "100::DOUBLE",
    "0.1::FLOAT",
    "1e300::DOUBLE",
    "-0.0::DOUBLE",
    "'nan'::DOUBLE",
    "'-inf'::DOUBLE",
    "'it''s'",
    "DATE '1969-12-31'",
    "TIME '01:02:03.5'",
    "TIMESTAMP '2013-01-01 05:15:00'",
    "TIMESTAMP '1969-12-31 23:59:59.999900'",
    "'\\xAAb'::BLOB",
    "INTERVAL '14 months 3 days 3.5 seconds'",
    "INTERVAL '-1 day'",
    "[1, NULL]",
    "{'a': 1, 'b': [NULL]}",
    "MAP {'k': 1}",
    "MAP {}",
    "['a, b', 'NULL', 'null', '', 'x''y', '\"q\"', '[z]']",
    "['{k}', 'a=b', '\\', ' lead', 'é', NULL, 'a:b', '(x)', 'plain']",
    "{'a b': 'x, y', 'c''d': '', 'e': [{'f': 'g=h'}]}",
    "MAP {'k=1': 'v, w', '': 'NULL'}",
    "'it''s \"q\" \\x5C'::BLOB",
    "['\\x00\\xFF'::BLOB, 'plain'::BLOB]",
    "[TIMESTAMP '2020-01-01 01:02:03', NULL]",
    "[DATE '2020-01-01']",
    "[1.5::DOUBLE, 'nan'::DOUBLE, 1.50::DECIMAL(9,2), 1e300]",
    "[TIME '01:02:03']",
    "[INTERVAL '1 day 04:05:06']",
    "[true]",
    "[[], ['a']]",
]


@pytest.mark.parametrize("literal", LITERALS)
def test_sql_text_is_what_duckdb_prints(literal: str) -> None:
    with duckdb.connect() as con:
        table = con.sql(
            f"SELECT {literal} AS v, ({literal})::VARCHAR AS t UNION ALL SELECT NULL, NULL"
        ).to_arrow_table()
    assert sql_text(table["v"].combine_chunks()).to_pylist() == table["t"].to_pylist()


def test_a_time_with_a_zone_shows_its_wall_clock_and_offset() -> None:
    moment = [0, 1_000_000]
    for zone, first in (("UTC", "1970-01-01 00:00:00+00"), ("Asia/Kolkata", "1970-01-01 05:30:00+05:30")):
        assert sql_text(pa.array(moment, pa.timestamp("us", zone)))[0].as_py() == first


@given(st.lists(st.none() | st.text(), max_size=8))
def test_any_text_survives_json_and_csv(values: list[str | None]) -> None:
    column = pa.array(values, pa.string())
    batch = pa.record_batch({"a": column, "b": column})
    assert [json.loads(text) for text in json_text(column).to_pylist()] == values
    assert [json.loads(line)["b"] for line in json_lines(batch).decode().split("\n")[:-1]] == values
    rows = list(csv.reader(io.StringIO((csv_header(batch.schema) + csv_lines(batch)).decode(), newline="")))
    if not any("\0" in (value or "") for value in values):
        assert rows == [["a", "b"], *[[value or "", value or ""] for value in values]]


@given(st.lists(st.none() | st.floats(), max_size=8))
def test_any_number_survives_json(values: list[float | None]) -> None:
    texts = [json.loads(text) for text in json_text(pa.array(values, pa.float64())).to_pylist()]
    for text, value in zip(texts, values, strict=True):
        if value is None or math.isfinite(value):
            assert text == value
        else:
            assert float(text) == value or math.isnan(value)


def test_csv_tells_null_from_the_empty_string() -> None:
    batch = pa.record_batch({"a": pa.array(["", None, 'say "so", please'])})
    assert csv_lines(batch) == b'""\n\n"say ""so"", please"\n'


def test_a_slice_is_written_without_what_is_around_it() -> None:
    batch = pa.record_batch({"a": ["x", "y", "z"], "b": [1, 2, 3]}).slice(1, 1)
    assert csv_lines(batch) == b"y,2\n"
    assert json_lines(batch) == b'{"a":"y","b":2}\n'


def test_nested_values_are_json_in_json() -> None:
    with duckdb.connect() as con:
        table = con.sql(
            "SELECT {'a': [1.5, 'nan'::DOUBLE], 'm': MAP {'k': DATE '2020-01-01'}, 'b': TRUE} AS v"
        ).to_arrow_table()
    (text,) = json_text(table["v"].combine_chunks()).to_pylist()
    assert json.loads(text) == {"a": [1.5, "nan"], "m": {"k": "2020-01-01"}, "b": True}
