"""Results for programs: each format read back by somebody else's reader."""

from __future__ import annotations

import io
import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from headrace.repl.formats import FORMATS, format_of, write_result
from headrace.storage.errors import InterfaceError

TABLE = pa.table({"name": ["a", None, 'x,"y"'], "n": [1, 2, None], "t": pa.array([0, None, 1], pa.timestamp("us"))})


def written(name: str, table: pa.Table = TABLE) -> bytes:
    """What a format makes of a table that comes in two batches."""
    file = io.BytesIO()
    batches = table.slice(0, 2).to_batches() + table.slice(2).to_batches()
    assert write_result(pa.RecordBatchReader.from_batches(table.schema, batches), name, file) == table.num_rows
    return file.getvalue()


def test_json_is_one_array() -> None:
    rows = json.loads(written("json"))
    assert rows[0] == {"name": "a", "n": 1, "t": "1970-01-01 00:00:00"}
    assert rows[1] == {"name": None, "n": 2, "t": None}
    assert json.loads(written("json", TABLE.slice(0, 0))) == []


def test_json_lines_are_objects() -> None:
    assert [json.loads(line)["n"] for line in written("jsonl").splitlines()] == [1, 2, None]
    assert written("jsonl", TABLE.slice(0, 0)) == b""


def test_duckdb_reads_the_csv(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(written("csv"))
    with duckdb.connect() as con:
        rows = con.sql(f"SELECT name, n FROM read_csv('{tmp_path}/t.csv')").fetchall()
    assert rows == [("a", 1), (None, 2), ('x,"y"', None)]
    assert written("csv", TABLE.slice(0, 0)) == b"name,n,t\n"


def test_parquet_and_arrow_keep_the_types() -> None:
    assert parquet.read_table(io.BytesIO(written("parquet"))).equals(TABLE)
    assert pa.ipc.open_file(written("arrow")).read_all().equals(TABLE)


def test_parquet_says_what_it_cannot_hold() -> None:
    table = pa.table({"i": pa.array([pa.MonthDayNano([1, 0, 0])])})
    with pytest.raises(InterfaceError, match="cannot write this result as parquet"):
        written("parquet", table)


def test_the_name_of_a_file_chooses_the_format() -> None:
    assert format_of(Path("a.CSV")) == "csv"
    assert format_of(Path("a.ndjson")) == "jsonl"
    assert format_of(Path("a")) is None
    suffixes = [suffix for kind in FORMATS.values() for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))
