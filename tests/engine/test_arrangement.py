"""Arrangement and consolidate: against a counter of rows."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.arrangement import Arrangement, consolidate
from tests.laws import Rows, add, changes, delta_of, nonzero, table_rows

SCHEMA = pa.schema([("i", pa.int64()), ("f", pa.float64()), ("s", pa.string()), ("d", pa.decimal128(20, 2))])


@pytest.mark.parametrize("append_only", [True, False])
@settings(max_examples=30)
@given(data=st.data())
def test_an_arrangement_is_the_sum_of_its_deltas(append_only: bool, data: st.DataObject) -> None:
    arrangement = Arrangement(SCHEMA)
    model: Rows = Counter()
    earlier: list[tuple[pa.Table, Rows]] = []
    for delta in data.draw(changes(SCHEMA, append_only=append_only, epochs=6)):
        arrangement.insert(delta)
        add(model, delta)
        model = nonzero(model)
        assert table_rows(arrangement.rows()) == model
        summed: Rows = Counter()
        for part in arrangement.deltas():
            add(summed, part)
        assert summed == model
        assert arrangement.size == sum(model.values())
        earlier.append((arrangement.rows(), Counter(model)))
        if data.draw(st.booleans()):
            snapshot = arrangement.snapshot()
            arrangement = Arrangement(SCHEMA)
            arrangement.restore(snapshot)
    for table, rows in earlier:
        assert table_rows(table) == rows, "rows() changed later"


@settings(max_examples=30)
@given(changes(SCHEMA, epochs=1))
def test_consolidated_changes_say_the_same_in_fewest_rows(inputs: list) -> None:
    (delta,) = inputs
    short = consolidate(delta)
    long, brief = Rows(), Rows()
    add(long, delta)
    add(brief, short)
    assert nonzero(long) == brief
    assert short.rows == len(brief)


def test_many_small_inserts_stay_few_batches() -> None:
    arrangement = Arrangement(SCHEMA)
    for row in range(1000):
        arrangement.insert(delta_of(SCHEMA, [(row, 0.5, "a", None)]))
    assert arrangement.rows().num_rows == 1000
    assert len(arrangement.rows().to_batches()) < 100


def test_to_retract_what_is_not_there_is_our_mistake() -> None:
    arrangement = Arrangement(SCHEMA)
    arrangement.insert(delta_of(SCHEMA, [(1, 0.5, "a", None)], [-1]))
    with pytest.raises(AssertionError, match="not there"):
        arrangement.rows()
