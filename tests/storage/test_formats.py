"""Anybody can read a topic: active and sealed segments with plain Arrow readers."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset
import pytest

from headrace.storage.folder import Folder
from headrace.storage.topic import TopicOptions

from .damages import make_sparse
from .logs import FRAME_SEGMENTS, SCHEMA, numbered

TYPES = pa.schema(
    [
        ("truth", pa.bool_()),
        ("number", pa.int64()),
        ("amount", pa.decimal128(18, 2)),
        ("text", pa.string()),
        ("bytes", pa.binary()),
        ("list", pa.list_(pa.int32())),
        ("struct", pa.struct([("x", pa.float64()), ("y", pa.string())])),
        ("at", pa.timestamp("us", tz="UTC")),
        ("nothing", pa.null()),
    ]
)


def varied(rows: int) -> pa.RecordBatch:
    values = [
        {
            "truth": row % 2 == 0,
            "number": row,
            "amount": f"{row}.25",
            "text": None if row % 3 else "ü" * row,
            "bytes": bytes(row),
            "list": list(range(row)),
            "struct": {"x": row / 3, "y": "y"},
            "at": row,
            "nothing": None,
        }
        for row in range(rows)
    ]
    columns = [pa.array([value[field.name] for value in values]).cast(field.type) for field in TYPES]
    return pa.RecordBatch.from_arrays(columns, schema=TYPES)


def segments(path: Path) -> list[Path]:
    return sorted((path / "topics" / "log" / "p-0000").glob("*.arrow"))


@pytest.mark.parametrize("is_open", [True, False], ids=["preallocated", "closed"])
def test_the_active_segment_is_an_arrow_stream(tmp_path: Path, is_open: bool) -> None:
    folder = Folder.open(tmp_path)
    topic = folder.create_topic("log", SCHEMA)
    for start in range(0, 50, 10):
        topic.append(numbered(start, start + 10))
    if not is_open:
        folder.close()
    (path,) = segments(tmp_path)
    expected = pa.Table.from_batches([numbered(0, 50)])
    with path.open("rb") as file:
        file.seek(8)
        assert pa.ipc.open_stream(file).read_all().combine_chunks() == expected
    assert pa.ipc.open_stream(pa.py_buffer(path.read_bytes()[8:])).read_all().num_rows == 50
    read = polars.read_ipc_stream(path.read_bytes()[8:])
    assert read["number"].to_list() == list(range(50))
    folder.close()


def test_sealed_segments_are_arrow_files(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    topic = folder.create_topic("log", SCHEMA, options=TopicOptions(segment_bytes=2000))
    for start in range(0, 100, 10):
        topic.append(numbered(start, start + 10))
    folder.close()
    sealed = segments(tmp_path)[:-1]
    assert len(sealed) > 1
    tables = [pa.ipc.open_file(path).read_all() for path in sealed]
    assert pa.ipc.open_file(sealed[0]).num_record_batches > 1
    rows = pa.concat_tables(tables).combine_chunks()
    assert rows == pa.Table.from_batches([numbered(0, rows.num_rows)])
    assert polars.concat([polars.read_ipc(path) for path in sealed])["text"].to_list() == rows["text"].to_pylist()
    with duckdb.connect() as connection:
        connection.register("dataset", pyarrow.dataset.dataset(sealed, format="ipc"))
        total = connection.sql("SELECT count(*), sum(number) FROM dataset").fetchall()
    assert total == [(rows.num_rows, sum(range(rows.num_rows)))]
    for path in sealed:  # a sealed segment is a stream too
        assert pa.ipc.open_stream(pa.py_buffer(path.read_bytes()[8:])).read_all().num_rows > 0


def test_every_type_survives_sealed_and_active(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    topic = folder.create_topic("log", TYPES, options=FRAME_SEGMENTS)
    for rows in (7, 1, 5):
        topic.append(varied(rows))
    folder.close()
    *sealed, active = segments(tmp_path)
    tables = [pa.ipc.open_file(path).read_all() for path in sealed]
    tables.append(pa.ipc.open_stream(pa.py_buffer(active.read_bytes()[8:])).read_all())
    for table, rows in zip(tables, (7, 1, 5), strict=True):
        assert table.combine_chunks() == pa.Table.from_batches([varied(rows)])
    folder = Folder.open(tmp_path)
    (partition,) = folder.topic("log").partitions
    assert [batch.num_rows for batch in partition.read(0, 13)] == [7, 1, 5]
    for batch, rows in zip(partition.read(0, 13), (7, 1, 5), strict=True):
        batch.validate(full=True)
        assert batch == varied(rows)
    folder.close()


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_coalesced_and_sparse_segments_are_arrow_files(tmp_path: Path, compression: str | None) -> None:
    options = TopicOptions(segment_bytes=4000, compression=compression)
    with closing(Folder.open(tmp_path)) as folder:
        topic = folder.create_topic("log", SCHEMA, options=options)
        for start in range(0, 600, 10):
            topic.append(numbered(start, start + 10))
        assert folder.maintain() == ()
        (partition,) = topic.partitions
        make_sparse(partition)
        expected = {segment.path: (segment.base_offset, segment.end_offset) for segment in partition.segments[:-1]}
    assert {path.name.split(".")[1] for path in expected} <= {"g1", "g2", "g3"}
    for path, (start, end) in expected.items():
        sparse = path == min(expected)
        numbers = [n for n in range(start, end) if n % 2 or not sparse]
        texts = [None if n % 7 == 3 else f"row {n}" for n in numbers]
        table = pa.ipc.open_file(path).read_all()
        assert (table["number"].to_pylist(), table["text"].to_pylist()) == (numbers, texts)
        assert table.schema.names == (["_offset"] if sparse else []) + SCHEMA.names
        assert not sparse or table["_offset"].to_pylist() == numbers
        frame = polars.read_ipc(path)
        assert (frame["number"].to_list(), frame["text"].to_list()) == (numbers, texts)
        assert polars.scan_ipc(path).select(polars.col("number").sum()).collect().item() == sum(numbers)
        assert pa.ipc.open_stream(pa.py_buffer(path.read_bytes()[8:])).read_all() == table
    with duckdb.connect() as connection:
        dataset = pyarrow.dataset.dataset(sorted(expected), format="ipc", schema=SCHEMA)
        connection.register("dataset", dataset)
        found = connection.sql("SELECT number, text FROM dataset ORDER BY number").fetchall()
    last = max(end for _, end in expected.values())
    first = min(end for _, end in expected.values())
    assert [number for number, _ in found] == [n for n in range(last) if n % 2 or n >= first]
