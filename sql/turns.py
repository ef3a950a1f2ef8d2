"""Turns: who changes the rows of a table does so alone, from looking at them to appending what they become."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext

from .relations import Relation


class Turns:
    """A lock for each table; streams need none, as nothing that is appended depends on what is there."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.RLock] = {}
        self._making = threading.Lock()

    def of(self, relation: Relation) -> AbstractContextManager[object]:
        """Held while the rows of `relation` are looked at and changed; by the same thread again, too."""
        if relation.kind != "TABLE":
            return nullcontext()
        with self._making:
            return self._locks.setdefault(relation.name.lower(), threading.RLock())
