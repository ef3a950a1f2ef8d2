"""Rows that continuous queries report: each kind of them a topic of its own, appended to after each epoch."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import ClassVar

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage import limits
from ..storage.errors import Error
from ..storage.folder import Folder
from ..storage.readable import ReadableFolder
from ..storage.schema import OFFSET_COLUMN
from ..storage.topic import Durability, Topic, TopicOptions
from .types import connect


class ReportedRows:
    """Takes reports during an epoch and appends them after it, with the rows that go to streams as well."""

    NAME: ClassVar[str]
    SCHEMA: ClassVar[pa.Schema]
    KEY: ClassVar[tuple[str, ...]]  # what tells reports apart

    def __init__(self, log: ReadableFolder, folder: Folder | None) -> None:
        self._log = log
        self._folder = folder  # to append to; None where another process does
        self._pending: list[pa.RecordBatch] = []
        self._sent: list[tuple[str, pa.Table]] = []  # rows that go to a stream as well, by its name
        self.failure: Error | None = None  # of the last attempt to append
        self.ends: dict[str, list[int]] = {}  # of those streams, once something was sent
        self._renamed: dict[int, str] = {}  # by id: queries that were called otherwise when they began to run
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    @property
    def any(self) -> bool:
        """Whether there may be some."""
        return bool(self._pending) or self.NAME in self._log.topics

    def rows(self, names: Sequence[str] | None = None) -> pa.Table:
        """All that were reported so far; only these columns of them, or all."""
        names = self.SCHEMA.names if names is None else names
        more = self.KEY if self._folder is None else ()
        schema = pa.schema([self.SCHEMA.field(name) for name in dict.fromkeys((*names, *more))])
        with self._lock:
            pending = [batch.select(schema.names) for batch in self._pending]
        batches: list[pa.RecordBatch] = []
        if self.NAME in self._log.topics:
            self._log.topic(self.NAME).sync()
            for partition in self._log.topic(self.NAME).partitions:
                batches += partition.read_all(partition.end_offset, schema.names)
        rows = pa.Table.from_batches(batches + pending, schema=schema)
        if self._folder is None and pending:  # who owns the folder has reported them as well by now
            places = rows.append_column("place", pa.array(np.arange(len(rows))))
            first = places.group_by(list(self.KEY)).aggregate([("place", "min")]).column("place_min")
            rows = rows.take(np.sort(first.to_numpy()))
        return rows.select(names)

    def rename(self, view_id: int, name: str) -> None:
        """What the view of that id reports from now on is under that name."""
        self._renamed[view_id] = name

    def flush(self) -> None:
        """Append what was reported since the last flush; not waited for, it is a record of what readers saw.

        A process that only reads keeps its own reports in memory.
        """
        if self._folder is None:
            return
        with self._lock:
            if not self._pending:
                return
            pending, sent, self._pending, self._sent = self._pending, self._sent, [], []
        try:
            self._append(self._folder, pa.Table.from_batches(pending).combine_chunks().to_batches()[0], sent)
        except Error as error:  # a full disk: no query stops because of that, and the rows are not forgotten
            with self._lock:
                self._pending, self._sent = pending + self._pending, sent + self._sent
            self.failure = error
        else:
            self.failure = None

    def settle(self) -> None:
        """Returns when all reports so far are durable. Raises: OperationalError if they cannot be."""
        if self.failure is not None:
            raise self.failure
        if self._folder is not None and self.NAME in self._folder.topics:
            self._folder.topic(self.NAME).sync()

    def _report(self, batch: pa.RecordBatch, target: str = "", rows: pa.Table | None = None) -> None:
        """Take a report, and `rows` that go to the stream `target` with it."""
        with self._lock:
            self._pending.append(batch)
            if target and self._folder is not None and rows is not None and rows.num_rows:
                self._sent.append((target, rows))

    def _append(self, folder: Folder, batch: pa.RecordBatch, sent: list[tuple[str, pa.Table]]) -> None:
        if self.NAME not in folder.topics:
            durability: Durability = "none" if folder.temporary else "group"
            folder.create_topic(self.NAME, self.SCHEMA, options=TopicOptions(durability=durability))
        if not sent:
            folder.topic(self.NAME).append(batch, wait=False)
            return
        folder.append_atomic([(folder.topic(self.NAME), batch, None), *self._placed(folder, sent)])
        for name, _ in sent:
            self.ends[name] = [partition.end_offset for partition in folder.topic(name).partitions]

    def _placed(self, folder: Folder, sent: list[tuple[str, pa.Table]]) -> Iterator[tuple[Topic, pa.RecordBatch, None]]:
        """The rows as the streams have them that they go to. One that is not there any more gets none."""
        for name, rows in sent:
            topic = folder.topic(name)
            taken = rows.select(topic.schema.names).cast(topic.schema).combine_chunks()
            for batch in taken.to_batches(max_chunksize=limits.ROWS_PER_FRAME):
                yield topic, batch, None

    def _whole_rows(
        self, stream: str, partitions: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
    ) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
        """The rows there with all columns of their stream: the query that met them had read only what it needed.

        And which of them are there: the others were deleted meanwhile, and are NULLs.
        """
        topic = self._log.topic(stream)
        parts, order, there = [], [], []
        for number in np.unique(partitions):
            places = np.flatnonzero(partitions == number)
            mine = offsets[places]
            log = topic.partitions[number]
            start, end = max(int(mine.min()), log.start_offset), int(mine.max()) + 1
            read = log.read(start, end, [*topic.schema.names, OFFSET_COLUMN]) if start < end else []
            rows = pa.Table.from_batches(read, topic.schema.append(pa.field(OFFSET_COLUMN, pa.int64())))
            present = rows.column(OFFSET_COLUMN).to_numpy()
            at = np.searchsorted(present, mine)
            found = np.isin(mine, present)
            parts.append(rows.drop_columns([OFFSET_COLUMN]).take(pa.array(at, mask=~found)))
            order.append(places)
            there.append(found)
        by_row = np.argsort(np.concatenate(order))
        return pa.concat_tables(parts).take(pa.array(by_row)), np.concatenate(there)[by_row]

    def _json(self, rows: pa.Table) -> pa.Array:
        """Each row as JSON."""
        if self._connection is None:
            self._connection = connect()
        self._connection.register("reported", rows)
        table = self._connection.sql("SELECT to_json(reported)::VARCHAR AS row FROM reported").to_arrow_table()
        return table.column("row").combine_chunks()
