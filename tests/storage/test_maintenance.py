"""Retention and coalescing: what goes and what stays, for readers in the middle, crashes and faults at every call."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from headrace.storage import maintenance
from headrace.storage.errors import OffsetOutOfRangeError, OperationalError
from headrace.storage.files import faults
from headrace.storage.folder import Folder
from headrace.storage.tail import TailFolder
from headrace.storage.topic import Partition, Topic, TopicOptions

from .logs import SCHEMA, files_of, numbered, numbers_of, rows_of

HOUR_US = 3_600_000_000


def make(path: Path, frames: int = 12, partitions: int = 1, **options: object) -> tuple[Folder, Topic]:
    """Three rows per frame, and a few frames per segment."""
    folder = Folder.open(path)
    topic = folder.create_topic(
        "log", SCHEMA, partitions=partitions, options=TopicOptions(**{"segment_bytes": 1200, **options})
    )
    for start in range(0, 3 * frames, 3):
        topic.append(numbered(start, start + 3))
    return folder, topic


def last_append(partition: Partition) -> int:
    return max(partition.segments[-1].index.append_times, default=0) or max(partition.segments[-2].index.append_times)


def test_old_segments_go_and_their_files_with_them(tmp_path: Path) -> None:
    folder, topic = make(tmp_path, retention_ms=1000)
    (partition,) = topic.partitions
    with closing(folder):
        times = [segment.index.append_times[-1] for segment in partition.segments]
        begun = partition.segments[0].read(0, 3)
        third = partition.segments[2].base_offset
        assert folder.maintain(times[1] + 1_000_000) == ()
        assert partition.start_offset == partition.segments[0].base_offset > 0
        assert partition.start_offset <= third
        with pytest.raises(OffsetOutOfRangeError, match=f"the log begins at {partition.start_offset}"):
            partition.read(0, 3)
        assert numbers_of(partition) == list(range(partition.start_offset, 36))
        assert begun[0][0].column(0).to_pylist() == [0, 1, 2]
        assert files_of(partition) == {segment.path.name for segment in partition.segments}
        folder.maintain(times[-1] + 1_000_001)  # the active segment is sealed and goes
        assert (partition.start_offset, partition.end_offset) == (36, 36)
        topic.append(numbered(36, 40))
        assert numbers_of(partition) == [36, 37, 38, 39]
    with closing(Folder.open(tmp_path)) as folder:
        (partition,) = folder.topic("log").partitions
        assert (partition.start_offset, partition.end_offset) == (36, 40)
        assert numbers_of(partition) == [36, 37, 38, 39]


def test_a_segment_that_takes_rows_for_longer_than_they_are_kept_is_sealed(tmp_path: Path) -> None:
    folder, topic = make(tmp_path, frames=2, segment_bytes=1 << 20, retention_ms=1000)
    (partition,) = topic.partitions
    with closing(folder):
        first, last = partition.segments[-1].index.append_times
        assert first < last
        folder.maintain(first + 1_000_001)
        assert [segment.empty for segment in partition.segments] == [False, True]
        assert numbers_of(partition) == list(range(6))
        folder.maintain(last + 1_000_001)
        assert partition.start_offset == 6


def test_the_oldest_segments_of_all_partitions_go_until_the_rest_fits(tmp_path: Path) -> None:
    folder, topic = make(tmp_path, frames=24, partitions=2)
    with closing(folder):
        size = sum(s.entry.size_bytes if s.entry else s.size for p in topic.partitions for s in p.segments)
        topic.set_options(replace(topic.options, retention_bytes=size // 2))
        kept = {p: [s for s in p.segments if s.entry is not None] for p in topic.partitions}
        folder.maintain()
        left = sum(s.entry.size_bytes if s.entry else s.size for p in topic.partitions for s in p.segments)
        assert size // 4 < left <= size // 2
        gone = [s for p in topic.partitions for s in kept[p] if s.end_offset <= p.start_offset]
        stay = [s for p in topic.partitions for s in kept[p] if s.end_offset > p.start_offset]
        assert gone
        assert stay
        assert max(max(s.index.append_times) for s in gone) <= min(max(s.index.append_times) for s in stay)
        for partition in topic.partitions:
            assert partition.start_offset > 0
        topic.set_options(replace(topic.options, retention_bytes=1))
        folder.maintain()
        assert all(len(p.segments) == 1 for p in topic.partitions)  # what takes rows stays


def test_coalescing_keeps_rows_offsets_and_times(tmp_path: Path) -> None:
    folder, topic = make(tmp_path, frames=40, event_time="at", segment_bytes=4000)
    (partition,) = topic.partitions
    with closing(folder):
        before, old = partition.segments, numbers_of(partition)
        times = [partition.event_times(n, n + 1) for n in range(120)]
        appended = sorted({time for segment in before for time in segment.index.append_times})
        offsets = [partition.offset_at(time) for time in appended]
        earliest = [partition.earliest_after(n) for n in range(120)]
        folder.maintain()
        sealed = partition.segments[:-1]
        assert 0 < len(sealed) < len(before)
        assert all(len(segment.index.offsets) == 1 for segment in sealed)
        assert files_of(partition) == {segment.path.name for segment in partition.segments}
        assert {path.name for path in partition.folder.glob("*.idx")} == {
            s.path.with_suffix(".idx").name for s in sealed
        }
        for _ in range(2):
            assert numbers_of(partition) == old
            for n in (0, 7, 35, 119):
                (batch,) = partition.read(n, n + 1, ["_offset", "number"])
                assert batch.to_pylist() == [{"_offset": n, "number": n}]
            for n, bounds in enumerate(times):
                now = partition.event_times(n, n + 1)
                assert now[0] <= bounds[0] <= bounds[1] <= now[1]
                assert partition.earliest_after(n) <= earliest[n]
            for time, offset in zip(appended, offsets, strict=True):
                assert partition.offset_at(time) <= offset  # no row appended at that time or later is left out
            assert partition.offset_at(appended[-1] + 1) == 120
            generations = [segment.path.name for segment in partition.segments]
            folder.maintain()
            assert [segment.path.name for segment in partition.segments] == generations  # nothing is left to do
            folder.close()
            folder = Folder.open(tmp_path)
            (partition,) = folder.topic("log").partitions
        folder.close()


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_a_coalesced_segment_is_an_arrow_file(tmp_path: Path, compression: str | None) -> None:
    folder, topic = make(tmp_path, frames=40, segment_bytes=1 << 20)
    with closing(folder):
        topic.set_options(replace(topic.options, compression=compression))
        (partition,) = topic.partitions
        partition.seal()
        size = partition.segments[0].entry.size_bytes
        folder.maintain()
        segment = partition.segments[0]
        assert pa.ipc.open_file(str(segment.path)).read_all().equals(pa.Table.from_batches([numbered(0, 120)]))
        assert segment.entry.size_bytes < size // 2
        assert segment.entry.size_bytes == segment.path.stat().st_size


def test_segments_are_joined_up_to_their_size_and_never_across_schemas(tmp_path: Path) -> None:
    from headrace.storage.schema import AddColumn

    folder, topic = make(tmp_path, frames=0, segment_bytes=20_000)
    (partition,) = topic.partitions
    with closing(folder):
        written = 0
        for number in range(200):
            rows = numbered(10 * number, 10 * number + 10)
            topic.append(rows if number < 100 else rows.append_column("more", pa.array(range(10), pa.int64())))
            partition.seal()
            if number == 99:
                topic.evolve(AddColumn(pa.field("more", pa.int64())))
            if number % 10 == 9:
                before = {segment.path for segment in partition.segments}
                folder.maintain()
                written += sum(s.end_offset - s.base_offset for s in partition.segments if s.path not in before)
        sealed = partition.segments[:-1]
        assert 2 * 1000 * 40 // 20_000 <= len(sealed) <= 20
        assert all(segment.entry.size_bytes <= 20_000 for segment in sealed)
        assert 1000 in [segment.base_offset for segment in sealed]
        assert written < 2000 * 4  # a row is not written anew in each round
        assert numbers_of(partition) == list(range(2000))
        assert partition.read(995, 1005, ["more"])[0].column(0).null_count == 5


def test_joined_segments_do_not_prolong_what_is_kept(tmp_path: Path) -> None:
    folder, topic = make(tmp_path, frames=0, segment_bytes=1 << 20, retention_ms=8 * 60_000)
    (partition,) = topic.partitions
    with closing(folder):
        for start in range(0, 12, 3):
            topic.append(numbered(start, start + 3))
            partition.seal()
        topic.set_options(replace(topic.options, retention_ms=8))  # joined within one millisecond
        times = [segment.index.append_times[0] for segment in partition.segments[:-1]]
        folder.maintain(times[0])
        joined = [segment.entry.append_times for segment in partition.segments[:-1]]
        assert all(last - first <= 1000 for first, last in joined)


def test_rows_are_appended_and_read_meanwhile(tmp_path: Path) -> None:
    folder, topic = make(tmp_path, frames=0, segment_bytes=3000)
    (partition,) = topic.partitions
    done = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not done.is_set():
            end = partition.end_offset
            numbers = [n for batch in partition.read(0, end) for n in batch.column(0).to_pylist()]
            if numbers != list(range(end)):
                wrong.append(numbers)

    def tend() -> None:
        while not done.is_set():
            wrong.extend(folder.maintain())

    with closing(folder):
        threads = [threading.Thread(target=run) for run in (read, tend, tend)]
        for thread in threads:
            thread.start()
        for start in range(0, 1500, 3):
            topic.append(numbered(start, start + 3), wait=False)
        done.set()
        for thread in threads:
            thread.join()
        assert not wrong
        folder.maintain()
        assert numbers_of(partition) == list(range(1500))
        assert any(".g" in name for name in files_of(partition))


def test_another_process_reads_on_in_files_that_are_gone(tmp_path: Path) -> None:
    folder, topic = make(tmp_path)
    tail = TailFolder(tmp_path)
    with closing(folder), closing(tail):
        (partition,) = tail.topic("log").partitions
        segments = partition.segments
        folder.maintain()
        assert not segments[0].path.exists()
        rows = [batch for segment in segments for batch, _ in segment.read(segment.base_offset, segment.end_offset)]
        assert [n for batch in rows for n in batch.column(0).to_pylist()] == list(range(36))
        topic.append(numbered(36, 39))
        while partition.end_offset < 39:
            tail.follow()
        assert numbers_of(partition) == list(range(39))
        assert [segment.path.name for segment in partition.segments] == [
            segment.path.name for segment in topic.partitions[0].segments
        ]


def test_a_crash_at_every_call_loses_nothing(tmp_path: Path) -> None:
    """The folder is copied at each call of two rounds, and opened: the rows that were not yet too old are all there."""
    copies = 0

    def copy(operation: str, path: Path) -> None:
        nonlocal copies
        copies += 1
        shutil.copytree(tmp_path / "db", tmp_path / f"copy-{copies}")

    folder, topic = make(tmp_path / "db", retention_ms=1_000)
    (partition,) = topic.partitions
    first = partition.segments[0]
    with closing(folder), faults(copy):
        folder.maintain(first.index.append_times[0])
        begin = partition.segments[0].end_offset
        folder.maintain(partition.segments[0].entry.append_times[1] + 1_000_001)
        assert partition.start_offset >= begin
        expected = numbers_of(partition)
    assert copies > 15
    starts = set()
    for number in range(1, copies + 1):
        with closing(Folder.open(tmp_path / f"copy-{number}")) as folder:
            (partition,) = folder.topic("log").partitions
            rows = numbers_of(partition)
            starts.add(partition.start_offset)
            assert rows == list(range(partition.start_offset, 36))
            assert set(rows) >= set(expected)
            assert folder.notices == ()
            known = {s.path.name for s in partition.segments} | {
                s.path.with_suffix(".idx").name for s in partition.segments[:-1]
            }
            found = {path.name for path in partition.folder.iterdir()} - {"CURRENT", "ctl"}
            assert {name for name in found if not name.startswith("MANIFEST")} <= known
            folder.topic("log").append(numbered(36, 40))
            assert folder.maintain(0) == ()
            assert numbers_of(partition)[-4:] == [36, 37, 38, 39]
    assert len(starts) == 2


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_fault_at_every_call_is_told_and_loses_nothing(tmp_path: Path, code: int) -> None:
    call = 0
    struck = True
    while struck:
        call += 1
        struck = False
        calls = 0

        def fault(operation: str, path: Path) -> None:
            nonlocal calls, struck
            calls += 1
            if calls == call:  # noqa: B023 - it is called within this round
                struck = True
                raise OSError(code, os.strerror(code))

        path = tmp_path / str(call)
        folder, topic = make(path)
        with closing(folder):
            with faults(fault):
                notices = folder.maintain()
            assert numbers_of(topic.partitions[0]) == list(range(36))
            if notices:
                assert struck
                assert notices == folder.notices
                assert notices[0].startswith('could not tend "log": could not ')
                assert os.strerror(code).lower() in notices[0]
            try:
                topic.append(numbered(36, 39))
                end = 39
            except OperationalError:
                assert struck
                end = 36
        with closing(Folder.open(path)) as folder:
            (partition,) = folder.topic("log").partitions
            assert numbers_of(partition) == list(range(end))
            assert folder.maintain() == ()
            assert numbers_of(partition) == list(range(end))
    assert call > 15


def test_damage_is_not_copied_under_a_new_checksum(tmp_path: Path) -> None:
    folder, topic = make(tmp_path)
    other = folder.create_topic("other", SCHEMA, options=topic.options)
    with closing(folder):
        for start in range(0, 36, 3):
            other.append(numbered(start, start + 3))
        (partition,) = topic.partitions
        segment = partition.segments[1]
        with segment.path.open("r+b") as file:
            file.seek(segment.index.positions[1] + 500)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))

        (notice,) = folder.maintain()
        assert notice == f'could not tend "log": cannot read "{segment.path}": acknowledged rows are damaged'
        assert segment.path.name in files_of(partition)
        assert files_of(partition) == {segment.path.name for segment in partition.segments}
        assert all(".g" in one.path.name for one in other.partitions[0].segments[:-1])  # others had their turn


def test_the_thread_runs_by_itself_and_ends_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "MAINTENANCE_INTERVAL_S", 0.001)
    others = set(threading.enumerate())
    folder, topic = make(tmp_path)
    (partition,) = topic.partitions
    coalesced = threading.Event()
    while not coalesced.wait(0.001):
        if all(".g" in segment.path.name for segment in partition.segments[:-1]):
            coalesced.set()
    assert [thread.name for thread in set(threading.enumerate()) - others] == ["headrace-maintenance"]
    folder.close()
    assert not set(threading.enumerate()) - others


def test_a_topic_is_dropped_while_it_is_tended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "MAINTENANCE_INTERVAL_S", 0.0)
    with closing(Folder.open(tmp_path)) as folder:
        for _ in range(20):
            topic = folder.create_topic("log", SCHEMA, options=TopicOptions(segment_bytes=2500))
            for start in range(0, 30, 3):
                topic.append(numbered(start, start + 3), wait=start < 27)
            topic.sync()
            assert rows_of(topic) == list(range(30))
            folder.drop_topic("log")
            assert not topic.folder.exists()
        assert folder.notices == ()
