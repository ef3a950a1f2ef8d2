"""Join obeys the laws: every kind, with and without a residual condition, as rows of both sides come and go."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import row_lists, slotted_rows
from headrace.engine.delta import Delta, concat
from headrace.engine.join_side import JoinInput
from headrace.engine.operator import Time
from headrace.engine.operators import join
from headrace.engine.operators.join import Join
from headrace.engine.operators.map import Map
from headrace.engine.time_bound import Kind
from headrace.sql.expressions import compile_map
from tests.laws import add, batch_rows, changes, delta_of, nonzero, oracle, show, table_rows, total

LEFT = pa.schema([("k", pa.int64()), ("t", pa.string()), ("v", pa.int64())])
RIGHT = pa.schema([("rk", pa.int64()), ("rt", pa.string()), ("rv", pa.int64())])
KEYS = {
    "one key": ("k = rk", (("k", "rk", False),)),
    "two keys": ("k = rk AND t IS NOT DISTINCT FROM rt", (("k", "rk", False), ("t", "rt", True))),
    "no key": ("true", ()),
}
RESIDUALS = [None, "v < rv", "v < rv OR t = rt"]
IN_ORDER = {"v < rv": [("v", "rv")], "v <= rv AND rv < k": [("v", "rv"), ("rv", "k")]}
Change = tuple[int, Delta]  # the port it comes to


@functools.cache
def compiled(residual: str) -> Map:
    reads = pa.schema([*LEFT, *RIGHT])
    node = sqlglot.parse_one(residual, read="duckdb")
    return compile_map([("k", sqlglot.exp.column("k"))], node, reads, pa.schema([reads.field("k")]))


def make(kind: Kind, keys: tuple[tuple[str, str, bool], ...], residual: str | None) -> Join:
    paired = kind not in ("semi", "anti")
    schema = pa.schema([*LEFT, *RIGHT]) if paired else LEFT
    reads = pa.schema([*LEFT, *RIGHT])
    condition = None if residual is None else compiled(residual)
    safe = tuple(null_safe for _, _, null_safe in keys)
    return Join(
        kind,
        JoinInput(LEFT, tuple(left for left, _, _ in keys), safe, tuple(LEFT.names)),
        JoinInput(RIGHT, tuple(right for _, right, _ in keys), safe, tuple(RIGHT.names) if paired else ()),
        schema,
        condition,
        reads,
        order=IN_ORDER.get(residual or "", ()) if not keys else (),
    )


def expected(kind: Kind, condition: str, inputs: list[Change]) -> Counter[Any]:
    connection = oracle()
    for port, (name, schema) in enumerate((("l", LEFT), ("r", RIGHT))):
        mine = [delta for to, delta in inputs if to == port]
        connection.register(name, total(mine) if mine else schema.empty_table())
    sql = f"SELECT * FROM l {kind} JOIN r ON {condition}"
    return table_rows(connection.sql(sql).to_arrow_table())


@st.composite
def both_sides(draw: st.DrawFn) -> list[Change]:
    left = [(0, delta) for delta in draw(changes(LEFT))]
    right = [(1, delta) for delta in draw(changes(RIGHT))]
    order = draw(st.permutations([0] * len(left) + [1] * len(right)))
    return [left.pop(0) if port == 0 else right.pop(0) for port in order]


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("kind", get_args(Kind))
@settings(max_examples=12)
@given(inputs=both_sides(), gone_min=st.sampled_from([0, 256]), pairs_max=st.sampled_from([1, 3, 1 << 20]))
def test_laws(kind: Kind, keys: str, residual: str | None, inputs: list[Change], gone_min: int, pairs_max: int) -> None:
    condition, columns = KEYS[keys]
    if residual is not None:
        condition += f" AND ({residual})"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slotted_rows, "_GONE_MIN", gone_min)
        patch.setattr(row_lists, "_WASTED_MIN", gone_min)
        patch.setattr(join, "_PAIRS_MAX", pairs_max)
        check(lambda: make(kind, columns, residual), lambda seen: expected(kind, condition, seen), inputs)


@pytest.mark.parametrize("kind", get_args(Kind))
@settings(max_examples=8)
@given(inputs=both_sides(), pairs_max=st.sampled_from([1, 1 << 20]))
def test_laws_of_rows_between_two_others(kind: Kind, inputs: list[Change], pairs_max: int) -> None:
    residual = "v <= rv AND rv < k"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "_PAIRS_MAX", pairs_max)
        check(lambda: make(kind, (), residual), lambda seen: expected(kind, residual, seen), inputs)


def check(make_join: Callable[[], Join], query: Callable[[list[Change]], Counter[Any]], inputs: list[Change]) -> None:
    """Incremental, recovery and slicing at once: steady, restored after each delta, and row by row."""
    steady, restored, sliced = make_join(), make_join(), make_join()
    sums: list[Counter[Any]] = [Counter(), Counter(), Counter()]
    for place, (port, delta) in enumerate(inputs, 1):
        step(steady, [(port, delta)], sums[0])
        step(restored, [(port, delta)], sums[1])
        for row in np.random.default_rng(place).permutation(delta.rows) if delta.weights is None else range(delta.rows):
            step(sliced, [(port, delta.take(np.array([row])))], sums[2])
        rows = query(inputs[:place])
        for name, output in zip(("steady", "restored", "sliced"), sums, strict=True):
            assert all(count >= 0 for count in output.values()), f"{name} retracts what is not there"
            assert +output == rows, f"{name}, delta {place}: {show(+output, rows)}"
        snapshot = restored.snapshot()
        restored = make_join()
        restored.restore(snapshot)
    at_once: Counter[Any] = Counter()
    whole = [(port, concat(mine)) for port in (0, 1) if (mine := [delta for to, delta in inputs if to == port])]
    step(make_join(), whole, at_once)
    assert nonzero(at_once) == query(inputs)


def step(operator: Join, inputs: list[Change], output: Counter[Any]) -> None:
    for port, delta in inputs:
        change = operator.process(delta, port)
        if change is not None:
            assert change.batch.schema.equals(operator.schema)
            add(output, change)
    assert operator.advance(Time(epoch=1, clock=0)) is None


def test_a_key_with_many_rows_on_both_sides() -> None:
    operator = make("full", KEYS["one key"][1], "v < rv")
    left = delta_of(LEFT, [(1, None, value) for value in range(300)])
    right = delta_of(RIGHT, [(1, None, value) for value in range(300)])
    output: Counter[Any] = Counter()
    step(operator, [(0, left), (1, right)], output)
    assert nonzero(output) == expected("full", "k = rk AND v < rv", [(0, left), (1, right)])
    gone = [(port, Delta(delta.batch, -delta.weight_array())) for port, delta in ((1, right), (0, left))]
    step(operator, gone, output)
    assert nonzero(output) == Counter()
    assert batch_rows(left.batch)


def test_keys_that_are_gone_cost_nothing() -> None:
    operator = make("left", KEYS["one key"][1], None)
    sizes = []
    for turn in range(40):
        numbers = [(turn * 500 + row, None, row) for row in range(500)]
        for port, schema in enumerate((LEFT, RIGHT)):
            operator.process(delta_of(schema, numbers), port)
        for port, schema in enumerate((LEFT, RIGHT)):
            operator.process(delta_of(schema, numbers, [-1] * 500), port)
        sizes.append(operator.bytes)
    assert max(sizes[10:]) <= max(sizes[:10])
