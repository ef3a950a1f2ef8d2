"""What is intact of a damaged segment file, written to a new one; the damaged file is kept aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from .control import Durable
from .files import exists, link_file, list_folder, make_folder, read_file, sync_folder
from .frame import NO_TRANSACTION, Compression, Frame
from .gaps import Gap, decode, walk
from .manifest import SegmentEntry
from .rewriting import Rewritten, generation, write_segment
from .schema import SegmentSchema


class Salvaged(NamedTuple):
    """The new file's entry, None if nothing was intact; where the offsets end; the last sequences of named writers."""

    entry: SegmentEntry | None
    end: int
    writers: Mapping[int, int]


def salvage(
    path: Path,
    entry: SegmentEntry,
    schema: SegmentSchema,
    control: Durable | None,
    committed: Callable[[int], bool],
    *,
    compression: Compression | None,
) -> Salvaged:
    """All rows of intact frames in a sealed segment of their own, at their offsets; sparse if some are missing.

    Of an active segment nothing is taken from the first atomic append on that was neither committed nor acknowledged.
    """
    buffer = pa.py_buffer(read_file(path))
    parts = list(walk(buffer, schema, entry.base_offset, sparse=entry.sparse, end=entry.end_offset))
    intact = [part for part in parts if not isinstance(part, Gap)]
    acknowledged = max([frame.durable_offset for frame in intact], default=0)
    if control is not None:
        acknowledged = max(acknowledged, control.offset, control.visible)
    frames: list[Frame] = []
    reached = entry.base_offset
    dense = not entry.sparse and len(intact) == len(parts)
    for frame in intact:
        transaction = frame.mark.transaction
        undecided = entry.end_offset is None and transaction != NO_TRANSACTION and not committed(transaction)
        if undecided and frame.base_offset >= acknowledged:
            break
        if _readable(buffer, frame, schema, sparse=entry.sparse):
            dense = dense and frame.base_offset == reached
            frames.append(frame)
            reached = frame.base_offset + frame.rows
    end = max(reached, acknowledged) if entry.end_offset is None else entry.end_offset
    dense = dense and reached == end
    saved = write_segment(
        _new_name(path, entry),
        schema,
        _rewritten(buffer, frames, schema, entry, sparse=not dense),
        base_offset=entry.base_offset,
        end_offset=end,
        sparse=not dense,
        compression=compression,
        durable=True,
    )
    writers = {frame.mark.writer: frame.mark.sequence for frame in frames if frame.mark.writer}
    return Salvaged(saved, end, writers)


def quarantine(folder: Path, name: str) -> None:
    """The file is in the folder `quarantine`, too, from which nothing is ever removed."""
    if not exists(folder / name):
        return
    aside = folder / "quarantine"
    make_folder(aside, durable=True)
    copies = sum(known == name or known.startswith(f"{name}.") for known in list_folder(aside))
    link_file(folder / name, aside / (name if not copies else f"{name}.{copies}"))
    sync_folder(aside)


def _rewritten(
    buffer: pa.Buffer, frames: list[Frame], schema: SegmentSchema, entry: SegmentEntry, *, sparse: bool
) -> Iterator[Rewritten]:
    for frame in frames:
        batch = decode(buffer, frame, schema, sparse=entry.sparse)
        if sparse and not entry.sparse:
            offsets = pa.array(np.arange(frame.base_offset, frame.base_offset + frame.rows))
            batch = pa.RecordBatch.from_arrays([offsets, *batch.columns], schema=schema.sparse())
        yield Rewritten(frame.base_offset, batch, frame.times)


def _readable(buffer: pa.Buffer, frame: Frame, schema: SegmentSchema, *, sparse: bool) -> bool:
    """Whether an intact frame is what it should be, which only a mistake of ours would make it not."""
    try:
        batch = decode(buffer, frame, schema, sparse=sparse)
    except (pa.ArrowException, OSError):
        return False
    return frame.schema_id == schema.id and bool(batch.num_rows == frame.rows)


def _new_name(path: Path, entry: SegmentEntry) -> Path:
    known = list_folder(path.parent)
    number = 1 + max((generation(name) for name in known if name.startswith(f"{entry.base_offset:020d}.")), default=0)
    return path.with_name(f"{entry.base_offset:020d}.g{number}.arrow")
