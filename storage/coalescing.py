"""Coalescing: sealed segments of many small frames become few of large frames, which are quicker to scan."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from .errors import CorruptionError
from .limits import COALESCED_ROWS_MIN, REWRITTEN_FRAME_BYTES
from .partition import Partition
from .retention import append_times, file_size
from .rewriting import Breathe, generation, next_file, read_frames, regroup, remove_rewritten, write_segment
from .segment import Segment


def coalesce(partition: Partition, breathe: Breathe, *, span_us: int | None = None) -> None:
    """Sealed segments with small frames are written anew with large ones; small neighbours become one segment.

    A segment that several become holds what was appended within `span_us` microseconds, where that is given, so that
    the time it is kept for stays about the same.
    Holds: the rows, their offsets and their order stay. Frames merge what they say of time: the last append time, the
    bounds of all event times; and forget who wrote them, which the manifest knows.
    Raises: CorruptionError in the end, if a segment is damaged, which stays as it is.
    """
    damaged: dict[Segment, CorruptionError] = {}
    while run := _next_run(partition, damaged, span_us):
        try:
            _rewrite(partition, run, breathe)
        except CorruptionError as error:  # the rest is worth the work all the same
            damaged.update(dict.fromkeys(run, error))
    for failure in damaged.values():
        raise failure


def _rewrite(partition: Partition, run: Sequence[Segment], breathe: Breathe) -> None:
    sparse = any(segment.sparse for segment in run)
    sparse = sparse or any(left.end_offset < right.base_offset for left, right in pairwise(run))
    path = next_file(run)
    entry = write_segment(
        path,
        run[0].schema,
        regroup(frame for segment in run for frame in read_frames(segment, breathe, sparse=sparse)),
        base_offset=run[0].base_offset,
        end_offset=run[-1].end_offset,
        sparse=sparse,
        compression=partition.compression,
        durable=partition.durable_folder,
    )
    assert entry is not None, "segments without rows"
    if not partition.replace(run, [entry]):  # after an error a manifest may name the file: recovery knows
        remove_rewritten(path)


def _next_run(partition: Partition, damaged: Collection[Segment], span_us: int | None) -> list[Segment] | None:
    runs = _runs(partition.segments[:-1], partition.segment_bytes, span_us)
    return next((run for run in runs if not any(segment in damaged for segment in run)), None)


def _runs(segments: Sequence[Segment], size_max: int, span_us: int | None) -> Iterator[list[Segment]]:
    """What is worth writing anew: neighbours that become one segment, or a single one with small frames.

    A segment joins those after it only if it is no larger than all of them, so that, as in a merge tree, a row is
    written a number of times that grows with the logarithm of the rows only.
    """
    run: list[Segment] = []
    size = 0
    found: list[list[Segment]] = []
    for segment in reversed(segments):
        joins = (
            bool(run)
            and not segment.remote
            and segment.schema is run[0].schema
            and file_size(segment) <= size
            and size + file_size(segment) <= size_max
            and (span_us is None or append_times(run[-1])[1] - append_times(segment)[0] <= span_us)
        )
        if not joins:
            found.append(run)
            run, size = [], 0
            if segment.remote:
                continue
        run.insert(0, segment)
        size += file_size(segment)
    found.append(run)
    for run in reversed(found):
        if len(run) > 1 or (run and _small_frames(run[0])):
            yield run


def _small_frames(segment: Segment) -> bool:
    """Whether it has several frames, most of them small, as producers wrote them."""
    frames = len(segment.index.offsets)
    small = (segment.end_offset - segment.base_offset) < frames * COALESCED_ROWS_MIN
    return (
        frames > 1
        and small
        and segment.size < frames * REWRITTEN_FRAME_BYTES // 4
        and not generation(segment.path.name)
    )
