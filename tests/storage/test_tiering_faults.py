"""Crashes and errors at every call, of the disk and of what is elsewhere: no row is lost and no file forgotten."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.storage.errors import OperationalError
from headrace.storage.files import faults
from headrace.storage.folder import Folder
from headrace.storage.remote_files import RemoteFiles
from headrace.storage.topic import TopicOptions

from .logs import SCHEMA, numbered, numbers_of, rows_of
from .remotes import Place, Watched, local_files, make, open_folder


def test_damage_is_not_moved_under_a_new_checksum(tmp_path: Path, here: Place) -> None:
    folder, topic = make(tmp_path, here, tier=None, compression="zstd")
    with closing(folder):
        folder.maintain()
        topic.set_options(replace(topic.options, tier=here.base))
        (partition,) = topic.partitions
        segment = partition.segments[0]
        content = bytearray(segment.path.read_bytes())
        content[-20] ^= 1  # in the footer, which no frame's checksum covers
        segment.path.write_bytes(content)
        (notice,) = folder.maintain()
        assert notice == f'could not tend "Log": cannot read "{segment.path}": acknowledged rows are damaged'
        assert segment.path.exists()
        assert [one.remote for one in partition.segments[:2]] == [False, True]  # the others move all the same


def test_removing_is_tried_again(tmp_path: Path, here: Place) -> None:
    folder, topic = make(tmp_path, here)
    with closing(folder):
        folder.maintain()
        (partition,) = topic.partitions
        before = here.files()

        def fail(operation: str, path: str) -> None:
            raise PermissionError(errno.EACCES, "Access denied")

        here.watched.tell = fail
        partition.delete_before(36)
        (notice,) = folder.maintain()
        assert notice == f'could not remove "{before[0]}": Access denied'
        assert here.files() == before
    here.watched.tell = lambda operation, path: None
    with closing(open_folder(tmp_path, here)) as folder:
        assert folder.maintain() == ()
        assert here.files() == []


def test_a_topic_that_a_crash_left_half_dropped(tmp_path: Path, here: Place) -> None:
    folder, topic = make(tmp_path, here)
    with closing(folder):
        folder.maintain()
    (topic.folder / "topic.json").unlink()
    with closing(open_folder(tmp_path, here)) as folder:
        assert not folder.topics
        assert folder.maintain() == ()
        assert here.files() == []
        assert not topic.folder.exists()


def test_a_crash_at_every_call_loses_nothing(tmp_path: Path, here: Place) -> None:
    """Folder and remote place are copied at each call to either, and opened: all rows are there, no file too many."""
    copies = 0

    def copy(operation: str, path: object) -> None:
        nonlocal copies
        copies += 1
        for name in ("db", "elsewhere"):
            shutil.copytree(tmp_path / name, tmp_path / f"copy-{copies}" / name)

    folder, topic = make(tmp_path, here, frames=6, retention_ms=3_600_000)
    (partition,) = topic.partitions
    here.watched.tell = copy
    with closing(folder), faults(copy):
        folder.maintain()
        rows_of(topic)
        folder.maintain(partition.segments[0].entry.append_times[1] + 3_600_000_001)
        assert partition.start_offset > 0
    assert copies > 50
    starts = set()
    for number in range(1, copies + 1):
        path = tmp_path / f"copy-{number}"
        watched = Watched(path / "elsewhere")
        there = Place("cold://bucket", lambda watched=watched: RemoteFiles({"cold": watched.filesystem}), list)  # type: ignore[misc]
        with closing(open_folder(path, there)) as folder:
            (partition,) = folder.topic("Log").partitions
            starts.add(partition.start_offset)
            assert numbers_of(partition) == list(range(partition.start_offset, 18))
            assert folder.notices == ()
            assert set(local_files(partition)) == {s.path.name for s in partition.segments if not s.remote}
            assert folder.maintain(0) == ()
            used = {s.entry.remote.removeprefix("cold://") for s in partition.segments[:-1]}
            assert {str(file.relative_to(watched.folder)) for file in watched.files()} == used
            folder.topic("Log").append(numbered(18, 22))
            assert numbers_of(partition)[-4:] == [18, 19, 20, 21]
        shutil.rmtree(path)
    assert len(starts) == 2


def test_a_crash_at_every_call_of_dropping(tmp_path: Path, here: Place) -> None:
    """The topic is there with all its rows, or it is gone, and so is what was elsewhere after a round."""
    copies = 0

    def copy(operation: str, path: object) -> None:
        nonlocal copies
        copies += 1
        for name in ("db", "elsewhere"):
            shutil.copytree(tmp_path / name, tmp_path / f"copy-{copies}" / name)

    folder, _ = make(tmp_path, here, frames=6)
    with closing(folder):
        folder.maintain()
        here.watched.tell = copy
        with faults(copy):
            folder.drop_topic("Log")
            folder.maintain()
    found = set()
    for number in range(1, copies + 1):
        path = tmp_path / f"copy-{number}"
        watched = Watched(path / "elsewhere")
        there = Place("cold://bucket", lambda watched=watched: RemoteFiles({"cold": watched.filesystem}), list)  # type: ignore[misc]
        with closing(open_folder(path, there)) as folder:
            assert folder.maintain() == ()
            found.add(tuple(folder.topics))
            if folder.topics:
                assert rows_of(folder.topic("Log")) == list(range(18))
            else:
                assert not watched.files()
                assert not list((path / "db" / "topics").iterdir())
    assert found == {("Log",), ()}


def work(folder: Folder) -> tuple[str, ...]:
    """Segments move, are read, and go; the notices of that."""
    notices = folder.maintain()
    with suppress(OperationalError):
        rows_of(folder.topic("Log"))
        folder.topic("Log").delete_before(0, 10)
    return notices + folder.maintain()


@pytest.mark.parametrize("side", ["disk", "remote"])
def test_a_fault_at_every_call_is_told_and_loses_nothing(tmp_path: Path, side: str) -> None:
    call = 0
    struck = True
    while struck:
        call += 1
        struck = False
        calls = 0

        def fault(operation: str, path: object) -> None:
            nonlocal calls, struck
            calls += 1
            if calls == call:  # noqa: B023 - it is called within this round
                struck = True
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        path = tmp_path / str(call)
        path.mkdir()
        watched = Watched(path / "elsewhere")
        place = Place("cold://bucket", lambda watched=watched: RemoteFiles({"cold": watched.filesystem}), list)  # type: ignore[misc]
        folder, topic = make(path, place, frames=6)
        with closing(folder):
            if side == "remote":
                watched.tell = fault
                notices = work(folder)
            else:
                with faults(fault):
                    notices = work(folder)
            watched.tell = lambda operation, path: None
            start = topic.partitions[0].start_offset
            assert rows_of(topic) == list(range(start, 18))
            if notices:
                assert struck
                told = "".join(notices)
                assert "could not " in told
                assert "nput/output error" in told or "an earlier sync went wrong" in told
            try:
                topic.append(numbered(18, 21))
                end = 21
            except OperationalError:
                assert side == "disk"
                end = 18
        with closing(open_folder(path, place)) as folder:
            (partition,) = folder.topic("Log").partitions
            assert partition.start_offset in (start, 10)
            start = partition.start_offset
            assert numbers_of(partition) == list(range(start, end))
            assert folder.maintain() == ()
            assert numbers_of(partition) == list(range(start, end))
            used = {s.entry.remote.removeprefix("cold://") for s in partition.segments[:-1]}
            assert {str(file.relative_to(watched.folder)) for file in watched.files()} == used
        shutil.rmtree(path)
    assert call > (6 if side == "remote" else 50)


def test_what_is_deleted_while_it_is_about_to_move_can_still_be_read_whole(tmp_path: Path, here: Place) -> None:
    with closing(open_folder(tmp_path, here)) as folder:
        topic = folder.create_topic("Log", SCHEMA, options=TopicOptions(segment_bytes=1500))
        for start in range(0, 60, 3):
            topic.append(numbered(start, start + 3))
    with closing(open_folder(tmp_path, here)) as folder:
        topic = folder.topic("Log")
        first = topic.partitions[0].segments[0]
        assert first.entry is not None
        assert first.entry.size_bytes is not None
        topic.delete_before(0, 50)
        assert not first.path.exists()
        whole = first.mapped(first.entry.size_bytes)
        assert first.entry.size_bytes > first.size
        assert whole.slice(first.entry.size_bytes - 6, 6).to_pybytes() == b"ARROW1"


def test_rows_are_appended_and_read_while_segments_move_and_go(tmp_path: Path, here: Place) -> None:
    folder = open_folder(tmp_path, here, cache_bytes=4000)
    topic = folder.create_topic("Log", SCHEMA, options=TopicOptions(segment_bytes=1500, tier=here.base))
    (partition,) = topic.partitions
    done = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not done.is_set():
            try:
                end = partition.end_offset
                batches = partition.read_all(end, ["number"])
                numbers = [n for batch in batches for n in batch.column(0).to_pylist()]
                if numbers != list(range(end - len(numbers), end)):
                    wrong.append(numbers)
            except Exception as error:
                wrong.append(error)

    def tend() -> None:
        while not done.is_set():
            wrong.extend(folder.maintain())

    with closing(folder):
        threads = [threading.Thread(target=run) for run in (read, read, tend)]
        for thread in threads:
            thread.start()
        for start in range(0, 300, 3):
            topic.append(numbered(start, start + 3))
            if start % 30 == 0 and start > 90:
                topic.delete_before(0, start - 90)
        done.set()
        for thread in threads:
            thread.join()
        assert not wrong
        folder.maintain()
        assert numbers_of(partition) == list(range(partition.start_offset, 300))
        assert len(here.files()) == sum(segment.remote for segment in partition.segments) > 0
