"""Atomic appends: all or nothing for readers, for errors and for crashes."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import closing
from pathlib import Path

import pytest

from headrace.storage.errors import OperationalError
from headrace.storage.files import faults
from headrace.storage.folder import Folder
from headrace.storage.topic import Durability, Topic, TopicOptions

from .logs import SCHEMA, numbered, rows_of


def make(folder: Folder, durability: Durability = "group", segment_bytes: int = 1500) -> tuple[Topic, Topic]:
    options = TopicOptions(durability=durability, segment_bytes=segment_bytes)
    left = folder.create_topic("left", SCHEMA, partitions=2, key=["number"], options=options)
    return left, folder.create_topic("right", SCHEMA, options=options)


def append_both(folder: Folder, start: int, end: int) -> None:
    rows = numbered(start, end)
    folder.append_atomic([(folder.topic("left"), rows, None), (folder.topic("right"), rows, None)])


@pytest.mark.parametrize("durability", ["none", "group", "each"])
def test_atomic_and_other_appends_share_the_log(tmp_path: Path, durability: Durability) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        left, right = make(folder, durability)
        for start in range(0, 60, 6):
            append_both(folder, start, start + 3)
            for topic in (left, right):
                topic.append(numbered(start + 3, start + 6))
        assert rows_of(left) == rows_of(right) == list(range(60))
    for _ in range(2):
        with closing(Folder.open(tmp_path)) as folder:
            assert rows_of(folder.topic("left")) == rows_of(folder.topic("right")) == list(range(60))
            assert folder.notices == ()


def test_a_crash_before_the_commit_takes_everything_back(tmp_path: Path) -> None:
    """The folder is copied at each call of an atomic append, and opened: both topics have its rows, or neither."""
    copies = 0

    def copy(operation: str, path: Path) -> None:
        nonlocal copies
        copies += 1
        shutil.copytree(tmp_path / "db", tmp_path / f"copy-{copies}")

    with closing(Folder.open(tmp_path / "db")) as folder:
        make(folder)
        append_both(folder, 0, 3)
        with faults(copy):
            append_both(folder, 3, 9)
    outcomes = set()
    assert copies > 5
    for number in range(1, copies + 1):
        for _ in range(2):
            with closing(Folder.open(tmp_path / f"copy-{number}")) as folder:
                left, right = folder.topic("left"), folder.topic("right")
                assert rows_of(left) == rows_of(right)
                outcomes.add(len(rows_of(left)))
                assert rows_of(left) == list(range(len(rows_of(left))))
        with closing(Folder.open(tmp_path / f"copy-{number}")) as folder:
            end = len(rows_of(folder.topic("left")))
            append_both(folder, end, end + 2)
        with closing(Folder.open(tmp_path / f"copy-{number}")) as folder:
            assert rows_of(folder.topic("left")) == rows_of(folder.topic("right")) == list(range(end + 2))
    assert outcomes == {3, 9}


def test_a_fault_at_every_call_leaves_all_or_nothing(tmp_path: Path) -> None:
    struck = True
    call = 0
    while struck:
        call += 1
        struck = False
        calls = 0

        def fault(operation: str, path: Path) -> None:
            nonlocal calls, struck
            calls += 1
            if calls == call:  # noqa: B023 - it is called within this round
                struck = True
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        path = tmp_path / str(call)
        with closing(Folder.open(path)) as folder:
            left, right = make(folder)
            append_both(folder, 0, 3)
            acknowledged = 3
            with faults(fault):
                for start in (3, 6, 9):
                    try:
                        append_both(folder, start, start + 3)
                    except OperationalError:
                        break
                    acknowledged = start + 3
            end = len(rows_of(left))
            assert rows_of(left) == rows_of(right) == list(range(end))
            assert end >= acknowledged
            try:  # what could be taken back leaves the log as it was
                append_both(folder, end, end + 3)
                acknowledged = end + 3
            except OperationalError:
                assert struck
        with closing(Folder.open(path)) as folder:
            rows = rows_of(folder.topic("left"))
            assert rows == rows_of(folder.topic("right")) == list(range(len(rows)))
            assert len(rows) >= acknowledged


def test_no_cut_shows_half_of_an_append(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        make(folder)
        done = threading.Event()

        def write() -> None:
            for start in range(0, 300, 3):
                append_both(folder, start, start + 3)
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        seen = set()
        while not done.is_set():
            ends = folder.cut(["left", "right"])
            assert sum(ends["left"]) == sum(ends["right"])
            seen.add(sum(ends["left"]))
        writer.join()
        assert len(seen) > 3


def test_threads_append_atomically_side_by_side(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        left, right = make(folder)

        def write(first: int) -> None:
            for start in range(first, 400, 40):
                append_both(folder, start, start + 5)
                left.append(numbered(start + 5, start + 10))

        threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 40, 10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert rows_of(left) == list(range(400))
        assert rows_of(right) == [number for number in range(400) if number % 10 < 5]
    with closing(Folder.open(tmp_path)) as folder:
        assert rows_of(folder.topic("left")) == list(range(400))
