"""How much is tried by the tests of faults: a sample, or with `--crash` everything; and what it came to."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

QUICK_DISK = Path("/dev/shm")  # where a sync takes no time, and says as much about our calls

Figure = tuple[str, int]  # what was tried, and how often


class Sweep:
    """Each test takes every n-th of what could be tried, and with `everything` all of it; `tell` is told how many."""

    def __init__(self, everything: bool, tell: Callable[[Figure], None]) -> None:
        self.everything = everything
        self._tell = tell

    def every(self, sample: int) -> int:
        return 1 if self.everything else sample

    def count(self, what: str, tried: int, *, least: int) -> None:
        """So many were tried: it is told at the end, and fewer than `least` are a mistake of the test."""
        assert tried >= least, f"only {tried} {what}"
        self._tell((what, tried))


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder that is gone afterwards, in memory if the system has such a place."""
    with tempfile.TemporaryDirectory(dir=QUICK_DISK if QUICK_DISK.is_dir() else None) as path:
        yield Path(path)
