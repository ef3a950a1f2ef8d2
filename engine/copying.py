"""Copies of arrays as they were at one moment, made piece by piece while their owners go on writing."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from ..storage.memory import current

Array = npt.NDArray[Any]
Slots = npt.NDArray[np.int64]

_PIECE_BYTES = 1 << 20  # so long a writer may have to wait for the one who copies


class Copying:
    """The first `size` values of `source` as they are now; whoever writes to them calls `save` before.

    One thread may write while another is in `run`. State: the copy, and a mark a value for those that were saved.
    From: copy on write, as databases take snapshots of pages, by value, since writes here are scattered.
    """

    def __init__(self, source: Array, size: int) -> None:
        self._source, self._size = source, size
        self._copy: Array | None = None  # made when the first value goes into it
        self._saved: npt.NDArray[np.bool_] | None = None  # those that are in it ahead of their turn
        self._at = 0  # all before are in it
        self._lock = threading.Lock()

    def save(self, slots: Slots | slice) -> bool:
        """Have the values of `slots`; False if it has all, so that nobody need tell any more."""
        with self._lock:
            if self._at >= self._size:
                return False
            copy = self._begin()
            if self._saved is None:
                self._saved = np.zeros(self._size, np.bool_)
            if isinstance(slots, slice):
                start, end, _ = slots.indices(self._size)
                start = max(start, self._at)
                if start < end:
                    np.copyto(copy[start:end], self._source[start:end], where=~self._saved[start:end])
                    self._saved[start:end] = True
                return True
            assert slots.dtype.kind in "iu", "slots are numbers, not a mask"
            wanted = slots[(slots >= self._at) & (slots < self._size)]
            wanted = wanted[~self._saved[wanted]]
            copy[wanted] = self._source[wanted]
            self._saved[wanted] = True
            return True

    def run(self) -> Array:
        """Copy what is left; the copy."""
        step = max(1, _PIECE_BYTES // self._source.itemsize)
        while True:
            with self._lock:
                copy, start, end = self._begin(), self._at, min(self._at + step, self._size)
                if self._saved is None:
                    copy[start:end] = self._source[start:end]
                else:
                    np.copyto(copy[start:end], self._source[start:end], where=~self._saved[start:end])
                self._at = end
                if end == self._size:
                    return copy

    def _begin(self) -> Array:
        if self._copy is None:
            self._copy = current().array(self._size, self._source.dtype)
        return self._copy
