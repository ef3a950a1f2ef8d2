"""A segment: one Arrow IPC file of frames, open at its end while active, with a footer once sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from .errors import CorruptionError
from .files import File, map_file
from .footer import encode_footer
from .frame import Times, decode_frame, encode_frame, scan_frames
from .frame_index import FrameIndex
from .limits import ALLOCATION_BYTES, ALLOCATION_BYTES_MAX

_FILE_START = b"ARROW1\0\0"


@dataclass(frozen=True)
class SegmentSchema:
    """One version of a topic's schema, and the bytes that each of its segments begins with."""

    id: int
    schema: pa.Schema
    message: bytes

    @property
    def file_start(self) -> bytes:
        """Everything before the first frame."""
        return _FILE_START + self.message


class Segment:
    """Frames of one schema at consecutive offsets.

    Holds: what `index` shows is written; bytes behind `index.end_position` are zeros, or what a failed write left.
    Readers need no lock; whoever appends or seals has the partition's.
    """

    def __init__(self, path: Path, schema: SegmentSchema, index: FrameIndex, *, base_offset: int) -> None:
        self.path = path
        self.schema = schema
        self.base_offset = base_offset
        self.index = index
        self._file: File | None = None
        self._allocated = index.end_position
        self._buffer: pa.Buffer | None = None
        self._unverified: bytearray | None = None  # one byte per frame, 1 where nobody has compared its checksums yet

    @classmethod
    def create(cls, path: Path, schema: SegmentSchema, *, base_offset: int, durable: bool) -> Segment:
        """An empty active segment on disk; what an interrupted attempt left there is overwritten."""
        start = schema.file_start
        segment = cls(path, schema, FrameIndex(base_offset, len(start)), base_offset=base_offset)
        segment._file = File(path, create=True)
        segment._file.write([start], len(start), 0)
        if durable:
            segment._file.sync()
        return segment

    @classmethod
    def resume(
        cls, path: Path, schema: SegmentSchema, index: FrameIndex, *, base_offset: int, durable: bool
    ) -> Segment:
        """The active segment with the frames that `index` shows, which recovery has verified, and none behind them."""
        segment = cls(path, schema, index, base_offset=base_offset)
        segment._file = File(path)
        start = schema.file_start
        if segment._file.size() < len(start) or map_file(path, len(start)).to_pybytes() != start:
            segment._file.write([start], len(start), 0)
        segment._file.truncate(index.end_position)
        if durable:
            segment._file.sync()
        return segment

    @classmethod
    def sealed(cls, path: Path, schema: SegmentSchema, *, base_offset: int, end_offset: int, size: int) -> Segment:
        """A sealed segment; its frames are verified when they are first read.

        Raises: CorruptionError if the file is not as long as the manifest says, or frames are missing.
        """
        file = File(path)
        actual_size = file.size()
        file.close()
        if actual_size != size:
            raise damaged(path, f"It has {actual_size} bytes where its manifest says {size}.")
        index_path = path.with_suffix(".idx")
        index = FrameIndex.load(index_path)
        if index is None or (index.end_offset, index.offsets[0]) != (end_offset, base_offset):
            index = scan(map_file(path, size), schema, base_offset)
            if index.end_offset != end_offset:
                lost = f"Offsets {index.end_offset} to {end_offset} cannot be read."
                raise damaged(path, f"A frame does not match its checksum at byte {index.end_position}. {lost}")
            index.save(index_path, durable=False)
        segment = cls(path, schema, index, base_offset=base_offset)
        segment._unverified = bytearray(b"\1") * len(index.offsets)
        return segment

    @property
    def end_offset(self) -> int:
        return self.index.end_offset

    @property
    def empty(self) -> bool:
        return not self.index.offsets

    @property
    def size(self) -> int:
        """Bytes up to the end of the last frame."""
        return self.index.end_position

    def append(self, batch: pa.RecordBatch, times: Times, *, durable_offset: int) -> None:
        """The batch is the last frame; not yet on the medium. On an error nothing has changed."""
        file = self._file
        assert file is not None, "a sealed segment takes no frames"
        head, body = encode_frame(
            batch,
            base_offset=self.index.end_offset,
            schema_id=self.schema.id,
            times=times,
            durable_offset=durable_offset,
        )
        size = len(head) + body.size
        end = self.index.end_position + size
        if end > self._allocated:
            step = min(max(self._allocated, ALLOCATION_BYTES), ALLOCATION_BYTES_MAX)
            allocated = max(end, self._allocated + step)
            file.allocate(self._allocated, allocated)
            self._allocated = allocated
        file.write((head, body), size, self.index.end_position)
        self.index.add(batch.num_rows, size, times)

    def read(self, start: int, end: int, columns: Sequence[str] | None) -> list[pa.RecordBatch]:
        """The rows of [start, end), one batch per frame, without copying them."""
        batches = []
        for number in self.index.find(start, end):
            first, last, position, end_position = self.index.place(number)
            buffer = self._mapped(end_position)
            if self._unverified is not None and self._unverified[number]:
                self._verify(number, buffer)
            message = pa.ipc.read_message(buffer.slice(position, end_position - position))
            batch = pa.ipc.read_record_batch(message, self.schema.schema)
            if columns is not None:
                batch = batch.select(columns)
            if first < start or last > end:
                batch = batch.slice(max(start - first, 0), min(end, last) - max(start, first))
            batches.append(batch)
        return batches

    def sync(self) -> None:
        """Returns when all frames are on the medium."""
        if self._file is not None:
            self._file.sync()

    def seal(self) -> int:
        """The file has its footer, though not on the medium yet; returns its size. May be repeated after an error."""
        file = self._file
        assert file is not None, "a segment is sealed once"
        positions = np.append(np.array(self.index.positions), self.size)
        words = np.frombuffer(self._mapped(self.size), np.int32, count=self.size // 4)
        footer = encode_footer(self.schema.schema, positions, 8 + words[positions[:-1] // 4 + 1])
        file.truncate(self.size)
        self._allocated = self.size
        file.write([footer], len(footer), self.size)
        self.index.save(self.path.with_suffix(".idx"), durable=False)
        return self.size + len(footer)

    def trim(self) -> None:
        """Gives back what was allocated behind the last frame."""
        if self._file is not None and self._allocated > self.size:
            self._file.truncate(self.size)
            self._allocated = self.size

    def close(self) -> None:
        """No more writing; what has been read stays readable."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _mapped(self, end_position: int) -> pa.Buffer:
        buffer = self._buffer
        if buffer is None or buffer.size < end_position:
            buffer = self._buffer = map_file(self.path, max(self._allocated, end_position))
        return buffer

    def _verify(self, number: int, buffer: pa.Buffer) -> None:
        assert self._unverified is not None
        first, last, position, _ = self.index.place(number)
        frame = decode_frame(buffer, position)
        if frame is None or (frame.base_offset, frame.rows) != (first, last - first) or not frame.intact(buffer):
            lost = f"Offsets {first} to {last} cannot be read."
            raise damaged(self.path, f"A frame does not match its checksum at byte {position}. {lost}")
        self._unverified[number] = 0


def scan(buffer: pa.Buffer, schema: SegmentSchema, base_offset: int) -> FrameIndex:
    """The index of all intact frames that follow each other from the first on."""
    index = FrameIndex(base_offset, len(schema.file_start))
    for frame in scan_frames(buffer, index.end_position, base_offset):
        index.add(frame.rows, frame.size, frame.times)
    return index


def damaged(path: Path, detail: str) -> CorruptionError:
    return CorruptionError(
        f'cannot read "{path}": acknowledged rows are damaged',
        detail=detail,
        hint="Restore the file from a copy of the folder. Any Arrow tool can read what precedes the damage.",
    )
