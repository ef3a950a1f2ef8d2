"""Versions of keys: of each key and time the greatest row that is there, and which is the last before any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .delta import Delta
from .key_index import KeyIndex, worth_storing
from .keyed_rows import KeyedRows
from .operator import Snapshot
from .row_lists import RowIds
from .slot_array import Mask, SlotArray, Slots, where
from .sort_keys import SortKey, order_words, sorted_rows
from .time_order import TimeOrder
from .windows import Times

_TIME = "+time"
_FORGOTTEN_MIN = 1024
_VERSIONS_TRIED = 256
_BY_VERSION = ("slot", "time", "winner")  # columns of a snapshot


@dataclass(frozen=True)
class VersionChange:
    """Stretches of time, each in a slot, in which another row than before is the last; and what was there before.

    Shape: one value per stretch in the first four; `versions` and `before` one per version that changed.
    """

    slots: Slots
    starts: Times
    ends: Times
    endless: Mask
    versions: Slots
    before: RowIds


class Versions:
    """Rows with keys and a time. Ids of rows and slots of keys stay until `compact`.

    State: the rows, by key and time; per time of a key 44 bytes more; an index entry a key.
    """

    def __init__(self, schema: pa.Schema, keys: Sequence[str]) -> None:
        self._keys = list(keys)  # a column may be there twice, beside two of the other side
        self._order = [SortKey(name, descending=True) for name in schema.names]
        self._names = schema.names
        self._rows = KeyedRows(schema.append(pa.field(_TIME, pa.int64())), [*keys, _TIME])
        self._index = KeyIndex(pa.schema([schema.field(name).with_name(str(i)) for i, name in enumerate(keys)]))
        self._slots = SlotArray(np.int64)  # by version: the slot of its key
        self._times = SlotArray(np.int64)
        self._winners = SlotArray(np.int64, start=-1)  # by version: its greatest row
        self._listed = SlotArray(np.bool_, start=False)
        self._times_of = TimeOrder()
        self._retracted = False
        self._after_forgetting = 0  # versions that were left when some were forgotten last

    def slots(self, batch: pa.RecordBatch, keys: Sequence[str]) -> Slots:
        """The slot of each row's key, whose columns in `batch` are `keys`; a new key gets a new one."""
        if not self._keys:
            return np.zeros(batch.num_rows, np.int64)
        return self._index.lookup_or_insert(self._key_batch(batch, keys))[0]

    @property
    def slots_end(self) -> int:
        """All slots are below this number."""
        return self._index.slots if self._keys else 1

    def find(self, slots: Slots, times: Times) -> RowIds:
        """The row of the last version of each key at its time; -1 where there is none."""
        versions = self._times_of.last(slots, times, self._winners.values)
        rows = self._winners.values[versions]
        rows[versions < 0] = -1
        return rows

    def at(self, batch: pa.RecordBatch, keys: Sequence[str], times: Times) -> RowIds:
        """The same for the keys of `batch`, which need not be known."""
        if not self._keys:
            return self.find(np.zeros(batch.num_rows, np.int64), times)
        known = np.ones(batch.num_rows, np.bool_)
        slots = self._index.lookup(self._key_batch(batch, keys))
        known = slots >= 0
        found = np.full(batch.num_rows, -1, np.int64)
        found[known] = self.find(slots[known], times[known])
        return found

    def insert(self, delta: Delta, times: Times) -> VersionChange:
        """Add `delta`, whose rows have these times: where that changes which row is the last."""
        timed = Delta(delta.batch.append_column(pa.field(_TIME, pa.int64()), pa.array(times)), delta.weights)
        first = not self._retracted and delta.weights is not None and bool((delta.weights < 0).any())
        if self._rows.prepare(timed) is not None or first:
            self._retracted |= first
            self._elect(np.arange(self._rows.slots_end))
        versions = self._rows.touched(timed)
        self._reserve()
        before = self._winners.values[versions].copy()
        self._rows.insert(timed)
        self._elect(versions)
        changed = where(self._winners.values[versions] != before)
        versions, before = versions[changed], before[changed]
        self._list(versions)
        slots, starts = self._slots.values[versions], self._times.values[versions]
        after = self._winners.values[versions].copy()
        ends, some = self._times_of.next_times(slots, starts, self._winners.values)
        self._winners[versions] = before
        older, more = self._times_of.next_times(slots, starts, self._winners.values)
        self._winners[versions] = after
        return VersionChange(slots, starts, np.maximum(ends, older), ~(some & more), versions, before)

    def before_and_after(self, change: VersionChange, slots: Slots, times: Times) -> tuple[RowIds, RowIds]:
        """The row of the last version at each time, before the change and now; -1 where there is none."""
        after = self.find(slots, times)
        winners = self._winners.values[change.versions].copy()
        self._winners[change.versions] = change.before
        before = self.find(slots, times)
        self._winners[change.versions] = winners
        return before, after

    def columns(self, rows: RowIds, names: Sequence[str]) -> list[pa.Array]:
        """Columns of the rows of these ids, those that are gone since the last insert included."""
        return self._rows.take(rows, names).columns  # type: ignore[no-any-return]

    def forget(self, last: int) -> None:
        """Drop versions that a later one up to the time `last` has replaced; when it is worth it."""
        if self._rows.size <= 2 * self._after_forgetting + _FORGOTTEN_MIN:
            return
        versions = where(self._winners.values[: self._rows.slots_end] >= 0)
        slots, times = self._slots.values[versions], self._times.values[versions]
        order = np.lexsort((times, slots))
        versions, slots, times = versions[order], slots[order], times[order]
        over = where((slots[1:] == slots[:-1]) & (times[1:] <= last))
        self.remove(versions[over])
        self._after_forgetting = self._rows.size

    def present(self, versions: Slots) -> Slots:
        """Those of `versions` that are there."""
        return versions[self._winners.values[versions] >= 0]

    def places(self, versions: Slots) -> tuple[Slots, Times]:
        """The slot of each version's key, and its time."""
        return self._slots.values[versions], self._times.values[versions]

    def between(self, slots: Slots, starts: Times, ends: Times) -> Slots:
        """The versions of these keys from `starts` on and before `ends`."""
        return self.present(self._times_of.between(slots, starts, ends, np.zeros(len(slots), np.bool_)))

    def of_keys(self, slots: Slots) -> Slots:
        """All versions of these keys."""
        least = np.full(len(slots), np.iinfo(np.int64).min)
        return self.present(self._times_of.between(slots, least, least, np.ones(len(slots), np.bool_)))

    def by_row(self) -> Slots:
        """The version of each row that is there, in the order of a snapshot."""
        return self._rows.by_row()

    def remove(self, versions: Slots) -> None:
        """Forget `versions`, which are there and named once each."""
        self._rows.remove(self._rows.rows_of(versions)[1])
        self._winners[versions] = -1

    @property
    def size(self) -> int:
        """Rows that are there."""
        return self._rows.size

    @property
    def wasteful(self) -> bool:
        """True when it is time for `compact`."""
        return self._rows.wasteful

    def compact(self) -> tuple[Slots, Slots]:
        """Number rows, versions and keys anew, and forget those that are gone: the old numbers of the versions in their
        new order, and of their keys."""
        kept = self._rows.compact()
        assert kept is not None, "a time is part of the key"
        keys = self._slots.values[kept]
        self._number()
        return kept, keys

    def snapshot(self) -> Snapshot:
        """All rows and, where there are many, what goes by version or slot; only after `compact`."""
        tables = dict(self._rows.snapshot())
        end = self._rows.slots_end
        if worth_storing(self._rows.size):
            by_version = zip(_BY_VERSION, (self._slots, self._times, self._winners), strict=True)
            tables["versions"] = pa.table({name: array.copied(end) for name, array in by_version})
            tables["order"] = self._times_of.table()
            tables |= self._index.snapshot("slots") if self._keys else {}
        return tables

    def restore(self, snapshot: Snapshot) -> bool:
        """Become what `snapshot` was taken of; whether slots are what they were then."""
        same = self._rows.restore(snapshot)
        self._retracted = "weight" in snapshot["places"].column_names
        if not (same and self._adopted(snapshot)):
            self._number()
            return False
        return True

    def _adopted(self, snapshot: Snapshot) -> bool:
        """Whether it goes on with what there is by version; not if it does not go with the rows."""
        versions, order, end = snapshot.get("versions"), snapshot.get("order"), self._rows.slots_end
        if versions is None or order is None or not versions.num_rows == order.num_rows == end:
            return False
        if self._keys and "slots" not in snapshot:
            return False
        some = versions.take(np.linspace(0, end - 1, _VERSIONS_TRIED).astype(np.int64))
        winners = some["winner"].to_numpy()
        if winners.min() < 0 or winners.max() >= self._rows.size:
            return False
        if (self._rows.take(winners, [_TIME]).column(0).to_numpy() != some["time"].to_numpy()).any():
            return False
        if self._keys:
            self._index.restore(snapshot, "slots")
        for name, array in zip(_BY_VERSION, (self._slots, self._times, self._winners), strict=True):
            array.load(versions[name].to_numpy())
        self._listed.reserve(end)
        self._listed[:end] = True
        self._times_of.adopt(order)
        return True

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        arrays = self._slots.bytes + self._times.bytes + self._winners.bytes + self._listed.bytes
        return self._rows.bytes + self._index.bytes + self._times_of.bytes + arrays

    def _key_batch(self, batch: pa.RecordBatch, keys: Sequence[str]) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([batch.column(name) for name in keys], schema=self._index.schema)

    def _number(self) -> None:
        """Make all that goes by version or slot anew."""
        self._index = KeyIndex(self._index.schema)
        self._slots, self._times = SlotArray(np.int64), SlotArray(np.int64)
        self._winners, self._listed = SlotArray(np.int64, start=-1), SlotArray(np.bool_, start=False)
        self._times_of.clear()
        self._reserve()
        every = np.arange(self._rows.slots_end)
        self._elect(every)
        self._list(every[self._winners.values[every] >= 0])

    def _reserve(self) -> None:
        for array in (self._slots, self._times, self._winners, self._listed):
            array.reserve(self._rows.slots_end)

    def _elect(self, versions: Slots) -> None:
        """Find the greatest row of each of `versions`."""
        places, rows = self._rows.rows_of(versions)
        winners = np.full(len(versions), -1, np.int64)
        winners[places] = rows
        counts = np.bincount(places, minlength=len(versions))
        tied = where(counts[places] > 1)
        if len(tied):
            words = order_words(self._rows.take(rows[tied], self._names), self._order)
            order = tied[sorted_rows(places[tied], words)]
            first = np.ones(len(order), np.bool_)
            first[1:] = places[order][1:] != places[order][:-1]
            winners[places[order[first]]] = rows[order[first]]
        self._winners[versions] = winners

    def _list(self, versions: Slots) -> None:
        """Put versions that are new into the order of time."""
        new = versions[~self._listed.values[versions] & (self._winners.values[versions] >= 0)]
        if not len(new):
            return
        batch = self._rows.take(self._winners.values[new], list(dict.fromkeys([*self._keys, _TIME])))
        self._slots[new] = self.slots(batch, self._keys)
        self._times[new] = batch.column(_TIME).to_numpy()
        self._listed[new] = True
        self._times_of.add(self._slots.values[new], self._times.values[new], new)
