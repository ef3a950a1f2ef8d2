"""AsofJoin obeys the laws: rules of all four kinds, ties, retractions on both sides, and what a watermark settles."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import key_index, slotted_rows, versions
from headrace.engine.delta import Delta
from headrace.engine.join_side import JoinInput
from headrace.engine.operator import END_OF_TIME, Time
from headrace.engine.operators.asof_join import AsofJoin, AsofRule
from tests.laws import add, delta_of, nonzero, oracle, show, table_rows, total

LEFT = pa.schema([("k", pa.int64()), ("lat", pa.timestamp("us")), ("x", pa.int64())])
RIGHT = pa.schema([("rk", pa.int64()), ("rat", pa.timestamp("us")), ("v", pa.string())])
DUCKDB = oracle()
RULES = {">=": (False, False), ">": (True, False), "<=": (False, True), "<": (True, True)}
Change = tuple[int, Delta]  # the port it comes to


def make(sign: str, keyed: bool, outer: bool, needed: int | None, final: bool) -> AsofJoin:
    strict, backward = RULES[sign]
    keys, safe = ((("k",), ("rk",)), (False,)) if keyed else (((), ()), ())
    return AsofJoin(
        AsofRule("lat", "rat", strict, backward, needed),
        JoinInput(LEFT, keys[0], safe, tuple(LEFT.names)),
        JoinInput(RIGHT, keys[1], safe, tuple(RIGHT.names)),
        pa.schema([*LEFT, *RIGHT]),
        outer=outer,
        final=final,
    )


def expected(sign: str, keyed: bool, outer: bool, inputs: list[Change], settled: int | None) -> Counter[Any]:
    for port, name in enumerate("lr"):
        DUCKDB.register(f"{name}_all", total([delta for to, delta in inputs if to == port]))
    where = "true" if settled is None else f"epoch_us(lat) <= {settled}"
    right = (
        "SELECT * FROM r_all QUALIFY row_number() OVER "
        "(PARTITION BY rk, rat ORDER BY rk DESC, rat DESC, v DESC NULLS LAST) = 1"
    )
    if not keyed:
        right = right.replace("PARTITION BY rk, rat", "PARTITION BY rat").replace("rk DESC,", "rk DESC NULLS LAST,")
    on = f"k = rk AND lat {sign} rat" if keyed else f"lat {sign} rat"
    sql = f"SELECT * FROM (FROM l_all WHERE {where}) ASOF {'LEFT ' if outer else ''}JOIN ({right}) ON {on}"
    return table_rows(DUCKDB.sql(sql).to_arrow_table())


@st.composite
def epochs(draw: st.DrawFn, *, settled: int | None, append_only: bool) -> list[tuple[Delta, Delta, int]]:
    """Per epoch a change of both sides, and the watermark after it; with `settled`, nothing before it changes."""
    found, watermark = [], 0
    present: list[list[tuple[Any, ...]]] = [[], []]
    for _ in range(draw(st.integers(2, 6))):
        first = 0 if settled is None else watermark - settled + 1
        time = st.integers(first, first + 9) if settled is not None else st.none() | st.integers(0, 12)
        deltas = []
        for port, schema in enumerate((LEFT, RIGHT)):
            last = st.integers(0, 2) if port == 0 else st.sampled_from([None, "a", "b"])
            rows = draw(st.lists(st.tuples(st.sampled_from([None, 1, 1, 2]), time, last), max_size=5))
            weights = [1] * len(rows)
            present[port] += rows
            if not append_only and draw(st.booleans()):
                for row in [row for row in present[port] if settled is None or row[1] >= first][:2]:
                    present[port].remove(row)
                    rows, weights = [*rows, row], [*weights, -1]
            deltas.append(delta_of(schema, rows, weights))
        watermark += draw(st.integers(0, 8))
        found.append((deltas[0], deltas[1], watermark))
    return found


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("sign", RULES)
@settings(max_examples=12)
@given(data=st.data())
def test_laws(sign: str, keyed: bool, outer: bool, data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(["kept", "bound", "final"] if sign in (">=", ">") else ["kept"]))
    settled = None if mode == "kept" else 1
    steps = data.draw(epochs(settled=settled, append_only=mode == "final"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slotted_rows, "_GONE_MIN", data.draw(st.sampled_from([0, 256])))
        patch.setattr(versions, "_FORGOTTEN_MIN", data.draw(st.sampled_from([0, 1024])))
        check(sign, keyed, outer, settled, mode == "final", steps)


def check(
    sign: str, keyed: bool, outer: bool, settled: int | None, final: bool, steps: list[tuple[Delta, Delta, int]]
) -> None:
    """Incremental, recovery and slicing at once: steady, restored after each epoch, and row by row."""
    steady, restored, sliced = (make(sign, keyed, outer, settled, final) for _ in range(3))
    sums: list[Counter[Any]] = [Counter(), Counter(), Counter()]
    inputs: list[Change] = []
    for epoch, (left, right, watermark) in enumerate(steps, 1):
        for port, delta in enumerate((left, right)):
            inputs.append((port, delta))
            add(sums[0], steady.process(delta, port))
            add(sums[1], restored.process(delta, port))
            for row in range(delta.rows):
                add(sums[2], sliced.process(delta.take(np.array([row])), port))
        for operator, output in zip((steady, restored, sliced), sums, strict=True):
            change = operator.advance(Time(epoch=epoch, clock=0, watermark=watermark))
            assert final or change is None
            add(output, change)
        wanted = expected(sign, keyed, outer, inputs, watermark - 1 if final else None)
        for name, output in zip(("steady", "restored", "sliced"), sums, strict=True):
            assert nonzero(output) == wanted, f"{name}, epoch {epoch}: {show(nonzero(output), wanted)}"
        snapshot = restored.snapshot()
        restored = make(sign, keyed, outer, settled, final)
        restored.restore(snapshot)
    if settled is not None:
        for output, operator in zip(sums, (steady, restored, sliced), strict=True):
            add(output, operator.advance(Time(epoch=99, clock=0, watermark=END_OF_TIME)))
            assert nonzero(output) == expected(sign, keyed, outer, inputs, None)
            assert operator.snapshot()["left/rows"].num_rows == 0


@pytest.mark.parametrize("final", [False, True])
def test_of_each_key_the_versions_from_the_last_settled_one_on_are_kept(final: bool) -> None:
    operator = make(">=", keyed=True, outer=True, needed=1, final=final)
    sizes = []
    for epoch in range(60):
        times = range(epoch * 100, epoch * 100 + 100)
        operator.process(delta_of(RIGHT, [(time % 7, time, "a") for time in times]), 1)
        operator.process(delta_of(LEFT, [(time % 7, time, 1) for time in times]), 0)
        operator.advance(Time(epoch=epoch + 1, clock=0, watermark=epoch * 100 + 100))
        sizes.append(operator.bytes)
    assert max(sizes[40:]) <= max(sizes[:40])


@pytest.mark.parametrize("lost", [(), ("lists", "ids"), ("index",), ("slots",), ("versions",), ("order",)])
def test_a_version_that_came_again_is_found_whatever_a_checkpoint_lacks(
    monkeypatch: pytest.MonkeyPatch, lost: tuple[str, ...]
) -> None:
    monkeypatch.setattr(key_index, "STORED_KEYS", 1)
    operators = [make(">=", True, True, None, False) for _ in range(2)]
    for number, (row, weight) in enumerate([((1, 5, "a"), 1), ((1, 6, "b"), 1), ((1, 5, "a"), -1), ((1, 5, "c"), 1)]):
        operators[0].process(delta_of(RIGHT, [row], [weight]), 1)
        operators[0].advance(Time(epoch=number, clock=0))
    snapshot = operators[0].snapshot()
    operators[1].restore({name: table for name, table in snapshot.items() if name.removeprefix("right/") not in lost})
    found: list[Counter[Any]] = [Counter(), Counter()]
    for operator, output in zip(operators, found, strict=True):
        operator.process(delta_of(RIGHT, [(1, 6, "z")]), 1)
        add(output, operator.process(delta_of(LEFT, [(1, 5, 0), (1, 7, 0)]), 0))
    assert nonzero(found[0]) == nonzero(found[1])
