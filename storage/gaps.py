"""The intact frames of a segment file, whatever happened to it, and the gaps between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

from .frame import Frame, decode_frame, find_frames, scan_frames
from .schema import SegmentSchema
from .segment import frames_start


class Gap(NamedTuple):
    """What stands from byte `position` on is no frame that belongs there, and so no rows are at [start, end)."""

    position: int
    start: int
    end: int


def walk(
    buffer: pa.Buffer, schema: SegmentSchema, base_offset: int, *, sparse: bool, end: int | None = None
) -> Iterator[Frame | Gap]:
    """All intact frames in order of offsets, and a gap wherever one does not follow the one before.

    Frames that begin at offset `end` or behind it do not count. What is missing behind the last frame is no gap here,
    as the file does not know.
    Holds: in a sparse file a gap begins behind the last row that is there, or where the damaged frame says it begins.
    """
    position, offset = first_frame(buffer, schema, sparse=sparse), base_offset
    last: Frame | None = None
    while True:
        for frame in scan_frames(buffer, position, offset, sparse=sparse):
            if end is not None and frame.base_offset >= end:
                return
            yield frame
            last = frame
            position, offset = frame.position + frame.size, frame.base_offset + frame.rows
        if sparse and last is not None:
            offset = end_of(buffer, schema, last)
        later = _later(buffer, position, offset)
        if later is None or (end is not None and later.base_offset >= end):
            return
        head = decode_frame(buffer, position)
        start = offset if head is None or not offset <= head.base_offset <= later.base_offset else head.base_offset
        yield Gap(position, start if sparse else offset, later.base_offset)
        position, offset = later.position, later.base_offset


def file_start(schema: SegmentSchema, *, sparse: bool) -> bytes:
    """Everything before the first frame."""
    return b"ARROW1\0\0" + schema.sparse().serialize().to_pybytes() if sparse else schema.file_start


def first_frame(buffer: pa.Buffer, schema: SegmentSchema, *, sparse: bool) -> int:
    """Where the first frame begins: behind the schema, whether that is intact or not."""
    expected = len(file_start(schema, sparse=sparse))
    if buffer.size >= 16 and decode_frame(buffer, expected) is None:
        stated = frames_start(buffer)
        if 16 <= stated < buffer.size and decode_frame(buffer, stated) is not None:
            return stated
    return expected


def decode(buffer: pa.Buffer, frame: Frame, schema: SegmentSchema, *, sparse: bool) -> pa.RecordBatch:
    """The rows of an intact frame; of a sparse file with the column of their offsets."""
    message = pa.ipc.read_message(buffer.slice(frame.position, frame.size))
    return pa.ipc.read_record_batch(message, schema.sparse() if sparse else schema.schema)


def _later(buffer: pa.Buffer, position: int, offset: int) -> Frame | None:
    """The next intact frame at or behind `position` that may follow the rows before `offset`."""
    here = decode_frame(buffer, position)
    if here is not None and here.intact(buffer) and here.base_offset > offset:
        return here
    return next((frame for frame in find_frames(buffer, position) if frame.base_offset >= offset), None)


def end_of(buffer: pa.Buffer, schema: SegmentSchema, frame: Frame) -> int:
    """The offset behind the last row of a sparse frame."""
    offsets = decode(buffer, frame, schema, sparse=True).column(0)
    return int(offsets[-1].as_py()) + 1 if len(offsets) else frame.base_offset
