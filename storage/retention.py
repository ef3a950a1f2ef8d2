"""Retention: the oldest segments of a topic go when they are too old, or the topic too large."""

from __future__ import annotations

from .segment import Segment
from .topic import Topic


def retain(topic: Topic, now_us: int) -> None:
    """What the topic's `retention_ms` and `retention_bytes` no longer cover is deleted, whole segments at a time.

    Units: `now_us` microseconds since 1970-01-01 UTC.
    """
    options = topic.options
    if "delete" not in options.cleanup:
        return
    if options.retention_ms is not None:
        _retain_time(topic, now_us - 1000 * options.retention_ms)
    if options.retention_bytes is not None:
        _retain_size(topic, options.retention_bytes)


def _retain_time(topic: Topic, cutoff: int) -> None:
    """Segments whose last row was appended before `cutoff` go.

    A segment that takes rows for longer than the retention is sealed, so that a slow topic keeps no row for ever.
    """
    for partition in topic.partitions:
        end = None
        for segment in partition.segments:
            if segment.empty or append_times(segment)[1] >= cutoff:
                break
            end = segment.end_offset
        if end is not None:
            partition.delete_before(end)
        active = partition.segments[-1] if partition.segments else None
        if active is not None and not active.empty and append_times(active)[0] < cutoff:
            partition.seal()


def _retain_size(topic: Topic, size_max: int) -> None:
    """The oldest sealed segments of all partitions go until the rest has no more than `size_max` bytes."""
    size = sum(file_size(segment) for partition in topic.partitions for segment in partition.segments)
    if size <= size_max:
        return
    sealed = [
        (append_times(segment)[1], number, segment)
        for number, partition in enumerate(topic.partitions)
        for segment in partition.segments[:-1]
    ]
    ends: dict[int, int] = {}
    for _, number, segment in sorted(sealed, key=lambda one: (one[0], one[2].base_offset)):
        if size <= size_max:
            break
        ends[number] = max(segment.end_offset, ends.get(number, 0))
        size -= file_size(segment)
    for number, end in ends.items():
        topic.partitions[number].delete_before(end)


def append_times(segment: Segment) -> tuple[int, int]:
    """When the first and the last row of a segment that is not empty were appended."""
    if segment.entry is not None and segment.entry.append_times is not None:
        return segment.entry.append_times
    times = segment.index.append_times
    return times[0], max(times)


def file_size(segment: Segment) -> int:
    """Units: bytes that the segment's file has, of an active one those that were written."""
    if segment.entry is not None and segment.entry.size_bytes is not None:
        return segment.entry.size_bytes
    return segment.size
