"""A producer: rows gathered for a moment, appended together, and known to be durable one by one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .deliveries import Delivery, Flush
from .errors import Error, InterfaceError, OperationalError, ProgrammingError
from .folder import Folder
from .frame import NO_MARK, Mark
from .limits import PRODUCER_BATCH_BYTES, PRODUCER_BUFFER_BYTES, PRODUCER_LINGER_S
from .partition import Partition
from .partitioners import Partitioner, check_partition, partitioner_of, partitions_by
from .sending import Headers, Rows, Sent, alike, as_table, check_options, check_sequence, with_headers
from .topic import Appended, Durability, Topic

Noted = Callable[[str, Sequence[Appended]], None]  # told of each stream where rows have been appended
Prepare = Callable[[str, pa.Table], pa.RecordBatch]  # rows as given, by column names -> as the stream's topic has them


class Written(NamedTuple):
    """Rows that are in the log, and wait to be durable: what was sent, and where it is."""

    topic: Topic
    flush: Flush
    placed: Sequence[Appended]
    sends: Sequence[Sent]


class Producer:
    """Appends to some streams of a folder. Methods may be called from any thread; rows keep the order of the calls.

    With a `name`, what it sends is numbered, and a number that is in the log already is not appended again: a program
    that died takes up the name, asks for `last_sequence`, and sends again from the next on. All rows between two
    flushes of such a producer are appended together or not at all.
    """

    def __init__(
        self,
        folder: Folder,
        streams: Sequence[str],
        prepare: Prepare,
        noted: Noted,
        *,
        name: str | None = None,
        partitioner: str | Partitioner | None = None,
        key: Sequence[str] = (),
        durability: Durability | None = None,
        linger_s: float = PRODUCER_LINGER_S,
        batch_bytes: int = PRODUCER_BATCH_BYTES,
        buffer_bytes: int = PRODUCER_BUFFER_BYTES,
    ) -> None:
        check_options(name, durability, linger_s, batch_bytes, buffer_bytes)
        self.name = name
        self.streams = tuple(streams)
        self._folder = folder
        self._prepare = prepare
        self._noted = noted
        self._partitioner = partitioner_of(partitioner, key, [folder.topic(stream) for stream in streams])
        self._durability = durability
        self._linger_s = 0.0 if durability == "each" else linger_s
        self._batch_bytes = min(batch_bytes, buffer_bytes)  # or a full buffer would wait for company
        self._buffer_bytes = buffer_bytes
        self._mark = NO_MARK if name is None else folder.writers.open(name)
        self._changed = threading.Condition()
        self._queue: deque[Sent] = deque()
        self._buffered = 0  # bytes in the queue
        self._hurry = False
        self._appending = False  # somebody's turn to write
        self._underway = 0  # batches taken from the queue that are not durable yet
        if name is not None:  # what was numbered counts once no crash can take it away
            for partition in self._partitions():
                partition.settle()
        self._last_sent = self.last_sequence
        self._failure: Error | None = None
        self._failed: Flush | None = None  # the first that nobody has been told of
        self._closed = False
        self._threads = [  # one gathers and writes a batch while the other waits for the disk with the one before
            threading.Thread(target=self._run, name="headrace-producer", daemon=True) for _ in range(2)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def last_sequence(self) -> int:
        """The greatest number under which this name has rows in its streams; 0 if none, or for no name."""
        return max((partition.writers.get(self._mark.writer, 0) for partition in self._partitions()), default=0)

    def send(
        self,
        rows: Rows,
        *,
        stream: str | None = None,
        partition: int | None = None,
        headers: Headers | None = None,
        sequence: int | None = None,
        timeout_s: float | None = None,
    ) -> Delivery:
        """Rows to append: an Arrow batch or table, a mapping, or a list of mappings, by column names.

        All of them go to `partition`, if one is given, and have these `headers`: a mapping of names to bytes.
        Returns at once unless the buffer is full; then it waits for room, at most `timeout_s`. What the delivery says
        becomes known when they are appended, and durable as the stream is kept.
        Raises: ProgrammingError for what is no rows; OperationalError after `timeout_s`, or if a producer with a name
        could not append what came before.
        """
        stream = self._stream(stream)
        if partition is not None:
            check_partition(partition, self._folder.topic(stream))
        check_sequence(sequence, self.name)
        sent = Sent(stream, rows, partition, headers, Delivery(self._changed))
        with self._changed:
            self._wait_for_room(timeout_s)
            self._check()
            number = 0 if self.name is None else self._last_sent + 1 if sequence is None else sequence
            delivery = sent.delivery
            if self.name is not None and number <= self._last_sent:
                if number > self.last_sequence:
                    raise ProgrammingError(
                        f"cannot send sequence {number} after {self._last_sent}", detail="Sequences only rise."
                    )
                delivery.settle(Flush.duplicate(), 0, 0)
                return delivery
            self._last_sent = max(self._last_sent, number)
            sent.sequence = number
            self._queue.append(sent)
            self._buffered += sent.size
            if len(self._queue) == 1 or self._buffered >= self._batch_bytes:
                self._changed.notify_all()
            return delivery

    @contextmanager
    def atomic(self, *, sequence: int | None = None) -> Iterator[Callable[..., None]]:
        """Within the block, what is given to `append(stream, rows)` is gathered; at its end all of it is appended.

        All streams show it in one moment, or none ever does. An exception in the block appends nothing.
        """
        check_sequence(sequence, self.name)
        gathered: list[tuple[str, Rows]] = []

        def append(stream: str, rows: Rows) -> None:
            gathered.append((self._stream(stream), rows))

        yield append
        self.flush()
        with self._changed:
            while self._appending or self._underway:
                self._changed.wait()
            self._check()
            number = 0 if self.name is None else self._last_sent + 1 if sequence is None else sequence
            if self.name is not None and number <= self.last_sequence:
                return
            self._last_sent = max(self._last_sent, number)
            self._appending = True
        try:
            appends = []
            for stream in dict(gathered):
                topic = self._folder.topic(stream)
                batches = [
                    self._prepare(stream, as_table(rows, topic.schema)) for name, rows in gathered if name == stream
                ]
                batch = pa.concat_batches(batches)
                appends.append((topic, batch, self._numbers(topic, batch, None)))
            with self._turn():
                placed = self._folder.append_atomic(appends, self._mark._replace(sequence=number))
            for topic, place in placed:
                self._noted(topic.name, (place,))
        finally:
            with self._changed:
                self._appending = False
                self._changed.notify_all()

    def flush(self, timeout_s: float | None = None) -> None:
        """Returns when everything sent so far is appended, and durable as its stream is kept.

        Raises: the first error since the last flush that no delivery has told; OperationalError after `timeout_s`.
        """
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: not (self._queue or self._appending or self._underway), timeout_s):
                raise OperationalError(f"could not append within {timeout_s:g} s what was sent", sqlstate="57014")
        self._tell()

    def close(self) -> None:
        """Everything sent is appended, as by `flush`; nothing can be sent any more. Closing twice is harmless."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._hurry = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._tell()

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the caller's side --------------------------------------------------------------------------------------------

    def _stream(self, stream: str | None) -> str:
        if stream is None:
            if len(self.streams) > 1:
                raise ProgrammingError(
                    "which stream the rows go to is not said", hint=f"Name one of {', '.join(self.streams)}."
                )
            return self.streams[0]
        found = [name for name in self.streams if name.lower() == stream.lower()]
        if not found:
            raise ProgrammingError(
                f'this producer does not append to "{stream}"', hint=f"It was made for {', '.join(self.streams)}."
            )
        return found[0]

    def _wait_for_room(self, timeout_s: float | None) -> None:
        if self._buffered >= self._buffer_bytes and not self._changed.wait_for(
            lambda: self._buffered < self._buffer_bytes or self._closed, timeout_s
        ):
            raise OperationalError(
                f"could not send within {timeout_s:g} s: the producer's buffer is full",
                detail=f"It holds {self._buffered} bytes that are not appended yet.",
                hint="Send more slowly, or give the producer a larger buffer_bytes.",
                sqlstate="53000",
            )

    def _check(self) -> None:
        if self._closed:
            raise InterfaceError("the producer is closed")
        if self._failure is not None:
            raise OperationalError(
                f'could not send: producer "{self.name}" could not append what came before',
                detail=f"It was: {self._failure.headline}.",
                hint="Open it again under its name, and send again from last_sequence + 1 on.",
                sqlstate=self._failure.sqlstate,
            )

    def _tell(self) -> None:
        failed, self._failed = self._failed, None
        if failed is not None and failed.error is not None and not failed.told:
            raise failed.error

    def _partitions(self) -> list[Partition]:
        return [partition for stream in self.streams for partition in self._folder.topic(stream).partitions]

    def _turn(self) -> AbstractContextManager[None]:
        return nullcontext() if self.name is None else self._folder.writers.appending(self.name, self._mark)

    # -- the thread's side --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._appending or not self._queue:
                    if self._closed and not self._queue:
                        return
                    if not self._queue:
                        self._hurry = False
                    self._changed.wait()
                self._appending = True
                deadline = time.monotonic() + self._linger_s
                while not self._hurry and self._buffered < self._batch_bytes:
                    rest = deadline - time.monotonic()
                    if rest <= 0 or not self._changed.wait(rest):
                        break
                taken = self._take()
                self._underway += 1
            written: list[Written] = []
            try:
                written = self._append(taken)
                if self._durability == "each":
                    written = self._commit(written)
            finally:
                with self._changed:
                    self._appending = False
                    self._changed.notify_all()
                self._commit(written)
                with self._changed:
                    self._underway -= 1
                    self._changed.notify_all()

    def _take(self) -> list[Sent]:
        """The next sends, in order, as much as one batch holds."""
        taken = [self._queue.popleft()]
        size = taken[0].size
        while self._queue and size + self._queue[0].size <= self._batch_bytes and self._durability != "each":
            taken.append(self._queue.popleft())
            size += taken[-1].size
        self._buffered -= size
        self._changed.notify_all()
        return taken

    def _append(self, taken: Sequence[Sent]) -> list[Written]:
        """Appends what was sent, stream by stream; with a name all of it at once."""
        versions = [self._folder.topic(stream).version for stream in self.streams]
        try:
            if self._failure is not None:
                raise self._failure
            streams = dict.fromkeys(sent.stream for sent in taken)
            sends = [[sent for sent in taken if sent.stream == stream] for stream in streams]
            flushes = [self._gather(stream, part) for stream, part in zip(streams, sends, strict=True)]
            with self._turn():
                return self._write(flushes, sends, self._mark._replace(sequence=taken[-1].sequence))
        except Exception as caught:  # whatever it is, it belongs to who sent the rows
            if versions != [self._folder.topic(stream).version for stream in self.streams]:
                return self._append(taken)  # the schema changed in the middle
            if len(taken) > 1 and not isinstance(caught, OperationalError):
                # One of them does not fit: the others need not suffer.
                return [written for sent in taken for written in self._append([sent])]
            self._fail(taken, caught)
            return []

    def _write(self, flushes: Sequence[Flush], sends: Sequence[Sequence[Sent]], mark: Mark) -> list[Written]:
        topics = [self._folder.topic(flush.stream) for flush in flushes]
        if self.name is None or (len(topics) == 1 and len(topics[0].partitions) == 1):
            return [
                Written(topic, flush, topic.write(flush.batch, partition=flush.numbers, mark=mark), part)
                for topic, flush, part in zip(topics, flushes, sends, strict=True)
            ]
        appends = [(topic, flush.batch, flush.numbers) for topic, flush in zip(topics, flushes, strict=True)]
        placed = self._folder.append_atomic(appends, mark)
        return [
            Written(topic, flush, [place for other, place in placed if other is topic], part)
            for topic, flush, part in zip(topics, flushes, sends, strict=True)
        ]

    def _commit(self, written: Sequence[Written]) -> list[Written]:
        """The deliveries are told, once the rows are as durable as was asked; none is left to wait for."""
        for topic, flush, placed, sends in written:
            try:
                if self._durability == "none":
                    topic.commit_soon(placed)
                else:
                    topic.commit(placed)
                self._noted(flush.stream, placed)
                flush.place(placed)
            except Exception as caught:
                self._fail(sends, caught)
        return []

    def _gather(self, stream: str, sends: Sequence[Sent]) -> Flush:
        """The rows of all these sends in one batch, and the partition of each if that is not for the topic to say."""
        topic = self._folder.topic(stream)
        batches, counts = [], []
        for group in alike(sends):
            one = len(group) == 1
            table = as_table(group[0].rows if one else [sent.rows for sent in group], topic.schema)
            counts += [table.num_rows] if one else [1] * len(group)
            headers = [sent.headers for sent in group]
            batches.append(self._prepare(stream, with_headers(table, headers, topic)))
        batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
        chosen = [sent.partition for sent in sends]
        explicit = None
        if any(partition is not None for partition in chosen):
            explicit = np.repeat([-1 if partition is None else partition for partition in chosen], counts)
        flush = Flush(stream, batch, self._numbers(topic, batch, explicit))
        for sent, count, end in zip(sends, counts, np.cumsum(counts).tolist(), strict=True):
            sent.delivery.settle(flush, end - count, end)
        return flush

    def _numbers(
        self, topic: Topic, batch: pa.RecordBatch, explicit: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.uint16] | None:
        """The partition of each row; None where it is the same for all of them."""
        count = len(topic.partitions)
        if count == 1:
            return None
        if self._partitioner is None:
            numbers = topic.partitions_of(batch)
        else:
            numbers = partitions_by(self._partitioner, batch, count)
        return numbers if explicit is None else np.where(explicit >= 0, explicit, numbers).astype(np.uint16)

    def _fail(self, taken: Sequence[Sent], caught: Exception) -> None:
        detail = f"{type(caught).__name__}: {caught}."
        error = caught if isinstance(caught, Error) else OperationalError("could not append", detail=detail)
        flush = Flush.failed(error)
        with self._changed:
            if self._failed is None or self._failed.told:
                self._failed = flush
            if self.name is not None and isinstance(error, OperationalError) and self._failure is None:
                self._failure = error
        for sent in taken:
            sent.delivery.settle(flush, 0, 0)
