"""Grouping sets: the groups of a row in all of them, found by looking its keys up once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from .delta import Weights
from .groups import Groups
from .key_index import KeyIndex
from .slot_array import SlotArray, Slots, distinct, where

_COMBINATIONS_MIN = 65_536  # so many are always remembered; beyond, as many as there are groups


class GroupingSets:
    """Which groups rows belong to, one per set. A group's key are the keys, those not in its set NULL, and the number.

    Shape: `sets` say for each set which of the keys, by place, it has; the number counts them from 0, as INTEGER.
    State: per combination of keys that was seen lately the keys, and 8 bytes a set. It can be forgotten at any time.
    """

    def __init__(self, key_schema: pa.Schema, sets: Sequence[frozenset[int]]) -> None:
        self._schema = key_schema if len(key_schema) else pa.schema([("nothing", pa.bool_())])
        self._sets = list(sets)
        self._forget()

    def _forget(self) -> None:
        self._combinations = KeyIndex(self._schema)
        self._groups = [SlotArray(np.int64) for _ in self._sets]  # their slots, by combination
        self._generation = -1  # of the groups' slots that these are

    def find(self, groups: Groups, keys: Sequence[pa.Array], rows: int) -> Slots:
        """The combination of each of `rows` rows, whose keys come in columns; of new ones the groups are there then."""
        most = _COMBINATIONS_MIN + groups.slots
        if self._generation != groups.generation or self._combinations.slots > most:
            self._forget()
            self._generation = groups.generation
        columns = keys or [pa.nulls(rows, pa.bool_())]  # without columns a batch has no rows
        found, new = self._combinations.lookup_or_insert(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        fresh = where(new)
        if len(fresh):
            places = pa.array(fresh)
            self._add(groups, found[fresh], [key.take(places) for key in keys])
        return found

    def counted(self, combinations: Slots, weights: Weights | None) -> tuple[Slots, Weights]:
        """Each combination once, and how often it came."""
        size = self._combinations.slots
        if weights is None:
            counts = np.bincount(combinations, minlength=size)
            different = where(counts > 0)
        else:
            counts = np.zeros(size, np.int64)
            np.add.at(counts, combinations, weights)
            different = distinct(combinations, size)
        return different, counts[different]

    def groups(self, combinations: Slots) -> Slots:
        """The slots of the groups of each combination: a row for each set."""
        return np.stack([slots.values[combinations] for slots in self._groups])

    def _add(self, groups: Groups, combinations: Slots, keys: Sequence[pa.Array]) -> None:
        """Have the groups of new combinations of keys."""
        rows = len(combinations)
        for number, (chosen, slots) in enumerate(zip(self._sets, self._groups, strict=True)):
            columns = [key if place in chosen else pa.nulls(rows, key.type) for place, key in enumerate(keys)]
            slots.reserve(self._combinations.slots)
            numbers = pa.array(np.full(rows, number, np.int32))
            slots[combinations] = groups.find([*columns, numbers], rows)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._combinations.bytes + sum(slots.bytes for slots in self._groups)
