"""TemporalFilter: at every clock exactly the rows whose time has come and not gone, however they came."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.delta import Delta, concat
from headrace.engine.operator import Time
from headrace.engine.operators.temporal_filter import TemporalFilter
from tests.laws import Rows, add, batch_rows, changes, delta_of, nonzero, total

SCHEMA = pa.schema([("k", pa.string()), ("t", pa.timestamp("us")), ("u", pa.timestamp("us"))])
BOUNDS = [
    ([], [("t", 10)]),
    ([("t", -5)], []),
    ([("t", 0)], [("t", 20)]),
    ([("t", 0), ("u", 3)], [("u", 40), ("t", 25)]),
]
CLOCKS = [-20, -3, 0, 3, 8, 20, 30, 10_000_030]


def expected(seen: list[Delta], starts: Any, ends: Any, clock: int) -> Rows:
    found = Rows()
    if not seen:
        return found
    for row in batch_rows(total(seen).combine_chunks().to_batches()[0]) if total(seen).num_rows else []:
        times = dict(zip(("t", "u"), (None if v is None else as_us(v) for v in row[1:]), strict=True))
        if any(times[name] is None for name, _ in [*starts, *ends]):
            continue
        comes = all(clock >= times[name] + length for name, length in starts)
        gone = any(clock >= times[name] + length for name, length in ends)
        found[row] += int(comes and not gone)
    return nonzero(found)


def as_us(value: Any) -> int:
    return int(np.datetime64(value, "us").astype(np.int64))


def step(operator: TemporalFilter, delta: Delta, clock: int) -> Delta | None:
    assert operator.process(delta) is None
    return operator.advance(Time(epoch=1, clock=clock))


@pytest.mark.parametrize(("starts", "ends"), BOUNDS)
@given(data=st.data())
def test_the_sum_of_the_outputs_is_the_rows_that_are_there_at_the_clock(
    starts: list[tuple[str, int]], ends: list[tuple[str, int]], data: st.DataObject
) -> None:
    inputs = data.draw(changes(SCHEMA, append_only=data.draw(st.booleans()), epochs=len(CLOCKS)))
    steady, replaced = (TemporalFilter(starts, ends, SCHEMA) for _ in range(2))
    output: Rows = Rows()
    for epoch, clock in enumerate(CLOCKS):
        delta = inputs[epoch] if epoch < len(inputs) else delta_of(SCHEMA, [])
        said = step(steady, delta, clock)
        left, right = Rows(), Rows()
        add(left, said)
        add(right, step(replaced, delta, clock))
        assert nonzero(left) == nonzero(right), "after a restore"
        add(output, said)
        assert nonzero(output) == expected(inputs[: epoch + 1], starts, ends, clock)
        assert steady.wake is None or steady.wake > clock
        snapshot = replaced.snapshot()
        replaced = TemporalFilter(starts, ends, SCHEMA)
        replaced.restore(snapshot)
    whole: Rows = Rows()
    add(whole, step(TemporalFilter(starts, ends, SCHEMA), concat(inputs), CLOCKS[-1]))
    assert nonzero(whole) == nonzero(output), "slicing"


def test_it_wakes_when_the_next_row_comes_or_goes_and_keeps_nothing_after_the_last() -> None:
    operator = TemporalFilter([("t", 0)], [("t", 100)], SCHEMA)
    step(operator, delta_of(SCHEMA, [("a", 10, 0), ("b", 50, 0)]), 20)
    assert operator.wake == 50
    step(operator, delta_of(SCHEMA, []), 50)
    assert operator.wake == 110
    assert operator.bytes > 0
    step(operator, delta_of(SCHEMA, []), 150)
    assert operator.wake is None
    assert operator.bytes == 0


def test_a_time_without_end_stays_so() -> None:
    forever = int(np.iinfo(np.int64).max)
    operator = TemporalFilter([], [("t", 1 << 40)], SCHEMA)
    change = step(operator, delta_of(SCHEMA, [("a", forever, 0), ("b", -forever, 0)]), 0)
    assert change is not None
    assert change.batch.column("k").to_pylist() == ["a"]


def test_columns_that_only_say_when_are_left_out() -> None:
    schema = pa.schema([SCHEMA.field("k")])
    change = step(TemporalFilter([("t", 0)], [], schema), delta_of(SCHEMA, [("a", 0, 0)]), 0)
    assert change is not None
    assert change.batch.schema.equals(schema)
