"""The least or greatest value by slot: that value alone while rows only come, all values where they can go.

NaN is greater than every other float, as in DuckDB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .bag import Bag
from .delta import Weights
from .folds import fixed_extreme
from .ranks import ranks
from .row_store import RowStore
from .slot_array import Mask, SlotArray, Slots, distinct, where
from .sums import Accumulator, slots_table, table_columns
from .words import Words

_POOL_MIN = 1024  # a pool with more dead values than this, and more than living ones, is cleared of them

Side = Literal["min", "max"]


def extreme(side: Side, kind: pa.DataType, *, append_only: bool) -> Accumulator:
    """The accumulator that fits values of type `kind`."""
    if not append_only:
        return BagExtreme(side, kind)
    if pa.types.is_floating(kind) or (pa.types.is_primitive(kind) and not pa.types.is_boolean(kind)):
        return fixed_extreme(side, kind)
    return PooledExtreme(side, kind)


class PooledExtreme(Accumulator):
    """For values of any other type (strings, wide decimals) whose rows never go.

    State: one value a slot in a pool, and as many again that were once the best.
    """

    def __init__(self, side: Side, kind: pa.DataType) -> None:
        self._side: Side = side
        self._pool = RowStore(pa.schema([("value", kind)]))
        self._places = SlotArray(np.int64, start=-1)

    def reserve(self, size: int) -> None:
        self._places.reserve(size)
        if self._pool.size > 2 * size + _POOL_MIN:
            self._compact(size)

    def update(
        self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None, counts: npt.NDArray[np.int64]
    ) -> None:
        values = columns[0]
        touched = distinct(slots, len(counts))
        known = touched[self._places.values[touched] >= 0]
        stored = self._pool.take(self._places.values[known]).column(0)
        candidates = pa.concat_arrays([stored, values])
        best = _best_rows(self._side, np.concatenate([known, slots]), candidates, len(counts))
        best = best[best >= len(known)] - len(known)  # a stored value stands where none is better
        came = pa.RecordBatch.from_arrays([values.take(pa.array(best))], names=["value"])
        self._places[slots[best]] = self._pool.append(came)

    def _compact(self, size: int) -> None:
        held = where(self._places.values[:size] >= 0)
        self._pool.keep(self._places.values[held])
        self._places[held] = np.arange(len(held))

    def read(self, slots: Slots) -> Words:
        """Places in the pool: another place is another value."""
        return [self._places.values[slots]]

    def to_array(self, words: Words, nulls: Mask | None) -> pa.Array:
        return self._pool.values(words[0], nulls)

    def keep(self, slots: Slots) -> None:
        self._places.keep(slots)
        self._compact(len(slots))

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        self._compact(size)
        return {"extreme": slots_table([self._places], size), "pool": self._pool.rows()}

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        self._places.load(table_columns(snapshot["extreme"])[0])
        for batch in snapshot["pool"].to_batches():
            self._pool.append(batch)

    @property
    def bytes(self) -> int:
        return self._places.bytes + self._pool.bytes


class BagExtreme(Accumulator):
    """For values of any type whose rows can go: when the best value goes, the next best takes its place.

    State: each different value of each slot once, with its count.
    Holds: an update costs as much as it has rows, and for each slot that loses its best value as much as that slot
    has values.
    """

    def __init__(self, side: Side, kind: pa.DataType) -> None:
        self._side: Side = side
        self._kind = kind
        self._bag = Bag([kind])
        self._best = SlotArray(np.int64, start=-1)  # a place in the bag by slot

    def reserve(self, size: int) -> None:
        self._best.reserve(size)
        generation = self._bag.generation
        self._bag.reserve(size)
        if self._bag.generation != generation:
            self._choose_all()

    def update(
        self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None, counts: npt.NDArray[np.int64]
    ) -> None:
        touched = self._bag.add(slots, columns, weights)
        self._choose(distinct(slots, len(counts)), touched.places[touched.after > 0], len(counts))

    def _choose(self, slots: Slots, candidates: Slots, size: int) -> None:
        """Find the best place of each of `slots` among its old best and `candidates`, or where that died among all."""
        best = self._best.values[slots]
        dead = (best >= 0) & (self._bag.counts.values[best] == 0)
        if dead.any():
            candidates = np.concatenate([candidates, self._bag.places_of(slots[dead])])
        candidates = np.concatenate([best[(best >= 0) & ~dead], candidates])
        self._best[slots] = -1
        self._note_best(candidates, size)

    def _choose_all(self) -> None:
        self._best[:] = -1
        places = self._bag.alive()
        self._note_best(places, int(self._bag.owners.values[places].max(initial=-1)) + 1)

    def _note_best(self, candidates: Slots, size: int) -> None:
        owners = self._bag.owners.values[candidates]
        rows = _best_rows(self._side, owners, self._bag.values(candidates)[0], size)
        self._best[owners[rows]] = candidates[rows]

    def read(self, slots: Slots) -> Words:
        """Places of values: another place is another value."""
        return [self._best.values[slots]]

    def to_array(self, words: Words, nulls: Mask | None) -> pa.Array:
        places = words[0] if nulls is None else np.where(nulls, 0, words[0])
        values = self._bag.values(places)[0] if self._bag.places else pa.nulls(len(places), self._kind)
        return values if nulls is None else pc.if_else(pa.array(nulls), pa.scalar(None, self._kind), values)

    def keep(self, slots: Slots) -> None:
        self._best.keep(slots)
        self._bag.keep(slots)
        self._choose_all()

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        return self._bag.snapshot(size)

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        self._bag.restore(snapshot)
        self._best.reserve(int(self._bag.owners.values[self._bag.alive()].max(initial=-1)) + 1)
        self._choose_all()

    @property
    def bytes(self) -> int:
        return self._bag.bytes + self._best.bytes


def _best_rows(side: Side, slots: Slots, values: pa.Array, size: int) -> npt.NDArray[np.int64]:
    """One row for each of the different `slots`, all below `size`: the first of those with the best value."""
    if size > 4 * len(slots):
        different, slots = np.unique(slots, return_inverse=True)
        size = len(different)
    order = ranks(values)
    if side == "max":
        order = ~order
    best = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(best, slots, order)
    rows = where(best[slots] == order)[::-1]
    first = np.full(size, -1)
    first[slots[rows]] = rows  # of all that write for a slot the last stays: the first row
    return first[where(first >= 0)]
