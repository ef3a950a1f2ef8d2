"""SetOperation: INTERSECT and EXCEPT, by how often either input has a row."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...storage.memory import current
from ..delta import Delta
from ..idle import Idle
from ..key_index import KeyIndex
from ..operator import ResultHolder, Snapshot, Time
from ..slot_array import Distinct, SlotArray, Slots, pieces, where

Kind = Literal["intersect", "except"]
Counts = npt.NDArray[np.int64]


class SetOperation(ResultHolder):
    """Each different row as often as the operation has it, given that the left input has it l times, the right r times.

    INTERSECT ALL has it min(l, r) times, EXCEPT ALL max(l - r, 0) times; without ALL it is there once or not at all:
    where both have it, and where only the left one has. NULL equals NULL, as everywhere in set operations.

    With `ttl_us` a row that came from neither input for so long, by the clock of the epochs, goes as if it had never
    come; only where rows only come. `silent`: it is forgotten, and stays told.

    Shape: both inputs have the output's columns and types; their names may differ.
    State: each different row of both inputs once, and 16 bytes beside it; 24 more with `ttl_us`.
    From: Budiu et al., "DBSP: Automatic Incremental View Maintenance" (VLDB 2023), section 4: what is not linear is
    computed anew for the rows that changed.
    """

    def __init__(
        self, kind: Kind, schema: pa.Schema, *, all_rows: bool, ttl_us: int | None = None, silent: bool = False
    ) -> None:
        self.schema = schema
        self._idle = None if ttl_us is None else Idle(ttl_us)
        self._silent = silent
        self.dated = self.shows_cuts = ttl_us is not None  # it counts when rows came
        self._kind = kind
        self._all = all_rows
        self._index = KeyIndex(schema)
        self._counts = (SlotArray(np.int64), SlotArray(np.int64))
        self._distinct = Distinct()

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        if self._index.wasteful:
            self._compact()
        slots, _ = self._index.lookup_or_insert(pa.RecordBatch.from_arrays(delta.batch.columns, schema=self.schema))
        for counts in self._counts:
            counts.reserve(self._index.slots)
        touched = self._distinct(slots, self._index.slots)
        if self._idle is not None:
            assert delta.weights is None or delta.weights.min(initial=1) > 0, "what is gone could still be retracted"
            self._idle.touch(touched)
        before = self._result(touched)
        self._counts[port].add(slots, 1 if delta.weights is None else delta.weights)
        change = self._result(touched) - before
        output = self._changed(touched, change) if self.emits else None
        self._forget(touched)
        return output

    def advance(self, time: Time) -> Delta | None:
        if self._idle is not None:
            self._idle.stamp(time.clock)
            self.wake = self._idle.wake
        return None

    def expire(self, time: Time) -> Delta | None:
        if self._idle is None or not len(expired := self._idle.expire(time.clock)):
            return None
        gone = self._changed(expired, -self._result(expired)) if self.emits and not self._silent else None
        for counts in self._counts:
            counts[expired] = 0
        self._index.delete(expired)
        return gone

    def rows(self) -> pa.Table:
        batches = []
        for slots in pieces(range(self._index.slots)):
            batches.append(current().batch(self._index.keys(np.repeat(slots, self._result(slots)))))
        return pa.Table.from_batches(batches, self.schema)

    def snapshot(self) -> Snapshot:
        self._compact()
        left, right = (counts.copied(self._index.slots) for counts in self._counts)
        tables = {**self._index.snapshot(), "counts": pa.table({"left": left, "right": right})}
        if self._idle is not None:
            tables["idle"] = self._idle.times(np.arange(self._index.slots))
        return tables

    def restore(self, snapshot: Snapshot) -> None:
        self._index.restore(snapshot)
        for counts, column in zip(self._counts, snapshot["counts"].columns, strict=True):
            counts.load(column.to_numpy())
        if self._idle is not None:
            self._idle.load(np.arange(self._index.slots), snapshot["idle"])
            self.wake = self._idle.wake

    @property
    def kept(self) -> int | None:
        return self._index.size

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        idle = 0 if self._idle is None else self._idle.bytes
        return self._index.bytes + self._distinct.bytes + sum(counts.bytes for counts in self._counts) + idle

    @property
    def oldest(self) -> int | None:
        return None if self._idle is None else self._idle.oldest

    def _result(self, slots: Slots) -> Counts:
        """How often the output has the rows of `slots`."""
        left, right = (counts.values[slots] for counts in self._counts)
        if not self._all:
            there: Counts = ((left > 0) & ((right > 0) == (self._kind == "intersect"))).astype(np.int64)
            return there
        result: Counts = np.minimum(left, right) if self._kind == "intersect" else np.maximum(left - right, 0)
        return result

    def _changed(self, slots: Slots, change: Counts) -> Delta | None:
        places = where(change != 0)
        if not len(places):
            return None
        weights = change[places]
        order = np.argsort(weights > 0, kind="stable") if weights.min() < 0 else slice(None)  # retractions first
        weights = weights[order]
        return Delta(self._index.keys(slots[places][order]), None if (weights == 1).all() else weights)

    def _forget(self, slots: Slots) -> None:
        """Let go of rows that neither input has any more."""
        left, right = (counts.values[slots] for counts in self._counts)
        assert min(left.min(initial=0), right.min(initial=0)) >= 0, "a row was retracted that is not there"
        self._index.delete(slots[where((left == 0) & (right == 0))])

    def _compact(self) -> None:
        kept = self._index.compact()
        for counts in self._counts:
            counts.reserve(int(kept.max(initial=-1)) + 1)
            counts.keep(kept)
        if self._idle is not None:
            self._idle.keep(kept)
