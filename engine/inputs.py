"""The rows that aggregates of a query look at: chosen by FILTER and NULL, each value once with DISTINCT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .bag import Bag
from .delta import Weights
from .extremes import extreme
from .firsts import Firsts, orders_rows
from .float_sums import ExactFloatSum, GrowingFloatSum
from .folds import bits
from .moments import Moments
from .seen import Seen
from .slot_array import Mask, SlotArray, Slots, where
from .sort_keys import SortKey
from .sums import IntegerSum, SlotState, slots_table, table_columns


@dataclass(frozen=True)
class Choice:
    """Which rows, and what of them.

    Shape: `columns` are what accumulators get, in this order; `required` those of them that may not be NULL; `filter` a
    BOOLEAN column of which only TRUE counts. With `distinct` rows that are equal in `columns` count once.
    """

    columns: tuple[str, ...]
    required: tuple[str, ...]
    filter: str | None
    distinct: bool

    @property
    def names(self) -> set[str]:
        """All columns it looks at."""
        return {*self.columns, *(() if self.filter is None else (self.filter,))}


class Input:
    """The rows of one choice, which one or more calls look at.

    With `merges` others may take in what it holds, slot by slot.
    State: per slot how many rows it does not look at (nothing until there is one), and the accumulators by name; with
    DISTINCT each different row, with its count where rows can go.
    """

    def __init__(self, choice: Choice, kinds: list[pa.DataType], *, append_only: bool, merges: bool) -> None:
        self.choice = choice
        self._kinds = kinds
        self._append_only = append_only
        self._excluded: SlotArray | None = None
        self._different: Bag | Seen | None = None
        if choice.distinct:
            self._different = Seen(kinds) if append_only and not merges else Bag(kinds)
        self._members = SlotArray(np.int64)  # with DISTINCT: how many different rows each slot has
        self._accumulators: dict[str, SlotState] = {}

    def accumulator(self, name: str) -> SlotState:
        """The accumulator called `name`, made on first sight and shared after."""
        if name == "bag" and self._different is not None:
            if isinstance(self._different, Seen):  # nothing has come yet
                self._different = Bag(self._kinds)
            return self._different
        if name not in self._accumulators:
            self._accumulators[name] = _accumulator(name, self._kinds, append_only=self._append_only)
        return self._accumulators[name]

    def firsts(self, order: Sequence[SortKey]) -> Firsts | None:
        """The accumulator of the first row in an order of columns by their places; None where one has to keep all."""
        if not self._append_only or self.choice.distinct or not order or not orders_rows(self._kinds, order):
            return None
        name = "first by " + ", ".join(f"{key.column} {key.descending:d}{key.nulls_first:d}" for key in order)
        known = self._accumulators.setdefault(name, Firsts(self._kinds, order))
        assert isinstance(known, Firsts)
        return known

    def reserve(self, size: int) -> None:
        """Make room for slots below `size`."""
        if self._excluded is not None:
            self._excluded.reserve(size)
        if self._different is not None:
            self._different.reserve(size)
            self._members.reserve(size)
        for accumulator in self._accumulators.values():
            accumulator.reserve(size)

    def update(
        self, slots: Slots, columns: Mapping[str, pa.Array], weights: Weights | None, rows: npt.NDArray[np.int64]
    ) -> None:
        """Take in a row of `columns` for each of `slots`; `rows` says by slot how many it holds, these included."""
        values = [columns[name] for name in self.choice.columns]
        taken = self._taken(columns)
        if taken is not None:
            if self._different is None:
                self._exclude(slots, ~taken, weights, len(rows))
            chosen = where(taken)
            slots = slots[chosen]
            weights = None if weights is None else weights[chosen]
            if self._accumulators or self._different is not None:
                places = pa.array(chosen)
                values = [column.take(places) for column in values]
        self._take_in(slots, values, weights, rows)

    def _take_in(
        self, slots: Slots, values: list[pa.Array], weights: Weights | None, rows: npt.NDArray[np.int64]
    ) -> None:
        if self._different is not None:
            slots, values, weights = self._first_and_last(self._different, slots, values, weights)
            self._members.add(slots, 1 if weights is None else weights)
        if self._accumulators:
            counts = self._counts(rows)
            for accumulator in self._accumulators.values():
                accumulator.update(slots, values, weights, counts)

    def _first_and_last(
        self, different: Bag | Seen, slots: Slots, values: list[pa.Array], weights: Weights | None
    ) -> tuple[Slots, list[pa.Array], Weights | None]:
        """The different rows that came, and with weight -1 those that went."""
        if isinstance(different, Seen):
            new = different.add(slots, values)
            return slots[new], [value.take(pa.array(new)) for value in values] if self._accumulators else [], None
        touched = different.add(slots, values, weights)
        came, went = (touched.before == 0) & (touched.after > 0), (touched.before > 0) & (touched.after == 0)
        places = touched.places[came | went]
        signs = None
        if went.any():
            signs = np.where(went[came | went], -1, 1)
        found = different.values(places) if self._accumulators else []
        return different.owners.values[places], found, signs

    def _counts(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """By slot how many rows are looked at, given how many there are at all."""
        if self._different is not None:
            return self._members.values[: len(rows)]
        return rows if self._excluded is None else rows - self._excluded.values[: len(rows)]

    def absorb(
        self, slots: Slots, other: Input, sources: Slots, added: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
    ) -> None:
        """Take in what slot `sources[i]` of `other` holds, `added[i]` rows, for each of `slots`; no rows can leave.

        `rows` says by slot how many it holds, these included.
        """
        if self._different is not None:
            assert isinstance(other._different, Bag)
            found = other._different.segments(sources)
            self._take_in(np.repeat(slots, found.lengths), list(found.columns), None, rows)
            return
        if other._excluded is not None:
            if self._excluded is None:
                self._excluded = SlotArray(np.int64)
                self._excluded.reserve(len(rows))
            self._excluded.add(slots, other._excluded.values[sources])
            held = where(other.counts(sources, added) > 0)
            slots, sources = slots[held], sources[held]
        for name, accumulator in self._accumulators.items():
            accumulator.absorb(slots, other._accumulators[name], sources, self._counts(rows))

    def overlook(self, slots: Slots, size: int) -> None:
        """Count a row for each of `slots`, all below `size`, that is not looked at."""
        if self._different is None:
            self._exclude(slots, np.ones(len(slots), np.bool_), None, size)

    def _taken(self, columns: Mapping[str, pa.Array]) -> Mask | None:
        """The rows looked at; None for all of them."""
        taken: Mask | None = None
        for name in self.choice.required:
            if columns[name].null_count:
                valid = columns[name].is_valid().to_numpy(zero_copy_only=False)
                taken = valid if taken is None else taken & valid
        if self.choice.filter is not None:
            passed: Mask = columns[self.choice.filter].fill_null(False).to_numpy(zero_copy_only=False)
            taken = passed if taken is None else taken & passed
        return taken

    def _exclude(self, slots: Slots, mask: Mask, weights: Weights | None, size: int) -> None:
        if self._excluded is None:
            self._excluded = SlotArray(np.int64)
            self._excluded.reserve(size)
        out = where(mask)
        self._excluded.add(slots[out], 1 if weights is None else weights[out])

    def counts(self, slots: Slots, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many rows each of `slots` has seen of this input, given how many it has seen at all."""
        if self._different is not None:
            members: npt.NDArray[np.int64] = self._members.values[slots]
            return members
        return rows if self._excluded is None else rows - self._excluded.values[slots]

    def keep(self, slots: Slots) -> None:
        """Slot `slots[i]` becomes slot i; all others are gone."""
        if self._excluded is not None:
            self._excluded.keep(slots)
        if self._different is not None:
            self._different.keep(slots)
            self._members.keep(slots)
        for accumulator in self._accumulators.values():
            accumulator.keep(slots)

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        """The state of the slots below `size`."""
        tables = {} if self._excluded is None else {"excluded": slots_table([self._excluded], size)}
        if self._different is not None:
            tables |= {f"different.{part}": table for part, table in self._different.snapshot(size).items()}
            tables["members"] = slots_table([self._members], size)
        for name, accumulator in self._accumulators.items():
            tables |= {f"{name}.{part}": table for part, table in accumulator.snapshot(size).items()}
        return tables

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        """Become the input that `snapshot` was taken of."""
        if "excluded" in snapshot:
            self._excluded = SlotArray(np.int64)
            self._excluded.load(table_columns(snapshot["excluded"])[0])
        if self._different is not None:
            self._different.restore(_below("different.", snapshot))
            self._members.load(table_columns(snapshot["members"])[0])
        for name, accumulator in self._accumulators.items():
            accumulator.restore(_below(f"{name}.", snapshot))

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        own = self._excluded.bytes if self._excluded is not None else 0
        own += self._different.bytes + self._members.bytes if self._different is not None else 0
        return own + sum(accumulator.bytes for accumulator in self._accumulators.values())


def _below(prefix: str, snapshot: dict[str, pa.Table]) -> dict[str, pa.Table]:
    return {key.removeprefix(prefix): table for key, table in snapshot.items() if key.startswith(prefix)}


def _accumulator(name: str, kinds: list[pa.DataType], *, append_only: bool) -> SlotState:
    match name:
        case "min":
            return extreme("min", kinds[0], append_only=append_only)
        case "max":
            return extreme("max", kinds[0], append_only=append_only)
        case "sum" if pa.types.is_floating(kinds[0]):
            return GrowingFloatSum(kinds[0]) if append_only else ExactFloatSum(kinds[0])
        case "sum":
            return IntegerSum(kinds[0])
        case "bit_and" | "bit_or" | "bit_xor":
            return bits(name, kinds[0])
        case "moments":
            return Moments(len(kinds))
        case _:
            assert name == "bag"
            return Bag(kinds)
