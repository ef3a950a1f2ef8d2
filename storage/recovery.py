"""Recovery: the segments of a partition as they are after any crash, without losing an acknowledged row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .control import Durable
from .errors import CorruptionError
from .files import File, list_folder, map_file, remove_file
from .frame import find_frames
from .manifest import Manifest, SegmentEntry
from .segment import Segment, SegmentSchema, damaged, scan


@dataclass(frozen=True)
class Recovered:
    """The segments, the last of them active. `notice` says what was dropped, in a sentence, if anything was."""

    segments: tuple[Segment, ...]
    notice: str | None


def recover(
    folder: Path, manifest: Manifest, schemas: Sequence[SegmentSchema], control: Durable | None, *, durable: bool
) -> Recovered:
    """All rows that ever were acknowledged, and perhaps some after them that only arrived.

    Raises: CorruptionError if an acknowledged row is missing or damaged; nothing on disk is changed then.
    """
    names = list_folder(folder)
    for entry in manifest.segments:
        if entry.file not in names:
            raise damaged(folder / entry.file, "The file is gone.")
    sealed = [_open_sealed(folder, entry, schemas) for entry in manifest.segments[:-1]]
    active, notice = _open_active(folder, manifest.segments[-1], schemas, control, durable=durable)
    _remove_leftovers(folder, manifest, names)
    return Recovered((*sealed, active), notice)


def _open_sealed(folder: Path, entry: SegmentEntry, schemas: Sequence[SegmentSchema]) -> Segment:
    assert entry.end_offset is not None
    assert entry.size_bytes is not None
    return Segment.sealed(
        folder / entry.file,
        schemas[entry.schema_id],
        base_offset=entry.base_offset,
        end_offset=entry.end_offset,
        size=entry.size_bytes,
    )


def _open_active(
    folder: Path, entry: SegmentEntry, schemas: Sequence[SegmentSchema], control: Durable | None, *, durable: bool
) -> tuple[Segment, str | None]:
    path, schema = folder / entry.file, schemas[entry.schema_id]
    file = File(path)
    size = file.size()
    file.close()
    buffer = map_file(path, size)
    index = scan(buffer, schema, entry.base_offset)
    end = index.end_offset
    notice = None
    later = []
    if size > index.end_position and np.frombuffer(buffer, np.uint8)[index.end_position :].any():
        later = [frame for frame in find_frames(buffer, index.end_position) if frame.base_offset > end]
        dropped = f"{len(later)} unacknowledged frames" if later else "a frame that was not written to its end"
        notice = f'dropped {dropped} after offset {end} of "{path}"'
    acknowledged = max([frame.durable_offset for frame in later], default=end)
    if control is not None:
        acknowledged = max(acknowledged, control.offset)
    if acknowledged > end:
        raise _lost_acknowledged(path, end, index.end_position, acknowledged, len(later))
    return Segment.resume(path, schema, index, base_offset=entry.base_offset, durable=durable), notice


def _lost_acknowledged(path: Path, end: int, position: int, acknowledged: int, later: int) -> CorruptionError:
    found = f" {later} intact frames follow it." if later else ""
    return damaged(
        path,
        f"The frame at byte {position} does not match its checksum, but offsets {end} to {acknowledged} "
        f"were acknowledged.{found}",
    )


def _remove_leftovers(folder: Path, manifest: Manifest, names: Sequence[str]) -> None:
    """Removes what a crash between two steps left: drafts, segments of no manifest, manifests before this one."""
    kept = {"CURRENT", "ctl", manifest.file}
    kept |= {entry.file for entry in manifest.segments}
    kept |= {Path(entry.file).with_suffix(".idx").name for entry in manifest.segments[:-1]}
    for name in names:
        if name not in kept:
            remove_file(folder / name)
