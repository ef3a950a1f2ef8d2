"""A topic: a named log of rows with one schema at a time, cut into partitions by key."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .discarded import Discarded
from .document import load_document, save_document
from .errors import DataError, Error, NotSupportedError, ProgrammingError
from .files import make_folder
from .flusher import Flusher
from .frame import NO_MARK, NO_TIME, Mark, Times
from .limits import FRAME_BYTES_MAX, PARTITIONS_MAX, SEGMENT_BYTES_MAX
from .partition import Durability, Frames, Partition
from .partitioning import partition_numbers, split
from .readable import ReadableTopic, TopicOptions
from .schema import Change, RenameColumn, SegmentSchema, changed, check_column, project
from .segment_cache import SegmentCache
from .transactions import Transactions

__all__ = ["Appended", "Durability", "Partition", "Surroundings", "Topic", "TopicOptions"]

Placing = int | npt.NDArray[np.uint16] | None  # the partition of all rows, of each row, or as the key says
_FILE = "topic.json"
_FRAME_MARGIN_BYTES = 1 << 20  # what metadata and padding may add to the bytes of the columns


@dataclass(frozen=True)
class Surroundings:
    """What the topics of a folder share. `durability` overrides theirs where it is not None."""

    durability: Durability | None
    temporary: bool
    flusher: Flusher
    transactions: Transactions
    cache: SegmentCache
    discarded: Discarded
    tend: Callable[[], None]  # there may be something to do for maintenance

    @property
    def durable(self) -> bool:
        """Whether anything is ever synced: a topic of durability 'none' syncs its files, but for its last rows."""
        return self.durability != "none"


@dataclass(frozen=True)
class Appended:
    """Rows that were appended: they have the offsets [start, end) of `partition`."""

    partition: int
    start: int
    end: int


class Topic(ReadableTopic):
    """Any thread may append; `partitions` are read one by one."""

    def __init__(
        self,
        folder: Path,
        name: str,
        schemas: Sequence[SegmentSchema],
        key: tuple[str, ...],
        partitions: int,
        options: TopicOptions,
        *,
        created: int | None,
        surroundings: Surroundings,
    ) -> None:
        super().__init__(folder, name, schemas, key, options, surroundings.transactions.visibility)
        present = self._schemas[-1]
        event_time = options.event_time
        self._event_field = None if event_time is None else present.fields[present.schema.names.index(event_time)]
        self._around = surroundings
        self.created = created
        self._batches = itertools.count()  # batches without a key or a partition, which go round
        self._changing = threading.Lock()
        durability = self.durability
        self.partitions: tuple[Partition, ...] = tuple(
            Partition(
                folder / f"p-{number:04d}",
                self._schemas,
                durability=durability,
                segment_bytes=options.segment_bytes,
                compression=options.compression,
                durable_folder=surroundings.durable,
                published=not surroundings.temporary,
                committed=surroundings.transactions.committed,
                grown=self.notify,
                sealed=surroundings.tend,
                cache=surroundings.cache,
                discard=surroundings.discarded.add,
            )
            for number in range(partitions)
        )

    @classmethod
    def create(
        cls,
        folder: Path,
        name: str,
        schema: pa.Schema,
        *,
        partitions: int,
        key: Sequence[str],
        options: TopicOptions,
        surroundings: Surroundings,
    ) -> Topic:
        """A new topic on disk, all of it or nothing."""
        _check(name, schema, key, partitions, options)
        _check_tier(name, options, surroundings)
        assert set(key) <= set(schema.names), "a key of columns that do not exist"
        topic = cls(
            folder,
            name,
            [SegmentSchema.first(schema)],
            tuple(key),
            partitions,
            options,
            created=time.time_ns() // 1000,
            surroundings=surroundings,
        )
        make_folder(folder, durable=surroundings.durable)
        topic._save(topic._schemas, topic.key, options)
        return topic

    @classmethod
    def load(cls, folder: Path, *, surroundings: Surroundings) -> Topic:
        """The topic as `create` left it, with all rows that were acknowledged since."""
        content = load_document(folder / _FILE)
        return cls(
            folder,
            content["name"],
            [SegmentSchema.from_json(entry) for entry in content["schemas"]],
            tuple(content["key"]),
            content["partitions"],
            TopicOptions(**content["options"]),
            created=content.get("created"),
            surroundings=surroundings,
        )

    @property
    def durability(self) -> Durability:
        """The policy in force: the topic's own, or what the whole folder was opened with."""
        return self.options.durability if self._around.durability is None else self._around.durability

    def append(
        self, batch: pa.RecordBatch, *, partition: Placing = None, wait: bool = True, mark: Mark = NO_MARK
    ) -> tuple[Appended, ...]:
        """Where the rows are now: in the partitions of their keys, or else batch by batch in each partition in turn.

        `partition` is one for all rows, or an array with one for each.
        Shape: one entry per partition; a batch over the limit for frames is cut into several.
        Holds: with `wait`, the rows are durable as the topic's policy says; without, `sync` waits for them.
        """
        appended = self.write(batch, partition=partition, mark=mark)
        if wait:
            self.commit(appended)
        else:
            self.commit_soon(appended)
        return appended

    def write(self, batch: pa.RecordBatch, *, partition: Placing = None, mark: Mark = NO_MARK) -> tuple[Appended, ...]:
        """As `append`, but nobody sees to it that the rows become durable: `commit` has to be called."""
        schema = self._schemas[-1]
        appended = []
        for number, pieces in self.place(batch, partition, schema):
            start, end = self.partitions[number].append(pieces, schema, mark)
            appended.append(Appended(number, start, end))
        return tuple(appended)

    def commit(self, appended: Iterable[Appended]) -> None:
        """Returns when the rows at these places are durable, as the topic's policy says."""
        if self.durability == "group":
            for place in appended:
                self.partitions[place.partition].commit(place.end)

    def commit_soon(self, appended: Iterable[Appended]) -> None:
        """The rows at these places will be durable soon, and nobody waits for it."""
        if self.durability == "group":
            for place in appended:
                self._around.flusher.request(self.partitions[place.partition])

    def place(self, batch: pa.RecordBatch, partition: Placing, schema: SegmentSchema) -> Iterator[tuple[int, Frames]]:
        """For each partition that gets rows of `batch`, these as frames, each with its times."""
        if batch.num_rows:
            batch, now = _conform(batch, schema, self._schemas), time.time_ns() // 1000
            if self.options.append_time is not None:
                batch = _stamped(batch, self.options.append_time, now)
            for number, rows in self._placed(batch, partition):
                yield number, [(piece, self._times_of(piece, schema, now)) for piece in _cut(rows)]

    def partitions_of(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint16]:
        """The partition of each row, by its key; without a key, one for all of them."""
        count = len(self.partitions)
        if not self.key:
            return np.full(batch.num_rows, next(self._batches) % count, np.uint16)
        return partition_numbers([batch.column(name) for name in self.key], count)

    def evolve(self, change: Change) -> None:
        """The schema is another from now on; rows that are there are read by it. On disk, all of it or nothing.

        Raises: ProgrammingError, NotSupportedError if rows that are there could not be read then.
        """
        with self._changing:
            event_time = self.options.event_time
            kept = [
                *self.key,
                *(n for n in (event_time, self.options.headers, self.options.append_time) if n is not None),
            ]
            new = changed(self._schemas, change, kept=kept, keys=self.key)
            key, options = self.key, self.options
            if isinstance(change, RenameColumn):
                key = tuple(change.new if name == change.old else name for name in key)
                renamed = {
                    n: change.new for n in ("event_time", "headers", "append_time") if getattr(options, n) == change.old
                }
                options = replace(options, **renamed)  # type: ignore[arg-type]
            self._save([*self._schemas, new], key, options)
            self._schemas.append(new)
            self.key, self.options = key, options

    def set_options(self, options: TopicOptions) -> None:
        """How the topic is kept from now on; on disk, and then in force."""
        with self._changing:
            _check(self.name, self.schema, self.key, len(self.partitions), options)
            _check_tier(self.name, options, self._around)
            self._save(self._schemas, self.key, options)
            self.options = options
            for partition in self.partitions:
                partition.configure(
                    durability=self.durability,
                    segment_bytes=options.segment_bytes,
                    compression=options.compression,
                )
        self._around.tend()

    def delete_before(self, partition: int, offset: int) -> None:
        """The partition begins at `offset` from now on; for good, when this returns."""
        self.partitions[partition].delete_before(offset)

    def sync(self) -> None:
        """Returns when all rows appended so far are durable, as the topic's policy says."""
        for partition in self.partitions:
            partition.commit()

    def close(self, *, keep: bool = True) -> None:
        """All partitions are closed, also when one of them could not sync, which is raised in the end.

        With `keep` false nothing is synced, as the folder is about to be removed.
        """
        errors = []
        for partition in self.partitions:
            try:
                partition.close(keep=keep)
            except Error as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _save(self, schemas: Sequence[SegmentSchema], key: tuple[str, ...], options: TopicOptions) -> None:
        content = {
            "name": self.name,
            "created": self.created,
            "schemas": [schema.to_json() for schema in schemas],
            "key": list(key),
            "partitions": len(self.partitions),
            "options": asdict(options),
        }
        save_document(self.folder / _FILE, content, durable=self._around.durable)

    def _placed(self, batch: pa.RecordBatch, partition: Placing) -> Sequence[tuple[int, pa.RecordBatch]]:
        count = len(self.partitions)
        if isinstance(partition, int):
            return [(partition, batch)]
        if count == 1:
            return [(0, batch)]
        return split(batch, self.partitions_of(batch) if partition is None else partition, count)

    def _times_of(self, batch: pa.RecordBatch, schema: SegmentSchema, append_time: int) -> Times:
        if self._event_field is None:
            return Times(append_time)
        minimum, maximum = _bounds(batch.column(schema.fields.index(self._event_field)))
        return Times(append_time, minimum, maximum)


def _conform(batch: pa.RecordBatch, schema: SegmentSchema, versions: Sequence[SegmentSchema]) -> pa.RecordBatch:
    """The rows as `schema` has them, also those that were made for a version before it."""
    if batch.schema.equals(schema.schema, check_metadata=False):
        return batch
    if batch.schema.names == schema.schema.names and batch.schema.types == schema.schema.types:
        return pa.RecordBatch.from_arrays(batch.columns, schema=schema.schema)
    given = dict(zip(batch.schema.names, batch.schema.types, strict=True))
    for version in reversed(versions[: schema.id + 1]):  # in any order: a column that came late is the last here
        if given == dict(zip(version.schema.names, version.schema.types, strict=True)):
            return project(batch.select(version.schema.names), version, schema)
    assert batch.schema.names == schema.schema.names, "a batch with other columns than its topic"
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema.schema)


def _stamped(batch: pa.RecordBatch, name: str, now: int) -> pa.RecordBatch:
    """The rows with the time in their column `name`, whatever was there."""
    place = batch.schema.get_field_index(name)
    field = batch.schema.field(place)
    times = pa.repeat(pa.scalar(now, pa.timestamp("us")), batch.num_rows).cast(field.type)
    return batch.set_column(place, field, times)


def _check(name: str, schema: pa.Schema, key: Sequence[str], partitions: int, options: TopicOptions) -> None:
    if not 1 <= partitions <= PARTITIONS_MAX:
        raise ProgrammingError(
            f'cannot make "{name}" with {partitions} partitions',
            hint=f"Give a number from 1 to {PARTITIONS_MAX}.",
        )
    if not 1 <= options.segment_bytes <= SEGMENT_BYTES_MAX:
        raise ProgrammingError(
            f'cannot make "{name}" with segments of {options.segment_bytes} bytes',
            hint=f"Give a number from 1 to {SEGMENT_BYTES_MAX}.",
        )
    if "compact" in options.cleanup and not key:
        raise ProgrammingError(
            f'cannot compact "{name}": it has no key',
            detail="Compaction keeps the last row of each key.",
            hint="Declare the stream with PARTITIONED BY.",
        )
    nested = [column for column in key if pa.types.is_nested(schema.field(column).type)]
    if "compact" in options.cleanup and nested:
        raise NotSupportedError(
            f'cannot compact "{name}" by column "{nested[0]}" of type {schema.field(nested[0]).type}',
            detail="Compaction compares whole keys, and lists, structs and maps cannot be compared.",
        )
    assert len(schema) > 0, "a topic without columns"
    for field in schema:
        check_column(field)
    if options.event_time is not None:
        assert pa.types.is_timestamp(schema.field(options.event_time).type), "an event time that is no timestamp"


def _check_tier(name: str, options: TopicOptions, surroundings: Surroundings) -> None:
    if options.tier is None:
        return
    surroundings.cache.remote.check(options.tier)
    if surroundings.temporary:
        raise ProgrammingError(
            f'cannot move rows of "{name}" elsewhere: the database is in memory',
            detail="It is gone when it is closed, and nobody would remove what was moved.",
            hint="Connect to a folder.",
        )


def _bounds(times: pa.Array) -> tuple[int, int]:
    """The least and greatest of the timestamps in microseconds, rounded down; NO_TIME for both if all are NULL."""
    if times.null_count:
        times = pc.drop_null(times)
    if len(times) == 0:
        return NO_TIME, NO_TIME
    values = np.frombuffer(times.buffers()[1], np.int64, count=len(times), offset=8 * times.offset)
    few = values.tolist() if len(values) <= 64 else None  # Python is quicker over so few than NumPy gets going
    minimum, maximum = (int(values.min()), int(values.max())) if few is None else (min(few), max(few))
    match times.type.unit:
        case "us":
            return minimum, maximum
        case "ns":
            return minimum // 1000, maximum // 1000
        case "ms":
            return minimum * 1000, maximum * 1000
        case _:
            return minimum * 1_000_000, maximum * 1_000_000


def _cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in pieces that each fit into a frame."""
    room = FRAME_BYTES_MAX - _FRAME_MARGIN_BYTES
    if batch.get_total_buffer_size() <= room or batch.nbytes <= room:  # the first is 40 times quicker, and no less
        yield batch
        return
    if batch.num_rows == 1:
        raise DataError(
            f"cannot append a row of {batch.nbytes} bytes",
            detail=f"A row is part of one frame, which has at most {FRAME_BYTES_MAX} bytes.",
        )
    half = batch.num_rows // 2
    yield from _cut(batch.slice(0, half))
    yield from _cut(batch.slice(half))
