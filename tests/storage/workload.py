"""One program that uses all of the log: its chapters, each between opening the folder and closing it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from headrace.storage.catalog import CatalogEntry
from headrace.storage.consumer import Consumer, Wanted
from headrace.storage.errors import OperationalError
from headrace.storage.folder import Folder
from headrace.storage.producer import Producer
from headrace.storage.remote_files import RemoteFiles
from headrace.storage.schema import AddColumn
from headrace.storage.topic import TopicOptions

from .ledger import SCHEMA, Ledger, rows

DAY_MS = 86_400_000
TOPICS = {
    "each": TopicOptions(durability="each", segment_bytes=2000),
    "log": TopicOptions(segment_bytes=4000),
    "left": TopicOptions(segment_bytes=2500),
    "right": TopicOptions(segment_bytes=2500),
    "prices": TopicOptions(cleanup="compact", segment_bytes=2000),
    "clicks": TopicOptions(retention_ms=DAY_MS, segment_bytes=2000),
    "lazy": TopicOptions(durability="none", segment_bytes=2500),
    "cold": TopicOptions(segment_bytes=1500, tier="cold:///"),
}
PARTITIONS = {"left": 2}
EXTRA = pa.field("extra", pa.int64())
Chapter = Callable[[Folder, Ledger], None]


def open_folder(root: Path) -> Folder:
    """The database in `root`, beside which is the place where the segments of `cold` go."""
    elsewhere = root / "elsewhere"
    elsewhere.mkdir(parents=True, exist_ok=True)
    place = fs.SubTreeFileSystem(str(elsewhere), fs.LocalFileSystem())
    return Folder.open(root / "db", remote=RemoteFiles({"cold": place}))


def create(folder: Folder, ledger: Ledger, names: Iterator[str] | list[str]) -> None:
    for name in names:
        key = ["key"] if name in ("left", "prices") else []
        with ledger.trying("created", name):
            folder.create_topic(name, SCHEMA, partitions=PARTITIONS.get(name, 1), key=key, options=TOPICS[name])


def append(folder: Folder, ledger: Ledger, name: str, count: int) -> None:
    if name in folder.topics:
        numbers = ledger.fresh(count)
        with ledger.trying("rows", name, numbers={name: numbers}) as fact:
            fact.places = folder.topic(name).append(rows(numbers, folder.topic(name).schema))


def append_both(folder: Folder, ledger: Ledger, count: int) -> None:
    names = ("left", "right", "lazy")
    if not set(names) <= folder.topics.keys():
        return
    numbers = {name: ledger.fresh(count) for name in names}
    with ledger.trying("rows", "atomic", numbers=numbers):
        folder.append_atomic([(folder.topic(name), rows(numbers[name]), None) for name in numbers])


def prepared(stream: str, table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0].cast(SCHEMA)


@contextmanager
def loader(folder: Folder) -> Iterator[Producer]:
    """The producer with a name, who tells its errors but once."""
    producer = Producer(folder, ["left", "right"], prepared, lambda stream, places: None, name="loader", linger_s=0)
    try:
        yield producer
    finally:
        producer.close()


def send(producer: Producer, numbers: dict[str, list[int]], sequence: int) -> None:
    """One stream by `send`, two by `atomic`."""
    if len(numbers) == 1:
        ((stream, of_stream),) = numbers.items()
        producer.send(rows(of_stream), stream=stream, sequence=sequence).result()
        return
    with producer.atomic(sequence=sequence) as together:
        for stream, of_stream in numbers.items():
            together(stream, rows(of_stream))


def load(folder: Folder, ledger: Ledger, count: int) -> None:
    """So many sends with a name; first, as after a crash, again the last that is there, and what failed after it."""
    if not {"left", "right"} <= folder.topics.keys():
        return
    with ledger.trying("loader"), loader(folder) as producer:
        first = producer.last_sequence + 1
        before = {fact.value: fact.numbers for fact in ledger.of("rows", "loader")}
        if first > 1:
            send(producer, before[first - 1], first - 1)
        for sequence in range(first, first + count):
            streams = ("left", "right") if sequence % 2 else ("left",)
            numbers = before.get(sequence) or {stream: ledger.fresh(1 + sequence % 3) for stream in streams}
            failed = len(ledger.errors)
            with ledger.trying("rows", "loader", value=sequence, numbers=numbers):
                send(producer, numbers, sequence)
            if len(ledger.errors) > failed:
                return  # what comes after a gap would hide it


def consume(folder: Folder, ledger: Ledger, polls: int, name: str = "log") -> None:
    """Reads some rows of a topic as one of a group, and commits after each poll."""
    if name not in folder.topics:
        return
    with ledger.trying("consumer"):
        consumer = Consumer(folder, {name: Wanted()}, group="mailer", auto_commit=False, max_rows=7)
        try:
            for _ in range(polls):
                records = consumer.poll(0)
                if records is None:
                    return
                with ledger.trying("done", name, value=records.end_offset):
                    consumer.commit()
        finally:
            consumer.close()


def maintain(folder: Folder, ledger: Ledger, *, later_days: int = 0) -> None:
    """A round, as if it were so much later."""
    numbers = {"clicks": list(range(ledger.last + 1))} if later_days else {}
    with ledger.trying("expired", numbers=numbers):
        for notice in folder.maintain(time.time_ns() // 1000 + 1000 * DAY_MS * later_days):
            raise OperationalError(notice)


def beginning(folder: Folder, ledger: Ledger) -> None:
    create(folder, ledger, list(TOPICS))
    with ledger.trying("catalog", "view"):
        folder.catalog.put(CatalogEntry("view", "VIEW", "CREATE VIEW view AS SELECT 1"))
    for count in (1, 3, 60):
        append(folder, ledger, "log", count)
        append(folder, ledger, "each", count)
    for count in (2, 9):
        append_both(folder, ledger, count)
        append(folder, ledger, "prices", 3 * count)
        append(folder, ledger, "clicks", count)
        append(folder, ledger, "cold", 4 * count)
        append(folder, ledger, "lazy", 5 * count)
    append(folder, ledger, "left", 4)


def everyday(folder: Folder, ledger: Ledger) -> None:
    load(folder, ledger, 3)
    consume(folder, ledger, 2)
    append_both(folder, ledger, 30)
    for _ in range(4):
        append(folder, ledger, "log", 25)
        append(folder, ledger, "prices", 14)
    append(folder, ledger, "clicks", 30)
    append(folder, ledger, "clicks", 2)
    append(folder, ledger, "cold", 11)
    load(folder, ledger, 2)
    for count in (20, 8):
        append(folder, ledger, "lazy", count)
    consume(folder, ledger, 4, "lazy")
    append(folder, ledger, "right", 5)


def cleaning(folder: Folder, ledger: Ledger) -> None:
    maintain(folder, ledger)
    consume(folder, ledger, 3)
    append(folder, ledger, "prices", 20)
    if "log" in folder.topics:
        offset = folder.topic("log").partitions[0].start_offset + 30
        with ledger.trying("start", "log", value=offset):
            folder.topic("log").delete_before(0, offset)
    append(folder, ledger, "log", 5)
    maintain(folder, ledger, later_days=2)
    append(folder, ledger, "clicks", 3)
    append(folder, ledger, "lazy", 6)
    append(folder, ledger, "cold", 6)
    if "cold" in folder.topics:
        with ledger.trying("start", "cold", value=5):
            folder.topic("cold").delete_before(0, 5)


def changing(folder: Folder, ledger: Ledger) -> None:
    if "log" in folder.topics:
        with ledger.trying("column", "log", value=ledger.last):
            folder.topic("log").evolve(AddColumn(EXTRA, pa.scalar(7, pa.int64())))
    append(folder, ledger, "log", 4)
    append_both(folder, ledger, 3)
    load(folder, ledger, 2)
    consume(folder, ledger, 9)
    if "each" in folder.topics:
        with ledger.trying("dropped", "each", value=ledger.last):
            folder.drop_topic("each")
        if "each" not in folder.topics:
            create(folder, ledger, ["each"])
            append(folder, ledger, "each", 6)
    for topic in list(folder.topics.values()):
        with ledger.trying("sealed", topic.name):
            topic.partitions[0].seal()
    maintain(folder, ledger)
    append(folder, ledger, "log", 8)


CHAPTERS: tuple[Chapter, ...] = (beginning, everyday, cleaning, changing)
