"""End to end: from when a row is due in the process that produces until another process has it in hand, durable.

Every millisecond a batch is due, on a schedule that does not wait for anything: a batch that is sent late counts from
when it was due, so that nothing is left out (coordinated omission). The reader is a read-only process with a consumer.
The first second is not counted. `append` is `con.append(..., wait=False)`, `producer` is `producer.send` with its
linger. Before each rate stands what the disk alone takes on that schedule: no log on it can be quicker.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import headrace

from . import disk, rows
from .table import Line, Missing

RATES = (1_000, 100_000, 1_000_000, 2_000_000)  # rows a second
TICK_S = 0.001
WARM_S = 1.0
Times = npt.NDArray[np.int64]  # nanoseconds


def run(quick: bool) -> list[Line]:
    """A line for each rate and way, over 10 seconds, or 1 if `quick`; and for the disk alone."""
    if find_spec("hdrh") is None:
        raise Missing("hdrhistogram is not installed: pip install 'headrace[bench]'")
    seconds, lines = 1.0 if quick else 10.0, []
    for rate in RATES:
        size = round(rate * TICK_S * rows.ROW_BYTES)
        disk_ns = np.array(disk.schedule_ns(round(seconds / TICK_S), TICK_S, size))
        lines.append(
            Line(f"raw disk, {size:,} bytes every ms, synced", time=percentiles(disk_ns, np.ones_like(disk_ns)))
        )
        for way in ("append", "producer"):
            achieved, latencies, counts = _measure(rate, way, seconds)
            lines.append(Line(f"end to end, {rate:,} rows/s, {way}", achieved, percentiles(latencies, counts)))
    return lines


def percentiles(latencies: Times, counts: Times) -> str:
    """p50, p99, p99.9 and the most, of latencies each of which stands for some rows."""
    from hdrh.histogram import HdrHistogram

    histogram = HdrHistogram(1, 60_000_000, 3)  # microseconds
    for latency, count in zip((latencies // 1000).tolist(), counts.tolist(), strict=True):
        histogram.record_value(max(1, latency), count)
    p50, p99, p999 = (histogram.get_value_at_percentile(percent) / 1000 for percent in (50, 99, 99.9))
    return f"p50 {p50:.2f}, p99 {p99:.2f}, p99.9 {p999:.2f}, most {histogram.get_max_value() / 1000:.1f} ms"


def send_on_schedule(ticks: int, send: Callable[[int], None]) -> None:
    """Calls `send` with the time it is due (nanoseconds), once a tick; at once if that is past already."""
    start = time.monotonic_ns() + 10_000_000
    for tick in range(ticks):
        due = start + round(tick * TICK_S * 1e9)
        wait = due - time.monotonic_ns()
        if wait > 0:
            time.sleep(wait / 1e9)
        send(due)


def _measure(rate: int, way: str, seconds: float) -> tuple[float, Times, Times]:
    """Rows a second that arrived; latencies, and how many rows each is of."""
    path = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    ticks, size = round((WARM_S + seconds) / TICK_S), round(rate * TICK_S)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    try:
        with headrace.connect(path) as con:
            con.execute(f"CREATE STREAM rows ({rows.COLUMNS})")
            reader = spawn.Process(target=_tail, args=(path, ticks * size, theirs))
            reader.start()
            assert ours.recv() == "ready"
            _, *others = rows.batch(size).columns
            with con.producer("rows") as producer:

                def send(due: int) -> None:
                    batch = pa.record_batch([pa.array(np.full(size, due)), *others], schema=rows.SCHEMA)
                    if way == "append":
                        con.append("rows", batch, wait=False)
                    else:
                        producer.send(batch)

                send_on_schedule(ticks, send)
            arrived, due, counts = ours.recv()
            reader.join()
        counted = due >= due[0] + round(WARM_S * 1e9)
        duration = arrived[-1] - due[0]
        return ticks * size / (duration / 1e9), (arrived - due)[counted], counts[counted]
    finally:
        shutil.rmtree(path)


def _tail(path: Path, expected: int, answer: Connection) -> None:
    """The reader: when rows that were due at one time arrived, when that was, how many they are."""
    with headrace.connect(path, read_only=True) as con, con.consumer("rows") as consumer:
        answer.send("ready")
        seen: list[tuple[int, pa.Array]] = []
        while expected > 0:
            records = consumer.poll(60)
            if records is None:
                raise TimeoutError("no rows within a minute")
            seen.append((time.monotonic_ns(), records.batch.column("id")))
            expected -= len(records)
        parts = [(at, *np.unique(ids.to_numpy(), return_counts=True)) for at, ids in seen]
        arrived = np.concatenate([np.full(len(due), at) for at, due, _ in parts])
        answer.send((arrived, np.concatenate([due for _, due, _ in parts]), np.concatenate([n for *_, n in parts])))
