"""The laws every operator obeys, with DuckDB as the batch oracle.

incremental: the sum of the outputs is the query of the sum of the inputs, after every epoch.
recovery: to take a snapshot, restore it into a new operator and go on changes nothing.
journal: to restore a snapshot of a moment ago and to take in at once what came since changes nothing.
slicing: how the input is cut into deltas changes nothing in the sum.
spilled: where state lies, in memory or in files, changes nothing. It takes a while, so it is looked at now and then.
adopted: nor does it where that is the pages of a checkpoint's files. The same.
"""

from __future__ import annotations

import functools
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from headrace.engine import key_index, slot_array
from headrace.engine.delta import Delta, concat
from headrace.engine.freezing import Frozen
from headrace.engine.journal import Entry, Turn, enter
from headrace.engine.operator import NO_WATERMARK, Operator, ResultHolder, Snapshot, Time
from headrace.storage import checkpoints as checkpoints_on_disk
from headrace.storage import private_maps
from headrace.storage.checkpoints import Checkpoints, stream_of
from headrace.storage.memory import Memory

_ELSEWHERE_EVERY = 16  # cases of the laws
_checked = 0

Rows = Counter[tuple[Any, ...]]
AnOperator = TypeVar("AnOperator", bound=Operator)
BatchQuery = Callable[[pa.Table], pa.Table]


@functools.cache
def _instance() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


def oracle() -> duckdb.DuckDBPyConnection:
    """A session of the one DuckDB that says what is right: it sees nothing of others, and a DuckDB takes 20 ms."""
    return _instance().cursor()


def batch_query(sql: str) -> BatchQuery:
    """The query that DuckDB makes of `sql`, which reads its input under the name `input`."""
    connection = oracle()

    def run(table: pa.Table) -> pa.Table:
        connection.register("input", table)
        return connection.sql(sql).to_arrow_table()

    return run


def check_laws(make_operator: Callable[[], Operator], query: BatchQuery, inputs: Sequence[Delta]) -> None:
    """Raise AssertionError unless the operators made obey the laws on `inputs`, one delta per epoch."""
    check_incremental(make_operator(), query, inputs)
    check_recovery(make_operator, inputs)
    check_journal(make_operator, inputs)
    check_slicing(make_operator, inputs)
    global _checked
    _checked += 1
    if _checked % _ELSEWHERE_EVERY == 0:
        check_spilled(make_operator, query, inputs)
    if _checked % _ELSEWHERE_EVERY == _ELSEWHERE_EVERY // 2:
        check_adopted(make_operator, inputs)


def check_spilled(make_operator: Callable[[], Operator], query: BatchQuery, inputs: Sequence[Delta]) -> None:
    """An operator for whose state there is no memory at all is incremental, and can be restored."""
    with tempfile.TemporaryDirectory() as folder, spilling(Path(folder)):
        check_incremental(make_operator(), query, inputs)
        check_recovery(make_operator, inputs)


def check_adopted(make_operator: Callable[[], Operator], inputs: Sequence[Delta]) -> None:
    """An operator whose state is what a checkpoint on disk has goes on as it would have, and so after the next one."""
    with tempfile.TemporaryDirectory() as folder, adopting():
        checkpoints = Checkpoints(Path(folder), durable=False)

        def through_files(snapshot: Snapshot) -> Snapshot:
            checkpoints.save({}, {name: stream_of(table) for name, table in snapshot.items()}.items(), {})
            loaded = checkpoints.load()
            assert loaded is not None
            return loaded[1]

        check_recovery(make_operator, inputs, through_files)


@contextmanager
def adopting() -> Iterator[None]:
    """Within the block a checkpoint has the tables of all keys, and what is in its files is taken as it is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_maps, "ADOPTED_BYTES_MIN", 1)
        patch.setattr(checkpoints_on_disk, "CHECKPOINT_TABLE_BYTES", 0)
        patch.setattr(key_index, "STORED_KEYS", 1)
        yield


@contextmanager
def spilling(folder: Path) -> Iterator[Memory]:
    """Within the block no array of state that has grown is in memory, and small batches neither."""
    memory = Memory(folder / "spill", limit=0, smallest=512)
    with memory.used():
        yield memory
    memory.close()


def check_incremental(operator: Operator, query: BatchQuery, inputs: Sequence[Delta]) -> None:
    """After every epoch the sum of the outputs is the query of the sum of the inputs, and so is what rows() shows."""
    output: Rows = Counter()
    for epoch, delta in enumerate(inputs, 1):
        change = step(operator, delta, epoch)
        add(output, change)
        for row, count in output.items():
            assert count >= 0, f"epoch {epoch} retracts {row}, which is not there"
        expected = table_rows(query(total(inputs[:epoch])))
        assert +output == expected, f"epoch {epoch}: {show(+output, expected)}"
        if isinstance(operator, ResultHolder):
            held = table_rows(operator.rows())
            assert held == expected, f"epoch {epoch}, rows(): {show(held, expected)}"


def check_recovery(
    make_operator: Callable[[], Operator],
    inputs: Sequence[Delta],
    kept: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot,
) -> None:
    """An operator that is replaced by its restored self after every epoch says the same as one that is not."""
    steady = make_operator()
    replaced = make_operator()
    for epoch, delta in enumerate(inputs, 1):
        left, right = Counter[Any](), Counter[Any]()
        add(left, step(steady, delta, epoch))
        add(right, step(replaced, delta, epoch))
        left, right = nonzero(left), nonzero(right)
        assert left == right, f"epoch {epoch}, after a restore: {show(right, left)}"
        snapshot = kept(replaced.snapshot())
        replaced = make_operator()
        replaced.restore(snapshot)
        if isinstance(steady, ResultHolder) and isinstance(replaced, ResultHolder):
            assert table_rows(replaced.rows()) == table_rows(steady.rows()), f"epoch {epoch}, rows() after a restore"


def check_journal(make_operator: Callable[[], Operator], inputs: Sequence[Delta]) -> None:
    """An operator restored as it was in the middle, that takes in at once all that came since, is what it would be."""
    if len(inputs) < 2:
        return
    steady, middle = make_operator(), (len(inputs) - 1) // 2
    for epoch, delta in enumerate(inputs[:middle], 1):
        step(steady, delta, epoch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slot_array, "_COPIED_AT_ONCE", 0)
        again, frozen = make_operator(), Frozen(steady)
    for epoch, delta in enumerate(inputs[middle:-1], middle + 1):
        step(steady, delta, epoch)
    snapshot = frozen.thaw().snapshot()  # of what it was then
    again.restore({name: as_written(table) for name, table in snapshot.items()})
    since = [(0, delta) for delta in inputs[middle:-1] if delta.rows]
    entry = Entry([Turn(since, Time(epoch=len(inputs) - 1, clock=0))])
    enter(again, {name: as_written(table) for name, table in entry.tables().items()})
    left, right = Counter[Any](), Counter[Any]()
    add(left, step(steady, inputs[-1], len(inputs)))
    add(right, step(again, inputs[-1], len(inputs)))
    assert nonzero(left) == nonzero(right), f"after a journal: {show(nonzero(right), nonzero(left))}"
    if isinstance(steady, ResultHolder) and isinstance(again, ResultHolder):
        assert table_rows(again.rows()) == table_rows(steady.rows()), "rows() after a journal"


def as_written(table: pa.Table) -> pa.Table:
    """The table as it is read again from a checkpoint."""
    return pa.ipc.open_stream(stream_of(table)).read_all()


def restored(operator: Operator, again: AnOperator) -> AnOperator:
    """`again`, which is new, as it goes on from a snapshot of `operator`."""
    again.restore({name: as_written(table) for name, table in operator.snapshot().items()})
    return again


def check_forgetting(
    operator: Operator, output: Rows, expected: Rows, time: Time, changes: Sequence[tuple[int, Delta]]
) -> None:
    """One epoch of an operator that forgets in silence: the sum of what it has put out is what a model expects."""
    for port, delta in changes:
        add(output, operator.process(delta, port))
    assert operator.advance(time) is None
    assert all(count >= 0 for count in output.values()), "it retracts what is not there"
    assert nonzero(output) == nonzero(expected), show(nonzero(output), nonzero(expected))


def check_slicing(make_operator: Callable[[], Operator], inputs: Sequence[Delta]) -> None:
    """All in one delta, as given, and every row alone come to the same."""
    if not inputs:
        return
    whole = concat(inputs)
    rows = [whole.take(np.array([row])) for row in range(whole.rows)]
    sums = []
    for deltas in ([whole], inputs, rows or [whole], inputs):
        operator = make_operator()
        operator.emits = len(sums) != 3  # the last time nobody looks at the changes, only at the rows
        output: Rows = Counter()
        for epoch, delta in enumerate(deltas, 1):
            add(output, step(operator, delta, epoch))
        if operator.emits:
            sums.append(nonzero(output))
            assert sums[0] == sums[-1], show(sums[-1], sums[0])
        elif isinstance(operator, ResultHolder):
            held = table_rows(operator.rows())
            assert held == sums[0], f"rows() with emits off: {show(held, sums[0])}"


def step(operator: Operator, delta: Delta, epoch: int, watermark: int = NO_WATERMARK) -> Delta | None:
    """One epoch: what `process` and `advance` return together."""
    changes = [operator.process(delta), operator.advance(Time(epoch=epoch, clock=0, watermark=watermark))]
    said = [change for change in changes if change is not None]
    for change in said:
        assert change.batch.schema.equals(operator.schema), f"{change.batch.schema} is not {operator.schema}"
    return concat(said) if said else None


def total(inputs: Sequence[Delta]) -> pa.Table:
    """The sum of `inputs` as a table: every row as often as its weights say."""
    whole = concat(inputs)
    counts: dict[int, int] = {}
    first: dict[tuple[Any, ...], int] = {}
    for place, (row, weight) in enumerate(zip(batch_rows(whole.batch), whole.weight_array().tolist(), strict=True)):
        counts[first.setdefault(row, place)] = counts.get(first.setdefault(row, place), 0) + weight
    places = [place for place, count in counts.items() for _ in range(count)]
    return pa.Table.from_batches([whole.batch.take(pa.array(places, pa.int64()))])


def add(rows: Rows, delta: Delta | None) -> None:
    """Add what `delta` says to `rows`."""
    if delta is not None:
        for row, weight in zip(batch_rows(delta.batch), delta.weight_array().tolist(), strict=True):
            rows[row] += weight


def nonzero(rows: Rows) -> Rows:
    """Without the rows that are there zero times."""
    return Counter({row: count for row, count in rows.items() if count})


def table_rows(table: pa.Table) -> Rows:
    """The rows of `table` and how often each is there."""
    return Counter(row for batch in table.to_batches() for row in batch_rows(batch))


def batch_rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Rows as tuples that are equal where SQL says IS NOT DISTINCT FROM; floats to 12 digits."""
    columns = [[_comparable(value) for value in column.to_pylist()] for column in batch.columns]
    return list(zip(*columns, strict=True)) if columns else []


def _comparable(value: Any) -> Any:
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        return float(f"{value:.12g}") + 0.0 if abs(value) > 1e-15 else 0.0  # what two nearly equal numbers leave
    if isinstance(value, Decimal):
        return Fraction(value)
    if isinstance(value, list):
        return tuple(_comparable(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, _comparable(item)) for key, item in value.items())
    return value


def show(got: Rows, expected: Rows) -> str:
    """What is too much in `got`, and what is missing."""
    extra = nonzero(Counter({row: got[row] - expected[row] for row in {*got, *expected}}))
    return f"too often (+) or too seldom (-): {dict(extra)}"


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Few and adversarial values of type `kind`, NULL among them."""
    if pa.types.is_floating(kind):
        some: list[Any] = [0.0, -0.0, 1.5, -2.25, 1e15, math.nan, math.inf, -math.inf]
    elif pa.types.is_decimal(kind):
        units = ("0", "1", "-1", "7", f"1{'0' * (kind.precision - 1)}", f"-{'9' * kind.precision}")
        some = [Decimal(f"{unit}e-{kind.scale}") for unit in units]
    elif pa.types.is_boolean(kind):
        some = [True, False]
    elif pa.types.is_integer(kind):
        low = 0 if pa.types.is_unsigned_integer(kind) else -(1 << kind.bit_width - 1)
        high = low + (1 << kind.bit_width) - 1
        some = [0, 1, 2, 3, low, high]
    elif pa.types.is_string(kind):
        some = ["", "a", "b", "ab", "ü", "a" * 200, "a" * 199 + "b"]
    elif pa.types.is_timestamp(kind):
        some = [0, 1, -1, 10_000_000, -10_000_001, 25_000_000]
    else:
        raise AssertionError(f"no values of type {kind}")
    return st.sampled_from([None, *some])


@st.composite
def changes(draw: st.DrawFn, schema: pa.Schema, *, append_only: bool = False, epochs: int = 4) -> list[Delta]:
    """One delta per epoch over rows of `schema`, none of which retracts a row that is not there; some are unsorted,
    some retract a row they insert."""
    row = st.tuples(*(values(field.type) for field in schema))
    edits = st.lists(st.tuples(row, st.integers(0, 99)), max_size=8)
    present: list[tuple[Any, ...]] = []
    deltas = []
    for edit in draw(st.lists(edits, min_size=1, max_size=epochs)):
        rows, weights = [], []
        for inserted, dice in edit:
            if not append_only and dice >= 50 and present:
                rows.append(present.pop(dice % len(present)))
                weights.append(-1)
            else:
                rows.append(inserted)
                weights.append(1)
                present.append(inserted)
        deltas.append(delta_of(schema, rows, None if append_only else weights))
    return deltas


def delta_of(schema: pa.Schema, rows: Sequence[tuple[Any, ...]], weights: Sequence[int] | None = None) -> Delta:
    """A delta of Python rows."""
    columns = [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(schema)]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    return Delta(batch, None if weights is None else np.array(weights, dtype=np.int64))
