"""Compaction: of each key the last row stays at its offset, a deletion for its time; who reads meanwhile reads on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.storage import compaction
from headrace.storage.folder import Folder
from headrace.storage.tail import TailFolder
from headrace.storage.topic import Partition

from .keyed_logs import in_days, make, put
from .logs import files_of, rows_at


def paths(partition: Partition) -> list[str]:
    return [segment.path.name for segment in partition.segments]


def test_the_last_row_of_each_key_stays_at_its_offset(tmp_path: Path) -> None:
    folder, topic = make(tmp_path)
    (partition,) = topic.partitions
    with closing(folder):
        put(topic, ("a", 1), ("b", 2), ("a", 3), (None, 4), ("", 5))
        put(topic, ("b", 6), (None, 7), ("c", 8), ("b", 9))
        put(topic, ("a", 10), ("d", 11), seal=False)
        expected = {4: ("", 5), 6: (None, 7), 7: ("c", 8), 8: ("b", 9), 9: ("a", 10), 10: ("d", 11)}
        assert folder.maintain() == ()
        for _ in range(2):
            assert rows_at(partition) == expected
            assert (partition.start_offset, partition.end_offset) == (0, 11)
            assert partition.read(0, 4) == []
            assert [batch.to_pydict() for batch in partition.read(5, 8, ["value", "_offset"])] == [
                {"value": [7, 8], "_offset": [6, 7]}
            ]
            folder.close()
            for path in partition.folder.glob("*.idx"):  # they are built again
                path.unlink()
            folder = Folder.open(tmp_path)
            (partition,) = folder.topic("log").partitions
        folder.close()


def test_a_compacted_segment_is_an_arrow_file_with_offsets(tmp_path: Path) -> None:
    folder, topic = make(tmp_path, compression="zstd")
    with closing(folder):
        (partition,) = topic.partitions
        put(topic, ("a", 1), ("b", 2), ("a", 3))
        folder.maintain()
        (segment, _) = partition.segments
        assert segment.path.name == f"{0:020d}.g1.arrow"
        table = pa.ipc.open_file(str(segment.path)).read_all()
        assert table.to_pydict() == {"_offset": [1, 2], "key": ["b", "a"], "value": [2, 3]}
        assert (segment.entry.rows, segment.entry.base_offset, segment.entry.end_offset) == (2, 0, 3)
        assert files_of(partition) == set(paths(partition))


def test_segments_that_lose_all_rows_go(tmp_path: Path) -> None:
    folder, topic = make(tmp_path)
    (partition,) = topic.partitions
    with closing(folder):
        put(topic, ("a", 1), ("b", 2))
        put(topic, ("c", 3), ("d", 4))
        put(topic, ("a", 5), ("b", 6))
        put(topic, ("c", 7), ("d", 8), seal=False)
        folder.maintain()
        assert len(partition.segments) == 2
        assert files_of(partition) == set(paths(partition))
        for _ in range(2):
            assert (partition.start_offset, partition.end_offset) == (0, 8)
            assert rows_at(partition) == {4: ("a", 5), 5: ("b", 6), 6: ("c", 7), 7: ("d", 8)}
            assert partition.read(0, 4) == partition.read(1, 3) == []
            folder.close()
            folder = Folder.open(tmp_path)
            (partition,) = folder.topic("log").partitions
        folder.close()


def test_a_deletion_stays_for_its_time_and_goes_then(tmp_path: Path) -> None:
    folder, topic = make(tmp_path, tombstone_retention_ms=3_600_000)
    (partition,) = topic.partitions
    with closing(folder):
        put(topic, ("a", 1), ("b", 2), ("gone", 3), ("back", 4))
        put(topic, ("gone", None), ("back", None), ("never", None))
        put(topic, ("back", 8), seal=False)
        folder.maintain()
        assert rows_at(partition) == {0: ("a", 1), 1: ("b", 2), 4: ("gone", None), 6: ("never", None), 7: ("back", 8)}
        before = paths(partition)
        folder.maintain(in_days(0.9 / 24))
        assert paths(partition) == before
        folder.maintain(in_days(1.1 / 24))
        assert rows_at(partition) == {0: ("a", 1), 1: ("b", 2), 7: ("back", 8)}
        put(topic, ("back", None))
        folder.maintain(in_days(1))  # in one round: the row, and then the deletion
        assert rows_at(partition) == {0: ("a", 1), 1: ("b", 2)}


def test_a_shorter_time_for_deletions_is_in_force_at_once(tmp_path: Path) -> None:
    folder, topic = make(tmp_path)
    with closing(folder):
        put(topic, ("a", None), ("b", 1))
        folder.maintain(in_days(0.5))
        assert len(rows_at(topic.partitions[0])) == 2
        topic.set_options(replace(topic.options, tombstone_retention_ms=1000))
        folder.maintain(in_days(0.5))
        assert rows_at(topic.partitions[0]) == {1: ("b", 1)}


def test_a_deletion_stays_while_a_row_that_it_deletes_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "COMPACTED_SHARE_MIN", 0.5)
    folder, topic = make(tmp_path)
    (partition,) = topic.partitions
    with closing(folder):
        put(topic, ("x", 0), ("a", 1), ("b", 2), ("c", 3))
        put(topic, ("x", None), ("y", None))
        for _ in range(2):
            folder.maintain(in_days(2))
            rows = rows_at(partition)
            assert rows[0] == ("x", 0)  # as only a quarter of its segment is to go
            assert rows[4] == ("x", None)
            assert 5 not in rows
        put(topic, ("a", 6), ("b", 7), ("y", 8), ("d", 9), ("e", 10))  # half of all is new
        folder.maintain(in_days(2))
        assert list(rows_at(partition)) == [3, 6, 7, 8, 9, 10]


def test_little_that_goes_is_not_worth_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    find = compaction.find_last_rows

    def counted(*arguments: Any, **named: Any) -> Any:
        looks.append(1)
        return find(*arguments, **named)

    monkeypatch.setattr(compaction, "find_last_rows", counted)
    folder, topic = make(tmp_path)
    (partition,) = topic.partitions
    with closing(folder):
        put(topic, *((f"{n}", n) for n in range(100)))
        for _ in range(3):
            folder.maintain()
        assert len(looks) == 1
        put(topic, *((f"{n}", n) for n in range(24)))  # a quarter of all is 31
        folder.maintain()
        assert len(looks) == 1
        partition.seal()
        put(topic, *((f"{n}", n) for n in range(100, 118)))
        folder.maintain()
        assert len(looks) == 2
        assert len(rows_at(partition)) == 142  # 24 of the first hundred might go
        put(topic, *((f"{n}", n) for n in range(24, 50)))
        put(topic, *((f"{n}", n) for n in range(200, 230)))
        folder.maintain()
        assert len(looks) == 3
        assert sorted(int(row[0]) for row in rows_at(partition).values()) == [*range(118), *range(200, 230)]
        before = paths(partition)
        for _ in range(3):
            folder.maintain()
        assert paths(partition) == before
        assert len(looks) == 3


def test_both_compacted_and_deleted(tmp_path: Path) -> None:
    folder, topic = make(tmp_path, cleanup="compact,delete", retention_ms=3_600_000)
    (partition,) = topic.partitions
    with closing(folder):
        put(topic, ("a", 1), ("b", 2), ("a", 3))
        put(topic, ("b", 4), ("c", 5))
        folder.maintain()
        assert rows_at(partition) == {2: ("a", 3), 3: ("b", 4), 4: ("c", 5)}
        folder.maintain(in_days(1))
        assert (partition.start_offset, partition.end_offset) == (5, 5)
        topic.set_options(replace(topic.options, cleanup="compact"))
        put(topic, ("a", 6))
        folder.maintain(in_days(1))
        assert rows_at(partition) == {5: ("a", 6)}


def test_what_was_deleted_counts_for_nothing(tmp_path: Path) -> None:
    """The rows before the log's start replace none, and leave the first file when it is written anew."""
    folder, topic = make(tmp_path)
    (partition,) = topic.partitions
    with closing(folder):
        put(topic, ("a", 1), ("b", 2), ("c", 3), ("a", 4), ("d", 5))
        put(topic, ("c", 6), seal=False)
        topic.delete_before(0, 2)
        folder.maintain(in_days(2))
        assert (partition.start_offset, partition.end_offset) == (2, 6)
        assert rows_at(partition) == {3: ("a", 4), 4: ("d", 5), 5: ("c", 6)}
        assert pa.ipc.open_file(str(partition.segments[0].path)).read_all()["_offset"].to_pylist() == [3, 4]


def test_a_segment_that_is_deleted_while_it_is_written_anew_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, topic = make(tmp_path)
    (partition,) = topic.partitions
    write = compaction.write_segment

    def then_delete(*arguments: Any, **named: Any) -> Any:
        entry = write(*arguments, **named)
        topic.delete_before(0, 3)
        return entry

    monkeypatch.setattr(compaction, "write_segment", then_delete)
    with closing(folder):
        put(topic, ("a", 1), ("a", 2), ("b", 3))
        put(topic, ("c", 4), seal=False)
        assert folder.maintain() == ()
        assert rows_at(partition) == {3: ("c", 4)}
        assert files_of(partition) == set(paths(partition))


def test_segments_that_are_elsewhere_stay_and_keep_the_deletions_behind_them(tmp_path: Path) -> None:
    away = (tmp_path / "elsewhere").as_uri()
    folder, topic = make(tmp_path / "db", cleanup="delete", tier=away)
    (partition,) = topic.partitions
    with closing(folder):
        put(topic, ("a", 1), ("a", 2), ("z", None), ("z", None))
        assert folder.maintain() == ()
        topic.set_options(replace(topic.options, cleanup="compact", tier=None))
        put(topic, ("a", None), ("b", 4), ("b", 5), ("c", None))
        put(topic, ("c", 6), seal=False)
        elsewhere = partition.segments[0]
        assert elsewhere.remote
        for _ in range(2):
            assert folder.maintain(in_days(2)) == ()
            assert partition.segments[0] is elsewhere
            assert list(rows_at(partition)) == [0, 1, 2, 3, 4, 6, 8]


def test_who_reads_in_the_middle_reads_on(tmp_path: Path) -> None:
    folder, topic = make(tmp_path)
    (partition,) = topic.partitions
    with closing(folder):
        put(topic, ("a", 1), ("b", 2))
        put(topic, ("a", 3), ("b", 4))
        with closing(TailFolder(tmp_path)) as tail:
            (followed,) = tail.topic("log").partitions
            held, seen = partition.segments, followed.segments
            batches = partition.read(0, 4)
            folder.maintain()
            assert not held[0].path.exists()
            for segments in (held, seen):
                rows = [b.to_pydict() for s in segments for b, _ in s.read(s.base_offset, s.end_offset)]
                assert rows == [{"key": ["a", "b"], "value": [1, 2]}, {"key": ["a", "b"], "value": [3, 4]}]
            assert pa.Table.from_batches(batches)["value"].to_pylist() == [1, 2, 3, 4]
            put(topic, ("c", 5), seal=False)
            while followed.end_offset < 5:
                tail.follow()
            assert rows_at(followed) == rows_at(partition) == {2: ("a", 3), 3: ("b", 4), 4: ("c", 5)}


def test_rows_are_appended_and_read_meanwhile(tmp_path: Path) -> None:
    folder, topic = make(tmp_path, segment_bytes=4000, durability="none")
    (partition,) = topic.partitions
    done = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not done.is_set():
            end = partition.end_offset
            for offset, (key, value) in rows_at(partition).items():
                if value != offset or key != f"{offset * 7 % 50}":
                    wrong.append((end, offset, key, value))

    def tend() -> None:
        while not done.is_set():
            wrong.extend(folder.maintain())

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                wrong.append(error)

        return run

    with closing(folder):
        threads = [threading.Thread(target=guarded(work)) for work in (read, tend, tend)]
        for thread in threads:
            thread.start()
        for start in range(0, 6000, 10):
            put(topic, *((f"{n * 7 % 50}", n) for n in range(start, start + 10)), seal=False)
        done.set()
        for thread in threads:
            thread.join()
        assert not wrong
        partition.seal()
        put(topic, *((f"{n * 7 % 50}", n) for n in range(6000, 6100)))
        folder._maintenance._compactor = compaction.Compactor()  # which looks at all again
        folder.maintain()
        assert list(rows_at(partition)) == list(range(6050, 6100))
