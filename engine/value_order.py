"""Numbers in the order of a value, in which those between two values are found; values as integers of that order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.hashing import fixed_values
from ..storage.memory import current
from .row_lists import RowIds, expanded
from .slot_array import where

Values = npt.NDArray[np.int64]

LEAST, MOST = (int(bound) for bound in (np.iinfo(np.int64).min, np.iinfo(np.int64).max))
_SIGN = np.int64(LEAST)
_RUN = ("value", "reach", "reached", "number")  # columns of a snapshot


def measurable(kind: pa.DataType) -> bool:
    """Whether values of that type are integers of the same order."""
    if pa.types.is_decimal128(kind):
        return bool(kind.precision <= 18)
    whole = pa.types.is_signed_integer(kind) or (pa.types.is_unsigned_integer(kind) and kind.bit_width < 64)
    return bool(whole or pa.types.is_float64(kind) or pa.types.is_timestamp(kind) or pa.types.is_date32(kind))


def measured(column: pa.Array) -> Values:
    """The values of a column as such integers; those of NULL may be anything."""
    kind = column.type
    if pa.types.is_floating(kind):
        return float_order(fixed_values(column, np.float64))
    if pa.types.is_decimal(kind):
        return fixed_values(column, np.dtype((np.int64, (2,))))[:, 0].copy()
    sign = "u" if pa.types.is_unsigned_integer(kind) else "i"
    return fixed_values(column, f"{sign}{kind.bit_width // 8}").astype(np.int64)


def float_order(values: npt.NDArray[np.float64]) -> Values:
    """Floats as integers of the same order: -0.0 is 0.0, and NaN the greatest."""
    values = np.where(np.isnan(values), np.nan, values + 0.0)
    bits = values.view(np.int64)
    return np.where(bits < 0, ~bits ^ _SIGN, bits)


class ValueOrder:
    """Numbers, of rows or the like, each with a value and a reach, which may be the value.

    State: 32 bytes a number, in sorted runs of which each is at most half as long as the one before.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Values, Values, Values, RowIds]] = []  # with the greatest reach so far

    def add(self, values: Values, reaches: Values, numbers: RowIds) -> None:
        """Put in `numbers[i]` with `values[i]` and `reaches[i]`."""
        if not len(numbers):
            return
        memory = current()
        while self._runs and len(self._runs[-1][0]) < 2 * len(values):
            if not memory.joins(32 * (len(self._runs[-1][0]) + len(values))):
                break
            last_values, last_reaches, _, last_numbers = self._runs.pop()
            values, reaches = np.concatenate([last_values, values]), np.concatenate([last_reaches, reaches])
            numbers = np.concatenate([last_numbers, numbers])
        order = np.argsort(values, kind="stable")
        reaches = reaches[order]
        run = (values[order], reaches, np.maximum.accumulate(reaches), numbers[order])
        self._runs.append(tuple(memory.held(part) for part in run))  # type: ignore[arg-type]
        memory.watch(self)

    def counts(self, least: Values, most: Values, reach: Values) -> npt.NDArray[np.int64]:
        """How many numbers `find` gives for each place."""
        found = np.zeros(len(least), np.int64)
        for start, end, _ in self._ranges(least, most, reach):
            found += end - start
        return found

    def find(self, least: Values, most: Values, reach: Values) -> tuple[RowIds, RowIds]:
        """Every pair of a place in `least` and a number with a value from there to `most`, but that none reach `reach`.

        Some of those that do not reach it come, too.
        """
        queries, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for start, end, numbers in self._ranges(least, most, reach):
            queries.append(np.repeat(np.arange(len(least)), end - start))
            found.append(numbers[expanded(start, end - start)])
        return np.concatenate(queries), np.concatenate(found)

    def move(self) -> None:
        """Lie where there is room now."""
        memory = current()
        self._runs = [tuple(memory.moved(part) for part in run) for run in self._runs]  # type: ignore[misc]

    def clear(self) -> None:
        """Take out all."""
        self._runs = []

    def table(self) -> pa.Table:
        """All there is, which was added at once, for `adopt`. Does not change."""
        assert len(self._runs) <= 1, "several runs are no order"
        run = self._runs[0] if self._runs else [np.zeros(0, np.int64)] * len(_RUN)
        return pa.table(dict(zip(_RUN, run, strict=True)))

    def adopt(self, table: pa.Table) -> None:
        """Become what `table` was taken of; it stays where it lies."""
        values, reaches, reached, numbers = (table[name].to_numpy() for name in _RUN)
        self._runs = [(values, reaches, reached, numbers)] if len(values) else []

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return sum(part.nbytes for run in self._runs for part in run)

    def _ranges(self, least: Values, most: Values, reach: Values) -> list[tuple[RowIds, RowIds, RowIds]]:
        ranges = []
        for values, _, reached, numbers in self._runs:
            start = np.searchsorted(values, least, side="left")
            start = np.maximum(start, np.searchsorted(reached, reach, side="left"))
            ranges.append((start, np.maximum(np.searchsorted(values, most, side="right"), start), numbers))
        return ranges


Bounds = tuple[Values, Values, Values]  # the arguments of `find`


class OneSideInOrder:
    """The rows of one side of a join by a column of theirs, and between which values a row of the other looks.

    `least` and `most` are columns of the other side that `column` is not below, or not above. Where it has no `least`
    there may be a column `reach`, which is not below those of the other in `reached`: with intervals that overlap
    little, in the order of where they begin, those that end too early all come before those that do not.
    State: as ValueOrder, without the rows that have NULL there.
    """

    def __init__(
        self, column: str, least: Sequence[str], most: Sequence[str], reach: str = "", reached: Sequence[str] = ()
    ) -> None:
        self.columns = [column, reach or column]
        self._least, self._most, self._reached = least, most, reached
        self.order = ValueOrder()

    def add(self, columns: Sequence[pa.Array], rows: RowIds) -> None:
        """Put in `rows`, with what they have in `columns`."""
        values, reaches = (measured(column) for column in columns)
        if any(column.null_count for column in columns):
            valid = where(np.logical_and(*(c.is_valid().to_numpy(zero_copy_only=False) for c in columns)))
            values, reaches, rows = values[valid], reaches[valid], rows[valid]
        self.order.add(values, reaches, rows)

    def bounds(self, batch: pa.RecordBatch) -> Bounds:
        """Where the partners of each row of the other side are; nowhere if a bound is NULL."""
        least, reach = np.full(batch.num_rows, LEAST), np.full(batch.num_rows, LEAST)
        most = np.full(batch.num_rows, MOST)
        for names, bound, nearer in (
            (self._least, least, np.maximum),
            (self._most, most, np.minimum),
            (self._reached, reach, np.maximum),
        ):
            for name in names:
                nearer(bound, measured(batch.column(name)), out=bound)
        for name in (*self._least, *self._most, *self._reached):
            if batch.column(name).null_count:
                null = batch.column(name).is_null().to_numpy(zero_copy_only=False)
                least[null], most[null] = MOST, LEAST
        return least, most, reach


def in_order(schema: pa.Schema, order: Sequence[tuple[str, str]]) -> OneSideInOrder | None:
    """What finds rows of the side with `schema` where of each pair of columns the first is not above the second.

    By the column that is bounded both ways, if there is one, or else by one from above and one from below.
    """
    names = dict.fromkeys(name for pair in order for name in pair if name in schema.names)
    least = {name: [low for low, high in order if high == name] for name in names}
    most = {name: [high for low, high in order if low == name] for name in names}
    both = next((name for name in names if least[name] and most[name]), None)
    above, below = (next((name for name in names if bounds[name]), None) for bounds in (most, least))
    if both is None and above is not None and below is not None:
        return OneSideInOrder(above, (), most[above], below, least[below])
    column = both or above or below
    return None if column is None else OneSideInOrder(column, least[column], most[column])
