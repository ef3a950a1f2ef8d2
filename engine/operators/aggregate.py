"""Aggregate: one row per group, updated as rows come and go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ...storage.memory import current
from ..aggregates import AggregateCall
from ..delta import Delta, concat
from ..grouping_sets import GroupingSets
from ..groups import Change, Groups, Rows
from ..idle import Idle
from ..operator import ResultHolder, Snapshot, Time
from ..slot_array import Slots
from ..unseen import Unseen


class Aggregate(ResultHolder):
    """For each group of rows with equal keys its old row retracted and its new row inserted, where they differ.

    NULL keys form a group, so do NaN keys. A group whose rows have all gone is gone, but for those with the keys
    `standing`; without keys there is always one row. What is there without rows first comes out of the first `advance`.
    With `sets` of `keys`, each by its places, there are groups for each set: their keys, NULL where they are not in the
    set, are called `set_keys`, and after them comes the number of the set, counted from 0.

    With `ttl_us` a group that no row came to for so long, by the clock of the epochs, goes as if its rows had been
    retracted; only groups with keys do, of rows that only come, each in its own set. `silent`: it is forgotten, and its
    row stays told.

    Shape: the columns of `output_schema` are keys, by their names in the input, and the calls, by theirs.
    State: per group its key, a count and 8 to 32 bytes a call, 90 or more for variances; DISTINCT, lists, quantiles and
    the like, and min, max, arg_max and first over rows that can go, keep every different row of the group.
    """

    def __init__(
        self,
        keys: Sequence[str],
        calls: Sequence[AggregateCall],
        input_schema: pa.Schema,
        output_schema: pa.Schema,
        append_only: bool,
        standing: pa.RecordBatch | None = None,
        sets: Sequence[frozenset[int]] | None = None,
        set_keys: Sequence[str] = (),
        ttl_us: int | None = None,
        silent: bool = False,
    ) -> None:
        assert ttl_us is None or (append_only and keys), "what is gone could still be retracted"
        self.schema = output_schema
        self._keys = list(keys)
        key_schema = pa.schema([input_schema.field(name) for name in keys])
        self._sets = None if sets is None else GroupingSets(key_schema, sets)
        if sets is not None:
            key_schema = pa.schema([output_schema.field(name) for name in set_keys])
        self._groups = Groups(key_schema, calls, input_schema, append_only=append_only)
        self._idle = None if ttl_us is None else Idle(ttl_us)
        self._keyed = [number for number, chosen in enumerate(sets or ()) if chosen]  # sets whose groups can go
        self._silent = silent
        self.dated = self.shows_cuts = ttl_us is not None  # it counts when rows came
        self._unseen = Unseen({*keys, *self._groups.columns})
        names = [*key_schema.names, *(call.name for call in calls)]
        self._order = [names.index(name) for name in output_schema.names]
        self._standing = standing
        self._stands = False
        self._shown = bool(keys) and standing is None  # whether what is there without rows has come out

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        if not delta.rows:
            return None
        if not self.emits and self._idle is None:
            if self._unseen.add(delta):
                self._catch_up()
            return None
        begun = self._begin()
        self._catch_up()
        if not self.emits:
            self._take_in(delta)
            return None
        change = self._groups.change(*self._find(delta), shown=self._shown)
        self._shown = True
        told = [self._output(change)] if change is not None else []
        return concat([*begun, *told]) if begun or told else None

    def advance(self, time: Time) -> Delta | None:
        if self._idle is not None:
            self._idle.stamp(time.clock)
            self.wake = self._idle.wake
        if self._shown:
            return None
        begun = self._begin()
        self._shown = True
        if not self.emits:
            return None
        self._catch_up()
        return begun[0] if begun else self._output(self._groups.result(self._groups.all()))

    def expire(self, time: Time) -> Delta | None:
        if self._idle is None or not len(expired := self._idle.expire(time.clock)):
            return None
        told = self.emits and not self._silent
        gone = self._output(self._groups.result(expired)).batch if told else None
        self._groups.remove(expired)
        return None if gone is None else Delta(gone, np.full(gone.num_rows, -1))

    def _begin(self) -> list[Delta]:
        """Before anything else, set up the groups that are there without rows; their rows, if they come now."""
        if self._standing is None or self._shown:
            return []
        slots = self._stand(self._standing)
        self._shown = True
        return [self._output(self._groups.result(slots))] if self.emits else []

    def _stand(self, standing: pa.RecordBatch) -> Slots:
        """The slots of the groups that are there without rows."""
        if self._stands:
            return self._groups.find(standing.columns, standing.num_rows)
        self._stands = True
        return self._groups.stand(standing.columns, standing.num_rows)

    def rows(self) -> pa.Table:
        if self._standing is not None:
            self._stand(self._standing)
        self._catch_up()
        memory, groups = current(), self._groups
        batches = [memory.batch(self._output(groups.result(slots)).batch) for slots in groups.pieces()]
        return pa.Table.from_batches(batches, schema=self.schema)

    def snapshot(self) -> Snapshot:
        self._catch_up()
        tables = {}
        if self._idle is not None:
            self._compact(self._idle)
            tables["idle"] = self._idle.times(np.arange(self._groups.slots))
        tables |= self._groups.snapshot()
        return {**tables, "shown": pa.table({"shown": [self._shown], "stands": [self._stands]})}

    def restore(self, snapshot: Snapshot) -> None:
        self._groups.restore(snapshot)
        if self._idle is not None:
            self._idle.load(np.arange(self._groups.slots), snapshot["idle"])
            self.wake = self._idle.wake
        self._shown = snapshot["shown"]["shown"][0].as_py()
        self._stands = snapshot["shown"]["stands"][0].as_py()

    @property
    def kept(self) -> int | None:
        return self._groups.size

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        sets = 0 if self._sets is None else self._sets.bytes
        return self._groups.bytes + self._unseen.bytes + sets + (0 if self._idle is None else self._idle.bytes)

    @property
    def oldest(self) -> int | None:
        return None if self._idle is None else self._idle.oldest

    def _compact(self, idle: Idle | None) -> None:
        kept = self._groups.compact()
        if idle is not None:
            idle.keep(kept)

    def _find(self, delta: Delta) -> tuple[Slots, Rows]:
        """The group of each row, and what it brings there."""
        groups = self._groups
        if groups.wasteful:
            self._compact(self._idle)
        keys = [delta.batch.column(name) for name in self._keys]
        columns = {name: delta.batch.column(name) for name in groups.columns}
        weights = delta.weights
        if self._sets is None:
            slots = groups.find(keys, delta.rows)
        else:
            combinations = self._sets.find(groups, keys, delta.rows)
            if not columns:  # rows of equal keys count together
                combinations, weights = self._sets.counted(combinations, weights)
            slots = self._sets.groups(combinations)
        if self._idle is not None:
            self._idle.touch(slots if self._sets is None else slots[self._keyed].reshape(-1))
        return slots, Rows(columns, weights)

    def _catch_up(self) -> None:
        """Take in what came while nobody looked."""
        delta = self._unseen.take()
        if delta is not None:
            self._take_in(delta)

    def _take_in(self, delta: Delta) -> None:
        for piece in delta.pieces():
            self._groups.update(*self._find(piece))

    def _output(self, change: Change) -> Delta:
        columns = self._groups.result_columns(change)
        ordered = [columns[place] for place in self._order]
        return Delta(pa.RecordBatch.from_arrays(ordered, schema=self.schema), change.weights)
