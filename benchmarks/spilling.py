"""State larger than memory: groups by 50M keys, joins of 20M x 20M rows, and others, in a process of 1 GiB.

    python benchmarks/spilling.py [--quick] [--limit 1GB] [--cap-mib 1024] [--checkpoints]

Each case runs in a process of its own, first without any limit, then with `memory_limit` and a limit from outside, that
the system enforces: RLIMIT_DATA, which counts all memory that is the process's own, reserved or used, and no mapped
files. Prints a Markdown table: how long from the first row to the result, and the most memory that was its own.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
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

_ROWS = 1 << 18  # appended at once
_SPREAD = 1_000_003  # keys are so far apart that they have to be hashed


def keys(start: int, end: int, size: int) -> np.ndarray:
    """Some of `size` keys, each of which comes once, in a scattered order."""
    return np.arange(start, end, dtype=np.int64) * 2_654_435_761 % size * _SPREAD


def grouped(con: headrace.Connection, size: int) -> None:
    """Count and sum of `size` groups, of one row each."""
    con.execute("CREATE STREAM s (k BIGINT, v BIGINT)")
    con.execute("CREATE MATERIALIZED VIEW sums AS SELECT k, count(*) AS n, sum(v) AS total FROM s GROUP BY k")
    for start in range(0, size, _ROWS):
        end = min(start + _ROWS, size)
        con.append("s", pa.table({"k": keys(start, end, size), "v": np.arange(start, end)}))
    ((groups, rows, total),) = con.execute("SELECT count(*), sum(n), sum(total) FROM sums").fetchall()
    assert (groups, rows, total) == (size, size, size * (size - 1) // 2), (groups, rows, total)


def joined(con: headrace.Connection, size: int) -> None:
    """`size` rows of either side, of which each has one partner, that comes before it or after."""
    con.execute("CREATE STREAM l (k BIGINT, v BIGINT)")
    con.execute("CREATE STREAM r (k BIGINT, w BIGINT)")
    con.execute(
        "CREATE MATERIALIZED VIEW pairs AS SELECT count(*) AS n, sum(v) AS v, sum(w) AS w FROM l JOIN r ON l.k = r.k"
    )
    for start in range(0, size, _ROWS):
        end = min(start + _ROWS, size)
        con.append("l", pa.table({"k": keys(start, end, size), "v": np.arange(start, end)}))
        con.append("r", pa.table({"k": keys(size - end, size - start, size), "w": np.arange(start, end)}))
    total = size * (size - 1) // 2
    found = con.execute("SELECT * FROM pairs").fetchall()
    assert found == [(size, total, total)], found


def deviations(con: headrace.Connection, size: int) -> None:
    """The deviation of two numbers for each of half as many groups: exact sums, of three and six limbs."""
    con.execute("CREATE STREAM s (k BIGINT, v DOUBLE)")
    con.execute("CREATE MATERIALIZED VIEW spreads AS SELECT k, stddev_pop(v) AS d FROM s GROUP BY k")
    for turn in range(2):
        for start in range(0, size // 2, _ROWS):
            end = min(start + _ROWS, size // 2)
            numbers = np.arange(start, end) / 7
            con.append("s", pa.table({"k": keys(start, end, size // 2), "v": numbers + turn}))
    ((groups, least, most),) = con.execute("SELECT count(*), min(d), max(d) FROM spreads").fetchall()
    assert (groups, round(least, 3), round(most, 3)) == (size // 2, 0.5, 0.5), (groups, least, most)


def nested(con: headrace.Connection, size: int) -> None:
    """`size` rows with a list of four numbers each, joined with a tenth of them."""
    con.execute("CREATE STREAM l (k BIGINT, v BIGINT[])")
    con.execute("CREATE STREAM r (k BIGINT, w BIGINT)")
    con.execute("CREATE MATERIALIZED VIEW pairs AS SELECT count(*) AS n, sum(v[4]) AS v FROM l JOIN r ON l.k = r.k")
    for start in range(0, size, _ROWS):
        end = min(start + _ROWS, size)
        places = np.arange(0, 4 * (end - start) + 1, 4)
        lists = pa.ListArray.from_arrays(places, np.repeat(np.arange(start, end), 4))
        con.append("l", pa.table({"k": keys(start, end, size), "v": lists}))
    for start in range(0, size // 10, _ROWS):
        end = min(start + _ROWS, size // 10)
        con.append("r", pa.table({"k": keys(start, end, size), "w": np.arange(start, end)}))
    found = con.execute("SELECT * FROM pairs").fetchall()
    assert found == [(size // 10, size // 10 * (size // 10 - 1) // 2)], found


CASES: dict[str, tuple[Callable[[headrace.Connection, int], None], int, int]] = {
    "GROUP BY, keys": (grouped, 50_000_000, 2_000_000),
    "join, rows a side": (joined, 20_000_000, 1_000_000),
    "stddev, rows of half as many groups": (deviations, 20_000_000, 1_000_000),
    "join, rows with a list": (nested, 10_000_000, 500_000),
}


class Peak:
    """The most memory that this process has taken, looked at fifty times a second. Units: MiB."""

    def __init__(self) -> None:
        self.anonymous, self.own = 0, 0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            read = {name: int(kib) >> 10 for name, kib in re.findall(r"(RssAnon|VmData):\s+(\d+)", status)}
            self.anonymous, self.own = max(self.anonymous, read["RssAnon"]), max(self.own, read["VmData"])
            time.sleep(0.02)


def run(name: str, size: int, limit: str | None, cap_mib: int, checkpoints: bool, folder: str) -> None:
    """One case in this process, in an empty folder; prints what it took as JSON."""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (cap_mib << 20, cap_mib << 20))
    peak = Peak()
    con = headrace.connect(folder, memory_limit=limit, checkpoint_interval_s=10.0 if checkpoints else 0.0)
    begun = time.monotonic()
    CASES[name][0](con, size)
    seconds = time.monotonic() - begun
    (state,) = con.execute("SELECT sum(state_bytes)::BIGINT FROM system.operators").fetchall()[0]
    con.close()
    print(json.dumps([seconds, peak.anonymous, peak.own, state >> 20]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of the rows")
    parser.add_argument("--limit", default="1GB")
    parser.add_argument("--cap-mib", type=int, default=1024)
    parser.add_argument("--case", default="", help="only those whose name has this in it")
    parser.add_argument("--checkpoints", action="store_true", help="as often as usual; else none")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        name, size, limit, folder = args.run
        run(name, int(size), limit or None, args.cap_mib, args.checkpoints, folder)
        return
    print("| case | size | memory_limit | seconds | used, most | own, most | state |\n|---|---|---|---|---|---|---|")
    for name, (_, large, small) in CASES.items():
        for limit in ("", args.limit) if args.case in name else ():
            size = small if args.quick else large
            with tempfile.TemporaryDirectory(dir=".") as folder:
                child = [sys.executable, __file__, "--run", name, str(size), limit, f"{folder}/db"]
                child += ["--cap-mib", str(args.cap_mib), *(["--checkpoints"] if args.checkpoints else [])]
                output = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout
            seconds, anonymous, own, state = json.loads(output)
            told = f"{limit}, at most {args.cap_mib} MiB own" if limit else "none"
            took = f"{anonymous:,} MiB | {own:,} MiB | {state:,} MiB"
            print(f"| {name} | {size:,} | {told} | {seconds:.1f} | {took} |", flush=True)


if __name__ == "__main__":
    main()
