"""Over that forgets idle partitions: beside each row stays what was told of it last, in the life of its partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import key_index, slotted_rows
from headrace.engine.journal import Entry, Turn, enter
from headrace.engine.operator import Time
from headrace.engine.operators.over import ExpiringOver
from headrace.engine.over_frames import Frame
from headrace.engine.over_functions import OverCall
from headrace.engine.sort_keys import SortKey
from tests.laws import Rows, add, as_written, delta_of, nonzero, restored, show

SCHEMA = pa.schema([("a", pa.string()), ("b", pa.int64()), ("n", pa.int64())])
Row = tuple[Any, ...]
Epoch = tuple[int, list[Row]]  # how much later it is, and what comes

ROW = st.tuples(st.sampled_from([None, "x", "y"]), st.sampled_from([None, 1]), st.integers(0, 3))
EPOCHS = st.lists(st.tuples(st.integers(0, 3), st.lists(ROW, max_size=4)), max_size=8)
TTL, WASTED = st.integers(1, 4), st.sampled_from([0, 256])

NUMBER = OverCall("row_number", None, 1, None, Frame(), 2, "c0", pa.int64())  # of order b, n
BEFORE = OverCall("lag", "n", 1, None, Frame(), 2, "c1", pa.int64())
SUM = OverCall("sum", "c0", 1, None, Frame("rows"), 1, "c2", pa.decimal128(38, 0))  # of the numbers below


@dataclass
class Told:
    """A row, and what came out beside it last."""

    row: Row
    values: dict[str, int | None] = field(default_factory=dict)


@dataclass
class Partitions:
    """The rows that came to each partition since it began."""

    of: Callable[[Row], Row]
    ttl: int
    last: dict[Row, int] = field(default_factory=dict)
    rows: dict[Row, list[Told]] = field(default_factory=dict)

    def expire(self, clock: int) -> None:
        for key in [key for key, last in self.last.items() if last + self.ttl <= clock]:
            del self.last[key], self.rows[key]

    def come(self, told: Told, clock: int) -> None:
        self.last[self.of(told.row)] = clock
        self.rows.setdefault(self.of(told.row), []).append(told)

    def in_order(self) -> Iterator[list[Told]]:
        for rows in self.rows.values():
            yield sorted(rows, key=lambda told: tuple((value is None, value or 0) for value in told.row[1:]))


@dataclass
class Model:
    """Row numbers and the values before in partitions, and the sums of the numbers in larger ones, the `others`."""

    numbered: Partitions
    others: Partitions | None = None
    every: list[Told] = field(default_factory=list)

    def step(self, clock: int, rows: list[Row]) -> None:
        levels = [self.numbered] if self.others is None else [self.numbered, self.others]
        came = [Told(row) for row in rows]
        self.every += came
        for level in levels:
            level.expire(clock)
            for told in came:
                level.come(told, clock)
        for partition in self.numbered.in_order():
            for place, told in enumerate(partition):
                before = partition[place - 1].row[2] if place else None
                told.values |= {"c0": place + 1, "c1": before}
        for partition in () if self.others is None else self.others.in_order():
            total = sum(told.values["c0"] or 0 for told in partition)
            for told in partition:
                told.values["c2"] = total

    @property
    def output(self) -> Rows:
        return Counter((*told.row, *told.values.values()) for told in self.every)


def numbers(partition: list[str], ttl: int) -> ExpiringOver:
    return ExpiringOver(partition, [SortKey("b"), SortKey("n")], [NUMBER, BEFORE], SCHEMA, ttl)


@pytest.mark.parametrize("partition", [["a"], ["b", "a"], []], ids=["one", "two", "none"])
@settings(max_examples=30)
@given(epochs=EPOCHS, ttl=TTL, wasted=WASTED, middle=st.integers(0, 7))
def test_partitions(partition: list[str], epochs: list[Epoch], ttl: int, wasted: int, middle: int) -> None:
    """One that goes on, one that is restored after each epoch, and one that takes in epochs since a snapshot again."""
    places = [SCHEMA.get_field_index(name) for name in partition]
    model = Model(Partitions(lambda row: tuple(row[place] for place in places), ttl))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "_SLOTS_WASTED_MIN", wasted)
        patch.setattr(slotted_rows, "_GONE_MIN", wasted)
        operators = [numbers(partition, ttl) for _ in range(2)]
        later = numbers(partition, ttl)
        sums: list[Rows] = [Counter(), Counter()]
        clock, turns = 0, []
        for number, (passed, rows) in enumerate(epochs, 1):
            clock += passed
            time = Time(epoch=number, clock=clock)
            model.step(clock, rows)
            turn = Turn([(0, delta_of(SCHEMA, rows))] if rows else [], time)
            for operator, output in zip(operators, sums, strict=True):
                for change in stepped(operator, turn):
                    add(output, change)
                assert nonzero(output) == model.output, show(nonzero(output), model.output)
                assert operator.kept == sum(len(told) for told in model.numbered.rows.values())
                assert (operator.wake is None) == (not model.numbered.rows)
            operators[1] = restored(operators[1], numbers(partition, ttl))
            turns.append(turn)
            if number == middle:
                later, turns = restored(operators[0], later), []
        enter(later, {name: as_written(table) for name, table in Entry(turns).tables().items()})
        assert contents(later) == contents(operators[0])


def stepped(operator: ExpiringOver, turn: Turn) -> Iterator[Any]:
    """What an operator puts out in an epoch."""
    assert turn.time is not None
    if operator.wake is not None and operator.wake <= turn.time.clock:
        yield operator.expire(turn.time)
    for port, delta in turn.changes:
        yield operator.process(delta, port)
    yield operator.advance(turn.time)


def contents(operator: ExpiringOver) -> Counter[Any]:
    """The rows that are kept, and when their partitions were touched last."""
    tables = operator.snapshot()
    rows = [tuple(row.values()) for row in tables["rows"].to_pylist()]
    return Counter(zip(rows, tables["idle"]["last"].to_pylist(), strict=True))


@pytest.mark.parametrize("above", [["a"], []], ids=["coarser", "none"])
@settings(max_examples=30)
@given(epochs=EPOCHS, ttl=TTL, longer=st.integers(0, 2), wasted=WASTED)
def test_partitions_of_partitions(above: list[str], epochs: list[Epoch], ttl: int, longer: int, wasted: int) -> None:
    """Rows that give way to others are of partitions that are not forgotten, as those above have all that is below."""
    model = Model(Partitions(lambda row: row[:2], ttl), Partitions(lambda row: row[: len(above)], ttl + longer))

    def make() -> tuple[ExpiringOver, ExpiringOver]:
        below = numbers(["a", "b"], ttl)
        return below, ExpiringOver(above, [SortKey("n")], [SUM], below.schema, ttl + longer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "_SLOTS_WASTED_MIN", wasted)
        patch.setattr(slotted_rows, "_GONE_MIN", wasted)
        steady, replaced = make(), make()
        sums: list[Rows] = [Counter(), Counter()]
        clock = 0
        for number, (passed, rows) in enumerate(epochs, 1):
            clock += passed
            time = Time(epoch=number, clock=clock)
            model.step(clock, rows)
            for (below, on_top), output in zip((steady, replaced), sums, strict=True):
                changed = stepped(below, Turn([(0, delta_of(SCHEMA, rows))] if rows else [], time))
                changes = [(0, change) for change in changed if change is not None]
                for change in stepped(on_top, Turn(changes, time)):
                    add(output, change)
                assert nonzero(output) == model.output, show(nonzero(output), model.output)
                assert (on_top.wake is None) == (model.others is not None and not model.others.rows)
            below, on_top = make()
            replaced = restored(replaced[0], below), restored(replaced[1], on_top)
