"""Rows by number: appended once, taken out in any order, and dropped when most of them are no longer wanted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.memory import current

Numbers = npt.NDArray[np.int64]
_PIECE = 1 << 20  # rows moved at once


class RowStore:
    """Arrow batches of growing size, whose rows count from 0 on in the order in which they were appended.

    State: all rows since the last `keep`. Reading `n` rows costs O(n) and a little for each batch, of which there are
    O(log rows).
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.size = 0
        self._batches: list[pa.RecordBatch] = []
        self._starts = np.zeros(0, np.int64)

    def append(self, batch: pa.RecordBatch) -> Numbers:
        """The numbers that the rows of `batch` have from now on."""
        numbers = np.arange(self.size, self.size + batch.num_rows)
        if batch.num_rows:
            join(self._batches, batch)
            self._count()
        return numbers

    def take(self, numbers: Numbers) -> pa.RecordBatch:
        """The rows of these numbers, in that order."""
        if not len(numbers):
            return pa.RecordBatch.from_pylist([], schema=self.schema)
        places = np.searchsorted(self._starts, numbers, side="right") - 1
        found = np.unique(places)
        if len(found) == 1:
            place = int(found[0])
            return self._batches[place].take(pa.array(numbers - self._starts[place]))
        parts, order = [], []
        for place in found.tolist():
            wanted = np.flatnonzero(places == place)
            parts.append(self._batches[place].take(pa.array(numbers[wanted] - self._starts[place])))
            order.append(wanted)
        back = np.empty(len(numbers), np.int64)
        back[np.concatenate(order)] = np.arange(len(numbers))
        return pa.concat_batches(parts).take(pa.array(back))

    def values(self, numbers: Numbers, nulls: npt.NDArray[np.bool_] | None) -> pa.Array:
        """The first column of the rows of these numbers, and NULL at `nulls`, where the numbers may be anything."""
        if nulls is None:
            return self.take(numbers).column(0)
        places = np.cumsum(~nulls) - 1
        return self.take(numbers[~nulls]).column(0).take(pa.array(np.maximum(places, 0), mask=nulls))

    def rows(self) -> pa.Table:
        """All rows. Does not change later."""
        return pa.Table.from_batches(self._batches, schema=self.schema)

    def keep(self, numbers: Numbers) -> None:
        """Row `numbers[i]` becomes row i; all others are gone."""
        kept: list[pa.RecordBatch] = []
        for start in range(0, len(numbers), _PIECE):
            join(kept, self.take(numbers[start : start + _PIECE]))
        self._batches = kept
        self._count()

    def move(self) -> None:
        """Lie where there is room now."""
        self._batches = [current().moved_batch(batch) for batch in self._batches]

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return sum(int(batch.nbytes) for batch in self._batches)

    def _count(self) -> None:
        current().watch(self)
        counts = np.array([batch.num_rows for batch in self._batches], np.int64)
        self._starts = np.cumsum(counts) - counts
        self.size = int(counts.sum())


def join(batches: list[pa.RecordBatch], last: pa.RecordBatch, *, beyond: int = 1) -> None:
    """Put `last` behind `batches`; where there are more than `beyond`, small ones at the end become one with it."""
    memory = current()
    while len(batches) >= beyond and batches[-1].num_rows < 2 * last.num_rows:
        if not memory.joins(batches[-1].nbytes + last.nbytes):
            break
        last = pa.concat_batches([batches.pop(), last])
    batches.append(memory.batch(last))
