"""A partition's manifest made anew, when it is damaged or gone, from what the folder still has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from .control import Durable
from .errors import OperationalError
from .files import file_size, list_folder, map_file
from .footer import END_OF_STREAM
from .frame import Frame, find_frames
from .gaps import Gap, end_of, walk
from .manifest import Manifest, SegmentEntry, read_manifest
from .rewriting import generation
from .schema import OFFSET_COLUMN, SegmentSchema

_NAME = re.compile(r"(\d{20})(\.[gs][r\d]+)?\.arrow")


class Rebuilt(NamedTuple):
    """The manifest; `guessed` if it was put together from files, and not found whole under another name."""

    manifest: Manifest
    guessed: bool


class _File(NamedTuple):
    """What a segment file says of itself. Its rows end at `end`; `sealed` if it has a footer."""

    entry: SegmentEntry
    end: int
    sealed: bool


def rebuilt_manifest(folder: Path, schemas: Sequence[SegmentSchema], control: Durable | None) -> Rebuilt:
    """The manifest that the folder should have.

    That is the one that `ctl` names, or else the latest, if one is intact; or a new one of all segment files, in which
    what was written last wins where two files have the same offsets.
    """
    found = {}
    for name in list_folder(folder):
        if re.fullmatch(r"MANIFEST-\d+\.json", name):
            try:
                manifest = read_manifest(folder / name)
            except (OperationalError, KeyError, TypeError, ValueError):
                continue
            found[manifest.number] = manifest
    if found:
        named = None if control is None else found.get(control.manifest)
        latest = found[max(found)]
        if named is not None or control is None or latest.number > control.manifest:
            return Rebuilt(named or latest, guessed=False)
    number = 1 + max([*found, 0 if control is None else control.manifest])
    files = [file for name in list_folder(folder) if (file := _look(folder / name, schemas)) is not None]
    kept: list[_File] = []
    for file in sorted(files, key=lambda one: (-generation(one.entry.file), one.entry.base_offset)):
        if not any(file.entry.base_offset < other.end and other.entry.base_offset < file.end for other in kept):
            kept.append(file)
    kept.sort(key=lambda one: (one.entry.base_offset, one.end))
    entries = [one.entry for one in kept]
    for place, (left, right) in enumerate(pairwise(entries)):
        if left.sparse:  # how many of its last rows were left out only the manifest knew
            entries[place] = replace(left, end_offset=right.base_offset)
    if kept and not kept[-1].sealed:  # it was active
        last = kept[-1].entry
        entries[-1] = SegmentEntry(last.file, last.schema_id, last.base_offset)
    start = entries[0].base_offset if entries else 0
    return Rebuilt(Manifest(number, tuple(entries), start), guessed=True)


def has_rows(folder: Path) -> bool:
    """Whether any segment file has an intact frame."""
    files = [folder / name for name in list_folder(folder) if _NAME.fullmatch(name)]
    return any(next(find_frames(map_file(path, file_size(path)), 16), None) is not None for path in files)


def _look(path: Path, schemas: Sequence[SegmentSchema]) -> _File | None:
    """A segment file as its frames show it; None if the name is another file's, or there is no intact frame."""
    name = _NAME.fullmatch(path.name)
    if name is None:
        return None
    base_offset, size = int(name[1]), file_size(path)
    buffer = map_file(path, size)
    first = next(find_frames(buffer, 16), None)
    if first is None or first.schema_id >= len(schemas):
        return None
    schema = schemas[first.schema_id]
    sparse = _is_sparse(buffer, first)
    end, position = base_offset, 0
    for part in walk(buffer, schema, base_offset, sparse=sparse):
        if not isinstance(part, Gap):
            end = end_of(buffer, schema, part) if sparse else part.base_offset + part.rows
            position = part.position + part.size
    footer = buffer.slice(position, 8).to_pybytes() == END_OF_STREAM if position + 8 <= size else False
    entry = SegmentEntry(path.name, first.schema_id, base_offset, end, size, sparse=sparse)
    return _File(entry, end, footer or sparse)


def _is_sparse(buffer: pa.Buffer, frame: Frame) -> bool:
    """Whether the schema in the file, or the shape of its rows, begins with their offsets."""
    try:
        return bool(pa.ipc.read_schema(buffer.slice(8)).names[0] == OFFSET_COLUMN)
    except (pa.ArrowException, OSError, IndexError):
        return False
