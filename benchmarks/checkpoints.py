"""Checkpoints: what they write beside the state, how long epochs wait for them, and how fast a database is there again.

    python -m benchmarks.checkpoints [--keys 1000000]

A GROUP BY of many keys, of which one in a hundred changes between two checkpoints; then, opened again after kill -9, a
window aggregate over logs of 1, 10 and 100 times as many rows, and a GROUP BY of 1, 10 and 100 times as many keys.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

import headrace

_LOG_ROWS = 100_000


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--grow", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=_LOG_ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--state", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.grow:
        (fill if arguments.state else grow)(Path(arguments.grow), arguments.rows)
        return
    folder = Path(tempfile.mkdtemp(prefix="headrace-checkpoints-"))
    try:
        changes(folder / "changes", arguments.keys)
        meanwhile(folder / "meanwhile", arguments.keys)
        recoveries(folder)
        states(folder)
    finally:
        shutil.rmtree(folder)


def changes(path: Path, keys: int) -> None:
    """Bytes and pause of checkpoints while one key in a hundred changes."""
    random = np.random.default_rng(1)
    with headrace.connect(path, checkpoint_interval_s=0) as con:
        con.execute(
            """CREATE STREAM bids (k BIGINT, v DOUBLE);
            CREATE MATERIALIZED VIEW totals AS
            SELECT k, count(*) AS n, sum(v) AS v, max(v) AS top FROM bids GROUP BY k"""
        )
        append(con, random.permutation(keys), random)
        con.execute("CHECKPOINT")
        for _ in range(8):
            append(con, random.integers(0, keys, keys // 100), random)
            con.execute("CHECKPOINT")
        figures = "SELECT bytes_written, bytes_total, milliseconds, pause_milliseconds FROM system.checkpoints"
        whole, *later = con.execute(figures).fetchall()
    middle = [statistics.median(values) for values in zip(*later, strict=True)]
    print(f"{keys:,} keys, of which 1 % changes        bytes written   of the state         ms   pause ms")
    print(f"  first, whole                       {whole[0]:>15,} {1:>14.1%} {whole[2]:>10.1f} {whole[3]:>10.2f}")
    print(f"  median of {len(later)} later ones             {middle[0]:>15,.0f} {middle[0] / whole[1]:>14.1%} "
          f"{middle[2]:>10.1f} {middle[3]:>10.2f}")  # fmt: skip


def meanwhile(path: Path, keys: int) -> None:
    """How long epochs of a thousand rows take while nothing else happens, and while the state is written whole."""
    random = np.random.default_rng(1)
    with headrace.connect(path, checkpoint_interval_s=0) as con:
        con.execute(
            """CREATE STREAM bids (k BIGINT, v DOUBLE);
            CREATE MATERIALIZED VIEW totals AS
            SELECT k, count(*) AS n, sum(v) AS v, max(v) AS top FROM bids GROUP BY k"""
        )
        append(con, random.permutation(keys), random)
        timed(con, keys, lambda count: count < 50)
        alone = timed(con, keys, lambda count: count < 300)
        writing = threading.Thread(target=lambda: con.execute("CHECKPOINT"))
        writing.start()
        beside = timed(con, keys, lambda count: writing.is_alive())
        writing.join()
    for what, seconds in (("nothing else", alone), ("a whole one", beside)):
        of_all = " ".join(f"{1e3 * np.quantile(seconds, share):>9.2f}" for share in (0.5, 0.99, 1))
        print(f"  epochs of 1000 rows beside {what:<13} p50, p99, longest ms {of_all}   ({len(seconds)})")


def timed(con: headrace.Connection, keys: int, going_on: Callable[[int], bool]) -> list[float]:
    """Appends of a thousand rows until they are in the view. Units: seconds."""
    random = np.random.default_rng(2)
    seconds: list[float] = []
    while going_on(len(seconds)):
        rows = pa.table({"k": random.integers(0, keys, 1000), "v": random.random(1000)})
        begun = time.perf_counter()
        con.append("bids", rows)
        con.flush()
        seconds.append(time.perf_counter() - begun)
    return seconds


def append(con: headrace.Connection, keys: np.ndarray, random: np.random.Generator) -> None:
    """Rows of these keys."""
    con.append("bids", pa.table({"k": pa.array(keys), "v": random.random(len(keys))}))
    con.flush()


def recoveries(folder: Path) -> None:
    """Time to open and to have all rows, after kill -9, with a checkpoint and without, by the length of the log."""
    print("rows in the log    from a checkpoint, s    from the log, s")
    for times in (1, 10, 100):
        path, rows = folder / f"log-{times}", _LOG_ROWS * times
        killed("--grow", str(path), "--rows", str(rows))
        seconds = []
        for _ in range(2):
            begun = time.perf_counter()
            with headrace.connect(path, checkpoint_interval_s=0) as con:
                con.flush()
                seconds.append(time.perf_counter() - begun)
            shutil.rmtree(path / "checkpoints", ignore_errors=True)
        print(f"{rows:>15,} {seconds[0]:>23.2f} {seconds[1]:>18.2f}")


def killed(*arguments: str) -> None:
    """Run this file with these arguments in a process of its own until it says something; kill it."""
    command = [sys.executable, "-m", "benchmarks.checkpoints", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def states(folder: Path) -> None:
    """Time from opening to the end of the first new epoch, after kill -9, by the size of the state."""
    print("keys                   state, MB    to open, s    to the first new epoch, s")
    for times in (1, 10, 100):
        path, keys = folder / f"state-{times}", _LOG_ROWS * times
        killed("--grow", str(path), "--rows", str(keys), "--state")
        opened, ended = [], []
        for _ in range(3):
            begun = time.perf_counter()
            with headrace.connect(path, checkpoint_interval_s=0) as con:
                opened.append(time.perf_counter() - begun)
                con.execute("INSERT INTO bids VALUES (1, 1)")
                con.flush()
                ended.append(time.perf_counter() - begun)
                (size,) = con.execute("SELECT sum(state_bytes) FROM system.operators").fetchall()[0]
        print(f"{keys:<19,} {size / 1e6:>12.1f} {statistics.median(opened):>13.2f} {statistics.median(ended):>28.2f}")


def fill(path: Path, keys: int) -> None:
    """A database with so many keys, a checkpoint, and a thousand rows since; then wait to be killed."""
    random = np.random.default_rng(1)
    con = headrace.connect(path, checkpoint_interval_s=0)
    con.execute(
        """CREATE STREAM bids (k BIGINT, v DOUBLE);
        CREATE MATERIALIZED VIEW totals AS
        SELECT k, count(*) AS n, sum(v) AS v, max(v) AS top FROM bids GROUP BY k"""
    )
    numbers = random.permutation(keys) * 1_000_003 % (1 << 40)  # far apart, as names of things are
    for start in range(0, keys, 10 * _LOG_ROWS):
        append(con, numbers[start : start + 10 * _LOG_ROWS], random)
    con.execute("CHECKPOINT")
    append(con, numbers[:1000], random)
    print("ready", flush=True)
    time.sleep(60)


def grow(path: Path, rows: int) -> None:
    """A database with so many rows, a checkpoint, and a thousand rows since; then wait to be killed."""
    con = headrace.connect(path, checkpoint_interval_s=0)
    con.execute(
        """CREATE STREAM clicks (page BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts);
        CREATE MATERIALIZED VIEW minutes AS SELECT window_start, page, count(*) AS n
        FROM TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY window_start, page"""
    )
    for start in range(0, rows, _LOG_ROWS):
        click(con, start, _LOG_ROWS)
    con.flush()
    con.execute("CHECKPOINT")
    click(con, rows, 1000)
    print("ready", flush=True)
    time.sleep(60)


def click(con: headrace.Connection, start: int, rows: int) -> None:
    """Rows that come a millisecond apart."""
    numbers = np.arange(start, start + rows)
    times = pa.array(numbers * 1000 + 1_700_000_000_000_000).cast(pa.timestamp("us"))
    con.append("clicks", pa.table({"page": pa.array(numbers % 1000), "ts": times}))


if __name__ == "__main__":
    main()
