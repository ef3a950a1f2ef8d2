"""The first row of each slot in an order, where rows only come: what arg_max and first with ORDER BY read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .delta import Weights
from .row_store import RowStore
from .slot_array import Mask, SlotArray, Slots, distinct, pieces, where
from .sort_keys import LAST, OrderWords, SortKey, exact_word, first_words, order_words, sortable, sorted_rows
from .sums import Accumulator, SlotState, slots_table, table_columns
from .words import Words

_STALE_MIN = 1024  # a store with more rows than this that are no longer first, and than are, is cleared of them


def orders_rows(kinds: Sequence[pa.DataType], order: Sequence[SortKey]) -> bool:
    """Whether rows with columns of these types can be ordered so."""
    return all(sortable(kinds[int(key.column)]) for key in order)


class Firsts(Accumulator):
    """The first row in `order` of each slot, which is told as its first column; of equal rows any.

    Shape: columns are named by their places, "0", "1", ...
    State: a row a slot, and as many again that once were first; 24 bytes a slot.
    From: as in a tournament a row need only beat the best so far: most lose by one comparison of words.
    """

    def __init__(self, kinds: Sequence[pa.DataType], order: Sequence[SortKey]) -> None:
        self._order = list(order)
        self._exact = len(order) <= 2 and all(exact_word(kinds[int(key.column)]) for key in order)  # words say all
        self._schema = pa.schema([(str(place), kind) for place, kind in enumerate(kinds)])
        self._store = RowStore(self._schema)
        self._firsts = SlotArray(np.int64, start=-1)  # by slot: the row in the store
        self._told = SlotArray(np.int64, start=-1)  # the same; while its value stays the same, the one it had first
        self._words = SlotArray(np.uint64, start=LAST)  # by slot: of its first row, by which most others lose

    def reserve(self, size: int) -> None:
        for array in (self._firsts, self._told, self._words):
            array.reserve(size)
        if self._store.size > 3 * size + _STALE_MIN:
            self._compact(size)

    def update(
        self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None, counts: npt.NDArray[np.int64]
    ) -> None:
        if not len(slots):
            return
        words = self._words_of(0, columns)
        held = self._words.values[slots]
        exact = self._exact and words.min() > 0 and words.max() < LAST
        near = where(words < held) if exact and len(self._order) == 1 else where(words <= held)
        if not len(near):
            return
        owners, words, held = slots[near], words[near], held[near]
        self._words.apply(np.minimum, owners, words)
        best = where(words == self._words.values[owners])
        near, owners, better = near[best], owners[best], words[best] < held[best]
        candidates = [column.take(pa.array(near)) for column in columns]
        if exact and self._settle(owners, better, candidates):
            return
        order = np.argsort(owners, kind="stable")
        owners, better = owners[order], better[order]
        opens = _opens(owners)
        better &= opens & np.append(opens[1:], True)  # without a rival in this delta
        rows = self._rows(candidates, order)
        sure, contested = where(better), where(~better)
        if len(sure):
            self._put(owners[sure], rows.take(pa.array(sure)))
        if len(contested):
            self._challenge(owners[contested], rows.take(pa.array(contested)), len(counts))

    def _settle(self, owners: Slots, better: Mask, candidates: Sequence[pa.Array]) -> bool:
        """Put those of the candidates first that are, where words say all: `better` than what is there, or as good.

        False if one of the words could mean two values, and then nothing has been done.
        """
        if len(self._order) == 1:
            order = np.argsort(owners, kind="stable")
        else:
            seconds = self._words_of(1, candidates)
            if seconds.min() == 0 or seconds.max() == LAST:
                return False
            order = np.lexsort([seconds, owners])
        first = order[_opens(owners[order])]
        owners, better = owners[first], better[first]
        tied = where(~better)
        if len(tied) and len(self._order) == 2:
            stored = self._store.take(self._firsts.values[owners[tied]])
            better[tied] = seconds[first[tied]] < self._words_of(1, stored.columns)
        moved = where(better)
        if len(moved):
            self._put(owners[moved], self._rows(candidates, first[moved]))
        return True

    def _words_of(self, key: int, columns: Sequence[pa.Array]) -> OrderWords:
        return first_words(columns[int(self._order[key].column)], self._order[key])

    def _rows(self, columns: Sequence[pa.Array], places: Slots) -> pa.RecordBatch:
        taken = pa.array(places)
        return pa.RecordBatch.from_arrays([column.take(taken) for column in columns], schema=self._schema)

    def _challenge(self, slots: Slots, rows: pa.RecordBatch, size: int) -> None:
        """Compare `rows` with the first row of their slots, all below `size`."""
        touched = distinct(slots, size)
        held = touched[self._firsts.values[touched] >= 0]
        both = pa.concat_batches([self._store.take(self._firsts.values[held]), rows])
        owners = np.concatenate([held, slots])
        order = sorted_rows(owners, order_words(both, self._order))
        ordered = owners[order]
        first = order[_opens(ordered)]
        first = first[first >= len(held)]  # a stored row stands where none is better
        if not len(first):
            return
        self._put(owners[first], rows.take(pa.array(first - len(held))))

    def _put(self, moved: Slots, came: pa.RecordBatch) -> None:
        """Each of the slots `moved`, named once, has a new first row."""
        told = self._told.values[moved]
        places = self._store.append(came)
        known = where(told >= 0)
        if len(known):
            before = self._store.take(told[known]).column(0)
            same = pc.equal(came.column(0).take(pa.array(known)), before)
            known = known[same.fill_null(False).to_numpy(zero_copy_only=False)]
        self._firsts[moved] = places
        kept = told[known]
        told[:] = places
        told[known] = kept
        self._told[moved] = told

    def absorb(self, slots: Slots, other: SlotState, sources: Slots, counts: npt.NDArray[np.int64]) -> None:
        assert isinstance(other, Firsts)
        self.update(slots, other._store.take(other._firsts.values[sources]).columns, None, counts)

    def read(self, slots: Slots) -> Words:
        """Rows of the store: another row is another value."""
        return [self._told.values[slots]]

    def to_array(self, words: Words, nulls: Mask | None) -> pa.Array:
        return self._store.values(words[0], nulls)

    def keep(self, slots: Slots) -> None:
        for array in (self._firsts, self._told, self._words):
            array.keep(slots)
        self._compact(len(slots))

    def _compact(self, size: int) -> None:
        """Forget the rows that are no longer first in a slot below `size`."""
        firsts, told = self._firsts.values[:size], self._told.values[:size]
        held = where(firsts >= 0)
        kept = distinct(np.concatenate([firsts[held], told[held]]), self._store.size)
        self._store.keep(kept)
        firsts[held] = np.searchsorted(kept, firsts[held])
        told[held] = np.searchsorted(kept, told[held])

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        self._compact(size)
        return {"firsts": slots_table([self._firsts, self._told], size), "rows": self._store.rows()}

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        firsts, told = table_columns(snapshot["firsts"])
        self._firsts.load(firsts)
        self._told.load(told)
        self._words = SlotArray(np.uint64, start=LAST)
        self._words.reserve(len(firsts))
        for batch in snapshot["rows"].to_batches():
            self._store.append(batch)
        for slots in pieces(where(firsts >= 0)):
            self._words[slots] = self._words_of(0, self._store.take(firsts[slots]).columns)

    @property
    def bytes(self) -> int:
        return self._store.bytes + self._firsts.bytes + self._told.bytes + self._words.bytes


def _opens(groups: Slots) -> Mask:
    """True at each row whose group is not that of the row before."""
    opens: Mask = np.append(True, groups[1:] != groups[:-1])
    return opens
