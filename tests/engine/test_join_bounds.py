"""A join with a time bound obeys the laws while watermarks pass, and forgets what no pair will need any more."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import row_lists, slotted_rows
from headrace.engine.delta import Delta
from headrace.engine.join_side import JoinInput
from headrace.engine.operator import END_OF_TIME, Time
from headrace.engine.operators.join import Join
from headrace.engine.operators.map import Map
from headrace.engine.time_bound import Kind, TimeBound
from headrace.sql.expressions import compile_map
from tests.laws import add, delta_of, nonzero, oracle, show, table_rows, total

LEFT = pa.schema([("k", pa.int64()), ("lat", pa.timestamp("us"))])
RIGHT = pa.schema([("rk", pa.int64()), ("rat", pa.timestamp("us"))])
Change = tuple[int, Delta]  # the port it comes to
DUCKDB = oracle()
BOUNDS = [(0, 0), (-3, 2), (0, 5), (2, 9), (-7, -4), (None, 2), (-3, None)]


def condition(bound: TimeBound, keyed: bool) -> str:
    parts = ["k = rk"] if keyed else []
    if bound.low is not None:
        parts.append(f"rat >= lat + INTERVAL '{bound.low} microseconds'")
    if bound.high is not None:
        parts.append(f"rat <= lat + INTERVAL '{bound.high} microseconds'")
    return " AND ".join(parts)


@functools.cache
def compiled(text: str) -> Map:
    reads = pa.schema([*LEFT, *RIGHT])
    node = sqlglot.parse_one(text, read="duckdb")
    return compile_map([("k", sqlglot.exp.column("k"))], node, reads, pa.schema([reads.field("k")]))


def make(kind: Kind, bound: TimeBound, keyed: bool, final: bool, timed: bool = False) -> Join:
    paired = kind not in ("semi", "anti")
    reads = pa.schema([*LEFT, *RIGHT])
    equal = bound.low == bound.high  # then the times are a key
    residual = None if equal else compiled(condition(bound, keyed=False))
    keys = [("k", "rk")] * keyed + [("lat", "rat")] * equal
    safe = (False,) * len(keys)
    left = JoinInput(LEFT, tuple(one for one, _ in keys), safe, tuple(LEFT.names))
    right = JoinInput(RIGHT, tuple(other for _, other in keys), safe, tuple(RIGHT.names) if paired else ())
    return Join(kind, left, right, reads if paired else LEFT, residual, reads, bound, final=final, timed=timed)


def expected(kind: Kind, bound: TimeBound, keyed: bool, inputs: list[Change], ended: int | None) -> Counter[Any]:
    """The join in batch; with `ended`, rows without a partner only past that watermark."""
    connection = DUCKDB
    for port, name in enumerate("lr"):
        connection.register(f"{name}_all", total([delta for to, delta in inputs if to == port]))
    for port, name in enumerate("lr"):
        time, needed = ("lat", bound.left_needed) if port == 0 else ("rat", bound.right_needed)
        passed = "true" if ended is None else f"epoch_us({time}) + {needed or 0} <= {ended}"
        other = f"(SELECT * FROM {'rl'[port]}_all) AS o"
        matched = f"EXISTS (SELECT 1 FROM {other} WHERE {condition(bound, keyed)})"
        known = f"SELECT * FROM {name}_all WHERE {passed} OR {matched}"
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {known}")
    if ended is not None:  # a side that never stands alone has all its rows
        if kind in ("left", "anti", "semi"):
            connection.execute("CREATE OR REPLACE TEMP VIEW r AS SELECT * FROM r_all")
        if kind in ("right", "semi"):
            connection.execute("CREATE OR REPLACE TEMP VIEW l AS SELECT * FROM l_all")
    sql = f"SELECT * FROM l {kind} JOIN r ON {condition(bound, keyed)}"
    return table_rows(connection.sql(sql).to_arrow_table())


def ends(kind: Kind, bound: TimeBound) -> bool:
    """Whether a row of an outer side can ever be known to have no partner."""
    left, right = bound.left_needed is not None, bound.right_needed is not None
    return {"left": left, "anti": left, "right": right, "full": left and right}.get(kind, True)


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("kind", get_args(Kind))
@settings(max_examples=5)
@given(data=st.data())
def test_laws(kind: Kind, keyed: bool, final: bool, data: st.DataObject) -> None:
    low, high = data.draw(st.sampled_from(BOUNDS))
    settled = st.sampled_from([1, 1, 0, 4])
    bound = TimeBound("lat", "rat", low, high, data.draw(settled), data.draw(settled))
    final = final and ends(kind, bound)
    with pytest.MonkeyPatch.context() as patch:
        gone_min = data.draw(st.sampled_from([0, 256]))
        patch.setattr(slotted_rows, "_GONE_MIN", gone_min)
        patch.setattr(row_lists, "_WASTED_MIN", gone_min)
        run(kind, bound, keyed, final, data)


def run(kind: Kind, bound: TimeBound, keyed: bool, final: bool, data: st.DataObject) -> None:
    timed = data.draw(st.booleans())
    steady, restored, sliced = (make(kind, bound, keyed, final, timed) for _ in range(3))
    sums: list[Counter[Any]] = [Counter(), Counter(), Counter()]
    inputs: list[Change] = []
    present: list[list[tuple[Any, ...]]] = [[], []]
    watermark = 0
    for epoch in range(1, 7):
        for port, schema in enumerate((LEFT, RIGHT)):
            settled = (bound.left_settled, bound.right_settled)[port]
            first = watermark - settled + 1  # rows before that neither come nor go
            time = st.integers(first, first + 9)
            rows = data.draw(st.lists(st.tuples(st.sampled_from([None, 1, 2]), time), max_size=5))
            weights = [1] * len(rows)
            present[port] += rows
            if not final and data.draw(st.booleans()):
                for row in [row for row in present[port] if row[1] >= first][:2]:
                    present[port].remove(row)
                    rows, weights = [*rows, row], [*weights, -1]
            delta = delta_of(schema, rows, weights)
            inputs.append((port, delta))
            changes = [steady.process(delta, port)], [restored.process(delta, port)]
            one_by_one = [sliced.process(delta.take(np.array([row])), port) for row in range(delta.rows)]
            for output, some in zip(sums, (*changes, one_by_one), strict=True):
                for change in some:
                    add(output, change)
        watermark += data.draw(st.integers(0, 8))
        for operator, output in zip((steady, restored, sliced), sums, strict=True):
            change = operator.advance(Time(epoch=epoch, clock=0, watermark=watermark))
            assert final or change is None
            add(output, change)
        wanted = expected(kind, bound, keyed, inputs, watermark if final else None)
        for name, output in zip(("steady", "restored", "sliced"), sums, strict=True):
            assert nonzero(output) == wanted, f"{name}, epoch {epoch}: {show(nonzero(output), wanted)}"
        snapshot = restored.snapshot()
        restored = make(kind, bound, keyed, final, timed)
        restored.restore(snapshot)
    for output, operator in zip(sums, (steady, restored, sliced), strict=True):
        add(output, operator.advance(Time(epoch=99, clock=0, watermark=END_OF_TIME)))
        assert nonzero(output) == expected(kind, bound, keyed, inputs, None)
        kept = {name: table.num_rows for name, table in operator.snapshot().items() if name.endswith("/rows")}
        assert kept["0/rows"] == 0 or bound.left_needed is None
        assert kept["1/rows"] == 0 or bound.right_needed is None


@pytest.mark.parametrize("final", [False, True])
def test_state_is_as_large_as_the_bound_is_long(final: bool) -> None:
    operator = make("full", TimeBound("lat", "rat", -50, 50), keyed=True, final=final)
    sizes = []
    for epoch in range(60):
        times = range(epoch * 100, epoch * 100 + 100)
        for port, schema in enumerate((LEFT, RIGHT)):
            operator.process(delta_of(schema, [(time % 7, time) for time in times]), port)
        operator.advance(Time(epoch=epoch + 1, clock=0, watermark=epoch * 100 + 100))
        sizes.append(operator.bytes)
    assert max(sizes[30:]) <= max(sizes[:30])


def test_a_row_without_a_partner_comes_once_when_none_can_come() -> None:
    operator = make("left", TimeBound("lat", "rat", 0, 10), keyed=True, final=True)
    assert operator.process(delta_of(LEFT, [(1, 100), (None, 100), (2, 100)]), 0) is None
    assert operator.process(delta_of(RIGHT, [(2, 105)]), 1) is not None
    assert operator.advance(Time(epoch=1, clock=0, watermark=110)) is None
    change = operator.advance(Time(epoch=2, clock=0, watermark=111))
    assert change is not None
    assert change.weights is None or (change.weights == 1).all()
    assert change.batch.column("k").to_pylist() in ([1, None], [None, 1])
    assert operator.advance(Time(epoch=3, clock=0, watermark=200)) is None
