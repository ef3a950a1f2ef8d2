"""Logs to test with: numbered rows in a folder, so that what is lost, doubled or out of order shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.storage.folder import Folder
from headrace.storage.log import Log
from headrace.storage.topic import Durability, Partition, Topic, TopicOptions

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.string()), ("at", pa.timestamp("us"))])
SMALL_SCHEMA = pa.schema([("n", pa.int32())])
FRAME_SEGMENTS = TopicOptions(segment_bytes=1)  # each frame fills a segment


def numbered(start: int, end: int, schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    """Rows with the numbers [start, end)."""
    numbers = range(start, end)
    columns = {
        "number": lambda: pa.array(numbers, pa.int64()),
        "n": lambda: pa.array(numbers, pa.int32()),
        "text": lambda: pa.array([None if n % 7 == 3 else f"row {n}" for n in numbers], pa.string()),
        "at": lambda: pa.array([n * 1000 for n in numbers], pa.timestamp("us")),
    }
    return pa.RecordBatch.from_arrays([columns[name]() for name in schema.names], schema=schema)


def numbers_of(partition: Partition) -> list[int]:
    """The numbers of all readable rows, in the order of their offsets."""
    batches = partition.read(partition.start_offset, partition.end_offset)
    return [number for batch in batches for number in batch.column(0).to_pylist()]


def files_of(partition: Partition) -> set[str]:
    """The names of the segment files that are there."""
    return {path.name for path in partition.folder.iterdir() if path.suffix == ".arrow"}


def rows_at(log: Log) -> dict[int, tuple[Any, ...]]:
    """All readable rows by their offsets, which rise."""
    found: dict[int, tuple[Any, ...]] = {}
    for batch in log.read(log.start_offset, log.end_offset, ["_offset", *log._schemas[-1].schema.names]):
        for offset, *row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            assert offset > max(found, default=-1)
            found[offset] = tuple(row)
    return found


def rows_of(topic: Topic) -> list[int]:
    """The numbers in all partitions, sorted."""
    return sorted(number for partition in topic.partitions for number in numbers_of(partition))


def make_log(
    path: Path,
    sizes: Iterable[int],
    *,
    schema: pa.Schema = SMALL_SCHEMA,
    durability: Durability = "group",
    options: TopicOptions | None = None,
    wait: Sequence[bool] | None = None,
) -> Path:
    """A closed folder with the topic "log", one frame of numbered rows per size; returns its partition's folder."""
    with_options = TopicOptions(durability=durability) if options is None else options
    folder = Folder.open(path)
    topic = folder.create_topic("log", schema, options=with_options)
    start = 0
    for place, size in enumerate(sizes):
        topic.append(numbered(start, start + size, schema), wait=True if wait is None else wait[place])
        start += size
    folder.close()
    return path / "topics" / "log" / "p-0000"


def read_log(path: Path) -> list[int]:
    """The numbers in the topic "log" of a folder, which is opened without syncing anything and closed again."""
    folder = Folder.open(path, durability="none")
    try:
        return numbers_of(folder.topic("log").partitions[0])
    finally:
        folder.close()
