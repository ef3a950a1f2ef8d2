"""Continuous COPY: which files it makes, and the sinks that make them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..storage import limits
from ..storage.errors import Error, NotSupportedError, OperationalError, ProgrammingError
from ..storage.files import exists, make_folder, remove_file
from ..storage.readable import ReadableFolder
from ..storage.topic import TopicOptions
from .declaration import bytes_of, milliseconds_of
from .file_formats import check_options, write_table
from .file_sink import FileSink, FileTarget
from .relations import Column, schema_of
from .statements import CopyFormat, CopyTo

if TYPE_CHECKING:
    from .database import Database

_OWN = ("partition_by", "file_size_bytes", "rollover_interval")
COPIES = "copies"  # the folder of how far each has come


def topic_of(query_id: int) -> str:
    """The log of the rows of which there is no file yet."""
    return f"system.copy_{query_id}"


def query_name(statement: CopyTo) -> str:
    """What the query is called, by its folder, but for a number."""
    return "copy_to_" + (re.sub(r"\W+", "_", Path(statement.path).name.lower()).strip("_") or "folder")


def file_target(statement: CopyTo, folder: Path, query_id: int, columns: tuple[Column, ...]) -> FileTarget:
    """What the statement asks for. Raises: what is wrong with it; nothing has been made then."""
    format: CopyFormat = statement.format or "parquet"
    own = {name: value for name, value in statement.options.items() if name in _OWN}
    options = {name: value for name, value in statement.options.items() if name not in _OWN}
    check_options(statement, format, options, [column.name for column in columns], also=_OWN)
    if statement.path.endswith((".parquet", ".csv", ".json", ".arrow")) or folder.is_file():
        raise ProgrammingError(
            f'"{statement.path}" is not a folder',
            detail="A COPY that goes on makes one file after the other.",
            hint="Name a folder; or leave EMIT out, and the rows of now are written to a file.",
            position=statement.start,
        )
    by = _partition_by(statement, own.get("partition_by", ()), columns)
    file_bytes = _read(statement, "file_size_bytes", own, bytes_of, "a size such as '128 MB'", limits.FILE_BYTES)
    rollover_ms = _read(
        statement, "rollover_interval", own, milliseconds_of, "a time such as '1 minute'", limits.FILE_ROLLOVER_S * 1000
    )

    def write(path: Path, inside: list[Column], rows: pa.Table) -> None:
        write_table(rows, inside, path, format, options, statement)

    suffix = format + {"gzip": ".gz", "zstd": ".zst"}.get(str(options.get("compression", "")).lower(), "")
    suffix = suffix if format in ("csv", "json") else format
    return FileTarget(folder, f"part-{query_id}", suffix, columns, write, by, int(file_bytes), rollover_ms / 1000)


def _partition_by(statement: CopyTo, value: Any, columns: tuple[Column, ...]) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    by_name = {column.name.lower(): column.name for column in columns}
    if not isinstance(names, tuple) or any(name.lower() not in by_name for name in names):
        unknown = next((name for name in names if name.lower() not in by_name), "") if isinstance(names, tuple) else ""
        raise ProgrammingError(
            f'PARTITION_BY names a column "{unknown}" that the query does not have'
            if unknown
            else "PARTITION_BY (...)",
            hint=f"It has {', '.join(by_name.values())}.",
            position=statement.start,
            sqlstate="42703",
        )
    if len(names) == len(columns):
        raise NotSupportedError(
            "no column is left for the files",
            detail="What PARTITION_BY names is in the names of the folders only.",
            position=statement.start,
        )
    return tuple(by_name[name.lower()] for name in names)


def _read(
    statement: CopyTo, name: str, given: dict[str, Any], read: Callable[[Any], int], fits: str, default: float
) -> float:
    if name not in given:
        return default
    try:
        return read(given[name])
    except ValueError:
        raise ProgrammingError(
            f"{name.upper()} cannot be {given[name]!r}", hint=f"Use {fits}.", position=statement.start
        ) from None


class Copies:
    """The sinks of a database, by the name of the query in lower case."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sinks: dict[str, FileSink] = {}
        self._unable: dict[str, Error] = {}  # those that cannot even begin, and why

    def open(self, name: str, target: FileTarget, query_id: int) -> None:
        """Begin to make files of what the query puts out, or go on; its topic is made if it is not there."""
        owned = self._database.folder
        durable = not owned.temporary
        topic_name, schema = topic_of(query_id), schema_of(target.columns)
        if topic_name not in owned.topics:
            options = TopicOptions(durability="group" if durable else "none")
            owned.create_topic(topic_name, schema, options=options)
        journal = self._journal(query_id)
        make_folder(journal.parent, durable=durable)
        try:
            self._sinks[name.lower()] = FileSink(owned.topic(topic_name), target, journal, durable=durable)
        except Error as error:  # nobody knows which files there are; the rows wait
            self._unable[name.lower()] = error

    def _journal(self, query_id: int) -> Path:
        return self._database.folder.path / COPIES / f"{query_id}.json"

    def failures(self) -> dict[str, Error]:
        """The queries whose files cannot be made at the moment, and why."""
        found = {name: self.failure(name) for name in (*self._sinks, *self._unable)}
        return {name: failure for name, failure in found.items() if failure is not None}

    def finish(self, name: str) -> list[str]:
        """Make files of the rows there are, before the query is dropped; a notice if that fails."""
        sink = self._sinks.get(name.lower())
        if sink is not None:
            sink.finish()
        failure = self.failure(name)
        if failure is None:
            return []
        waiting = "rows" if sink is None else f"{sink.waiting} rows"
        return [f'{waiting} that "{name}" had still to write are in no file: {failure.headline}']

    def failure(self, name: str) -> Error | None:
        """Why the files of a query cannot be made at the moment."""
        sink = self._sinks.get(name.lower())
        return self._unable.get(name.lower()) if sink is None else sink.failure

    def drop(self, name: str, query_id: int) -> None:
        """Make files of the rows there are, then forget the query's; it puts out nothing any more."""
        sink = self._sinks.pop(name.lower(), None)
        self._unable.pop(name.lower(), None)
        if sink is not None:
            sink.stop()
        topic, journal = topic_of(query_id), self._journal(query_id)
        if exists(journal):
            remove_file(journal)
        if topic in self._database.folder.topics:
            self._database.folder.drop_topic(topic)

    def close(self) -> None:
        """Make files of the rows there are."""
        for sink in self._sinks.values():
            sink.stop()


def folder_of(statement: CopyTo, log: ReadableFolder) -> Path:
    """Where the files go, whatever the working directory is later. Raises: ProgrammingError if they cannot go there."""
    folder = Path(statement.path).expanduser().absolute()
    if log.path.absolute() in (folder, *folder.parents):
        raise ProgrammingError(f'"{statement.path}" is inside of the database', position=statement.start)
    return folder


def made_folder(statement: CopyTo, log: ReadableFolder) -> Path:
    """The same folder, which is there now. Raises: OperationalError if it cannot be made."""
    folder = folder_of(statement, log)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperationalError(
            f'could not make the folder "{statement.path}"',
            detail=f"The reason: {(error.strerror or str(error)).lower()}.",
            position=statement.start,
        ) from None
    return folder
