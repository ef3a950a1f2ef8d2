"""Groups and their aggregates: rows go in, and out comes what changed, as old result rows and new ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .aggregates import AggregateCall, bind
from .delta import Weights
from .key_index import KeyIndex
from .operator import Snapshot
from .slot_array import LARGE_PIECE, Distinct, Mask, SlotArray, Slots, where
from .sums import slots_table, table_columns, widened
from .words import Words


@dataclass(frozen=True)
class Rows:
    """Rows to take in: the columns that aggregates look at, and weights."""

    columns: Mapping[str, pa.Array]
    weights: Weights | None


@dataclass(frozen=True)
class Partials:
    """Groups of the same calls that have taken in the rows before: some of them, perhaps repeatedly."""

    groups: Groups
    sources: Slots


@dataclass(frozen=True)
class Reading:
    """What some groups hold at one moment: how many rows, and each aggregate's words."""

    rows: npt.NDArray[np.int64]
    values: list[Words]

    def take(self, places: npt.NDArray[np.int64]) -> Reading:
        """The same of the groups at `places` only."""
        return Reading(self.rows[places], [[column[places] for column in words] for words in self.values])


@dataclass(frozen=True)
class Change:
    """Result rows that go and come.

    Shape: first a row for each of the slots `old`, which goes, then a row for each of `new`, which comes; `reading`
    says what they hold.
    """

    old: Slots
    new: Slots
    reading: Reading

    @property
    def weights(self) -> Weights | None:
        """A weight for each row; None if all come."""
        if not len(self.old):
            return None
        weights = np.ones(len(self.old) + len(self.new), np.int64)
        weights[: len(self.old)] = -1
        return weights


class Groups:
    """All rows that are equal in `key_schema`, counted and aggregated; a group is there while it has rows.

    With `merges` they may be partials of others.

    Shape: without key columns there is one group, slot 0, and it is always there.
    State: per group its key, its number of rows and what its aggregates need.
    """

    def __init__(
        self,
        key_schema: pa.Schema,
        calls: Sequence[AggregateCall],
        input_schema: pa.Schema,
        *,
        append_only: bool,
        merges: bool = False,
    ) -> None:
        self.index = KeyIndex(key_schema)
        self._keyless = not len(key_schema)
        self._append_only = append_only
        self._rows = SlotArray(np.int64)
        self._aggregates, self._inputs = bind(calls, input_schema, append_only=append_only, merges=merges)
        self._distinct = Distinct()
        self.generation = 0  # counts how often slots have got another meaning
        self.columns = sorted({name for input in self._inputs for name in input.choice.names})

    @property
    def slots(self) -> int:
        """All slots are below this number."""
        return 1 if self._keyless else self.index.slots

    @property
    def size(self) -> int:
        """How many groups there are."""
        return 1 if self._keyless else self.index.size

    def find(self, keys: Sequence[pa.Array], rows: int) -> Slots:
        """The slot of each of `rows` rows, whose keys come in columns; new keys get new slots."""
        if self._keyless:
            return np.zeros(rows, np.int64)
        slots, _ = self.index.lookup_or_insert(pa.RecordBatch.from_arrays(keys, schema=self.index.schema))
        return slots

    def stand(self, keys: Sequence[pa.Array], rows: int) -> Slots:
        """The slots of groups that have no rows now and yet are there from now on: of a row that no aggregate sees."""
        slots = self.find(keys, rows)
        self._reserve()
        self._rows[slots] = self._rows.values[slots] + 1
        for input in self._inputs:
            input.overlook(slots, self.slots)
        return slots

    def update(self, slots: Slots, intake: Rows | Partials) -> None:
        """Take in a row, or a partial group, for each of `slots`; or for several rows of these, each time all."""
        self._reserve()
        for each in slots.reshape(-1, slots.shape[-1]):
            self._take_in(each, intake)
        if not self._append_only:
            self._bury(self._distinct(slots.reshape(-1), self.slots))

    def change(self, slots: Slots, intake: Rows | Partials, *, shown: bool = True) -> Change | None:
        """As `update`; what it changes in the groups' result rows.

        Without keys, `shown` says whether the one row has come out before; it comes out now.
        """
        self._reserve()
        touched = self._distinct(slots.reshape(-1), self.slots)
        before = self._read(touched)
        for each in slots.reshape(-1, slots.shape[-1]):
            self._take_in(each, intake)
        after = self._read(touched)
        if self._keyless:
            before, after = Reading(np.full(1, int(shown)), before.values), Reading(np.ones(1, np.int64), after.values)
        elif not self._append_only:
            self._bury(touched)
        return _change(touched, before, after, always=self._append_only)

    def _reserve(self) -> None:
        self._rows.reserve(self.slots)
        for input in self._inputs:
            input.reserve(self.slots)

    def _take_in(self, slots: Slots, intake: Rows | Partials) -> None:
        if isinstance(intake, Rows):
            self._rows.add(slots, 1 if intake.weights is None else intake.weights)
            rows = self._rows.values[: self.slots]
            for input in self._inputs:
                input.update(slots, intake.columns, intake.weights, rows)
        else:
            added = intake.groups._rows.values[intake.sources]
            self._rows.add(slots, added)
            rows = self._rows.values[: self.slots]
            for input, source in zip(self._inputs, intake.groups._inputs, strict=True):
                input.absorb(slots, source, intake.sources, added, rows)

    def _read(self, slots: Slots) -> Reading:
        rows = self._rows.values[slots]
        return Reading(rows, [aggregate.read(slots, rows) for aggregate in self._aggregates])

    def _bury(self, slots: Slots) -> None:
        """Forget those of `slots`, which are named once each, that have no rows left."""
        rows = self._rows.values[slots]
        assert rows.min(initial=0) >= 0, "a row was retracted that is not there"
        gone = slots[where(rows == 0)]
        if not self._keyless and len(gone):
            self._delete(gone)

    def remove(self, slots: Slots) -> None:
        """Forget `slots`, which are there and named once each."""
        self._rows[slots] = 0
        self._delete(slots)

    def _delete(self, slots: Slots) -> None:
        self.index.delete(slots)
        self.generation += 1

    def there(self, slots: Slots) -> Slots:
        """Those of `slots` that are there."""
        return slots[where(self._rows.values[slots] > 0)]

    def all(self) -> Slots:
        """All groups that are there."""
        self._reserve()
        if self._keyless:
            return np.zeros(1, np.int64)
        return where(self._rows.values[: self.slots] > 0)

    def pieces(self) -> Iterator[Slots]:
        """The same, so many at once that their result takes little memory."""
        if self._keyless:
            yield self.all()
        self._reserve()
        for start in range(0, 0 if self._keyless else self.slots, LARGE_PIECE):
            end = min(start + LARGE_PIECE, self.slots)
            yield start + where(self._rows.values[start:end] > 0)

    def result(self, slots: Slots) -> Change:
        """The result rows of `slots`, as if they came now."""
        return Change(slots[:0], slots, self._read(slots))

    def result_columns(self, change: Change) -> list[pa.Array]:
        """The rows of `change`: a column per key, then one per call."""
        if change.old is change.new:
            keys = [pa.concat_arrays([column, column]) for column in self.key_columns(change.new)]
        else:
            keys = self.key_columns(np.concatenate([change.old, change.new]))
        values = zip(self._aggregates, change.reading.values, strict=True)
        return [*keys, *(aggregate.to_array(words) for aggregate, words in values)]

    def key_columns(self, slots: Slots) -> list[pa.Array]:
        """The keys of `slots`, a column each."""
        return [] if self._keyless else self.index.key_columns(slots)

    @property
    def wasteful(self) -> bool:
        """True when most slots are of groups that are gone, so that it is time for `compact`."""
        return self.index.wasteful

    def compact(self) -> Slots:
        """Renumber the groups that are there from 0 on, in the order they had; their old slots, in the new order."""
        kept = self.index.compact()
        self.generation += 1
        self._reserve()
        self._rows.keep(kept)
        for input in self._inputs:
            input.keep(kept)
        return kept

    def snapshot(self) -> dict[str, pa.Table]:
        """All state. It renumbers the groups: see `compact`."""
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
            self.index.restore(snapshot)
        self.generation += 1
        self._rows.load(table_columns(snapshot["rows"])[0])
        for place, input in enumerate(self._inputs):
            prefix = f"{place}."
            input.restore({k.removeprefix(prefix): table for k, table in snapshot.items() if k.startswith(prefix)})

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        own = self.index.bytes + self._rows.bytes + self._distinct.bytes
        aggregates = sum(aggregate.bytes for aggregate in self._aggregates)
        return own + aggregates + sum(input.bytes for input in self._inputs)


def _change(touched: Slots, before: Reading, after: Reading, *, always: bool) -> Change | None:
    """What turns the result rows of `touched` as they were `before` into what they are `after`.

    `always` promises that every group is there after.
    """
    was = before.rows > 0
    differs = _differing(before, after)
    if always and was.all() and differs.all():
        return Change(touched, touched, _concat(before, after))
    stays = after.rows > 0
    old = where(was & (differs | ~stays))
    new = where(stays & (differs | ~was))
    if not len(old):
        return Change(old, touched[new], after.take(new)) if len(new) else None
    return Change(touched[old], touched[new], _concat(before.take(old), after.take(new)))


def _concat(first: Reading, second: Reading) -> Reading:
    values = []
    for left, right in zip(first.values, second.values, strict=True):
        columns = zip(widened(left, len(right)), right, strict=True)
        values.append([np.concatenate(pair) for pair in columns])
    return Reading(np.concatenate([first.rows, second.rows]), values)


def _differing(before: Reading, after: Reading) -> Mask:
    """Where the two say something else about the aggregates."""
    differs: Mask = np.zeros(len(before.rows), np.bool_)
    for left, right in zip(before.values, after.values, strict=True):
        for old, new in zip(widened(left, len(right)), right, strict=True):
            differs |= old != new
        if differs.all():
            break
    return differs
