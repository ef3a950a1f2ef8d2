"""Unnest: its laws beside DuckDB's UNNEST, for one list and several, with and without rows that have no element."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.delta import Delta
from headrace.engine.operators.unnest import Unnest
from tests.laws import batch_query, check_laws

SCHEMA = pa.schema([("k", pa.int32()), ("l", pa.list_(pa.int32())), ("m", pa.list_(pa.string()))])
NUMBERS = pa.schema([("k", pa.int32()), ("n", pa.int32())])
NUMBERED = pa.schema([*NUMBERS, ("place", pa.int64())])
SIDE_BY_SIDE = pa.schema([("m", pa.list_(pa.string())), ("n", pa.int32()), ("t", pa.string())])
CASES = {
    "one": (["l"], NUMBERS, False, False, "SELECT k, n FROM input, UNNEST(l) AS u(n)"),
    "numbered": (["l"], NUMBERED, False, True, "SELECT k, n, p FROM input, UNNEST(l) WITH ORDINALITY AS u(n, p)"),
    "outer": (["l"], NUMBERS, True, False, "SELECT k, n FROM input LEFT JOIN UNNEST(l) AS u(n) ON TRUE"),
    "outer, numbered": (
        ["l"],
        NUMBERED,
        True,
        True,
        "SELECT k, n, p FROM input LEFT JOIN UNNEST(l) WITH ORDINALITY AS u(n, p) ON TRUE",
    ),
    "side by side": (["l", "m"], SIDE_BY_SIDE, False, False, "SELECT m, unnest(l), unnest(m) FROM input"),
}
ROWS = st.tuples(
    st.none() | st.integers(0, 3),
    st.none() | st.lists(st.none() | st.integers(-2, 2), max_size=3),
    st.none() | st.lists(st.none() | st.sampled_from(["x", "y"]), max_size=3),
)


def delta_of(rows: Sequence[tuple[object, ...]], weights: Sequence[int] | None = None) -> Delta:
    """Rows as a delta whose batch is a slice of a larger one, so that its lists do not begin at the first element."""
    columns = [pa.array(list(column), kind) for column, kind in zip(zip(*rows, strict=True), SCHEMA.types, strict=True)]
    batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
    before = pa.RecordBatch.from_pylist([{"k": 9, "l": [9, 9], "m": ["z"]}], schema=SCHEMA)
    whole = pa.concat_batches([before, batch])
    return Delta(whole.slice(1), None if weights is None else np.array(weights, np.int64))


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=30)
@given(data=st.data())
def test_laws(name: str, data: st.DataObject) -> None:
    lists, schema, outer, numbered, sql = CASES[name]
    present: list[tuple[object, ...]] = []
    inputs = []
    for _ in range(data.draw(st.integers(1, 4))):
        rows = data.draw(st.lists(ROWS, min_size=1, max_size=5))
        gone = data.draw(st.lists(st.sampled_from(present), max_size=2, unique_by=id)) if present else []
        for row in gone:
            present.remove(row)
        present += rows
        inputs.append(delta_of([*rows, *gone], [1] * len(rows) + [-1] * len(gone)) if gone else delta_of(rows))
    check_laws(lambda: Unnest(lists, schema, outer=outer, numbered=numbered), batch_query(sql), inputs)


def test_lists_of_a_fixed_size() -> None:
    batch = pa.record_batch({"l": pa.array([[1, 2], None, [3, None]], pa.list_(pa.int32(), 2))})
    change = Unnest(["l"], pa.schema([("n", pa.int32())]), outer=False, numbered=False).process(Delta(batch))
    assert change is not None
    assert change.batch.column("n").to_pylist() == [1, 2, 3, None]


def test_no_row_for_no_element() -> None:
    operator = Unnest(["l"], NUMBERS, outer=False, numbered=False)
    assert operator.process(delta_of([(1, [], None), (2, None, ["x"])])) is None
