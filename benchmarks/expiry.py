"""State that the watermark lets go: memory and disk while time goes on and on.

    python benchmarks/expiry.py [--rows 100000000]

Windows, an interval join and sessions over two streams write derived streams; a view has a state_ttl. All logs have a
retention by size. Prints a Markdown table, a line for every twentieth of the rows: what the operators keep, the memory
of the process that is its own, and the bytes of the folder.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

import headrace
from headrace.sql.queries import engine_name

_ROWS = 1 << 17  # appended at once to each stream
_PER_SECOND = 20_000  # rows of each stream in a second of event time
_KEYS = 50_000

RETENTION = "WITH (retention_bytes = '64 MiB', segment_bytes = '16 MiB')"
GRAPH = f"""
CREATE STREAM a (k BIGINT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) {RETENTION};
CREATE STREAM b (k BIGINT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) {RETENTION};
CREATE STREAM windowed {RETENTION} AS SELECT window_start, window_end, k % 1000 AS g, count(*) AS n, max(v) AS v
    FROM TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end, k % 1000;
CREATE STREAM joined {RETENTION} AS SELECT a.k, a.v, b.v AS w FROM a JOIN b
    ON a.k = b.k AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '5' SECOND AND a.v % 16 = 0;
CREATE STREAM sessions {RETENTION} AS SELECT window_start, window_end, k, count(*) AS n
    FROM SESSION(TABLE b PARTITION BY k, DESCRIPTOR(ts), INTERVAL '2' SECOND) GROUP BY window_start, window_end, k;
CREATE MATERIALIZED VIEW seconds WITH (state_ttl = '5 seconds') AS
    SELECT date_trunc('second', ts) AS second, count(*) AS n FROM a GROUP BY ALL;
"""
QUERIES = ("windowed", "joined", "sessions")


def rows(start: int, seed: int) -> pa.Table:
    """The next rows, whose times go on from those before."""
    random = np.random.default_rng((seed, start))
    number = np.arange(start, start + _ROWS)
    times = number * 1_000_000 // _PER_SECOND + random.integers(-1_000_000, 1_000_000, _ROWS)
    return pa.table(
        {"k": random.integers(0, _KEYS, _ROWS), "v": number, "ts": pa.array(times + 10**15, pa.timestamp("us"))}
    )


def state_bytes(con: headrace.Connection) -> int:
    """What all operators keep."""
    engine = con._database.engine
    states = [engine.state(engine_name(name)) for name in QUERIES] + [engine.state("seconds")]
    return sum(node.state_bytes for state in states for node in state.nodes)


def own_mib() -> int:
    """Memory of this process that is no file's. Units: MiB."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found.group(1)) >> 10 if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000_000)
    count = parser.parse_args().rows
    with tempfile.TemporaryDirectory(dir=".") as folder:
        con = headrace.connect(Path(folder) / "db")
        con.execute(GRAPH)
        begun, step = time.monotonic(), max(1, count // _ROWS // 2 // 20)
        print("| rows | seconds | state | own memory | folder |\n|---|---|---|---|---|")
        for turn, start in enumerate(range(0, count // 2, _ROWS), 1):
            con.append("a", rows(start, 1))
            con.append("b", rows(start, 2))
            if turn % step == 0:
                con.flush()
                disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) >> 20
                took = f"{time.monotonic() - begun:.0f} | {state_bytes(con) / 2**20:.1f} MiB | {own_mib()} MiB"
                print(f"| {2 * (start + _ROWS):,} | {took} | {disk} MiB |", flush=True)
        con.close()


if __name__ == "__main__":
    main()
