"""KeyIndex: against a dictionary, over key columns of every type, with hashes that collide and keys that go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import key_columns, key_index
from headrace.engine.key_index import KeyIndex
from headrace.storage.hashing import Hashes
from tests.laws import as_written, batch_rows, values

TYPES = [
    pa.int8(),
    pa.int32(),
    pa.int64(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.bool_(),
    pa.string(),
    pa.large_string(),
    pa.decimal128(9, 2),
    pa.decimal128(38, 4),
    pa.timestamp("us", "UTC"),
]
OTHER_VALUES = {
    pa.binary(): [b"", b"a", b"\x00", b"\xff" * 20],
    pa.binary(2): [b"ab", b"\x00\x00"],
    pa.date32(): [0, 1, -1],
    pa.month_day_nano_interval(): [(1, 0, 0), (0, 30, 0), (0, 0, 1)],
    pa.list_(pa.int64()): [[], [1], [1, None], [0, 1]],
    pa.struct([("a", pa.int64()), ("b", pa.string())]): [{"a": 1, "b": "x"}, {"a": 1, "b": None}],
}


def some(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if kind in OTHER_VALUES:
        return st.sampled_from([None, *OTHER_VALUES[kind]])
    return values(pa.string() if pa.types.is_large_string(kind) else kind)


@st.composite
def batches(draw: st.DrawFn) -> list[pa.RecordBatch]:
    kinds = draw(st.lists(st.sampled_from([*TYPES, *OTHER_VALUES]), min_size=1, max_size=3))
    schema = pa.schema([(str(place), kind) for place, kind in enumerate(kinds)])
    rows = st.lists(st.tuples(*map(some, kinds)), max_size=12)
    made = []
    for some_rows in draw(st.lists(rows, min_size=1, max_size=6)):
        columns = [pa.array([row[i] for row in some_rows], kind) for i, kind in enumerate(kinds)]
        whole = pa.RecordBatch.from_arrays(columns, schema=schema)
        made.append(whole.slice(draw(st.integers(0, 2))))
    return made


def colliding(kind: str) -> Callable[[Sequence[pa.Array]], Hashes]:
    """Hashes that are all the same, or differ in few bits at one end."""

    def hash_columns(columns: Sequence[pa.Array], padded: object = None) -> Hashes:
        if kind == "same":
            return np.full(len(columns[0]), 7, np.uint64)
        batch = pa.RecordBatch.from_arrays(list(columns), names=[str(place) for place in range(len(columns))])
        lengths = np.array([len(repr(row)) % 3 for row in batch_rows(batch)], np.uint64)
        return lengths if kind == "low" else lengths << np.uint64(62) | np.uint64(3 << 60)

    return hash_columns


@pytest.mark.parametrize("hashes", ["real", "same", "low", "high"])
@pytest.mark.parametrize("direct_cells_min", [0, 4096])
@settings(max_examples=30)
@given(data=st.data())
def test_against_a_dictionary(hashes: str, direct_cells_min: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if hashes != "real":
            patch.setattr(key_columns, "hash_columns", colliding(hashes))
        patch.setattr(key_index, "PIECE_ROWS", data.draw(st.sampled_from([1, 1 << 16])))
        patch.setattr(key_index, "_DIRECT_CELLS_MIN", direct_cells_min)
        patch.setattr(key_index, "_DIRECT_CELLS_PER_KEY", direct_cells_min)
        patch.setattr(key_index, "_DIRECT_CELLS_PER_KEY_KEPT", direct_cells_min or 1)
        patch.setattr(key_index, "STORED_KEYS", data.draw(st.sampled_from([1, 1 << 16])))
        check_against_a_dictionary(data)


def check_against_a_dictionary(data: st.DataObject) -> None:
    inputs = data.draw(batches())
    index = KeyIndex(inputs[0].schema)
    model: dict[tuple[Any, ...], int] = {}
    for batch in inputs:
        keys = batch_rows(batch)
        assert index.lookup(batch).tolist() == [model.get(key, -1) for key in keys]
        slots, new = index.lookup_or_insert(batch)
        first_seen = [key not in model and key not in keys[:row] for row, key in enumerate(keys)]
        assert new.tolist() == first_seen
        for key, slot in zip(keys, slots.tolist(), strict=True):
            assert model.setdefault(key, slot) == slot
        assert sorted(set(model.values())) == sorted(model.values())
        assert index.size == len(model)
        every = np.array(list(model.values()), dtype=np.int64)
        assert batch_rows(index.keys(every)) == list(model)
        doomed = data.draw(st.lists(st.sampled_from(sorted(model.values())), unique=True)) if model else []
        index.delete(np.array(doomed, dtype=np.int64))
        model = {key: slot for key, slot in model.items() if slot not in doomed}
        match data.draw(st.sampled_from(["go on", "compact", "restore", "compact and restore"])):
            case "compact":
                kept = index.compact().tolist()
                model = {key: kept.index(slot) for key, slot in model.items()}
            case ("restore" | "compact and restore") as what:
                if what != "restore":
                    index.compact()
                snapshot = {name: as_written(table) for name, table in index.snapshot().items()}
                index = KeyIndex(index.schema)
                index.restore(snapshot)
                order = sorted(model.values())
                model = {key: order.index(slot) for key, slot in model.items()}


def test_many_keys_through_growth_deletion_and_compaction() -> None:
    generator = np.random.default_rng(1)
    index = KeyIndex(pa.schema([("k", pa.int64())]))
    model: dict[int, int] = {}
    for _ in range(60):
        keys = generator.integers(0, 50_000, 3000)
        slots, new = index.lookup_or_insert(pa.RecordBatch.from_arrays([pa.array(keys)], schema=index.schema))
        assert int(new.sum()) == len(set(keys.tolist()) - model.keys())
        for key, slot in zip(keys.tolist(), slots.tolist(), strict=True):
            assert model.setdefault(key, slot) == slot
        doomed = generator.choice(list(model), len(model) // 3, replace=False).tolist()
        index.delete(np.array([model.pop(key) for key in doomed], dtype=np.int64))
        if index.wasteful:
            renumbered = {int(old): new_slot for new_slot, old in enumerate(index.compact())}
            model = {key: renumbered[slot] for key, slot in model.items()}
    assert index.size == len(model)
    assert index.bytes < 100 * index.size


def test_an_index_can_be_filled_in_order() -> None:
    index = KeyIndex(pa.schema([("k", pa.decimal128(4, 1))]))
    batch = pa.RecordBatch.from_pydict({"k": pa.array([Decimal("1.5"), None, Decimal("-3")], pa.decimal128(4, 1))})
    index.load(batch)
    assert index.lookup(batch).tolist() == [0, 1, 2]


def many(kind: str, rows: int = 3000) -> pa.RecordBatch:
    """So many different keys."""
    numbers = np.random.default_rng(3).permutation(rows)
    integers = pa.array(numbers)
    columns = {
        "close together": [integers],
        "a box": [pa.array(numbers // 60, pa.int32()), pa.array(numbers % 60, pa.int16())],
        "far apart": [pa.array(numbers * 1_000_003)],
        "with NULL": [pa.array(numbers * 1_000_003, mask=numbers == 5)],
        "floats": [pa.array(numbers / 7)],
        "wide": [integers.cast(pa.decimal128(30, 2))],
        "short texts": [pa.array([None if number == 5 else f"{number}" for number in numbers])],
        "long texts": [pa.array([f"{number}" * (number % 13) + f"-{number}" for number in numbers])],
        "binaries": [pa.array([f"{number}".encode() for number in numbers])],
        "no texts": [pa.array([""] * rows), integers.cast(pa.float32())],
        "pairs": [pa.array([f"{number % 7}" for number in numbers]), pa.array(numbers // 7 * 1_000_003)],
        "lists": [pa.array([[number, number % 2] for number in numbers.tolist()])],
        "lists and numbers": [pa.array([[number] for number in numbers.tolist()]), integers],
    }[kind]
    return pa.RecordBatch.from_arrays(columns, names=[str(place) for place in range(len(columns))])


KINDS = ["close together", "a box", "far apart", "with NULL", "floats", "wide", "short texts", "long texts"]
KINDS += ["binaries", "no texts", "pairs", "lists", "lists and numbers"]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_index, "STORED_KEYS", 1)


def restored(index: KeyIndex, snapshot: Mapping[str, pa.Table]) -> KeyIndex:
    again = KeyIndex(index.schema)
    again.restore(snapshot, "k")
    return again


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_was_stored_goes_on(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = many(kind)
    index = KeyIndex(keys.schema)
    assert index.lookup_or_insert(keys.slice(0, 2000))[1].all()
    snapshot = {name: as_written(table) for name, table in index.snapshot("k").items()}
    with monkeypatch.context() as patch:
        patch.delattr(KeyIndex, "_new_table")  # it is not made anew
        again = restored(index, snapshot)
    for each in (index, again):  # and both do the same from here on
        assert each.lookup(keys).tolist() == [*range(2000), *[-1] * 1000]
        each.delete(np.arange(1000, 1500))
        assert each.lookup(keys).tolist() == [*range(1000), *[-1] * 500, *range(1500, 2000), *[-1] * 1000]
        assert each.lookup_or_insert(keys.slice(1500, 1500))[0].tolist() == list(range(1500, 3000))
        kept = [*range(1000), *range(1500, 3000)]
        assert each.compact().tolist() == kept
        assert each.lookup(keys).tolist() == [*range(1000), *[-1] * 500, *range(1000, 2500)]
        assert each.keys(np.arange(2500)).equals(keys.take(pa.array(kept)))


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("kind", ["close together", "far apart", "long texts", "pairs"])
def test_a_table_that_does_not_go_with_the_keys_is_made_anew(kind: str) -> None:
    keys = many(kind)
    index, other = KeyIndex(keys.schema), KeyIndex(keys.schema)
    index.load(keys)
    other.load(keys.take(pa.array(np.roll(np.arange(3000), 1))))
    snapshot, others = index.snapshot("k"), other.snapshot("k")
    cells = snapshot["k cells"]
    fewer = index.keys(np.arange(2999))
    for wrong in (
        {"k cells": others["k cells"]},
        {"k cells": cells.replace_schema_metadata({**cells.schema.metadata, b"layout": b"0"})},
        {"k cells": cells.replace_schema_metadata(None)},
        {"k": pa.Table.from_batches([fewer]).cast(snapshot["k"].schema)},
        {"k cells": others["k cells"], "k hashes": pa.table({"hash": np.zeros(3000, np.uint64)})},
    ):
        tables = {**snapshot, **wrong}
        again = restored(index, tables)
        assert again.lookup(keys).tolist()[:2999] == list(range(2999))
    assert restored(index, {"k": snapshot["k"]}).lookup(keys).tolist() == list(range(3000))
