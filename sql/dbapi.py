"""The Python DB-API (PEP 249): connections and cursors over a database."""

from __future__ import annotations

import atexit
import datetime
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from ..engine.runtime import Options
from ..storage import limits
from ..storage.errors import InterfaceError, NotSupportedError, OperationalError, ProgrammingError
from ..storage.topic import Durability
from .cursors import Cursor
from .database import Database
from .relations import Kind
from .session import Session
from .statements import Statement
from .writing import append, check_nulls, require_stream

apilevel = "2.0"
threadsafety = 2
paramstyle = "qmark"


@dataclass(frozen=True)
class RelationInfo:
    """A relation that SQL can name. Shape: `columns` are (name, SQL type)."""

    name: str
    kind: Kind
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Status:
    """How far the engine is: `rows` taken since it was opened, `lag` still in the log. Units: microseconds."""

    epoch: int
    rows: int
    lag: int
    watermarks: Mapping[str, int | None]


_open: dict[Path, Database] = {}  # the folders this process has open
_users: dict[Database, int] = {}  # open connections of each database
_open_lock = threading.RLock()  # reentrant: a collected connection may be closed while another opens


@atexit.register
def _close_all() -> None:
    """Close what a program forgot to close, so that its last rows are on disk and temporary folders gone."""
    for database in list(_users):
        database.close()


def connect(
    path: str | Path = ":memory:",
    *,
    read_only: bool = False,
    durability: Durability | None = None,
    rows_per_epoch: int = limits.ROWS_PER_EPOCH,
    idle_timeout_s: float = limits.IDLE_TIMEOUT_S,
    future_guard_s: float = limits.FUTURE_GUARD_S,
    default_partitions: int = 1,
    clock: Callable[[], int] | None = None,
) -> Connection:
    """A connection to the database in the folder `path`, made if it is not there; ':memory:' leaves nothing behind.

    Connections of one process to one folder share it. `clock` gives microseconds since 1970 (for tests).
    Raises: FolderLockedError where another process owns the folder.

    >>> with connect() as con:
    ...     con.execute("SELECT 6 * 7").fetchall()
    [(42,)]
    """
    if read_only:
        raise NotSupportedError(
            "cannot open a folder read-only yet", hint="Connect without read_only from the process that owns it."
        )
    options = Options(rows_per_epoch, idle_timeout_s, future_guard_s, *([clock] if clock is not None else []))
    with _open_lock:
        folder = None if str(path) == ":memory:" else Path(path).resolve()
        database = None if folder is None else _open.get(folder)
        if database is None:
            database = Database(folder, options, durability=durability, default_partitions=default_partitions)
            if folder is not None:
                _open[folder] = database
        _users[database] = _users.get(database, 0) + 1
        return Connection(database, folder)


class Connection:
    """One user of a database. Each statement commits by itself: when execute returns, an INSERT is durable."""

    def __init__(self, database: Database, folder: Path | None) -> None:
        self._database = database
        self._folder = folder
        self._session = Session(database)
        self._closed = False

    def cursor(self) -> Cursor:
        """A new cursor."""
        self._check()
        return Cursor(self)

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Cursor:
        """Run SQL (one statement or several; the cursor has the last one's result)."""
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> Cursor:
        """Run an INSERT for many rows, as one batch."""
        return self.cursor().executemany(sql, rows)

    def run(self, statement: Statement, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Cursor:
        """Run one parsed statement."""
        cursor = self.cursor()
        cursor._take(self._session.run(statement, parameters))
        return cursor

    def append(self, stream: str, rows: pa.Table | pa.RecordBatch, *, wait: bool = True) -> int:
        """Append Arrow rows whose columns are the stream's by name; how many. `wait`: until they are durable."""
        self._check()
        target = require_stream(self._database, stream, None)
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        extra = set(table.schema.names) - set(target.schema.names)
        if extra:
            raise ProgrammingError(f'stream "{target.name}" has no column "{min(extra)}"')
        missing = [name for name in target.schema.names if name not in table.schema.names]
        for name in missing:
            if name in target.defaults:
                raise ProgrammingError(
                    f'column "{name}" of "{target.name}" is not given',
                    hint="append() fills in no defaults; INSERT does.",
                )
            table = table.append_column(name, pa.nulls(table.num_rows, target.schema.field(name).type))
        try:
            table = table.select(target.schema.names).cast(target.schema)
        except pa.ArrowException as error:
            raise ProgrammingError(f'rows do not fit stream "{target.name}"', detail=f"{error}.") from None
        check_nulls(target, table)
        if wait:
            self._session.wrote(target.name, append(self._database, target, table))
        else:
            topic = self._database.folder.topic(target.name)
            for batch in table.combine_chunks().to_batches(max_chunksize=limits.ROWS_PER_FRAME):
                self._session.wrote(target.name, topic.append(batch, wait=False))
        return int(table.num_rows)

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when every view has caught up with every stream. Raises: OperationalError after `timeout_s`."""
        self._check()
        if not self._database.engine.wait(self._session.flush_target(), timeout_s=timeout_s):
            raise OperationalError(
                f"the views have not caught up within {timeout_s:g} s", hint="Wait longer, or ask SHOW QUERIES."
            )

    def relations(self) -> list[RelationInfo]:
        """Everything that SQL can name here."""
        return [
            RelationInfo(r.name, r.kind, tuple((c.name, c.type) for c in r.columns)) for r in self._database.relations
        ]

    def status(self) -> Status:
        """How far the engine is."""
        self._check()
        engine = self._database.engine
        return Status(engine.epoch, engine.rows, engine.behind(), engine.watermarks())

    def commit(self) -> None:
        """Nothing to do: every statement commits by itself."""
        self._check()

    def close(self) -> None:
        """Let go of the database; the last connection of the process to a folder closes it. Twice does no harm."""
        if self._closed:
            return
        self._closed = True
        with _open_lock:
            _users[self._database] -= 1
            if _users[self._database]:
                return
            del _users[self._database]
            if self._folder is not None:
                _open.pop(self._folder, None)
            self._database.close()

    def __enter__(self) -> Connection:
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        if self._closed:
            raise InterfaceError("the connection is closed")


Date, Time, Timestamp, Binary = datetime.date, datetime.time, datetime.datetime, bytes
