"""Operators whose groups go when idle are what they would be of the rows that came to each since it began anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import grouping_sets, key_index
from headrace.engine.aggregates import AggregateCall
from headrace.engine.operator import Operator, ResultHolder, Time
from headrace.engine.operators.aggregate import Aggregate
from headrace.engine.operators.set_operation import Kind, SetOperation
from tests.laws import Rows, add, as_written, delta_of, nonzero, show, table_rows

Row = tuple[Any, ...]
Epoch = tuple[int, list[tuple[int, list[Row]]]]  # how much later it is, and what comes to which port


@dataclass
class Lives:
    """The rows that came to each key since it began, a row at a time: one ends `ttl` after its last, or it `stays`."""

    ttl: int
    stays: Callable[[Hashable], bool] = lambda key: False
    last: dict[Hashable, int] = field(default_factory=dict)
    came: dict[Hashable, list[tuple[int, Row]]] = field(default_factory=dict)  # with their ports

    def expire(self, clock: int) -> None:
        for key in [key for key, last in self.last.items() if last + self.ttl <= clock and not self.stays(key)]:
            del self.last[key], self.came[key]

    @property
    def mortal(self) -> bool:
        """Whether there is a key that ends."""
        return any(not self.stays(key) for key in self.last)

    def come(self, key: Hashable, port: int, row: Row, clock: int) -> None:
        self.last[key] = clock
        self.came.setdefault(key, []).append((port, row))


def check(
    make: Callable[[], Operator],
    lives: Lives,
    keys: Callable[[Row], list[Hashable]],
    expected: Callable[[Lives], Rows],
    epochs: list[Epoch],
    told: Callable[[Lives], Rows] | None = None,
) -> None:
    """One that goes on, one that is restored after each epoch, and one that nobody listens to are what is `expected`.

    `keys` are those that a row comes to. What came out is `told` where that is something else.
    """
    operators = [make() for _ in range(3)]
    operators[2].emits = False
    sums: list[Rows] = [Counter() for _ in operators]
    clock = 0
    for number, (later, comes) in enumerate(epochs, 1):
        clock += later
        time = Time(epoch=number, clock=clock)
        lives.expire(clock)
        for port, rows in comes:
            for row in rows:
                for key in keys(row):
                    lives.come(key, port, row, clock)
        right = expected(lives)
        out = right if told is None else told(lives)
        for operator, output in zip(operators, sums, strict=True):
            if operator.wake is not None and operator.wake <= clock:
                add(output, operator.expire(time))
            assert all(count >= 0 for count in output.values()), "it retracts what is not there"
            for port, rows in comes:
                add(output, operator.process(delta_of(SCHEMA, rows), port))
            add(output, operator.advance(time))
            if operator.emits:
                assert nonzero(output) == out, show(nonzero(output), out)
            if isinstance(operator, ResultHolder):
                assert table_rows(operator.rows()) == right, show(table_rows(operator.rows()), right)
        snapshot = operators[1].snapshot()
        operators[1] = make()
        operators[1].restore({name: as_written(table) for name, table in snapshot.items()})
        assert (operators[0].wake is None) == (operators[1].wake is None) == (not lives.mortal)


SCHEMA = pa.schema([("a", pa.string()), ("b", pa.int64())])
ROW = st.tuples(st.sampled_from([None, "x", "y"]), st.sampled_from([None, 1, 2]))


def epochs_of(ports: int) -> st.SearchStrategy[list[Epoch]]:
    comes = st.tuples(st.integers(0, ports - 1), st.lists(ROW, max_size=4))
    return st.lists(st.tuples(st.integers(0, 3), st.lists(comes, max_size=2)), max_size=8)


TTL, WASTED = st.integers(1, 4), st.sampled_from([0, 256])


@pytest.mark.parametrize("sets", [[{0, 1}, {0}, set()], [{1}, {0, 1}, {1}]], ids=["rollup", "sets"])
@settings(max_examples=25)
@given(epochs=epochs_of(1), ttl=TTL, distinct=st.booleans(), wasted=WASTED)
def test_grouping_sets(sets: list[set[int]], epochs: list[Epoch], ttl: int, distinct: bool, wasted: int) -> None:
    call = AggregateCall("count", "b", None, "n", pa.int64(), distinct=distinct)
    keys = pa.schema([("ka", pa.string()), ("kb", pa.int64()), ("set", pa.int32())])
    standing = [number for number, chosen in enumerate(sets) if not chosen]
    stands = pa.RecordBatch.from_pylist([{"ka": None, "kb": None, "set": number} for number in standing], schema=keys)

    def make() -> Aggregate:
        output = pa.schema([*keys, ("n", pa.int64())])
        chosen = [frozenset(some) for some in sets]
        some = stands if standing else None
        return Aggregate(SCHEMA.names, [call], SCHEMA, output, True, some, chosen, keys.names, ttl_us=ttl)

    def groups(row: Row) -> list[Hashable]:
        return [
            (*(value if place in chosen else None for place, value in enumerate(row)), number)
            for number, chosen in enumerate(sets)
        ]

    def stays(key: Hashable) -> bool:
        return isinstance(key, tuple) and key[-1] in standing

    def expected(lives: Lives) -> Rows:
        rows: Rows = Counter({(None, None, number, 0): 1 for number in standing})
        for key, came in lives.came.items():
            assert isinstance(key, tuple)
            counted = [row[1] for _, row in came if row[1] is not None]
            rows -= Counter({(*key, 0): int(stays(key))})
            rows[(*key, len(set(counted) if distinct else counted))] = 1
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping_sets, "_COMBINATIONS_MIN", wasted)
        patch.setattr(key_index, "_SLOTS_WASTED_MIN", wasted)
        check(make, Lives(ttl, stays), groups, expected, epochs)


@pytest.mark.parametrize("all_rows", [False, True])
@pytest.mark.parametrize(("kind", "silent"), [("intersect", False), ("intersect", True), ("except", False)])
@settings(max_examples=25)
@given(epochs=epochs_of(2), ttl=TTL, wasted=WASTED)
def test_set_operations(kind: Kind, silent: bool, all_rows: bool, epochs: list[Epoch], ttl: int, wasted: int) -> None:
    def times(came: list[tuple[int, Row]]) -> int:
        right = sum(port for port, _ in came)
        left = len(came) - right
        if all_rows:
            return min(left, right) if kind == "intersect" else max(left - right, 0)
        return int(left > 0 and (right > 0) == (kind == "intersect"))

    lived: list[list[tuple[int, Row]]] = []

    def told(lives: Lives) -> Rows:
        """What goes in silence stays told, of each life of a row."""
        lived.extend(came for came in lives.came.values() if not any(came is known for known in lived))
        rows: Rows = Counter()
        for came in lived:
            rows[came[0][1]] += times(came)
        return nonzero(rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "_SLOTS_WASTED_MIN", wasted)
        check(
            lambda: SetOperation(kind, SCHEMA, all_rows=all_rows, ttl_us=ttl, silent=silent),
            Lives(ttl),
            lambda row: [row],
            lambda lives: nonzero(Counter({came[0][1]: times(came) for came in lives.came.values()})),
            epochs,
            told if silent else None,
        )
