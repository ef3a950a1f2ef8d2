"""Random scenarios for as long as wanted; each failure is made small and printed.

python -m tests.fuzz [--minutes 10] [--seed 0] [--depth 3] [--failures 5] [--skip]
"""

from __future__ import annotations

import argparse
import sys
import time

from .scenario import Figures, run
from .shrinking import shrink, story
from .writing import scenario


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--failures", type=int, default=5, help="stop after so many")
    parser.add_argument("--skip", action="store_true", help="in all databases expressions fail on some rows")
    options = parser.parse_args()
    figures = Figures()
    end = time.monotonic() + options.minutes * 60
    seed, failures = options.seed, 0
    while time.monotonic() < end and failures < options.failures:
        made = scenario(seed, depth=options.depth, skip=seed % 3 == 0 or options.skip)
        failure = run(made, figures)
        if failure is not None:
            failures += 1
            print(f"\n== seed {seed}: {failure.kind}: {failure.view}\n{failure.detail}\n", flush=True)
            small = shrink(made, failure, attempts=300)
            print(story(small), f"\n-- {run(small)}", flush=True)
        seed += 1
    print(
        f"\n{seed - options.seed} databases, {figures.views} views ({figures.recomputed} with recompute), "
        f"{figures.altered} altered, {figures.comparisons} comparisons, "
        f"{sum(figures.refused.values())} queries refused, {failures} failures"
    )
    print(f"  {figures.told} rows told of in system.failed_rows, {len(figures.stopped)} views stopped:")
    for statement, reason in [*figures.stopped.items()][:12]:
        print(f"  {reason}\n    {statement}")
    for reason, times in figures.refused.most_common(12):
        print(f"  {times} x {reason}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
