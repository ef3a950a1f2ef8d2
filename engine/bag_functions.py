"""What is computed from all rows of a group at once: mode, quantiles, lists, and whatever else needs every value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..storage.hashing import fixed_values
from .bag import Order, Segments
from .ranks import ranks
from .slot_array import Mask, where

Constants = Sequence[object]
BagFunction = Callable[[Segments, Sequence[Order], Constants, pa.DataType], pa.Array]

"""A value of the type for each segment, NULL where that is empty. The orders are those of ORDER BY, by column; the
constants are the arguments that are the same for all rows."""


def first(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The first column of the first row."""
    return _at(segments.ordered(orders), segments.starts[:-1])


def last(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The first column of the last row."""
    return _at(segments.ordered(orders), segments.starts[1:] - 1)


def arg_min(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The first column of the row whose second is least; of several the least."""
    return first(segments, [Order(_second(segments)), Order(0)], constants, kind)


def arg_max(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The first column of the row whose second is greatest; of several the least."""
    return first(segments, [Order(_second(segments), descending=True), Order(0)], constants, kind)


def _second(segments: Segments) -> int:
    """The place of the second argument, which may be the first one again."""
    return min(1, len(segments.columns) - 1)


def mode(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The value that is there most often; of several the least."""
    return _at(segments.sort_by(-segments.counts, ranks(segments.columns[0])), segments.starts[:-1])


def _at(segments: Segments, rows: npt.NDArray[np.int64]) -> pa.Array:
    """The first column at `rows`, one for each segment; NULL for those that are empty."""
    empty = segments.lengths == 0
    return segments.columns[0].take(pa.array(np.where(empty, 0, rows), mask=empty if empty.any() else None))


def quantile_disc(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The least value that at least the given share of the rows do not exceed; for a list of shares a list."""
    ordered = segments.ordered([Order(0)])
    sizes = ordered.sizes()
    shares = constants[0]
    if not isinstance(shares, tuple):
        return _at(ordered, _row_of(ordered, _discrete(sizes, shares)))
    return _in_lists([_at(ordered, _row_of(ordered, _discrete(sizes, share))) for share in shares], kind)


def _discrete(sizes: npt.NDArray[np.int64], share: object) -> npt.NDArray[np.int64]:
    """Which of so many ordered rows it is, counted from 0; exact for a share with decimal digits."""
    if isinstance(share, float):
        below = sizes - np.floor(sizes - sizes * share).astype(np.int64)
    else:
        exact = Fraction(share) if isinstance(share, int | Decimal) else Fraction(0)
        below = sizes - (sizes * (exact.denominator - exact.numerator)) // exact.denominator
    return np.maximum(below, 1) - 1


def quantile_cont(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The value at the given share of the way from the least to the greatest row, between two rows if need be."""
    ordered = segments.ordered([Order(0)])
    shares = constants[0]
    if not isinstance(shares, tuple):
        return _between(ordered, float(str(shares)), kind)
    return _in_lists([_between(ordered, float(str(share)), kind.value_type) for share in shares], kind)


def _between(ordered: Segments, share: float, kind: pa.DataType) -> pa.Array:
    places = np.maximum(ordered.sizes() - 1, 0) * share
    lower, upper = np.floor(places), np.ceil(places)
    rows = [_row_of(ordered, side.astype(np.int64)) for side in (lower, upper)]
    sides = [_at(ordered, row) for row in rows]
    way = places - lower
    nulls = ordered.lengths == 0
    if pa.types.is_float32(kind):
        near, far = (fixed_values(side, np.float32) for side in sides)
        with np.errstate(invalid="ignore", over="ignore"):
            floats = np.where(lower == upper, near, near + (far - near) * way).astype(np.float32)
        return pa.array(floats, kind, mask=nulls if nulls.any() else None)
    if pa.types.is_float64(kind):
        low, high = (fixed_values(side, np.float64) for side in sides)
        with np.errstate(invalid="ignore", over="ignore"):
            found = np.where(lower == upper, low, low * (1.0 - way) + high * way)
        return pa.array(found, kind, mask=nulls if nulls.any() else None)
    least, greatest = (_units(side) for side in sides)
    between = (least + (greatest - least) * way).astype(np.int64)
    return _from_units(np.where(lower == upper, least, between), kind, nulls)


def _units(column: pa.Array) -> npt.NDArray[np.int64]:
    """Decimals of at most 18 digits as integers, whatever where they are NULL."""
    return fixed_values(column, np.dtype((np.int64, (2,))))[:, 0]


def _from_units(units: npt.NDArray[np.int64], kind: pa.DataType, nulls: Mask) -> pa.Array:
    words = np.stack([units, units >> 63], axis=1)
    validity = pa.py_buffer(np.packbits(~nulls, bitorder="little")) if nulls.any() else None
    return pa.Array.from_buffers(kind, len(units), [validity, pa.py_buffer(np.ascontiguousarray(words))])


def _row_of(segments: Segments, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The row that is at `places[i]` in segment i, if each row is counted as often as it is there."""
    ends = np.cumsum(segments.counts)
    before = np.concatenate([np.zeros(1, np.int64), ends])[segments.starts[:-1]]
    return np.searchsorted(ends, before + places, side="right")


def _in_lists(columns: list[pa.Array], kind: pa.DataType) -> pa.Array:
    """Row by row a list of what the columns hold; NULL where they hold NULL."""
    rows, width = len(columns[0]), len(columns)
    order = np.arange(rows * width).reshape(width, rows).T.reshape(-1)
    nulls = columns[0].is_null().to_numpy(zero_copy_only=False)
    lists = pa.ListArray.from_arrays(
        pa.array(np.arange(rows + 1, dtype=np.int32) * width), pa.concat_arrays(columns).take(pa.array(order))
    )
    return pc.if_else(pa.array(~nulls), lists, pa.scalar(None, lists.type)) if nulls.any() else lists


def collected(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The first column of all rows as a list."""
    ordered = segments.ordered(orders)
    rows = np.repeat(np.arange(len(ordered.counts)), ordered.counts)
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(ordered.counts)])[ordered.starts]
    empty = segments.lengths == 0
    return pa.ListArray.from_arrays(
        pa.array(sums.astype(np.int32)),
        ordered.columns[0].take(pa.array(rows)),
        mask=pa.array(empty) if empty.any() else None,
    )


def joined(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The first column of all rows as one text, with the given text between them."""
    return pc.binary_join(collected(segments, orders, constants, kind), pa.scalar(constants[0], pa.string()))


def histogram(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """A map from each value to how often it is there, in the order of the values."""
    ordered = segments.ordered([Order(0)])
    empty = segments.lengths == 0
    starts = pa.array(ordered.starts.astype(np.int32))
    counts = pa.array(ordered.counts.astype(np.uint64))
    entries = pa.StructArray.from_arrays([ordered.columns[0], counts], fields=[kind.key_field, kind.item_field])
    validity = pa.py_buffer(np.packbits(~empty, bitorder="little")) if empty.any() else None
    return pa.Array.from_buffers(kind, len(empty), [validity, starts.buffers()[1]], children=[entries])


def entropy(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The base-2 entropy of the values; 0 for no rows, as DuckDB has it."""
    owners = segments.owners
    shares = segments.counts / segments.sizes()[owners]
    return pa.array(np.bincount(owners, -shares * np.log2(shares), len(segments.starts) - 1) + 0.0)


def product(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The product of all values, as DOUBLE."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        powers = fixed_values(segments.columns[0], np.float64) ** segments.counts
        return _folded(np.multiply, powers, segments, kind)


def bit_and(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The bits that all values have."""
    return _folded(np.bitwise_and, fixed_values(segments.columns[0], kind.to_pandas_dtype()), segments, kind)


def bit_or(segments: Segments, orders: Sequence[Order], constants: Constants, kind: pa.DataType) -> pa.Array:
    """The bits that one of the values has."""
    return _folded(np.bitwise_or, fixed_values(segments.columns[0], kind.to_pandas_dtype()), segments, kind)


def _folded(fold: np.ufunc, values: npt.NDArray[np.generic], segments: Segments, kind: pa.DataType) -> pa.Array:
    empty = segments.lengths == 0
    found = np.zeros(len(empty), values.dtype)
    there = where(~empty)
    if len(there):
        found[there] = fold.reduceat(values, segments.starts[:-1][there])
    return pa.array(found, kind, mask=empty if empty.any() else None)
