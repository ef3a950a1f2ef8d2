"""Live tables: the rows drawn are what the changes add up to, however they are cut."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headrace.repl.console import Console
from headrace.repl.live import LiveRows

ROW = st.tuples(st.sampled_from(["ann", "bob", None]), st.integers(0, 2))


def changes(rows: list[tuple[str, str | None, int]]) -> pa.Table:
    """A changelog of one epoch."""
    names = ("op", "name", "n")
    columns = {name: [row[index] for row in rows] for index, name in enumerate(names)}
    types = [pa.int64(), pa.string(), pa.string(), pa.int64()]
    return pa.table({"epoch": [1] * len(rows), **columns}, schema=pa.schema(zip(["epoch", *names], types, strict=True)))


@given(st.lists(st.tuples(st.booleans(), ROW), max_size=40), st.integers(1, 10), st.booleans())
def test_the_rows_are_the_sum_of_the_changes(
    steps: list[tuple[bool, tuple[str | None, int]]], cut: int, look: bool
) -> None:
    present: Counter[tuple[str | None, int]] = Counter()
    log: list[tuple[str, str | None, int]] = []
    for insert, row in steps:
        if insert or present[row] == 0:
            present[row] += 1
            log.append(("+I", *row))
        else:
            present[row] -= 1
            log.append(("-D", *row))
    live = LiveRows([])
    live.apply(changes([]))
    for start in range(0, len(log), cut):
        live.apply(changes(log[start : start + cut]))
        if look:
            live.present()
    rows = live.present().select(range(2)).to_pylist()
    assert Counter(tuple(row.values()) for row in rows) == +present


def test_weights_count_like_operations() -> None:
    table = pa.table({"epoch": [1, 1, 2], "weight": [2, 1, -2], "name": ["a", "b", "a"]})
    live = LiveRows([])
    live.apply(table)
    assert live.present()["0"].to_pylist() == ["b"]


def test_rows_are_drawn_in_order() -> None:
    live = LiveRows([("n", "descending")])
    live.apply(changes([("+I", "ann", 1), ("+I", "bob", 3), ("-U", "ann", 1), ("+U", "ann", 2)]))
    picture = live.picture(["BIGINT", "VARCHAR", "VARCHAR", "BIGINT"], Console())
    assert picture.index("bob") < picture.index("ann")
    assert live.summary == "2 rows"


def test_a_table_too_long_for_the_screen_shows_what_came_last() -> None:
    live = LiveRows([])
    live.apply(changes([("+I", f"row {i}", i) for i in range(1000)]))
    picture = live.picture(["BIGINT", "VARCHAR", "VARCHAR", "BIGINT"], Console())
    assert "row 999" in picture
    assert "row 9 " not in picture
    assert live.summary.startswith("1,000 rows, the latest ")


def test_nested_values_can_be_retracted() -> None:
    table = pa.table({"epoch": [1, 1], "op": ["+I", "-D"], "v": [[1, 2], [1, 2]]})
    live = LiveRows([])
    live.apply(table)
    assert live.present().num_rows == 0
