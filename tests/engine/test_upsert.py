"""The operators of tables: their present rows follow from any changelog, whole or compacted, however it is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.delta import Delta, concat
from headrace.engine.operators.upsert import Upsert
from headrace.engine.operators.weighted import Weighted
from headrace.engine.row_store import RowStore
from tests.laws import batch_rows, check_recovery, check_slicing, delta_of, step, table_rows, values

KINDS = (pa.int64(), pa.string(), pa.float64(), pa.timestamp("us"), pa.decimal128(10, 2), pa.bool_())


def log_of(key: list[pa.DataType]) -> pa.Schema:
    """Key columns, two others and the weight."""
    fields = [(f"k{i}", kind) for i, kind in enumerate(key)]
    return pa.schema([*fields, ("n", pa.int64()), ("s", pa.list_(pa.string())), ("_weight", pa.int8())])


def rows_of(key: list[pa.DataType], *, deletes: bool = True) -> st.SearchStrategy[tuple[Any, ...]]:
    """A row of the log: few keys, so that they meet again."""
    lists = st.sampled_from([None, [], ["a"], ["a", None]])
    weight = st.sampled_from([1, 1, -1] if deletes else [1])
    return st.tuples(*(values(kind) for kind in key), st.sampled_from([None, 1, 2]), lists, weight)


def last_by_key(key: list[str], log: pa.Table) -> pa.Table:
    """The oracle: of each key its last row, unless that deletes it."""
    last: dict[Any, Any] = {}
    for place, row in enumerate(batch_rows(log.select(key).combine_chunks().to_batches()[0]) if log.num_rows else []):
        last[row] = place
    weights = log.column("_weight").to_pylist()
    places = [place for place in last.values() if weights[place] > 0]
    return log.take(pa.array(places, pa.int64())).drop_columns(["_weight"])


@settings(max_examples=150)
@given(st.data())
def test_upsert_obeys_the_laws(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=2))
    schema, key = log_of(kinds), [f"k{i}" for i in range(len(kinds))]
    epochs = data.draw(st.lists(st.lists(rows_of(kinds), max_size=8), min_size=1, max_size=5))
    inputs = [delta_of(schema, rows) for rows in epochs]

    def make() -> Upsert:
        return Upsert(key, schema.remove(schema.get_field_index("_weight")))

    def query(log: pa.Table) -> pa.Table:
        return last_by_key(key, log)

    check_ordered(make(), query, inputs)
    check_recovery(make, inputs)
    check_slicing(make, inputs)


def check_ordered(operator: Upsert | Weighted, query: Any, inputs: list[Delta]) -> None:
    """As `check_incremental`, over the log as it is: in order, and a row as often as it was written."""
    output: Any = {}
    for epoch in range(1, len(inputs) + 1):
        change = step(operator, inputs[epoch - 1], epoch)
        for row, weight in (
            zip(batch_rows(change.batch), change.weight_array().tolist(), strict=True) if change is not None else ()
        ):
            output[row] = output.get(row, 0) + weight
        log = pa.Table.from_batches([concat(inputs[:epoch]).batch])
        expected = table_rows(query(log))
        assert {row: count for row, count in output.items() if count} == expected
        if isinstance(operator, Upsert):
            assert table_rows(operator.rows()) == expected


@settings(max_examples=100)
@given(st.data())
def test_what_compaction_leaves_of_the_log_means_the_same(data: st.DataObject) -> None:
    schema = log_of([pa.int64()])
    rows = data.draw(st.lists(rows_of([pa.int64()]), max_size=20))
    kept = []
    for place, row in enumerate(rows):
        superseded = any(later[0] == row[0] for later in rows[place + 1 :])
        if not superseded or data.draw(st.booleans()):
            kept.append(row)
    results = []
    for log in (rows, kept):
        operator = Upsert(["k0"], schema.remove(3))
        step(operator, delta_of(schema, log), 1)
        results.append(table_rows(operator.rows()))
    assert results[0] == results[1]


def test_rows_are_found_by_their_keys() -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.int64()), ("n", pa.int64())])
    operator = Upsert(["a", "b"], schema)
    log = schema.append(pa.field("_weight", pa.int8()))
    for epoch in range(50):
        rows = [(f"a{n}", n % 3, epoch, -1 if n == epoch else 1) for n in range(100)]
        step(operator, delta_of(log, rows), epoch + 1)
    keys = pa.RecordBatch.from_pydict({"a": ["a7", "a49", "a7", "zz", "a99"], "b": [1, 1, 2, 0, 0]})
    found, present = operator.find(keys)
    assert found.tolist() == [True, False, False, False, True]
    assert present.to_pylist() == [{"a": "a7", "b": 1, "n": 49}, {"a": "a99", "b": 0, "n": 49}]
    assert operator.bytes < 100_000, "superseded rows are dropped in time"


def test_a_million_updates_of_a_hundred_keys_take_the_room_of_a_hundred() -> None:
    schema = pa.schema([("k", pa.int64()), ("s", pa.string())])
    operator = Upsert(["k"], schema)
    for start in range(0, 1_000_000, 50_000):
        numbers = np.arange(start, start + 50_000)
        batch = pa.RecordBatch.from_arrays(
            [pa.array(numbers % 100), pa.array(numbers).cast(pa.string()), pa.array(np.ones(50_000, np.int8))],
            names=["k", "s", "_weight"],
        )
        operator.process(Delta(batch))
    assert operator.rows().num_rows == 100
    assert operator.bytes < 1_000_000


@settings(max_examples=60)
@given(st.data())
def test_weighted_obeys_the_laws(data: st.DataObject) -> None:
    schema = log_of([pa.int64()])
    present: list[tuple[Any, ...]] = []
    inputs = []
    for epoch in data.draw(st.lists(st.lists(rows_of([pa.int64()]), max_size=8), min_size=1, max_size=4)):
        rows = []
        for row in epoch:
            if row[-1] < 0 and present:
                rows.append((*present.pop()[:-1], -1))
            else:
                rows.append((*row[:-1], 1))
                present.append(rows[-1])
        inputs.append(delta_of(schema, rows))

    def query(log: pa.Table) -> pa.Table:
        rows = log.to_pylist()
        left: list[Any] = []
        for row in rows:
            weight = row.pop("_weight")
            left.append(row) if weight > 0 else left.remove(row)
        return pa.Table.from_pylist(left, schema=schema.remove(3))

    def make() -> Weighted:
        return Weighted(schema.remove(3))

    check_ordered(make(), query, inputs)
    check_recovery(make, inputs)
    check_slicing(make, inputs)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=20), st.randoms())
def test_a_row_store_gives_back_what_it_was_given(steps: list[tuple[int, bool]], chance: Any) -> None:
    schema = pa.schema([("n", pa.int64()), ("s", pa.string())])
    store, model = RowStore(schema), []
    for count, tidy in steps:
        rows = [{"n": len(model) + i, "s": None if i % 3 == 0 else "x" * i} for i in range(count)]
        numbers = store.append(pa.RecordBatch.from_pylist(rows, schema=schema))
        assert numbers.tolist() == list(range(len(model), len(model) + count))
        model += rows
        if tidy and model:
            kept = chance.sample(range(len(model)), len(model) // 2)
            store.keep(np.array(kept, np.int64))
            model = [model[place] for place in kept]
        wanted = [chance.randrange(len(model)) for _ in range(5)] if model else []
        assert store.take(np.array(wanted, np.int64)).to_pylist() == [model[place] for place in wanted]
        assert store.size == len(model)
