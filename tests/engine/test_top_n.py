"""TopN: the laws for each ranking, over ties, NULLs, NaN and duplicates, rows that only come and rows that go."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.delta import Delta
from headrace.engine.operators.top_n import Ranking, TopN
from headrace.engine.sort_keys import SortKey
from tests.laws import batch_query, changes, check_incremental, check_laws, check_recovery, delta_of, step

SCHEMA = pa.schema([("k", pa.string()), ("f", pa.float64()), ("s", pa.string()), ("i", pa.int32())])
ORDERS = [
    [SortKey("f"), SortKey("s"), SortKey("i")],
    [SortKey("f", descending=True), SortKey("i", descending=True, nulls_first=True), SortKey("s")],
    [SortKey("s", descending=True, nulls_first=True), SortKey("f", nulls_first=True), SortKey("i")],
]


def order_sql(keys: list[SortKey]) -> str:
    return ", ".join(
        f"{key.column} {'DESC' if key.descending else 'ASC'} NULLS {'FIRST' if key.nulls_first else 'LAST'}"
        for key in keys
    )


@pytest.mark.parametrize("append_only", [True, False])
@pytest.mark.parametrize("ranking", ["row_number", "rank", "dense_rank"])
@pytest.mark.parametrize("order", ORDERS)
@given(data=changes(SCHEMA), appended=changes(SCHEMA, append_only=True))
@settings(max_examples=12)
def test_laws(
    order: list[SortKey], ranking: Ranking, append_only: bool, data: list[Delta], appended: list[Delta]
) -> None:
    peers = len(order) if ranking == "row_number" else 1
    sql = (
        f"SELECT * FROM (SELECT k, f, s, i, {ranking}() OVER (PARTITION BY k ORDER BY {order_sql(order[:peers])}) AS r "
        "FROM input) WHERE r <= 2"
    )

    def make() -> TopN:
        options = {"peers": peers, "rank": "r", "forgets": append_only}
        return TopN(["k"], order, ranking, 2, SCHEMA, **options)

    check_laws(make, batch_query(sql), appended if append_only else data)


@pytest.mark.parametrize(("partition", "offset"), [([], 0), ([], 1), (["k"], 2), (["k", "s"], 0)])
@given(inputs=changes(SCHEMA))
@settings(max_examples=12)
def test_laws_without_a_rank(partition: list[str], offset: int, inputs: list[Delta]) -> None:
    over = f"PARTITION BY {', '.join(partition)} " if partition else ""
    sql = (
        f"SELECT k, f, s, i FROM input QUALIFY row_number() OVER ({over}ORDER BY {order_sql(ORDERS[1])}, k) "
        f"BETWEEN {offset + 1} AND {offset + 3}"
    )
    order = [*ORDERS[1], SortKey("k")]
    check_laws(
        lambda: TopN(partition, order, "row_number", offset + 3, SCHEMA, offset=offset), batch_query(sql), inputs
    )


def test_rows_that_only_come_are_kept_while_they_may_come_out() -> None:
    operator = TopN(["k"], [SortKey("i")], "row_number", 3, SCHEMA, forgets=True)
    random = np.random.default_rng(3)
    for epoch in range(40):
        rows = [(f"k{n % 5}", 0.0, "x", int(value)) for n, value in enumerate(random.integers(0, 1 << 30, 500))]
        step(operator, delta_of(SCHEMA, rows), epoch + 1)
    assert operator.rows().num_rows == 15
    assert operator.bytes < 200_000


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), min_size=1, max_size=6), max_size=12))
@settings(max_examples=12)
def test_rows_that_only_move_up_need_no_others(epochs: list[list[tuple[int, int]]]) -> None:
    """Counts per key, of which the highest three come out: what is behind them is let go until it has passed them."""
    order = [SortKey("i", descending=True), SortKey("s")]
    changes: list[Delta] = []
    counts: dict[int, int] = {}
    for epoch in epochs:
        before = dict(counts)
        for key, more in epoch:
            counts[key] = counts.get(key, 0) + more
        moved = sorted({key for key, _ in epoch})
        old = [("k", 0.0, f"s{key}", before[key]) for key in moved if key in before]
        new = [("k", 0.0, f"s{key}", counts[key]) for key in moved]
        changes.append(delta_of(SCHEMA, old + new, [-1] * len(old) + [1] * len(new)))
    sql = f"SELECT * FROM input QUALIFY row_number() OVER (PARTITION BY k ORDER BY {order_sql(order)}) <= 3"
    makes: list[TopN] = []

    def make() -> TopN:
        makes.append(TopN(["k"], order, "row_number", 3, SCHEMA, forgets=True))
        return makes[-1]

    check_incremental(make(), batch_query(sql), changes)  # a row goes in the delta that brings the one after it:
    check_recovery(make, changes)  # other slices than these do not come
    assert all(len(operator._rows.rows()) <= 3 for operator in makes)


def test_a_row_that_goes_lets_the_next_one_up() -> None:
    operator = TopN([], [SortKey("i")], "row_number", 2, SCHEMA)
    step(operator, delta_of(SCHEMA, [("a", 0.0, "x", n) for n in range(10)]), 1)
    for n in range(8):
        change = step(operator, delta_of(SCHEMA, [("a", 0.0, "x", n)], [-1]), n + 2)
        assert change is not None
        assert list(zip(change.batch.column("i").to_pylist(), change.weight_array(), strict=True)) == [
            (n, -1),
            (n + 2, 1),
        ]
    assert step(operator, delta_of(SCHEMA, [("b", 0.0, "x", 99)]), 20) is None


def test_all_of_many_partitions_are_there_after_a_restore_and_before_any_change() -> None:
    operator = TopN(["k"], [SortKey("i")], "row_number", 1, SCHEMA)
    step(operator, delta_of(SCHEMA, [(f"k{n}", 0.0, "x", n) for n in range(5000)]), 1)
    restored = TopN(["k"], [SortKey("i")], "row_number", 1, SCHEMA)
    restored.restore(operator.snapshot())
    assert sorted(restored.rows().column("i").to_pylist()) == list(range(5000))
