"""Retention: the oldest segments of a topic go when they are too old, or the topic too large."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .segment import Segment
from .topic import Topic

Needed = Callable[[str], Sequence[int] | None]  # of a topic: by partition, from which offset on rows are needed
_Bound = Sequence[int] | None


def retain(topic: Topic, now_us: int, needed: Needed) -> None:
    """What the topic's `retention_ms` and `retention_bytes` no longer cover is deleted, whole segments at a time.

    Segments with rows that are still `needed` stay meanwhile.
    Units: `now_us` microseconds since 1970-01-01 UTC.
    """
    options = topic.options
    if "delete" not in options.cleanup or (options.retention_ms is None and options.retention_bytes is None):
        return
    bound = needed(topic.name)
    if options.retention_ms is not None:
        _retain_time(topic, now_us - 1000 * options.retention_ms, bound)
    if options.retention_bytes is not None:
        _retain_size(topic, options.retention_bytes, bound)


def _retain_time(topic: Topic, cutoff: int, bound: _Bound) -> None:
    """Segments whose last row was appended before `cutoff` go.

    A segment that takes rows for longer than the retention is sealed, so that a slow topic keeps no row for ever.
    """
    for number, partition in enumerate(topic.partitions):
        end = None
        for segment in partition.segments:
            if segment.empty or append_times(segment)[1] >= cutoff or _is_needed(segment, number, bound):
                break
            end = segment.end_offset
        if end is not None:
            partition.delete_before(end)
        active = partition.segments[-1] if partition.segments else None
        if active is not None and not active.empty and append_times(active)[0] < cutoff:
            partition.seal()


def _is_needed(segment: Segment, partition: int, bound: _Bound) -> bool:
    return bound is not None and segment.end_offset > bound[partition]


def _retain_size(topic: Topic, size_max: int, bound: _Bound) -> None:
    """The oldest sealed segments of all partitions go until the rest has no more than `size_max` bytes."""
    size = sum(file_size(segment) for partition in topic.partitions for segment in partition.segments)
    if size <= size_max:
        return
    sealed = [
        (append_times(segment)[1], number, segment)
        for number, partition in enumerate(topic.partitions)
        for segment in partition.segments[:-1]
        if not _is_needed(segment, number, bound)
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
