"""Consumers: every row, in order, alone or shared by a group that forgets nothing and outlives its members."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pyarrow as pa
import pytest

import headrace
from headrace.storage.assignment import TopicPartition
from headrace.storage.consumer import Consumer
from headrace.storage.consumer_group import Membership, groups_in
from headrace.storage.errors import (
    InterfaceError,
    NotSupportedError,
    OffsetOutOfRangeError,
    OperationalError,
    ProgrammingError,
)


@pytest.fixture
def con(tmp_path: Path) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM one (n BIGINT, text VARCHAR)")
        con.execute("CREATE STREAM four (n BIGINT) PARTITIONED BY (n) INTO 4 PARTITIONS")
        yield con


def fill(con: headrace.Connection, stream: str, start: int, end: int) -> None:
    columns = {"n": range(start, end)} | ({"text": [str(n) for n in range(start, end)]} if stream == "one" else {})
    con.append(stream, pa.table({name: pa.array(values) for name, values in columns.items()}))


def drain(consumer: Consumer) -> list[int]:
    """The numbers of all rows that are there."""
    found: list[int] = []
    while (records := consumer.poll(0)) is not None:
        found += records.batch.column("n").to_pylist()
    return found


def test_rows_come_once_in_order_with_their_offsets(con: headrace.Connection) -> None:
    fill(con, "one", 0, 1000)
    fill(con, "one", 1000, 1010)
    with con.consumer("one", max_rows=300) as consumer:
        found = []
        while (records := consumer.poll(0)) is not None:
            assert len(records) <= 300
            assert records.end_offset == consumer.positions["one", 0]
            assert records.batch.schema.names == ["n", "text"]
            found += [(record.offset, record.row["n"], record.row["text"]) for record in records]
        assert found == [(n, n, str(n)) for n in range(1010)]
        assert consumer.poll(0.01) is None
        fill(con, "one", 1010, 1020)
        assert consumer.lag == {("one", 0): 10}
        (records,) = [consumer.poll(5)]
        assert records is not None
        assert [record.row for record in records] == [{"n": n, "text": str(n)} for n in range(1010, 1020)]


def test_poll_waits_for_what_another_thread_appends(con: headrace.Connection) -> None:
    with con.consumer("one") as consumer:
        thread = threading.Timer(0.05, fill, (con, "one", 0, 3))
        thread.start()
        records = consumer.poll(10)
        assert records is not None
        assert len(records) == 3
        thread.join()


def test_columns_and_a_condition(con: headrace.Connection) -> None:
    fill(con, "one", 0, 100)
    with con.consumer("one", columns=["TEXT"], where="n % 10 = 3 AND text <> '33' -- not that") as consumer:
        records = consumer.poll(0)
        assert records is not None
        assert records.batch.schema.names == ["text"]
        assert [(r.offset, r.row["text"]) for r in records] == [(n, str(n)) for n in range(3, 100, 10) if n != 33]
    with con.consumer("one", where="text LIKE 'no%'") as consumer:
        assert consumer.poll(0) is None
        assert consumer.positions == {("one", 0): 100}
    with pytest.raises(ProgrammingError, match='no column "missing"'):
        con.consumer("one", columns=["missing"])
    with pytest.raises(ProgrammingError, match="missing"):
        con.consumer("one", where="missing > 3")
    for where in ("n = (SELECT max(n) FROM one)", "max(n) > 3"):
        with pytest.raises((NotSupportedError, ProgrammingError)):
            con.consumer("one", where=where)
    with pytest.raises(ProgrammingError):
        con.consumer("one", where="n > 1; DROP STREAM one")
    with pytest.raises(ProgrammingError, match="to read"):
        con.consumer()


def test_seek(con: headrace.Connection) -> None:
    fill(con, "one", 0, 10)
    time.sleep(0.002)
    between = datetime.datetime.now(datetime.UTC)
    time.sleep(0.002)
    fill(con, "one", 10, 20)
    fill(con, "four", 100, 200)
    with con.consumer("one", "four", reset="latest") as consumer:
        assert drain(consumer) == []
        consumer.seek(between, topic="one")
        assert drain(consumer) == list(range(10, 20))
        consumer.seek("earliest", topic="ONE")
        assert drain(consumer) == list(range(20))
        consumer.seek(17, topic="one", partition=0)
        assert drain(consumer) == [17, 18, 19]
        consumer.seek("earliest")
        assert sorted(drain(consumer)) == [*range(20), *range(100, 200)]
        consumer.seek("earliest")
        consumer.seek("latest", topic="four")
        assert drain(consumer) == list(range(20))
        for to in (-1, 21):
            with pytest.raises(ProgrammingError, match=f"cannot seek to offset {to}"):
                consumer.seek(to, topic="one")
        with pytest.raises(ProgrammingError, match="such a partition"):
            consumer.seek(0, topic="one", partition=1)
        with pytest.raises(ProgrammingError, match="cannot seek"):
            consumer.seek("end")  # type: ignore[arg-type]


def test_a_group_goes_on_where_it_committed(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM clicks (n BIGINT)")
        fill(con, "clicks", 0, 10)
        with con.consumer("clicks", group="mailer") as consumer:
            assert drain(consumer) == list(range(10))  # closing commits it
        fill(con, "clicks", 10, 20)
        with con.consumer("clicks", group="other") as consumer:
            assert consumer.committed() == {}
        (known,) = groups_in(con._database.log)
        assert known[:4] == ("mailer", "clicks", 0, 10)
        assert known[5:] == (20, 10, None)
    with headrace.connect(tmp_path / "db") as con:
        assert interrupted(con) == [10, 13, 16]
        with con.consumer("clicks", group="mailer", max_rows=2, auto_commit=False) as consumer:
            assert consumer.committed() == {("clicks", 0): 16}
            first, second = consumer.poll(0), consumer.poll(0)
            assert first is not None
            assert second is not None
            consumer.commit(first)
            assert consumer.committed() == {("clicks", 0): 18}
        with con.consumer("clicks", group="mailer") as consumer:
            assert drain(consumer) == [18, 19]
            consumer.commit()
            assert consumer.committed() == {("clicks", 0): 20}
            consumer.seek("earliest")
        con.execute("DROP STREAM clicks")
        con.execute("CREATE STREAM clicks (n BIGINT)")
        fill(con, "clicks", 0, 30)
        with con.consumer("clicks", group="mailer") as consumer:
            assert drain(consumer) == list(range(30)), "another stream of that name"


def interrupted(con: headrace.Connection) -> list[int]:
    """Reads three rows at a time, and fails while it has the third batch in hand: the first row of each."""
    firsts = []
    with suppress(ZeroDivisionError), con.consumer("clicks", group="mailer", max_rows=3) as consumer:
        assert consumer.committed() == {("clicks", 0): 10}
        for records in consumer:
            firsts.append(int(records.offsets[0]))
            if len(firsts) == 3:
                raise ZeroDivisionError
    return firsts


def test_consumers_of_one_process_share_and_take_over(con: headrace.Connection) -> None:
    changes: list[tuple[int, int]] = []
    first = con.consumer("four", group="g", on_rebalance=lambda more, less: changes.append((len(more), len(less))))
    assert len(first.assignment) == 4
    fill(con, "four", 0, 1000)
    assert sorted(drain(first)) == list(range(1000))
    second = con.consumer("four", group="g")
    deadline = time.monotonic() + 10
    while len(first.assignment) + len(second.assignment) != 4 or not second.assignment:
        assert first.poll(0.02) is None
        assert second.poll(0.02) is None, "what the first has read is done"
        assert time.monotonic() < deadline
    assert not first.assignment & second.assignment
    assert len(first.assignment) == 2
    assert changes == [(4, 0), (0, 2)]
    fill(con, "four", 1000, 2000)
    theirs = drain(second)
    records = first.poll(0)
    assert records is not None
    first.close(done=False)
    rest: list[int] = []
    while len(theirs) + len(rest) < 1000:
        rest += drain(second)
        assert time.monotonic() < deadline
    assert sorted(theirs + rest) == list(range(1000, 2000))
    assert set(records.batch.column("n").to_pylist()) < set(rest)
    second.close()
    assert all(row.lag == 0 and row.member is None for row in groups_in(con._database.log))
    query = "SELECT topic, sum(committed), max(lag), count(member), min(committed_at) > now() - INTERVAL 1 HOUR"
    assert con.execute(f"{query} FROM system.consumers GROUP BY ALL").fetchall() == [("four", 2000, 0, 0, True)]


CHILD = """
import sys, headrace
con = headrace.connect(sys.argv[1], read_only=True)
consumer = con.consumer("four", group="g", auto_commit=False, max_rows=50)
print("ready", flush=True)
for records in consumer:
    for record in records:
        print(record.row["n"])
    sys.stdout.flush()
    consumer.commit(records)
"""


def test_processes_share_a_group_and_outlive_each_other(con: headrace.Connection, tmp_path: Path) -> None:
    outputs = [tmp_path / f"out{number}" for number in range(3)]
    children = []
    for path in outputs:
        with path.open("w") as output:
            children.append(subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "db")], stdout=output))

    def seen() -> list[int]:
        lines = [line for path in outputs for line in path.read_text().split("\n")[:-1]]
        return [int(line) for line in lines if line != "ready"]

    def wait_until(what: set[int]) -> None:
        deadline = time.monotonic() + 60
        while not what <= set(seen()):
            assert time.monotonic() < deadline, sorted(what - set(seen()))[:5]
            time.sleep(0.02)

    try:
        fill(con, "four", 0, 2000)
        wait_until(set(range(2000)))
        fill(con, "four", 2000, 4000)
        for number, child in enumerate(children[:2]):
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            fill(con, "four", 4000 + 1000 * number, 5000 + 1000 * number)
        wait_until(set(range(6000)))
        lag = [row.lag for row in groups_in(con._database.log)]
        deadline = time.monotonic() + 10
        while sum(lag) and time.monotonic() < deadline:
            time.sleep(0.02)
            lag = [row.lag for row in groups_in(con._database.log)]
        assert lag == [0, 0, 0, 0]
        assert len(seen()) - len(set(seen())) <= 2 * 50, "only what the dead had not committed comes twice"
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_only_who_has_a_partition_commits_it(con: headrace.Connection) -> None:
    fill(con, "one", 0, 10)
    first = con.consumer("one", group="g", auto_commit=False)
    records = first.poll(0)
    assert records is not None
    second = con.consumer("one", group="g")
    assert not second.assignment
    first.close()
    taken = second.poll(10)
    assert taken is not None
    assert len(taken) == 10
    third = con.consumer("one", group="g")
    with pytest.raises(OperationalError, match="another consumer"):
        third.commit(records)
    with pytest.raises(InterfaceError, match="closed"):
        first.commit()
    with con.consumer("one") as alone, pytest.raises(ProgrammingError, match="without a group"):
        alone.commit()


def test_rows_that_were_deleted(con: headrace.Connection) -> None:
    fill(con, "one", 0, 100)
    (partition,) = con._database.folder.topic("one").partitions
    consumers = [con.consumer("one", reset=reset) for reset in ("earliest", "latest", "error")]
    partition.delete_before(40)
    assert drain(consumers[0]) == list(range(40, 100))
    assert drain(consumers[1]) == []
    with pytest.raises(OffsetOutOfRangeError, match="begins at 40"):
        consumers[2].poll(0)
    with pytest.raises(ProgrammingError, match="cannot seek to offset 3"):
        consumers[2].seek(3)
    consumers[2].seek("earliest")
    assert drain(consumers[2]) == list(range(40, 100))


def test_a_stream_that_goes(con: headrace.Connection) -> None:
    fill(con, "one", 0, 10)
    with con.consumer("one") as consumer:
        drain(consumer)
        con.execute("DROP STREAM one")
        with pytest.raises(OperationalError, match="dropped"):
            consumer.poll(10)


def test_closing_ends_whoever_waits(con: headrace.Connection) -> None:
    consumer = con.consumer("one", group="g")
    fill(con, "one", 0, 10)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(record.row["n"] for record in consumer.rows()))
    thread.start()
    while len(found) < 10:
        time.sleep(0.01)
    consumer.close()
    thread.join(10)
    assert not thread.is_alive()
    assert found == list(range(10))
    with pytest.raises(InterfaceError, match="closed"):
        consumer.poll(0)
    consumer.close()


def test_async_iteration_lets_others_run(con: headrace.Connection) -> None:
    async def main() -> list[int]:
        found: list[int] = []
        consumer = con.consumer("one")

        async def produce() -> None:
            for start in range(0, 50, 10):
                fill(con, "one", start, start + 10)
                await asyncio.sleep(0.01)

        task = asyncio.create_task(produce())
        async for records in consumer:
            found += [record.row["n"] for record in records]
            if len(found) == 50:
                consumer.close()
        await task
        return found

    assert asyncio.run(main()) == list(range(50))


def test_a_torn_commit_leaves_the_one_before(tmp_path: Path) -> None:
    place = TopicPartition("Some topic", 3)
    with closing(Leaving(tmp_path)) as leaving:
        member = leaving.member
        assert member.take(place)
        for offset in (10, 20, 30):
            member.commit(place, offset, created=7)
        assert member.committed(place) == (3, 30, 7, member.committed(place).time)  # type: ignore[union-attr]
        (path,) = (member.folder / "offsets").iterdir()
        intact = path.read_bytes()
        for byte in range(4096, 4096 + 40):
            path.write_bytes(intact[:byte] + bytes([intact[byte] ^ 0x10]) + intact[byte + 1 :])
            last = member.committed(place)
            assert last is not None
            assert last.offset == 20
        path.write_bytes(intact[:5000])
        member.give_up(place)
        assert member.take(place)
        member.commit(place, 40, created=7)
        last = member.committed(place)
        assert last is not None
        assert last.offset == 40
        (member.folder / "assignment.json").write_text("{}")
        assert member.assigned({"t": 2}) == {("t", 0), ("t", 1)}


class Leaving:
    """A member that leaves in the end."""

    def __init__(self, path: Path) -> None:
        self.member = Membership(path, "Group One", ["t"], durable=True)

    def close(self) -> None:
        self.member.leave()
        self.member.leave()
