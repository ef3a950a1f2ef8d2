"""The disk itself: how fast it takes bytes that are written one after the other, how long syncs take, also in time."""

from __future__ import annotations

import os
import tempfile
import time

import numpy as np

BLOCK = np.random.default_rng(1).bytes(1 << 20)


def write_rate(size: int) -> float:
    """Bytes a second: `size` bytes in blocks of 1 MiB into space that was allocated before, and one sync at the end.

    The log allocates too.
    """
    with tempfile.NamedTemporaryFile(prefix="headrace-bench-") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        os.fsync(file.fileno())
        start = time.perf_counter()
        for position in range(0, size, len(BLOCK)):
            os.pwrite(file.fileno(), BLOCK, position)
        os.fdatasync(file.fileno())
        return size / (time.perf_counter() - start)


def sync_seconds(times: int, size: int = 1000) -> list[float]:
    """How long each of `times` syncs took, after `size` more bytes were written; from the shortest to the longest."""
    seconds = []
    with tempfile.NamedTemporaryFile(prefix="headrace-bench-") as file:
        os.posix_fallocate(file.fileno(), 0, times * size)
        os.fsync(file.fileno())
        for number in range(times):
            os.pwrite(file.fileno(), BLOCK[:size], number * size)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - start)
    return sorted(seconds)


def schedule_ns(ticks: int, tick_s: float, size: int) -> list[int]:
    """Nanoseconds from when `size` bytes were due, once a tick, until they were synced together with all due by then.

    What a log can at best do on this disk, by writing what there is and syncing, again and again.
    """
    latencies: list[int] = []
    tick_ns = round(tick_s * 1e9)
    with tempfile.NamedTemporaryFile(prefix="headrace-bench-") as file:
        os.posix_fallocate(file.fileno(), 0, ticks * size)
        os.fsync(file.fileno())
        start = time.monotonic_ns()
        while (first := len(latencies)) < ticks:
            time.sleep(max(0, start + first * tick_ns - time.monotonic_ns()) / 1e9)
            due = range(first, min(ticks, (time.monotonic_ns() - start) // tick_ns + 1))
            for tick in due:
                os.pwrite(file.fileno(), BLOCK[:size], tick * size)
            os.fdatasync(file.fileno())
            now = time.monotonic_ns()
            latencies += [now - start - tick * tick_ns for tick in due]
    return latencies
