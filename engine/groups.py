"""Groups and their aggregates: rows go in, and out comes what changed, as old rows retracted and new rows inserted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .aggregates import AggregateCall, bind
from .delta import Weights
from .key_index import KeyIndex
from .operator import Snapshot
from .slot_array import Mask, SlotArray, Slots, distinct
from .sums import Words, slots_table, table_columns


@dataclass(frozen=True)
class Reading:
    """What some groups hold at one moment: how many rows, and each aggregate's words."""

    rows: npt.NDArray[np.int64]
    values: list[Words]

    def take(self, places: npt.NDArray[np.int64]) -> Reading:
        """The same of the groups at `places` only."""
        return Reading(self.rows[places], [[column[places] for column in words] for words in self.values])


class Groups:
    """All rows that are equal in `key_schema`, counted and aggregated; a group is there while it has rows.

    Shape: without key columns there is one group, slot 0, and it is always there.
    State: per group its key, its number of rows and what its aggregates need.
    """

    def __init__(
        self, key_schema: pa.Schema, calls: Sequence[AggregateCall], input_schema: pa.Schema, *, append_only: bool
    ) -> None:
        self.index = KeyIndex(key_schema)
        self._keyless = not len(key_schema)
        self._append_only = append_only
        self._rows = SlotArray(np.int64)
        self._aggregates, self._inputs = bind(calls, input_schema, append_only=append_only)
        self.columns = sorted({name for i in self._inputs for name in (i.argument, i.filter) if name is not None})

    @property
    def slots(self) -> int:
        """All slots are below this number."""
        return 1 if self._keyless else self.index.slots

    def find(self, keys: Sequence[pa.Array], rows: int) -> Slots:
        """The slot of each of `rows` rows, whose keys come in columns; new keys get new slots."""
        if self._keyless:
            return np.zeros(rows, np.int64)
        slots, _ = self.index.lookup_or_insert(pa.RecordBatch.from_arrays(keys, schema=self.index.schema))
        return slots

    def update(self, slots: Slots, columns: Mapping[str, pa.Array], weights: Weights | None) -> None:
        """Take in one row of `columns` for each of `slots`."""
        self._reserve()
        np.add.at(self._rows.values, slots, 1 if weights is None else weights)
        rows = self._rows.values[: self.slots]
        for input in self._inputs:
            input.update(slots, columns, weights, rows)

    def update_and_read(
        self, slots: Slots, columns: Mapping[str, pa.Array], weights: Weights | None
    ) -> tuple[Slots, Reading, Reading]:
        """As `update`; the groups concerned, and what they held before and after."""
        touched = distinct(slots, self.slots)
        self._reserve()
        before = self.read(touched)
        self.update(slots, columns, weights)
        return touched, before, self.read(touched)

    def _reserve(self) -> None:
        self._rows.reserve(self.slots)
        for input in self._inputs:
            input.reserve(self.slots)

    def read(self, slots: Slots) -> Reading:
        """What `slots` hold now."""
        rows = self._rows.values[slots]
        return Reading(rows, [aggregate.read(slots, rows) for aggregate in self._aggregates])

    def bury(self, slots: Slots) -> None:
        """Forget those of `slots`, which are named once each, that have no rows left."""
        if self._append_only or self._keyless:
            return
        rows = self._rows.values[slots]
        assert not len(rows) or rows.min() >= 0, "a row was retracted that is not there"
        self.remove(slots[rows == 0])

    def remove(self, slots: Slots) -> None:
        """Forget `slots`, which are present and named once each."""
        self._rows.values[slots] = 0
        self.index.delete(slots)

    def present(self, slots: Slots) -> Slots:
        """Those of `slots` that are there."""
        return slots[np.flatnonzero(self._rows.values[slots] > 0)]

    def live(self) -> Slots:
        """All groups that are there."""
        if self._keyless:
            self._reserve()
            return np.zeros(1, np.int64)
        return np.flatnonzero(self._rows.values[: self.slots] > 0)

    def key_columns(self, slots: Slots) -> list[pa.Array]:
        """The keys of `slots`, a column each."""
        return [] if self._keyless else list(self.index.keys(slots).columns)

    def value_columns(self, reading: Reading) -> list[pa.Array]:
        """What was read, a column per call."""
        return [aggregate.to_array(words) for aggregate, words in zip(self._aggregates, reading.values, strict=True)]

    @property
    def wasteful(self) -> bool:
        """True when most slots are of groups that are gone, so that it is time for `compact`."""
        return self.index.wasteful

    def compact(self) -> Slots:
        """Renumber the groups that are there from 0 on; their old slots in the new order."""
        kept = self.index.compact()
        self._rows.keep(kept)
        for input in self._inputs:
            input.keep(kept)
        return kept

    def snapshot(self) -> dict[str, pa.Table]:
        """All state, of the groups renumbered from 0 on: see `compact`."""
        if self.index.slots != self.index.size:
            self.compact()
        self._reserve()
        tables: dict[str, pa.Table] = {"rows": slots_table([self._rows], self.slots)}
        if not self._keyless:
            tables |= self.index.snapshot()
        for place, input in enumerate(self._inputs):
            tables |= {f"{place}.{name}": table for name, table in input.snapshot(self.slots).items()}
        return tables

    def restore(self, snapshot: Snapshot) -> None:
        """Become the groups that `snapshot` was taken of."""
        if not self._keyless:
            self.index.restore({"keys": snapshot["keys"]})
        self._rows.load(table_columns(snapshot["rows"])[0])
        for place, input in enumerate(self._inputs):
            prefix = f"{place}."
            input.restore({k.removeprefix(prefix): table for k, table in snapshot.items() if k.startswith(prefix)})

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self.index.bytes + self._rows.bytes + sum(input.bytes for input in self._inputs)


@dataclass(frozen=True)
class Change:
    """Rows of a result: the group, what it held, and whether that goes (-1) or comes (+1); None: all come."""

    slots: Slots
    reading: Reading
    weights: Weights | None


def change(touched: Slots, before: Reading, after: Reading) -> Change | None:
    """What turns the result rows of `touched` as they were `before` into what they are `after`."""
    was, stays = before.rows > 0, after.rows > 0
    differs = _differing(before, after)
    old = np.flatnonzero(was & (differs | ~stays))
    new = np.flatnonzero(stays & (differs | ~was))
    if not len(old):
        return Change(touched[new], after.take(new), None) if len(new) else None
    weights = np.ones(len(old) + len(new), np.int64)
    weights[: len(old)] = -1
    reading = _concat(before.take(old), after.take(new))
    return Change(np.concatenate([touched[old], touched[new]]), reading, weights)


def _concat(first: Reading, second: Reading) -> Reading:
    values = [
        [np.concatenate(pair) for pair in zip(left, right, strict=True)]
        for left, right in zip(first.values, second.values, strict=True)
    ]
    return Reading(np.concatenate([first.rows, second.rows]), values)


def _differing(before: Reading, after: Reading) -> Mask:
    differs = np.zeros(len(before.rows), np.bool_)
    for left, right in zip(before.values, after.values, strict=True):
        for old, new in zip(left, right, strict=True):
            differs |= old != new
    return differs
