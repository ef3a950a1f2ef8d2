"""Segments that are fetched: within a budget, once, verified, tried again, and told of when they cannot be had."""

from __future__ import annotations

import errno
import shutil
import threading
from contextlib import closing
from pathlib import Path

import pytest

from headrace.storage.errors import CorruptionError, OperationalError
from headrace.storage.topic import Partition

from .logs import numbered, numbers_of
from .remotes import Place, cached, make, numbers_in, open_folder


def test_the_cache_keeps_to_its_budget(tmp_path: Path, here: Place) -> None:
    folder, topic = make(tmp_path, here)
    with closing(folder):
        folder.maintain()
        entries = [segment.entry for segment in topic.partitions[0].segments[:-1]]
    largest = max(entry.size_bytes for entry in entries)
    for budget in (1, 2 * largest, 10 * largest):
        reads: list[str] = []
        here.watched.tell = lambda operation, path, reads=reads: reads.append(path)  # type: ignore[misc]
        with closing(open_folder(tmp_path, here, cache_bytes=budget)) as folder:
            (partition,) = folder.topic("Log").partitions
            held = [partition.read(entry.base_offset, entry.end_offset) for entry in entries]
            for entry in entries:
                partition.read(entry.base_offset, entry.end_offset)
                assert sum(cached(folder).values()) <= max(budget, largest)
                assert not any(name.endswith(".tmp") for name in cached(folder))
            first = len(reads)
            assert first == (2 * len(entries) if budget < 10 * largest else len(entries) - 2)
            for _ in range(3):
                partition.read(entries[-1].base_offset, entries[-1].end_offset)
            assert len(reads) == first  # what was used last is there
            # what has gone from the cache stays readable where it is held
            assert [n for batches in held for b in batches for n in b.column(0).to_pylist()] == list(
                range(entries[-1].end_offset)
            )
            assert numbers_of(partition) == list(range(36))


def test_the_least_recently_used_goes_first_and_files_outlive_the_process(tmp_path: Path, here: Place) -> None:
    folder, topic = make(tmp_path, here)
    with closing(folder):
        folder.maintain()
        entries = [segment.entry for segment in topic.partitions[0].segments[:-1]][:3]
    budget = sum(entry.size_bytes for entry in entries[:2]) + 10
    reads: list[str] = []
    here.watched.tell = lambda operation, path: reads.append(path)
    names = [Path(entry.remote).name for entry in entries]

    def use(partition: Partition, *which: int) -> list[int]:
        reads.clear()
        for number in which:
            partition.read(entries[number].base_offset, entries[number].end_offset)
        return [names.index(Path(path).name) for path in reads]

    with closing(open_folder(tmp_path, here, cache_bytes=budget)) as folder:
        assert use(folder.topic("Log").partitions[0], 0, 1, 0, 2) == [0, 1, 2]  # 1 goes
        assert set(cached(folder)) == {names[0], names[2]}
        assert use(folder.topic("Log").partitions[0], 0, 2) == []
    damaged = folder.path / "cache" / names[0]
    damaged.write_bytes(bytes(damaged.stat().st_size))
    (folder.path / "cache" / "draft.tmp").write_bytes(b"of a process that died")
    with closing(open_folder(tmp_path, here, cache_bytes=budget)) as folder:
        assert use(folder.topic("Log").partitions[0], 2, 0) == [0]  # it is verified again, and fetched again
        shutil.rmtree(folder.path / "cache")
        assert use(folder.topic("Log").partitions[0], 2, 0) == [2, 0]  # anybody may empty it
        assert set(cached(folder)) == {names[0], names[2]}


def test_many_threads_fetch_a_segment_once(tmp_path: Path, here: Place) -> None:
    folder, topic = make(tmp_path, here)
    with closing(folder):
        folder.maintain()
        (partition,) = topic.partitions
        reads: list[str] = []
        here.watched.tell = lambda operation, path: reads.append(path)
        together = threading.Barrier(8)
        found: list[list[int]] = []

        def read() -> None:
            together.wait()
            found.append(numbers_of(partition))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [list(range(36))] * 8
        assert len(reads) == len(partition.segments) - 1


@pytest.mark.parametrize("damage", ["bit", "short", "long", "empty"])
def test_a_damaged_object_is_told_and_not_kept(tmp_path: Path, here: Place, damage: str) -> None:
    folder, topic = make(tmp_path, here)
    with closing(folder):
        folder.maintain()
        (partition,) = topic.partitions
        entry = partition.segments[1].entry
        path = here.watched.folder / entry.remote.removeprefix("cold://")
        content = path.read_bytes()
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"bit": flipped, "short": content[:-1], "long": content + b"\0", "empty": b""}[damage])
        with pytest.raises(CorruptionError, match="acknowledged rows are damaged") as caught:
            partition.read(0, 36)
        assert entry.remote in caught.value.headline
        assert f"Offsets {entry.base_offset} to {entry.end_offset} cannot be read." in caught.value.detail
        assert path.name not in cached(folder)
        assert numbers_in(partition, 0, entry.base_offset) == list(range(entry.base_offset))
        assert numbers_in(partition, entry.end_offset, 36) == list(range(entry.end_offset, 36))
        path.write_bytes(content)
        assert numbers_of(partition) == list(range(36))


def test_what_cannot_be_reached_is_tried_again_and_then_told(tmp_path: Path, here: Place) -> None:
    folder, topic = make(tmp_path, here)
    with closing(folder):
        folder.maintain()
        (partition,) = topic.partitions
        entry = partition.segments[0].entry
        calls = 0

        def fail(operation: str, path: str) -> None:
            nonlocal calls
            calls += 1
            if calls <= failures:
                raise OSError(errno.ETIMEDOUT, "Connection timed out")

        here.watched.tell = fail
        failures = 3
        assert numbers_in(partition, 0, 3) == [0, 1, 2]
        assert calls == 4
        shutil.rmtree(folder.path / "cache")
        calls, failures = 0, 1 << 30
        with pytest.raises(
            OperationalError, match=f'could not fetch the segment "{entry.file}": .*timed out'
        ) as caught:
            partition.read(0, 3)
        assert calls == 4
        assert entry.remote in caught.value.detail
        assert f"Offsets 0 to {entry.end_offset} cannot be read." in caught.value.detail
        assert caught.value.hint
        topic.append(numbered(36, 60))  # appending needs nothing from there
        assert numbers_in(partition, 36, 60) == list(range(36, 60))
        notices = folder.maintain()
        assert notices[0].startswith('could not tend "Log": could not write "cold://bucket/~4cog/p-0000/0')
        assert all("timed out" in notice for notice in notices)
        failures = 0
        assert folder.maintain() == ()
        assert numbers_of(partition) == list(range(60))
