"""A frame: one Arrow record batch message that carries our header in its padding."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

import google_crc32c
import numpy as np
import pyarrow as pa

from .errors import NotSupportedError
from .limits import FRAME_BYTES_MAX

MAGIC = b"SLF1"
VERSION = 1
HEADER_BYTES = 96
NO_TIME = int(np.iinfo(np.int64).min)  # no event time is recorded
NO_TRANSACTION = NO_TIME

_CONTINUATION = 0xFFFFFFFF
_IN_TRANSACTION = 0x0100  # the frame counts only if its transaction was committed
_ATTRIBUTES_REFUSED = 0xFE00  # bits 8-15 change the meaning of a frame: refuse those unknown; ignore bits 0-7
_PREFIX = struct.Struct("<Ii")
_HEADER = struct.Struct("<4sHHqIIqIIqqqqqQI")  # all of the header but its own checksum
_CHECKSUM = struct.Struct("<I")


class Times(NamedTuple):
    """What a frame says of time. Units: microseconds since 1970-01-01 UTC; `NO_TIME` where nothing is recorded."""

    append: int
    minimum: int = NO_TIME
    maximum: int = NO_TIME


class Mark(NamedTuple):
    """Who wrote a frame, so that a retry is known as one, and the transaction that decides whether it counts.

    Writer 0 has no name and no sequence. A named one numbers what it appends to a topic; sequences only rise.
    """

    writer: int = 0
    epoch: int = 0
    sequence: int = 0
    transaction: int = NO_TRANSACTION


NO_MARK = Mark()
Compression = Literal["zstd", "lz4"]


class Frame(NamedTuple):
    """Where a frame lies and what its header says."""

    position: int
    size: int
    base_offset: int
    rows: int
    schema_id: int
    times: Times
    mark: Mark
    durable_offset: int
    body_size: int
    body_checksum: int

    def intact(self, buffer: pa.Buffer) -> bool:
        """Whether the body is all there, with the checksum that the header says."""
        end = self.position + self.size
        if end > buffer.size:
            return False
        body = buffer.slice(end - self.body_size, self.body_size)
        return bool(google_crc32c.value(body) == self.body_checksum)


def encode_frame(
    batch: pa.RecordBatch,
    *,
    base_offset: int,
    schema_id: int,
    times: Times,
    mark: Mark = NO_MARK,
    durable_offset: int,
    compression: Compression | None = None,
) -> tuple[bytes, pa.Buffer]:
    """The two pieces of a frame: Arrow's metadata with the header in its padding, and Arrow's body, not copied.

    With `compression`, Arrow compresses each buffer of the body, and any Arrow reader takes it apart again.
    """
    message = batch.serialize() if compression is None else _compressed(batch, compression)
    metadata_end = 8 + int(_PREFIX.unpack_from(message)[1])
    body = message.slice(metadata_end)
    head = b"".join(
        (
            _PREFIX.pack(_CONTINUATION, metadata_end - 8 + HEADER_BYTES),
            message.slice(8, metadata_end - 8),
            _HEADER.pack(
                MAGIC, VERSION, 0 if mark.transaction == NO_TRANSACTION else _IN_TRANSACTION,
                base_offset, batch.num_rows, schema_id, times.append,
                mark.writer, mark.epoch, mark.sequence,
                times.minimum, times.maximum, mark.transaction, durable_offset,
                body.size, google_crc32c.value(body),
            ),
        )
    )  # fmt: skip
    return head + _CHECKSUM.pack(google_crc32c.value(head)), body


def decode_frame(buffer: pa.Buffer, position: int) -> Frame | None:
    """The frame whose head stands whole and intact at `position`; None if there is no such head.

    Holds: the checksum of the head is verified, that of the body is not; see `Frame.intact`.
    Raises: NotSupportedError if the head is intact, and means something this version does not know.
    """
    if position + 8 + HEADER_BYTES > buffer.size:
        return None
    continuation, metadata_size = _PREFIX.unpack_from(buffer, position)
    if continuation != _CONTINUATION or not HEADER_BYTES <= metadata_size <= FRAME_BYTES_MAX:
        return None
    metadata_end = position + 8 + metadata_size
    if metadata_end > buffer.size:
        return None
    header = metadata_end - HEADER_BYTES
    (
        magic, version, attributes, base_offset, rows, schema_id, append_time,
        writer, epoch, sequence,
        minimum, maximum, transaction, durable_offset,
        body_size, body_checksum,
    ) = _HEADER.unpack_from(buffer, header)  # fmt: skip
    (head_checksum,) = _CHECKSUM.unpack_from(buffer, metadata_end - _CHECKSUM.size)
    if magic != MAGIC or google_crc32c.value(buffer.slice(position, metadata_end - 4 - position)) != head_checksum:
        return None
    if version != VERSION or attributes & _ATTRIBUTES_REFUSED:
        raise NotSupportedError(
            f"cannot read the frame at offset {base_offset}: it has version {version}, attributes {attributes:#06x}",
            detail=f"This headrace knows version {VERSION} without attributes.",
            hint="Open the folder with a later headrace.",
        )
    size = metadata_end + body_size - position
    times = Times(append_time, minimum, maximum)
    mark = Mark(writer, epoch, sequence, transaction)
    return Frame(position, size, base_offset, rows, schema_id, times, mark, durable_offset, body_size, body_checksum)


def scan_frames(buffer: pa.Buffer, position: int, base_offset: int, *, sparse: bool = False) -> Iterator[Frame]:
    """The frames from `position` on, up to the first place where no intact frame continues at the next offset.

    In a `sparse` segment a frame may also begin at a later offset.
    """
    while True:
        frame = decode_frame(buffer, position)
        if frame is None or not frame.intact(buffer):
            return
        if frame.base_offset < base_offset if sparse else frame.base_offset != base_offset:
            return
        yield frame
        position += frame.size
        base_offset = frame.base_offset + frame.rows


def find_frames(buffer: pa.Buffer, position: int) -> Iterator[Frame]:
    """Every intact frame that starts at or after `position`, whatever lies between them.

    A damaged frame whose head is intact is stepped over as a whole: its rows may hold what looks like frames.
    """
    damaged = decode_frame(buffer, position)
    first = (position if damaged is None else position + damaged.size) // 8
    words = np.frombuffer(buffer, "<u4", count=buffer.size // 8 * 2)
    lows, highs = words[2 * first :: 2], words[2 * first + 1 :: 2]
    starts = np.flatnonzero(lows == _CONTINUATION)
    headers = np.flatnonzero(lows == int.from_bytes(MAGIC, "little"))
    # In units of 8 bytes: a message at s with metadata length m has its header 96 bytes before s + 8 + m.
    expected = starts + (highs[starts].astype(np.int64) + 8 - HEADER_BYTES) // 8
    candidates = starts[np.isin(expected, headers)]
    for start in candidates:
        frame = decode_frame(buffer, 8 * (first + int(start)))
        if frame is not None and frame.intact(buffer):
            yield frame


def _compressed(batch: pa.RecordBatch, compression: Compression) -> pa.Buffer:
    """The batch as one encapsulated message with compressed buffers."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
        end = sink.tell()
    stream = sink.getvalue()
    start = 8 + int(_PREFIX.unpack_from(stream)[1])  # behind the schema message, which has no body
    return stream.slice(start, end - start)
