"""Logs with a key, to test compaction with: each `put` is a frame and, by default, a segment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.storage.folder import Folder
from headrace.storage.topic import Topic, TopicOptions

DAY_US = 86_400_000_000
BIG = 1 << 30  # a segment that is sealed by hand only
SCHEMA = pa.schema([("key", pa.string()), ("value", pa.int64())])


def make(path: Path, schema: pa.Schema = SCHEMA, key: Sequence[str] = ("key",), **options: Any) -> tuple[Folder, Topic]:
    folder = Folder.open(path)
    wanted = TopicOptions(**{"cleanup": "compact", "segment_bytes": BIG, **options})
    return folder, folder.create_topic("log", schema, key=key, options=wanted)


def put(topic: Topic, *rows: tuple[Any, ...], seal: bool = True) -> None:
    """One frame of rows, and by default one segment."""
    columns = [
        pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), topic.schema, strict=True)
    ]
    topic.append(pa.RecordBatch.from_arrays(columns, schema=topic.schema))
    if seal:
        topic.partitions[0].seal()


def in_days(days: float) -> int:
    return time.time_ns() // 1000 + int(days * DAY_US)
