"""The log under load, beside the disk it is on, plain Arrow and a broker of Kafka's protocol, all in one run.

    python -m benchmarks.log [PART ...] [--quick]

The parts are appends, latency, scans, recovery and broker; all of them if none is named. Each runs in a process of its
own, so that its memory is its own, and says at the top of its file what it does. In the end there is one Markdown
table: rows of 100 bytes, millions of rows a second, megabytes (1e6 bytes) a second; times say what they are of.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

from . import appends, broker, latency, recovery, scans
from .memory import watch
from .table import Line, Missing, heading, markdown

PARTS: dict[str, Callable[[bool], Sequence[Line]]] = {
    "appends": appends.run,
    "latency": latency.run,
    "scans": scans.run,
    "recovery": recovery.run,
    "broker": broker.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.log", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="about a minute; figures that say little")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    lines: list[Line] = []
    memory: list[Line] = []
    wrong = False
    for name in options.parts or PARTS:
        start = time.perf_counter()
        try:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool, watch() as used:
                lines += [heading(name), *pool.submit(PARTS[name], options.quick).result()]
        except Missing as missing:
            print(f"{name}: left out, as {missing}", flush=True)
            continue
        except Exception:
            print(f"{name}: went wrong", flush=True)
            traceback.print_exc()
            wrong = True
            continue
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        memory.append(Line(f"{name}, all its processes together", note=used.describe()))
    print(f"\n{markdown([*lines, heading('peak memory'), *memory])}")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
