"""Scans, from a warm page cache: every column, one column, a range of time; beside plain Arrow over the same files.

Both sides add up every buffer of what they read, so that each byte is looked at, and read in steps of 262,144 rows.
`as appended` is one active segment with frames of 1,000 rows, which Arrow reads as a stream; `coalesced` is what
sealing and the background's work make of it, which Arrow reads as files. A range of time is a tenth of the rows, by
when they were appended; Arrow has no index, and goes through all of `ts` to find it.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.storage.folder import Folder
from headrace.storage.limits import ROWS_PER_EPOCH, SEGMENT_BYTES_MAX
from headrace.storage.partition import Partition
from headrace.storage.topic import Topic, TopicOptions

from . import rows
from .table import Line

FRAME_ROWS = 1_000
REPEAT = 5


def run(quick: bool) -> list[Line]:
    """A line for each layout and kind of scan, medians of 5; of 8M rows, or 0.5M if `quick`."""
    count = 500_000 if quick else 8_000_000
    path = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    folder = Folder.open(path)
    try:
        lines = []
        for layout, segment_bytes in (("as appended", SEGMENT_BYTES_MAX), ("coalesced", min(256 << 20, count * 25))):
            options = TopicOptions(segment_bytes=segment_bytes)
            topic = folder.create_topic(layout, rows.SCHEMA, options=options)
            _fill(topic, count)
            (log,) = topic.partitions
            if layout == "coalesced":
                log.seal()
                folder.maintain()
            lines += _lines(layout, log, count)
        return lines
    finally:
        folder.close()
        shutil.rmtree(path)


def _fill(topic: Topic, count: int) -> None:
    for first in range(0, count, 65_536):
        batch = rows.batch(min(65_536, count - first), first)
        for start in range(0, batch.num_rows, FRAME_ROWS):
            topic.append(batch.slice(start, FRAME_ROWS), wait=False)
    topic.sync()


def _lines(layout: str, log: Partition, count: int) -> Iterator[Line]:
    first = _seconds(lambda: _ours(log, 0, count, None))
    yield Line(f"{layout}, full, the first time", count / first, note="checksums of sealed segments are compared")
    frames = sum(len(segment.index.offsets) for segment in log.segments)
    for name, columns, share in (("full", None, 1.0), ("one column, id", ["id"], 0.08)):
        ours, theirs = [], []
        for _ in range(REPEAT):
            ours.append(_seconds(lambda columns=columns: _ours(log, 0, count, columns)))  # type: ignore[misc]
            theirs.append(_seconds(lambda columns=columns: _arrow(log, columns)))  # type: ignore[misc]
        seconds = statistics.median(ours)
        speed = f"{share * count * rows.ROW_BYTES / seconds / 1e9:.1f} GB/s, {1e6 * seconds / frames:.1f} us a frame"
        yield Line(f"{layout}, {name}", count / seconds, speed, f"{statistics.median(theirs) / seconds:.2f} of Arrow")
    appended = np.concatenate([np.array(segment.index.append_times, np.int64) for segment in log.segments])
    low, high = (int(appended[len(appended) * tenth // 10]) for tenth in (5, 6))
    start, end = log.offset_at(low), log.offset_at(high)
    ours = [_seconds(lambda: _ours(log, log.offset_at(low), log.offset_at(high), None)) for _ in range(REPEAT)]
    theirs = [_seconds(lambda: _arrow_between(log, start, end)) for _ in range(REPEAT)]
    seconds = statistics.median(ours)
    beside = f"{statistics.median(theirs) / seconds:.2f} of Arrow"
    case = f"{layout}, {(end - start) / 1e6:.2f} M rows by time"
    yield Line(case, (end - start) / seconds, f"{1e3 * seconds:.1f} ms", beside)


def _ours(log: Partition, start: int, end: int, columns: Sequence[str] | None) -> None:
    for low, high in pairwise([*range(start, end, ROWS_PER_EPOCH), end]):
        for batch in log.read(low, high, columns):
            _look_at(batch)


def _arrow(log: Partition, columns: Sequence[str] | None) -> None:
    for batch in _arrow_batches(log):
        _look_at(batch if columns is None else batch.select(columns))


def _arrow_between(log: Partition, start: int, end: int) -> None:
    """The ids are the offsets, and `ts` is the id in microseconds."""
    low, high = (pa.scalar(offset).cast(pa.timestamp("us")) for offset in (start, end))
    for batch in _arrow_batches(log):
        times = batch.column("ts")
        wanted = pc.and_(pc.greater_equal(times, low), pc.less(times, high))
        if wanted.true_count == batch.num_rows:
            _look_at(batch)
        elif wanted.true_count:
            _look_at(batch.filter(wanted))


def _arrow_batches(log: Partition) -> Iterator[pa.RecordBatch]:
    """All rows by nothing but Arrow: a stream from byte 8 where a segment is active, else a file."""
    for segment in log.segments:
        with pa.memory_map(str(segment.path)) as file:
            if segment.entry is None:
                file.seek(8)
                with pa.ipc.open_stream(file) as stream:
                    for _ in range(len(segment.index.offsets)):
                        yield stream.read_next_batch()
            else:
                reader = pa.ipc.open_file(file)
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number)


def _look_at(batch: pa.RecordBatch) -> None:
    """Adds up all buffers of a batch of ours, as far as it goes in them."""
    for column in batch.columns:
        if pa.types.is_string(column.type):
            _, offsets, letters = column.buffers()
            bounds = np.frombuffer(offsets, np.int32, len(column) + 1, 4 * column.offset)
            bounds.sum()
            first, last = int(bounds[0]), int(bounds[-1])
            np.frombuffer(letters, np.int64, (last - first) // 8, first).sum()
        else:
            np.frombuffer(column.buffers()[1], np.int64, len(column), 8 * column.offset).sum()


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
