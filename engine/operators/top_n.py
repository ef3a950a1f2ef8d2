"""TopN: the first rows of each partition in an order, kept as rows come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...storage.memory import current
from ..delta import Delta
from ..idle import Idle
from ..keyed_rows import KeyedRows
from ..operator import ResultHolder, Snapshot, Time
from ..row_lists import RowIds
from ..slot_array import Mask, SlotArray, Slots, distinct, where
from ..sort_keys import LAST, SortKey, changes, first_words, order_words, sorted_rows

Ranking = Literal["row_number", "rank", "dense_rank"]
Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Top:
    """Rows that come out, each copy of a row by itself, with its rank."""

    ids: RowIds
    ranks: Ranks


_NOTHING = _Top(np.zeros(0, np.int64), np.zeros(0, np.int64))


class TopN(ResultHolder):
    """The rows of each partition whose rank in `order` is above `offset` and at most `limit`.

    `peers` of the order's leading keys make rows equal for `rank` and `dense_rank`; `row_number` goes by all of it, so
    rows that are equal in all of it must be equal altogether, or which of them comes out is open.

    Shape: the input's columns, then, if it is named, the rank.
    With `forgets` no row that is behind the limit is ever in front again: rows only come, or give way to such as are
    not behind them, in one delta.
    With `ttl_us` a partition that no row came to for so long, by the clock of the epochs, goes with what it shows.
    State: with `forgets` the rows that come out or are in front of these; else all rows of the input, in KeyedRows.
    From: the bound on each partition that rows must beat is that of threshold algorithms (Fagin et al., PODS 2001).
    """

    def __init__(
        self,
        partition: Sequence[str],
        order: Sequence[SortKey],
        ranking: Ranking,
        limit: int,
        input_schema: pa.Schema,
        *,
        offset: int = 0,
        peers: int | None = None,
        rank: str | None = None,
        forgets: bool = False,
        ttl_us: int | None = None,
    ) -> None:
        assert ttl_us is None or forgets, "what is gone could still be retracted"
        self._idle = None if ttl_us is None else Idle(ttl_us)
        self.dated = self.shows_cuts = ttl_us is not None  # it counts when rows came
        self.schema = input_schema if rank is None else input_schema.append(pa.field(rank, pa.int64()))
        self._order = list(order)
        self._peers = len(order) if peers is None else peers
        self._ranking = ranking
        self._limit = limit
        self._offset = offset
        self._rank = rank
        self._forgets = forgets
        self._rows = KeyedRows(input_schema, partition)
        self._bounds = SlotArray(np.uint64, LAST)  # by partition: rows beyond it change nothing

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        delta = Delta(delta.batch, delta.weights)
        renumbered = self._rows.prepare(delta)
        if renumbered is not None:
            self._bounds.keep(renumbered)
            if self._idle is not None:
                self._idle.keep(renumbered)
        if self._forgets and delta.weights is not None and (delta.weights < 0).any():  # some of rows let go before
            known = where((delta.weights > 0) | self._rows.held(delta.batch))
            delta = delta if len(known) == delta.rows else delta.take(known)
        slots = self._rows.slots(delta)
        if self._idle is not None:
            self._idle.touch(slots)
        end = int(slots.max(initial=-1)) + 1
        self._bounds.reserve(end)
        bounds = self._bounds.values[slots]
        near = where(self._first_words(delta.batch) <= bounds)
        if self._forgets and len(near) < delta.rows:
            delta = delta.take(near)
        touched = distinct(slots[near], end)
        before = self._top(touched) if self.emits else _NOTHING
        if delta.rows:
            self._rows.insert(delta)
        if not len(near):
            return None
        after = self._top(touched, settle=True)
        return self._difference(before, after) if self.emits else None

    def advance(self, time: Time) -> Delta | None:
        if self._idle is not None:
            self._idle.stamp(time.clock)
            self.wake = self._idle.wake
        return None

    def expire(self, time: Time) -> Delta | None:
        if self._idle is None or not len(expired := self._idle.expire(time.clock)):
            return None
        self._bounds.reserve(self._rows.slots_end)
        before = self._top(expired) if self.emits else _NOTHING
        gone = self._difference(before, _NOTHING)
        self._rows.remove(self._rows.rows_of(expired)[1])
        self._bounds[expired] = LAST
        return gone

    def rows(self) -> pa.Table:
        self._bounds.reserve(self._rows.slots_end)  # there are none yet for rows that were restored or renumbered
        fronts = [current().batch(self._output(self._top(slots))) for slots in self._rows.pieces()]
        return pa.Table.from_batches(fronts, schema=self.schema)

    def snapshot(self) -> Snapshot:
        self._bounds = SlotArray(np.uint64, LAST)
        if self._idle is None:
            return self._rows.snapshot()
        kept = self._rows.compact()
        assert kept is not None, "one partition alone never expires"
        self._idle.keep(kept)
        idle = self._idle.times(self._rows.by_row())
        return {**self._rows.snapshot(), "idle": idle}

    def restore(self, snapshot: Snapshot) -> None:
        self._rows.restore(snapshot)
        if self._idle is not None:
            self._idle.load(self._rows.by_row(), snapshot["idle"])
            self.wake = self._idle.wake

    @property
    def kept(self) -> int | None:
        return self._rows.size

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._rows.bytes + self._bounds.bytes + (0 if self._idle is None else self._idle.bytes)

    @property
    def oldest(self) -> int | None:
        return None if self._idle is None else self._idle.oldest

    def _first_words(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
        if not self._order:
            return np.zeros(batch.num_rows, np.uint64)
        return first_words(batch.column(self._order[0].column), self._order[0])

    def _top(self, slots: Slots, *, settle: bool = False) -> _Top:
        """What comes out of the partitions `slots`. `settle`: set their bounds, and forget what can never come out."""
        groups, ids = self._rows.rows_of(slots)
        firsts = np.zeros(len(ids), np.uint64)
        if self._order:
            firsts = self._first_words(self._rows.take(ids, [self._order[0].column]))
        bounds = self._bounds.values[slots]
        near = where(firsts <= bounds[groups])
        if len(near) < len(ids):  # what was in front last time may do, if enough of it is left
            top, full = self._ranked(groups[near], ids[near], firsts[near], slots, settle=settle)
            short = ~full & (bounds < LAST)
            if not short.any():
                return top
            self._bounds[slots[short]] = LAST
            return self._top(slots, settle=settle)
        return self._ranked(groups, ids, firsts, slots, settle=settle)[0]

    def _ranked(
        self, groups: RowIds, ids: RowIds, firsts: npt.NDArray[np.uint64], slots: Slots, *, settle: bool
    ) -> tuple[_Top, Mask]:
        """What comes out of these rows of the partitions `slots[groups]`, and which partitions have enough of them."""
        batch = self._rows.take(ids, list(dict.fromkeys(key.column for key in self._order)))
        words = order_words(batch, self._order)
        peer_words = len(order_words(batch.slice(0, len(ids)), self._order[: self._peers])) if self._order else 0
        places = sorted_rows(groups, words)
        groups, ids, firsts = groups[places], ids[places], firsts[places]
        weights = self._rows.weights(ids)
        first = changes([groups], len(groups))
        peers = first | changes([word[places] for word in words[:peer_words]], len(groups))
        ranks, copies = self._ranks(first, peers, weights), weights
        inside = where(ranks <= self._limit)
        full = np.zeros(len(slots), np.bool_)
        # The last row inside of each partition says what those must beat that come later.
        last = inside[where(np.append(groups[inside][1:] != groups[inside][:-1], True))] if len(inside) else inside
        reached = ranks[last] if self._ranking == "dense_rank" else self._counted(first, copies)[last]
        enough = where(reached >= self._limit)
        full[groups[last[enough]]] = True
        if settle:
            self._bounds[slots] = LAST
            self._bounds[slots[groups[last[enough]]]] = firsts[last[enough]]
            if self._forgets and len(inside) < len(ids):
                self._rows.remove(ids[where(ranks > self._limit)])
        shown = inside
        if copies is None:
            shown = inside[where(ranks[inside] > self._offset)]
            return _Top(ids[shown], ranks[shown]), full
        times = copies[shown]
        repeated = np.repeat(shown, times)
        ranks = ranks[repeated]
        if self._ranking == "row_number":
            ranks = ranks + np.arange(len(repeated)) - np.repeat(np.cumsum(times) - times, times)
        kept = where((ranks > self._offset) & (ranks <= self._limit))
        return _Top(ids[repeated[kept]], ranks[kept]), full

    def _ranks(self, first: Mask, peers: Mask, weights: npt.NDArray[np.int64] | None) -> Ranks:
        """The rank of each row, or of its first copy, given where partitions and peers begin."""
        if self._ranking == "dense_rank":
            numbers = np.cumsum(peers, dtype=np.int64)
        else:
            numbers = np.arange(len(first)) if weights is None else np.cumsum(weights) - weights
        ranks: Ranks = numbers - _at_start(numbers, first) + 1
        return _at_start(ranks, peers) if self._ranking == "rank" else ranks

    def _counted(self, first: Mask, copies: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
        """How many rows each partition has up to each row, that one included."""
        own = np.ones(len(first), np.int64) if copies is None else copies
        counts = np.cumsum(own)
        counted: npt.NDArray[np.int64] = counts - _at_start(counts - own, first)
        return counted

    def _difference(self, before: _Top, after: _Top) -> Delta | None:
        ids = np.concatenate([before.ids, after.ids])
        ranks = np.concatenate([before.ranks, after.ranks])
        keys = [ids] if self._rank is None else [ids, ranks]
        if not len(ids):
            return None
        order = np.lexsort(keys)
        starts = where(changes([key[order] for key in keys], len(ids)))
        signs = np.ones(len(ids), np.int64)
        signs[: len(before.ids)] = -1
        sums = np.add.reduceat(signs[order], starts)
        rows = order[starts]
        places = where(sums != 0)
        if not len(places):
            return None
        places = places[np.argsort(sums[places] > 0, kind="stable")]  # retractions first
        weights = sums[places]
        batch = self._output(_Top(ids[rows[places]], ranks[rows[places]]))
        return Delta(batch, None if (weights == 1).all() else weights)

    def _output(self, top: _Top) -> pa.RecordBatch:
        batch = self._rows.take(top.ids)
        columns = batch.columns if self._rank is None else [*batch.columns, pa.array(top.ranks)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _at_start(values: npt.NDArray[np.int64], starts: Mask) -> npt.NDArray[np.int64]:
    """Per row the value at the start of its stretch."""
    places = where(starts)
    if not len(places):
        return values
    return np.repeat(values[places], np.diff(places, append=len(values)))
