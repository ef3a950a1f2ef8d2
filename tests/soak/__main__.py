"""The soak: `python -m tests.soak --kills 200`, or `--minutes 60` with retention, and memory and disk told."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from tests.soak.kills import Seen, run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, help="so many, the log kept whole, and every view beside its twin")
    parser.add_argument(
        "--minutes", type=float, help="so long, old rows deleted; what there is must follow from numbers"
    )
    parser.add_argument("--rate", type=float, help="rows a second; 0: as fast as it goes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="headrace-soak-"))
    print(f"in {place}", flush=True)
    bounded = options.kills is None
    seen = run(
        place,
        kills=options.kills,
        seconds=60 * (options.minutes or 60) if bounded else None,
        rate=options.rate if options.rate is not None else 4000 if bounded else 800,
        batch=500 if bounded else 50,
        lives_s=(5.0, 90.0) if bounded else (0.05, 1.2),
        bounded=bounded,
        seed=options.seed,
        tell=lambda line: print(line, flush=True),
    )
    report(seen)
    shutil.rmtree(place)


def report(seen: Seen) -> None:
    """What there is to say in the end."""
    print(f"{seen.kills} kills, {seen.rows:,} rows, none lost, doubled or wrong")
    print(f"opened in {np.median(seen.opened_s):.2f} s (median), {max(seen.opened_s):.2f} s (most)")
    for name, values in (("memory beside mapped files", seen.memory), ("disk", seen.disk)):
        if len(values) >= 8:
            quarters = np.array_split(np.array([size for _, size in values]) / 1e6, 4)
            told = ", ".join(f"{np.median(part):.0f} ({part.max():.0f})" for part in quarters)
            print(f"{name}, MB, median (and most) in each quarter of the time: {told}")


if __name__ == "__main__":
    main()
