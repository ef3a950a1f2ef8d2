"""The least or greatest value by slot: that value alone while rows only come, all values where they can go.

NaN is greater than every other float, as in DuckDB.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..storage.hashing import fixed_values
from .delta import Weights
from .key_index import KeyIndex
from .slot_array import Mask, SlotArray, Slots, distinct, where
from .sums import Accumulator, integer_words, slots_table, table_columns
from .words import Words, fixed_words, words_array

_POOL_MIN = 1024  # a pool with more dead values than this, and more than living ones, is cleared of them

Side = Literal["min", "max"]


def extreme(side: Side, kind: pa.DataType, *, append_only: bool) -> Accumulator:
    """The accumulator that fits values of type `kind`."""
    if not append_only:
        return MultisetExtreme(side, kind)
    if pa.types.is_floating(kind) or (pa.types.is_primitive(kind) and not pa.types.is_boolean(kind)):
        return FixedExtreme(side, kind)
    return PooledExtreme(side, kind)


class FixedExtreme(Accumulator):
    """For numbers and times of at most 64 bits whose rows never go.

    State: one value a slot.
    """

    def __init__(self, side: Side, kind: pa.DataType) -> None:
        self._kind = kind
        start: object
        if pa.types.is_floating(kind):
            self._dtype = np.dtype(kind.to_pandas_dtype())
            start = np.nan if side == "min" else -np.inf
            self._better: np.ufunc = np.fmin if side == "min" else np.maximum  # fmin passes NaN over, maximum takes it
        else:
            unsigned = pa.types.is_unsigned_integer(kind)
            self._dtype = np.dtype(f"{'u' if unsigned else 'i'}{kind.bit_width // 8}")
            limits = np.iinfo(self._dtype)
            start = limits.max if side == "min" else limits.min
            self._better = np.minimum if side == "min" else np.maximum
        self._values = SlotArray(self._dtype, start)

    def reserve(self, size: int) -> None:
        self._values.reserve(size)

    def update(self, slots: Slots, values: pa.Array, weights: Weights | None, counts: npt.NDArray[np.int64]) -> None:
        with np.errstate(invalid="ignore"):
            self._better.at(self._values.values, slots, fixed_values(values, self._dtype))

    def read(self, slots: Slots) -> Words:
        return [self._values.values[slots].view(f"i{self._dtype.itemsize}")]

    def to_array(self, words: Words, nulls: Mask | None) -> pa.Array:
        return words_array(self._kind, words, nulls)

    def keep(self, slots: Slots) -> None:
        self._values.keep(slots)

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        return {"extreme": slots_table([self._values], size)}

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        self._values.load(table_columns(snapshot["extreme"])[0])

    @property
    def bytes(self) -> int:
        return self._values.bytes


class PooledExtreme(Accumulator):
    """For values of any other type (strings, wide decimals) whose rows never go.

    State: one value a slot in a pool, and as many again that were once the best.
    """

    def __init__(self, side: Side, kind: pa.DataType) -> None:
        self._side: Side = side
        self._pool: pa.Array = pa.array([], kind)
        self._places = SlotArray(np.int64, start=-1)

    def reserve(self, size: int) -> None:
        self._places.reserve(size)
        if len(self._pool) > 2 * size + _POOL_MIN:
            self._compact(size)

    def update(self, slots: Slots, values: pa.Array, weights: Weights | None, counts: npt.NDArray[np.int64]) -> None:
        touched = distinct(slots, len(counts))
        known = touched[self._places.values[touched] >= 0]
        stored = self._pool.take(pa.array(self._places.values[known]))
        candidates = pa.concat_arrays([stored, values])
        best = _best_rows(self._side, np.concatenate([known, slots]), candidates, len(counts))
        best = best[best >= len(known)] - len(known)  # a stored value stands where none is better
        self._places.values[slots[best]] = np.arange(len(self._pool), len(self._pool) + len(best))
        self._pool = pa.concat_arrays([self._pool, values.take(pa.array(best))])

    def _compact(self, size: int) -> None:
        held = where(self._places.values[:size] >= 0)
        self._pool = self._pool.take(pa.array(self._places.values[held]))
        self._places.values[held] = np.arange(len(held))

    def read(self, slots: Slots) -> Words:
        """Places in the pool: another place is another value."""
        return [self._places.values[slots]]

    def to_array(self, words: Words, nulls: Mask | None) -> pa.Array:
        places = words[0] if nulls is None else np.where(nulls, 0, words[0])
        return self._pool.take(pa.array(places, pa.int64(), mask=nulls))

    def keep(self, slots: Slots) -> None:
        self._places.keep(slots)
        self._compact(len(slots))

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        self._compact(size)
        return {"extreme": slots_table([self._places], size), "pool": pa.table({"value": self._pool})}

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        self._places.load(table_columns(snapshot["extreme"])[0])
        self._pool = _one_array(snapshot["pool"]["value"])

    @property
    def bytes(self) -> int:
        return self._places.bytes + int(self._pool.nbytes)


class MultisetExtreme(Accumulator):
    """For values of any type whose rows can go: when the best value goes, the next best takes its place.

    State: each different value of each slot once, with its count.
    Holds: an update costs as much as it has rows, and for each slot that loses its best value as much as that slot
    has values.
    """

    def __init__(self, side: Side, kind: pa.DataType) -> None:
        self._side: Side = side
        self._kind = kind
        self._values = KeyIndex(pa.schema([("slot", pa.int64()), ("value", kind)]))
        self._counts = SlotArray(np.int64)  # by place in _values
        self._slots = SlotArray(np.int64)  # by place in _values
        self._best = SlotArray(np.int64, start=-1)  # a place in _values by slot
        self._runs: list[Slots] = []  # places ordered by slot, in runs that at least halve in size

    def reserve(self, size: int) -> None:
        self._best.reserve(size)
        if self._values.wasteful:
            self._compact()

    def update(self, slots: Slots, values: pa.Array, weights: Weights | None, counts: npt.NDArray[np.int64]) -> None:
        batch = pa.RecordBatch.from_arrays([pa.array(slots), values], schema=self._values.schema)
        places, new = self._values.lookup_or_insert(batch)
        self._counts.reserve(self._values.slots)
        self._slots.reserve(self._values.slots)
        self._slots.values[places] = slots
        np.add.at(self._counts.values, places, 1 if weights is None else weights)
        touched = distinct(places, self._values.slots)
        left = self._counts.values[touched]
        assert not len(left) or left.min() >= 0, "a value was retracted that is not there"
        self._choose(distinct(slots, len(counts)), touched[left > 0], len(counts))
        self._values.delete(touched[left == 0])
        self._add_run(places[new])

    def _choose(self, slots: Slots, candidates: Slots, size: int) -> None:
        """Find the best place of each of `slots` among its old best and `candidates`, or where that died among all."""
        best = self._best.values[slots]
        dead = (best >= 0) & (self._counts.values[best] == 0)
        if dead.any():
            orphans = slots[dead]
            alive = self._places_of(orphans)
            candidates = np.concatenate([candidates, alive])
        candidates = np.concatenate([best[(best >= 0) & ~dead], candidates])
        self._best.values[slots] = -1
        values = self._values.key_columns(candidates)[1]
        rows = _best_rows(self._side, self._slots.values[candidates], values, size)
        self._best.values[self._slots.values[candidates[rows]]] = candidates[rows]

    def _places_of(self, slots: Slots) -> Slots:
        """The places of all values that `slots` still hold, those of this update apart. `slots` ascend."""
        found = []
        for run in self._runs:
            owners = self._slots.values[run]
            starts, ends = np.searchsorted(owners, slots), np.searchsorted(owners, slots, side="right")
            lengths = ends - starts
            offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            found.append(run[np.repeat(starts, lengths) + offsets])
        places = np.concatenate([np.zeros(0, np.int64), *found])
        alive: Slots = places[self._counts.values[places] > 0]
        return alive

    def _add_run(self, places: Slots) -> None:
        if len(places):
            self._runs.append(places)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            self._runs[-2:] = [np.concatenate(self._runs[-2:])]
        if len(places):
            last = self._runs[-1]
            self._runs[-1] = last[np.argsort(self._slots.values[last], kind="stable")]

    def read(self, slots: Slots) -> Words:
        """Places of values: another place is another value."""
        return [self._best.values[slots]]

    def to_array(self, words: Words, nulls: Mask | None) -> pa.Array:
        places = words[0] if nulls is None else np.where(nulls, 0, words[0])
        values = self._values.key_columns(places)[1] if self._values.slots else pa.nulls(len(places), self._kind)
        return values if nulls is None else pc.if_else(pa.array(nulls), pa.scalar(None, self._kind), values)

    def keep(self, slots: Slots) -> None:
        self._best.keep(slots)
        renumbered = np.full(int(slots.max(initial=0)) + 1, -1, np.int64)
        renumbered[slots] = np.arange(len(slots))
        places = np.concatenate([np.zeros(0, np.int64), *self._runs])
        places = np.sort(places[self._counts.values[places] > 0])
        owners = self._slots.values[places]
        owners = np.where(owners < len(renumbered), renumbered[np.minimum(owners, len(renumbered) - 1)], -1)
        kept = where(owners >= 0)
        self._rebuild(owners[kept], self._values.key_columns(places[kept])[1], self._counts.values[places[kept]])

    def _compact(self) -> None:
        """Forget the values that have gone."""
        places = np.sort(np.concatenate([np.zeros(0, np.int64), *self._runs]))
        places = places[self._counts.values[places] > 0]
        self._rebuild(self._slots.values[places], self._values.key_columns(places)[1], self._counts.values[places])

    def _rebuild(self, slots: Slots, values: pa.Array, counts: npt.NDArray[Any]) -> None:
        self._values = KeyIndex(self._values.schema)
        self._values.load(pa.RecordBatch.from_arrays([pa.array(slots), values], schema=self._values.schema))
        self._slots.load(slots)
        self._counts.load(counts)
        self._runs = []
        self._best.values[:] = -1
        self._add_run(np.arange(len(slots)))
        rows = _best_rows(self._side, slots, values, int(slots.max(initial=-1)) + 1)
        self._best.values[slots[rows]] = rows

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        self._compact()
        places = np.arange(self._values.size)
        columns = {"slot": self._slots.values[places], "count": self._counts.values[places]}
        return {"values": pa.table({**columns, "value": self._values.key_columns(places)[1]})}

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        table = snapshot["values"]
        slots = table["slot"].to_numpy()
        self.reserve(int(slots.max(initial=-1)) + 1)
        self._rebuild(slots, _one_array(table["value"]), table["count"].to_numpy())

    @property
    def bytes(self) -> int:
        runs = sum(run.nbytes for run in self._runs)
        return self._values.bytes + self._counts.bytes + self._slots.bytes + self._best.bytes + runs


def _best_rows(side: Side, slots: Slots, values: pa.Array, size: int) -> npt.NDArray[np.int64]:
    """One row for each of the different `slots`, all below `size`: the first of those with the best value."""
    if size > 4 * len(slots):
        different, slots = np.unique(slots, return_inverse=True)
        size = len(different)
    ranks = _ranks(values)
    if side == "max":
        ranks = ~ranks
    best = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(best, slots, ranks)
    rows = where(best[slots] == ranks)[::-1]
    first = np.full(size, -1)
    first[slots[rows]] = rows  # of all that write for a slot the last stays: the first row
    return first[where(first >= 0)]


def _ranks(values: pa.Array) -> npt.NDArray[np.int64]:
    """Integers in the order of the values, equal where these are."""
    kind = values.type
    if pa.types.is_floating(kind):
        dtype = np.dtype(f"i{kind.bit_width // 8}")
        bits = fixed_words(values, dtype, 1)[0].astype(np.int64)
        return np.where(bits < 0, np.iinfo(dtype).min - bits, bits)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal128(kind):
        words = integer_words(values)
        if len(words) == 1:
            return words[0]
    elif pa.types.is_primitive(kind):
        return fixed_values(values, f"i{kind.bit_width // 8}").astype(np.int64)
    ranks: npt.NDArray[np.int64] = pc.rank(values, tiebreaker="dense").to_numpy().astype(np.int64)
    return ranks


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
