"""Turns: how a reader gets in between two epochs of a loop that never stops."""

from __future__ import annotations

import threading


class Turns:
    """The engine's lock, and how many wait for it. Within the block of a turn no epoch runs.

    It is reentrant: a connection may be collected, and so closed, anywhere.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.waiting = 0  # readers whom the loop lets in: a lock is not fair

    def __enter__(self) -> None:
        self.waiting += 1
        self.lock.acquire()
        self.waiting -= 1

    def __exit__(self, *_: object) -> None:
        self.lock.release()
