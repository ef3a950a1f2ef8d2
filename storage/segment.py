"""A segment: one Arrow IPC file of frames, open at its end while active, with a footer once sealed."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from .errors import CorruptionError, OperationalError
from .files import File, file_size, map_file, remove_file
from .footer import encode_footer
from .frame import NO_MARK, Compression, Frame, Mark, Times, decode_frame, encode_frame, scan_frames
from .frame_index import FrameIndex
from .limits import ALLOCATION_BYTES, ALLOCATION_BYTES_MAX
from .manifest import SegmentEntry
from .schema import SegmentSchema

_LENGTH = struct.Struct("<i")
Offsets = Callable[[], pa.Array]  # the offset of each row of a batch, int64


class Segment:
    """Frames of one schema at rising offsets; at consecutive ones, unless the segment is sparse.

    `entry` is what the manifest says of it, None while it is active.
    Holds: what `index` shows is written; bytes behind `index.end_position` are zeros, or what a failed write left.
    Readers need no lock; whoever appends or seals has the partition's.
    """

    def __init__(self, path: Path, schema: SegmentSchema, index: FrameIndex, *, base_offset: int) -> None:
        self.entry: SegmentEntry | None = None
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
    def sealed(cls, path: Path, schema: SegmentSchema, entry: SegmentEntry, *, save_index: bool = True) -> Segment:
        """A sealed segment; its frames are verified when they are first read.

        A frame index that is missing is built, and saved if the folder is ours.
        Raises: CorruptionError if the file is not as long as the manifest says, or frames are missing.
        """
        size = entry.size_bytes
        assert size is not None
        actual_size = file_size(path)
        if actual_size != size:
            raise damaged(path, f"It has {actual_size} bytes where its manifest says {size}.")
        index = load_index(path, entry)
        if index is None:
            index = scan_sealed(path, map_file(path, size), schema, entry)
            if save_index:
                index.save(path.with_suffix(".idx"), durable=False)
        segment = cls(path, schema, index, base_offset=entry.base_offset)
        segment.entry = entry
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

    @property
    def sparse(self) -> bool:
        """Whether rows between the first offset and the last may be gone."""
        return self.entry is not None and self.entry.sparse

    @property
    def remote(self) -> bool:
        """Whether its file is elsewhere."""
        return self.entry is not None and self.entry.remote is not None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        known = None if self.entry is None else self.entry.rows
        return self.end_offset - self.base_offset if known is None else known

    def append(
        self,
        batch: pa.RecordBatch,
        times: Times,
        *,
        durable_offset: int,
        mark: Mark = NO_MARK,
        compression: Compression | None = None,
    ) -> None:
        """The batch is the last frame; not yet on the medium. On an error nothing has changed."""
        file = self._file
        assert file is not None, "a sealed segment takes no frames"
        head, body = encode_frame(
            batch,
            base_offset=self.index.end_offset,
            schema_id=self.schema.id,
            times=times,
            mark=mark,
            durable_offset=durable_offset,
            compression=compression,
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

    def read(self, start: int, end: int) -> list[tuple[pa.RecordBatch, Offsets]]:
        """The rows of [start, end) and their offsets, one batch per frame, without copying them."""
        found: list[tuple[pa.RecordBatch, Offsets]] = []
        numbers = self.index.find(start, end)
        if not numbers:
            return found
        buffer = self.mapped(self.index.place(numbers[-1])[3])
        for number in numbers:
            first, last, position, end_position = self.index.place(number)
            if self._unverified is not None and self._unverified[number]:
                self._verify(number, buffer)
            message = pa.ipc.read_message(buffer.slice(position, end_position - position))
            if self.sparse:
                batch = pa.ipc.read_record_batch(message, self.schema.sparse())
                offsets = batch.column(0)
                values = offsets.to_numpy()
                low, high = bisect_left(values, start), bisect_left(values, end)
                if low < high:
                    rows = batch.slice(low, high - low)
                    found.append((rows.select(self.schema.schema.names), lambda rows=rows: rows.column(0)))  # type: ignore[misc]
                continue
            batch = pa.ipc.read_record_batch(message, self.schema.schema)
            low, high = max(start, first), min(end, last)
            if (low, high) != (first, last):
                batch = batch.slice(low - first, high - low)
            found.append((batch, lambda low=low, high=high: pa.array(np.arange(low, high))))  # type: ignore[misc]
        return found

    def count(self, start: int, end: int) -> int:
        """How many rows are at offsets [start, end)."""
        start, end = max(start, self.base_offset), min(end, self.end_offset)
        if self.sparse and start < end and (start, end) != (self.base_offset, self.end_offset):
            return sum(batch.num_rows for batch, _ in self.read(start, end))
        return min(self.rows, max(0, end - start))

    def frames(self) -> Iterator[Frame]:
        """All frames of a sealed segment, the checksum of each compared now, whoever did so before.

        Raises: CorruptionError at the first that does not match.
        """
        buffer = self.mapped(self.size)
        number = 0
        start = frames_start(buffer)
        for frame in scan_frames(buffer, start, self.base_offset, sparse=self.sparse):
            number += 1
            yield frame
            if number == len(self.index.offsets):
                return
        if number < len(self.index.offsets):
            first, last, position, _ = self.index.place(number)
            raise _mismatch(self.path, first, last, position)

    def decode(self, frames: Sequence[Frame]) -> pa.RecordBatch:
        """All columns in the file, `_offset` too if it is sparse, of frames that follow each other, as one batch."""
        schema = self.schema.sparse() if self.sparse else self.schema.schema
        start, end = frames[0].position, frames[-1].position + frames[-1].size
        messages = self.mapped(end).slice(start, end - start)
        if len(frames) == 1:
            return pa.ipc.read_record_batch(pa.ipc.read_message(messages), schema)
        stream = b"".join((schema.serialize(), messages))  # copied, as Arrow is far quicker over many than we are
        with pa.ipc.open_stream(stream) as reader:
            return reader.read_all().combine_chunks().to_batches()[0]

    def event_times(self, start: int, end: int) -> tuple[int, int] | None:
        """The least and the greatest event time of the frames that hold a row of [start, end)."""
        return self.index.event_times(start, end)

    def offset_at(self, append_time: int) -> int:
        """The offset of the first frame appended at `append_time` or later; the end if there is none."""
        return self.index.offset_at(append_time)

    def sync(self) -> None:
        """Returns when all frames are on the medium."""
        file = self._file if self._file is not None else File(self.path)
        file.sync()

    def take_back(self, frames: int, *, end_offset: int, end_position: int) -> None:
        """The last frames were never appended; nobody has seen them."""
        self.index.drop_last(frames, end_offset, end_position)

    def seal(self) -> int:
        """The file has its footer, though not on the medium yet; returns its size. May be repeated after an error."""
        file = self._file
        assert file is not None, "a segment is sealed once"
        positions = np.append(np.array(self.index.positions), self.size)
        words = np.frombuffer(self.mapped(self.size), np.int32, count=self.size // 4)
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

    def remove(self, *, keep_index: bool = False) -> None:
        """The file is gone; who holds the segment can still read all of it, its footer too."""
        whole = None if self.entry is None else self.entry.size_bytes
        self.mapped(self.size if whole is None else whole)
        remove_file(self.path)
        if not keep_index:
            remove_file(self.path.with_suffix(".idx"))

    def close(self) -> None:
        """No more writing; what has been read stays readable."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def mapped(self, end_position: int) -> pa.Buffer:
        """The file's bytes, at least those before `end_position`, which are there; not copied."""
        buffer = self._buffer
        if buffer is None or buffer.size < end_position:
            try:
                buffer = self._buffer = map_file(self.path, max(self._allocated, end_position))
            except OperationalError:
                buffer = self._buffer  # whoever removed the file meanwhile has mapped it before
                if buffer is None or buffer.size < end_position:
                    raise
        return buffer

    def _verify(self, number: int, buffer: pa.Buffer) -> None:
        assert self._unverified is not None
        first, last, position, _ = self.index.place(number)
        frame = decode_frame(buffer, position)
        if (
            frame is None
            or frame.base_offset != first
            or (frame.rows > last - first if self.sparse else frame.rows != last - first)
            or not frame.intact(buffer)
        ):
            raise _mismatch(self.path, first, last, position)
        self._unverified[number] = 0


def scan(buffer: pa.Buffer, schema: SegmentSchema, base_offset: int, *, sparse: bool = False) -> FrameIndex:
    """The index of all intact frames that follow each other from the first on."""
    index = FrameIndex(base_offset, frames_start(buffer) if sparse else len(schema.file_start))
    for frame in scan_frames(buffer, index.end_position, base_offset, sparse=sparse):
        index.jump(frame.base_offset)
        index.add(frame.rows, frame.size, frame.times)
    return index


def load_index(path: Path, entry: SegmentEntry) -> FrameIndex | None:
    """The frame index of a sealed segment, if the folder has it, whole and of this segment."""
    index = FrameIndex.load(path.with_suffix(".idx"))
    if index is None or index.end_offset != entry.end_offset:
        return None
    return index if entry.sparse or index.offsets[0] == entry.base_offset else None


def scan_sealed(path: Path, buffer: pa.Buffer, schema: SegmentSchema, entry: SegmentEntry) -> FrameIndex:
    """The frame index of a sealed segment from its file's bytes. Raises: CorruptionError if frames are missing."""
    end_offset = entry.end_offset
    assert end_offset is not None
    index = scan(buffer, schema, entry.base_offset, sparse=entry.sparse)
    if entry.sparse and _frames_end(buffer) == index.end_position:
        index.jump(end_offset)
    if index.end_offset != end_offset:
        raise _mismatch(path, index.end_offset, end_offset, index.end_position)
    return index


def frames_start(buffer: pa.Buffer) -> int:
    """Where the first frame begins: behind the schema message, as long as that says."""
    return 16 + int(_LENGTH.unpack_from(buffer, 12)[0])


def _frames_end(buffer: pa.Buffer) -> int:
    """Where the frames of a sealed segment end, as its footer says."""
    length = buffer.size - 10  # where the footer's length stands
    return int(length - _LENGTH.unpack_from(buffer, length)[0] - 8)


def _mismatch(path: Path, start: int, end: int, position: int) -> CorruptionError:
    lost = f"Offsets {start} to {end} cannot be read."
    return damaged(path, f"A frame does not match its checksum at byte {position}. {lost}")


def damaged(path: Path, detail: str) -> CorruptionError:
    return CorruptionError(
        f'cannot read "{path}": acknowledged rows are damaged',
        detail=detail,
        hint="headrace topic verify says which rows are damaged, headrace topic repair saves the others.",
    )
