"""kill -9, again and again: no acknowledged row is lost, none is doubled, none is out of order."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from headrace.storage.folder import Folder

ROOT = Path(__file__).parents[2]
WRITERS = 3


def kill_while_writing(path: Path, starts: list[int], after_s: float) -> list[int]:
    """Per writer, the first number that it had not been told to be durable when its process was killed."""
    command = [sys.executable, "-m", "tests.storage.crash_writer", str(path), *map(str, starts)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, "the writer ended by itself"
        time.sleep(after_s)
        process.kill()
        output = first + process.stdout.read()
    acknowledged = list(starts)
    for line in output.decode().splitlines(keepends=True):
        if line.endswith("\n"):
            writer, number = map(int, line.split())
            acknowledged[writer] = number
    return acknowledged


def test_killed_in_a_loop(tmp_path: Path) -> None:
    chance = random.Random(7)
    starts = [0] * WRITERS
    segments = 0
    for _ in range(6):
        acknowledged = kill_while_writing(tmp_path, starts, chance.uniform(0.01, 0.3))
        with closing(Folder.open(tmp_path)) as folder:
            numbers: dict[int, list[int]] = defaultdict(list)
            for partition in folder.topic("log").partitions:
                batches = partition.read(0, partition.end_offset)
                rows = pa.Table.from_batches(batches) if batches else None
                for writer in range(WRITERS):
                    if rows is not None:
                        mask = pa.compute.equal(rows["writer"], writer)
                        numbers[writer] += rows.filter(mask)["number"].to_pylist()
            segments = len(list(tmp_path.rglob("*.arrow")))
        for writer in range(WRITERS):
            assert numbers[writer] == list(range(len(numbers[writer])))
            assert len(numbers[writer]) >= acknowledged[writer]
            starts[writer] = len(numbers[writer])
    assert min(starts) > 0
    assert segments > 2
