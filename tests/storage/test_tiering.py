"""Segments that move elsewhere, to a disk, to S3: the same rows, here, in views and in other processes."""

from __future__ import annotations

import errno
import shutil
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import headrace
from headrace.storage import limits
from headrace.storage.errors import OffsetOutOfRangeError, OperationalError, ProgrammingError
from headrace.storage.folder import Folder
from headrace.storage.tail import TailFolder
from headrace.storage.topic import Partition, TopicOptions

from .logs import SCHEMA, numbered, numbers_of, rows_of
from .remotes import Place, cached, local_files, make, open_folder


def times_of(partition: Partition) -> list[object]:
    ends = range(partition.end_offset)
    appended = sorted({segment.entry.append_times[1] for segment in partition.segments[:-1]})
    return [
        [partition.event_times(n, n + 1) for n in ends],
        [partition.earliest_after(n) for n in ends],
        [partition.offset_at(time) for time in appended],
    ]


def test_rows_and_times_are_the_same_elsewhere(tmp_path: Path, place: Place) -> None:
    folder, topic = make(tmp_path, place, tier=None)
    (partition,) = topic.partitions
    with closing(folder):
        assert folder.maintain() == ()
        rows, times = numbers_of(partition), times_of(partition)
        before = partition.segments
        topic.set_options(replace(topic.options, tier=place.base))
        assert folder.maintain() == ()
        assert [segment.remote for segment in partition.segments] == [True] * (len(before) - 1) + [False]
        assert len(before) > 3
        assert local_files(partition) == [before[-1].path.name]
        assert sorted(segment.entry.remote.partition("?")[0] for segment in partition.segments[:-1]) == place.files()
        assert times_of(partition) == times
        assert not cached(folder)  # times need no file
        assert numbers_of(partition) == rows
        assert cached(folder) == {
            Path(s.entry.remote.partition("?")[0]).name: s.entry.size_bytes for s in partition.segments[:-1]
        }
        for start, end in [(0, 1), (5, 6), (4, 30), (35, 36)]:
            batches = partition.read(start, end, ["_offset", "text"])
            found = [row for batch in batches for row in batch.to_pylist()]
            assert [row["_offset"] for row in found] == list(range(start, end))
        old = [batch for segment in before[:-1] for batch, _ in segment.read(segment.base_offset, segment.end_offset)]
        assert [n for batch in old for n in batch.column(0).to_pylist()] == rows[: before[-1].base_offset]
        topic.append(numbered(36, 39))
        assert numbers_of(partition) == list(range(39))
        assert folder.maintain() == ()
    with closing(open_folder(tmp_path, place)) as folder:
        (partition,) = folder.topic("Log").partitions
        end = before[-1].base_offset
        assert times_of(partition)[0][:end] == times[0][:end]
        assert numbers_of(partition) == list(range(39))


def test_a_topic_opens_with_its_manifest_alone(tmp_path: Path, place: Place) -> None:
    folder, _ = make(tmp_path, place)
    with closing(folder):
        folder.maintain()
    with closing(open_folder(tmp_path, place)) as folder:
        (partition,) = folder.topic("Log").partitions
        times = times_of(partition)
    kept = {"CURRENT", "ctl", partition.segments[-1].path.name}
    for path in partition.folder.iterdir():
        if path.name not in kept and not path.name.startswith("MANIFEST"):
            path.unlink()
    with closing(open_folder(tmp_path, place)) as folder:
        (partition,) = folder.topic("Log").partitions
        assert not cached(folder)
        bounds = partition.event_times(4, 5)
        assert bounds[0] <= 4000 <= bounds[1]  # those of the whole segment, so long as nobody has read it
        assert partition.earliest_after(4) <= 4000
        assert partition.offset_at(0) == 0
        assert partition.start_offset == 0
        assert partition.end_offset == 36
        assert not cached(folder)
        assert numbers_of(partition) == list(range(36))
        assert times_of(partition)[0] == times[0]
    with closing(open_folder(tmp_path, place)) as folder:
        assert times_of(folder.topic("Log").partitions[0]) == times


def test_compacted_segments_move_too(tmp_path: Path, here: Place) -> None:
    folder = open_folder(tmp_path, here)
    options = TopicOptions(segment_bytes=1500, cleanup="compact", event_time="at")
    topic = folder.create_topic("Log", SCHEMA, key=["text"], options=options)
    for step in (3, 6, 9, 15):  # some rows of each segment come again, and some do not
        for start in range(0, 90, step):
            topic.append(numbered(start, start + 3))
    columns = ["_offset", "number"]
    with closing(folder):
        assert folder.maintain() == ()
        (partition,) = topic.partitions
        rows = [row for batch in partition.read(0, partition.end_offset, columns) for row in batch.to_pylist()]
        assert len(rows) < partition.end_offset
        assert any(segment.sparse for segment in partition.segments)
        topic.set_options(replace(topic.options, tier=here.base))
        assert folder.maintain() == ()
        assert all(segment.remote for segment in partition.segments[:-1])
        for path in partition.folder.glob("*.idx"):
            path.unlink()
    for _ in range(2):  # without a frame index, and with one that was built anew
        with closing(open_folder(tmp_path, here)) as folder:
            (partition,) = folder.topic("Log").partitions
            assert [
                row for batch in partition.read(0, partition.end_offset, columns) for row in batch.to_pylist()
            ] == rows
            assert folder.maintain() == ()


def test_segments_move_when_they_are_old(tmp_path: Path, here: Place) -> None:
    folder, topic = make(tmp_path, here, tier_after_ms=1000)
    (partition,) = topic.partitions
    with closing(folder):
        folder.maintain()
        assert not here.files()
        second = partition.segments[1].entry.append_times[1]
        folder.maintain(second + 1_000_001)
        assert [segment.remote for segment in partition.segments][:2] == [True, True]
        assert len(here.files()) == sum(s.remote and s.entry.append_times[1] <= second for s in partition.segments)
        folder.maintain(second + 3_600_000_000)
        assert all(segment.remote for segment in partition.segments[:-1])
        assert not partition.segments[-1].remote
        assert numbers_of(partition) == list(range(36))


def test_the_oldest_segments_move_until_the_rest_fits(tmp_path: Path, here: Place) -> None:
    folder, _ = make(tmp_path, here, frames=0, tier=None)
    with closing(folder):
        log = folder.create_topic("two", SCHEMA, partitions=2, options=TopicOptions(segment_bytes=1500))
        for start in range(0, 90, 3):
            log.append(numbered(start, start + 3))
        folder.maintain()
        segments = [segment for partition in log.partitions for segment in partition.segments]
        size = sum(segment.entry.size_bytes if segment.entry else segment.size for segment in segments)
        log.set_options(replace(log.options, tier=here.base, local_bytes=size // 2))
        folder.maintain()
        segments = [segment for partition in log.partitions for segment in partition.segments]
        local = [segment for segment in segments if not segment.remote]
        left = sum(segment.entry.size_bytes if segment.entry else segment.size for segment in local)
        assert size // 4 < left <= size // 2
        moved = [segment.entry.append_times[1] for segment in segments if segment.remote]
        stayed = [segment.entry.append_times[1] for segment in local if segment.entry]
        assert max(moved) <= min(stayed)
        assert rows_of(log) == list(range(90))
        moved_files = here.files()
        folder.maintain()
        assert here.files() == moved_files


def test_deletion_removes_what_is_elsewhere(tmp_path: Path, place: Place) -> None:
    folder, topic = make(tmp_path, place, frames=30, retention_ms=3_600_000)
    (partition,) = topic.partitions
    with closing(folder):
        assert folder.maintain() == ()
        numbers_of(partition)
        before = place.files()
        topic.delete_before(0, partition.segments[1].end_offset + 1)
        assert folder.maintain() == ()
        assert place.files() == before[2:]
        assert len(cached(folder)) == len(before) - 2
        assert numbers_of(partition) == list(range(partition.start_offset, 90))
        with pytest.raises(OffsetOutOfRangeError):
            partition.read(0, 90)
        last = partition.segments[2].entry.append_times[1]
        assert folder.maintain(last + 3_600_000_001) == ()
        assert place.files() == [s.entry.remote.partition("?")[0] for s in partition.segments[:-1]]
        assert 0 < len(place.files()) < len(before) - 2
        other = folder.create_topic("other", SCHEMA, options=topic.options)
        for start in range(0, 30, 3):
            other.append(numbered(start, start + 3))
        folder.maintain()
        kept = [uri for uri in place.files() if "other" in uri]
        folder.drop_topic("Log")
        assert folder.maintain() == ()
        assert place.files() == kept
        assert kept
        folder.create_topic("Log", SCHEMA, options=topic.options).append(numbered(0, 3))
        assert rows_of(other) == list(range(30))
        folder.drop_topic("other")
        shutil.rmtree(folder.path / "cache")
    with closing(open_folder(tmp_path, place)) as folder:
        assert folder.maintain() == ()
        assert place.files() == []
        assert rows_of(folder.topic("Log")) == [0, 1, 2]


def test_another_process_reads_what_is_elsewhere_and_writes_nothing_here(tmp_path: Path, place: Place) -> None:
    folder, topic = make(tmp_path, place)
    with closing(folder):
        with closing(TailFolder(tmp_path / "db", remote=place.remote())) as tail:
            (partition,) = tail.topic("Log").partitions
            assert numbers_of(partition) == list(range(36))
            assert folder.maintain() == ()
            topic.append(numbered(36, 39))
            while partition.end_offset < 39:
                tail.follow()
            assert [s.remote for s in partition.segments] == [s.remote for s in topic.partitions[0].segments]
            assert numbers_of(partition) == list(range(39))
        for path in topic.partitions[0].folder.glob("*.idx"):
            path.unlink()
        before = sorted((tmp_path / "db").rglob("*"))
        with closing(TailFolder(tmp_path / "db", remote=place.remote())) as tail:
            (partition,) = tail.topic("Log").partitions
            assert numbers_of(partition) == list(range(39))
            assert sorted((tmp_path / "db").rglob("*")) == before
            held = partition.read(0, 12)
            topic.delete_before(0, 20)
            assert folder.maintain() == ()
            while partition.start_offset < 20:
                tail.follow()
            assert [n for batch in held for n in batch.column(0).to_pylist()] == list(range(12))
            assert numbers_of(partition) == list(range(20, 39))
            assert tail.notices == ()


def test_a_view_over_a_stream_that_is_elsewhere(tmp_path: Path, place: Place) -> None:
    given = place.remote()._given
    with headrace.connect(tmp_path / "db", filesystems=given) as con:
        con.execute(
            f"CREATE STREAM clicks (page BIGINT, moment TIMESTAMP) WITH (segment_bytes = 2000, tier = '{place.base}')"
        )
        for start in range(0, 300, 10):
            moments = pa.array([start] * 10, pa.timestamp("us"))
            con.append("clicks", pa.table({"page": range(start, start + 10), "moment": moments}))
        folder = con._database.folder
        assert folder.maintain() == ()
        assert place.files()
        (moved,) = con.execute("SELECT count(*) FROM system.segments WHERE topic = 'clicks' AND remote").fetchone()
        assert moved == len(place.files())
        con.execute("CREATE MATERIALIZED VIEW pages AS SELECT page % 7 AS rest, count(*) AS n FROM clicks GROUP BY ALL")
        query = "SELECT count(*), sum(page) FROM clicks"
        rows = con.execute("SELECT * FROM pages ORDER BY rest").fetchall()
        assert rows == [(rest, len(range(rest, 300, 7))) for rest in range(7)]
        assert con.execute(query).fetchone() == (300, sum(range(300)))
        with headrace.connect(tmp_path / "db", read_only=True, filesystems=given) as reader:
            assert reader.execute("SELECT * FROM pages ORDER BY rest").fetchall() == rows
            assert reader.execute(query).fetchone() == (300, sum(range(300)))
    shutil.rmtree(tmp_path / "db" / "cache")
    with headrace.connect(tmp_path / "db", filesystems=given, cache_bytes=1) as con:
        assert con.execute("SELECT * FROM pages ORDER BY rest").fetchall() == rows
        assert con.execute(query).fetchone() == (300, sum(range(300)))
        con.execute("DROP STREAM clicks CASCADE")
        assert con._database.folder.maintain() == ()
        assert place.files() == []


def test_a_view_waits_for_history_that_cannot_be_reached(
    tmp_path: Path, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNREAD_RETRY_S", 0.01)
    given = here.remote()._given
    with headrace.connect(tmp_path / "db", filesystems=given) as con:
        con.execute(f"CREATE STREAM clicks (page BIGINT) WITH (segment_bytes = 2000, tier = '{here.base}')")
        con.execute("CREATE STREAM other (n BIGINT)")
        for start in range(0, 300, 10):
            con.append("clicks", pa.table({"page": range(start, start + 10)}))
        con._database.folder.maintain()
        con.execute("CREATE MATERIALIZED VIEW pages AS SELECT page % 7 AS rest, count(*) AS n FROM clicks GROUP BY ALL")
        con.execute("CREATE MATERIALIZED VIEW others AS SELECT count(*) AS n FROM other")
    shutil.rmtree(tmp_path / "db" / "cache")

    def fail(operation: str, path: str) -> None:
        raise OSError(errno.ETIMEDOUT, "Connection timed out")

    here.watched.tell = fail
    with headrace.connect(tmp_path / "db", filesystems=given) as con:
        with pytest.raises(OperationalError, match="could not fetch the segment"):
            con.execute("SELECT * FROM pages")
        for query in ("SELECT * FROM pages", "SELECT count(*) FROM clicks", "SELECT * FROM others"):
            con.execute("INSERT INTO clicks VALUES (1000)")  # appending goes on, and reading waits for this row
            with pytest.raises(OperationalError, match="could not fetch the segment"):
                con.execute(query)
        here.watched.tell = lambda operation, path: None
        assert eventually(con, "SELECT sum(n) FROM pages") == (303,)
        assert con.execute("SELECT count(*) FROM clicks").fetchone() == (303,)
        assert con.execute("SELECT * FROM others").fetchone() == (0,)


def eventually(con: headrace.Connection, query: str) -> object:
    """The first row, once no segment that is wanted is out of reach."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return con.execute(query).fetchone()
        except OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("tier", "reason"),
    [
        ("/mnt/cold", "cannot keep segments at"),
        ("ftp://host/x", "cannot keep segments at"),
        ("s3:prefix", "cannot keep segments at"),
        ("s3://key:secret@bucket/x", "cannot keep a secret"),
        ("s3://key@bucket/x", "cannot keep a secret"),
        ("s3://bucket/x?region=eu-west-1&secret_key=x", "cannot keep a secret"),
        ("abfs://container:key@account.dfs.core.windows.net/x", "cannot keep a secret"),
    ],
)
def test_where_segments_cannot_go(tmp_path: Path, tier: str, reason: str) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        with pytest.raises(ProgrammingError, match=reason) as caught:
            folder.create_topic("log", SCHEMA, options=TopicOptions(tier=tier))
        assert caught.value.hint
        assert not folder.topics
        topic = folder.create_topic("log", SCHEMA)
        with pytest.raises(ProgrammingError, match=reason):
            topic.set_options(TopicOptions(tier=tier))
    assert "secret_key" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_a_database_in_memory_keeps_its_rows(tmp_path: Path) -> None:
    with closing(Folder.open(None)) as folder, pytest.raises(ProgrammingError, match="the database is in memory"):
        folder.create_topic("log", SCHEMA, options=TopicOptions(tier=tmp_path.as_uri()))
