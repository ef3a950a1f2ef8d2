"""What there is to say of topics, partitions and segments, as tables: counts, sizes, times, options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from .consumer_group import groups_in
from .frame import NO_TIME
from .log import Log
from .readable import ReadableFolder, ReadableTopic
from .retention import append_times, file_size
from .segment import Segment

_TIME = pa.timestamp("us")
TOPICS = pa.schema(
    {
        "name": pa.string(), "partitions": pa.int64(), "key": pa.list_(pa.string()), "rows": pa.int64(),
        "bytes": pa.int64(), "created": _TIME, "schema_version": pa.int64(), "event_time": pa.string(),
        "durability": pa.string(), "cleanup": pa.string(), "retention_ms": pa.int64(), "retention_bytes": pa.int64(),
        "segment_bytes": pa.int64(), "compression": pa.string(),
    }
)  # fmt: skip
PARTITIONS = pa.schema(
    {
        "topic": pa.string(), "partition": pa.int64(), "start_offset": pa.int64(), "end_offset": pa.int64(),
        "rows": pa.int64(), "segments": pa.int64(), "bytes": pa.int64(), "first_append_time": _TIME,
        "last_append_time": _TIME,
    }
)  # fmt: skip
SEGMENTS = pa.schema(
    {
        "topic": pa.string(), "partition": pa.int64(), "file": pa.string(), "base_offset": pa.int64(),
        "end_offset": pa.int64(), "rows": pa.int64(), "bytes": pa.int64(), "frames": pa.int64(),
        "schema_version": pa.int64(), "sealed": pa.bool_(), "sparse": pa.bool_(), "remote": pa.bool_(),
        "first_append_time": _TIME, "last_append_time": _TIME, "least_event_time": _TIME, "greatest_event_time": _TIME,
    }
)  # fmt: skip
CONSUMERS = pa.schema(
    {
        "group": pa.string(), "topic": pa.string(), "partition": pa.int64(), "committed": pa.int64(),
        "end_offset": pa.int64(), "lag": pa.int64(), "committed_at": _TIME, "member": pa.string(),
    }
)  # fmt: skip
_NO_TIMES = (None, None)


def topic_figures(topics: Iterable[ReadableTopic]) -> pa.Table:
    """A row per topic."""
    rows = []
    for topic in topics:
        options = topic.options
        parts = [_partition(log) for log in topic.partitions]
        rows.append(
            (
                topic.name, len(parts), list(topic.key), sum(part[2] for part in parts), sum(part[4] for part in parts),
                topic.created, topic.version.id, options.event_time, options.durability, options.cleanup,
                options.retention_ms, options.retention_bytes, options.segment_bytes, options.compression,
            )
        )  # fmt: skip
    return _table(rows, TOPICS)


def partition_figures(topics: Iterable[ReadableTopic]) -> pa.Table:
    """A row per partition."""
    rows = [(topic.name, number, *_partition(log)) for topic in topics for number, log in enumerate(topic.partitions)]
    return _table(rows, PARTITIONS)


def consumer_figures(folder: ReadableFolder) -> pa.Table:
    """A row per partition that a consumer group has a place in, or reads now."""
    rows = [
        (row.group, row.topic, row.partition, row.committed, row.end_offset, row.lag, row.time, row.member)
        for row in groups_in(folder)
    ]
    return _table(rows, CONSUMERS)


def segment_figures(topics: Iterable[ReadableTopic]) -> pa.Table:
    """A row per segment file; of the active one what may be read of it, and not the room allocated ahead."""
    rows = [
        (topic.name, number, *_segment(log, segment))
        for topic in topics
        for number, log in enumerate(topic.partitions)
        for segment in log.segments
    ]
    return _table(rows, SEGMENTS)


def topics_of(folder: ReadableFolder) -> Sequence[ReadableTopic]:
    """All topics by name, those that SQL calls streams and our own."""
    return [topic for _, topic in sorted(folder.topics.items())]


def _partition(log: Log) -> tuple[Any, ...]:
    segments = log.segments
    times = [append_times(segment) for segment in segments if not segment.empty]
    bounds = (min(first for first, _ in times), max(last for _, last in times)) if times else _NO_TIMES
    size = sum(file_size(segment) for segment in segments)
    rows = sum(segment.count(log.start_offset, log.end_offset) for segment in segments)
    return log.start_offset, log.end_offset, rows, len(segments), size, *bounds


def _segment(log: Log, segment: Segment) -> tuple[Any, ...]:
    entry = segment.entry
    end = min(segment.end_offset, max(log.end_offset, segment.base_offset))
    rows = segment.count(log.start_offset, log.end_offset)
    return (
        segment.path.name, segment.base_offset, end, rows, file_size(segment),
        len(segment.index.offsets), segment.schema.id, entry is not None, segment.sparse,
        segment.remote, *(_NO_TIMES if segment.empty else append_times(segment)),
        *_event_times(segment),
    )  # fmt: skip


def _event_times(segment: Segment) -> tuple[int | None, int | None]:
    if segment.entry is not None and segment.entry.event_times is not None:
        return segment.entry.event_times
    least, greatest = np.array(segment.index.minimums, np.int64), np.array(segment.index.maximums, np.int64)
    recorded = least != NO_TIME
    return (int(least[recorded].min()), int(greatest[recorded].max())) if recorded.any() else _NO_TIMES


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema
    )
