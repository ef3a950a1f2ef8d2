"""The disk says no, at every single call: errors are ours, acknowledged rows stay, opening again puts all right."""

from __future__ import annotations

import errno
import os
import resource
import signal
from contextlib import closing, suppress
from pathlib import Path

import pytest

from headrace.storage.errors import Error, OperationalError
from headrace.storage.files import Fault, faults
from headrace.storage.folder import Folder
from headrace.storage.topic import Durability, Topic, TopicOptions

from .logs import SCHEMA, SMALL_SCHEMA, make_log, numbered, numbers_of, rows_of

BATCHES = 6


def fail(code: int, *, first: int, last: int) -> Fault:
    """Every call from number `first` to `last` fails."""
    calls = 0

    def fault(operation: str, path: Path) -> None:
        nonlocal calls
        calls += 1
        if first <= calls <= last:
            raise OSError(code, os.strerror(code))

    return fault


def append_all(topic: Topic, errors: list[Error]) -> set[int]:
    """Appends numbered rows, batch after batch whatever happens; the numbers that were acknowledged."""
    acknowledged: set[int] = set()
    for start in range(0, 3 * BATCHES, 3):
        try:
            topic.append(numbered(start, start + 3))
        except OperationalError as error:
            errors.append(error)
        else:
            acknowledged |= {start, start + 1, start + 2}
    return acknowledged


@pytest.mark.parametrize(
    ("durability", "code", "for_ever"),
    [
        ("group", errno.EIO, False),
        ("group", errno.ENOSPC, True),
        ("each", errno.ENOSPC, False),
        ("each", errno.EIO, True),
        ("none", errno.EIO, False),
        ("none", errno.ENOSPC, True),
    ],
)
def test_a_fault_at_every_call(tmp_path: Path, durability: Durability, code: int, for_ever: bool) -> None:
    calls = 0
    struck = True
    while struck:
        calls += 1
        path = tmp_path / str(calls)
        errors: list[Error] = []
        with closing(Folder.open(path)) as folder:
            options = TopicOptions(durability=durability, segment_bytes=1500)
            topic = folder.create_topic("log", SCHEMA, options=options)
            with faults(fail(code, first=calls, last=1 << 30 if for_ever else calls)):
                acknowledged = append_all(topic, errors)
            struck = bool(errors)
            assert set(numbers_of(topic.partitions[0])) >= acknowledged
            if code == errno.ENOSPC and errors:
                assert errors[0].sqlstate == "53100"
                assert "no space left on device" in str(errors[0])
        with closing(Folder.open(path)) as folder:
            topic = folder.topic("log")
            numbers = numbers_of(topic.partitions[0])
            assert numbers == sorted(set(numbers))
            assert acknowledged <= set(numbers) <= set(range(3 * BATCHES))
            topic.append(numbered(100, 105))
            assert numbers_of(topic.partitions[0])[-5:] == list(range(100, 105))
    assert calls > 15


def test_a_fault_at_every_call_of_opening_and_closing(tmp_path: Path) -> None:
    make_log(tmp_path, [1, 2, 3, 4], options=TopicOptions(segment_bytes=500))
    calls = 0
    struck = True
    while struck:
        calls += 1
        struck = False
        with faults(fail(errno.EIO, first=calls, last=calls)):
            try:
                folder = Folder.open(tmp_path)
            except Error:
                struck = True
            else:
                try:
                    folder.close()
                except Error:
                    struck = True
        with closing(Folder.open(tmp_path)) as folder:
            assert numbers_of(folder.topic("log").partitions[0]) == list(range(10))
            if calls % 5 == 0:  # so that later rounds find work to do when they close
                folder.drop_topic("log")
                folder.create_topic("log", SMALL_SCHEMA).append(numbered(0, 10, SMALL_SCHEMA))
    assert calls > 10


def test_a_failed_sync_ends_the_partition_and_names_it(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    topic = folder.create_topic("log", SCHEMA, partitions=2)
    topic.append(numbered(0, 2), partition=0)

    def fault(operation: str, path: Path) -> None:
        if operation == "sync":
            raise OSError(errno.EIO, "Input/output error")

    with faults(fault), pytest.raises(OperationalError, match=r'could not sync ".*p-0000.*arrow": input/output error'):
        topic.append(numbered(2, 4), partition=0)
    for attempt in (lambda: topic.append(numbered(2, 4), partition=0), topic.sync):
        with pytest.raises(OperationalError, match="an earlier sync went wrong") as caught:
            attempt()
        assert "open it again" in str(caught.value.hint)
    assert numbers_of(topic.partitions[0]) == [0, 1]
    topic.append(numbered(5, 6), partition=1)
    folder.close()
    with closing(Folder.open(tmp_path)) as folder:
        assert set(rows_of(folder.topic("log"))) >= {0, 1, 5}


def test_a_write_that_stops_in_the_middle(tmp_path: Path) -> None:
    """The kernel writes part of a frame and then has no room: a file may have no more than so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    folder = Folder.open(tmp_path)
    topic = folder.create_topic("log", SCHEMA)
    topic.append(numbered(0, 1000))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, hard))
        with pytest.raises(OperationalError, match="could not") as caught:
            topic.append(numbered(1000, 9000))
        assert caught.value.sqlstate == "53100"
        topic.append(numbered(1000, 1010))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    topic.append(numbered(1010, 9000))
    assert numbers_of(topic.partitions[0]) == list(range(9000))
    folder.close()
    with closing(Folder.open(tmp_path)) as folder:
        assert numbers_of(folder.topic("log").partitions[0]) == list(range(9000))


def test_faults_end_with_their_block(tmp_path: Path) -> None:
    with suppress(OperationalError), faults(fail(errno.EIO, first=1, last=1 << 30)):
        Folder.open(tmp_path / "x")
    Folder.open(tmp_path / "x").close()
