"""Sealed segments written anew: what coalescing, compaction and repair make of the segments that were there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np
import pyarrow as pa

from .errors import OperationalError
from .files import File, map_file, remove_file
from .footer import encode_footer
from .frame import NO_TIME, Compression, Frame, Times, encode_frame
from .frame_index import FrameIndex
from .limits import REWRITTEN_FRAME_BYTES, ROWS_PER_FRAME
from .manifest import SegmentEntry
from .schema import OFFSET_COLUMN, SegmentSchema
from .segment import Segment

Breathe = Callable[[], None]  # called now and then during long work: it may wait, and raises to end the work


class Rewritten(NamedTuple):
    """Rows that become one frame. In a sparse segment `batch` has the rows' offsets as its first column."""

    base_offset: int
    batch: pa.RecordBatch
    times: Times


def read_frames(segment: Segment, breathe: Breathe, *, sparse: bool) -> Iterator[Rewritten]:
    """All rows of a sealed segment, its small frames joined, each with its checksum verified now.

    With `sparse` each batch begins with the column of offsets.
    Shape: at most ROWS_PER_FRAME rows or REWRITTEN_FRAME_BYTES of the file at once, unless one frame has more.
    Raises: CorruptionError, so that damage is never copied under a new checksum.
    """
    assert sparse or not segment.sparse, "offsets that would be lost"
    group: list[Frame] = []
    rows = size = 0
    for frame in segment.frames():
        if group and (rows + frame.rows > ROWS_PER_FRAME or size + frame.size > REWRITTEN_FRAME_BYTES):
            yield _joined(segment, group, sparse=sparse)
            group, rows, size = [], 0, 0
            breathe()
        group.append(frame)
        rows, size = rows + frame.rows, size + frame.size
        if len(group) % 64 == 0:
            breathe()
    if group:
        yield _joined(segment, group, sparse=sparse)


def regroup(pieces: Iterable[Rewritten]) -> Iterator[Rewritten]:
    """The same rows in frames of up to ROWS_PER_FRAME rows and about REWRITTEN_FRAME_BYTES."""
    pending: list[Rewritten] = []
    rows = size = 0
    for piece in pieces:
        piece_size = piece.batch.nbytes
        if pending and (rows + piece.batch.num_rows > ROWS_PER_FRAME or size + piece_size > REWRITTEN_FRAME_BYTES):
            yield from _cut(_merge(pending))
            pending, rows, size = [], 0, 0
        pending.append(piece)
        rows, size = rows + piece.batch.num_rows, size + piece_size
    if pending:
        yield from _cut(_merge(pending))


def write_segment(
    path: Path,
    schema: SegmentSchema,
    frames: Iterable[Rewritten],
    *,
    base_offset: int,
    end_offset: int,
    sparse: bool,
    compression: Compression | None,
    durable: bool,
) -> SegmentEntry | None:
    """A new sealed file at `path`, complete and synced, that no manifest names yet; the entry for the manifest.

    None, and no file, if there are no rows. After an error there is no file either, if the disk allows.
    Holds: frames come in order of offsets; those of a segment that is not sparse follow each other without a gap.
    """
    file_schema = schema.sparse() if sparse else schema.schema
    start = b"ARROW1\0\0" + file_schema.serialize().to_pybytes()
    file = File(path, create=True)
    try:
        file.write([start], len(start), 0)
        index = FrameIndex(base_offset, len(start))
        metadata_sizes = []
        rows = 0
        for frame in frames:
            head, body = encode_frame(
                frame.batch,
                base_offset=frame.base_offset,
                schema_id=schema.id,
                times=frame.times,
                durable_offset=end_offset,
                compression=compression,
            )
            file.write((head, body), len(head) + body.size, index.end_position)
            index.jump(frame.base_offset)
            index.add(frame.batch.num_rows, len(head) + body.size, frame.times)
            metadata_sizes.append(len(head))
            rows += frame.batch.num_rows
        if not rows:
            remove_rewritten(path)
            return None
        assert sparse or index.end_offset == end_offset, "a gap in a segment that is not sparse"
        index.jump(end_offset)
        positions = np.append(np.array(index.positions), index.end_position)
        footer = encode_footer(file_schema, positions, np.array(metadata_sizes, np.int32))
        file.write([footer], len(footer), index.end_position)
        if durable:
            file.sync()
        size = index.end_position + len(footer)
        index.save(path.with_suffix(".idx"), durable=False)
        checksum = google_crc32c.value(map_file(path, size))
    except BaseException:
        remove_rewritten(path)
        raise
    finally:
        file.close()
    least, greatest = np.array(index.minimums), np.array(index.maximums)
    recorded = least != NO_TIME
    return SegmentEntry(
        path.name,
        schema.id,
        base_offset,
        end_offset,
        size,
        rows=rows if sparse else None,
        append_times=(min(index.append_times), max(index.append_times)),
        event_times=(int(least[recorded].min()), int(greatest[recorded].max())) if recorded.any() else None,
        crc32c=checksum,
        sparse=sparse,
    )


def remove_rewritten(path: Path) -> None:
    """A file that no manifest names is gone; if the disk does not let it, recovery removes it."""
    for file in (path, path.with_suffix(".idx")):
        with suppress(OperationalError):
            remove_file(file)


def generation(file: str) -> int:
    """How often the rows of a segment file were written anew: 0 for one that rows were appended to."""
    parts = file.split(".")
    return int(parts[-2][1:]) if len(parts) > 2 and parts[-2][:1] == "g" else 0


def next_file(segments: Sequence[Segment]) -> Path:
    """Where the rows of these segments go when they are written anew; no segment before had this name."""
    number = 1 + max(generation(segment.path.name) for segment in segments)
    return segments[0].path.with_name(f"{segments[0].base_offset:020d}.g{number}.arrow")


def merge_times(times: Iterable[Times]) -> Times:
    """What a frame says that has the rows of several: the last append time, the bounds of all event times."""
    known = list(times)
    minimums = [one.minimum for one in known if one.minimum != NO_TIME]
    maximums = [one.maximum for one in known if one.minimum != NO_TIME]
    return Times(max(one.append for one in known), min(minimums, default=NO_TIME), max(maximums, default=NO_TIME))


def _joined(segment: Segment, frames: Sequence[Frame], *, sparse: bool) -> Rewritten:
    batch = segment.decode(frames)
    base_offset = frames[0].base_offset
    if sparse and not segment.sparse:
        offsets = pa.array(np.arange(base_offset, base_offset + batch.num_rows))
        batch = pa.RecordBatch.from_arrays([offsets, *batch.columns], schema=segment.schema.sparse())
    return Rewritten(base_offset, batch, merge_times(frame.times for frame in frames))


def _merge(pieces: Sequence[Rewritten]) -> Rewritten:
    if len(pieces) == 1:
        return pieces[0]
    batch = pa.concat_batches([piece.batch for piece in pieces])
    return Rewritten(pieces[0].base_offset, batch, merge_times(piece.times for piece in pieces))


def _cut(piece: Rewritten) -> Iterator[Rewritten]:
    """The piece, or pieces of it that are about as large as a frame should be: what is compressed grows when read."""
    batch = piece.batch
    parts = min(batch.num_rows, -(-batch.nbytes // (2 * REWRITTEN_FRAME_BYTES)))
    if parts <= 1:
        yield piece
        return
    numbered = batch.schema.names[0] == OFFSET_COLUMN
    rows = -(-batch.num_rows // parts)
    for start in range(0, batch.num_rows, rows):
        part = batch.slice(start, rows)
        base_offset = part.column(0)[0].as_py() if numbered else piece.base_offset + start
        yield Rewritten(base_offset, part, piece.times)
