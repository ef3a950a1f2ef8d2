"""The Python DB-API (PEP 249): connections and cursors over a database."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileSystem

from ..engine.options import Options, wall_clock
from ..storage import limits
from ..storage.consumer import Consumer, Rebalanced, Reset
from ..storage.errors import InterfaceError, OperationalError, ProgrammingError
from ..storage.partitioners import Partitioner
from ..storage.producer import Producer
from ..storage.remote_files import RemoteFiles
from ..storage.topic import Durability
from .arrow_rows import conformed
from .consuming import wanted
from .cursors import Cursor
from .database import Database
from .memory_limit import read_memory_limit
from .relations import Kind
from .row_checks import batch_of
from .session import Session
from .shared_databases import acquire, release
from .statements import Statement
from .tables import append_together
from .writing import append, require_stream

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
    """How far the engine is: `rows` taken since it was opened, `lag` still in the log. Units: microseconds.

    `backfills` has, by query, how many rows of history it has gone through, and of how many.
    """

    epoch: int
    rows: int
    lag: int
    watermarks: Mapping[str, int | None]
    backfills: Mapping[str, tuple[int, int]]


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
    cache_bytes: int = limits.SEGMENT_CACHE_BYTES,
    checkpoint_interval_s: float = limits.CHECKPOINT_INTERVAL_S,
    filesystems: Mapping[str, FileSystem] | None = None,
    epoch_digests: bool = False,
    memory_limit: int | str | None = None,
) -> Connection:
    """A connection to the database in the folder `path`, made if it is not there; ':memory:' leaves nothing behind.

    Connections of one process to one folder share it. `clock` gives microseconds since 1970 (for tests). With
    `read_only` the folder may belong to another process, whose rows appear a few milliseconds after it had them
    acknowledged; views are kept by this process too. Segments that were moved elsewhere, by the option `tier` of a
    stream, are fetched and held up to `cache_bytes`; `filesystems` has those Arrow does not open itself, by scheme.
    While rows come a checkpoint is taken every `checkpoint_interval_s` at most, and one when the database is closed;
    with 0 none but those that CHECKPOINT asks for.
    With a `memory_limit` such as '1GB', as by SET, state that has no room lies in files; see docs/memory.md.
    With `epoch_digests` the journal has a digest of what each epoch changed in each view, which REPLAY compares with.
    Raises: FolderLockedError where another process owns the folder.

    >>> with connect() as con:
    ...     con.execute("SELECT 6 * 7").fetchall()
    [(42,)]
    """
    if read_only and str(path) == ":memory:":
        raise ProgrammingError(
            "cannot open a database in memory for reading only", detail="There would be nothing in it."
        )
    options = Options(rows_per_epoch, idle_timeout_s, future_guard_s, clock or wall_clock, epoch_digests)
    bytes = None if memory_limit is None else read_memory_limit(memory_limit)
    folder = None if str(path) == ":memory:" else Path(path).resolve()

    def opened() -> Database:
        return Database(
            folder,
            options,
            durability=durability,
            default_partitions=default_partitions,
            read_only=read_only,
            remote=RemoteFiles(filesystems),
            cache_bytes=cache_bytes,
            checkpoint_interval_s=checkpoint_interval_s,
            memory_limit=bytes,
        )

    user = object()
    shared = acquire(None if folder is None else (folder, read_only), user, opened)
    try:
        return Connection(shared.database, lambda: release(shared, user))
    except BaseException:
        release(shared, user)
        raise


class Connection:
    """One user of a database. Each statement commits by itself: when execute returns, an INSERT is durable."""

    def __init__(self, database: Database, release: Callable[[], None]) -> None:
        self._database = database
        self._release = release
        self._session = Session(database)
        self._producers: list[Producer] = []
        self._consumers: list[Consumer] = []
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
        """Append Arrow rows whose columns are the stream's or table's by name; how many. `wait`: until durable.

        Columns that are left out have their defaults.
        """
        self._check()
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        target, table = conformed(self._database, stream, table)
        if wait or target.kind == "TABLE":
            self._session.wrote(target.name, append(self._database, target, table)[1])
        else:
            topic = self._database.folder.topic(target.name)
            for batch in table.combine_chunks().to_batches(max_chunksize=limits.ROWS_PER_FRAME):
                self._session.wrote(target.name, topic.append(batch, wait=False))
        return int(table.num_rows)

    def producer(
        self,
        *streams: str | Sequence[str],
        name: str | None = None,
        partitioner: str | Partitioner | None = None,
        key: str | Sequence[str] = (),
        durability: Durability | None = None,
        linger_s: float = limits.PRODUCER_LINGER_S,
        batch_bytes: int = limits.PRODUCER_BATCH_BYTES,
        buffer_bytes: int = limits.PRODUCER_BUFFER_BYTES,
    ) -> Producer:
        """A producer for these streams: it gathers what is sent for `linger_s` and appends it together.

        With a `name` it never appends twice what it sends again after a crash. `durability` 'none' does not wait for
        the disk, 'each' syncs for each send. The docs of `Producer` and docs/log.md say the rest.
        """
        self._check()
        named = _flat(streams)
        if not named:
            raise ProgrammingError("a producer needs a stream to append to", hint='Say con.producer("clicks").')
        database = self._database
        names = [require_stream(database, stream, None).name for stream in named]

        def prepare(stream: str, table: pa.Table) -> pa.RecordBatch:
            return batch_of(conformed(database, stream, table)[1])

        producer = Producer(
            database.folder,
            names,
            prepare,
            self._session.wrote,
            name=name,
            partitioner=partitioner,
            key=[key] if isinstance(key, str) else key,
            durability=durability,
            linger_s=linger_s,
            batch_bytes=batch_bytes,
            buffer_bytes=buffer_bytes,
        )
        self._producers.append(producer)
        return producer

    def consumer(
        self,
        *streams: str | Sequence[str],
        group: str | None = None,
        columns: str | Sequence[str] | None = None,
        where: str | None = None,
        reset: Reset = "earliest",
        auto_commit: bool = True,
        max_rows: int = limits.CONSUMER_ROWS,
        on_rebalance: Rebalanced | None = None,
    ) -> Consumer:
        """A consumer of these streams: their rows in batches, with the offset of each, waiting for more.

        Nothing but `columns` of rows for which the SQL condition `where` holds is delivered. Consumers of one `group`,
        in any process, share the partitions and go on where the group has committed. Without such a place, or where
        its rows were deleted, `reset` says 'earliest', 'latest' or, for the latter, 'error'. See docs/log.md.
        """
        self._check()
        named = _flat(streams)
        if not named:
            raise ProgrammingError("a consumer needs a stream to read", hint='Say con.consumer("clicks").')
        database = self._database
        database.refresh()
        relations = [require_stream(database, stream, None, "consume") for stream in named]
        consumer = Consumer(
            database.log,
            {relation.name: wanted(database, relation, columns, where) for relation in relations},
            group=group,
            reset=reset,
            auto_commit=auto_commit,
            max_rows=max_rows,
            on_rebalance=on_rebalance,
            durable=not database.log.temporary,
        )
        self._consumers.append(consumer)
        return consumer

    @contextmanager
    def atomic(self) -> Iterator[Callable[[str, pa.Table | pa.RecordBatch], None]]:
        """Within the block, what is given to `append(stream, rows)` is gathered; at its end all of it is appended.

        Readers see the rows of all streams in one moment, or none ever; after a crash too. An exception in the block
        appends nothing.
        """
        self._check()
        gathered: dict[str, list[pa.Table]] = {}

        def append(stream: str, rows: pa.Table | pa.RecordBatch) -> None:
            table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
            target, table = conformed(self._database, stream, table)
            gathered.setdefault(target.name, []).append(table)

        yield append
        together = {name: pa.concat_tables(tables) for name, tables in gathered.items()}
        for topic, place in append_together(self._database, together):
            self._session.wrote(topic.name, (place,))

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when every view has caught up with every stream. Raises: OperationalError after `timeout_s`."""
        self._check()
        if not self._database.engine.wait(self._session.flush_target(), timeout_s=timeout_s):
            raise OperationalError(
                f"the views have not caught up within {timeout_s:g} s", hint="Wait longer, or ask SHOW QUERIES."
            )

    @property
    def read_only(self) -> bool:
        """Whether this connection only reads."""
        return self._database.read_only

    def relations(self) -> list[RelationInfo]:
        """Everything that SQL can name here."""
        return [
            RelationInfo(r.name, r.kind, tuple((c.name, c.type) for c in r.columns)) for r in self._database.relations
        ]

    def status(self) -> Status:
        """How far the engine is."""
        self._check()
        engine = self._database.engine
        backfills = {name.removesuffix(" (query)"): (p.done, p.total) for name, p in engine.backfills().items()}
        return Status(engine.epoch, engine.rows, engine.behind(), engine.watermarks(), backfills)

    def commit(self) -> None:
        """Nothing to do: every statement commits by itself."""
        self._check()

    def close(self) -> None:
        """Let go of the database; the last connection of the process to a folder closes it. Twice does no harm."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as closing:
            closing.callback(self._release)
            for consumer in self._consumers:
                closing.callback(consumer.close, done=False)
            for producer in self._producers:
                closing.callback(producer.close)

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


def _flat(streams: Sequence[str | Sequence[str]]) -> list[str]:
    """The names, given one by one or as a list."""
    return [name for given in streams for name in ([given] if isinstance(given, str) else given)]


Date, Time, Timestamp, Binary = datetime.date, datetime.time, datetime.datetime, bytes
