"""Recovery: the segments of a partition as they are after any crash, without losing an acknowledged row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .control import Durable
from .errors import CorruptionError
from .files import file_size, list_folder, map_file, remove_file
from .frame import NO_TRANSACTION, find_frames, scan_frames
from .frame_index import FrameIndex
from .manifest import Manifest, SegmentEntry
from .schema import SegmentSchema
from .segment import Segment, damaged


@dataclass(frozen=True)
class Recovered:
    """The segments, the last of them active. `notice` says what was dropped, in a sentence, if anything was.

    `writers` has the last sequence of each named writer in the active segment.
    """

    segments: tuple[Segment, ...]
    notice: str | None
    writers: Mapping[int, int]


def recover(
    folder: Path,
    manifest: Manifest,
    open_sealed: Callable[[SegmentEntry], Segment],
    schemas: Sequence[SegmentSchema],
    control: Durable | None,
    committed: Callable[[int], bool],
    *,
    durable: bool,
) -> Recovered:
    """All rows that ever were acknowledged, and perhaps some after them that only arrived.

    Of transactions that were not `committed` nothing is left, nor of what stands behind their first frame, none of
    which was acknowledged.
    Raises: CorruptionError if an acknowledged row is missing or damaged; nothing on disk is changed then.
    """
    names = list_folder(folder)
    for entry in manifest.segments:
        if entry.file not in names and entry.remote is None:
            raise damaged(folder / entry.file, "The file is gone.")
    sealed = [open_sealed(entry) for entry in manifest.segments[:-1]]
    found = _open_active(folder, manifest.segments[-1], schemas, control, committed, durable=durable)
    _remove_leftovers(folder, manifest, names)
    return Recovered((*sealed, *found.segments), found.notice, found.writers)


def _open_active(
    folder: Path,
    entry: SegmentEntry,
    schemas: Sequence[SegmentSchema],
    control: Durable | None,
    committed: Callable[[int], bool],
    *,
    durable: bool,
) -> Recovered:
    path, schema = folder / entry.file, schemas[entry.schema_id]
    size = file_size(path)
    buffer = map_file(path, size)
    index = FrameIndex(entry.base_offset, len(schema.file_start))
    writers: dict[int, int] = {}
    undecided = False
    for frame in scan_frames(buffer, index.end_position, entry.base_offset):
        undecided = frame.mark.transaction != NO_TRANSACTION and not committed(frame.mark.transaction)
        if undecided:
            break
        index.add(frame.rows, frame.size, frame.times)
        if frame.mark.writer:
            writers[frame.mark.writer] = frame.mark.sequence
    end = index.end_offset
    notice = None
    later = []
    if size > index.end_position and np.frombuffer(buffer, np.uint8)[index.end_position :].any():
        later = [frame for frame in find_frames(buffer, index.end_position) if frame.base_offset > end]
        dropped = f"{len(later)} unacknowledged frames" if later else "a frame that was not written to its end"
        if undecided:
            dropped = "a transaction that was not committed"
        notice = f'dropped {dropped} after offset {end} of "{path}"'
    acknowledged = max([frame.durable_offset for frame in later], default=end)
    if control is not None:
        acknowledged = max(acknowledged, control.offset)
    if acknowledged > end:
        raise _lost_acknowledged(path, end, index.end_position, acknowledged, len(later))
    segment = Segment.resume(path, schema, index, base_offset=entry.base_offset, durable=durable)
    return Recovered((segment,), notice, writers)


def _lost_acknowledged(path: Path, end: int, position: int, acknowledged: int, later: int) -> CorruptionError:
    found = f" {later} intact frames follow it." if later else ""
    return damaged(
        path,
        f"The frame at byte {position} does not match its checksum, but offsets {end} to {acknowledged} "
        f"were acknowledged.{found}",
    )


def _remove_leftovers(folder: Path, manifest: Manifest, names: Sequence[str]) -> None:
    """Removes what a crash between two steps left: drafts, segments of no manifest, manifests before this one."""
    kept = {"CURRENT", "ctl", "quarantine", manifest.file}
    kept |= {entry.file for entry in manifest.segments if entry.remote is None}
    kept |= {Path(entry.file).with_suffix(".idx").name for entry in manifest.segments[:-1]}
    for name in names:
        if name not in kept:
            remove_file(folder / name)
