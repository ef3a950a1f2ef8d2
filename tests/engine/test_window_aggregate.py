"""WindowAggregate: the laws for updated panes; for final ones, that each comes once and exactly at its end."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import delta
from headrace.engine.aggregates import AggregateCall, OrderKey
from headrace.engine.delta import Delta
from headrace.engine.operator import END_OF_TIME
from headrace.engine.operators import window_aggregate
from headrace.engine.operators.window_aggregate import WindowAggregate
from headrace.engine.windows import Cumulate, Hop, Window, tumble
from tests.laws import (
    Rows,
    add,
    batch_query,
    changes,
    check_laws,
    delta_of,
    nonzero,
    oracle,
    show,
    step,
    table_rows,
    total,
)

SCHEMA = pa.schema(
    [("k", pa.string()), ("b", pa.int32()), ("t", pa.timestamp("us")), ("p", pa.bool_()), ("x", pa.float64())]
)
WINDOWS = [
    tumble(10_000_000),
    tumble(7, offset=3),
    Hop(size=10_000_000, slide=5_000_000),
    Hop(size=10_000_000, slide=4_000_000, offset=-1),
    Cumulate(size=10_000_000, step=2_000_000, offset=-3),
    Cumulate(size=12, step=4),
]
CALLS = {"n": "count(*)", "s": "sum(b)", "l": "min(b)", "m": "max(k)", "f": "count(b) FILTER (WHERE p)"}
CALLS |= {"c": "count(DISTINCT b)", "o": "list(b ORDER BY b)", "v": "var_pop(x)", "w": "bit_xor(DISTINCT b)"}


@functools.cache
def sql(window: Window, keys: tuple[str, ...]) -> str:
    """The batch query: every row with every pane that holds it, by definition."""
    items = [f"{text} AS {name}" for name, text in CALLS.items()]
    match window:
        case Hop():
            start = f"(t_us - (t_us - {window.offset}) % {window.slide} + r.i * {window.slide})"
            stop = f"{start} + {window.size}"
        case Cumulate():
            start = f"(t_us - (t_us + {window.size * 10**7 - window.offset}) % {window.size})"
            stop = f"{start} + (r.i + 6) * {window.step}"
            assert window.size <= 6 * window.step
    return (
        f"WITH timed AS (SELECT *, epoch_us(t) AS t_us FROM input WHERE t IS NOT NULL), "
        f"paned AS (SELECT *, {start} AS start, {stop} AS stop FROM timed, range(-5, 5) r(i)) "
        f"SELECT {', '.join([*keys, *items])}, make_timestamp(start) AS window_start, "
        f"make_timestamp(stop) AS window_end, make_timestamp(stop - 1000) AS window_time "
        f"FROM paned WHERE start <= t_us AND t_us < stop AND stop <= start + {window.size} "
        f"GROUP BY {', '.join([*keys, 'start', 'stop'])}"
    )


@functools.cache
def output_schema(keys: tuple[str, ...]) -> pa.Schema:
    connection = oracle()
    connection.register("input", SCHEMA.empty_table())
    return connection.sql(sql(WINDOWS[0], keys)).to_arrow_table().schema


def operator(
    window: Window,
    keys: tuple[str, ...] = ("k",),
    *,
    append_only: bool = False,
    final: bool = False,
    keeps_result: bool = True,
) -> WindowAggregate:
    schema = output_schema(keys)
    calls = [
        AggregateCall("count_star", None, None, "n", schema.field("n").type),
        AggregateCall("sum", "b", None, "s", schema.field("s").type),
        AggregateCall("min", "b", None, "l", schema.field("l").type),
        AggregateCall("max", "k", None, "m", schema.field("m").type),
        AggregateCall("count", "b", "p", "f", schema.field("f").type),
        AggregateCall("count", "b", None, "c", schema.field("c").type, distinct=True),
        AggregateCall("list", "b", None, "o", schema.field("o").type, order=(OrderKey("b"),)),
        AggregateCall("var_pop", "x", None, "v", schema.field("v").type),
        AggregateCall("bit_xor", "b", None, "w", schema.field("w").type, distinct=True),
    ]
    return WindowAggregate(window, "t", keys, calls, SCHEMA, schema, append_only, final, True, keeps_result)


@pytest.mark.parametrize("rows_are", ["append-only", "append-only and sliced", "retracted"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@settings(max_examples=4)
@given(data=st.data())
def test_laws(rows_are: str, window: Window, data: st.DataObject) -> None:
    append_only = rows_are != "retracted"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_aggregate, "_SLICED_ROWS_MIN", 1 if "sliced" in rows_are else 1024)
        patch.setattr(delta, "PIECE_ROWS", data.draw(st.sampled_from([1, 1 << 16])))
        check_window_laws(append_only, window, data)


def check_window_laws(append_only: bool, window: Window, data: st.DataObject) -> None:
    keys = data.draw(st.sampled_from([(), ("k",), ("k", "p")]))
    inputs = data.draw(changes(SCHEMA, append_only=append_only, epochs=3))
    check_laws(lambda: operator(window, keys, append_only=append_only), batch_query(sql(window, keys)), inputs)


WATERMARKS = [-30_000_000, -10_000_000, 0, 4, 9_999_999, 15_000_000, END_OF_TIME]


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@settings(max_examples=5)
@given(data=st.data())
def test_panes_close_at_their_end_and_once(final: bool, window: Window, data: st.DataObject) -> None:
    append_only = data.draw(st.booleans())
    inputs = data.draw(changes(SCHEMA, append_only=append_only, epochs=len(WATERMARKS) - 1))
    panes = operator(window, append_only=append_only, final=final)
    seen: list[Delta] = []
    output: Rows = Rows()
    query = batch_query(sql(window, ("k",)))
    watermark = -40_000_000
    for epoch, upcoming in enumerate(WATERMARKS, 1):
        delta = inputs[epoch - 1] if epoch <= len(inputs) else delta_of(SCHEMA, [])
        delta = in_time(delta, window, watermark)
        seen.append(delta)
        add(output, step(panes, delta, epoch, upcoming))
        watermark = upcoming
        snapshot = panes.snapshot()
        panes = operator(window, append_only=append_only, final=final)
        panes.restore(snapshot)
        everything = table_rows(query(total(seen)))
        closed = Rows({row: n for row, n in everything.items() if as_us(row[-2]) <= watermark})
        expected = closed if final else everything
        assert nonzero(output) == expected, show(output, expected)
        assert table_rows(panes.rows()) == expected, show(table_rows(panes.rows()), expected)


def in_time(delta: Delta, window: Window, watermark: int) -> Delta:
    """The rows all of whose panes are open; a late row is for another operator to judge."""
    times = [-(1 << 60) if time is None else as_us(time) for time in delta.batch.column("t").to_pylist()]
    late = window.overtaken(np.array(times, dtype=np.int64), watermark)
    return delta.take(np.flatnonzero(~late & (np.array(times) > -(1 << 60))))


def as_us(time: Any) -> int:
    return int(np.datetime64(time, "us").astype(np.int64))


def test_rows_are_kept_out_of_the_panes_that_closed_names() -> None:
    window = Hop(size=10, slide=5)
    panes = operator(window, append_only=True)
    batch = delta_of(SCHEMA, [("a", 1, 12, None, None), ("a", 2, 12, None, None), ("a", 4, 12, None, None)]).batch
    change = step(panes, Delta(batch, closed=np.array([0, 15, 20])), 1)
    assert change is not None
    found = {(as_us(row["window_start"]), row["s"]) for row in change.batch.to_pylist()}
    assert found == {(5, 1), (10, 3)}


def test_closed_panes_are_forgotten_without_keeps_result() -> None:
    panes = operator(tumble(10), append_only=True, keeps_result=False)
    step(panes, delta_of(SCHEMA, [("a", 1, 5, None, None), ("a", 1, 15, None, None)]), 1, watermark=12)
    assert [as_us(start) for start in panes.rows()["window_start"].to_pylist()] == [10]


def test_a_final_pane_with_only_retracted_rows_says_nothing() -> None:
    panes = operator(tumble(10), final=True)
    step(panes, delta_of(SCHEMA, [("a", 1, 5, None, None)]), 1, watermark=0)
    step(panes, delta_of(SCHEMA, [("a", 1, 5, None, None)], [-1]), 2, watermark=0)
    assert step(panes, delta_of(SCHEMA, []), 3, watermark=END_OF_TIME) is None


def test_time_zones_are_kept() -> None:
    zoned = pa.timestamp("us", "Europe/Berlin")
    schema = pa.schema([("t", zoned)])
    output = pa.schema([("window_end", zoned), ("n", pa.int64())])
    calls = [AggregateCall("count_star", None, None, "n", pa.int64())]
    window = tumble(10)
    panes = WindowAggregate(window, "t", [], calls, schema, output, True, False, True, True)
    change = step(panes, delta_of(schema, [(5,)]), 1)
    assert change is not None
    assert change.batch.schema.equals(output)


def test_state_stays_small_while_time_moves_on() -> None:
    panes = operator(tumble(10), append_only=True, keeps_result=False)
    for epoch in range(1, 60):
        times = [epoch * 1000 + offset * 10 for offset in range(100)]
        step(panes, delta_of(SCHEMA, [(str(time), 1, time, None, None) for time in times]), epoch, watermark=times[-1])
    assert panes.rows().num_rows == 1
    assert panes.bytes < 200_000
