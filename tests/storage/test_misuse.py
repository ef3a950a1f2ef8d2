"""Producers and consumers used wrongly: each mistake is named where it is made, and no row is lost or changed by it."""

from __future__ import annotations

import asyncio
import datetime
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import headrace
from headrace.storage.errors import DataError, OperationalError, ProgrammingError


@pytest.fixture
def con(tmp_path: Path) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path / "db") as con:
        con.execute(
            "CREATE STREAM s (key VARCHAR, n BIGINT DEFAULT 7, h MAP(VARCHAR, BLOB) METADATA FROM 'headers')"
            " PARTITIONED BY (key) INTO 4 PARTITIONS"
        )
        con.execute("CREATE STREAM one (n BIGINT)")
        con.execute(
            "CREATE STREAM kept (key VARCHAR) PARTITIONED BY (key) INTO 4 PARTITIONS WITH (cleanup = 'compact')"
        )
        yield con


# -- producers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [None, 5, "text", ("a", 1), [("a", 1)], (row for row in ()), pa.array([1])])
def test_what_is_no_rows_is_refused_at_once(con: headrace.Connection, rows: Any) -> None:
    with con.producer("s") as producer, pytest.raises(ProgrammingError, match="cannot send a") as told:
        producer.send(rows)
    assert "a mapping of column names" in str(told.value.hint)


def test_a_row_of_defaults_is_a_row(con: headrace.Connection) -> None:
    with con.producer("s") as producer:
        assert [place.end - place.start for place in producer.send({}).result()] == [1]
        producer.send([{}, {}])
        producer.send({"KEY": "a", "N": 1})
        producer.send(pa.table({"Key": ["b"]}))
    found = con.execute("SELECT key, n FROM s ORDER BY key NULLS LAST").fetchall()
    assert found == [("a", 1), ("b", 7), (None, 7), (None, 7), (None, 7)]


def test_rows_are_as_they_were_when_they_were_sent(con: headrace.Connection) -> None:
    row = {"n": 1}
    rows = [{"n": 2}, {"n": 3}]
    with con.producer("one", linger_s=60) as producer:
        producer.send(row)
        producer.send(rows)
        row["n"] = rows[0]["n"] = -1
        rows.clear()
    assert con.execute("SELECT n FROM one ORDER BY n").fetchall() == [(1,), (2,), (3,)]


def test_no_value_is_changed_to_fit(con: headrace.Connection) -> None:
    with con.producer("one") as producer:
        assert producer.send({"n": 2.0}).result()
        for value in (1.5, "1", float("nan"), 1 << 70):
            with pytest.raises(DataError, match='does not fit column "n"'):
                producer.send({"n": value}).result()
    assert con.execute("SELECT n FROM one").fetchall() == [(2,)]


@pytest.mark.parametrize("headers", ["abc", [("a",)], {"a": 5}, {1: b"x"}, [("a", b"1"), ("a", b"2")], 7])
def test_headers_that_are_none(con: headrace.Connection, headers: Any) -> None:
    with con.producer("s") as producer, pytest.raises(ProgrammingError, match="as headers"):
        producer.send({"key": "a"}, headers=headers)


def test_headers_of_every_shape(con: headrace.Connection) -> None:
    shapes: list[Any] = [{}, {"a": b"\x00\xff"}, {"a": None, "b": "text"}, [("a", b"1"), ("é", bytearray(b"2"))]]
    expected = [[], [("a", b"\x00\xff")], [("a", None), ("b", b"text")], [("a", b"1"), ("é", b"2")]]
    with con.producer("s") as producer:
        for number, headers in enumerate(shapes):
            producer.send({"key": "k", "n": number}, headers=headers)
        producer.send(pa.table({"key": ["x", "y"], "n": [4, 4]}), headers={"all": b"1"})
        with pytest.raises(ProgrammingError, match="given twice"):
            producer.send({"key": "a", "h": [("b", b"")]}, headers={"a": b""}).result()
    found = con.execute("SELECT h FROM s WHERE n < 4 ORDER BY n").fetchall()
    assert [h for (h,) in found] == expected
    assert con.execute("SELECT count(*) FROM s WHERE h['all'] = '1'::BLOB").fetchone() == (2,)
    with con.consumer("s", where="h['all'] IS NOT NULL", columns=["h"]) as consumer:
        headers = [record.row["h"] for _ in range(2) for record in consumer.poll(5) or ()]
    assert headers == [[("all", b"1")], [("all", b"1")]]


def test_a_map_that_sql_could_not_read_is_not_kept(con: headrace.Connection) -> None:
    con.execute("CREATE STREAM maps (m MAP(VARCHAR, INTEGER), deep STRUCT(l MAP(INTEGER[], INTEGER)[]))")
    types = {field.name: field.type for field in con.execute("SELECT * FROM maps").fetch_arrow_table().schema}
    twice = {"m": [("a", 1), ("a", 2)], "deep": {"l": [[([1], 1)], [([2], 1), ([2], 2)]]}}
    for name, value in twice.items():
        rows = pa.table({name: pa.array([None, value], types[name])})
        with pytest.raises(DataError, match="has a key twice"):
            con.append("maps", rows)
        with con.producer("maps") as producer, pytest.raises(DataError, match="has a key twice"):
            producer.send(rows.slice(1)).result()
        con.append("maps", rows.slice(0, 1))
    con.append("maps", pa.table({"m": pa.array([[("a", 1)], [("a", 2), ("b", 1)], []], types["m"])}).slice(1))
    found = con.execute("SELECT m FROM maps WHERE m IS NOT NULL").fetchall()
    assert found == [([("a", 2), ("b", 1)],), ([],)]


def test_arrow_rows_that_do_not_fit(con: headrace.Connection) -> None:
    with pytest.raises(ProgrammingError, match="named twice"):
        con.append("s", pa.table([pa.array(["a"]), pa.array(["b"])], ["key", "KEY"]))
    with pytest.raises(ProgrammingError, match="cannot append a dict"):
        con.append("s", {"key": "a"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "partitioner",
    [
        lambda batch, count: [0.5] * len(batch),
        lambda batch, count: [-1] * len(batch),
        lambda batch, count: [count] * len(batch),
        lambda batch, count: [0] * (len(batch) + 1),
        lambda batch, count: ["1"] * len(batch),
        lambda batch, count: [[0]] * len(batch),
        lambda batch, count: pa.array([None] * len(batch), pa.int64()),
        lambda batch, count: [1 << 70] * len(batch),
        lambda batch, count: None,
        lambda batch, count: 1,
        lambda batch, count: batch["nothing"],
        lambda batch: [0],
    ],
)
def test_a_partitioner_that_gives_nonsense(con: headrace.Connection, partitioner: Callable[..., Any]) -> None:
    with con.producer("s", partitioner=partitioner) as producer, pytest.raises(ProgrammingError, match="partitioner"):
        producer.send({"key": "a"}).result()
    assert con.execute("SELECT count(*) FROM s").fetchone() == (0,)


@pytest.mark.parametrize("partition", [-1, 4, 1.5, "1", True])
def test_partitions_that_there_are_not(con: headrace.Connection, partition: Any) -> None:
    with con.producer("s") as producer, pytest.raises(ProgrammingError, match="has no partition"):
        producer.send({"key": "a"}, partition=partition)


def test_rows_of_a_compacted_stream_go_where_their_keys_say(con: headrace.Connection) -> None:
    with con.producer("kept") as producer, pytest.raises(ProgrammingError, match="it is compacted"):
        producer.send({"key": "a"}, partition=2)


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "gruop"},
        {"linger_s": -1},
        {"linger_s": "2"},
        {"batch_bytes": 0},
        {"buffer_bytes": 0},
        {"name": ""},
        {"name": 5},
    ],
)
def test_options_a_producer_has_not(con: headrace.Connection, options: dict[str, Any]) -> None:
    with pytest.raises(ProgrammingError):
        con.producer("s", **options)


@pytest.mark.parametrize("sequence", [0, -1, "1", 1 << 63])
def test_numbers_that_are_none(con: headrace.Connection, sequence: Any) -> None:
    with con.producer("one", name="p") as producer:
        with pytest.raises(ProgrammingError, match="cannot number rows"):
            producer.send({"n": 1}, sequence=sequence)
        with pytest.raises(ProgrammingError, match="cannot number rows"), producer.atomic(sequence=sequence):
            pass
        assert producer.send({"n": 1}, sequence=1).result()


def test_an_error_is_told_once(con: headrace.Connection) -> None:
    with con.producer("one") as producer:
        with pytest.raises(DataError):
            producer.send({"n": "x"}).result()
        producer.flush()  # who sent it knows
    producer = con.producer("one")
    producer.send({"n": "y"})
    with pytest.raises(DataError):
        producer.close()


def test_the_buffer_counts_what_rows_hold(con: headrace.Connection) -> None:
    con.execute("CREATE STREAM blobs (b BLOB, l VARCHAR[])")
    producer = con.producer("blobs", buffer_bytes=1_000_000, batch_bytes=1 << 30, linger_s=60)
    held: list[int] = []
    with suppress(OperationalError):
        for _ in range(100):
            producer.send({"b": bytes(100_000), "l": ["x" * 50_000]}, timeout_s=0)
            held.append(producer._buffered)
    assert len(held) < 20
    assert max(held) < 1_000_000 + 200_000
    producer.close()


def test_slices_count_for_their_own_rows(con: headrace.Connection) -> None:
    whole = pa.table({"n": range(1_000_000)})
    with con.producer("one", linger_s=60) as producer:
        for start in range(0, 100_000, 1000):
            producer.send(whole.slice(start, 1000), timeout_s=0)  # 100 times 8 MB, were they counted whole


def test_a_full_buffer_waits_for_no_company(con: headrace.Connection) -> None:
    with con.producer("one", buffer_bytes=1000, linger_s=3600) as producer:
        for n in range(20):
            producer.send({"n": n}, timeout_s=60)


# -- consumers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"reset": "eearliest"},
        {"reset": None},
        {"max_rows": 0},
        {"max_rows": 1.5},
        {"group": ""},
        {"group": 5},
        {"columns": ["n", "N"]},
        {"where": ""},
        {"where": 5},
    ],
)
def test_options_a_consumer_has_not(con: headrace.Connection, options: dict[str, Any]) -> None:
    with pytest.raises(ProgrammingError):
        con.consumer("one", **options)


def test_streams_may_come_as_a_list(con: headrace.Connection) -> None:
    with con.producer(["one", "s"]) as producer, con.consumer(["one", "s"], group="g", columns="n") as consumer:
        producer.send({"n": 1}, stream="one").result()
        assert {place.topic for place in consumer.assignment} == {"one", "s"}
        assert next(consumer.rows()).row == {"n": 1}
        with pytest.raises(ProgrammingError, match="0 rows at a time"):
            consumer.poll(0, max_rows=0)


@pytest.mark.parametrize("to", ["begin", True, 1.5, None, datetime.date(2026, 1, 1)])
def test_places_that_are_none(con: headrace.Connection, to: Any) -> None:
    with con.consumer("one") as consumer, pytest.raises(ProgrammingError, match="cannot seek to"):
        consumer.seek(to)


def test_a_time_without_a_zone_is_in_utc(con: headrace.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        for n in range(2):
            con.append("one", pa.table({"n": [n]}))
        (latest,) = con.execute("SELECT last_append_time FROM system.partitions WHERE topic = 'one'").fetchone() or ()
        with con.consumer("one") as consumer:
            consumer.seek(latest)
            assert list(consumer.positions.values()) == [1]
            consumer.seek(latest.replace(tzinfo=datetime.UTC))
            assert list(consumer.positions.values()) == [1]
            consumer.seek(datetime.datetime(1, 1, 1))
            assert list(consumer.positions.values()) == [0]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_consumer_of_what_is_altered_ends_or_goes_on(con: headrace.Connection) -> None:
    con.execute("CREATE STREAM a (n INTEGER, t VARCHAR)")
    everything, of_n, of_t = con.consumer("a"), con.consumer("a", where="n > 0"), con.consumer("a", columns=["t"])

    def told(consumer: headrace.Consumer) -> object:
        con.execute("INSERT INTO a (n) VALUES (1)")
        try:
            records = consumer.poll(5)
        except OperationalError as error:
            return error.headline
        return records and records.batch.to_pylist()[-1]

    con.execute("ALTER STREAM a ADD COLUMN x INTEGER DEFAULT 5")
    assert told(everything) == {"n": 1, "t": None, "x": 5}
    assert told(of_n) == {"n": 1, "t": None}
    con.execute("ALTER STREAM a ALTER COLUMN n TYPE BIGINT")
    assert told(of_n) == 'stream "a" was altered'
    assert told(of_t) == {"t": None}
    con.execute("ALTER STREAM a DROP COLUMN t")
    assert told(of_t) == 'stream "a" was altered'
    assert told(everything) == {"n": 1, "x": 5}


def test_a_wait_that_is_cancelled_takes_no_rows_with_it(con: headrace.Connection) -> None:
    consumer = con.consumer("one", group="g", columns=["n"])

    async def main() -> list[int]:
        found: list[int] = []
        for n in range(20):
            with suppress(asyncio.TimeoutError):
                found += [record.row["n"] for record in await asyncio.wait_for(anext(consumer), 0.01)]
            con.append("one", pa.table({"n": [n]}))
            if n % 3 == 0:
                await asyncio.sleep(0.25)  # so that a wait which went on in its thread gets the row
        while len(found) < 20:
            found += [record.row["n"] for record in await asyncio.wait_for(anext(consumer), 10)]
        return found

    assert asyncio.run(main()) == list(range(20))
    consumer.close()


def test_a_row_that_a_cancelled_wait_got_is_not_committed(con: headrace.Connection) -> None:
    async def main() -> None:
        consumer = con.consumer("one", group="g")
        waiting = asyncio.ensure_future(anext(consumer))
        await asyncio.sleep(0.05)
        waiting.cancel()
        threading.Thread(target=con.append, args=("one", pa.table({"n": [1]}))).start()
        with suppress(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0.3)
        consumer.close()

    asyncio.run(main())
    with con.consumer("one", group="g") as consumer:
        assert [record.row["n"] for record in consumer.poll(10) or ()] == [1]


def test_groups_named_like_paths_stay_in_their_folder(con: headrace.Connection, tmp_path: Path) -> None:
    for group in ("..", "a/b", ".", "é", "G", "g"):
        with con.consumer("one", group=group):
            pass
    assert len(os.listdir(tmp_path / "db" / "consumers")) == 6
    assert not (tmp_path / "b").exists()
