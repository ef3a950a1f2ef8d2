"""The Python DB-API (PEP 249): connections and cursors over a database."""

from __future__ import annotations

import atexit
import datetime
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from ..engine.runtime import Options
from ..storage import limits
from ..storage.errors import InterfaceError, NotSupportedError, OperationalError, ProgrammingError
from ..storage.topic import Durability
from .database import Database
from .dialect import parse_script
from .relations import Kind
from .session import Outcome, Session
from .statements import Insert, Statement
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
_open_lock = threading.Lock()


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


class Cursor:
    """The result of a statement: rows to fetch, or, when `live`, changes that keep coming."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._outcome = Outcome("")
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._changes: list[tuple[Any, ...]] = []
        self._closed = False

    # -- what it holds --------------------------------------------------------------------------------------------

    @property
    def description(self) -> list[tuple[Any, ...]] | None:
        """Per column (name, SQL type, None, None, None, None, None); None where the statement returns no rows."""
        names = self._names()
        return (
            None
            if names is None
            else [(name, type, None, None, None, None, None) for name, type in zip(names, self.types, strict=True)]
        )

    @property
    def rowcount(self) -> int:
        """Rows returned or written; -1 where that is not known."""
        return self._outcome.rowcount

    @property
    def tag(self) -> str:
        """What was done, as PostgreSQL writes it: 'SELECT 3', 'CREATE STREAM', 'INSERT 0 3'."""
        return self._outcome.tag

    @property
    def notices(self) -> list[str]:
        """Things worth knowing that stopped nothing."""
        return self._outcome.notices

    @property
    def types(self) -> list[str]:
        """The SQL type of each column."""
        live, rows = self._outcome.live, self._outcome.rows
        return list(live.types if live is not None else rows.types if rows is not None else ())

    @property
    def live(self) -> bool:
        """Whether the result is a subscription that never ends by itself."""
        return self._outcome.live is not None

    @property
    def key(self) -> tuple[str, ...] | None:
        """The columns that tell a live result's rows apart, where they are known."""
        return self._outcome.live.key if self._outcome.live is not None else None

    # -- running --------------------------------------------------------------------------------------------------

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Cursor:
        """Run SQL; several statements one after the other, the last one's result is kept. Returns itself."""
        self._check()
        statements = parse_script(sql)
        if not statements:
            raise ProgrammingError("there is no statement")
        if parameters and len(statements) > 1:
            raise ProgrammingError("cannot give parameters to more than one statement")
        for statement in statements:
            self._end_live()
            self._take(self.connection._session.run(statement, parameters or None))
        return self

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> Cursor:
        """Run an INSERT ... VALUES (?, ...) for many rows, all in one batch: all of them are kept, or none."""
        self._check()
        statements = parse_script(sql)
        if len(statements) != 1 or not isinstance(statements[0], Insert):
            raise ProgrammingError("executemany takes one INSERT ... VALUES (?, ...)")
        from .many import insert_many

        self._end_live()
        self._take(insert_many(self.connection._session, statements[0], rows))
        return self

    def close(self) -> None:
        """End it, and the subscription it holds."""
        if not self._closed:
            self._closed = True
            self._end_live()

    # -- fetching -------------------------------------------------------------------------------------------------

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row; None at the end. A live cursor waits for one."""
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None, timeout: float | None = None) -> list[tuple[Any, ...]]:
        """The next `size` rows, fewer at the end. A live cursor waits for the first, up to `timeout` seconds."""
        self._check_rows()
        size = self.arraysize if size is None else size
        if not self.live:
            return [row for _, row in zip(range(size), self._rows, strict=False)]
        while len(self._changes) < size:
            table = self.next_changes(timeout if not self._changes else 0)
            if table is None:
                break
            self._changes += _python_rows(table, self.types)
        taken, self._changes = self._changes[:size], self._changes[size:]
        return taken

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that are left. A live cursor never ends: ask it for fetchmany or next_changes."""
        self._check_rows()
        if self.live:
            raise NotSupportedError(
                "cannot fetch all of a live query", hint="Use fetchmany(n, timeout=...), next_changes() or iterate."
            )
        return list(self._rows)

    def fetch_arrow_table(self) -> pa.Table:
        """The whole result as an Arrow table."""
        self._check_rows()
        if self._outcome.rows is None:
            raise NotSupportedError(
                "cannot fetch all of a live query", hint="next_changes() gives the changes as Arrow tables."
            )
        return self._outcome.rows.table

    def fetch_record_batch(self) -> pa.RecordBatchReader:
        """The result as a reader of Arrow batches."""
        return self.fetch_arrow_table().to_reader()

    def next_changes(self, timeout_s: float | None = None) -> pa.Table | None:
        """A live cursor's changes of the next epoch that has any; None after the timeout, or once closed."""
        self._check()
        if self._outcome.live is None:
            raise InterfaceError(
                "next_changes needs a live cursor", hint="SUBSCRIBE TO a view, or SELECT ... EMIT CHANGES."
            )
        return self._outcome.live.next(timeout_s)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def setinputsizes(self, sizes: Sequence[Any]) -> None:
        """Nothing: PEP 249 asks for it."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Nothing: PEP 249 asks for it."""

    # -- inside ---------------------------------------------------------------------------------------------------

    def _take(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._changes = []
        self._rows = iter(()) if outcome.rows is None else iter(_python_rows(outcome.rows.table, outcome.rows.types))

    def _names(self) -> list[str] | None:
        live, rows = self._outcome.live, self._outcome.rows
        return (
            list(live.schema.names) if live is not None else list(rows.table.schema.names) if rows is not None else None
        )

    def _end_live(self) -> None:
        if self._outcome.live is not None:
            self._outcome.live.close()
            self._outcome = Outcome("")

    def _check(self) -> None:
        self.connection._check()
        if self._closed:
            raise InterfaceError("the cursor is closed")

    def _check_rows(self) -> None:
        self._check()
        if self._names() is None:
            raise ProgrammingError("there are no rows to fetch", detail="The last statement returned none.")


def _python_rows(table: pa.Table, types: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Rows as tuples of Python values, made batch by batch as they are asked for."""
    for batch in table.to_batches(max_chunksize=8192):
        columns = []
        for column, type in zip(batch.columns, types, strict=True):
            values = column.to_pylist()
            if type == "HUGEINT":
                values = [None if value is None else int(value) for value in values]
            columns.append(values)
        yield from zip(*columns, strict=True)


Date, Time, Timestamp, Binary = datetime.date, datetime.time, datetime.datetime, bytes
