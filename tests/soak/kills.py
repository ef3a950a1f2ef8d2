"""Lives and deaths: a process that writes is killed, and what it left is looked at."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import headrace
from tests.soak.graph import DERIVED, append, check_all, create, expect

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Seen:
    """What has been so far. Units: rows, bytes, seconds."""

    kills: int = 0
    rows: int = 0
    opened_s: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # when, and what the process has beside mapped files
    disk: list[tuple[float, int]] = field(default_factory=list)


def live_and_die(folder: Path, life_s: float, rate: float, batch: int, seen: Seen) -> int:
    """Start a process that writes, and kill it; what it had acknowledged."""
    command = [sys.executable, "-m", "tests.soak.life", str(folder), str(rate), str(batch)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    acknowledged = -1
    said = process.stdout.readline().split()
    assert said[:1] == ["ready"], "it did not open"
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
    reader.start()
    end = time.monotonic() + life_s
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 5.0))
        if process.poll() is not None:
            break
        if left > 5.0:
            seen.memory.append((time.monotonic(), anonymous_bytes(process.pid)))
            seen.disk.append((time.monotonic(), folder_bytes(folder)))
    alive = process.poll() is None
    process.kill()
    process.wait()
    reader.join()
    process.stdout.close()
    assert alive, "it ended by itself"
    acknowledged = int(lines[-1]) if lines else int(said[1])
    seen.kills += 1
    return acknowledged


def run(
    place: Path, *, kills: int | None, seconds: float | None, rate: float, batch: int, lives_s: tuple[float, float],
    bounded: bool, seed: int, tell: Callable[[str], None],
) -> Seen:  # fmt: skip
    """Kill it so often, or for so long. Raises AssertionError at the first row that is lost, doubled or wrong."""
    chance, seen, folder, out = random.Random(seed), Seen(), place / "db", place / "out"
    with headrace.connect(folder, idle_timeout_s=0.0) as con:
        create(con, out, bounded=bounded)
    begun = told = time.monotonic()
    while (kills is None or seen.kills < kills) and (seconds is None or time.monotonic() < begun + seconds):
        life_s = chance.uniform(*lives_s)
        acknowledged = live_and_die(folder, life_s, rate, batch, seen)
        start = time.monotonic()
        with headrace.connect(folder, checkpoint_interval_s=0, idle_timeout_s=0.0) as con:
            con.flush()
            seen.opened_s.append(time.monotonic() - start)
            seen.rows = check_all(con, out)
            assert seen.rows >= acknowledged, f"{acknowledged - seen.rows} acknowledged rows are gone"
            if not bounded:
                verdicts = con.execute("VERIFY").fetchall()
                assert [verdict for verdict in verdicts if verdict[1] is not True] == []
        if time.monotonic() > told + 20:
            told = time.monotonic()
            memory, disk = (f"{values[-1][1] / 1e6:.0f} MB" if values else "-" for values in (seen.memory, seen.disk))
            tell(
                f"{told - begun:6.0f} s, {seen.kills} kills, {seen.rows:,} rows, opened in {seen.opened_s[-1]:.2f} s, "
                f"memory {memory}, disk {disk}"
            )
    if not bounded:
        compare(place, seen.rows, batch)
    return seen


def compare(place: Path, rows: int, batch: int) -> None:
    """What was derived through all those deaths is what is derived in one life."""
    with headrace.connect(place / "once", idle_timeout_s=0.0) as once, headrace.connect(place / "db") as con:
        create(once, place / "once_out", bounded=False)
        for start in range(0, rows, batch):
            append(once, start, min(batch, rows - start))
        once.flush()
        for name in DERIVED:
            expect(name, con.execute(f"FROM {name}").fetchall(), once.execute(f"FROM {name}").fetchall())


def anonymous_bytes(process: int) -> int:
    """The memory of a process that is not mapped files; 0 if it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(found[0]) * 1024 if found else 0


def folder_bytes(folder: Path) -> int:
    """What its files take on the disk."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_blocks * 512
            except OSError:
                continue
    return total
