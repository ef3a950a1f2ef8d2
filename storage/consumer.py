"""A consumer: rows of some topics in batches, from where it or its group was."""

from __future__ import annotations

import asyncio
import datetime
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral
from typing import Any

import pyarrow as pa

from .assignment import TopicPartition
from .consumer_group import Membership
from .errors import InterfaceError, OffsetOutOfRangeError, OperationalError, ProgrammingError
from .limits import CONSUMER_COMMIT_S, CONSUMER_LOOK_S, CONSUMER_ROWS, CONSUMER_TAKE_S
from .readable import ReadableFolder
from .records import Position, Record, Records, Reset, Wanted, check_options
from .schema import OFFSET_COLUMN

__all__ = ["Consumer", "Position", "Rebalanced", "Record", "Records", "Reset", "Wanted"]

Rebalanced = Callable[[frozenset[TopicPartition], frozenset[TopicPartition]], None]  # told what was gained and lost
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


class Consumer:
    """Reads topics of a folder, alone or as one of a group that shares their partitions.

    Rows count as done when the next ones are asked for. With a group, and `auto_commit`, that is committed once a
    second, and when the consumer is closed or gives a partition to another: each row is delivered at least once, to
    one of the group. Methods may be called from any thread; rows are for one thread at a time.
    """

    def __init__(
        self,
        folder: ReadableFolder,
        topics: Mapping[str, Wanted],
        *,
        group: str | None = None,
        reset: Reset = "earliest",
        auto_commit: bool = True,
        max_rows: int = CONSUMER_ROWS,
        on_rebalance: Rebalanced | None = None,
        durable: bool = True,
    ) -> None:
        check_options(group, reset, max_rows)
        self.group = group
        self._folder = folder
        self._topics = {name: folder.topic(name) for name in topics}
        self._wanted = dict(topics)
        self._schemas = {name: topic.schema for name, topic in self._topics.items()}
        self._reset = reset
        self._auto_commit = auto_commit and group is not None
        self._max_rows = max_rows
        self._on_rebalance = on_rebalance
        self._turn = threading.RLock()
        self._grown = threading.Event()
        self._positions: dict[TopicPartition, int] = {}
        self._returned: dict[TopicPartition, int] = {}  # by the last poll
        self._done: dict[TopicPartition, int] = {}  # by those before, and not committed yet
        self._order: list[TopicPartition] = []  # whose rows come next
        self._pending: frozenset[TopicPartition] = frozenset()  # whose last owner has not let go
        self._looked = float("-inf")
        self._committed_at = time.monotonic()
        self._closed = False
        self._member = None if group is None else Membership(folder.path, group, tuple(topics), durable=durable)
        self._ends = [topic.listen(self._grown.set) for topic in self._topics.values()]
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions it reads now; without a group all of its topics."""
        return frozenset(self._positions)

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """For each of its partitions the offset that it reads next."""
        return dict(self._positions)

    @property
    def lag(self) -> dict[TopicPartition, int]:
        """For each of its partitions how many offsets there are from its position on."""
        return {place: max(0, self._log(place).end_offset - at) for place, at in self.positions.items()}

    def committed(self) -> dict[TopicPartition, int]:
        """For each of its partitions what the group has committed, if anything."""
        if self._member is None:
            return {}
        found = {place: self._group_offset(place) for place in self.assignment}
        return {place: offset for place, offset in found.items() if offset is not None}

    def poll(self, timeout_s: float | None = None, *, max_rows: int | None = None) -> Records | None:
        """The next rows of one partition, partitions in turn; None if none come within `timeout_s` (None: for ever).

        Going through rows that a condition leaves out does not count as waiting.
        Raises: InterfaceError once it is closed; OffsetOutOfRangeError with `reset` 'error' if its rows were deleted;
        OperationalError if the stream is gone, or altered in what `columns` or the condition name.
        """
        return self._poll(timeout_s, max_rows, {})

    def _poll(
        self, timeout_s: float | None, max_rows: int | None, outcome: dict[str, Records | None]
    ) -> Records | None:
        """As `poll`; but if `outcome` says already that nobody waits for the rows, they are as if never read."""
        if max_rows is not None:
            check_options(self.group, self._reset, max_rows)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._turn:
            self._check()
            self._done.update(self._returned)
            self._returned.clear()
        while True:
            self._grown.clear()
            with self._turn:
                self._check()
                self._look()
                if self._auto_commit and time.monotonic() - self._committed_at > CONSUMER_COMMIT_S:
                    self._commit_done()
                records = self._next(self._max_rows if max_rows is None else max_rows)
                if records is not None and outcome.setdefault("rows", records) is not records:
                    self._put_back(records)
                    return None
            if records is not None:
                return records
            rest = CONSUMER_TAKE_S if self._pending else CONSUMER_LOOK_S
            if deadline is not None:
                rest = min(rest, deadline - time.monotonic())
                if rest <= 0:
                    return None
            self._grown.wait(rest)

    def seek(self, to: Position, *, topic: str | None = None, partition: int | None = None) -> None:
        """Goes on at an offset, 'earliest', 'latest', or what was appended at a time (UTC by itself) or after it.

        Without `topic` and `partition`, in all of its partitions. Nothing is committed by this.
        """
        if isinstance(to, bool) or not (to in ("earliest", "latest") or isinstance(to, Integral | datetime.datetime)):
            raise ProgrammingError(f'cannot seek to "{to}"', hint="Say an offset, a datetime, 'earliest' or 'latest'.")
        with self._turn:
            self._check()
            self._look()
            places = [
                place
                for place in self._positions
                if (topic is None or place.topic.lower() == topic.lower()) and partition in (None, place.partition)
            ]
            if not places:
                raise ProgrammingError("cannot seek: this consumer does not read such a partition now")
            for place in places:
                log = self._log(place)
                if isinstance(to, Integral) and not log.start_offset <= to <= log.end_offset:
                    raise ProgrammingError(
                        f'cannot seek to offset {to} in partition {place.partition} of "{place.topic}"',
                        detail=f"It has the offsets from {log.start_offset} to {log.end_offset}.",
                    )
            for place in places:
                self._positions[place] = self._offset(place, to)
                self._returned.pop(place, None)

    def commit(self, records: Records | None = None) -> None:
        """All rows that `poll` has returned are done, or those of a partition up to the end of `records`; durably.

        Raises: OperationalError if a partition is another consumer's now: its rows are delivered to that one.
        """
        with self._turn:
            self._check()
            if self._member is None:
                raise ProgrammingError(
                    "cannot commit without a group",
                    detail="Offsets are kept for a group of consumers.",
                    hint='Say con.consumer(..., group="mailer").',
                )
            if records is None:
                self._done.update(self._returned)
                self._returned.clear()
            else:
                place = TopicPartition(records.topic, records.partition)
                self._member.check(place)
                self._done[place] = records.end_offset
                if self._returned.get(place, 0) <= records.end_offset:
                    self._returned.pop(place, None)
            self._commit_done()

    def close(self, *, done: bool = True) -> None:
        """Gives its partitions to the others of the group at once. Closing twice is harmless.

        Committed are with `done` all rows that were returned; without, those of the last poll are delivered again.
        """
        self._grown.set()
        with self._turn:
            if self._closed:
                return
            self._closed = True
            for end in self._ends:
                end()
            if self._member is None:
                return
            try:
                if self._auto_commit:
                    self._done.update(self._returned if done else {})
                    self._commit_done()
            finally:
                self._member.leave()

    def __iter__(self) -> Iterator[Records]:
        """Batch after batch, waiting for more; it ends when the consumer is closed."""
        while not self._closed:
            try:
                records = self.poll()
            except InterfaceError:
                if self._closed:
                    return
                raise
            assert records is not None
            yield records

    def rows(self) -> Iterator[Record]:
        """Row after row, as by iterating over each batch."""
        for records in self:
            yield from records

    def __aiter__(self) -> Consumer:
        return self

    async def __anext__(self) -> Records:
        """The next batch, while other tasks run. If this is cancelled, the rows come another time."""
        while not self._closed:
            outcome: dict[str, Records | None] = {}
            try:
                records = await asyncio.to_thread(self._poll_open, outcome)
            except asyncio.CancelledError:
                unread = outcome.setdefault("rows", None)  # the thread goes on for a moment
                if unread is not None:
                    with self._turn:
                        self._put_back(unread)
                raise
            if records is not None:
                return records
        raise StopAsyncIteration

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(done=kind is None)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _poll_open(self, outcome: dict[str, Records | None]) -> Records | None:
        try:
            return self._poll(CONSUMER_LOOK_S, None, outcome)
        except InterfaceError:
            if self._closed:
                return None
            raise

    def _put_back(self, records: Records) -> None:
        """The rows were returned to nobody, and come again."""
        place = TopicPartition(records.topic, records.partition)
        if self._positions.get(place) == records.end_offset:
            self._positions[place] = int(records.offsets[0])
            self._returned.pop(place, None)
            self._grown.set()

    def _check(self) -> None:
        if self._closed:
            raise InterfaceError("the consumer is closed")

    def _log(self, place: TopicPartition) -> Any:
        return self._topics[place.topic].partitions[place.partition]

    def _look(self) -> None:
        """Takes partitions that have become this consumer's, and gives up those that are another's now."""
        now = time.monotonic()
        if now - self._looked < (CONSUMER_TAKE_S if self._pending else CONSUMER_LOOK_S):
            return
        self._looked = now
        for name, topic in self._topics.items():
            if self._folder.topics.get(name) is not topic:
                raise OperationalError(f'could not read "{name}": it was dropped', hint="Make a new consumer.")
        if self._member is None:
            due = frozenset(
                TopicPartition(name, number)
                for name, topic in self._topics.items()
                for number in range(len(topic.partitions))
            )
        else:
            counts = {name: len(topic.partitions) for name, topic in self._folder.topics.items()}
            due = self._member.assigned(counts)
        lost = frozenset(self._positions) - due
        if lost and self._auto_commit:
            self._commit_done()
        for place in lost:
            del self._positions[place]
            self._done.pop(place, None)
            self._returned.pop(place, None)
            if self._member is not None:
                self._member.give_up(place)
        gained = set()
        for place in sorted(due - frozenset(self._positions)):
            if self._member is None or self._member.take(place):
                self._positions[place] = self._first(place)
                gained.add(place)
        self._pending = due - frozenset(self._positions)
        if lost or gained:
            self._order = sorted(self._positions)
            if self._on_rebalance is not None:
                self._on_rebalance(frozenset(gained), lost)

    def _first(self, place: TopicPartition) -> int:
        """Where reading a partition begins."""
        offset = None if self._member is None else self._group_offset(place)
        if offset is None or offset > self._log(place).end_offset:
            return self._offset(place, "latest" if self._reset == "latest" else "earliest")
        return offset

    def _group_offset(self, place: TopicPartition) -> int | None:
        assert self._member is not None
        last = self._member.committed(place)
        return None if last is None or last.created != self._created(place) else last.offset

    def _created(self, place: TopicPartition) -> int:
        return self._topics[place.topic].created or 0

    def _offset(self, place: TopicPartition, to: Position) -> int:
        log = self._log(place)
        if isinstance(to, datetime.datetime):
            aware = to if to.tzinfo is not None else to.replace(tzinfo=datetime.UTC)
            return int(log.offset_at((aware - _EPOCH) // _MICROSECOND))
        return int({"earliest": log.start_offset, "latest": log.end_offset}[to] if isinstance(to, str) else to)

    def _next(self, max_rows: int) -> Records | None:
        """The next rows that there are, of the partition whose turn it is; None if there are none now."""
        waiting = len(self._order)
        while waiting:
            place = self._order[0]
            log, start = self._log(place), self._positions[place]
            if start < log.start_offset and log.start_offset <= log.end_offset:
                start = self._positions[place] = self._missed(place, start)
            end = min(log.end_offset, start + max_rows)
            if start >= end:
                self._order.append(self._order.pop(0))
                waiting -= 1
                continue
            records = self._read(place, start, end)
            if records is None:  # deleted in this moment
                continue
            self._positions[place] = self._returned[place] = end
            self._order.append(self._order.pop(0))
            waiting = len(self._order)
            if len(records):
                return records
        return None

    def _missed(self, place: TopicPartition, offset: int) -> int:
        """Where to go on after rows that were deleted before they were read."""
        if self._reset == "error":
            raise OffsetOutOfRangeError(offset, self._log(place).start_offset)
        return self._offset(place, self._reset)

    def _read(self, place: TopicPartition, start: int, end: int) -> Records | None:
        topic, wanted = self._topics[place.topic], self._wanted[place.topic]
        if topic.schema is not self._schemas[place.topic]:
            wanted.check(place.topic, self._schemas[place.topic], topic.schema)
        names = list(topic.schema.names if wanted.columns is None else wanted.columns)
        try:
            batches = self._log(place).read(start, end, [*names, OFFSET_COLUMN])
        except OffsetOutOfRangeError:
            return None
        schema = pa.schema([*(topic.schema.field(name) for name in names), pa.field(OFFSET_COLUMN, pa.int64())])
        rows = batches[0] if len(batches) == 1 else pa.Table.from_batches(batches, schema).combine_chunks()
        if isinstance(rows, pa.Table):
            arrays = [column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in rows.columns]
            rows = pa.RecordBatch.from_arrays(arrays, schema=schema)
        offsets = rows.column(len(names)).to_numpy(zero_copy_only=False)
        batch = rows.select(names)
        if wanted.choose is not None and batch.num_rows:
            batch, offsets = wanted.choose(batch, offsets)
        return Records(place.topic, place.partition, batch, offsets, end)

    def _commit_done(self) -> None:
        assert self._member is not None
        self._committed_at = time.monotonic()
        for place, offset in list(self._done.items()):
            self._member.commit(place, offset, self._created(place))
            del self._done[place]
