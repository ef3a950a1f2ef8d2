"""Checkpoints on disk: what all queries had kept at one epoch, as Arrow files and a document that names them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.ipc as ipc

from .document import load_document, save_document
from .errors import CorruptionError, Error, OperationalError
from .files import File, list_folder, make_folder, remove_file, sync_folder
from .limits import CHECKPOINT_TABLE_BYTES, CHECKPOINTS_KEPT
from .memory import current
from .private_maps import map_to_adopt

_PIECE = (
    4 << 20
)  # bytes written and synced at once: a log that is synced meanwhile waits for what is on its way to the disk
_SMALL = pa.schema([("name", pa.string()), ("table", pa.binary())])


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint as it is on disk. `content` is JSON, the writer's own; `tables` says where each table is."""

    number: int
    content: Mapping[str, Any]
    tables: Mapping[str, Mapping[str, Any]]
    written: int = 0  # bytes of it that no checkpoint before had; 0 where that is not known any more

    @property
    def bytes(self) -> int:
        """Of all its tables. Units: bytes."""
        return sum(int(place["bytes"]) for place in self.tables.values())


Loaded = tuple[Checkpoint, dict[str, pa.Table]]


class Checkpoints:
    """The checkpoints of one database, in a folder of their own: `<number>.json` and the Arrow files that it names.

    A large table is an Arrow file; all small ones of a checkpoint are the rows of one. The document comes last and is
    replaced whole, so a checkpoint is there or it is not. Tables that are still what they were are not written again.
    The last `CHECKPOINTS_KEPT` stay, so that there is another when one is damaged.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self.notices: list[str] = []

    def load(self, wanted: Callable[[Mapping[str, Any]], bool] | None = None) -> Loaded | None:
        """The newest checkpoint that is whole, every byte of it checked; None without one.

        With `wanted` only one of such a content counts.
        """
        for number in reversed(self._numbers()):
            try:
                content = load_document(self._document(number))
                if wanted is not None and not wanted(content["content"]):
                    continue
                checkpoint = Checkpoint(number, content["content"], content["tables"])
                return checkpoint, self._tables(checkpoint)
            except Error as error:
                self.notices.append(f"checkpoint {number} was passed over: {error.headline}")
        return None

    def save(
        self, content: Mapping[str, Any], tables: Iterable[tuple[str, pa.Buffer]], same: Mapping[str, Mapping[str, Any]]
    ) -> Checkpoint:
        """Another checkpoint: `tables` and their names, each an Arrow stream, and those of an earlier one as `same`.

        Raises: OperationalError where the disk refuses, and then the ones before are what they were.
        """
        make_folder(self._path, durable=self._durable)
        number = max(self._numbers(), default=0) + 1
        places: dict[str, Mapping[str, Any]] = dict(same)
        small: dict[str, pa.Buffer] = {}
        written = count = 0
        for name, buffer in tables:
            written += buffer.size
            if buffer.size < CHECKPOINT_TABLE_BYTES:
                small[name] = buffer
                continue
            places[name] = self._write(f"{number:08d}.{count}.arrow", buffer)
            count += 1
        if small:
            columns = [
                pa.array(list(small), pa.string()),
                pa.array([b.to_pybytes() for b in small.values()], pa.binary()),
            ]
            packed = stream_of(pa.Table.from_arrays(columns, schema=_SMALL))
            file = self._write(f"{number:08d}.arrow", packed)
            for row, (name, buffer) in enumerate(small.items()):
                places[name] = {**file, "row": row, "bytes": buffer.size}
        if self._durable:
            sync_folder(self._path)
        save_document(self._document(number), {"content": content, "tables": places}, durable=self._durable)
        self._prune()
        return Checkpoint(number, content, places, written)

    def forget(self) -> None:
        """Remove all of them."""
        for name in list_folder(self._path):
            remove_file(self._path / name)

    def _write(self, name: str, buffer: pa.Buffer) -> dict[str, Any]:
        file = File(self._path / name, create=True)
        try:
            checksum = 0
            for start in range(0, buffer.size, _PIECE):
                piece = buffer.slice(start, min(_PIECE, buffer.size - start))
                checksum = google_crc32c.extend(checksum, piece)
                file.write([piece], piece.size, start)
                if self._durable:
                    file.sync()
        finally:
            file.close()
        return {"file": name, "size": buffer.size, "bytes": buffer.size, "crc32c": f"{checksum:08x}"}

    def _tables(self, checkpoint: Checkpoint) -> dict[str, pa.Table]:
        files: dict[str, pa.Table] = {}
        tables = {}
        for name, place in checkpoint.tables.items():
            if place["file"] not in files:
                files[place["file"]] = self._read(place)
            table = files[place["file"]]
            if "row" in place:
                table = _table(table.column("table")[place["row"]].as_buffer())
            tables[name] = table
        return tables

    def _read(self, place: Mapping[str, Any]) -> pa.Table:
        path = self._path / place["file"]
        buffer = map_to_adopt(path, place["size"])
        if f"{google_crc32c.value(buffer):08x}" != place["crc32c"]:
            raise CorruptionError(f'cannot read "{path}": its checksum does not match')
        return _table(buffer)

    def _prune(self) -> None:
        """Remove what no checkpoint needs that is kept; what is in the way of that is tried again next time."""
        kept = self._numbers()[-CHECKPOINTS_KEPT:]
        needed: set[str] = set()
        try:
            for number in kept:
                try:
                    places = load_document(self._document(number))["tables"].values()
                except CorruptionError:
                    continue
                needed |= {self._document(number).name, *(place["file"] for place in places)}
            for name in list_folder(self._path):
                if name not in needed:
                    remove_file(self._path / name)
        except OperationalError:
            return

    def _numbers(self) -> list[int]:
        names = (name for name in list_folder(self._path) if name.endswith(".json"))
        return sorted(int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit())

    def _document(self, number: int) -> Path:
        return self._path / f"{number:08d}.json"


def stream_of(table: pa.Table) -> pa.Buffer:
    """A table as an Arrow stream, where there is room for it."""
    return current().stream(table.schema, table.to_batches())


def _table(buffer: pa.Buffer) -> pa.Table:
    return ipc.open_stream(buffer).read_all()
