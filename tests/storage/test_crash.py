"""kill -9, again and again: no acknowledged row is lost, none is doubled or half there, no commit is lost or ahead."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from headrace.storage.consumer_group import groups_in
from headrace.storage.folder import Folder
from headrace.storage.verification import verify_folder

from .sweep import Sweep

ROOT = Path(__file__).parents[2]


class Told:
    """What the processes were told before they were killed: the last number of each kind, and each place's commits."""

    def __init__(self) -> None:
        self.last: dict[str, int] = defaultdict(int)
        self.committed: dict[int, int] = defaultdict(int)
        self.read: dict[int, int] = defaultdict(int)
        self.delivered: dict[int, set[tuple[int, int]]] = defaultdict(set)
        self.plain: set[int] = set()  # the numbers of rows
        self.notices: list[str] = []

    def hear(self, line: str) -> None:
        match line.split(maxsplit=1 if line.startswith("notice") else -1):
            case ["done", partition, offset]:
                self.committed[int(partition)] = max(self.committed[int(partition)], int(offset))
            case ["read", partition, start, end]:
                self.read[int(partition)] = max(self.read[int(partition)], int(end))
                self.delivered[int(partition)].add((int(start), int(end)))
            case ["notice", notice]:
                self.notices.append(notice)
            case [kind, number]:
                self.last[kind] = max(self.last[kind], int(number))


def kill(path: Path, told: Told, plain: int, lines: int) -> None:
    """A process works until it has said so many lines, and is killed in the middle of whatever it does then."""
    command = [sys.executable, "-m", "tests.storage.crash_process", str(path), str(plain), str(told.last["paid"] + 1)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        output = b"".join(process.stdout.readline() for _ in range(lines))
        process.kill()
        assert output.count(b"\n") == lines, "the process ended by itself"
        output += process.stdout.read()
    told.last["plain"] = plain
    for line in output.decode().splitlines(keepends=True):
        if line.endswith("\n"):
            told.hear(line)
    told.plain |= set(range(plain, told.last["plain"]))


def numbers_in(folder: Folder, name: str) -> list[int]:
    """All numbers of a topic; in each partition they rise."""
    found = []
    for partition in folder.topic(name).partitions:
        batches = partition.read(0, partition.end_offset, ["number"])
        numbers = pa.Table.from_batches(batches)["number"].to_pylist() if batches else []
        assert numbers == sorted(numbers), f"{name} is out of order"
        found += numbers
    return sorted(found)


def check(path: Path, told: Told) -> dict[str, int]:
    """The last number in each topic, of whose rows none is lost or doubled."""
    with closing(Folder.open(path)) as folder:
        plain = numbers_in(folder, "plain")
        assert len(plain) == len(set(plain))
        assert told.plain <= set(plain)
        loaded = numbers_in(folder, "loaded")
        assert loaded == list(range(1, len(loaded) + 1))
        assert len(loaded) >= told.last["loaded"]
        left, right = numbers_in(folder, "left"), numbers_in(folder, "right")
        assert left == right == list(range(1, len(left) + 1))
        assert len(left) >= told.last["paid"]
        told.last["paid"] = len(left)
        for place in groups_in(folder):
            assert place.committed is not None
            assert told.committed[place.partition] <= place.committed <= told.read[place.partition] <= place.end_offset
    assert verify_folder(path).findings == []
    return {"plain": max(plain, default=0), "loaded": len(loaded), "paid": len(left)}


def test_killed_in_a_loop(tmp_path: Path, sweep: Sweep) -> None:
    chance = random.Random(7)
    told = Told()
    kills = 100 if sweep.everything else 4
    counts = {"plain": 0, "loaded": 0, "paid": 0}
    for _ in range(kills):
        kill(tmp_path, told, counts["plain"] + 1, chance.randrange(10, 400))
        counts = check(tmp_path, told)
    assert told.notices == []
    assert min(counts.values()) > 0
    assert set(told.committed) == {0, 1}
    assert_delivered(told, tmp_path)
    sweep.count("processes killed", kills, least=4)
    sweep.count("rows that survived them", sum(counts.values()), least=1)


def assert_delivered(told: Told, path: Path) -> None:
    """Before what is committed, each row was delivered to somebody."""
    for partition, committed in told.committed.items():
        end = 0
        for start, stop in sorted(told.delivered[partition]):
            assert start <= end, f"offsets {end} to {start} were delivered to nobody"
            end = max(end, stop)
        assert end >= committed
