"""What an epoch reads of a partition: the rows that somebody asks for, where they stand, and how far time has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..storage.errors import OffsetOutOfRangeError
from ..storage.log import Log
from ..storage.schema import OFFSET_COLUMN
from .delta import Slice

Times = tuple[int, int]  # the first and the last event time asked for, in microseconds


@dataclass
class LogSlice:
    """Rows and the slices of the log that they are; `highest` is the latest event time, of rows left out too."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    origin: list[Slice] = field(default_factory=list)
    highest: int | None = None

    def note(self, time: int | None) -> None:
        """There is a row of this event time."""
        if time is not None and (self.highest is None or time > self.highest):
            self.highest = time


def read_slice(
    log: Log, partition: int, start: int, end: int, columns: list[str], event_time: str | None, times: Times | None
) -> LogSlice:
    """The rows of [start, end) that are still there, but for frames with none of the `times`; none without columns."""
    found = LogSlice()
    ranges = [(start, end)]
    if not columns:
        ranges = []
    elif times is not None:
        ranges = log.within_times(start, end, *times)
    position = start
    for low, high in [*ranges, (end, end)]:
        if event_time is not None and position < low:  # nobody reads these, but their frames say their times
            bounds = log.event_times(position, low)
            found.note(None if bounds is None else bounds[1])
        position = high
        if low == high:
            continue
        batches, origin = _read(log, partition, low, high, columns)
        found.batches += batches
        found.origin += origin
        for batch in batches if event_time is not None else ():
            found.note(_latest(batch.column(event_time)))
    return found


def _latest(times: pa.Array) -> int | None:
    if not times.null_count and len(times) and times.type.unit == "us":
        return int(times.view(pa.int64()).to_numpy().max())
    latest: int | None = pc.max(times).cast(pa.int64()).as_py()
    return latest


def _read(
    log: Log, partition: int, start: int, end: int, columns: Sequence[str]
) -> tuple[list[pa.RecordBatch], list[Slice]]:
    """The rows of [start, end) that are still there, and the slices of the log that they are."""
    while True:
        first = max(start, log.start_offset)
        if first >= end:
            return [], []
        try:
            read = log.read(first, end, columns)
            if sum(batch.num_rows for batch in read) == end - first:
                return read, [Slice(partition, first, end - first)]
            read = log.read(first, end, [*columns, OFFSET_COLUMN])
            break
        except OffsetOutOfRangeError:  # they were deleted just now
            continue
    if not read:
        return [], []
    offsets = np.concatenate([batch.column(len(columns)).to_numpy() for batch in read])
    starts = np.flatnonzero(np.diff(offsets, prepend=offsets[0] - 2) != 1)
    counts = np.diff(starts, append=len(offsets))
    slices = [Slice(partition, int(offsets[s]), int(n)) for s, n in zip(starts, counts, strict=True)]
    return [batch.select(columns) for batch in read], slices
