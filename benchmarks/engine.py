"""Each operator over a log that is there, at epochs of several sizes, beside one-shot DuckDB on the same rows.

    python benchmarks/engine.py [--rows 2000000] [--repeat 3] [--epochs 1000,65536,1000000]
        [--only "NAME; ..."] [--part 1/3]

Prints a Markdown table: M rows/s that the view takes in, with the ratio to DuckDB's time for the same query in brackets
(above 1 is faster), for each size of an epoch. What a view takes is counted from when it is planned until it has every
row; the planning itself is `CREATE`. `10 rows` is what an epoch of that size takes, reading the log included, while
somebody listens to the changes. `state` is what the operators hold in the end, in all and per row of the result.
One thread works on either side, and the seconds are those that it had the processor: other work on the machine disturbs
them little. Rows are counted over all streams read.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

import headrace
from headrace.engine.runtime import Engine

SMALL_EPOCHS, WARM_EPOCHS = 200, 20
START_US = 1_700_000_000_000_000
STREAMS = {
    "bids": "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, ts TIMESTAMP",
    "auctions": "id BIGINT, seller BIGINT, category BIGINT, ts TIMESTAMP",
}
TUMBLED = "TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)"
HOPPED = "HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)"


@dataclass(frozen=True)
class Case:
    """A query, and the same for DuckDB where that needs other words; a live one is there before its rows are."""

    query: str
    reads: tuple[str, ...] = ("bids",)
    batch: str | None = None
    live: bool = False


def tumbled(select: str) -> Case:
    """A query over tumbling windows; for DuckDB over their bounds as columns."""
    bounds = (
        "(SELECT *, time_bucket(INTERVAL '10 seconds', ts) AS window_start, "
        "time_bucket(INTERVAL '10 seconds', ts) + INTERVAL '10 seconds' AS window_end FROM bids)"
    )
    return Case(select.format(TUMBLED), batch=select.format(bounds))


def hopped(select: str) -> Case:
    """The same for hopping windows: each row once per window."""
    bounds = (
        "(SELECT *, window_start + INTERVAL '10 seconds' AS window_end FROM (SELECT *, unnest([time_bucket("
        "INTERVAL '2 seconds', ts) - INTERVAL '2 seconds' * i for i in range(5)]) AS window_start FROM bids))"
    )
    return Case(select.format(HOPPED), batch=select.format(bounds))


JOINED = ("bids", "auctions")
CASES: dict[str, Case] = {
    "filter, project": Case("SELECT auction, price * 2 AS double_price, ts FROM bids WHERE price > 900"),
    "GROUP BY count, sum": Case("SELECT auction, count(*) AS n, sum(price) AS total FROM bids GROUP BY auction"),
    "GROUP BY text": Case("SELECT channel, count(*) AS n, max(price) AS top FROM bids GROUP BY channel"),
    "count DISTINCT": Case("SELECT auction, count(DISTINCT bidder) AS n FROM bids GROUP BY auction"),
    "stddev": Case("SELECT auction, stddev(price) AS s FROM bids GROUP BY auction"),
    "arg_max": Case("SELECT auction, arg_max(bidder, price) AS best FROM bids GROUP BY auction"),
    "median": Case("SELECT channel, median(price) AS m FROM bids GROUP BY channel"),
    "ROLLUP": Case("SELECT channel, auction % 100 AS a, count(*) AS n FROM bids GROUP BY ROLLUP (channel, a)"),
    "DISTINCT": Case("SELECT DISTINCT auction, channel FROM bids"),
    "TUMBLE": tumbled("SELECT window_start, auction, count(*) AS n FROM {} GROUP BY window_start, window_end, auction"),
    "HOP, 5 panes": hopped(
        "SELECT window_start, auction, count(*) AS n FROM {} GROUP BY window_start, window_end, auction"
    ),
    "join": Case(
        "SELECT b.auction, b.price, a.category FROM bids AS b JOIN auctions AS a ON b.auction = a.id", reads=JOINED
    ),
    "left join": Case(
        "SELECT a.id, a.category, b.price FROM auctions AS a LEFT JOIN bids AS b ON b.auction = a.id", reads=JOINED
    ),
    "semi join": Case(
        "SELECT auction, price FROM bids WHERE auction IN (SELECT id FROM auctions WHERE category < 3)", reads=JOINED
    ),
    "NOT IN": Case(
        "SELECT auction, price FROM bids WHERE auction NOT IN (SELECT id FROM auctions WHERE category < 3)",
        reads=JOINED,
    ),
    "EXISTS in SELECT": Case(
        "SELECT b.auction, EXISTS (SELECT 1 FROM auctions AS a WHERE a.id = b.auction AND a.category < 3) AS few "
        "FROM bids AS b",
        reads=JOINED,
    ),
    "correlated value": Case(
        "SELECT a.id, (SELECT count(*) FROM bids AS b WHERE b.auction = a.id) AS n FROM auctions AS a", reads=JOINED
    ),
    "UNNEST": Case("SELECT auction, x FROM bids, UNNEST([price, bidder, auction]) AS u(x)"),
    "join, GROUP BY": Case(
        "SELECT a.category, count(*) AS n, avg(b.price) AS mean FROM bids AS b JOIN auctions AS a ON b.auction = a.id "
        "GROUP BY a.category",
        reads=JOINED,
    ),
    "interval join": Case(
        "SELECT a.id, b.price FROM auctions AS a JOIN bids AS b ON b.auction = a.id "
        "AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '10' SECOND",
        reads=JOINED,
    ),
    "interval left join": Case(
        "SELECT a.id, b.price FROM auctions AS a LEFT JOIN bids AS b ON b.auction = a.id "
        "AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '10' SECOND",
        reads=JOINED,
    ),
    "window join": Case(
        f"SELECT a.id, b.price FROM {TUMBLED.replace('bids', 'auctions')} AS a JOIN {TUMBLED} AS b "
        "ON a.id = b.auction AND a.window_start = b.window_start AND a.window_end = b.window_end",
        reads=JOINED,
        batch="SELECT a.id, b.price FROM auctions AS a JOIN bids AS b ON a.id = b.auction "
        "AND time_bucket(INTERVAL '10 seconds', a.ts) = time_bucket(INTERVAL '10 seconds', b.ts)",
    ),
    "ASOF join": Case(
        "SELECT b.auction, b.price, a.category FROM bids AS b ASOF JOIN auctions AS a "
        "ON b.auction = a.id AND b.ts >= a.ts",
        reads=JOINED,
    ),
    "temporal join": Case(
        "SELECT b.auction, b.price, a.category FROM bids AS b JOIN auctions FOR SYSTEM_TIME AS OF b.ts AS a "
        "ON b.auction = a.id",
        reads=JOINED,
        batch="SELECT b.auction, b.price, a.category FROM bids AS b ASOF JOIN auctions AS a "
        "ON b.auction = a.id AND b.ts >= a.ts",
    ),
    "join with a table": Case(
        "SELECT b.auction, b.price, i.category FROM bids AS b JOIN items AS i ON b.auction = i.id"
    ),
    "look-up join": Case(
        "SELECT b.auction, b.price, i.category FROM bids AS b JOIN items FOR SYSTEM_TIME AS OF PROCTIME() AS i "
        "ON b.auction = i.id",
        batch="SELECT b.auction, b.price, i.category FROM bids AS b JOIN items AS i ON b.auction = i.id",
        live=True,
    ),
    "range join": Case(
        "SELECT b.auction, b.price, i.id FROM bids AS b JOIN (SELECT * FROM items WHERE id < 50) AS i "
        "ON b.price >= i.id * 20 AND b.price < i.id * 20 + 20"
    ),
    "PIVOT": Case(
        "SELECT * FROM (SELECT auction, channel, price FROM bids) "
        "PIVOT (sum(price) FOR channel IN ('web', 'app', 'phone', 'shop'))"
    ),
    "UNION ALL": Case("SELECT auction AS x FROM bids UNION ALL SELECT id FROM auctions", reads=JOINED),
    "EXCEPT": Case("SELECT auction FROM bids EXCEPT SELECT id FROM auctions", reads=JOINED),
    "top 3 per key": Case(
        "SELECT auction, bidder, price FROM bids "
        "QUALIFY row_number() OVER (PARTITION BY auction ORDER BY price DESC, bidder) <= 3"
    ),
    "last per key": Case(
        "SELECT auction, bidder, price, ts FROM bids "
        "QUALIFY row_number() OVER (PARTITION BY auction ORDER BY ts DESC, bidder) = 1"
    ),
    "ORDER BY LIMIT": Case("SELECT auction, bidder, price FROM bids ORDER BY price DESC, bidder, auction LIMIT 10"),
    "OVER, running sum": Case(
        "SELECT auction, ts, sum(price) OVER (PARTITION BY auction ORDER BY ts) AS total FROM bids"
    ),
    "window top 3": tumbled(
        "SELECT window_start, auction, n FROM (SELECT window_start, window_end, auction, count(*) AS n FROM {} "
        "GROUP BY window_start, window_end, auction) "
        "QUALIFY row_number() OVER (PARTITION BY window_start, window_end ORDER BY n DESC, auction) <= 3"
    ),
}


def rows_of(count: int, keys: int) -> dict[str, pa.Table]:
    """Bids in event-time order, 100 a millisecond of it, and one auction to ten bids, made before its first bid."""
    random = np.random.default_rng(11)
    auctions = count // 10
    times = np.arange(count) * 10 + START_US
    channels = np.array(["web", "app", "phone", "shop"])
    return {
        "bids": pa.table(
            {
                "auction": random.integers(0, keys, count),
                "bidder": random.integers(0, 100_000, count),
                "price": random.integers(0, 1000, count),
                "channel": channels[random.integers(0, 4, count)],
                "ts": pa.array(times).cast(pa.timestamp("us")),
            }
        ),
        "auctions": pa.table(
            {
                "id": np.arange(auctions) % keys,
                "seller": random.integers(0, 10_000, auctions),
                "category": random.integers(0, 10, auctions),
                "ts": pa.array(np.arange(auctions) * 100 + START_US).cast(pa.timestamp("us")),
            }
        ),
        "items": pa.table({"id": np.arange(keys), "category": np.arange(keys) % 10}),
    }


def duckdb_seconds(tables: Mapping[str, pa.Table], case: Case) -> float:
    """One-shot DuckDB on one thread, its result as Arrow."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET threads = 1")
        for name, table in tables.items():
            connection.register(name, table)
        start = time.thread_time()
        connection.sql(case.batch or case.query).to_arrow_table()
        return time.thread_time() - start


def load(folder: Path, tables: Mapping[str, pa.Table]) -> None:
    """The streams of the database, with their rows."""
    with headrace.connect(folder) as con:
        declare(con, tables)
        for name in STREAMS:
            for batch in tables[name].to_batches(max_chunksize=65_536):
                con.append(name, batch, wait=False)


def declare(con: headrace.Connection, tables: Mapping[str, pa.Table]) -> None:
    """The streams, still empty, and the table."""
    for name, columns in STREAMS.items():
        con.execute(
            f"CREATE STREAM {name} ({columns}, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (durability = 'none')"
        )
    con.execute("CREATE TABLE items (id BIGINT PRIMARY KEY, category BIGINT)")
    con.execute(f"INSERT INTO items SELECT x, x % 10 FROM range({tables['items'].num_rows}) AS r(x)")


class Run(NamedTuple):
    """CREATE; from then until the view has every row; what its operators hold then, and the rows of the result."""

    planning: float
    seconds: float
    state_bytes: int
    result_rows: int


_planned: list[
    tuple[float, float, int]
] = []  # when each view began to run: wall clock, the engine's, and which that is


def note_planned() -> None:
    """Have the engine say when a view begins to run: planning takes as long for few rows as for many."""
    add_view = Engine.add_view

    def noting(self: Engine, *args: Any, **options: Any) -> None:
        thread = self._thread
        if thread is not None and thread.ident is not None:
            clock = time.pthread_getcpuclockid(thread.ident)
            _planned.append((time.perf_counter(), time.clock_gettime(clock), clock))
        add_view(self, *args, **options)

    Engine.add_view = noting  # type: ignore[method-assign]


def live_run(tables: Mapping[str, pa.Table], case: Case, epoch: int) -> Run:
    """A view that is there first, and rows that come as fast as it takes them."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        with headrace.connect(folder, rows_per_epoch=epoch) as con:
            declare(con, tables)
            start = time.perf_counter()
            con.execute(f"CREATE MATERIALIZED VIEW measured AS {case.query}")
            con.flush()
            planned, _, clock = _planned[-1]
            begun = time.clock_gettime(clock)
            for name in case.reads:
                for batch in tables[name].to_batches(max_chunksize=epoch):
                    con.append(name, batch)
                    con.flush()
            return measured_run(con, planned - start, time.clock_gettime(clock) - begun)
    finally:
        shutil.rmtree(folder)


def measured_run(con: headrace.Connection, planning: float, seconds: float) -> Run:
    """What is there to tell of a view that has every row."""
    held = con.execute("SELECT sum(state_bytes) FROM system.operators WHERE view = 'measured'").fetchone()
    size = con.execute("SELECT count(*) FROM measured").fetchone()
    return Run(planning, seconds, int((held or (0,))[0] or 0), int((size or (0,))[0]))


def view_run(folder: Path, case: Case, epoch: int) -> Run:
    """The view, made and dropped again."""
    with headrace.connect(folder, rows_per_epoch=epoch) as con:
        con.flush()
        start = time.perf_counter()
        con.execute(f"CREATE MATERIALIZED VIEW measured AS {case.query}")
        con.flush()
        planned, begun, clock = _planned[-1]
        run = measured_run(con, planned - start, time.clock_gettime(clock) - begun)
        con.execute("DROP MATERIALIZED VIEW measured")
    return run


def small_epoch_us(tables: Mapping[str, pa.Table], case: Case) -> float:
    """What the engine takes for 10 rows of bids that come alone, while somebody listens to the changes."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    some = {name: table.slice(0, 100_000) for name, table in tables.items()}
    try:
        load(folder, some)
        with headrace.connect(folder) as con:
            con.execute(f"CREATE MATERIALIZED VIEW measured AS {case.query}")
            con.flush()
            changes = con.cursor()
            changes.execute("SUBSCRIBE TO measured EMIT CHANGELOG WITH (snapshot = false)")
            clock, before = _planned[-1][2], 0.0
            rows = tables["bids"].slice(100_000, 10 * (SMALL_EPOCHS + WARM_EPOCHS))
            for place, batch in enumerate(rows.combine_chunks().to_batches(max_chunksize=10)):
                if place == WARM_EPOCHS:
                    before = time.clock_gettime(clock)
                con.append("bids", batch)
                con.flush()
            changes.close()
            return (time.clock_gettime(clock) - before) / SMALL_EPOCHS * 1e6
    finally:
        shutil.rmtree(folder)


def operator_of(folder: Path, case: Case) -> str:
    """Whether all of it is incremental."""
    with headrace.connect(folder) as con:
        plan = "\n".join(str(row[0]) for row in con.execute(f"EXPLAIN {case.query}").fetchall())
    return "recompute" if "recompute" in plan.lower() else "incremental"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--epochs", default="1000,65536,1000000")
    parser.add_argument("--only", default="", help="names of queries, with semicolons between them")
    parser.add_argument("--part", default="1/1", help="which part of the queries: 2/3 is the second third")
    options = parser.parse_args()
    epochs = [int(text) for text in options.epochs.split(",")]
    part, parts = (int(text) for text in options.part.split("/"))
    names = list(CASES)[(part - 1) * len(CASES) // parts : part * len(CASES) // parts]
    names = [name.strip() for name in options.only.split(";")] if options.only else names
    tables = rows_of(options.rows, options.keys)
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    print(f"{options.rows:,} bids, {options.keys:,} auctions, median of {options.repeat}; M rows/s (ratio to DuckDB)\n")
    sizes = " | ".join(f"epochs of {epoch:,}" for epoch in epochs)
    print(f"| query | plan | DuckDB | {sizes} | 10 rows | CREATE | state |")
    print("|---" * (6 + len(epochs)) + "|", flush=True)
    note_planned()
    try:
        load(folder, tables)
        for name in names:
            print(f"| {' | '.join(measured(folder, tables, name, epochs, options.repeat))} |", flush=True)
    finally:
        shutil.rmtree(folder)


def measured(folder: Path, tables: Mapping[str, pa.Table], name: str, epochs: list[int], repeat: int) -> list[str]:
    """The cells of one row of the table."""
    case = CASES[name]
    rows = sum(tables[stream].num_rows for stream in case.reads)
    batch: list[float] = []
    ours: dict[int, list[Run]] = {epoch: [] for epoch in epochs}
    for _ in range(repeat):  # in turns, so that a noisy moment strikes all alike
        batch.append(duckdb_seconds(tables, case))
        for epoch in epochs:
            ours[epoch].append(live_run(tables, case, epoch) if case.live else view_run(folder, case, epoch))
    one = statistics.median(batch)
    cells = [name, operator_of(folder, case), f"{rows / one / 1e6:.1f}"]
    for epoch in epochs:
        seconds = statistics.median(run.seconds for run in ours[epoch])
        cells.append(f"{rows / seconds / 1e6:.1f} (**{one / seconds:.2f}**)")
    every = [run for runs in ours.values() for run in runs]
    last = every[-1]
    cells.append(f"{small_epoch_us(tables, case):,.0f} us")
    cells.append(f"{statistics.median(run.planning for run in every) * 1000:.0f} ms")
    cells.append(f"{last.state_bytes / 1e6:,.1f} MB, {last.state_bytes / max(last.result_rows, 1):,.0f} B a row")
    return cells


if __name__ == "__main__":
    main()
