"""Verification: whether all that a folder holds is as it was written; what is not, and which rows that affects."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .catalog import CatalogEntry
from .control import Durable, decode_control
from .document import load_document
from .errors import NotSupportedError, OperationalError, ProgrammingError
from .files import exists, file_size, list_folder, read_file
from .findings import Checked, Finding, Place
from .group_offsets import damaged_offsets
from .limits import TAIL_BUSY_S, VERIFY_RETRIES
from .manifest import Manifest, load_manifest
from .naming import original_name
from .readable import TopicOptions
from .rebuilding import has_rows, rebuilt_manifest
from .schema import SegmentSchema
from .segment_check import check_active, check_sealed
from .showing import sequence_in
from .transactions import Committed, read_committed, read_transactions


def verify_folder(root: Path, names: Sequence[str] = ()) -> Checked:
    """All findings in the topics `names`, or in the whole folder; nothing is written and nothing locked.

    The folder may be so damaged that it does not open, and another process may be writing it: then what that has
    acknowledged by now is verified.
    Raises: OperationalError if there is no database; ProgrammingError if there is no such topic.
    """
    root = root.absolute()
    if not any(exists(root / name) for name in ("LOCK", "catalog.json", "topics")):
        raise OperationalError(f'could not verify "{root}": there is no database')
    folders = {original_name(name): root / "topics" / name for name in list_folder(root / "topics")}
    for name in names:
        if name not in folders:
            raise ProgrammingError(
                f'there is no topic "{name}"', hint=f"There are {', '.join(sorted(folders)) or 'none'}."
            )
    checked = Checked()
    place = Place(root)
    streams = _check_shared(place, checked)
    for name in names or folders:
        place = Place(root, name)
        checked.add([_settled(lambda place=place, name=name: _check_topic(place, folders[name], name in streams))])  # type: ignore[misc]
    return checked


def _check_shared(place: Place, checked: Checked) -> set[str]:
    """What all topics share; the names of the streams in the catalog."""
    root, found = place.root, checked.findings
    content = _load(place, root / "catalog.json", found)
    try:
        entries = [CatalogEntry(**entry) for entry in (content or {"entries": []})["entries"]]
    except (KeyError, TypeError):
        entries = []
        found.append(place.found(root / "catalog.json", "it has no entries as a catalog has"))
    _load(place, root / "writers.json", found)
    path = root / "transactions"
    if exists(path):
        floor, _, damaged = read_transactions(read_file(path))
        if floor is None:
            found.append(place.found(path, "it does not match its checksum; it says which atomic appends count"))
        elif damaged is not None:
            found.append(place.found(path, "an atomic append's number does not match its checksum", position=damaged))
    _load(place, root / "discarded.json", found)
    for path, position, last in damaged_offsets(root):
        rest = "no other is left" if last is None else f"by the other its group is at offset {last.offset}"
        found.append(place.found(path, f"a record does not match its checksum; {rest}", position=position))
    path = root / "ctl"
    if exists(path) and file_size(path) and not sequence_in(read_file(path)):
        found.append(place.found(path, "it is no control file"))
    return {entry.name for entry in entries if entry.kind in ("STREAM", "TABLE")}


def _settled(check: Callable[[], Checked]) -> Checked:
    """What is found again, and is not just because somebody changed a file between two looks."""
    checked = check()
    for _ in range(VERIFY_RETRIES):
        if not checked.findings:
            break
        time.sleep(TAIL_BUSY_S)
        before, checked = checked, check()
        if checked.findings == before.findings:
            break
        places = {(finding.file, finding.what) for finding in before.findings}
        checked.findings = [found for found in checked.findings if (found.file, found.what) in places]
    return checked


def _check_topic(place: Place, folder: Path, declared: bool) -> Checked:
    checked = Checked()
    path = folder / "topic.json"
    partitions = [folder / name for name in list_folder(folder) if name.startswith("p-")]
    if not exists(path):  # a crash came while it was made or dropped
        if declared and any(_segment_files(partition) for partition in partitions):
            what = "the file is gone, and with it the topic's schema: opening the folder would remove its rows"
            checked.findings.append(place.found(path, what))
        return checked
    content = _load(place, path, checked.findings)
    if content is None:
        return checked
    try:
        schemas = [SegmentSchema.from_json(entry) for entry in content["schemas"]]
        TopicOptions(**content["options"])
        count = int(content["partitions"])
    except (KeyError, TypeError, ValueError, OSError) as error:
        checked.findings.append(place.found(path, f"it does not describe a topic: {error}"))
        return checked
    for number in range(count):
        part = Place(place.root, place.topic, number)
        partition = folder / f"p-{number:04d}"
        try:
            checked.add([_check_partition(part, partition, schemas, read_committed(place.root / "transactions"))])
        except (OperationalError, NotSupportedError) as error:
            checked.findings.append(part.found(partition, error.headline))
    return checked


def _check_partition(
    place: Place, folder: Path, schemas: Sequence[SegmentSchema], committed: Committed | None
) -> Checked:
    checked = Checked(partitions=1)
    found = checked.findings
    control = _control(place, folder / "ctl", found)  # first: what comes after it is no older than it says
    manifest: Manifest | None = None
    try:
        manifest = load_manifest(folder)
        lost = manifest is None
        what = "the file is gone; it names the manifest"
    except (OperationalError, NotSupportedError) as error:
        lost, what = True, f"{error.headline}. {error.detail or ''}".strip(". ")
    except (KeyError, TypeError, ValueError):
        lost, what = True, "the manifest it names does not describe segments"
    if lost and not exists(folder / "CURRENT") and control is None and not has_rows(folder):
        return checked  # a crash came in the middle of the first append
    if lost:
        manifest = rebuilt_manifest(folder, schemas, control).manifest
        known = manifest.segments
        rows = f"Its files have rows from offset {known[0].base_offset} on" if known else "No file is left"
        found.append(place.found(folder / "CURRENT", f"{what}. {rows}"))
    if manifest is None or not manifest.segments:
        return checked
    found += check_chain(place, folder, manifest, control, len(schemas))
    entries = [entry for entry in manifest.segments if entry.schema_id < len(schemas)]
    for entry in entries:
        path, schema = folder / entry.file, schemas[entry.schema_id]
        if entry.end_offset is not None:
            checked.add([check_sealed(place, path, entry, schema)])
        else:
            checked.add([check_active(place, path, entry, schema, control, committed)])
    return checked


def check_chain(
    place: Place, folder: Path, manifest: Manifest, control: Durable | None, versions: int
) -> list[Finding]:
    """The manifest against itself and the control file."""
    found = []
    path = folder / manifest.file
    end = 0
    for entry in manifest.segments:
        if entry.base_offset < end:
            found.append(place.found(path, f"{entry.file} begins at an offset that the one before has, too"))
        if entry.schema_id >= versions:
            found.append(place.found(path, f"{entry.file} has a version of the schema that topic.json has not"))
        end = entry.base_offset if entry.end_offset is None else entry.end_offset
    active = [entry for entry in manifest.segments if entry.end_offset is None]
    if active != [manifest.segments[-1]]:
        found.append(place.found(path, "not the last segment, and no other, is active"))
    if control is not None and control.manifest > manifest.number:
        found.append(place.found(path, f"manifest {control.manifest} was in force already, as ctl says"))
    return found


def _control(place: Place, path: Path, found: list[Finding]) -> Durable | None:
    if not exists(path):
        return None
    for _ in range(VERIFY_RETRIES):
        control = decode_control(read_file(path))
        if control is not None:
            return control
        time.sleep(TAIL_BUSY_S)
    found.append(place.found(path, "it does not match its checksum; it says how far the partition was acknowledged"))
    return None


def _load(place: Place, path: Path, found: list[Finding]) -> dict[str, Any] | None:
    """The content of a document, if there is one and it is intact."""
    if not exists(path):
        return None
    try:
        return load_document(path)
    except OperationalError:
        found.append(place.found(path, "it does not match its checksum"))
    except NotSupportedError as error:
        found.append(place.found(path, error.headline))
    return None


def _segment_files(folder: Path) -> list[str]:
    return [name for name in list_folder(folder) if name.endswith(".arrow")]
