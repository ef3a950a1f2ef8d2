"""Turns: how a reader gets in between two epochs of a loop that never stops."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..storage.memory import Memory, use


class Turns:
    """The engine's lock, and how many wait for it. Within the block of a turn no epoch runs, and its `memory` is used.

    It is reentrant: a connection may be collected, and so closed, anywhere.
    """

    def __init__(self, memory: Memory) -> None:
        self.lock = threading.RLock()
        self._memory = memory
        self._before: list[Memory] = []
        self.waiting = 0  # readers whom the loop lets in: a lock is not fair

    def __enter__(self) -> None:
        self.waiting += 1
        self.lock.acquire()
        self.waiting -= 1
        self._before.append(use(self._memory))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block somebody looks after each epoch whether it has brought what is waited for."""
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    def __exit__(self, *_: object) -> None:
        use(self._before.pop())
        self.lock.release()
