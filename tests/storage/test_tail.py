"""Reading a folder that another process writes: live, in order, and nothing that is not acknowledged."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

import headrace
from headrace.storage.errors import OffsetOutOfRangeError, OperationalError
from headrace.storage.files import faults
from headrace.storage.folder import Folder
from headrace.storage.frame import Times
from headrace.storage.schema import AddColumn
from headrace.storage.tail import TailFolder
from headrace.storage.topic import Durability, Topic, TopicOptions

from .logs import SCHEMA, numbered

SMALL = TopicOptions(segment_bytes=1500, event_time="at")


def rows_in(folder: TailFolder, name: str = "log") -> list[int]:
    partitions = folder.topic(name).partitions
    batches = [batch for partition in partitions for batch in partition.read_all(partition.end_offset)]
    return [number for batch in batches for number in batch.column("number").to_pylist()]


def eventually(check: Callable[[], bool]) -> None:
    """Returns when the check holds; it fails the test if that takes implausibly long."""
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("durability", ["none", "group", "each"])
def test_rows_follow_through_all_that_happens_to_a_log(tmp_path: Path, durability: Durability) -> None:
    options = TopicOptions(durability=durability, segment_bytes=1500, event_time="at")
    with closing(Folder.open(tmp_path)) as folder:
        topic = folder.create_topic("log", SCHEMA, options=options)
        (partition,) = topic.partitions
        topic.append(numbered(0, 3))
        with closing(TailFolder(tmp_path)) as tail:
            heard = threading.Event()
            tail.topic("log").listen(heard.set)
            assert rows_in(tail) == [0, 1, 2]
            for start in range(3, 60, 3):
                topic.append(numbered(start, start + 3))
                end = start + 3
                eventually(lambda end=end: rows_in(tail) == list(range(end)))  # type: ignore[misc]
            assert heard.is_set()
            follower = tail.topic("log").partitions[0]
            assert len(follower.segments) > 3
            assert follower.event_times(0, 60) == partition.event_times(0, 60)
            assert follower.earliest_after(30) == partition.earliest_after(30)
            partition.delete_before(20)
            topic.append(numbered(60, 61))
            eventually(lambda: rows_in(tail) == list(range(20, 61)))
            with pytest.raises(OffsetOutOfRangeError):
                follower.read(19, 30)
            topic.evolve(AddColumn(pa.field("more", pa.int8()), pa.scalar(7, pa.int8())))
            columns = [*numbered(61, 63).columns, pa.array([1, 2], pa.int8())]
            topic.append(pa.RecordBatch.from_arrays(columns, schema=topic.schema))
            eventually(lambda: rows_in(tail) == list(range(20, 63)))
            read = pa.Table.from_batches(follower.read(59, 63, ["more", "number"]))
            assert read.to_pydict() == {"more": [7, 7, 1, 2], "number": [59, 60, 61, 62]}
            other = folder.create_topic("other", SCHEMA)
            other.append(numbered(0, 5))
            eventually(lambda: "other" in tail.topics and rows_in(tail, "other") == list(range(5)))
            folder.drop_topic("other")
            eventually(lambda: "other" not in tail.topics)
            folder.create_topic("other", SCHEMA).append(numbered(8, 9))
            eventually(lambda: "other" in tail.topics and rows_in(tail, "other") == [8])
            assert tail.notices == ()


def test_nothing_is_shown_before_it_is_durable(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        topic = folder.create_topic("log", SCHEMA)
        topic.append(numbered(0, 1))
        held, syncing = threading.Event(), threading.Event()

        def hold(operation: str, path: Path) -> None:
            if operation == "sync":
                syncing.set()
                held.wait(30)

        with closing(TailFolder(tmp_path)) as tail, faults(hold):
            writer = threading.Thread(target=lambda: topic.append(numbered(1, 4)))
            writer.start()
            assert syncing.wait(30)
            for _ in range(30):
                tail.follow()
                assert rows_in(tail) == [0]
            held.set()
            writer.join()
            eventually(lambda: rows_in(tail) == [0, 1, 2, 3])


def test_no_cut_shows_half_of_an_atomic_append(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        topics = [folder.create_topic(name, SCHEMA, options=SMALL) for name in ("left", "right")]
        folder.append_atomic([(topic, numbered(0, 1), None) for topic in topics])
        done = threading.Event()

        def write() -> None:
            for start in range(1, 200):
                folder.append_atomic([(topic, numbered(start, start + 1), None) for topic in topics])
            done.set()

        with closing(TailFolder(tmp_path)) as tail:
            writer = threading.Thread(target=write)
            writer.start()
            seen = set()
            while not done.is_set():
                ends = tail.cut(["left", "right"])
                assert ends["left"] == ends["right"]
                seen.add(ends["left"][0])
            writer.join()
            assert len(seen) > 3
            eventually(lambda: tail.cut(["left"]) == {"left": [200]})


def test_a_folder_without_an_owner_or_of_format_1_can_be_read(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parent / "format_1.tar.gz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        archive.extractall(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with closing(TailFolder(tmp_path / "format_1_log")) as tail:
        assert rows_in(tail) == list(range(30))
    with headrace.connect(tmp_path / "format_1", read_only=True) as con:
        assert con.execute("SELECT sum(n) FROM totals").fetchone() == (50,)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    with pytest.raises(OperationalError, match="there is no database"):
        TailFolder(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


WRITER = """
import sys
from pathlib import Path
from headrace.storage.folder import Folder
from tests.storage.logs import SCHEMA, numbered
from headrace.storage.topic import TopicOptions
folder = Folder.open(Path(sys.argv[1]))
if "log" not in folder.topics:
    folder.create_topic("log", SCHEMA, options=TopicOptions(segment_bytes=20_000, event_time="at"))
topic = folder.topic("log")
end = topic.partitions[0].end_offset
print(end, flush=True)
while True:
    topic.append(numbered(end, end + 7))
    end += 7
    print(end, flush=True)
"""


def test_a_reader_outlives_writers_that_are_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    seen = 0
    tail: TailFolder | None = None
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "db")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as writer:
            assert writer.stdout is not None
            started = int(writer.stdout.readline())
            assert started >= seen  # what was shown is still there
            tail = tail or TailFolder(tmp_path / "db")
            acknowledged = 0
            while acknowledged < started + 700:
                acknowledged = int(writer.stdout.readline())
            target = acknowledged
            partition = tail.topic("log").partitions[0]
            eventually(lambda partition=partition, target=target: partition.end_offset >= target)  # type: ignore[misc]
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        time.sleep(0.01)
        tail.follow()
        seen = partition.end_offset
        assert rows_in(tail) == list(range(seen))
    assert tail is not None
    assert tail.notices == ()
    tail.close()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM bids (item VARCHAR, price INTEGER)")
        con.execute("CREATE MATERIALIZED VIEW totals AS SELECT item, sum(price) AS total FROM bids GROUP BY item")
        con.execute("INSERT INTO bids VALUES ('a', 1), ('b', 2)")
        yield con


def test_sql_reads_what_the_owner_writes(owner: headrace.Connection, tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db", read_only=True) as reader:
        assert reader.read_only
        query = "SELECT * FROM totals ORDER BY item"
        assert reader.execute(query).fetchall() == [("a", 1), ("b", 2)]
        owner.execute("INSERT INTO bids VALUES ('a', 10)")
        assert reader.execute(query).fetchall() == [("a", 11), ("b", 2)]
        assert reader.execute("VERIFY VIEW totals").fetchone() == owner.execute("VERIFY VIEW totals").fetchone()
        owner.execute("CREATE VIEW dear AS SELECT * FROM totals WHERE total > 5")
        owner.execute("CREATE STREAM more (n INTEGER)")
        owner.execute("INSERT INTO more VALUES (1)")
        assert reader.execute("SELECT * FROM dear").fetchall() == [("a", 11)]
        assert reader.execute("SELECT * FROM more").fetchall() == [(1,)]
        owner.execute("DROP VIEW dear")
        owner.execute("DROP MATERIALIZED VIEW totals")
        owner.execute("CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM bids")
        assert reader.execute("SELECT * FROM totals").fetchall() == [(3,)]
        with pytest.raises(headrace.ProgrammingError):
            reader.execute("SELECT * FROM dear")


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO bids VALUES ('c', 3)",
        "CREATE STREAM other (n INTEGER)",
        "CREATE VIEW other AS SELECT * FROM bids",
        "CREATE MATERIALIZED VIEW other AS SELECT * FROM bids",
        "CREATE OR REPLACE MATERIALIZED VIEW totals AS SELECT 1 AS one",
        "DROP MATERIALIZED VIEW totals",
        "DROP STREAM bids CASCADE",
    ],
)
def test_a_reader_cannot_write(owner: headrace.Connection, tmp_path: Path, sql: str) -> None:
    with headrace.connect(tmp_path / "db", read_only=True) as reader:
        with pytest.raises(headrace.OperationalError, match="open for reading only") as caught:
            reader.execute(sql)
        assert str(os.getpid()) in str(caught.value.detail)
        assert reader.execute("SELECT count(*) FROM bids").fetchone() == (2,)
        assert reader.execute("SELECT count(*) FROM totals").fetchone() == (2,)
        assert len(reader.relations()) == len(owner.relations())


def test_a_reader_subscribes_to_what_the_owner_writes(owner: headrace.Connection, tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db", read_only=True) as reader:
        changes = iter(reader.execute("SUBSCRIBE totals"))
        assert {next(changes)[1:] for _ in range(2)} == {("+I", "a", 1), ("+I", "b", 2)}
        owner.execute("INSERT INTO bids VALUES ('c', 3)")
        assert next(changes)[1:] == ("+I", "c", 3)


def test_times_of_rows_nobody_acknowledged_are_not_known(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        topic: Topic = folder.create_topic("log", SCHEMA, options=SMALL)
        topic.append(numbered(5, 6))
        rows = numbered(0, 1)
        topic.partitions[0].append([(rows, Times(1, 0, 0))], topic.version)
        copy = tmp_path.with_name(tmp_path.name + "-copy")
        shutil.copytree(tmp_path, copy)
    with closing(TailFolder(copy)) as tail:
        assert rows_in(tail) == [5]
        assert tail.topic("log").partitions[0].earliest_after(0) == 5000
