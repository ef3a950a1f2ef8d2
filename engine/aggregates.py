"""Aggregate functions: what a query asks for, as state by slot and as output columns. One class per kind of state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from . import bag_functions as bags
from .bag import Bag, Order
from .bag_functions import BagFunction
from .float_sums import FloatSum
from .inputs import Choice, Input
from .moments import STATISTICS, Moments, Statistic
from .row_store import RowStore
from .slot_array import SlotArray, Slots, where
from .sort_keys import SortKey, sortable
from .sums import Accumulator, IntegerSum
from .words import Words, fixed_words, words_array


@dataclass(frozen=True)
class OrderKey:
    """A column that the rows of a group are ordered by."""

    column: str
    descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True)
class AggregateCall:
    """One aggregate: `function([DISTINCT] argument, others, constants ORDER BY order) FILTER (WHERE filter) AS name`.

    Shape: `argument`, `others` and `filter` name columns of the input; `filter` a BOOLEAN one of which only TRUE
    counts. `type` is the twin's, `function` a key of `FUNCTIONS`; `constants` are Python values.
    """

    function: str
    argument: str | None
    filter: str | None
    name: str
    type: pa.DataType
    others: tuple[str, ...] = ()
    distinct: bool = False
    order: tuple[OrderKey, ...] = ()
    constants: tuple[object, ...] = ()

    @property
    def choice(self) -> Choice:
        """Which rows it looks at, and what of them: NULL arguments count for nothing, but for lists and their like."""
        arguments = () if self.argument is None else (self.argument, *self.others)
        columns = (*arguments, *(key.column for key in self.order))
        required = () if self.function in KEEP_NULLS else arguments
        return Choice(tuple(dict.fromkeys(columns)), tuple(dict.fromkeys(required)), self.filter, self.distinct)


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

    @property
    def bytes(self) -> int:
        """Memory in use beside what the input keeps. Units: bytes."""
        return 0


class Count(Aggregate):
    """The number of rows: of all, or of those whose argument is not NULL."""

    def read(self, slots: Slots, rows: npt.NDArray[np.int64]) -> Words:
        return [self.input.counts(slots, rows)]

    def to_array(self, words: Words) -> pa.Array:
        return _cast(pa.array(words[0]), self.call.type)


class Value(Aggregate):
    """The value of one accumulator, by default that of the function; NULL where it has seen no row."""

    def __init__(self, call: AggregateCall, input: Input, accumulator: Accumulator | None = None) -> None:
        super().__init__(call, input)
        found = input.accumulator(call.function) if accumulator is None else accumulator
        assert isinstance(found, Accumulator)
        self._accumulator = found

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


class OfMoments(Aggregate):
    """A number computed from counts, sums and sums of products, as DOUBLE."""

    def __init__(self, call: AggregateCall, input: Input, statistic: Statistic) -> None:
        super().__init__(call, input)
        moments = input.accumulator("moments")
        assert isinstance(moments, Moments)
        self._moments = moments
        self._statistic = statistic

    def read(self, slots: Slots, rows: npt.NDArray[np.int64]) -> Words:
        counts = self.input.counts(slots, rows)
        figures = self._moments.read(slots, counts)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            numbers = self._statistic.compute(figures)
            nulls = counts < self._statistic.rows_min
            if self._statistic.absent is not None:
                nulls |= self._statistic.absent(figures)
        return [nulls, np.where(nulls, 0.0, numbers).view(np.int64)]

    def to_array(self, words: Words) -> pa.Array:
        nulls = words[0] if words[0].any() else None
        return _cast(words_array(pa.float64(), words[1:], nulls), self.call.type)


class OfBag(Aggregate):
    """A value computed from all rows of the group."""

    def __init__(self, call: AggregateCall, input: Input, compute: BagFunction) -> None:
        super().__init__(call, input)
        bag = input.accumulator("bag")
        assert isinstance(bag, Bag)
        self._bag = bag
        self._compute = compute
        columns = input.choice.columns
        self._orders = [Order(columns.index(k.column), k.descending, k.nulls_first) for k in call.order]

    def compute(self, slots: Slots) -> pa.Array:
        """The value for each of `slots`."""
        segments = self._bag.segments(slots)
        if self.call.distinct:
            segments = segments.once()
        found = self._compute(segments, self._orders, self.call.constants, self.call.type)
        return _cast(found, self.call.type)

    def read(self, slots: Slots, rows: npt.NDArray[np.int64]) -> Words:
        values = self.compute(slots)
        width = 8 if pa.types.is_boolean(values.type) else values.type.bit_width
        dtype = np.dtype(f"i{min(width // 8, 8)}")
        nulls = values.is_null().to_numpy(zero_copy_only=False)
        return [nulls, *fixed_words(values, dtype, max(width // 64, 1))]

    def to_array(self, words: Words) -> pa.Array:
        nulls = words[0] if words[0].any() else None
        return words_array(self.call.type, words[1:], nulls)


class OfBagPooled(OfBag):
    """The same for values of no fixed width: texts, lists and maps.

    State: the values read since the last update began, and for each slot which of them is its own.
    """

    def __init__(self, call: AggregateCall, input: Input, compute: BagFunction) -> None:
        super().__init__(call, input, compute)
        self._pool = RowStore(pa.schema([("value", call.type)]))
        self._pooled: list[Slots] = []
        self._places = SlotArray(np.int64, start=-1)  # by slot: where in the pool its value is
        self._versions = SlotArray(np.int64)  # by slot: the version of its rows that the value is of
        self._turn = -1

    def read(self, slots: Slots, rows: npt.NDArray[np.int64]) -> Words:
        """Places in the pool: another place is another value."""
        self._forget()
        self._places.reserve(int(slots.max(initial=-1)) + 1)
        self._versions.reserve(int(slots.max(initial=-1)) + 1)
        versions = self._bag.versions.values
        stale = slots[(self._places.values[slots] < 0) | (self._versions.values[slots] != versions[slots])]
        if len(stale):
            values = self.compute(stale)
            known = where(self._places.values[stale] >= 0)
            changed = np.ones(len(stale), np.bool_)
            if len(known) and pa.types.is_string(values.type):
                before = self._pool.take(self._places.values[stale[known]]).column(0)
                same = pc.equal(values.take(pa.array(known)), before).fill_null(False)
                changed[known[same.to_numpy(zero_copy_only=False)]] = False
            self._versions[stale] = versions[stale]
            moved = stale[changed]
            places = self._pool.append(pa.RecordBatch.from_arrays([values], schema=self._pool.schema))
            self._places[moved] = places[changed]
            self._pooled.append(moved)
        return [self._places.values[slots]]

    def _forget(self) -> None:
        """Empty the pool when a new update has begun."""
        if self._turn == self._bag.turn:
            return
        self._turn = self._bag.turn
        for slots in self._pooled:
            self._places[slots] = -1
        self._pool, self._pooled = RowStore(self._pool.schema), []

    def to_array(self, words: Words) -> pa.Array:
        return self._pool.take(words[0]).column(0)

    @property
    def bytes(self) -> int:
        return self._pool.bytes + self._places.bytes + self._versions.bytes


def _of_bag(compute: BagFunction) -> Make:
    def make(call: AggregateCall, input: Input) -> Aggregate:
        fixed = pa.types.is_primitive(call.type) or pa.types.is_decimal128(call.type)
        return (OfBag if fixed else OfBagPooled)(call, input, compute)

    return make


def _of_first(compute: BagFunction, order: Callable[[AggregateCall], list[SortKey]]) -> Make:
    """The first row in an order: that row alone while rows only come, all rows where they can go."""

    def make(call: AggregateCall, input: Input) -> Aggregate:
        firsts = input.firsts(order(call))
        return _of_bag(compute)(call, input) if firsts is None else Value(call, input, firsts)

    return make


def _given(call: AggregateCall, *, reverse: bool = False) -> list[SortKey]:
    """ORDER BY, by the places of columns; or the other way round."""
    places = call.choice.columns
    return [
        SortKey(str(places.index(key.column)), key.descending ^ reverse, key.nulls_first ^ reverse)
        for key in call.order
    ]


def _by_other(call: AggregateCall, *, descending: bool) -> list[SortKey]:
    """By the second argument; of several rows that of the least value."""
    places = call.choice.columns
    return [SortKey(str(places.index(call.others[0])), descending), SortKey("0")] if call.others else []


def _of_moments(statistic: Statistic) -> Make:
    return partial(OfMoments, statistic=statistic)


Make = Callable[[AggregateCall, Input], Aggregate]

FUNCTIONS: Final[Mapping[str, Make]] = {
    "count_star": Count,
    "count": Count,
    "sum": Value,
    "min": Value,
    "max": Value,
    "avg": Average,
    "bit_and": Value,
    "bit_or": Value,
    "bit_xor": Value,
    **{name: _of_moments(statistic) for name, statistic in STATISTICS.items()},
    "arg_max": _of_first(bags.arg_max, partial(_by_other, descending=True)),
    "arg_min": _of_first(bags.arg_min, partial(_by_other, descending=False)),
    "entropy": _of_bag(bags.entropy),
    "first": _of_first(bags.first, _given),
    "any_value": _of_first(bags.first, _given),
    "histogram": _of_bag(bags.histogram),
    "last": _of_first(bags.last, partial(_given, reverse=True)),
    "list": _of_bag(bags.collected),
    "mode": _of_bag(bags.mode),
    "product": _of_bag(bags.product),
    "quantile_cont": _of_bag(bags.quantile_cont),
    "quantile_disc": _of_bag(bags.quantile_disc),
    "string_agg": _of_bag(bags.joined),
}
KEEP_NULLS: Final = frozenset({"first", "last", "list"})  # NULL is a value like others to them
_FOLDED: Final = frozenset({"min", "max", "bit_and", "bit_or"})
_FIRSTS: Final = frozenset({"arg_max", "arg_min", "any_value", "first", "last"})
_RETRACTING: Final = {"bit_and": _of_bag(bags.bit_and), "bit_or": _of_bag(bags.bit_or)}  # where rows can go


def keeps_rows(call: AggregateCall, *, append_only: bool) -> bool:
    """Whether its state is all different rows of a group rather than a few numbers."""
    few = call.function in STATISTICS or call.function in ("count_star", "count", "sum", "avg", "bit_xor")
    first = call.function in _FIRSTS and bool(call.order or call.others) and sortable(call.type)
    folded = append_only and (first or call.function in _FOLDED)
    return call.distinct or not (few or folded)


def bind(
    calls: Sequence[AggregateCall], schema: pa.Schema, *, append_only: bool, merges: bool
) -> tuple[list[Aggregate], list[Input]]:
    """The aggregates of `calls` over rows of `schema`, in their order, and the inputs they share.

    `merges` says whether others take in what these hold.
    """
    inputs: dict[Choice, Input] = {}
    aggregates = []
    for call in calls:
        choice = call.choice
        if choice not in inputs:
            kinds = [schema.field(name).type for name in choice.columns]
            inputs[choice] = Input(choice, kinds, append_only=append_only, merges=merges)
        make = FUNCTIONS[call.function] if append_only else _RETRACTING.get(call.function, FUNCTIONS[call.function])
        aggregates.append(make(call, inputs[choice]))
    return aggregates, list(inputs.values())


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind)
