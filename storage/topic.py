"""A topic: a named log of rows with one schema, cut into partitions by key."""

from __future__ import annotations

import base64
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .document import load_document, save_document
from .errors import DataError, Error, NotSupportedError, ProgrammingError
from .files import make_folder
from .flusher import Flusher
from .frame import NO_TIME, Times
from .limits import FRAME_BYTES_MAX, PARTITIONS_MAX, SEGMENT_BYTES, SEGMENT_BYTES_MAX
from .partition import Durability, Partition
from .partitioning import partition_numbers, split
from .segment import SegmentSchema

__all__ = ["Appended", "Durability", "Partition", "Topic", "TopicOptions"]

_FILE = "topic.json"
_FRAME_MARGIN_BYTES = 1 << 20  # what metadata and padding may add to the bytes of the columns


@dataclass(frozen=True)
class TopicOptions:
    """How a topic is kept. `event_time` names the timestamp column whose bounds each frame records."""

    durability: Durability = "group"
    event_time: str | None = None
    segment_bytes: int = SEGMENT_BYTES


@dataclass(frozen=True)
class Appended:
    """Rows that were appended: they have the offsets [start, end) of `partition`."""

    partition: int
    start: int
    end: int


class Topic:
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
        durability: Durability | None,
        flusher: Flusher,
    ) -> None:
        self.name = name
        self.schema: pa.Schema = schemas[-1].schema
        self.key = key
        self.options = options
        self.durability: Durability = options.durability if durability is None else durability
        self._flusher = flusher
        self._batches = itertools.count()  # batches without a key or a partition, which go round
        self._listening = threading.Lock()
        self._listeners: tuple[Callable[[], None], ...] = ()
        self._event_time_index = -1 if options.event_time is None else self.schema.get_field_index(options.event_time)
        self.partitions = tuple(
            Partition(
                folder / f"p-{number:04d}",
                schemas,
                durability=self.durability,
                segment_bytes=options.segment_bytes,
                durable_folder=durability != "none",
                grown=self._notify,
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
        durability: Durability | None,
        flusher: Flusher,
    ) -> Topic:
        """A new topic on disk, all of it or nothing. `durability` overrides the topic's own where it is not None."""
        _check(name, schema, partitions, options)
        assert set(key) <= set(schema.names), "a key of columns that do not exist"
        message = schema.serialize().to_pybytes()
        content = {
            "name": name,
            "schemas": [{"id": 0, "message": base64.b64encode(message).decode()}],
            "key": list(key),
            "partitions": partitions,
            "options": asdict(options),
        }
        make_folder(folder, durable=durability != "none")
        save_document(folder / _FILE, content, durable=durability != "none")
        schemas = (SegmentSchema(0, schema, message),)
        return cls(folder, name, schemas, tuple(key), partitions, options, durability=durability, flusher=flusher)

    @classmethod
    def load(cls, folder: Path, *, durability: Durability | None, flusher: Flusher) -> Topic:
        """The topic as `create` left it, with all rows that were acknowledged since."""
        content = load_document(folder / _FILE)
        schemas = [_schema_of(entry["id"], base64.b64decode(entry["message"])) for entry in content["schemas"]]
        return cls(
            folder,
            content["name"],
            schemas,
            tuple(content["key"]),
            content["partitions"],
            TopicOptions(**content["options"]),
            durability=durability,
            flusher=flusher,
        )

    def append(self, batch: pa.RecordBatch, *, partition: int | None = None, wait: bool = True) -> tuple[Appended, ...]:
        """Where the rows are now: in the partitions of their keys, or else batch by batch in each partition in turn.

        Shape: one entry per frame; a batch over the limit for frames is cut.
        Holds: with `wait`, the rows are durable as the topic's policy says; without, `sync` waits for them.
        """
        if batch.num_rows == 0:
            return ()
        batch = self._conform(batch)
        appended = []
        for number, rows in self._placed(batch, partition):
            for piece in _cut(rows):
                start, end = self.partitions[number].append(piece, self._times_of(piece))
                appended.append(Appended(number, start, end))
        if self.durability == "group":
            for place in appended:
                if wait:
                    self.partitions[place.partition].commit(place.end)
                else:
                    self._flusher.request(self.partitions[place.partition])
        return tuple(appended)

    def sync(self) -> None:
        """Returns when all rows appended so far are durable, as the topic's policy says."""
        for partition in self.partitions:
            partition.commit()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener`, from any thread, after more rows became readable; the answer ends that.

        The listener returns at once, raises nothing and appends nothing.
        """
        with self._listening:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._listening:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return end

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

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()

    def _conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if batch.schema.equals(self.schema, check_metadata=False):
            return batch
        assert batch.schema.names == self.schema.names, "a batch with other columns than its topic"
        return pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

    def _placed(self, batch: pa.RecordBatch, partition: int | None) -> Sequence[tuple[int, pa.RecordBatch]]:
        count = len(self.partitions)
        if partition is not None or count == 1:
            return [(partition or 0, batch)]
        if not self.key:
            return [(next(self._batches) % count, batch)]
        return split(batch, partition_numbers([batch.column(name) for name in self.key], count), count)

    def _times_of(self, batch: pa.RecordBatch) -> Times:
        append_time = time.time_ns() // 1000
        if self._event_time_index < 0:
            return Times(append_time)
        minimum, maximum = _bounds(batch.column(self._event_time_index))
        return Times(append_time, minimum, maximum)


def _check(name: str, schema: pa.Schema, partitions: int, options: TopicOptions) -> None:
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
    assert len(schema) > 0, "a topic without columns"
    for field in schema:
        if not _is_plain(field.type):
            raise NotSupportedError(
                f'cannot store column "{field.name}" of type {field.type}',
                detail="Dictionaries, views and run ends cannot be appended to an Arrow file.",
                hint="Store the plain values, such as VARCHAR instead of ENUM.",
            )
    if options.event_time is not None:
        assert pa.types.is_timestamp(schema.field(options.event_time).type), "an event time that is no timestamp"


def _is_plain(kind: pa.DataType) -> bool:
    encoded = (
        pa.types.is_dictionary(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_run_end_encoded(kind)
    )
    return not encoded and all(_is_plain(kind.field(number).type) for number in range(kind.num_fields))


def _schema_of(number: int, message: bytes) -> SegmentSchema:
    return SegmentSchema(number, pa.ipc.read_schema(pa.py_buffer(message)), message)


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
