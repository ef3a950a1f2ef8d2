"""What became of rows that were sent: where they are, or why they are nowhere."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .errors import Error, OperationalError
from .topic import Appended


class Flush:
    """Rows of one stream that are appended together, and how that went once `done`."""

    def __init__(self, stream: str, batch: pa.RecordBatch, numbers: npt.NDArray[np.uint16] | None) -> None:
        self.stream = stream
        self.batch = batch
        self.numbers = numbers
        self.placed: dict[int, Appended] = {}
        self.error: Error | None = None
        self.told = False  # somebody has seen the error
        self.done = False

    @classmethod
    def duplicate(cls) -> Flush:
        """Rows that were there already: nothing was appended, nothing went wrong."""
        flush = cls("", pa.record_batch({"none": pa.nulls(0)}), None)
        flush.done = True
        return flush

    @classmethod
    def failed(cls, error: Error) -> Flush:
        """Rows that are nowhere."""
        flush = cls.duplicate()
        flush.error = error
        return flush

    def place(self, placed: Sequence[Appended]) -> None:
        """They are there."""
        self.placed = {place.partition: place for place in placed}
        self.done = True

    def places(self, start: int, end: int) -> tuple[Appended, ...]:
        """Where the rows [start, end) of the batch are: those of one partition follow each other."""
        if start == end or not self.placed:
            return ()
        if self.numbers is None and len(self.placed) == 1:
            (place,) = self.placed.values()
            return (Appended(place.partition, place.start + start, place.start + end),)
        assert self.numbers is not None, "rows in several partitions, and nobody knows which"
        found = []
        for number in np.unique(self.numbers[start:end]).tolist():
            before = int(np.count_nonzero(self.numbers[:start] == number))
            count = int(np.count_nonzero(self.numbers[start:end] == number))
            first = self.placed[number].start + before
            found.append(Appended(number, first, first + count))
        return tuple(found)


class Delivery:
    """The receipt for rows that were sent."""

    __slots__ = ("_changed", "_end", "_flush", "_start")

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._flush: Flush | None = None
        self._start = self._end = 0

    @property
    def done(self) -> bool:
        """Whether it is known what became of them."""
        return self._flush is not None and self._flush.done

    @property
    def duplicate(self) -> bool:
        """Whether they were in the log already, under their producer's name and sequence; known at once."""
        return self.done and self._flush is not None and self._flush.error is None and not self._flush.placed

    def result(self, timeout_s: float | None = None) -> tuple[Appended, ...]:
        """Where the rows are, as durable as their stream is kept: the offsets [start, end) in each partition.

        Raises: what went wrong; OperationalError after `timeout_s`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.done, timeout_s):
                raise OperationalError(f"the rows were not appended within {timeout_s:g} s", sqlstate="57014")
        assert self._flush is not None
        if self._flush.error is not None:
            self._flush.told = True
            raise self._flush.error
        return self._flush.places(self._start, self._end)

    def settle(self, flush: Flush, start: int, end: int) -> None:
        """They are the rows [start, end) of `flush`."""
        self._start, self._end = start, end
        self._flush = flush
