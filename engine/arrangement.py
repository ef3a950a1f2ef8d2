"""A relation kept as it changes: batches as they came while rows only come, each different row once when some go."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .delta import Delta, Weights
from .key_index import KeyIndex
from .operator import Snapshot
from .slot_array import SlotArray, Slots, distinct, where

_BATCHES_MAX = 64  # small batches are joined, so that reading does not become a matter of their number


class Arrangement:
    """The sum of all deltas inserted so far.

    State: all rows; from the first retraction on, each different row once with 24 bytes beside it.
    Holds: no row is retracted that is not there (our mistake, not the user's).
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._batches: list[pa.RecordBatch] = []  # while there was no retraction
        self._index: KeyIndex | None = None  # of whole rows, from then on
        self._weights = SlotArray(np.int64)
        self._rows: pa.Table | None = None  # what `rows` said last, while it is true

    def insert(self, delta: Delta) -> None:
        """Add `delta` to the sum."""
        if not delta.rows:
            return
        self._rows = None
        if self._index is None and (delta.weights is None or bool((delta.weights > 0).all())):
            self._append(_repeated(delta.batch, delta.weights))
            return
        if self._index is None:
            self._index = KeyIndex(self.schema)
            batches, self._batches = self._batches, []
            for batch in batches:
                self._add(self._index, batch, None)
        self._add(self._index, delta.batch, delta.weights)

    def _append(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        while len(self._batches) > _BATCHES_MAX and self._batches[-2].num_rows < 2 * self._batches[-1].num_rows:
            self._batches[-2:] = [pa.concat_batches(self._batches[-2:])]

    def _add(self, index: KeyIndex, batch: pa.RecordBatch, weights: Weights | None) -> None:
        slots, _ = index.lookup_or_insert(batch)
        self._weights.reserve(index.slots)
        np.add.at(self._weights.values, slots, 1 if weights is None else weights)
        if weights is None:
            return
        touched = distinct(slots, index.slots)
        left = self._weights.values[touched]
        assert left.min() >= 0, "a row was retracted that is not there"
        index.delete(touched[where(left == 0)])
        if index.wasteful:
            self._weights.keep(index.compact())

    def rows(self) -> pa.Table:
        """All rows, each as often as it is there. Does not change later."""
        if self._rows is None:
            batches = [_repeated(delta.batch, delta.weights) for delta in self.deltas()]
            self._rows = pa.Table.from_batches(batches, schema=self.schema)
        return self._rows

    def deltas(self) -> Iterable[Delta]:
        """The sum as deltas without retractions."""
        if self._index is None:
            return [Delta(batch) for batch in self._batches]
        slots = self._present(self._index)
        weights: Weights = self._weights.values[slots]
        return [Delta(self._index.keys(slots), weights if (weights != 1).any() else None)] if len(slots) else []

    @property
    def size(self) -> int:
        """How many rows there are, each counted as often as it is there."""
        if self._index is None:
            return sum(batch.num_rows for batch in self._batches)
        return int(self._weights.values[self._present(self._index)].sum())

    def _present(self, index: KeyIndex) -> Slots:
        return where(self._weights.values[: index.slots] > 0)

    def snapshot(self) -> Snapshot:
        """All rows; `restore` starts from them as from a first insert."""
        return {"rows": self.rows()}

    def restore(self, snapshot: Snapshot) -> None:
        """Become the arrangement that `snapshot` was taken of."""
        self._index, self._weights, self._rows = None, SlotArray(np.int64), None
        self._batches = [batch for batch in snapshot["rows"].to_batches() if batch.num_rows]

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        own = self._weights.bytes + self._index.bytes if self._index is not None else 0
        return own + sum(int(batch.nbytes) for batch in self._batches)


def consolidate(delta: Delta) -> Delta:
    """The same change with each different row once, in the order of their first coming, and none with weight zero."""
    index = KeyIndex(delta.batch.schema)
    slots, new = index.lookup_or_insert(delta.batch)
    weights = np.zeros(index.slots, np.int64)
    np.add.at(weights, slots, 1 if delta.weights is None else delta.weights)
    rows = where(new)
    summed = weights[slots[rows]]
    rows, summed = rows[summed != 0], summed[summed != 0]
    batch = delta.batch if len(rows) == delta.rows else delta.batch.take(pa.array(rows))
    return Delta(batch, None if (summed == 1).all() else summed)


def _repeated(batch: pa.RecordBatch, weights: npt.NDArray[np.int64] | None) -> pa.RecordBatch:
    """Each row as often as its weight says."""
    if weights is None or (weights == 1).all():
        return batch
    return batch.take(pa.array(np.repeat(np.arange(batch.num_rows), weights)))
