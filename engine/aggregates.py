"""Aggregate functions: what a query asks for, as state by slot and as output columns. One class per function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .delta import Weights
from .extremes import extreme
from .slot_array import Mask, SlotArray, Slots, where
from .sums import Accumulator, FloatSum, IntegerSum, slots_table, table_columns
from .words import Words, words_array


@dataclass(frozen=True)
class AggregateCall:
    """One aggregate of a query: `function(argument) FILTER (WHERE filter) AS name`, of the twin's `type`.

    Shape: `argument` and `filter` name columns of the input; `filter` a BOOLEAN one of which only TRUE counts.
    `function` is a key of `FUNCTIONS`.
    """

    function: str
    argument: str | None
    filter: str | None
    name: str
    type: pa.DataType


class Input:
    """The rows that one or more calls look at: an argument's values that are not NULL and pass the filter.

    State: per slot how many rows it does not look at (nothing until there is one), and the accumulators by name.
    """

    def __init__(
        self, argument: str | None, filter: str | None, kind: pa.DataType | None, *, append_only: bool
    ) -> None:
        self.argument = argument
        self.filter = filter
        self._kind = kind
        self._append_only = append_only
        self._excluded: SlotArray | None = None
        self._accumulators: dict[str, Accumulator] = {}

    def accumulator(self, name: str) -> Accumulator:
        """The accumulator called `name` ('sum', 'min' or 'max'), made on first sight and shared after."""
        if name not in self._accumulators:
            assert self._kind is not None
            self._accumulators[name] = _accumulator(name, self._kind, append_only=self._append_only)
        return self._accumulators[name]

    def reserve(self, size: int) -> None:
        """Make room for slots below `size`."""
        if self._excluded is not None:
            self._excluded.reserve(size)
        for accumulator in self._accumulators.values():
            accumulator.reserve(size)

    def update(
        self, slots: Slots, columns: Mapping[str, pa.Array], weights: Weights | None, rows: npt.NDArray[np.int64]
    ) -> None:
        """Take in a row of `columns` for each of `slots`; `rows` says by slot how many it holds, these included."""
        values = columns[self.argument] if self.argument is not None else None
        taken = self._taken(columns)
        if taken is not None:
            self._exclude(slots, ~taken, weights, len(rows))
            chosen = where(taken)
            slots = slots[chosen]
            weights = None if weights is None else weights[chosen]
            values = None if values is None or not self._accumulators else values.take(pa.array(chosen))
        if self._accumulators:
            counts = rows if self._excluded is None else rows - self._excluded.values[: len(rows)]
            for accumulator in self._accumulators.values():
                accumulator.update(slots, values, weights, counts)

    def absorb(
        self, slots: Slots, other: Input, sources: Slots, added: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
    ) -> None:
        """Take in what slot `sources[i]` of `other` holds, `added[i]` rows, for each of `slots`; no rows can leave.

        `rows` says by slot how many it holds, these included.
        """
        if other._excluded is not None:
            if self._excluded is None:
                self._excluded = SlotArray(np.int64)
                self._excluded.reserve(len(rows))
            np.add.at(self._excluded.values, slots, other._excluded.values[sources])
            held = where(other.counts(sources, added) > 0)
            slots, sources = slots[held], sources[held]
        counts = rows if self._excluded is None else rows - self._excluded.values[: len(rows)]
        for name, accumulator in self._accumulators.items():
            source = other._accumulators[name]
            accumulator.update(slots, source.to_array(source.read(sources), None), None, counts)

    def _taken(self, columns: Mapping[str, pa.Array]) -> Mask | None:
        """The rows looked at; None for all of them."""
        taken: Mask | None = None
        if self.argument is not None and columns[self.argument].null_count:
            taken = columns[self.argument].is_valid().to_numpy(zero_copy_only=False)
        if self.filter is not None:
            passed: Mask = columns[self.filter].fill_null(False).to_numpy(zero_copy_only=False)
            taken = passed if taken is None else taken & passed
        return taken

    def _exclude(self, slots: Slots, mask: Mask, weights: Weights | None, size: int) -> None:
        if self._excluded is None:
            self._excluded = SlotArray(np.int64)
            self._excluded.reserve(size)
        out = where(mask)
        np.add.at(self._excluded.values, slots[out], 1 if weights is None else weights[out])

    def counts(self, slots: Slots, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many rows each of `slots` has seen of this input, given how many it has seen at all."""
        return rows if self._excluded is None else rows - self._excluded.values[slots]

    def keep(self, slots: Slots) -> None:
        """Slot `slots[i]` becomes slot i; all others are gone."""
        if self._excluded is not None:
            self._excluded.keep(slots)
        for accumulator in self._accumulators.values():
            accumulator.keep(slots)

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        """The state of the slots below `size`."""
        tables = {} if self._excluded is None else {"excluded": slots_table([self._excluded], size)}
        for name, accumulator in self._accumulators.items():
            tables |= {f"{name}.{part}": table for part, table in accumulator.snapshot(size).items()}
        return tables

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        """Become the input that `snapshot` was taken of."""
        if "excluded" in snapshot:
            self._excluded = SlotArray(np.int64)
            self._excluded.load(table_columns(snapshot["excluded"])[0])
        for name, accumulator in self._accumulators.items():
            prefix = f"{name}."
            parts = {key.removeprefix(prefix): table for key, table in snapshot.items() if key.startswith(prefix)}
            accumulator.restore(parts)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        own = self._excluded.bytes if self._excluded is not None else 0
        return own + sum(accumulator.bytes for accumulator in self._accumulators.values())


def _accumulator(name: str, kind: pa.DataType, *, append_only: bool) -> Accumulator:
    if name == "min":
        return extreme("min", kind, append_only=append_only)
    if name == "max":
        return extreme("max", kind, append_only=append_only)
    assert name == "sum"
    return FloatSum(kind, append_only=append_only) if pa.types.is_floating(kind) else IntegerSum(kind)


class Aggregate(ABC):
    """A call, bound to the input that it shares with others."""

    def __init__(self, call: AggregateCall, input: Input) -> None:
        self.call = call
        self.input = input

    @abstractmethod
    def read(self, slots: Slots, rows: npt.NDArray[np.int64]) -> Words:
        """The value for each of `slots`, which have seen `rows` rows: equal values have equal words."""

    @abstractmethod
    def to_array(self, words: Words) -> pa.Array:
        """What `read` gave, as an output column."""


class Count(Aggregate):
    """The number of rows: of all, or of those whose argument is not NULL."""

    def read(self, slots: Slots, rows: npt.NDArray[np.int64]) -> Words:
        return [self.input.counts(slots, rows)]

    def to_array(self, words: Words) -> pa.Array:
        return _cast(pa.array(words[0]), self.call.type)


class Value(Aggregate):
    """The value of one accumulator, NULL where it has seen no row: sum, min, max."""

    def __init__(self, call: AggregateCall, input: Input) -> None:
        super().__init__(call, input)
        self._accumulator = input.accumulator(call.function)

    def read(self, slots: Slots, rows: npt.NDArray[np.int64]) -> Words:
        return [self.input.counts(slots, rows) <= 0, *self._accumulator.read(slots)]

    def to_array(self, words: Words) -> pa.Array:
        nulls = words[0] if words[0].any() else None
        return _cast(self._accumulator.to_array(words[1:], nulls), self.call.type)


class Average(Aggregate):
    """The sum divided by the count, as DOUBLE."""

    def __init__(self, call: AggregateCall, input: Input) -> None:
        super().__init__(call, input)
        accumulator = input.accumulator("sum")
        assert isinstance(accumulator, IntegerSum | FloatSum)
        self._sum = accumulator

    def read(self, slots: Slots, rows: npt.NDArray[np.int64]) -> Words:
        counts = self.input.counts(slots, rows)
        averages = self._sum.read_floats(slots) / np.maximum(counts, 1)
        return [counts <= 0, averages.view(np.int64)]

    def to_array(self, words: Words) -> pa.Array:
        nulls = words[0] if words[0].any() else None
        return _cast(words_array(pa.float64(), words[1:], nulls), self.call.type)


FUNCTIONS: Final[Mapping[str, Callable[[AggregateCall, Input], Aggregate]]] = {
    "count_star": Count,
    "count": Count,
    "sum": Value,
    "min": Value,
    "max": Value,
    "avg": Average,
}


def bind(
    calls: Sequence[AggregateCall], schema: pa.Schema, *, append_only: bool
) -> tuple[list[Aggregate], list[Input]]:
    """The aggregates of `calls` over rows of `schema`, in their order, and the inputs they share."""
    inputs: dict[tuple[str | None, str | None], Input] = {}
    aggregates = []
    for call in calls:
        place = (call.argument, call.filter)
        if place not in inputs:
            kind = None if call.argument is None else schema.field(call.argument).type
            inputs[place] = Input(call.argument, call.filter, kind, append_only=append_only)
        aggregates.append(FUNCTIONS[call.function](call, inputs[place]))
    return aggregates, list(inputs.values())


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind)
