"""Aggregate: the laws over every function, key type and kind of input; sums that overflow, drift and turn infinite."""

from __future__ import annotations

import functools
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import delta
from headrace.engine.aggregates import AggregateCall
from headrace.engine.delta import Delta
from headrace.engine.operator import NO_WATERMARK, Time
from headrace.engine.operators.aggregate import Aggregate
from headrace.storage.errors import DataError
from tests.laws import batch_query, changes, check_incremental, check_laws, delta_of, oracle, step

SCHEMA = pa.schema(
    [
        ("i", pa.int32()),
        ("b", pa.int64()),
        ("u", pa.uint64()),
        ("f", pa.float64()),
        ("g", pa.float32()),
        ("d", pa.decimal128(9, 2)),
        ("w", pa.decimal128(30, 4)),
        ("s", pa.string()),
        ("t", pa.timestamp("us")),
        ("p", pa.bool_()),
    ]
)


def aggregate(keys: list[str], calls: list[str], append_only: bool) -> tuple[Aggregate, str]:
    """An operator for `function(argument)` or `function(argument) FILTER filter` texts, and the SQL it stands for."""
    bound, schema, sql = bind(tuple(keys), tuple(calls))
    return Aggregate(keys, bound, SCHEMA, schema, append_only), sql


@functools.cache
def bind(keys: tuple[str, ...], calls: tuple[str, ...]) -> tuple[list[AggregateCall], pa.Schema, str]:
    """The calls, the output schema and the SQL that `aggregate` is for."""
    items = list(keys)
    parsed = []
    for place, text in enumerate(calls):
        function, _, rest = text.partition("(")
        argument, _, condition = rest.partition(")")
        name = condition.removeprefix(" FILTER ") or None
        where = f" FILTER (WHERE {name})" if name else ""
        items.append(f"{function}({argument}){where} AS c{place}")
        star = argument == "*"
        function = "count_star" if star else function
        parsed.append((function, None if star else argument, name, f"c{place}"))
    grouping = f" GROUP BY {', '.join(keys)}" if keys else ""
    sql = f"SELECT {', '.join(items)} FROM input{grouping}"
    connection = oracle()
    connection.register("input", SCHEMA.empty_table())
    schema = connection.sql(sql).to_arrow_table().schema
    return [AggregateCall(*call, schema.field(call[3]).type) for call in parsed], schema, sql


NUMBERS = [
    "count(*)",
    "sum(i)",
    "sum(b)",
    "avg(b)",
    "sum(u)",
    "sum(f)",
    "avg(f)",
    "sum(g)",
    "sum(d)",
    "avg(d)",
    "sum(w)",
]
EXTREMES = [f"{side}({name})" for name in ("i", "b", "u", "f", "g", "d", "w", "s", "t", "p") for side in ("min", "max")]
FILTERED = ["count(*)", "count(*) FILTER p", "count(i)", "sum(i) FILTER p", "max(s) FILTER p", "avg(f) FILTER p"]


@pytest.mark.parametrize("append_only", [True, False])
@pytest.mark.parametrize("calls", [NUMBERS, EXTREMES, FILTERED], ids=["numbers", "extremes", "filtered"])
@settings(max_examples=8)
@given(data=st.data())
def test_laws_of_every_function(append_only: bool, calls: list[str], data: st.DataObject) -> None:
    inputs = data.draw(changes(SCHEMA, append_only=append_only))
    keys = data.draw(st.sampled_from([[], ["p"], ["s"], ["d", "p"]]))
    _, sql = aggregate(keys, calls, append_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delta, "PIECE_ROWS", data.draw(st.sampled_from([1, 1 << 16])))
        check_laws(lambda: aggregate(keys, calls, append_only)[0], batch_query(sql), inputs)


@pytest.mark.parametrize("key", SCHEMA.names)
@settings(max_examples=4)
@given(data=st.data())
def test_laws_over_keys_of_every_type(key: str, data: st.DataObject) -> None:
    inputs = data.draw(changes(SCHEMA, epochs=3))
    _, sql = aggregate([key], ["count(*)"], append_only=False)
    check_laws(lambda: aggregate([key], ["count(*)"], append_only=False)[0], batch_query(sql), inputs)


def fresh(keys: list[str], calls: list[str], append_only: bool = False) -> Aggregate:
    return aggregate(keys, calls, append_only)[0]


def rows_of(schema: pa.Schema, **columns: list[Any]) -> list[tuple[Any, ...]]:
    count = len(next(iter(columns.values())))
    return [tuple(columns.get(name, [None] * count)[row] for name in schema.names) for row in range(count)]


def test_without_keys_one_row_comes_out_of_the_first_advance() -> None:
    operator = fresh([], ["count(*)", "sum(b)"])
    first = operator.advance(Time(epoch=1, clock=0, watermark=NO_WATERMARK))
    assert first is not None
    assert first.weights is None
    assert first.batch.to_pylist() == [{"c0": 0, "c1": None}]
    assert operator.advance(Time(epoch=2, clock=0, watermark=NO_WATERMARK)) is None
    change = step(operator, delta_of(SCHEMA, rows_of(SCHEMA, b=[5])), 3)
    assert change is not None
    assert change.weight_array().tolist() == [-1, 1]
    assert change.batch.to_pylist() == [{"c0": 0, "c1": None}, {"c0": 1, "c1": Decimal(5)}]


def test_a_group_that_did_not_change_is_not_emitted() -> None:
    operator = fresh(["s"], ["max(b)"], append_only=True)
    assert step(operator, delta_of(SCHEMA, rows_of(SCHEMA, s=["a"], b=[5])), 1) is not None
    assert step(operator, delta_of(SCHEMA, rows_of(SCHEMA, s=["a", "a"], b=[3, None])), 2) is None


def test_a_row_that_comes_and_goes_in_one_delta_leaves_nothing() -> None:
    operator = fresh(["s"], ["sum(b)"])
    assert step(operator, delta_of(SCHEMA, rows_of(SCHEMA, s=["a", "a"], b=[5, 5]), [1, -1]), 1) is None
    assert operator.rows().num_rows == 0


def test_sums_of_bigints_are_exact_beyond_64_bits() -> None:
    operator = fresh(["s"], ["sum(b)"])
    big = [2**63 - 1] * 10
    step(operator, delta_of(SCHEMA, rows_of(SCHEMA, s=["a"] * 10, b=big)), 1)
    step(operator, delta_of(SCHEMA, rows_of(SCHEMA, s=["b"], b=[-(2**63)])), 2)
    step(operator, delta_of(SCHEMA, rows_of(SCHEMA, s=["a"] * 9, b=big[1:]), [-1] * 9), 3)
    found = {row["s"]: row["c0"] for row in operator.rows().to_pylist()}
    assert found == {"a": Decimal(2**63 - 1), "b": Decimal(-(2**63))}


def test_a_sum_of_more_than_38_digits_is_an_error() -> None:
    schema = pa.schema([("k", pa.int64()), ("w", pa.decimal128(38, 0))])
    call = AggregateCall("sum", "w", None, "total", pa.decimal128(38, 0))
    output = pa.schema([("k", pa.int64()), ("total", pa.decimal128(38, 0))])
    operator = Aggregate(["k"], [call], schema, output, append_only=True)
    with pytest.raises(DataError, match="cannot hold a sum of more than 38 digits"):
        step(operator, delta_of(schema, [(1, Decimal(10**38 - 1)), (1, Decimal(10**38 - 1))]), 1)


def test_float_sums_do_not_drift_when_rows_leave() -> None:
    operator = fresh(["s"], ["sum(f)"])
    generator = np.random.default_rng(0)
    stay = delta_of(SCHEMA, rows_of(SCHEMA, s=["a"] * 3, f=[0.1, 0.2, 0.3]))
    step(operator, stay, 1)
    for epoch in range(2, 200):
        values = (generator.random(5) * 10.0 ** generator.integers(-3, 12)).tolist()
        rows = rows_of(SCHEMA, s=["a"] * 5, f=values)
        step(operator, delta_of(SCHEMA, rows), epoch)
        step(operator, delta_of(SCHEMA, rows, [-1] * 5), epoch)
    assert operator.rows()["c0"][0].as_py() == pytest.approx(0.6, rel=1e-9)
    step(operator, delta_of(SCHEMA, rows_of(SCHEMA, s=["a"] * 3, f=[0.1, 0.2, 0.3]), [-1] * 3), 200)
    assert operator.rows().num_rows == 0


def test_infinities_and_nan_leave_a_sum_again() -> None:
    operator = fresh(["s"], ["sum(f)"])
    rows = rows_of(SCHEMA, s=["a"] * 4, f=[1.5, math.inf, -math.inf, math.nan])
    step(operator, delta_of(SCHEMA, rows), 1)
    assert math.isnan(operator.rows()["c0"][0].as_py())
    step(operator, delta_of(SCHEMA, rows[2:], [-1, -1]), 2)
    assert operator.rows()["c0"][0].as_py() == math.inf
    step(operator, delta_of(SCHEMA, rows[1:2], [-1]), 3)
    assert operator.rows()["c0"][0].as_py() == 1.5


def test_many_groups_that_come_and_go_leave_no_state() -> None:
    operator = fresh(["b"], ["count(*)", "min(s)", "sum(b)"])
    for epoch in range(1, 30):
        keys = list(range(epoch * 200, epoch * 200 + 200))
        rows = rows_of(SCHEMA, b=keys, s=[str(key) for key in keys])
        step(operator, delta_of(SCHEMA, rows), epoch)
        step(operator, delta_of(SCHEMA, rows[:-1], [-1] * 199), epoch)
    assert sorted(operator.rows()["b"].to_pylist()) == [epoch * 200 + 199 for epoch in range(1, 30)]
    assert operator.bytes < 200_000


@pytest.mark.parametrize("append_only", [True, False])
def test_extremes_hold_while_thousands_of_values_come_and_go(append_only: bool) -> None:
    generator = np.random.default_rng(2)
    calls = ["min(s)", "max(s)", "min(b)", "max(w)"]
    operator, sql = aggregate(["i"], calls, append_only)
    inputs: list[Delta] = []
    kept: list[list[tuple[Any, ...]]] = []
    for epoch in range(30):
        numbers = (generator.integers(0, 10_000, 150) + (-1) ** epoch * epoch * 500).tolist()
        columns = {"i": [n % 20 for n in numbers], "s": [f"{n:06d}" for n in numbers], "b": numbers}
        kept.append(rows_of(SCHEMA, **columns, w=[Decimal(n) for n in numbers]))
        gone = [] if append_only or epoch < 2 else kept[epoch - 2]
        weights = None if append_only else [1] * len(numbers) + [-1] * len(gone)
        inputs.append(delta_of(SCHEMA, kept[-1] + gone, weights))
    check_incremental(operator, batch_query(sql), inputs)
