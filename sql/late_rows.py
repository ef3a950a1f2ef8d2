"""system.late_rows: each row that came after its window had closed, kept as a topic of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..engine.operator import END_OF_TIME
from ..engine.operators.late import LateRows
from ..storage import limits
from ..storage.errors import Error
from ..storage.folder import Folder
from ..storage.readable import ReadableFolder
from ..storage.schema import OFFSET_COLUMN
from ..storage.topic import Durability, Topic, TopicOptions
from .lower import KnownLate
from .types import connect

SCHEMA = pa.schema(
    [
        ("view", pa.string()),
        ("view_id", pa.int64()),
        ("stream", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("reason", pa.string()),
        ("watermark", pa.timestamp("us")),
        ("row", pa.string()),
    ]
)
_PLACE = ("stream", "partition", "offset")


class LateLog:
    """Takes reports of late rows during an epoch and appends them after it; knows what was reported before."""

    NAME = "system.late_rows"

    def __init__(self, log: ReadableFolder, folder: Folder | None) -> None:
        self._log = log
        self._folder = folder  # to append to; None where another process does
        self._pending: list[pa.RecordBatch] = []
        self._sent: list[tuple[str, pa.Table]] = []  # rows that go to a stream as well, by its name
        self.failure: Error | None = None  # of the last attempt to append
        self.ends: dict[str, list[int]] = {}  # of those streams, once something was sent
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def rows(self) -> pa.Table:
        """All late rows so far."""
        return self._read(SCHEMA)

    def known(self, view_id: int) -> KnownLate:
        """Per stream the (partition, offset, closed) of rows that were late for the view of that id."""
        if not self._pending and self.NAME not in self._log.topics:
            return {}
        rows = self._read(pa.schema([SCHEMA.field(name) for name in (*_PLACE, "view_id", "watermark")]))
        rows = rows.filter(pc.equal(rows.column("view_id"), view_id))
        marks = rows.column("watermark").cast(pa.int64()).fill_null(END_OF_TIME).to_pylist()
        places = (rows.column(name).to_pylist() for name in _PLACE)
        found: dict[str, list[tuple[int, int, int]]] = {}
        for stream, partition, offset, closed in zip(*places, marks, strict=True):
            found.setdefault(stream, []).append((partition, offset, closed))
        return found

    def _read(self, schema: pa.Schema) -> pa.Table:
        """The columns `schema` of all late rows so far."""
        with self._lock:
            pending = [batch.select(schema.names) for batch in self._pending]
        batches: list[pa.RecordBatch] = []
        if self.NAME in self._log.topics:
            self._log.topic(self.NAME).sync()
            for partition in self._log.topic(self.NAME).partitions:
                batches += partition.read_all(partition.end_offset, schema.names)
        return pa.Table.from_batches(batches + pending, schema=schema)

    def reporter(self, view: str, view_id: int, target: str) -> Callable[[str, LateRows], None]:
        """What a view's operators call with the late rows they meet; those in no open window go to `target` too."""

        def report(stream: str, late: LateRows) -> None:
            count = len(late.offsets)
            null_time = late.closed == END_OF_TIME
            watermark = pa.array(late.closed, pa.int64(), mask=null_time).cast(pa.timestamp("us"))
            behind = "behind the watermark" if late.moments else "its window had closed"
            reason = np.where(null_time, "event time is NULL", behind).astype(object)
            reason[late.counted] = "behind the watermark, counted where a window was still open"
            rows = self._whole_rows(stream, late)
            columns = [
                pa.array([view] * count, pa.string()),
                pa.array([view_id] * count, pa.int64()),
                pa.array([stream] * count, pa.string()),
                pa.array(late.partitions, pa.int32()),
                pa.array(late.offsets, pa.int64()),
                pa.array(reason, pa.string()),
                watermark,
                self._json(rows),
            ]
            with self._lock:
                self._pending.append(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
                if target and self._folder is not None and not late.counted.all():
                    self._sent.append((target, rows.filter(pa.array(~late.counted))))

        return report

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

    def _append(self, folder: Folder, batch: pa.RecordBatch, sent: list[tuple[str, pa.Table]]) -> None:
        if self.NAME not in folder.topics:
            durability: Durability = "none" if folder.temporary else "group"
            folder.create_topic(self.NAME, SCHEMA, options=TopicOptions(durability=durability))
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

    def settle(self) -> None:
        """Returns when all late rows so far are durable. Raises: OperationalError if they cannot be."""
        if self.failure is not None:
            raise self.failure
        if self._folder is not None and self.NAME in self._folder.topics:
            self._folder.topic(self.NAME).sync()

    def _whole_rows(self, stream: str, late: LateRows) -> pa.Table:
        """The late rows with all columns of their stream: the query that met them had read only what it needed."""
        topic = self._log.topic(stream)
        parts, order = [], []
        for number in np.unique(late.partitions):
            places = np.flatnonzero(late.partitions == number)
            offsets = late.offsets[places]
            start, end = int(offsets.min()), int(offsets.max()) + 1
            log = topic.partitions[number]
            read = log.read(max(start, log.start_offset), end, [*topic.schema.names, OFFSET_COLUMN])
            rows = pa.Table.from_batches(read, topic.schema.append(pa.field(OFFSET_COLUMN, pa.int64())))
            present = rows.column(OFFSET_COLUMN).to_numpy()
            at = np.searchsorted(present, offsets)
            found = np.isin(offsets, present)  # others were deleted meanwhile
            parts.append(rows.drop_columns([OFFSET_COLUMN]).take(pa.array(at, mask=~found)))
            order.append(places)
        return pa.concat_tables(parts).take(pa.array(np.argsort(np.concatenate(order))))

    def _json(self, rows: pa.Table) -> pa.Array:
        if self._connection is None:
            self._connection = connect()
        self._connection.register("late_rows", rows)
        table = self._connection.sql("SELECT to_json(late_rows)::VARCHAR AS row FROM late_rows").to_arrow_table()
        return table.column("row").combine_chunks()
