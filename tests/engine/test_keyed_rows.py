"""KeyedRows and its parts: against dictionaries of counters, over rows of every type, as rows come, go and expire."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import key_columns, row_lists, slotted_rows
from headrace.engine.delta import Delta
from headrace.engine.keyed_rows import KeyedRows
from headrace.engine.row_lists import RowLists
from tests.engine.test_key_index import OTHER_VALUES, TYPES, colliding, some
from tests.laws import Rows, add, batch_rows, delta_of, nonzero


@st.composite
def inputs(draw: st.DrawFn, *, retracting: bool) -> tuple[pa.Schema, list[str], list[Delta]]:
    """A schema, key columns of it, and deltas none of which retracts a row that is not there."""
    kinds = draw(st.lists(st.sampled_from([*TYPES, *OTHER_VALUES]), min_size=1, max_size=3))
    schema = pa.schema([(f"c{place}", kind) for place, kind in enumerate(kinds)])
    keys = draw(st.lists(st.sampled_from(schema.names), unique=True))
    row = st.tuples(*map(some, kinds))
    present: list[tuple[Any, ...]] = []
    deltas = []
    for edits in draw(st.lists(st.lists(st.tuples(row, st.integers(0, 99)), max_size=12), min_size=1, max_size=6)):
        rows, weights = [], []
        for new, dice in edits:
            if retracting and dice >= 50 and present:
                rows.append(present.pop(dice % len(present)))
                weights.append(-1)
            else:
                weights.append(1 + dice % 2)
                rows.append(new)
                present += [new] * weights[-1]
        plain = not retracting and draw(st.booleans())
        if plain:
            present += [row for row, weight in zip(rows, weights, strict=True) if weight == 2]
            rows, weights = [r for r, w in zip(rows, weights, strict=True) for _ in range(w)], [1] * sum(weights)
        deltas.append(delta_of(schema, rows, None if plain else weights))
    return schema, keys, deltas


def contents(rows: KeyedRows, ids: np.ndarray) -> Rows:
    counted: Rows = Counter()
    add(counted, Delta(rows.take(ids), rows.weights(ids)))
    return counted


def by_key(model: Rows, places: list[int]) -> dict[tuple[Any, ...], Rows]:
    found: dict[tuple[Any, ...], Rows] = defaultdict(Counter)
    for row, count in model.items():
        found[tuple(row[place] for place in places)][row] += count
    return found


@pytest.mark.parametrize("retracting", [False, True])
@pytest.mark.parametrize("hashes", ["real", "same", "low"])
@settings(max_examples=40)
@given(data=st.data())
def test_against_counters_by_key(retracting: bool, hashes: str, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if hashes != "real":
            patch.setattr(key_columns, "hash_columns", colliding(hashes))
        patch.setattr(slotted_rows, "_GONE_MIN", data.draw(st.sampled_from([0, 4, 256])))
        patch.setattr(row_lists, "_WASTED_MIN", data.draw(st.sampled_from([0, 1024])))
        check_against_counters_by_key(data, retracting)


def check_against_counters_by_key(data: st.DataObject, retracting: bool) -> None:
    schema, keys, deltas = data.draw(inputs(retracting=retracting))
    places = [schema.get_field_index(name) for name in keys]
    rows = KeyedRows(schema, keys)
    model: Rows = Counter()
    for delta in deltas:
        rows.prepare(delta)
        touched = rows.touched(delta)
        assert len(set(touched.tolist())) == len(touched)
        _, before = rows.rows_of(touched)
        old = contents(rows, before)
        inserted = rows.insert(delta)
        _, after = rows.rows_of(touched)
        change: Rows = Counter()
        add(change, delta)
        if retracting and rows.weights(after) is not None:
            assert sorted(inserted.came.tolist()) == sorted(set(after.tolist()) - set(before.tolist()))
            assert sorted(inserted.went.tolist()) == sorted(set(before.tolist()) - set(after.tolist()))
            assert set(batch_rows(rows.take(before))) == set(old)
        difference = contents(rows, after)
        difference.subtract(old)
        assert nonzero(difference) == nonzero(change)
        model.update(change)
        model = nonzero(model)
        check_finds(rows, model, delta, places)
        if data.draw(st.booleans()):
            doomed = [row for row in sorted(rows.rows().tolist()) if data.draw(st.booleans())]
            gone = contents(rows, np.array(doomed, np.int64))
            if not retracting:  # nothing will retract them later
                rows.remove(np.array(doomed, np.int64))
                model = nonzero(model - gone)
        match data.draw(st.sampled_from(["go on", "compact", "restore"])):
            case "compact":
                rows.compact()
            case "restore":
                snapshot = rows.snapshot()
                rows = KeyedRows(schema, keys)
                rows.restore(snapshot)
        check_finds(rows, model, delta, places)
        assert contents(rows, rows.rows()) == model


def check_finds(rows: KeyedRows, model: Rows, delta: Delta, places: list[int]) -> None:
    """The rows of each key in `delta` are those of the model."""
    queries, found = rows.find([delta.batch.column(place) for place in places])
    expected = by_key(model, places)
    asked = [tuple(row[place] for place in places) for row in batch_rows(delta.batch)] if places else [()]
    for position, key in enumerate(asked):
        assert contents(rows, found[queries == position]) == expected[key]


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 6), max_size=40), max_size=8), st.booleans())
def test_lists_against_python_lists(inputs: list[list[int]], packs: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_lists, "_WASTED_MIN", 0 if packs else 1 << 20)
        lists = RowLists()
        lists.reserve(7)
        model: dict[int, list[int]] = {slot: [] for slot in range(-1, 7)}
        end = 0
        for slots in inputs:
            lists.add(np.array(slots, np.int64), np.arange(end, end + len(slots)))
            for row, slot in enumerate(slots, end):
                model[slot].append(row)
            end += len(slots)
            asked = np.array([3, -1, 0, 6, 3])
            queries, rows = lists.find(asked)
            pairs = [(place, row) for place, slot in enumerate(asked.tolist()) for row in model[slot]]
            assert list(zip(queries.tolist(), rows.tolist(), strict=True)) == pairs
            shortened = np.array([0, 3])
            lists.keep(shortened, lists.find(shortened)[1] % 3 > 0)
            for slot in (0, 3):
                model[slot] = [row for row in model[slot] if row % 3]
            assert lists.counts(np.arange(7)).tolist() == [len(model[slot]) for slot in range(7)]


def test_what_a_row_costs() -> None:
    schema = pa.schema([("k", pa.int64()), ("v", pa.int64())])
    rows = KeyedRows(schema, ["k"])
    count = 1 << 17
    for start in range(0, count, 1 << 14):
        numbers = pa.array(np.arange(start, start + (1 << 14)))
        batch = pa.RecordBatch.from_arrays([pa.array(numbers.to_numpy() // 4), numbers], schema=schema)
        rows.insert(Delta(batch))
    assert rows.bytes / count < 64


def test_expired_rows_are_forgotten() -> None:
    schema = pa.schema([("k", pa.int64()), ("s", pa.string())])
    rows = KeyedRows(schema, ["k"])
    peak = 0
    for turn in range(50):
        numbers = np.arange(turn * 1000, turn * 1000 + 1000)
        batch = pa.RecordBatch.from_arrays([pa.array(numbers), pa.array(numbers.astype(str))], schema=schema)
        rows.insert(Delta(batch))
        ids = rows.rows()
        keys = rows.take(ids, ["k"]).column(0).to_numpy()
        rows.remove(ids[keys < turn * 1000 - 1000])
        peak = max(peak, rows.bytes)
        if turn == 10:
            early = peak
    assert rows.size == 2000
    assert peak <= early


def test_to_retract_what_is_not_there_is_our_mistake() -> None:
    schema = pa.schema([("k", pa.int64())])
    rows = KeyedRows(schema, ["k"])
    with pytest.raises(AssertionError, match="not there"):
        rows.insert(delta_of(schema, [(1,)], [-1]))
