"""File sinks: what a continuous COPY puts out, as files in a folder that are there whole, each row in one of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from ..engine.key_index import KeyIndex
from ..storage import limits
from ..storage.document import load_document, save_document
from ..storage.errors import Error, OperationalError
from ..storage.files import File, exists, make_folder, rename_file, sync_folder
from ..storage.topic import Topic
from .relations import Column

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_PLAIN = " -_.~,+"  # characters of a folder's name that stand for themselves


@dataclass(frozen=True)
class FileTarget:
    """What files there are to be, and where.

    `write` puts rows into one; with `partition_by` those with equal values there get folders of their own, and the
    values are in the folders' names only. A file is finished when its rows take `file_bytes` in memory, or the first of
    them is `rollover_s` old.
    """

    folder: Path
    prefix: str
    suffix: str
    columns: tuple[Column, ...]
    write: Callable[[Path, list[Column], pa.Table], None]
    partition_by: tuple[str, ...]
    file_bytes: int
    rollover_s: float

    def files(self, table: pa.Table, start: int) -> Iterator[tuple[Path, list[Column], pa.Table]]:
        """The files that rows of the log from offset `start` on make: the same again for the same rows."""
        name = f"{self.prefix}-{start:012d}.{self.suffix}"
        inside = [column for column in self.columns if column.name not in self.partition_by]
        rows = table.select([column.name for column in inside])
        if not self.partition_by:
            yield self.folder / name, inside, rows
            return
        keys = table.select(list(self.partition_by)).combine_chunks()
        index = KeyIndex(keys.schema)
        slots = np.concatenate([np.zeros(0, np.int64), *(index.lookup_or_insert(b)[0] for b in keys.to_batches())])
        order = np.argsort(slots, kind="stable")
        bounds = np.searchsorted(slots[order], np.arange(index.slots + 1))
        for slot, key in enumerate(index.keys(np.arange(index.slots)).to_pylist()):
            places = order[bounds[slot] : bounds[slot + 1]]
            folders = [f"{column}={_folder_name(value)}" for column, value in key.items()]
            yield self.folder.joinpath(*folders) / name, inside, rows.take(pa.array(places))


class FileSink:
    """A thread that makes files of the rows of a topic, as they come.

    Before a file is made it is written down which rows are in it. So after a crash the same rows make the same files
    again, under the same names, and take their places; the rows are deleted from the topic afterwards.
    State: on disk, in `journal`, the offset up to which there are files, and that up to which files are being made.
    From: the pending files of Flink's file sink, which are renamed once a checkpoint is complete.
    """

    def __init__(self, topic: Topic, target: FileTarget, journal: Path, *, durable: bool) -> None:
        self._topic = topic
        self._target = target
        self._journal = journal
        self._durable = durable
        self._wake = threading.Event()
        self._stopping = False
        self.failure: Error | None = None  # of the last attempt; it is tried again
        self._answer = threading.Condition()
        self._asked = self._answered = 0  # how often somebody has asked for files of all rows, and has got them
        known = load_document(journal) if exists(journal) else {}
        self._position = int(known.get("position", 0))
        self._end: int | None = known.get("end")  # of files that are being made
        self._counted, self._bytes = self._position, 0  # of rows of which there is no file: how far, and how many
        self._since = 0.0  # when the first row came of which there is no file
        self._unlisten = topic.listen(self._wake.set)
        self._thread = threading.Thread(target=self._run, name="headrace-files", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Make files of all rows there are now, or come to know why that fails."""
        with self._answer:
            self._asked += 1
            asked = self._asked
            self._wake.set()
            self._answer.wait_for(lambda: self._answered >= asked)

    @property
    def waiting(self) -> int:
        """How many rows are in no file yet."""
        return self._topic.partitions[0].end_offset - self._position

    def stop(self) -> None:
        """Make files of all rows there are, and end."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        self._unlisten()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            last, asked = self._stopping, self._asked
            try:
                wait_s = self._advance(last=last or asked > self._answered)
                self.failure = None
            except Error as error:
                self.failure, wait_s = error, limits.FILES_RETRY_S
            except Exception as error:  # also what a writer raises that nobody thought of: the rows wait
                system = isinstance(error, OSError) and error.strerror
                reason = str(system).lower() if system else f"{type(error).__name__}: {error}"
                headline = f'could not write to "{self._target.folder}"'
                self.failure = OperationalError(headline, detail=f"The reason: {reason}.")
                wait_s = limits.FILES_RETRY_S
            with self._answer:
                self._answered = asked
                self._answer.notify_all()
            if last:
                return
            self._wake.wait(wait_s)

    def _advance(self, *, last: bool) -> float | None:
        """Make the files that are due; in how many seconds the next one is, None if that depends on rows."""
        partition = self._topic.partitions[0]
        while True:
            end = partition.end_offset
            if self._end is None and self._position < end:
                now = time.monotonic()
                self._since = self._since or now
                full = self._full(end)
                if full is None and not last and now < self._since + self._target.rollover_s:
                    return self._since + self._target.rollover_s - now
                self._save(self._position, full or end)
                self._end = full or end  # only now, so that no file is made of what is not written down
            if self._end is None:
                return None
            self._make(self._position, self._end)
            self._position, self._end, self._since = self._end, None, 0.0
            self._counted, self._bytes = self._position, 0
            self._save(self._position, None)
            self._topic.delete_before(0, self._position)

    def _full(self, end: int) -> int | None:
        """The offset up to which rows fill a file; None if those before `end` are too few."""
        for batch in self._topic.partitions[0].read(self._counted, end):
            self._bytes += batch.nbytes
            self._counted += batch.num_rows
            if self._bytes >= self._target.file_bytes:
                return self._counted
        return None

    def _make(self, start: int, end: int) -> None:
        """The files of the rows at offsets [start, end), each put in its place when all are written."""
        batches = self._topic.partitions[0].read(start, end)
        table = pa.Table.from_batches(batches, schema=self._topic.schema)
        drafts = []
        for path, columns, rows in self._target.files(table, start):
            make_folder(path.parent, durable=self._durable)
            draft = path.with_name(f".{path.name}.part")
            self._target.write(draft, columns, rows)
            if self._durable:
                file = File(draft)
                file.sync()
                file.close()
            drafts.append((draft, path))
        for draft, path in drafts:
            rename_file(draft, path)
        for folder in sorted({path.parent for _, path in drafts}) if self._durable else ():
            sync_folder(folder)

    def _save(self, position: int, end: int | None) -> None:
        save_document(self._journal, {"position": position, "end": end}, durable=self._durable)


def _folder_name(value: Any) -> str:
    if value is None:
        return _NULL_PARTITION
    return quote(str(value).lower() if isinstance(value, bool) else str(value), safe=_PLAIN)
