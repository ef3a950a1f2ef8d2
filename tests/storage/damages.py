"""Folders to be damaged: which rows each byte of a segment file holds, and every kind of damage at random."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from headrace.storage.folder import Folder
from headrace.storage.frame import Times, find_frames
from headrace.storage.manifest import SegmentEntry, load_manifest
from headrace.storage.partition import Partition
from headrace.storage.rewriting import Rewritten, next_file, write_segment
from headrace.storage.topic import TopicOptions

from .logs import SCHEMA, make_log, numbered


class Extent(NamedTuple):
    """A frame: bytes [position, end_position) of `path` hold the rows `offsets`."""

    path: Path
    position: int
    end_position: int
    offsets: frozenset[int]


def make(path: Path, *, sizes: Iterable[int] = (3, 1, 2, 5, 6, 4, 4, 7, 2, 3), sparse: bool = False) -> Path:
    """A closed folder with a topic of several segments, the first one sparse if asked; its partition's folder."""
    options = TopicOptions(segment_bytes=1500, event_time="at")
    partition = make_log(path, sizes, schema=SCHEMA, options=options)
    if sparse:
        with closing(Folder.open(path)) as folder:
            make_sparse(folder.topic("log").partitions[0])
    return partition


def make_sparse(partition: Partition) -> None:
    """Of the first segment every second row stays, three to a frame, as compaction might leave it."""
    segment = partition.segments[0]
    rows = numbered(segment.base_offset, segment.end_offset)
    kept = [offset for offset in range(segment.base_offset, segment.end_offset) if offset % 2]
    table = rows.take(pa.array([offset - segment.base_offset for offset in kept]))
    batch = pa.RecordBatch.from_arrays([pa.array(kept), *table.columns], schema=segment.schema.sparse())
    frames = [batch.slice(start, 3) for start in range(0, len(kept), 3)]
    entry = write_segment(
        next_file([segment]),
        segment.schema,
        (
            Rewritten(frame.column(0)[0].as_py(), frame, times_of(segment.index.append_times[0], frame))
            for frame in frames
        ),
        base_offset=segment.base_offset,
        end_offset=segment.end_offset,
        sparse=True,
        compression=None,
        durable=False,
    )
    assert entry is not None
    assert partition.replace([segment], [entry])


def times_of(append: int, frame: pa.RecordBatch) -> Times:
    at = frame.column("at").cast(pa.int64()).to_pylist()
    return Times(append, min(at), max(at))


def extents(partition: Path) -> list[Extent]:
    """All frames of the files that the manifest names."""
    manifest = load_manifest(partition)
    assert manifest is not None
    return [extent for entry in manifest.segments for extent in extents_of(partition / entry.file, entry)]


def extents_of(path: Path, entry: SegmentEntry) -> list[Extent]:
    """The frames of one file."""
    buffer = pa.py_buffer(path.read_bytes())
    found = []
    for frame in find_frames(buffer, 16):
        offsets = range(frame.base_offset, frame.base_offset + frame.rows)
        if entry.sparse:
            with pa.ipc.open_file(buffer) as file:
                offsets = file.get_batch(len(found)).column("_offset").to_pylist()
        found.append(Extent(path, frame.position, frame.position + frame.size, frozenset(offsets)))
    return found


def flip(path: Path, position: int, bit: int = 0) -> None:
    """One bit is another."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


class Damage(NamedTuple):
    """What was done: the rows that are gone by it, and whether verification must notice it."""

    what: str
    lost: frozenset[int]


def damage(partition: Path, chance: random.Random, known: list[Extent] | None = None) -> Damage:
    """Damages the folder somewhere, in any of the ways that disks, copies and people have.

    Given what was `known` before, it may be damaged already, and nothing is moved from its place.
    """
    kinds = ["flip", "flip", "zeros", "remove", "ctl", "idx"]
    if known is None:
        known = extents(partition)
        kinds += ["truncate", "insert", "manifest", "CURRENT"]
    files = sorted({extent.path for extent in known if extent.path.exists()})
    path = chance.choice(files)
    size = path.stat().st_size
    of_path = [extent for extent in known if extent.path == path]
    kind = chance.choice(kinds)
    start = chance.randrange(size)
    match kind:
        case "flip":
            flip(path, start, chance.randrange(8))
            return Damage(f"flip {path.name} {start}", rows(of_path, start, start + 1))
        case "zeros":
            end = min(size, start + chance.randrange(1, 600))
            content = path.read_bytes()
            path.write_bytes(content[:start] + b"\xa5" * (end - start) + content[end:])
            return Damage(f"overwrite {path.name} {start}-{end}", rows(of_path, start, end))
        case "truncate":
            path.write_bytes(path.read_bytes()[:start])
            return Damage(f"truncate {path.name} {start}", rows(of_path, start, size))
        case "insert":
            extent = chance.choice(of_path)
            content = path.read_bytes()
            path.write_bytes(content[: extent.position] + b"\xa5" * 8 + content[extent.position :])
            return Damage(f"insert {path.name} {extent.position}", frozenset())
        case "remove":
            path.unlink()
            return Damage(f"remove {path.name}", rows(of_path, 0, size))
        case "manifest":
            (manifest,) = partition.glob("MANIFEST-*.json")
            flip(manifest, chance.randrange(manifest.stat().st_size), chance.randrange(8))
        case "CURRENT":
            if chance.random() < 0.5:
                (partition / "CURRENT").unlink()
            else:
                (partition / "CURRENT").write_bytes(b"MANIFEST-4711.json\n")
        case "ctl":
            flip(partition / "ctl", chance.randrange(56), chance.randrange(8))
        case _:
            index = chance.choice(sorted(partition.glob("*.idx")))
            flip(index, chance.randrange(index.stat().st_size), chance.randrange(8))
    return Damage(kind, frozenset())


def rows(known: Iterable[Extent], start: int, end: int) -> frozenset[int]:
    """The rows of the frames that bytes [start, end) touch."""
    touched = [extent.offsets for extent in known if extent.position < end and start < extent.end_position]
    return frozenset().union(*touched)


def copied(source: Path, target: Path) -> Path:
    """A copy of a whole folder; the partition's folder in it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target / "topics" / "log" / "p-0000"
