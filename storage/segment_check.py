"""What is wrong with one segment file: its frames, and all that is said about them elsewhere."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa

from .control import Durable
from .files import exists, file_size, map_file, read_file
from .findings import Checked, Finding, Place
from .footer import END_OF_STREAM, encode_footer
from .frame import NO_TIME, NO_TRANSACTION, Frame
from .frame_index import FrameIndex
from .gaps import Gap, decode, file_start, walk
from .manifest import SegmentEntry
from .schema import SegmentSchema

_MISMATCH = "a frame does not match its checksum"


class _Frames:
    """The frames of a file, taken one by one: their index, and what is wrong with each."""

    def __init__(self, place: Place, path: Path, entry: SegmentEntry, schema: SegmentSchema) -> None:
        self.place, self.path, self.entry, self.schema = place, path, entry, schema
        self.index = FrameIndex(entry.base_offset, 0)
        self.metadata_sizes = array("i")
        self.rows = 0
        self.last_offset = entry.base_offset - 1

    def add(self, buffer: pa.Buffer, frame: Frame) -> Iterator[Finding]:
        """One more intact frame."""
        self.index.end_position = frame.position
        self.index.jump(max(frame.base_offset, self.index.end_offset))
        self.index.add(frame.rows, frame.size, frame.times)
        self.metadata_sizes.append(frame.size - frame.body_size)
        self.rows += frame.rows
        wrong = self._wrong(buffer, frame)
        if wrong is not None:
            end = max(self.last_offset, frame.base_offset + frame.rows - 1) + 1
            yield self.place.found(self.path, wrong, position=frame.position, start=frame.base_offset, end=end)

    def _wrong(self, buffer: pa.Buffer, frame: Frame) -> str | None:
        if frame.schema_id != self.schema.id:
            return f"a frame has version {frame.schema_id} of the schema, its segment {self.schema.id}"
        try:
            batch = decode(buffer, frame, self.schema, sparse=self.entry.sparse)
        except (pa.ArrowException, OSError) as error:
            return f"a frame with the right checksum is no rows of its schema: {error}"
        if batch.num_rows != frame.rows:
            return f"a frame has {batch.num_rows} rows where its header says {frame.rows}"
        if self.entry.sparse and frame.rows:
            offsets = batch.column(0).to_numpy()
            rising = self.last_offset < offsets[0] and frame.base_offset <= offsets[0] and (np.diff(offsets) > 0).all()
            self.last_offset = int(offsets[-1])
            if not rising:
                return "the offsets of a frame's rows do not rise"
        return None


def check_sealed(place: Place, path: Path, entry: SegmentEntry, schema: SegmentSchema) -> Checked:
    """A sealed segment: every frame, and the footer, the frame index and the manifest's entry against the frames."""
    end_offset = entry.end_offset
    assert end_offset is not None
    checked = Checked(segments=1)
    found = checked.findings
    if not exists(path):
        if entry.remote is None:
            found.append(place.found(path, "the file is gone", start=entry.base_offset, end=end_offset))
        found += _check_index(place, path, _Frames(place, path, entry, schema), compare=False)
        return checked
    checked.size_bytes = size = file_size(path)
    buffer = map_file(path, size)
    if entry.size_bytes is not None and size != entry.size_bytes:
        found.append(place.found(path, f"it has {size:,} bytes where its manifest says {entry.size_bytes:,}"))
    found += _check_start(place, path, buffer, schema, entry)
    frames = _Frames(place, path, entry, schema)
    gaps = []
    for part in walk(buffer, schema, entry.base_offset, sparse=entry.sparse, end=end_offset):
        if isinstance(part, Gap):
            gaps.append(part)
        else:
            found += frames.add(buffer, part)
    checked.rows = frames.rows
    end = frames.index.end_position or len(file_start(schema, sparse=entry.sparse))
    reached = frames.index.end_offset if not entry.sparse else frames.last_offset + 1
    if reached < end_offset and not _complete(buffer, end, entry, frames.rows if not gaps else None):
        gaps.append(Gap(end, reached, end_offset))
    found += [_gap_found(place, path, gap) for gap in gaps]
    if entry.sparse and reached <= end_offset and not gaps:
        frames.index.jump(end_offset)  # which knows rows, not the offsets that are missing among the last frame's
    if not gaps:
        found += _check_figures(place, path, entry, frames)
        found += _check_footer(place, path, buffer, frames, end)
        if not found and entry.crc32c is not None and google_crc32c.value(buffer) != entry.crc32c:
            found.append(place.found(path, "it does not match the checksum in its manifest, though every frame does"))
    found += _check_index(place, path, frames, compare=not gaps)
    return checked


def check_active(
    place: Place,
    path: Path,
    entry: SegmentEntry,
    schema: SegmentSchema,
    control: Durable | None,
    committed: Callable[[int], bool] | None,
) -> Checked:
    """The active segment: every frame that was acknowledged, or that readers saw.

    What stands behind those may be just being written, or is what a crash left, and is no damage.
    """
    checked = Checked(segments=1)
    found = checked.findings
    acknowledged = 0 if control is None else max(control.offset, control.visible)
    if not exists(path):
        known = acknowledged > entry.base_offset
        start, end = (entry.base_offset, acknowledged) if known else (None, None)
        found.append(place.found(path, "the file is gone", start=start, end=end))
        return checked
    content = read_file(path)  # not mapped: its owner may cut it
    buffer = pa.py_buffer(content)
    checked.size_bytes = buffer.size
    found += _check_start(place, path, buffer, schema, entry)
    frames = _Frames(place, path, entry, schema)
    gaps = []
    said = entry.base_offset  # where the rows end that stand before the position that the control file gives
    undecided: Frame | None = None
    for part in walk(buffer, schema, entry.base_offset, sparse=False):
        if isinstance(part, Gap):
            gaps.append(part)
            continue
        found += frames.add(buffer, part)
        acknowledged = max(acknowledged, part.durable_offset)
        transaction = part.mark.transaction
        if undecided is None and committed is not None and transaction != NO_TRANSACTION and not committed(transaction):
            undecided = part
        if control is not None and frames.index.end_position <= control.position:
            said = frames.index.end_offset
    checked.rows = frames.rows
    end = frames.index.end_position or len(schema.file_start)
    gaps.append(Gap(end, frames.index.end_offset, max(acknowledged, frames.index.end_offset)))
    gaps = [gap for gap in gaps if gap.start < acknowledged]
    found += [_gap_found(place, path, gap._replace(end=min(gap.end, acknowledged))) for gap in gaps]
    if undecided is not None and undecided.base_offset < acknowledged and not gaps:
        what = f"its atomic append, number {undecided.mark.transaction}, is not among those committed"
        found.append(
            place.found(path, what, position=undecided.position, start=undecided.base_offset, end=acknowledged)
        )
    if control is not None and control.base_offset == entry.base_offset and not gaps and said < control.offset:
        what = f"it says that rows to offset {control.offset} end before byte {control.position}, but {said} does"
        found.append(place.found(path.with_name("ctl"), what))
    return checked


def _gap_found(place: Place, path: Path, gap: Gap) -> Finding:
    if gap.start == gap.end:
        return place.found(path, "bytes that belong to no frame", position=gap.position)
    return place.found(path, _MISMATCH, position=gap.position, start=gap.start, end=gap.end)


def _complete(buffer: pa.Buffer, end: int, entry: SegmentEntry, rows: int | None) -> bool:
    """Whether a sparse segment has all its rows though the last ends before the segment does."""
    if not entry.sparse:
        return False
    return rows == entry.rows if entry.rows is not None else buffer.slice(end, 8).to_pybytes() == END_OF_STREAM


def _check_start(
    place: Place, path: Path, buffer: pa.Buffer, schema: SegmentSchema, entry: SegmentEntry
) -> Iterator[Finding]:
    expected = file_start(schema, sparse=entry.sparse)
    actual = buffer.slice(0, min(len(expected), buffer.size)).to_pybytes()
    if actual == expected:
        return
    if entry.crc32c is not None and actual[:8] == expected[:8]:  # perhaps another version of Arrow wrote it
        try:
            if pa.ipc.read_schema(buffer.slice(8)).equals(schema.sparse() if entry.sparse else schema.schema):
                return
        except (pa.ArrowException, OSError):
            pass
    position = next((n for n, (a, b) in enumerate(zip(actual, expected, strict=False)) if a != b), len(actual))
    yield place.found(path, "its schema is not what topic.json says", position=position)


def _check_figures(place: Place, path: Path, entry: SegmentEntry, frames: _Frames) -> Iterator[Finding]:
    """The manifest's entry against the frames, all of which are there."""
    index = frames.index
    least, greatest = np.array(index.minimums, np.int64), np.array(index.maximums, np.int64)
    recorded = least != NO_TIME
    appended = (min(index.append_times), max(index.append_times)) if len(index.append_times) else None
    bounds = (int(least[recorded].min()), int(greatest[recorded].max())) if recorded.any() else None
    manifest = "the manifest says of it"
    if index.end_offset != entry.end_offset:
        yield place.found(path, f"{manifest} that it ends at offset {entry.end_offset}, but it does {index.end_offset}")
    if entry.rows is not None and entry.rows != frames.rows:
        yield place.found(path, f"{manifest} that it has {entry.rows} rows, but it has {frames.rows}")
    if entry.append_times is not None and entry.append_times != appended:
        yield place.found(path, f"{manifest} other append times than its frames do")
    if entry.append_times is not None and entry.event_times != bounds:  # an entry of format 1 has neither
        yield place.found(path, f"{manifest} other event times than its frames do")


def _check_footer(place: Place, path: Path, buffer: pa.Buffer, frames: _Frames, end: int) -> Iterator[Finding]:
    sparse = frames.entry.sparse
    schema = frames.schema.sparse() if sparse else frames.schema.schema
    positions = np.append(np.array(frames.index.positions, np.int64), end)
    expected = encode_footer(schema, positions, np.array(frames.metadata_sizes, np.int32))
    actual = buffer.slice(min(end, buffer.size)).to_pybytes()
    if actual == expected:
        return
    # Another version of Arrow may put the schema otherwise; the frames' places stand behind it.
    blocks = 4 + 24 * len(frames.metadata_sizes)
    fits = actual[:8] == END_OF_STREAM and actual[-6:] == expected[-6:]
    fits = fits and actual[-10 - blocks : -10] == expected[-10 - blocks : -10]
    try:
        with pa.ipc.open_file(buffer) as file:
            fits = fits and file.schema.equals(schema) and file.num_record_batches == len(frames.metadata_sizes)
            for number, position in enumerate(frames.index.positions if fits else ()):
                frame = pa.ipc.read_record_batch(pa.ipc.read_message(buffer.slice(position)), schema)
                fits = fits and file.get_batch(number).serialize().equals(frame.serialize())  # NaN is NaN here
    except (pa.ArrowException, OSError):
        fits = False
    if not fits:
        yield place.found(path, "its footer does not say where its frames are; other programs need it", position=end)


def _check_index(place: Place, path: Path, frames: _Frames, *, compare: bool) -> Iterator[Finding]:
    """The frame index against the frames. It may be missing, and is built again when it is damaged."""
    path = path.with_suffix(".idx")
    if not exists(path):
        return
    index, actual = FrameIndex.load(path), frames.index
    if index is None:
        yield place.found(path, "it does not match its checksum")
    elif compare:
        same = (index.end_offset, index.end_position) == (frames.entry.end_offset, actual.end_position)
        names = ("offsets", "positions", "append_times", "minimums", "maximums")
        if not same or any(getattr(index, name) != getattr(actual, name) for name in names):
            yield place.found(path, "it says something else than the frames it is the index of")
