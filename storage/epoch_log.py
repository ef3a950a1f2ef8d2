"""The log of epochs: a topic in a folder of its own, so that what happens to it happens to nothing else."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from .errors import CorruptionError, Error
from .files import exists, remove_folder, rename_file
from .folder import Folder
from .limits import EPOCH_SEGMENT_BYTES, EPOCHS_SYNC_S, EPOCHS_UNSYNCED_MAX
from .log import Log
from .readable import ReadableFolder
from .tail import TailFolder
from .topic import Appended, Durability, Topic, TopicOptions

NAME = "epochs"
SCHEMA = pa.schema(
    [("epoch", pa.int64()), ("clock", pa.timestamp("us")), ("rows", pa.int64()), ("content", pa.string())]
)
_FIXED = struct.Struct("<qqqii")  # epoch, clock, rows, and where the content begins and ends


@dataclass(frozen=True)
class Row:
    """What is known of one epoch: `clock` in microseconds since 1970, rows taken, and `content`, the writer's own."""

    epoch: int
    clock: int
    rows: int
    content: str


class EpochLog:
    """Rows in rising order of epochs and clocks, in the folder `path`.

    What is damaged is put aside, and told in `notices`: rows are missing then, and nothing else.
    Holds: after a crash of the process all rows are there; after one of the machine at most the last
    `EPOCHS_UNSYNCED_MAX` are not.
    """

    def __init__(self, path: Path, *, durable: bool, read_only: bool) -> None:
        self.notices: list[str] = []
        self._path = path
        self._durability: Durability = "group" if durable else "none"
        self.read_only = read_only
        self._folder: ReadableFolder | None = None
        self._topic: Topic | None = None  # to append to
        self._opening = threading.Lock()
        self._synced_s = 0.0
        if not read_only and exists(path):
            self._open()

    def append(self, row: Row) -> None:
        """The row is there from now on, unless the machine fails; it will be on the medium soon."""
        if self._topic is None:
            self._open()
        assert self._topic is not None
        self._see_to(self._topic, self._topic.write(_batch(row)))

    def sync(self) -> None:
        """All rows so far are on the medium, and readable."""
        if self._topic is not None:
            self._topic.sync()

    @property
    def bounds(self) -> tuple[int, int]:
        """The places `[start, end)` of the rows that there are."""
        log = self._log()
        return (0, 0) if log is None else (log.start_offset, log.end_offset)

    def read(self, start: int, end: int) -> Iterator[Row]:
        """The rows at the places [start, end). Raises: CorruptionError where one is damaged."""
        log = self._log()
        for batch in log.read(start, end, SCHEMA.names) if log is not None and start < end else ():
            clocks = batch.column(1).cast(pa.int64()).to_pylist()
            values = (batch.column(place).to_pylist() for place in (0, 2, 3))
            for (epoch, rows, content), clock in zip(zip(*values, strict=True), clocks, strict=True):
                yield Row(epoch, clock, rows, content)

    def table(self) -> pa.Table:
        """All rows."""
        log = self._log()
        batches = [] if log is None else log.read_all(log.end_offset, SCHEMA.names)
        return pa.Table.from_batches(batches, schema=SCHEMA)

    def after(self, *, epoch: int | None = None, clock: int | None = None) -> int:
        """The place of the first row that is of a later epoch, or of a later time, than this."""
        start, end = self.bounds
        while start < end:
            middle = (start + end) // 2
            (row,) = self.read(middle, middle + 1)
            before = row.epoch <= epoch if epoch is not None else row.clock <= (clock or 0)
            start, end = (middle + 1, end) if before else (start, middle)
        return start

    def delete_before(self, place: int) -> None:
        """The rows before the place go."""
        if self._topic is not None:
            self._topic.delete_before(0, place)

    def old(self, at_us: int) -> int:
        """The place of the first row that was written at that time or later. Units: microseconds since 1970."""
        log = self._log()
        return 0 if log is None else log.offset_at(at_us)

    def put_aside(self, why: str) -> None:
        """Begin anew: it cannot be used."""
        self.close()
        self._folder = self._topic = None
        if not self.read_only:
            aside = self._path.with_name(f"{self._path.name}.damaged")
            remove_folder(aside)
            rename_file(self._path, aside)
        self.notices.append(f"the journal of epochs begins anew, for it could not be read: {why}")

    def close(self) -> None:
        """All rows are on the medium."""
        if self._folder is not None:
            self._folder.close()

    def _see_to(self, topic: Topic, appended: tuple[Appended, ...]) -> None:
        """Sync in the background now and then; wait for it only where that is very late."""
        if appended[0].end - topic.partitions[0].end_offset >= EPOCHS_UNSYNCED_MAX:
            topic.sync()
        elif time.monotonic() - self._synced_s >= EPOCHS_SYNC_S:
            self._synced_s = time.monotonic()
            topic.commit_soon(appended)

    def _log(self) -> Log | None:
        """To read."""
        if self._topic is not None:
            with suppress(Error):  # where it cannot be synced, what was before can be read
                self.sync()
            return self._topic.partitions[0]
        if not self.read_only:
            return None
        with self._opening:
            if self._folder is None and exists(self._path / "topics"):
                self._folder = TailFolder(self._path)
        if self._folder is None or NAME not in self._folder.topics:
            return None
        return self._folder.topic(NAME).partitions[0]

    def _open(self) -> None:
        try:
            folder = Folder.open(self._path, durability=self._durability)
        except CorruptionError as error:
            self.put_aside(error.headline)
            folder = Folder.open(self._path, durability=self._durability)
        self._folder = folder
        if NAME not in folder.topics:
            options = TopicOptions(durability=self._durability, segment_bytes=EPOCH_SEGMENT_BYTES)
            folder.create_topic(NAME, SCHEMA, options=options)
        self._topic = folder.topic(NAME)


def _batch(row: Row) -> pa.RecordBatch:
    """The row alone. It is made of one buffer, in a third of the time that four times `pa.array` take."""
    content = row.content.encode()
    buffer = pa.py_buffer(_FIXED.pack(row.epoch, row.clock, row.rows, 0, len(content)) + content)
    arrays = [
        pa.Array.from_buffers(field.type, 1, [None, buffer.slice(8 * place, 8)])
        for place, field in enumerate(list(SCHEMA)[:3])
    ]
    arrays.append(pa.Array.from_buffers(pa.string(), 1, [None, buffer.slice(24, 8), buffer.slice(_FIXED.size)]))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
