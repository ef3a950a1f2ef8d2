"""The frame index of a segment: where the frame of an offset lies, and which times it holds."""

from __future__ import annotations

import struct
import threading
from array import array
from bisect import bisect_right
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt

from .errors import OperationalError
from .files import read_file, save_file
from .frame import NO_TIME, Times

_MAGIC = b"SLI1"
_PREFIX = struct.Struct("<4sIqqq")  # magic, crc32c of what follows it, frames, end offset, end position


class FrameIndex:
    """One entry per frame, in order of offsets; entries are added at the end and never change.

    Readers need no lock: an entry is complete before `offsets` shows it.
    State: 40 bytes per frame.
    """

    def __init__(self, base_offset: int, position: int) -> None:
        self.end_offset = base_offset
        self.end_position = position
        self.offsets = array("q")
        self.positions = array("q")
        self.append_times = array("q")
        self.minimums = array("q")
        self.maximums = array("q")

    def add(self, rows: int, size: int, times: Times) -> None:
        """One more frame of `rows` rows and `size` bytes, right behind the last."""
        self.positions.append(self.end_position)
        self.append_times.append(times.append)
        self.minimums.append(times.minimum)
        self.maximums.append(times.maximum)
        self.offsets.append(self.end_offset)
        self.end_position += size
        self.end_offset += rows

    def jump(self, offset: int) -> None:
        """The next frame begins at `offset`, or the segment ends there: no rows are at the offsets in between."""
        assert offset >= self.end_offset, "offsets only rise"
        self.end_offset = offset

    def drop_last(self, frames: int, end_offset: int, end_position: int) -> None:
        """The last frames are not there any more, which no reader has seen yet."""
        for column in (self.offsets, self.positions, self.append_times, self.minimums, self.maximums):
            del column[len(column) - frames :]
        self.end_offset, self.end_position = end_offset, end_position

    def find(self, start: int, end: int) -> range:
        """The numbers of the frames that hold a row of [start, end)."""
        first = bisect_right(self.offsets, start) - 1
        return range(max(0, first), bisect_right(self.offsets, end - 1))

    def place(self, frame: int) -> tuple[int, int, int, int]:
        """Offsets [start, end) and positions [start, end) of a frame."""
        if frame + 1 < len(self.offsets):
            end_offset, end_position = self.offsets[frame + 1], self.positions[frame + 1]
        else:
            end_offset, end_position = self.end_offset, self.end_position
        return self.offsets[frame], end_offset, self.positions[frame], end_position

    def ends(self) -> npt.NDArray[np.int64]:
        """The offset where each frame ends."""
        return np.append(np.frombuffer(self.offsets[1:], np.int64), np.int64(self.end_offset))[: len(self.offsets)]

    def offset_at(self, append_time: int) -> int:
        """The offset of the first frame appended at `append_time` (microseconds) or later; the end if there is none."""
        later = np.flatnonzero(np.array(self.append_times, np.int64) >= append_time)
        return self.offsets[int(later[0])] if len(later) else self.end_offset

    def event_times(self, start: int, end: int) -> tuple[int, int] | None:
        """The least and the greatest event time of the frames that hold a row of [start, end)."""
        frames = self.find(start, end)
        minimums = np.frombuffer(self.minimums[frames.start : frames.stop], np.int64)
        maximums = np.frombuffer(self.maximums[frames.start : frames.stop], np.int64)
        recorded = minimums != NO_TIME
        if not recorded.any():
            return None
        return int(minimums[recorded].min()), int(maximums[recorded].max())

    def spared(self, start: int, end: int, first: int, last: int) -> list[tuple[int, int]]:
        """The offsets in [start, end) of whole frames whose event times are all before `first` or all after `last`."""
        frames = self.find(start, end)
        minimums = np.frombuffer(self.minimums[frames.start : frames.stop], np.int64)
        maximums = np.frombuffer(self.maximums[frames.start : frames.stop], np.int64)
        outside = np.flatnonzero((minimums != NO_TIME) & ((maximums < first) | (minimums > last)))
        places = (self.place(frames.start + int(number))[:2] for number in outside)
        return [(low, high) for low, high in places if start <= low and high <= end]

    def save(self, path: Path, *, durable: bool) -> None:
        arrays = (self.offsets, self.positions, self.append_times, self.minimums, self.maximums)
        body = struct.pack("<qqq", len(self.offsets), self.end_offset, self.end_position)
        body += b"".join(column.tobytes() for column in arrays)
        save_file(path, _MAGIC + struct.pack("<I", google_crc32c.value(body)) + body, durable=durable)

    @classmethod
    def load(cls, path: Path) -> FrameIndex | None:
        """The index as it was saved; None if the file is missing or damaged, since it can be built again."""
        try:
            content = read_file(path)
        except OperationalError:
            return None
        if len(content) < _PREFIX.size:
            return None
        magic, checksum, frames, end_offset, end_position = _PREFIX.unpack_from(content)
        if magic != _MAGIC or checksum != google_crc32c.value(content[8:]):
            return None
        columns = np.frombuffer(content, np.int64, offset=_PREFIX.size).reshape(5, frames)
        index = cls(end_offset, end_position)
        targets = (index.offsets, index.positions, index.append_times, index.minimums, index.maximums)
        for target, column in zip(targets, columns, strict=True):
            target.frombytes(column.tobytes())
        return index


class SuffixMinimum:
    """The least event time from any offset on, over a log that grows at its end.

    Holds: `ends` and `minimums` both rise strictly; the answer for an offset is the first entry that ends after it.
    State: 16 bytes per frame at most, where event times rise with the offsets.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends = array("q")
        self._minimums = array("q")

    def add(self, end: int, minimum: int) -> None:
        """A frame that ends at offset `end` holds no time before `minimum`; NO_TIME says that it holds none at all."""
        if minimum == NO_TIME:
            return
        with self._lock:
            while self._minimums and self._minimums[-1] >= minimum:
                self._minimums.pop()
                self._ends.pop()
            self._minimums.append(minimum)
            self._ends.append(end)

    def extend(self, index: FrameIndex) -> None:
        """As `add` for each frame of a segment behind those known so far."""
        minimums = np.append(np.array(self._minimums, np.int64), np.array(index.minimums, np.int64))
        ends = np.append(np.array(self._ends, np.int64), index.ends())[minimums != NO_TIME]
        minimums = minimums[minimums != NO_TIME]
        suffixes = np.minimum.accumulate(minimums[::-1])[::-1]
        kept = np.append(minimums[:-1] < suffixes[1:], True)[: len(minimums)]
        with self._lock:
            self._ends = array("q", ends[kept].tobytes())
            self._minimums = array("q", minimums[kept].tobytes())

    def at(self, offset: int) -> int | None:
        """The least time of the frames that hold a row at `offset` or after it."""
        with self._lock:
            place = bisect_right(self._ends, offset)
            return self._minimums[place] if place < len(self._minimums) else None
