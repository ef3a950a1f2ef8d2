"""Whether cost is linear, and what views cost that nothing happens to.

    python benchmarks/scaling.py [--rows 1000000] [--views 100] [--seconds 10] [linear idle]

`linear` runs views over a log of so many rows and of ten times as many, with the same 10,000 keys, and prints the
processor time that the engine takes for each; it should be at most 11 times as much. `idle` makes views over one stream
while rows come into another, and prints the processor time of the whole process with them and without.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pyarrow as pa

import engine as operators
import headrace

LINEAR = [
    "filter, project",
    "GROUP BY count, sum",
    "GROUP BY text",
    "TUMBLE",
    "HOP, 5 panes",
    "join with a table",
    "ORDER BY LIMIT",
]
ROWS_A_SECOND = 10_000


def linear(rows: int, repeat: int) -> None:
    """The table of seconds for `rows` and ten times as many."""
    print(f"| view | {rows:,} rows, s | {10 * rows:,} rows, s | times |\n|---|---|---|---|", flush=True)
    operators.note_planned()
    seconds: dict[str, list[float]] = {name: [] for name in LINEAR}
    for count in (rows, 10 * rows):
        folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
        try:
            operators.load(folder, operators.rows_of(count, 10_000))
            for name in LINEAR:
                case = operators.CASES[name]
                taken = [operators.view_run(folder, case, 65_536).seconds for _ in range(repeat)]
                seconds[name].append(statistics.median(taken))
        finally:
            shutil.rmtree(folder)
    for name, (few, many) in seconds.items():
        print(f"| {name} | {few:.3f} | {many:.3f} | {many / few:.1f} |", flush=True)


def idle(views: int, seconds: float, repeat: int) -> None:
    """Processor seconds a second while rows come into a stream, with and without `views` over another one."""
    print(f"\n| views over another stream | processor, % of one core | fed with {ROWS_A_SECOND:,} rows/s |")
    print("|---|---|---|", flush=True)
    used: dict[tuple[int, bool], list[float]] = {}
    for _ in range(repeat):
        for count in (0, views):
            for fed in (False, True):
                used.setdefault((count, fed), []).append(_used(count, seconds, fed=fed))
    for count in (0, views):
        still, fed = (statistics.median(used[count, fed]) * 100 for fed in (False, True))
        print(f"| {count} | {still:.2f} | {fed:.2f} |", flush=True)


def _used(views: int, seconds: float, *, fed: bool) -> float:
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        with headrace.connect(folder) as con:
            for name in ("quiet", "busy"):
                con.execute(
                    f"CREATE STREAM {name} (k BIGINT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts) "
                    "WITH (durability = 'none')"
                )
            con.execute("INSERT INTO quiet SELECT i % 100, i, TIMESTAMP '2026-01-01' FROM range(10000) AS r(i)")
            con.execute(
                "CREATE MATERIALIZED VIEW sums AS SELECT k, count(*) AS n, sum(v) AS total FROM busy GROUP BY k"
            )
            for number in range(views):
                con.execute(
                    f"CREATE MATERIALIZED VIEW idle{number} AS SELECT k % {number + 2} AS g, count(*) AS n, "
                    f"max(v) AS top FROM quiet WHERE v > {number} GROUP BY g"
                )
            con.flush()
            batch = pa.table({"k": np.arange(100) % 10, "v": np.arange(100), "ts": pa.nulls(100, pa.timestamp("us"))})
            begun, end = time.process_time(), time.perf_counter() + seconds
            while time.perf_counter() < end:
                if fed:
                    con.append("busy", batch.to_batches()[0], wait=False)
                time.sleep(100 / ROWS_A_SECOND)
            return (time.process_time() - begun) / seconds
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["linear", "idle"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--views", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    if "linear" in options.parts:
        linear(options.rows, options.repeat)
    if "idle" in options.parts:
        idle(options.views, options.seconds, options.repeat)


if __name__ == "__main__":
    main()
