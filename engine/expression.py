"""Compiled expressions: a program of Arrow kernels over a batch, or one DuckDB query over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

Datum: TypeAlias = Any  # a pa.Array or a pa.Scalar
Kernel: TypeAlias = Callable[[list[Datum]], Datum]


class Refused(Exception):
    """A kernel met a value that it would treat otherwise than DuckDB does."""


# What a kernel raises where DuckDB may raise too. DuckDB then computes the batch: its answer or its error counts,
# so a kernel may be stricter than DuckDB (a CASE branch that is not taken, a spelling only DuckDB reads), never laxer.
DECLINED = (Refused, pa.ArrowInvalid)


@dataclass(frozen=True)
class Step:
    """One kernel call: the registers it reads; its result goes into the next free register."""

    kernel: Kernel
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """Values computed from columns by kernels, each distinct sub-expression once.

    Shape: registers are the `columns` of the batch (by index), then `constants`, then one per step; `results` are
    the registers that come out.
    """

    columns: tuple[int, ...]
    constants: tuple[pa.Scalar, ...]
    steps: tuple[Step, ...]
    results: tuple[int, ...]

    def run(self, columns: Sequence[pa.Array]) -> list[Datum]:
        """The results over `columns`; what depends on no column is a scalar. Raises: anything in DECLINED."""
        registers: list[Datum] = [*columns, *self.constants]
        for step in self.steps:
            registers.append(step.kernel([registers[i] for i in step.arguments]))
        return [registers[i] for i in self.results]


class _Slot:
    """A relation whose rows are those of the batch put into it: registered once, as that costs 0.3 ms."""

    def __init__(self, schema: pa.Schema) -> None:
        self._empty = pa.RecordBatch.from_pylist([], schema=schema)
        self.batch = self._empty

    def clear(self) -> None:
        self.batch = self._empty

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self.batch.schema, [self.batch])
        return reader.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self.batch.schema.__arrow_c_schema__()


@dataclass
class Projection:
    """The rows of a batch that pass a filter, and what is computed of them, by one DuckDB query per batch.

    `query` reads the relation "input": those `columns` of the batch, by index and with the types of `schema`, and
    then the row number, named `row`. It returns the values for `output` and then that row number, in its order, so
    that weights stay with their rows.
    `open` gives a DuckDB connection of one's own, in UTC, with one thread; it is called at the first batch.
    `translate` makes a DuckDB error one of ours. One thread at a time.
    """

    query: str
    columns: tuple[int, ...]
    schema: pa.Schema
    row: str
    output: pa.Schema
    open: Callable[[], duckdb.DuckDBPyConnection]
    translate: Callable[[duckdb.Error], Exception]
    _relation: duckdb.DuckDBPyRelation | None = None

    def __post_init__(self) -> None:
        self._numbered = pa.schema([*(self.schema.field(i) for i in self.columns), pa.field(self.row, pa.int64())])
        self._slot = _Slot(self._numbered)

    def run(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """The computed rows and, for each, its row number in `batch`. Raises: what `translate` makes of it."""
        numbers = pa.array(np.arange(batch.num_rows, dtype=np.int64))
        read = [batch.column(i) for i in self.columns]
        self._slot.batch = pa.RecordBatch.from_arrays([*read, numbers], schema=self._numbered)
        try:
            if self._relation is None:
                connection = self.open()
                connection.register("input", self._slot)
                self._relation = connection.sql(self.query)
            table = self._relation.to_arrow_table()
            columns = [_one_array(column) for column in table.columns]
            rows = columns.pop().to_numpy()
            arrays = [as_type(column, field.type) for column, field in zip(columns, self.output, strict=True)]
        except duckdb.Error as error:
            raise self.translate(error) from None
        finally:
            self._slot.clear()
        return pa.RecordBatch.from_arrays(arrays, schema=self.output), rows


def as_type(array: pa.Array, type: pa.DataType) -> pa.Array:
    """`array` with a type of the same values: wider, or a decimal in another form. Raises: ArrowInvalid."""
    return array if array.type == type else array.cast(type)


def as_array(datum: Datum, rows: int) -> pa.Array:
    """A result as a column: a scalar is repeated."""
    return pa.repeat(datum, rows) if isinstance(datum, pa.Scalar) else datum


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
