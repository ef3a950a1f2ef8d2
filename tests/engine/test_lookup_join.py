"""LookupJoin: each row has what was there at the end of its epoch; later changes of the right say nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.delta import concat
from headrace.engine.join_side import JoinInput
from headrace.engine.operator import Time
from headrace.engine.operators.lookup_join import LookupJoin
from tests.laws import add, changes, oracle, show, table_rows, total

LEFT = pa.schema([("k", pa.int64()), ("v", pa.int64())])
RIGHT = pa.schema([("rk", pa.int64()), ("rv", pa.string())])
DUCKDB = oracle()


def make(outer: bool) -> LookupJoin:
    left = JoinInput(LEFT, ("k",), (False,), tuple(LEFT.names))
    right = JoinInput(RIGHT, ("rk",), (False,), tuple(RIGHT.names))
    return LookupJoin(left, right, pa.schema([*LEFT, *RIGHT]), outer=outer)


@pytest.mark.parametrize("outer", [False, True])
@settings(max_examples=30)
@given(data=st.data())
def test_laws(outer: bool, data: st.DataObject) -> None:
    lefts = data.draw(changes(LEFT, append_only=True))
    rights = data.draw(changes(RIGHT))
    steady, restored = make(outer), make(outer)
    sums: list[Counter[Any]] = [Counter(), Counter()]
    expected: Counter[Any] = Counter()
    for epoch in range(max(len(lefts), len(rights))):
        came = lefts[epoch : epoch + 1]
        for operator, output in zip((steady, restored), sums, strict=True):
            for delta in came:  # the left first: it waits for the rest of its epoch
                assert operator.process(delta, 0) is None
            for delta in rights[epoch : epoch + 1]:
                assert operator.process(delta, 1) is None
            change = operator.advance(Time(epoch=epoch, clock=0))
            assert change is None or change.weights is None or (change.weights > 0).all()
            add(output, change)
        if came:
            DUCKDB.register("l", total(came))
            DUCKDB.register("r", total(rights[: epoch + 1]))
            sql = f"SELECT * FROM l {'LEFT' * outer} JOIN r ON k = rk"
            expected += table_rows(DUCKDB.sql(sql).to_arrow_table())
        for output in sums:
            assert +output == expected, show(+output, expected)
        snapshot = restored.snapshot()
        restored = make(outer)
        restored.restore(snapshot)


@given(data=st.data())
@settings(max_examples=20)
def test_how_an_epoch_is_cut_changes_nothing(data: st.DataObject) -> None:
    lefts, rights = data.draw(changes(LEFT, append_only=True)), data.draw(changes(RIGHT))
    whole, cut = make(outer=True), make(outer=True)
    sums: list[Counter[Any]] = [Counter(), Counter()]
    whole.process(concat(lefts), 0)
    whole.process(concat(rights), 1)
    for port, deltas in enumerate((lefts, rights)):
        for delta in deltas:
            cut.process(delta, port)
    for operator, output in zip((whole, cut), sums, strict=True):
        add(output, operator.advance(Time(epoch=1, clock=0)))
    assert +sums[0] == +sums[1]
