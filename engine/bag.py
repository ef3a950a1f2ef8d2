"""A bag by slot: the rows that each slot holds, every different one once with its count, and rows can go again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.memory import current
from .delta import Weights
from .key_index import KeyIndex
from .ranks import ranks
from .slot_array import LARGE_PIECE, SlotArray, Slots, distinct, pieces, where
from .sums import SlotState

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Touched:
    """The places that an update touched, each once, and how often their rows were there before and are now."""

    places: Slots
    before: Counts
    after: Counts


@dataclass(frozen=True)
class Order:
    """How rows of a bag are ordered by the column at `place`, counted from 0."""

    place: int
    descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True)
class Segments:
    """What a bag holds for some slots, segment i for the i-th of them, one after the other.

    Shape: row j is the row `columns[...][j]`, `counts[j]` times; segment i has the rows `[starts[i], starts[i + 1])`.
    """

    starts: npt.NDArray[np.int64]
    places: Slots
    counts: Counts
    columns: Sequence[pa.Array]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """How many different rows each segment has."""
        return np.diff(self.starts)

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """The segment of each row."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)

    def once(self) -> Segments:
        """The same with each different row only once."""
        return replace(self, counts=np.ones(len(self.counts), np.int64))

    def sizes(self) -> Counts:
        """How many rows each segment has, each counted as often as it is there."""
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts)])
        sizes: Counts = sums[self.starts[1:]] - sums[self.starts[:-1]]
        return sizes

    def sort_by(self, *keys: npt.NDArray[np.int64]) -> Segments:
        """The same with the rows of each segment ordered by integers, the first key first."""
        order = np.lexsort((*keys[::-1], self.owners))
        taken = pa.array(order)
        columns = [column.take(taken) for column in self.columns]
        return Segments(self.starts, self.places[order], self.counts[order], columns)

    def ordered(self, orders: Sequence[Order]) -> Segments:
        """The same with the rows of each segment ordered by their values."""
        keys = []
        for order in orders:
            column = self.columns[order.place]
            if column.null_count:
                valid = column.is_valid().to_numpy(zero_copy_only=False)
                keys.append((valid if order.nulls_first else ~valid).astype(np.int64))
            key = ranks(column)
            keys.append(~key if order.descending else key)
        return self.sort_by(*keys)


class Bag(SlotState):
    """Rows of one or more columns by slot.

    A place is a number that stands for one slot and one row, at least until `reserve` is called.
    State: each different row of each slot once, with its slot, its count and 8 to 32 bytes of table.
    Holds: an update costs as much as it has rows, and reading a slot as much as the slot has different rows.
    """

    def __init__(self, kinds: Sequence[pa.DataType]) -> None:
        fields = [("slot", pa.int64()), *((str(place), kind) for place, kind in enumerate(kinds))]
        self._index = KeyIndex(pa.schema(fields))
        self.counts = SlotArray(np.int64)  # by place
        self.owners = SlotArray(np.int64)  # by place: the slot
        self.versions = SlotArray(np.int64)  # by slot: another one whenever the slot holds other rows
        self.turn = 0  # counts calls of `reserve`
        self.generation = 0  # counts how often places have got another meaning
        self._runs: list[Slots] = []  # places ordered by slot, in runs that at least halve in size
        self._in_runs = 0  # the places below this are in a run

    def reserve(self, size: int) -> None:
        self.versions.reserve(size)
        self.turn += 1
        if self._index.wasteful:
            self._rebuild(self.alive())

    def update(
        self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None, counts: npt.NDArray[np.int64]
    ) -> None:
        self.add(slots, columns, weights)

    def add(self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None) -> Touched:
        """Take in row i of `columns` for `slots[i]`, `weights[i]` times, and say what that has changed."""
        batch = pa.RecordBatch.from_arrays([pa.array(slots), *columns], schema=self._index.schema)
        places, _ = self._index.lookup_or_insert(batch)
        self.counts.reserve(self._index.slots)
        self.owners.reserve(self._index.slots)
        self.owners[places] = slots
        touched = distinct(places, self._index.slots)
        before = self.counts.values[touched]
        self.counts.add(places, 1 if weights is None else weights)
        after = self.counts.values[touched]
        assert weights is None or after.min(initial=0) >= 0, "a row was retracted that is not there"
        if weights is not None:
            self._index.delete(touched[after == 0])
        changed = self.owners.values[touched[before != after]]
        self.versions[changed] = self.versions.values[changed] + 1
        return Touched(touched, before, after)

    def absorb(self, slots: Slots, other: SlotState, sources: Slots, counts: npt.NDArray[np.int64]) -> None:
        assert isinstance(other, Bag)
        found = other.segments(sources)
        self.add(np.repeat(slots, found.lengths), found.columns, found.counts)

    def values(self, places: Slots) -> list[pa.Array]:
        """The rows that `places` stand for, as columns; also of those that are gone."""
        return self._index.key_columns(places)[1:]

    def segments(self, slots: Slots) -> Segments:
        """All rows of `slots`, the rows of each in any order."""
        different, inverse = np.unique(slots, return_inverse=True)
        places = self.places_of(different)
        places = places[np.argsort(self.owners.values[places], kind="stable")]
        starts = np.searchsorted(self.owners.values[places], different)
        lengths = np.append(starts[1:], len(places)) - starts
        if len(different) != len(slots) or (slots[1:] < slots[:-1]).any():
            lengths = lengths[inverse]
            places = places[_ranges(starts[inverse], lengths)]
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return Segments(ends, places, self.counts.values[places], self.values(places))

    def places_of(self, slots: Slots) -> Slots:
        """The places of all rows that `slots`, which ascend, hold."""
        self._order_places()
        found = []
        for run in self._runs:
            owners = self.owners.values[run]
            starts, ends = np.searchsorted(owners, slots), np.searchsorted(owners, slots, side="right")
            found.append(run[_ranges(starts, ends - starts)])
        places = np.concatenate([np.zeros(0, np.int64), *found])
        alive: Slots = places[self.counts.values[places] > 0]
        return alive

    @property
    def places(self) -> int:
        """All places are below this number."""
        return self._index.slots

    def _order_places(self) -> None:
        """Bring the places that came since the last time into runs."""
        memory = current()
        for new in pieces(range(self._in_runs, self._index.slots)):
            while self._runs and len(self._runs[-1]) < 2 * len(new):
                if not memory.joins(self._runs[-1].nbytes + new.nbytes):
                    break
                new = np.concatenate([self._runs.pop(), new])
            self._runs.append(memory.held(new[np.argsort(self.owners.values[new], kind="stable")]))
            memory.watch(self)
        self._in_runs = self._index.slots

    def move(self) -> None:
        """Lie where there is room now."""
        self._runs = [current().moved(run) for run in self._runs]

    def alive(self) -> Slots:
        """All places of rows that are there, in ascending order."""
        return where(self.counts.values[: self._index.slots] > 0)

    def keep(self, slots: Slots) -> None:
        renumbered = np.full(int(slots.max(initial=0)) + 1, -1, np.int64)
        renumbered[slots] = np.arange(len(slots))
        places = self.alive()
        owners = self.owners.values[places]
        known = owners < len(renumbered)
        places, owners = places[known], renumbered[owners[known]]
        self.owners[places] = owners
        self.versions.keep(slots)
        self._rebuild(places[owners >= 0])

    def _rebuild(self, places: Slots) -> None:
        """Forget all but the rows at `places`, which get the places from 0 on."""
        slots, counts = self.owners.values[places], self.counts.values[places]
        self._load(slots, counts, ([pa.array(self.owners.values[p]), *self.values(p)] for p in pieces(places)))

    def _load(self, slots: Slots, counts: Counts, pieces: Iterable[Sequence[pa.Array]]) -> None:
        """Hold the rows of all `pieces`, each its slot and values as columns, so often."""
        self.generation += 1
        index = KeyIndex(self._index.schema)
        index.fill(pa.RecordBatch.from_arrays(columns, schema=index.schema) for columns in pieces)
        self._index = index
        self.owners.load(slots)
        self.counts.load(counts)
        self._runs, self._in_runs = [], 0

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        places = self.alive()
        names = ["slot", "count", *(f"value{place}" for place in range(len(self._index.schema) - 1))]
        batches = []
        for piece in [places] if not len(places) else pieces(places):
            columns = [pa.array(self.owners.values[piece]), pa.array(self.counts.values[piece]), *self.values(piece)]
            batches.append(current().batch(pa.RecordBatch.from_arrays(columns, names=names)))
        return {"bag": pa.Table.from_batches(batches)}

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        table = snapshot["bag"]
        slots, counts = table["slot"].to_numpy(), table["count"].to_numpy()
        self.versions.reserve(int(slots.max(initial=-1)) + 1)
        batches = table.to_batches(max_chunksize=LARGE_PIECE)
        self._load(slots, counts, ([batch.column(0), *batch.columns[2:]] for batch in batches))

    @property
    def bytes(self) -> int:
        runs = sum(run.nbytes for run in self._runs)
        return self._index.bytes + self.counts.bytes + self.owners.bytes + self.versions.bytes + runs


def _ranges(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The integers of each half-open range, one range after the other."""
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    found: npt.NDArray[np.int64] = np.repeat(starts, lengths) + offsets
    return found
