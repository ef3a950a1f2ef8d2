"""Continuous queries through the log and the engine, beside one-shot DuckDB on the same Arrow data in the same run.

    python benchmarks/streaming.py [--rows 10000000] [--repeat 5] [--epoch 65536] [--only NAME]

Prints a Markdown table. `whole`: the stream is appended in 64k-row batches (durable) while the view runs, until the
view has every row: two busy threads, against DuckDB with two. `engine`: the view is created over the log as it
stands, one busy thread, against DuckDB with one. Ratios above 1 mean faster than DuckDB.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

import headrace

BATCH_ROWS = 65_536
STEP_US = 10  # of event time between two bids: a 10 s window holds a million of them
START_US = 1_700_000_000_000_000

QUERIES = {
    "filter+project": (
        10_000,
        "SELECT auction, price * 2 AS double_price, ts FROM {source} WHERE price > 900",
        None,
    ),
    "TUMBLE 10 s, 10k keys": (
        10_000,
        "SELECT window_start, auction, count(*) AS n, sum(price) AS total, max(price) AS top "
        "FROM {source} GROUP BY window_start, window_end, auction",
        10,
    ),
    "TUMBLE 10 s, 1M keys": (
        1_000_000,
        "SELECT window_start, auction, count(*) AS n, sum(price) AS total, max(price) AS top "
        "FROM {source} GROUP BY window_start, window_end, auction",
        10,
    ),
    "GROUP BY, 10k keys": (
        10_000,
        "SELECT auction, count(*) AS n, sum(price) AS total FROM {source} GROUP BY auction",
        None,
    ),
    "GROUP BY, 1M keys": (
        1_000_000,
        "SELECT auction, count(*) AS n, sum(price) AS total FROM {source} GROUP BY auction",
        None,
    ),
}


def bids(rows: int, keys: int) -> pa.Table:
    """Bids in event-time order: a uniform auction, a price of 0 to 999, a bidder, a time."""
    random = np.random.default_rng(7)
    return pa.table(
        {
            "auction": random.integers(0, keys, rows),
            "price": random.integers(0, 1000, rows),
            "bidder": random.integers(0, 1_000_000, rows),
            "ts": pa.array(np.arange(rows) * STEP_US + START_US).cast(pa.timestamp("us")),
        }
    )


def duckdb_seconds(table: pa.Table, query: str, window: int | None, threads: int) -> float:
    """One-shot DuckDB over the whole table, its result as Arrow."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET threads = {threads}")
    connection.register("bids", table)
    source = (
        "bids"
        if window is None
        else (
            f"(SELECT *, time_bucket(INTERVAL '{window} seconds', ts) AS window_start, "
            f"time_bucket(INTERVAL '{window} seconds', ts) + INTERVAL '{window} seconds' AS window_end FROM bids)"
        )
    )
    start = time.perf_counter()
    connection.sql(query.format(source=source)).to_arrow_table()
    return time.perf_counter() - start


def create_stream(con: headrace.Connection) -> None:
    columns = "auction BIGINT, price BIGINT, bidder BIGINT, ts TIMESTAMP"
    con.execute(f"CREATE STREAM bids ({columns}, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)")


def create_view(con: headrace.Connection, query: str, window: int | None) -> None:
    source = "bids" if window is None else f"TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '{window}' SECOND)"
    con.execute(f"CREATE MATERIALIZED VIEW v AS {query.format(source=source)}")


def append_all(con: headrace.Connection, table: pa.Table) -> None:
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        con.append("bids", batch, wait=False)


def headrace_seconds(table: pa.Table, query: str, window: int | None, epoch_rows: int) -> tuple[float, float]:
    """Seconds for `whole` and for `engine`; the folder is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        with headrace.connect(folder, rows_per_epoch=epoch_rows) as con:
            create_stream(con)
            create_view(con, query, window)
            con.flush()
            start = time.perf_counter()
            append_all(con, table)
            con.flush()
            whole = time.perf_counter() - start
            con.execute("DROP MATERIALIZED VIEW v")
            start = time.perf_counter()
            create_view(con, query, window)
            con.flush()
            return whole, time.perf_counter() - start
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--epoch", type=int, default=BATCH_ROWS)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(f"{options.rows:,} rows, epochs of up to {options.epoch:,} rows, median of {options.repeat}; M rows/s\n")
    print("| query | DuckDB 2 threads | headrace whole | ratio | DuckDB 1 thread | headrace engine | ratio |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name, (keys, query, window) in QUERIES.items():
        if options.only not in name:
            continue
        table = bids(options.rows, keys)
        times = [headrace_seconds(table, query, window, options.epoch) for _ in range(options.repeat)]
        whole, engine = (statistics.median(part) for part in zip(*times, strict=True))
        two, one = (
            statistics.median(duckdb_seconds(table, query, window, n) for _ in range(options.repeat)) for n in (2, 1)
        )
        rate = [f"{options.rows / seconds / 1e6:.1f}" for seconds in (two, whole, one, engine)]
        cells = [name, *rate[:2], f"**{two / whole:.2f}**", *rate[2:], f"**{one / engine:.2f}**"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
