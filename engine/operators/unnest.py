"""Unnest: each row once per element of its lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..delta import Delta
from ..operator import Operator

Places = npt.NDArray[np.int64]


class Unnest(Operator):
    """Each row once per element of its `lists`, its weight with it: the first elements side by side, then the second.

    A list that is shorter than another gives NULLs. A row whose lists are all empty or NULL comes out only where
    `outer`, once, beside NULLs.
    Shape: first the columns of the input that `schema` has too, by name; then one column per list; and with
    `numbered` the place of the elements in the list, from 1, as BIGINT.
    State: none.
    """

    def __init__(self, lists: Sequence[str], schema: pa.Schema, *, outer: bool, numbered: bool) -> None:
        self.schema = schema
        self._lists = list(lists)
        self._outer = outer
        self._numbered = numbered
        self._kept = schema.names[: len(schema) - len(self._lists) - numbered]

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        lists = [delta.batch.column(name) for name in self._lists]
        lengths = [_lengths(column) for column in lists]
        longest = np.maximum.reduce(lengths)
        times = np.maximum(longest, 1) if self._outer else longest
        rows = np.repeat(np.arange(delta.rows), times)
        if not len(rows):
            return None
        taken = pa.array(rows)
        columns = [delta.batch.column(name).take(taken) for name in self._kept]
        place = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
        kinds = self.schema.types[len(self._kept) :]
        for column, length, kind in zip(lists, lengths, kinds, strict=False):
            columns.append(_elements(column, length, rows, place, kind))
        if self._numbered:
            columns.append(pa.array(place + 1, mask=place >= longest[rows]))
        return Delta(
            pa.RecordBatch.from_arrays(columns, schema=self.schema),
            None if delta.weights is None else delta.weights[rows],
            None if delta.closed is None else delta.closed[rows],
        )


def _lengths(column: pa.Array) -> Places:
    """The number of elements of each list, 0 for NULL."""
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)


def _elements(column: pa.Array, lengths: Places, rows: Places, place: Places, kind: pa.DataType) -> pa.Array:
    """The element at `place` in the list of each of `rows`, NULL past its end."""
    values = column.flatten()
    if len(values) != len(rows) or (place >= lengths[rows]).any():
        starts = np.cumsum(lengths) - lengths
        past = place >= lengths[rows]
        values = values.take(pa.array(np.where(past, 0, starts[rows] + place), mask=past))
    return values if values.type == kind else values.cast(kind)
