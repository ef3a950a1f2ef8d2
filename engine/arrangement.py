"""A relation kept as it changes: batches as they came, and what went, which is taken out of them now and then."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..storage.memory import current
from .delta import Delta
from .delta_store import DeltaStore
from .key_index import KeyIndex
from .operator import Snapshot
from .row_store import join
from .slot_array import SlotArray, where

_BATCHES_MAX = 64  # small batches are joined, so that reading does not become a matter of their number
_GONE_MIN = 4096  # so few rows that went may wait, however few are there
_SAMPLE = 1024


class Arrangement:
    """The sum of all deltas inserted so far.

    State: all rows, and those that went since the rows were last read; at most half as many as are there, or few.
    Holds: no row is retracted that is not there (our mistake, not the user's): said at the latest when rows are read.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._batches: list[pa.RecordBatch] = []  # as they came
        self._came = 0  # rows in them
        self._gone = DeltaStore()  # rows to take out of them, with how often each went
        self._rows: pa.Table | None = None  # what `rows` said last, while it is true

    def insert(self, delta: Delta) -> None:
        """Add `delta` to the sum."""
        if not delta.rows:
            return
        self._rows = None
        if delta.weights is None or bool((delta.weights > 0).all()):
            self._append(_repeated(delta.batch, delta.weights))
            return
        came, went = where(delta.weights > 0), where(delta.weights < 0)
        if len(came):
            self._append(_repeated(delta.batch.take(pa.array(came)), delta.weights[came]))
        if len(went):
            self._gone.add(Delta(delta.batch.take(pa.array(went)), -delta.weights[went]))
            if self._gone.rows > max(_GONE_MIN, self._came // 2):
                self._settle()

    def _append(self, batch: pa.RecordBatch) -> None:
        self._came += batch.num_rows
        join(self._batches, batch, beyond=_BATCHES_MAX)
        current().watch(self)

    def move(self) -> None:
        """Lie where there is room now."""
        self._rows = None
        self._batches = [current().moved_batch(batch) for batch in self._batches]
        self._gone.move()

    def _settle(self) -> None:
        """Take the rows that went out of those that came."""
        if not self._gone.rows:
            return
        gone = Withdrawal(self.schema, self._gone)
        batches, self._batches, self._came = self._batches, [], 0
        self._gone.clear()
        for batch in batches:
            left = gone.taken_from(batch)
            if left.num_rows:
                self._append(left)
        assert not gone.pending, "a row was retracted that is not there"

    def rows(self) -> pa.Table:
        """All rows, each as often as it is there. Does not change later."""
        if self._rows is None:
            self._settle()
            self._rows = pa.Table.from_batches(self._batches, schema=self.schema)
        return self._rows

    def deltas(self) -> Iterable[Delta]:
        """The sum as deltas without retractions."""
        self._settle()
        return [Delta(batch) for batch in self._batches]

    @property
    def size(self) -> int:
        """How many rows there are, each counted as often as it is there."""
        self._settle()
        return self._came

    def snapshot(self) -> Snapshot:
        """All rows; `restore` starts from them as from a first insert."""
        return {"rows": self.rows()}

    def restore(self, snapshot: Snapshot) -> None:
        """Become the arrangement that `snapshot` was taken of."""
        self._gone.clear()
        self._rows = None
        self._batches = [batch for batch in snapshot["rows"].to_batches() if batch.num_rows]
        self._came = snapshot["rows"].num_rows

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._gone.bytes + sum(int(batch.nbytes) for batch in self._batches)


class Withdrawal:
    """Rows to take out of batches, each as often as it is said to have gone.

    State: each different row once, with its count.
    """

    def __init__(self, schema: pa.Schema, gone: Iterable[Delta]) -> None:
        self._index = KeyIndex(schema)
        self._counts = SlotArray(np.int64)  # how often each is still to be taken out
        self._left = 0  # their sum
        self._narrow: KeyIndex | None = None  # of the values of the column at `place`
        self._place = -1
        for delta in gone:
            slots, _ = self._index.lookup_or_insert(delta.batch)
            self._counts.reserve(self._index.slots)
            weights = delta.weight_array()
            self._counts.add(slots, weights)
            self._left += int(weights.sum())
            self._narrow_by(delta.batch)

    @property
    def pending(self) -> bool:
        """Whether some of it was in no batch so far."""
        return self._left > 0

    def taken_from(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What is left of `batch`."""
        if not self.pending:
            return batch
        rows, near = None, batch
        if self._narrow is not None:
            column = pa.RecordBatch.from_arrays([batch.column(self._place)], schema=self._narrow.schema)
            rows = where(self._narrow.lookup(column) >= 0)
            if len(rows) < batch.num_rows:
                near = batch.take(pa.array(rows))
        slots = self._index.lookup(near)
        found = where(slots >= 0)
        if not len(found):
            return batch
        found = found[np.argsort(slots[found], kind="stable")]
        slots = slots[found]
        first = np.append(True, slots[1:] != slots[:-1])
        starts = where(first)
        lengths = np.diff(starts, append=len(slots))
        turns = np.arange(len(slots)) - np.repeat(starts, lengths)  # the how-manieth row of its kind
        wanted = self._counts.values[slots[starts]]
        taken = np.minimum(wanted, lengths)
        self._counts[slots[starts]] = wanted - taken
        self._left -= int(taken.sum())
        found = found[turns < np.repeat(wanted, lengths)]
        left = np.ones(batch.num_rows, np.bool_)
        left[found if rows is None else rows[found]] = False
        return batch.filter(pa.array(left))

    def _narrow_by(self, batch: pa.RecordBatch) -> None:
        """Note the values of the column that says most about a row, so that few others need a look at all of them."""
        if batch.num_columns < 2:
            return
        if self._narrow is None:
            sample = batch.slice(0, _SAMPLE)
            self._place = max(range(batch.num_columns), key=lambda place: _different(sample, place))
            self._narrow = KeyIndex(pa.schema([batch.schema.field(self._place)]))
        column = batch.column(self._place)
        self._narrow.lookup_or_insert(pa.RecordBatch.from_arrays([column], schema=self._narrow.schema))


def _different(batch: pa.RecordBatch, place: int) -> int:
    """How many values a column of numbers or times has; 0 for others, which take longer to compare."""
    kind = batch.schema.field(place).type
    quick = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind)
    return int(pc.count_distinct(batch.column(place), mode="all").as_py()) if quick else 0


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
