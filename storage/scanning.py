"""A scan: rows of a log in batches of a bounded size, whatever is deleted or joined meanwhile."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import pyarrow as pa

from .errors import OffsetOutOfRangeError
from .limits import REWRITTEN_FRAME_BYTES, ROWS_PER_FRAME
from .log import Log


def scan(log: Log, start: int, end: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows at offsets [start, end) that are there, in order.

    Shape: batches of at most ROWS_PER_FRAME rows, made of about REWRITTEN_FRAME_BYTES in the file or of one frame.
    """
    while start < end:
        stop = _stop(log, start, end)
        try:
            batches = log.read(start, stop, columns)
        except OffsetOutOfRangeError as error:
            start = error.start_offset
            continue
        start = stop
        if batches:
            yield batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def scan_back(log: Log, count: int, columns: Sequence[str]) -> list[pa.RecordBatch]:
    """The last `count` rows, or all where there are fewer."""
    end, reach = log.end_offset, count
    while True:
        start = max(log.start_offset, end - reach)
        batches = list(scan(log, start, end, columns))
        surplus = sum(batch.num_rows for batch in batches) - count
        if surplus >= 0 or start <= log.start_offset:
            break
        reach *= 2
    while batches and surplus > 0:
        cut = min(surplus, batches[0].num_rows)
        surplus -= cut
        batches[0] = batches[0].slice(cut)
        if not batches[0].num_rows:
            del batches[0]
    return batches


def _stop(log: Log, start: int, end: int) -> int:
    """Where a batch that begins at `start` ends."""
    segments = log.segments
    place = max(0, bisect_right(segments, start, key=lambda segment: segment.base_offset) - 1)
    segment = segments[place]
    if segment.end_offset <= start:  # nothing is left between two segments
        return min(end, segments[place + 1].base_offset if place + 1 < len(segments) else end)
    stop = min(end, segment.end_offset, start + ROWS_PER_FRAME)
    frames = segment.index.find(start, stop)
    if not frames:
        return stop
    first = segment.index.positions[frames[0]]
    for frame in frames[1:]:
        offset, _, _, position = segment.index.place(frame)
        if position - first > REWRITTEN_FRAME_BYTES and offset > start:
            return offset
    return stop
