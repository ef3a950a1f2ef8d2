"""A partition's manifest: which segments exist. Replaced whole, so that one is true and the others are gone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from .document import load_document, save_document
from .errors import CorruptionError
from .files import exists, read_file, remove_file, save_file


@dataclass(frozen=True)
class SegmentEntry:
    """A segment file. `end_offset` and `size_bytes` are None for the active one, which is always the last."""

    file: str
    schema_id: int
    base_offset: int
    end_offset: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class Manifest:
    """The segments of a partition in order of offsets; `number` counts the manifests it has had."""

    number: int
    segments: tuple[SegmentEntry, ...]

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
    name = read_file(current).decode(errors="replace").strip()
    if not name.startswith("MANIFEST-") or not exists(folder / name):
        raise CorruptionError(
            f'cannot read "{current}": it names no manifest',
            detail=f"It says {name!r}, which is not in the folder.",
            hint="Restore the partition's folder from a copy.",
        )
    content = load_document(folder / name)
    return Manifest(content["number"], tuple(SegmentEntry(**entry) for entry in content["segments"]))


def save_manifest(folder: Path, manifest: Manifest, *, durable: bool) -> None:
    """From now on the partition has these segments; the manifest before is removed."""
    content = {"number": manifest.number, "segments": [asdict(entry) for entry in manifest.segments]}
    save_document(folder / manifest.file, content, durable=durable)
    save_file(folder / "CURRENT", f"{manifest.file}\n".encode(), durable=durable)
    remove_file(folder / Manifest(manifest.number - 1, ()).file)
