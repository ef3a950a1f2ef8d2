"""Session: the laws against gaps and islands, and that sessions close at their end and once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.delta import Delta
from headrace.engine.operator import END_OF_TIME, NO_WATERMARK
from headrace.engine.operators.session import Session
from tests.laws import Rows, add, changes, check_laws, delta_of, nonzero, show, step, table_rows, total

SCHEMA = pa.schema([("k", pa.string()), ("b", pa.int32()), ("t", pa.timestamp("us"))])
OUTPUT = pa.schema([*SCHEMA, *((name, pa.timestamp("us")) for name in ("window_start", "window_end", "window_time"))])
TIMES = [None, 0, 1, 5, 9, 10, 11, 20, 21, 29, 40, -1, -10, -11, 55]
GAP = 10


def sessions_of(rows: list[tuple[Any, ...]], keys: tuple[str, ...]) -> Rows:
    """By definition: start with a session per row, and merge those that touch, until none do."""
    found = Rows()
    of_key: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in rows:
        if row[2] is not None:
            of_key.setdefault(tuple(row[SCHEMA.get_field_index(key)] for key in keys), []).append(row)
    for members in of_key.values():
        for row in members:
            start = end = row[2]
            while True:
                near = [r[2] for r in members if start - GAP <= r[2] <= end + GAP]
                if (min(near), max(near)) == (start, end):
                    break
                start, end = min(near), max(near)
            found[(*row, start, end + GAP, end + GAP - 1000)] += 1
    return found


def as_us(time: Any) -> Any:
    return None if time is None else int(np.datetime64(time, "us").astype(np.int64))


def in_us(rows: Rows) -> Rows:
    return Rows({(*row[:2], *map(as_us, row[2:])): count for row, count in rows.items() if count})


def query(keys: tuple[str, ...]) -> Any:
    def run(table: pa.Table) -> pa.Table:
        rows = [(row["k"], row["b"], as_us(row["t"])) for row in table.to_pylist()]
        found = [row for row, count in sessions_of(rows, keys).items() for _ in range(count)]
        return pa.table([pa.array([row[i] for row in found], f.type) for i, f in enumerate(OUTPUT)], schema=OUTPUT)

    return run


def operator(keys: tuple[str, ...] = ("k",), *, final: bool = False, watermarked: bool = True) -> Session:
    return Session(GAP, "t", keys, SCHEMA, OUTPUT, final, watermarked)


@st.composite
def near(draw: st.DrawFn, *, append_only: bool = False, epochs: int = 4) -> list[Delta]:
    """Changes whose times lie close together."""
    deltas = draw(changes(SCHEMA, append_only=append_only, epochs=epochs))
    chance = draw(st.randoms(use_true_random=False))
    places: dict[Any, Any] = {}
    near = []
    for delta in deltas:
        rows = [
            (row["k"], row["b"], places.setdefault((as_us(row["t"]), row["b"]), chance.choice(TIMES)))
            for row in delta.batch.to_pylist()
        ]
        near.append(delta_of(SCHEMA, rows, None if append_only else delta.weight_array().tolist()))
    return near


@pytest.mark.parametrize("append_only", [True, False])
@settings(max_examples=40)
@given(data=st.data())
def test_laws(append_only: bool, data: st.DataObject) -> None:
    keys = data.draw(st.sampled_from([(), ("k",), ("k", "b")]))
    inputs = data.draw(near(append_only=append_only))
    check_laws(lambda: operator(keys), query(keys), inputs)


WATERMARKS = [-15, 0, 9, 20, 31, 50, END_OF_TIME]


@pytest.mark.parametrize("final", [True, False])
@settings(max_examples=40)
@given(data=st.data())
def test_sessions_close_at_their_end_and_once(final: bool, data: st.DataObject) -> None:
    inputs = data.draw(near(append_only=True, epochs=len(WATERMARKS)))
    sessions = operator(final=final)
    seen: list[Delta] = []
    output = Rows()
    watermark = NO_WATERMARK
    for epoch, upcoming in enumerate(WATERMARKS, 1):
        delta = inputs[epoch - 1] if epoch <= len(inputs) else delta_of(SCHEMA, [])
        times = delta.batch.column("t").cast(pa.int64()).to_pylist()
        delta = delta.take(np.array([i for i, t in enumerate(times) if t is not None and t > watermark], np.int64))
        seen.append(delta)
        add(output, step(sessions, delta, epoch, upcoming))
        watermark = upcoming
        snapshot = sessions.snapshot()
        sessions = operator(final=final)
        sessions.restore(snapshot)
        everything = in_us(table_rows(query(("k",))(total(seen))))
        expected = Rows({row: n for row, n in everything.items() if row[-2] <= watermark}) if final else everything
        assert in_us(nonzero(output)) == expected, show(in_us(nonzero(output)), expected)
    assert sessions._kept.size == 0


def test_a_row_between_two_sessions_makes_them_one() -> None:
    sessions = operator()
    step(sessions, delta_of(SCHEMA, [("a", 1, 0), ("a", 2, 20), ("b", 3, 10)]), 1)
    change = step(sessions, delta_of(SCHEMA, [("a", 4, 10)]), 2)
    assert change is not None
    said = [
        (weight, row["b"], as_us(row["window_start"]), as_us(row["window_end"]))
        for row, weight in zip(change.batch.to_pylist(), change.weight_array().tolist(), strict=True)
    ]
    assert sorted(said) == [(-1, 1, 0, 10), (-1, 2, 20, 30), (1, 1, 0, 30), (1, 2, 0, 30), (1, 4, 0, 30)]


def test_a_row_that_comes_behind_the_watermark_joins_no_session_that_has_ended() -> None:
    rows = [("a", 1, 0), ("a", 2, 9), ("a", 3, 12), ("a", 4, -3)]
    closed = np.array([NO_WATERMARK, 10, NO_WATERMARK, 10])
    sessions = operator()
    change = step(sessions, Delta(delta_of(SCHEMA, rows).batch, closed=closed), 1)
    assert change is not None
    found = {row["b"]: (as_us(row["window_start"]), as_us(row["window_end"])) for row in change.batch.to_pylist()}
    assert found == {1: (0, 10), 2: (9, 22), 3: (9, 22)}


def test_a_session_ends_after_a_checkpoint_that_renumbers_the_keys() -> None:
    sessions = operator(final=True)
    step(sessions, delta_of(SCHEMA, [("a", 1, 0), ("b", 2, 30)]), 1, watermark=20)
    sessions.snapshot()
    change = step(sessions, delta_of(SCHEMA, []), 2, watermark=50)
    assert change is not None
    assert change.batch.column("k").to_pylist() == ["b"]


def test_state_stays_small_while_time_moves_on() -> None:
    sessions = operator()
    for epoch in range(1, 60):
        times = [epoch * 1000 + offset for offset in range(100)]
        step(sessions, delta_of(SCHEMA, [(str(time % 7), 1, time) for time in times]), epoch, watermark=times[-1])
    assert sessions._kept.size <= 100
    assert sessions.bytes < 300_000
