"""A partition's manifest: which segments exist. Replaced whole, so that one is true and the others are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .document import load_document, save_document
from .errors import CorruptionError
from .files import exists, read_file, remove_file, save_file


@dataclass(frozen=True)
class SegmentEntry:
    """A segment file. What follows `base_offset` is not known of the active one, which is always the last.

    Shape: `append_times` and `event_times` are the least and the greatest. A `sparse` segment has an `_offset` column.
    `remote` is the URI of the file where it was moved away.
    Units: times in microseconds since 1970-01-01 UTC; `crc32c` of the whole file, None where nobody has taken it.
    """

    file: str
    schema_id: int
    base_offset: int
    end_offset: int | None = None
    size_bytes: int | None = None
    rows: int | None = None
    append_times: tuple[int, int] | None = None
    event_times: tuple[int, int] | None = None
    crc32c: int | None = None
    sparse: bool = False
    remote: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The segments of a partition in order of offsets; `number` counts the manifests it has had.

    Rows before `start_offset` are deleted. `writers` has the last sequence of each named writer in sealed segments.
    """

    number: int
    segments: tuple[SegmentEntry, ...]
    start_offset: int = 0
    writers: Mapping[int, int] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return f"MANIFEST-{self.number}.json"


def load_manifest(folder: Path) -> Manifest | None:
    """The manifest that CURRENT names; None if nothing was ever written here.

    Raises: CorruptionError if CURRENT names no manifest, or a damaged one.
    """
    current = folder / "CURRENT"
    if not exists(current):
        return None
    name = read_file(current).decode(errors="replace").removesuffix("\n")
    if not name.startswith("MANIFEST-") or not exists(folder / name):
        raise CorruptionError(
            f'cannot read "{current}": it names no manifest',
            detail=f"It says {name!r}, which is not in the folder.",
            hint="Restore the partition's folder from a copy.",
        )
    return read_manifest(folder / name)


def read_manifest(path: Path) -> Manifest:
    """What a manifest's file says, whether it is in force or not."""
    content = load_document(path)
    return Manifest(
        content["number"],
        tuple(_entry(entry) for entry in content["segments"]),
        content.get("start_offset", 0),
        {int(writer): sequence for writer, sequence in content.get("writers", {}).items()},
    )


def save_manifest(folder: Path, manifest: Manifest, *, durable: bool) -> None:
    """From now on the partition has these segments; the manifest before is removed."""
    content = {
        "number": manifest.number,
        "segments": [asdict(entry) for entry in manifest.segments],
        "start_offset": manifest.start_offset,
        "writers": {str(writer): sequence for writer, sequence in manifest.writers.items()},
    }
    save_document(folder / manifest.file, content, durable=durable)
    save_file(folder / "CURRENT", f"{manifest.file}\n".encode(), durable=durable)
    remove_file(folder / Manifest(manifest.number - 1, ()).file)


def _entry(content: dict[str, Any]) -> SegmentEntry:
    times = {name: tuple(content[name]) for name in ("append_times", "event_times") if content.get(name) is not None}
    return SegmentEntry(**{**content, **times, "remote": content.get("remote") or None})
