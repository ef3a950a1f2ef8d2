"""How much memory the processes that this one has started use, looked at twenty times a second."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_S = 0.05


class Used:
    """The most that was seen at once, of all processes below this one together. Units: bytes."""

    def __init__(self) -> None:
        self.resident = 0  # with the pages of mapped files, which the system takes back when it needs them
        self.own = 0  # without them

    def look(self) -> None:
        resident = own = 0
        for process in _below(os.getpid()):
            fields = _status(process)
            resident += fields.get("VmRSS", 0)
            own += fields.get("RssAnon", 0)
        self.resident, self.own = max(self.resident, resident), max(self.own, own)

    def describe(self) -> str:
        return f"{self.resident / 1e6:,.0f} MB resident, {self.own / 1e6:,.0f} MB without mapped files"


@contextmanager
def watch() -> Iterator[Used]:
    """Within the block, a thread looks again and again."""
    used, stopped = Used(), threading.Event()

    def look() -> None:
        while not stopped.wait(LOOK_S):
            used.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield used
    finally:
        stopped.set()
        thread.join()


def _below(process: int) -> list[int]:
    """The processes that `process` has started, and those that these have."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_below(child)]
    except OSError:  # it has ended
        pass
    return found


def _status(process: int) -> dict[str, int]:
    """The figures of `/proc/PROCESS/status` that are sizes, in bytes."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): 1024 * int(size) for name, size, _ in fields}
