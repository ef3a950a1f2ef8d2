"""What a view that is made over much history costs the others: their latency meanwhile, and how long it takes.

python -m benchmarks.backfill [rows]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

import headrace

QUERIES = {
    "GROUP BY of 1,000 keys": "SELECT k % 1000 AS k, sum(x) AS x, count(*) AS n FROM s GROUP BY k % 1000",
    "GROUP BY of 1,000,000 keys": "SELECT k, sum(x) AS x, count(*) AS n FROM s GROUP BY k",
    "TUMBLE by minute": "SELECT window_start, count(*) AS n FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE) "
    "GROUP BY window_start",
}


def main(rows: int) -> None:
    with headrace.connect() as con:
        con.execute("CREATE STREAM s (k BIGINT, x BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)")
        con.execute("CREATE STREAM t (k BIGINT, x BIGINT)")
        con.execute("CREATE MATERIALIZED VIEW small AS SELECT k, sum(x) AS x FROM t GROUP BY k")
        random = np.random.default_rng(1)
        for start in range(0, rows, 1_000_000):
            numbers = np.arange(start, start + 1_000_000)
            columns = {"k": random.integers(0, 1_000_000, len(numbers)), "x": numbers, "ts": numbers * 100_000}
            table = pa.table(columns).cast(
                pa.schema([("k", pa.int64()), ("x", pa.int64()), ("ts", pa.timestamp("us"))])
            )
            con.append("s", table, wait=False)
        con.flush()
        print(f"{rows:,} rows; latency of INSERT and SELECT of another view")
        print(f"{'idle':<30}{latency(con, lambda seconds: seconds < 3)}")
        for name, query in QUERIES.items():
            began = time.perf_counter()
            con.execute(f"CREATE MATERIALIZED VIEW v AS {query}")
            alone_s = time.perf_counter() - began
            con.execute("DROP MATERIALIZED VIEW v")
            con.execute("SET background_ddl = on")
            began = time.perf_counter()
            con.execute(f"CREATE MATERIALIZED VIEW v AS {query}")
            text = latency(con, lambda _: "v" in con.status().backfills)
            took_s = time.perf_counter() - began
            con.execute("DROP MATERIALIZED VIEW v")
            con.execute("RESET background_ddl")
            print(f"{name:<30}{text}; built in {took_s:.2f} s, alone in {alone_s:.2f} s")


def latency(con: headrace.Connection, going_on: Callable[[float], bool]) -> str:
    """Milliseconds from an INSERT to its answer in a view, every 5 ms or so."""
    found: list[float] = []
    began = time.perf_counter()
    while going_on(time.perf_counter() - began):
        start = time.perf_counter()
        con.append("t", pa.table({"k": [1], "x": [len(found)]}), wait=False)
        con.execute("SELECT x FROM small").fetchall()
        found.append((time.perf_counter() - start) * 1000)
        time.sleep(0.005)
    if not found:
        return "nothing measured"
    middle, most, worst = np.percentile(found, [50, 99, 100])
    return f"p50 {middle:5.1f} ms, p99 {most:5.1f} ms, worst {worst:5.1f} ms of {len(found):4}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
