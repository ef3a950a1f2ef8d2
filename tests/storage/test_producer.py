"""Producers: rows gathered and delivered, in order, once, with room for only so many."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headrace
from headrace.storage.errors import DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from headrace.storage.files import faults


@pytest.fixture
def con(tmp_path: Path) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM one (n BIGINT NOT NULL, text VARCHAR DEFAULT 'none')")
        con.execute("CREATE STREAM four (n BIGINT, text VARCHAR) PARTITIONED BY (n) INTO 4 PARTITIONS")
        yield con


def numbers(con: headrace.Connection, stream: str) -> list[int]:
    return [n for (n,) in con.execute(f"SELECT n FROM {stream} ORDER BY n").fetchall()]


def test_every_way_to_give_rows(con: headrace.Connection) -> None:
    with con.producer("one") as producer:
        producer.send({"n": 1})
        producer.send([{"n": 2, "text": "b"}, {"n": 3}])
        producer.send(pa.record_batch({"n": [4, 5]}))
        producer.send(pa.table({"text": ["f"], "n": pa.array([6], pa.int8())}))
        producer.send([])
    rows = con.execute("SELECT * FROM one").fetchall()
    assert rows == [(1, "none"), (2, "b"), (3, None), (4, "none"), (5, "none"), (6, "f")]


def test_rows_are_gathered_and_delivered_where_the_delivery_says(con: headrace.Connection) -> None:
    producer = con.producer("four", linger_s=0.05)
    deliveries = [producer.send({"n": n, "text": str(n)}) for n in range(500)]
    deliveries += [producer.send(pa.record_batch({"n": range(n, n + 50)})) for n in range(500, 1000, 50)]
    producer.flush()
    topic = con._database.folder.topic("four")
    frames = sum(len(segment.index.offsets) for partition in topic.partitions for segment in partition.segments)
    assert frames < 40
    found: list[int] = []
    for delivery in deliveries:
        for place in delivery.result():
            for batch in topic.partitions[place.partition].read(place.start, place.end):
                found += batch.column("n").to_pylist()
    assert sorted(found) == list(range(1000))
    assert [d.result()[0] for d in deliveries[:2]] == [deliveries[0].result()[0], deliveries[1].result()[0]]
    single = deliveries[123].result()
    assert [topic.partitions[p.partition].read(p.start, p.end)[0].column("n").to_pylist() for p in single] == [[123]]


def test_partitioners(con: headrace.Connection) -> None:
    def partitions(**options: Any) -> list[int]:
        with con.producer("four", **options) as producer:
            return [producer.send({"n": n, "text": f"key {n % 3}"}).result()[0].partition for n in range(6)]

    assert sorted(partitions(partitioner="round_robin", linger_s=0)) == [0, 0, 1, 1, 2, 3]
    murmur2 = partitions(partitioner="murmur2", key="text")
    assert murmur2[:3] == murmur2[3:]
    assert partitions(key="text") == murmur2
    assert partitions(partitioner="hash", key=["text"])[:3] == partitions(partitioner="hash", key=["text"])[3:]
    assert partitions(partitioner=lambda batch, count: np.full(batch.num_rows, count - 1)) == [3] * 6
    with con.producer("four") as producer:
        assert [producer.send({"n": 1}, partition=p).result()[0].partition for p in (2, 0, 3)] == [2, 0, 3]
        with pytest.raises(ProgrammingError, match="no partition 4"):
            producer.send({"n": 1}, partition=4)
    for options, said in [
        ({"partitioner": "nonsense"}, "is not a partitioner"),
        ({"partitioner": "murmur2"}, "as Kafka does"),
        ({"key": "nothing"}, "has no column"),
    ]:
        with pytest.raises(ProgrammingError, match=said):
            con.producer("four", **options)  # type: ignore[arg-type]
    with (
        pytest.raises(ProgrammingError, match="from 0 to 3"),
        con.producer("four", partitioner=lambda batch, count: [4] * batch.num_rows) as producer,
    ):
        producer.send({"n": 1})


def test_a_row_that_does_not_fit_harms_no_other(con: headrace.Connection) -> None:
    producer = con.producer("one", linger_s=0.2)
    deliveries = [producer.send({"n": value}) for value in (1, "x", 3, None, 5)]
    deliveries.append(producer.send({"m": 6}))
    with pytest.raises(DataError, match='does not fit column "n"'):
        producer.flush()
    producer.flush()
    assert [type(_outcome(delivery)) for delivery in deliveries] == [
        tuple,
        DataError,
        tuple,
        IntegrityError,
        tuple,
        ProgrammingError,
    ]
    assert numbers(con, "one") == [1, 3, 5]


def _outcome(delivery: headrace.Delivery) -> object:
    try:
        return delivery.result(10)
    except headrace.Error as error:
        return error


def test_a_full_buffer_makes_the_sender_wait(con: headrace.Connection) -> None:
    stop, entered = threading.Event(), threading.Event()

    def slow(operation: str, path: Path) -> None:
        if operation == "sync":
            entered.set()
            stop.wait(20)

    producer = con.producer("one", buffer_bytes=1000, batch_bytes=500, linger_s=0)
    batch = pa.record_batch({"n": range(100)})
    with faults(slow):
        producer.send(batch)
        assert entered.wait(20)
        producer.send(batch)
        producer.send(batch)
        with pytest.raises(OperationalError, match="buffer is full"):
            producer.send(batch, timeout_s=0.05)
        with pytest.raises(OperationalError, match="could not append within"):
            producer.flush(timeout_s=0.05)
        stop.set()
        producer.flush()
    assert len(numbers(con, "one")) % 100 == 0
    producer.close()
    producer.close()
    with pytest.raises(InterfaceError, match="closed"):
        producer.send(batch)


def test_a_name_makes_retries_safe(con: headrace.Connection, tmp_path: Path) -> None:
    with con.producer("four", "one", name="loader") as producer:
        for n in range(1, 8):
            producer.send({"n": n}, stream="four" if n % 2 else "one", sequence=n * 10)
        producer.flush()
        assert producer.last_sequence == 70
        again = producer.send({"n": 99}, stream="one", sequence=70)
        assert again.duplicate
        assert again.result() == ()
        counted = producer.send([{"n": 8}, {"n": 9}], stream="four")
        counted.result()
        assert producer.last_sequence == 71
    assert numbers(con, "four") == [1, 3, 5, 7, 8, 9]
    assert numbers(con, "one") == [2, 4, 6]
    con.close()
    with headrace.connect(tmp_path / "db") as con, con.producer("four", "one", name="loader") as producer:
        assert producer.last_sequence == 71
        assert producer.send({"n": 8}, stream="four", sequence=71).duplicate
        producer.send({"n": 10}, stream="one", sequence=72).result()
        other = con.producer("one", name="another")
        assert other.last_sequence == 0


def test_of_one_name_only_the_latest_appends(con: headrace.Connection) -> None:
    first = con.producer("one", name="loader")
    first.send({"n": 1}).result()
    second = con.producer("one", name="loader")
    assert second.last_sequence == 1
    with pytest.raises(OperationalError, match="has taken this name"):
        first.send({"n": 2}).result()
    with pytest.raises(OperationalError, match="could not append what came before"):
        first.send({"n": 3})
    second.send({"n": 2}).result()
    assert numbers(con, "one") == [1, 2]
    first.close()  # its error has been told


def test_sequences_only_rise(con: headrace.Connection) -> None:
    with con.producer("one", name="loader", linger_s=5) as producer:
        producer.send({"n": 1}, sequence=5)
        with pytest.raises(ProgrammingError, match="cannot send sequence 4 after 5"):
            producer.send({"n": 2}, sequence=4)
        producer.flush()
    with con.producer("one") as producer, pytest.raises(ProgrammingError, match="without a name"):
        producer.send({"n": 1}, sequence=1)


def test_atomic_blocks(con: headrace.Connection) -> None:
    with con.producer("one", "four", name="ledger") as producer:
        for _ in range(2):
            with producer.atomic(sequence=1) as append:
                append("one", {"n": 1})
                append("four", [{"n": 1}, {"n": 2}])
                append("one", pa.table({"n": [2]}))
        with pytest.raises(RuntimeError), producer.atomic() as append:  # noqa: PT012 - the block is what is tested
            append("one", {"n": 3})
            raise RuntimeError
        producer.send({"n": 4}, stream="one").result()
    with con.atomic() as add:
        add("one", pa.table({"n": [5]}))
        add("four", pa.table({"n": [3]}))
    with pytest.raises(ProgrammingError), con.atomic() as add:  # noqa: PT012 - the block is what is tested
        add("one", pa.table({"n": [6]}))
        add("four", pa.table({"m": [6]}))
    assert numbers(con, "one") == [1, 2, 4, 5]
    assert numbers(con, "four") == [1, 2, 3]


def test_a_crash_at_any_call_repeats_and_loses_nothing(con: headrace.Connection, tmp_path: Path) -> None:
    """The folder is copied at each disk operation; each copy is a program that died there and takes up its name."""
    copies: list[Path] = []
    one = threading.Lock()  # the engine writes its journal of epochs meanwhile, of which none is needed

    def copy(operation: str, path: Path) -> None:
        if path.is_relative_to(tmp_path / "db" / "journal"):
            return
        with one:
            target = tmp_path / f"copy-{len(copies)}"
            shutil.copytree(tmp_path / "db", target, ignore=shutil.ignore_patterns("journal"))
            copies.append(target)

    batches = [pa.record_batch({"n": range(start, start + 6)}) for start in range(0, 24, 6)]
    with con.producer("four", name="loader") as producer, faults(copy):
        for number, batch in enumerate(batches, start=1):
            producer.send(batch, sequence=number).result()
    assert len(copies) > 20
    seen = set()
    for path in copies:
        with headrace.connect(path) as other, other.producer("four", name="loader") as producer:
            seen.add(producer.last_sequence)
            assert numbers(other, "four") == list(range(6 * producer.last_sequence))
            for number, batch in enumerate(batches, start=1):
                producer.send(batch, sequence=number)
            producer.flush()
            assert numbers(other, "four") == list(range(24))
        shutil.rmtree(path)
    assert seen == {0, 1, 2, 3, 4}


def test_a_full_disk_stops_a_named_producer_where_it_was(con: headrace.Connection) -> None:
    producer = con.producer("one", name="loader", linger_s=0)
    producer.send({"n": 1}).result()

    def full(operation: str, path: Path) -> None:
        if operation == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with faults(full), pytest.raises(OperationalError, match="no space left"):
        producer.send({"n": 2}).result()
    with pytest.raises(OperationalError, match="could not append what came before"):
        producer.send({"n": 3})
    with con.producer("one", name="loader") as again:
        assert again.last_sequence == 1
        again.send({"n": 2}).result()
    assert numbers(con, "one") == [1, 2]
    producer.close()  # its error has been told


def test_threads_share_a_producer(con: headrace.Connection) -> None:
    with closing(con.producer("four")) as producer:

        def send(first: int) -> None:
            for n in range(first, 2000, 4):
                producer.send({"n": n})

        threads = [threading.Thread(target=send, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert numbers(con, "four") == list(range(2000))


def test_a_schema_that_changes_in_the_middle(con: headrace.Connection) -> None:
    from headrace.storage.schema import AddColumn

    topic = con._database.folder.topic("one")
    with con.producer("one", linger_s=0) as producer:
        producer.send({"n": 1}).result()
        topic.evolve(AddColumn(pa.field("more", pa.int8())))
        batch = pa.record_batch({"n": pa.array([2]), "text": ["b"], "more": pa.array([7], pa.int8())})
        topic.append(batch)
        (partition,) = topic.partitions
        table = pa.Table.from_batches(partition.read(0, 2))
        assert table.column("more").to_pylist() == [None, 7]


@pytest.mark.parametrize(("durability", "partitions"), [("group", 1), ("group", 2), ("none", 2)])
def test_a_name_is_not_taken_up_while_nobody_knows_what_it_appended(
    tmp_path: Path, durability: str, partitions: int
) -> None:
    """Or what was sent again would count as a repetition of rows that a restart takes away."""

    def no_sync(operation: str, path: Path) -> None:
        if operation == "sync" and path.suffix == ".arrow":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def create(con: headrace.Connection) -> None:
        into = f"PARTITIONED BY (n) INTO {partitions} PARTITIONS" if partitions > 1 else ""
        con.execute(f"CREATE STREAM events (n BIGINT) {into} WITH (durability = '{durability}')")

    with headrace.connect(tmp_path) as con:
        create(con)
        with con.producer("events", name="loader") as producer:
            producer.send([{"n": -n} for n in range(8)]).result()  # there are files in each partition now
        producer = con.producer("events", name="loader")
        with faults(no_sync):
            with pytest.raises(OperationalError, match="could not sync"):
                producer.send({"n": 2}).result()
            with pytest.raises(OperationalError, match="could not"):
                con.producer("events", name="loader")
        with pytest.raises(OperationalError, match="an earlier sync went wrong"):
            con.producer("events", name="loader")
    with headrace.connect(tmp_path) as con:
        with con.producer("events", name="loader") as producer:
            for sequence in range(producer.last_sequence + 1, 4):
                producer.send({"n": sequence}, sequence=sequence).result()
        assert numbers(con, "events") == [*range(-7, 1), 2, 3]
