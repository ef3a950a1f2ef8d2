"""How fast a database is there again after kill -9, by the kind of operator and the rows it keeps.

    python -m benchmarks.opening [--rows 1000000] [--only join]

Each view in a database of its own: rows with keys that come once, in a scattered order, a checkpoint, the kill. Prints
the time from opening to the end of the first new epoch, the median of three, for a tenth of the rows and for all.
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
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

import headrace

_BATCH = 250_000
_RANK = "row_number() OVER (PARTITION BY {} ORDER BY v DESC)"

DDL = """
CREATE STREAM a (k BIGINT, v BIGINT, s VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '100 days');
CREATE STREAM b (k BIGINT, v BIGINT, s VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '100 days');
CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT);
"""
NEAR = "ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '1 hour' AND a.ts + INTERVAL '1 hour'"
VIEWS = {
    "GROUP BY": "SELECT k, count(*) AS n, sum(v) AS s FROM a GROUP BY k",
    "GROUP BY text": "SELECT s, count(*) AS n FROM a GROUP BY s",
    "stddev": "SELECT k, stddev(v) AS d FROM a GROUP BY k",
    "DISTINCT": "SELECT DISTINCT k, v FROM a",
    "INTERSECT": "SELECT k FROM a INTERSECT SELECT k FROM b",
    "top 2": f"SELECT * FROM (SELECT k, v, {_RANK.format('k % 500000')} AS r FROM a) WHERE r <= 2",
    "last per key": f"SELECT k, v FROM a QUALIFY {_RANK.format('k')} = 1",
    "OVER": "SELECT k, sum(v) OVER (PARTITION BY k % 500000 ORDER BY v) AS t FROM a",
    "rows": "SELECT k, v, s FROM a WHERE v >= 0",
    "join": "SELECT a.k, a.v, b.v AS w FROM a JOIN b ON a.k = b.k",
    "left join": "SELECT a.k, a.v, b.v AS w FROM a LEFT JOIN b ON a.k = b.k",
    "left join, a.v > b.v": "SELECT a.v, b.v AS w FROM a LEFT JOIN b ON a.k = b.k AND a.v > b.v",
    "semi join": "SELECT k, v FROM a WHERE k IN (SELECT k FROM b)",
    "interval join": f"SELECT a.k, a.v, b.v AS w FROM a JOIN b {NEAR}",
    "interval left join": f"SELECT a.k, a.v, b.v AS w FROM a LEFT JOIN b {NEAR}",
    "range join": "SELECT a.v, b.v AS w FROM a JOIN b ON a.v BETWEEN b.v AND b.v + 1",
    "ASOF join": "SELECT a.k, a.v, b.v AS w FROM a ASOF LEFT JOIN b ON a.k = b.k AND a.ts >= b.ts",
    "join with a table": "SELECT a.v, t.v AS w FROM a LEFT JOIN t ON a.k = t.k",
}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="views whose name has this in it")
    parser.add_argument("--fill", nargs=2, metavar=("FOLDER", "VIEW"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        fill(Path(options.fill[0]), options.fill[1], options.rows)
        return
    few = options.rows // 10
    print(f"| view | state, MB | {few:,} rows, s | {options.rows:,} rows, s |\n|---|---|---|---|")
    for name in VIEWS:
        if options.only in name:
            (_, fewer), (state, seconds) = opened(name, few), opened(name, options.rows)
            print(f"| {name} | {state:.0f} | {fewer:.3f} | {seconds:.3f} |", flush=True)


def opened(name: str, rows: int) -> tuple[float, float]:
    """The size of the state in MB, and the time to the end of the first new epoch in seconds."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-opening-"))
    command = [sys.executable, "-m", "benchmarks.opening", "--rows", str(rows), "--fill", str(folder / "db"), name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    seconds, state = [], 0
    for _ in range(3):
        begun = time.perf_counter()
        with headrace.connect(folder / "db", checkpoint_interval_s=0) as con:
            con.execute("INSERT INTO a VALUES (1, 1, 'x', TIMESTAMP '1970-01-01 00:00:01')")
            con.flush()
            seconds.append(time.perf_counter() - begun)
            (state,) = con.execute("SELECT sum(state_bytes) FROM system.operators").fetchall()[0]
    shutil.rmtree(folder)
    return state / 1e6, statistics.median(seconds)


def fill(path: Path, name: str, rows: int) -> None:
    """A database with so many rows in each relation and a checkpoint of the view; then wait to be killed."""
    con = headrace.connect(path, checkpoint_interval_s=0)
    con.execute(f"{DDL} CREATE MATERIALIZED VIEW x AS {VIEWS[name]}")
    numbers = np.random.default_rng(1).permutation(rows)
    for start in range(0, rows, _BATCH):
        some = numbers[start : start + _BATCH]
        texts, times = [f"name {number}" for number in some], pa.array(some).cast(pa.timestamp("us"))
        table = pa.table({"k": some * 1_000_003, "v": some, "s": texts, "ts": times})
        con.append("a", table)
        con.append("b", table)
        con.append("t", table.select(["k", "v"]))
        con.flush()
    con.execute("CHECKPOINT")
    print("ready", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main()
