"""One life of the database: it appends rows until it is killed. `python -m tests.soak.life FOLDER RATE BATCH`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import headrace
from headrace.storage import limits
from tests.soak.graph import append, written

limits.EPOCHS_KEPT_S = 300.0  # so that an hour shows whether the journal grows


def main(folder: Path, rate: float, batch: int) -> None:
    con = headrace.connect(folder, checkpoint_interval_s=0.5, idle_timeout_s=0.0)
    start = written(con)
    print(f"ready {start}", flush=True)
    begun, first = time.monotonic(), start
    while True:
        append(con, start, batch)
        start += batch
        print(start, flush=True)
        time.sleep(max(0.0, begun + (start - first) / rate - time.monotonic()) if rate else 0.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
