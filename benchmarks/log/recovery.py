"""Recovery: a folder of 10 GB whose owner is killed with SIGKILL while it appends, and how long it takes to open again.

Each opening is a process of its own, and is killed as well, so that the next one has as much to recover. `cold` is
after the system was told to forget the pages of the folder's files.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import headrace

from . import rows
from .table import Line, Missing

REPEAT = 3
BATCH_ROWS = 65_536


def run(quick: bool) -> list[Line]:
    """A line each for writing, and for opening warm and cold; of 10 GB, or 0.5 if `quick`."""
    size = 500_000_000 if quick else 10_000_000_000
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 1.5 * size:
        raise Missing(
            f"{tempfile.gettempdir()} has {free / 1e9:.1f} GB free, too few for a folder of {size / 1e9:g} GB"
        )
    path = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        count, seconds = _killed(_write, path, size)
        active = max(path.rglob("0*.arrow")).stat().st_size
        lines = [
            Line(f"writing {size / 1e9:g} GB, durable in groups, 65,536 rows an append", count / seconds),
        ]
        for kind in ("warm", "cold"):
            opened, read = [], []
            for _ in range(REPEAT):
                if kind == "cold":
                    _forget(path)
                open_s, read_s, found = _killed(_open, path)
                assert found >= count, "rows are gone that were acknowledged"
                opened.append(open_s)
                read.append(read_s)
            lines.append(
                Line(
                    f"opening it after SIGKILL, {kind}",
                    time=f"{1e3 * statistics.median(opened):.0f} ms",
                    note=f"the active segment's file has {active / 1e6:.0f} MB; "
                    f"the last 1,000 rows took {1e3 * statistics.median(read):.1f} ms more",
                )
            )
        return lines
    finally:
        shutil.rmtree(path)


def _killed(work, *arguments):  # type: ignore[no-untyped-def]
    """What `work` sends from a process of its own, which is killed 50 ms later."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=work, args=(*arguments, theirs))
    process.start()
    answer = ours.recv()
    time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return answer


def _write(path: Path, size: int, answer: Connection) -> None:
    """Tells how many rows are durable, and the seconds that took; and goes on appending."""
    con = headrace.connect(path)
    con.execute(f"CREATE STREAM rows ({rows.COLUMNS})")
    batch, small = rows.batch(BATCH_ROWS), rows.batch(1000)
    written = 0
    start = time.perf_counter()
    while written * rows.ROW_BYTES < size:
        con.append("rows", batch, wait=False)
        written += BATCH_ROWS
    con.append("rows", small)
    answer.send((written + 1000, time.perf_counter() - start))
    while True:
        con.append("rows", small, wait=False)


def _open(path: Path, answer: Connection) -> None:
    start = time.perf_counter()
    con = headrace.connect(path)
    opened = time.perf_counter()
    records = con.consumer("rows", reset="latest")
    (end,) = records.positions.values()
    records.seek(end - 1000)
    found = records.poll(10)
    assert found is not None
    assert found.batch.column("id").to_numpy().sum() >= 0
    answer.send((opened - start, time.perf_counter() - opened, end))
    time.sleep(60)


def _forget(path: Path) -> None:
    for file in path.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
