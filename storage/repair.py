"""Repair: what is intact of a damaged topic goes on at its offsets; what is not is named, and kept aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from .control import Control, Durable
from .document import load_document
from .errors import OperationalError, ProgrammingError
from .files import exists, list_folder, lock_file, make_folder, remove_file
from .findings import Place
from .limits import SEGMENT_CACHE_BYTES
from .manifest import Manifest, SegmentEntry, load_manifest, save_manifest
from .naming import folder_name
from .readable import TopicOptions
from .rebuilding import has_rows, rebuilt_manifest
from .recovery import recover
from .remote_files import RemoteFiles
from .remote_segment import open_sealed
from .salvage import quarantine, salvage
from .schema import SegmentSchema
from .segment import Segment
from .segment_cache import SegmentCache
from .segment_check import check_active, check_sealed
from .transactions import count_all, read_committed
from .verification import check_chain


@dataclass(frozen=True)
class Lost:
    """The rows at offsets [start, end) of a partition, which no intact frame holds."""

    partition: int
    start: int
    end: int


@dataclass
class PartitionPlan:
    """What is to be done with a partition: the segments that stay, are written anew with what is intact, or go."""

    number: int
    folder: Path
    manifest: Manifest
    control: Durable | None
    kept: list[SegmentEntry] = field(default_factory=list)
    salvaged: list[SegmentEntry] = field(default_factory=list)
    gone: list[SegmentEntry] = field(default_factory=list)
    indexes: list[Path] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)


@dataclass
class Plan:
    """What a repair would do; nothing where `steps` is empty. `lost` in order of partitions and offsets."""

    root: Path
    name: str
    schemas: Sequence[SegmentSchema]
    options: TopicOptions
    partitions: list[PartitionPlan]
    transactions: bool  # whether the file of transactions is damaged

    @property
    def steps(self) -> list[str]:
        first = ["transactions: written anew; every atomic append that is there counts"] if self.transactions else []
        return first + [step for partition in self.partitions for step in partition.steps]

    @property
    def lost(self) -> list[Lost]:
        return [lost for partition in self.partitions for lost in partition.lost]


@contextmanager
def owned(root: Path) -> Iterator[Path]:
    """The folder, which nobody else has open meanwhile. Raises: FolderLockedError if somebody has."""
    root = root.absolute()
    if not exists(root / "LOCK"):
        raise OperationalError(f'could not repair "{root}": there is no database')
    lock = lock_file(root / "LOCK")
    try:
        yield root
    finally:
        lock.close()


def plan_repair(root: Path, name: str) -> Plan:
    """What is damaged in a topic of a folder that we own, and what repair would do about it. Nothing is written.

    Raises: ProgrammingError if there is no such topic; CorruptionError if what describes it is damaged itself.
    """
    folder = root / "topics" / folder_name(name)
    if not exists(folder / "topic.json"):
        raise ProgrammingError(
            f'there is no topic "{name}" that describes itself',
            detail=f'"{folder / "topic.json"}" would, and there is none.',
            hint="Restore the file from a copy of the folder." if exists(folder) else None,
        )
    content = load_document(folder / "topic.json")
    schemas = [SegmentSchema.from_json(entry) for entry in content["schemas"]]
    options = TopicOptions(**content["options"])
    floor_known = not exists(root / "transactions") or read_committed(root / "transactions") is not None
    partitions = [
        _plan(Place(root, name, number), folder / f"p-{number:04d}", schemas, options)
        for number in range(content["partitions"])
    ]
    return Plan(root, name, schemas, options, partitions, transactions=not floor_known)


def carry_out(plan: Plan) -> None:
    """Does it. At any moment a crash leaves the topic as it was, or repaired; damaged files are in `quarantine`."""
    if plan.transactions:
        count_all(plan.root)
    for partition in plan.partitions:
        if partition.steps:
            _carry_out(partition, plan)


def _plan(place: Place, folder: Path, schemas: Sequence[SegmentSchema], options: TopicOptions) -> PartitionPlan:
    number = place.partition
    assert number is not None
    control = Control(folder / "ctl").load()
    manifest, guessed, why = _manifest(place, folder, schemas, control)
    plan = PartitionPlan(number, folder, manifest, control)
    if why is not None:
        plan.steps.append(f"partition {number}: {why}; a new one names the files there are")
    if control is None and exists(folder / "ctl"):
        plan.steps.append(f"partition {number}: ctl is damaged; it is written anew")
    committed = read_committed(place.root / "transactions")
    for entry in manifest.segments:
        path, schema = folder / entry.file, schemas[entry.schema_id]
        if entry.end_offset is None:
            found = check_active(place, path, entry, schema, control, committed).findings
            wrong = [finding for finding in found if not finding.file.endswith("/ctl")]
            if len(wrong) < len(found) and not wrong:
                plan.steps.append(f"partition {number}: ctl says what is not so; it is written anew")
        else:
            found = check_sealed(place, path, entry, schema).findings
            wrong = [finding for finding in found if not finding.file.endswith(".idx")]
            if len(wrong) < len(found):
                plan.indexes.append(path.with_suffix(".idx"))
                plan.steps.append(f"partition {number}: {path.with_suffix('.idx').name} is damaged; it is built anew")
        for finding in wrong:
            if finding.start is not None and finding.end is not None:
                plan.lost.append(Lost(number, finding.start, finding.end))
        if not wrong:
            plan.kept.append(entry)
        elif exists(path):
            plan.salvaged.append(entry)
            plan.steps.append(f"partition {number}: {entry.file}: what is intact goes to a new file")
        else:
            plan.gone.append(entry)
            plan.steps.append(f"partition {number}: {entry.file} is gone; nothing names it any more")
    if guessed and options.cleanup == "delete":
        plan.lost += _holes(number, manifest, control)
    known = {(lost.start, lost.end) for lost in plan.lost}
    plan.lost = [Lost(number, start, end) for start, end in sorted(known) if end > manifest.start_offset]
    return plan


def _manifest(
    place: Place, folder: Path, schemas: Sequence[SegmentSchema], control: Durable | None
) -> tuple[Manifest, bool, str | None]:
    """The manifest to go by, whether it was put together from files, and what is wrong with that in force."""
    try:
        manifest = load_manifest(folder)
        if manifest is not None and not check_chain(place, folder, manifest, control, len(schemas)):
            return manifest, False, None
        why = "the manifest in force does not fit" if manifest is not None else "CURRENT is gone"
        if manifest is None and (control is None or control.offset == 0) and not has_rows(folder):
            return Manifest(0, ()), False, None  # nothing was ever appended
    except (OperationalError, KeyError, TypeError, ValueError):
        why = "the manifest is damaged"
    rebuilt = rebuilt_manifest(folder, schemas, control)
    return rebuilt.manifest, rebuilt.guessed, why


def _holes(number: int, manifest: Manifest, control: Durable | None) -> Iterator[Lost]:
    """What no file has any more, as far as the files that are left tell."""
    for left, right in pairwise(manifest.segments):
        if left.end_offset is not None and left.end_offset < right.base_offset:
            yield Lost(number, left.end_offset, right.base_offset)
    end = manifest.segments[-1].end_offset if manifest.segments else 0
    if control is not None and end is not None and end < control.offset:
        yield Lost(number, end, control.offset)


def _carry_out(partition: PartitionPlan, plan: Plan) -> None:
    folder, schemas, control = partition.folder, plan.schemas, partition.control
    committed = read_committed(plan.root / "transactions")
    assert committed is not None
    make_folder(folder, durable=True)
    for index in partition.indexes:
        remove_file(index)
    number = 1 + max(partition.manifest.number, 0 if control is None else control.manifest)
    writers = dict(partition.manifest.writers)
    entries: list[SegmentEntry] = []
    end = 0 if control is None else max(control.offset, control.visible)
    for entry in partition.manifest.segments:
        if entry in partition.salvaged:
            schema = schemas[entry.schema_id]
            saved = salvage(
                folder / entry.file, entry, schema, control, committed, compression=plan.options.compression
            )
            writers |= saved.writers
            end = max(end, saved.end)
            if saved.entry is not None:
                entries.append(saved.entry)
        elif entry in partition.kept:
            entries.append(entry)
            end = max(end, entry.end_offset or 0)
    if not entries or entries[-1].end_offset is not None:
        entries.append(_new_active(folder, schemas[-1], end, number))
    for entry in (*partition.salvaged, *partition.gone):
        quarantine(folder, entry.file)
    manifest = Manifest(number, tuple(entries), partition.manifest.start_offset, writers)
    save_manifest(folder, manifest, durable=True)

    cache = SegmentCache(None, RemoteFiles(), SEGMENT_CACHE_BYTES)  # for what is elsewhere and has no index here

    def opened(entry: SegmentEntry) -> Segment:
        return open_sealed(folder / entry.file, schemas[entry.schema_id], entry, cache)

    try:
        recovered = recover(folder, manifest, opened, schemas, None, committed, durable=True)
    finally:
        cache.close()
    active = recovered.segments[-1]
    said = Control(folder / "ctl")
    said.load()
    said.save(
        manifest=number,
        base_offset=active.base_offset,
        position=active.size,
        offset=active.end_offset,
        visible=active.end_offset,
    )
    said.close()
    for segment in recovered.segments:
        segment.close()


def _new_active(folder: Path, schema: SegmentSchema, end: int, number: int) -> SegmentEntry:
    name = f"{end:020d}.arrow"
    if name in list_folder(folder):
        name = f"{end:020d}.s{schema.id}r{number}.arrow"
    Segment.create(folder / name, schema, base_offset=end, durable=True).close()
    return SegmentEntry(name, schema.id, end)
