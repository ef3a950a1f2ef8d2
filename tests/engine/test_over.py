"""Over: the laws for every function and frame, over ties, NULLs, NaN, duplicates and numbers that overflow."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings

from headrace.engine.delta import Delta
from headrace.engine.operators.over import Over
from headrace.engine.over_frames import Frame
from headrace.engine.over_functions import OverCall
from headrace.engine.sort_keys import SortKey
from tests.laws import batch_query, changes, check_laws, delta_of, oracle, step

SCHEMA = pa.schema(
    [("k", pa.string()), ("f", pa.float64()), ("s", pa.string()), ("i", pa.int64()), ("d", pa.decimal128(9, 2))]
)
ORDER = [SortKey("f", descending=True), SortKey("s"), SortKey("i"), SortKey("d")]
SETTLED = "f DESC NULLS LAST, s NULLS LAST, i NULLS LAST, d NULLS LAST"
TIED = "f DESC NULLS LAST"
PEERS = Frame()
WHOLE = Frame("rows")


def rows(start: str, end: str) -> str:
    return f"{SETTLED} ROWS BETWEEN {start} AND {end}"


Case = tuple[str, str | None, int, str | None, Frame, int, str, str]
CASES: list[Case] = [  # function, argument, number, default, frame, keys that make peers; as SQL: call, window
    ("row_number", None, 1, None, PEERS, 4, "row_number()", SETTLED),
    ("rank", None, 1, None, PEERS, 1, "rank()", TIED),
    ("dense_rank", None, 1, None, PEERS, 1, "dense_rank()", TIED),
    ("percent_rank", None, 1, None, PEERS, 1, "percent_rank()", TIED),
    ("cume_dist", None, 1, None, PEERS, 1, "cume_dist()", TIED),
    ("ntile", None, 3, None, PEERS, 4, "ntile(3)", SETTLED),
    ("lag", "i", 1, None, PEERS, 4, "lag(i)", SETTLED),
    ("lead", "s", 2, "k", PEERS, 4, "lead(s, 2, k)", SETTLED),
    ("first_value", "i", 1, None, PEERS, 4, "first_value(i)", SETTLED),
    ("last_value", "i", 1, None, Frame("rows", -1, 1), 4, "last_value(i)", rows("1 PRECEDING", "1 FOLLOWING")),
    ("nth_value", "s", 2, None, WHOLE, 4, "nth_value(s, 2)", rows("UNBOUNDED PRECEDING", "UNBOUNDED FOLLOWING")),
    ("count", None, 1, None, PEERS, 1, "count(*)", TIED),
    ("count", "s", 1, None, Frame("rows", -2, -1), 4, "count(s)", rows("2 PRECEDING", "1 PRECEDING")),
    ("sum", "i", 1, None, PEERS, 1, "sum(i)", TIED),
    ("sum", "d", 1, None, Frame("rows", -1, 0), 4, "sum(d)", rows("1 PRECEDING", "CURRENT ROW")),
    ("avg", "d", 1, None, Frame("rows", None, 0), 4, "avg(d)", rows("UNBOUNDED PRECEDING", "CURRENT ROW")),
    ("min", "f", 1, None, PEERS, 1, "min(f)", TIED),
    ("max", "s", 1, None, Frame("rows", -1, 1), 4, "max(s)", rows("1 PRECEDING", "1 FOLLOWING")),
    ("max", "i", 1, None, Frame("rows", 0, None), 4, "max(i)", rows("CURRENT ROW", "UNBOUNDED FOLLOWING")),
    ("min", "d", 1, None, Frame("rows", 1, 2), 4, "min(d)", rows("1 FOLLOWING", "2 FOLLOWING")),
]


def over(cases: list[Case], partition: list[str]) -> tuple[list[OverCall], str]:
    """The calls, and the SQL they stand for."""
    by = f"PARTITION BY {', '.join(partition)} " if partition else ""
    items = [f"{case[6]} OVER ({by}ORDER BY {case[7]}) AS c{place}" for place, case in enumerate(cases)]
    sql = f"SELECT *, {', '.join(items)} FROM input"
    connection = oracle()
    connection.register("input", SCHEMA.empty_table())
    schema = connection.sql(sql).to_arrow_table().schema
    calls = [OverCall(*case[:6], f"c{place}", schema.field(f"c{place}").type) for place, case in enumerate(cases)]
    return calls, sql


@pytest.mark.parametrize("partition", [["k"], []])
@pytest.mark.parametrize("start", range(0, len(CASES), 5))
@given(inputs=changes(SCHEMA, epochs=3))
@settings(max_examples=10)
def test_laws(start: int, partition: list[str], inputs: list[Delta]) -> None:
    calls, sql = over(CASES[start : start + 5], partition)
    check_laws(lambda: Over(partition, ORDER, calls, SCHEMA), batch_query(sql), inputs)


def test_only_rows_that_say_something_else_come_out() -> None:
    calls, _ = over([CASES[0]], ["k"])
    operator = Over(["k"], ORDER, calls, SCHEMA)
    step(operator, delta_of(SCHEMA, [(k, f, "x", 1, None) for k in "ab" for f in (3.0, 1.0)]), 1)
    change = step(operator, delta_of(SCHEMA, [("a", 2.0, "y", 1, None)]), 2)
    assert change is not None
    numbers = zip(change.batch.column("f").to_pylist(), change.batch.column("c0").to_pylist(), strict=True)
    assert sorted(zip(numbers, change.weight_array().tolist(), strict=True)) == [
        ((1.0, 2), -1),
        ((1.0, 3), 1),
        ((2.0, 2), 1),
    ]


@pytest.mark.parametrize("key", [SortKey("i"), SortKey("f", descending=True), SortKey("d", nulls_first=True)])
@pytest.mark.parametrize("partition", [["k"], []])
@given(inputs=changes(SCHEMA, epochs=2))
@settings(max_examples=5)
def test_laws_of_frames_of_values_and_of_peers(key: SortKey, partition: list[str], inputs: list[Delta]) -> None:
    unit = {"i": 1, "f": 0.5, "d": 100}[key.column]
    one = str(unit / 100 if key.column == "d" else unit)
    direction = f"{key.column}{' DESC' if key.descending else ''} NULLS {'FIRST' if key.nulls_first else 'LAST'}"
    frames = [
        (Frame("range", -unit, 0), f"RANGE BETWEEN {one} PRECEDING AND CURRENT ROW"),
        (Frame("range", -unit, unit), f"RANGE BETWEEN {one} PRECEDING AND {one} FOLLOWING"),
        (Frame("range", unit, None), f"RANGE BETWEEN {one} FOLLOWING AND UNBOUNDED FOLLOWING"),
        (Frame("range", None, -unit), f"RANGE BETWEEN UNBOUNDED PRECEDING AND {one} PRECEDING"),
        (Frame("range", 0, None), "RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING"),
        (Frame("groups", -1, 0), "GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW"),
        (Frame("groups", 1, 2), "GROUPS BETWEEN 1 FOLLOWING AND 2 FOLLOWING"),
        (Frame("groups", None, -1), "GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"),
    ]
    functions = [("sum", "i"), ("count", None), ("max", "s"), ("min", "d")]
    cases: list[Case] = [
        (function, argument, 1, None, frame, 1, f"{function}({argument or '*'})", f"{direction} {text}")
        for place, (frame, text) in enumerate(frames)
        for function, argument in (functions[place % 4], functions[(place + 1) % 4])
    ]
    calls, sql = over(cases, partition)
    inputs = [Delta(_small(delta.batch), delta.weights) for delta in inputs]
    check_laws(lambda: Over(partition, [key], calls, SCHEMA), batch_query(sql), inputs)


def _small(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Integers from 0 to 7 instead, of which DuckDB can subtract one."""
    place = batch.schema.get_field_index("i")
    return batch.set_column(place, "i", pc.bit_wise_and(batch.column("i"), 7))
