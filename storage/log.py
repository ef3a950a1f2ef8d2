"""A log as its readers see it, whoever writes it: rows by offset and by time, in the topic's present schema."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import pyarrow as pa

from .errors import OffsetOutOfRangeError, OperationalError
from .frame_index import SuffixMinimum
from .schema import OFFSET_COLUMN, SegmentSchema, project
from .segment import Segment


class Log:
    """Shape: the rows at offsets [start_offset, end_offset) are readable; some offsets may have none, see `read`.

    Readers need no lock: segments are replaced by replacing the tuple that holds them.
    """

    def __init__(self, schemas: Sequence[SegmentSchema]) -> None:
        self._schemas = schemas  # shared with the topic, which adds to it
        self._segments: tuple[Segment, ...] = ()
        self._earliest = SuffixMinimum()
        self._start = 0
        self._readable = 0

    @property
    def start_offset(self) -> int:
        """The first offset that was not deleted."""
        return self._start

    @property
    def end_offset(self) -> int:
        return self._readable

    @property
    def segments(self) -> tuple[Segment, ...]:
        """In order of offsets; the last may still grow."""
        return self._segments

    def read(self, start: int, end: int, columns: Sequence[str] | None = None) -> list[pa.RecordBatch]:
        """The rows at offsets [start, end), in order, as memory-mapped batches; `columns` in the order given.

        Holds: rows that compaction removed are left out, so that fewer may come than end - start. The column
        `_offset` says where each row stands.
        Raises: OffsetOutOfRangeError if rows from `start` on were deleted.
        """
        while True:
            segments = self._segments
            if start < self._start:
                raise OffsetOutOfRangeError(start, self._start)
            assert start <= end <= self._readable, "a range outside of the log"
            try:
                return self._read(segments, start, end, columns)
            except OperationalError:
                if segments is self._segments:  # or else what could not be read is not there any more
                    raise

    def read_all(self, end: int, columns: Sequence[str] | None = None) -> list[pa.RecordBatch]:
        """The rows before offset `end` that are there, from the present start on, whatever is deleted meanwhile."""
        while True:
            start = self._start
            try:
                return self.read(start, end, columns) if start < end else []
            except OffsetOutOfRangeError:
                continue

    def count(self) -> int:
        """How many readable rows there are; where compaction has removed some, fewer than there are offsets."""
        start, end = self._start, self._readable
        return sum(segment.count(start, end) for segment in _overlapping(self._segments, start, end))

    def whole(self, start: int, end: int) -> bool:
        """Whether all rows that ever had the offsets [start, end) are still there."""
        if start < end and start < self._start:
            return False
        return not any(segment.sparse for segment in _overlapping(self._segments, start, end))

    def event_times(self, start: int, end: int) -> tuple[int, int] | None:
        """The least and the greatest event time (microseconds) of the frames that hold rows of [start, end).

        None if none of them has any. Nothing but the frame index is read.
        """
        found = [segment.event_times(start, end) for segment in _overlapping(self._segments, start, end)]
        times = [pair for pair in found if pair is not None]
        if not times:
            return None
        return min(minimum for minimum, _ in times), max(maximum for _, maximum in times)

    def within_times(self, start: int, end: int, first: int, last: int) -> list[tuple[int, int]]:
        """What is left of [start, end) without the frames that hold event times before `first` or after `last` only.

        Units: microseconds. Nothing but the frame index is read. A frame of which nothing is known stays.
        """
        left: list[tuple[int, int]] = []
        for segment in _overlapping(self._segments, start, end):
            for low, high in segment.index.spared(max(start, segment.base_offset), end, first, last):
                if start < low:
                    left.append((start, low))
                start = high
        return [*left, (start, end)] if start < end else left

    def earliest_after(self, offset: int) -> int | None:
        """The least event time (microseconds) of the frames that hold rows at `offset` or after it, if any.

        Rows that are appended but not readable yet count.
        """
        return self._earliest.at(offset)

    def offset_at(self, append_time: int) -> int:
        """The offset of the first readable row whose frame was appended at `append_time` (microseconds) or later.

        The end offset if there is none. Where small frames were coalesced it may be that of an earlier row.
        """
        for segment in self._segments:
            last = None if segment.entry is None else segment.entry.append_times
            if last is not None and last[1] < append_time:
                continue
            offset = segment.offset_at(append_time)
            if offset < segment.end_offset:
                return min(max(offset, self._start), self._readable)
        return self._readable

    def _read(
        self, segments: tuple[Segment, ...], start: int, end: int, columns: Sequence[str] | None
    ) -> list[pa.RecordBatch]:
        current = self._schemas[-1]
        numbered = columns is not None and OFFSET_COLUMN in columns
        names = columns if columns is None else [name for name in columns if name != OFFSET_COLUMN]
        batches: list[pa.RecordBatch] = []
        for segment in _overlapping(segments, start, end):
            for batch, offsets in segment.read(max(start, segment.base_offset), min(end, segment.end_offset)):
                rows = project(batch, segment.schema, current, names)
                if numbered:
                    assert columns is not None
                    place = list(columns).index(OFFSET_COLUMN)
                    rows = rows.add_column(place, OFFSET_COLUMN, offsets())
                batches.append(rows)
        return batches


def _overlapping(segments: tuple[Segment, ...], start: int, end: int) -> tuple[Segment, ...]:
    if start >= end or not segments:
        return ()
    first = max(0, bisect_right(segments, start, key=lambda segment: segment.base_offset) - 1)
    last = bisect_right(segments, end - 1, key=lambda segment: segment.base_offset)
    if segments[first].end_offset <= start:  # there is nothing left between two segments
        first += 1
    return segments[first:last]
