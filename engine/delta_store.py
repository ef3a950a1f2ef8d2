"""Deltas that are kept for a while, in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..storage.memory import current
from .delta import Delta, concat

_DELTAS_MAX = 64  # beyond so many small ones at the end become one


class DeltaStore:
    """Deltas, taken out from the front, or all at once.

    State: their rows and weights, where there is room for them.
    """

    def __init__(self) -> None:
        self._deltas: deque[Delta] = deque()
        self.rows = 0
        self.bytes = 0  # memory in use

    def add(self, delta: Delta) -> None:
        """Put `delta` behind the others."""
        memory = current()
        self.rows += delta.rows
        self.bytes += kept_bytes(delta)
        while len(self._deltas) >= _DELTAS_MAX and self._deltas[-1].rows < 2 * delta.rows:
            if not memory.joins(self._deltas[-1].batch.nbytes + delta.batch.nbytes):
                break
            delta = concat([self._deltas.pop(), delta])
        self._deltas.append(kept(delta))
        memory.watch(self)

    def take(self, rows: int) -> Delta | None:
        """The first ones, about as many rows; None when there are none."""
        taken: list[Delta] = []
        while self._deltas and rows > 0:
            rows -= self._deltas[0].rows
            taken.append(self._deltas.popleft())
        self.rows -= sum(delta.rows for delta in taken)
        self.bytes = sum(map(kept_bytes, self._deltas))
        return concat(taken) if taken else None

    def clear(self) -> None:
        """Take out all."""
        self._deltas.clear()
        self.rows = self.bytes = 0

    def __iter__(self) -> Iterator[Delta]:
        return iter(self._deltas)

    def move(self) -> None:
        """Lie where there is room now."""
        self._deltas = deque(map(moved, self._deltas))


def kept(delta: Delta) -> Delta:
    """The same change, which stays, where there is room for it."""
    memory = current()
    weights = None if delta.weights is None else memory.held(delta.weights)
    return Delta(memory.batch(delta.batch), weights, delta.closed)


def moved(delta: Delta) -> Delta:
    """The same, in a file where there is too much in memory."""
    memory = current()
    weights = None if delta.weights is None else memory.moved(delta.weights)
    return Delta(memory.moved_batch(delta.batch), weights, delta.closed)


def kept_bytes(delta: Delta) -> int:
    """What a change takes that is kept. Units: bytes."""
    return int(delta.batch.nbytes) + (0 if delta.weights is None else delta.weights.nbytes)
