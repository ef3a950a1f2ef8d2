"""Continuous queries through the log and the engine, beside one-shot DuckDB on the same Arrow data in the same run.

    python benchmarks/streaming.py [--rows 10000000] [--repeat 5] [--epoch 65536] [--only NAME]

Prints a Markdown table of M rows/s, with the ratio to DuckDB in brackets: above 1 is faster.

`whole`: the stream is appended in 64k-row batches while the view runs, until the view has every row; the log is written
but not synced. `changelog`: the same with a subscriber, so that every change is emitted too. `durable`: the same as
`whole` with group commit, which cannot be faster than the disk (`raw disk`). All three keep two threads busy and stand
beside DuckDB with two; DuckDB reads memory and writes nothing. `engine`: the view is created over the log as it stands;
one busy thread, beside DuckDB with one.
"""

from __future__ import annotations

import argparse
import os
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
ROW_BYTES = 32

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


def create_stream(con: headrace.Connection, durability: str) -> None:
    columns = "auction BIGINT, price BIGINT, bidder BIGINT, ts TIMESTAMP"
    watermark = "WATERMARK FOR ts AS ts - INTERVAL '1' SECOND"
    con.execute(f"CREATE STREAM bids ({columns}, {watermark}) WITH (durability = '{durability}')")


def create_view(con: headrace.Connection, query: str, window: int | None) -> None:
    source = "bids" if window is None else f"TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '{window}' SECOND)"
    con.execute(f"CREATE MATERIALIZED VIEW v AS {query.format(source=source)}")


def append_all(con: headrace.Connection, table: pa.Table) -> None:
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        con.append("bids", batch, wait=False)


def headrace_seconds(table: pa.Table, query: str, window: int | None, epoch_rows: int) -> list[float]:
    """Seconds for `whole`, `changelog`, `durable` and `engine`; the folder is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    seconds = []
    try:
        with headrace.connect(folder, rows_per_epoch=epoch_rows) as con:
            for durability, subscribed in (("none", False), ("none", True), ("group", False)):
                con.execute("DROP STREAM IF EXISTS bids CASCADE")
                create_stream(con, durability)
                create_view(con, query, window)
                changes = con.execute("SUBSCRIBE v") if subscribed else None
                con.flush()
                start = time.perf_counter()
                append_all(con, table)
                con.flush()
                seconds.append(time.perf_counter() - start)
                if changes is not None:
                    changes.close()
            con.execute("DROP MATERIALIZED VIEW v")
            start = time.perf_counter()
            create_view(con, query, window)
            con.flush()
            return [*seconds, time.perf_counter() - start]
    finally:
        shutil.rmtree(folder)


def disk_rate() -> float:
    """Sequential writing with one fdatasync at the end, where the log is written too; M rows/s of these bids."""
    block = b"\1" * (BATCH_ROWS * ROW_BYTES)
    with tempfile.NamedTemporaryFile(prefix="headrace-bench-") as file:
        start = time.perf_counter()
        for _ in range(200):
            os.write(file.fileno(), block)
        os.fdatasync(file.fileno())
        return 200 * BATCH_ROWS / (time.perf_counter() - start) / 1e6


def log_rate(rows: int) -> float:
    """Appending alone, no view, not synced: what `whole` cannot be faster than; M rows/s."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    table = bids(rows, 10_000)
    try:
        with headrace.connect(folder) as con:
            create_stream(con, "none")
            start = time.perf_counter()
            append_all(con, table)
            return rows / (time.perf_counter() - start) / 1e6
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--epoch", type=int, default=BATCH_ROWS)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(f"{options.rows:,} rows, epochs of up to {options.epoch:,} rows, median of {options.repeat}; M rows/s")
    disk, log = disk_rate(), statistics.median(log_rate(options.rows) for _ in range(options.repeat))
    print(f"raw disk: {disk:.1f}, the log alone: {log:.1f}, M rows/s of {ROW_BYTES} bytes\n")
    print("| query | DuckDB, 2 threads | whole | changelog | durable | DuckDB, 1 thread | engine |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name, (keys, query, window) in QUERIES.items():
        if options.only not in name:
            continue
        table = bids(options.rows, keys)
        ours, two, one = [], [], []
        for _ in range(options.repeat):  # in turns, so that a noisy moment strikes all alike
            ours.append(headrace_seconds(table, query, window, options.epoch))
            two.append(duckdb_seconds(table, query, window, 2))
            one.append(duckdb_seconds(table, query, window, 1))
        *together, engine = (statistics.median(part) for part in zip(*ours, strict=True))
        both, single = statistics.median(two), statistics.median(one)
        cells = [name, rate(options.rows, both)]
        cells += [f"{rate(options.rows, seconds)} (**{both / seconds:.2f}**)" for seconds in together]
        cells += [rate(options.rows, single), f"{rate(options.rows, engine)} (**{single / engine:.2f}**)"]
        print(f"| {' | '.join(cells)} |", flush=True)


def rate(rows: int, seconds: float) -> str:
    return f"{rows / seconds / 1e6:.1f}"


if __name__ == "__main__":
    main()
