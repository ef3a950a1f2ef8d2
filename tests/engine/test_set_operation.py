"""SetOperation, UnionAll and Constant: the laws over inputs that change by turns, with NULLs, NaN and duplicates."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from headrace.engine.delta import Delta, concat
from headrace.engine.operator import Operator, ResultHolder, Snapshot, Time
from headrace.engine.operators.constant import Constant
from headrace.engine.operators.set_operation import SetOperation
from headrace.engine.operators.union_all import UnionAll
from tests.laws import batch_query, changes, check_laws, delta_of, step

COLUMNS = pa.schema([("i", pa.int32()), ("s", pa.string()), ("f", pa.float64())])
INPUT = pa.schema([("side", pa.bool_()), *COLUMNS])
NAMES = "i, s, f"


class TwoInputs(ResultHolder):
    """An operator of two ports as one of one: rows whose `side` is true go to port 0, all others to port 1."""

    def __init__(self, operator: ResultHolder) -> None:
        self.schema = operator.schema
        self._operator = operator

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        self._operator.emits = self.emits
        left = delta.batch.column("side").fill_null(False).to_numpy(zero_copy_only=False)
        outputs = []
        for place, rows in enumerate((left.nonzero()[0], (~left).nonzero()[0])):
            part = delta.take(rows)
            part = Delta(part.batch.drop_columns(["side"]), part.weights)
            if part.rows:
                outputs.append(self._operator.process(part, place))
        changed = [output for output in outputs if output is not None]
        return concat(changed) if changed else None

    def rows(self) -> pa.Table:
        return self._operator.rows()

    def snapshot(self) -> Snapshot:
        return self._operator.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        self._operator.restore(snapshot)


@pytest.mark.parametrize("kind", ["intersect", "except"])
@pytest.mark.parametrize("all_rows", [True, False])
@given(inputs=changes(INPUT))
@settings(max_examples=25)
def test_laws(kind: Literal["intersect", "except"], all_rows: bool, inputs: list[Delta]) -> None:
    word = kind + (" ALL" if all_rows else "")
    sql = f"SELECT {NAMES} FROM input WHERE side {word} SELECT {NAMES} FROM input WHERE side IS NOT TRUE"
    check_laws(lambda: TwoInputs(SetOperation(kind, COLUMNS, all_rows=all_rows)), batch_query(sql), inputs)


@given(inputs=changes(COLUMNS))
@settings(max_examples=10)
def test_laws_of_union_all(inputs: list[Delta]) -> None:
    renamed = pa.schema([pa.field(f"x{i}", field.type) for i, field in enumerate(COLUMNS)])

    class Twice(Operator):
        schema = renamed

        def process(self, delta: Delta, port: int = 0) -> Delta | None:
            union = UnionAll(renamed)
            both = [union.process(delta, port) for port in (0, 1)]
            return concat([change for change in both if change is not None])

    check_laws(Twice, batch_query("SELECT * FROM input UNION ALL SELECT * FROM input"), inputs)


def test_a_row_that_neither_side_has_any_more_is_forgotten() -> None:
    operator = SetOperation("except", COLUMNS, all_rows=True)
    rows = [(number, "x" * 50, 1.5) for number in range(2000)]
    operator.process(delta_of(COLUMNS, rows), 0)
    held = operator.bytes
    for start in range(2000, 40_000, 2000):
        fresh = [(number, "x" * 50, 1.5) for number in range(start, start + 2000)]
        operator.process(delta_of(COLUMNS, [*rows, *fresh], [-1] * 2000 + [1] * 2000), 0)
        rows = fresh
    assert operator.rows().num_rows == 2000
    assert operator.bytes < 4 * held


def test_a_constant_comes_once() -> None:
    table = pa.table({"n": pa.array([1, 2, 2], pa.int64())})
    constant = Constant(table)
    first = constant.advance(Time(epoch=1, clock=0))
    assert first is not None
    assert first.batch.column("n").to_pylist() == [1, 2, 2]
    assert constant.advance(Time(epoch=2, clock=0)) is None
    restored = Constant(table)
    restored.restore(constant.snapshot())
    assert restored.advance(Time(epoch=3, clock=0)) is None
    assert restored.rows() == table


def test_retractions_come_before_what_is_inserted() -> None:
    operator = SetOperation("except", COLUMNS, all_rows=True)
    step(operator, delta_of(COLUMNS, [(1, "a", 0.0), (1, "a", -0.0), (2, None, np.nan)]), 1)
    change = step(operator, delta_of(COLUMNS, [(1, "a", 0.0), (3, "c", 0.0)], [-2, 1]), 2)
    assert change is not None
    assert change.weight_array().tolist() == [-2, 1]
    assert change.batch.column("i").to_pylist() == [1, 3]
