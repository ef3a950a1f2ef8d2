"""The functions of OVER, each for all rows of sorted partitions at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .over_frames import Frame, Places, Sorted, ends_of, starts_of
from .slot_array import Mask, where
from .sort_keys import SortKey, order_words
from .sums import integer_words
from .words import words_array


@dataclass(frozen=True)
class OverCall:
    """One function over one window: its arguments by name, `number` for lag(x, number), nth_value(x, number), ntile."""

    function: str
    argument: str | None
    number: int
    default: str | None
    frame: Frame
    peers: int  # leading keys of the order that make rows equal
    name: str
    type: pa.DataType


def compute(call: OverCall, rows: Sorted) -> pa.Array:
    """The value of `call` for each row."""
    match call.function:
        case "lag" | "lead":
            return _shifted(call, rows)
        case "first_value" | "last_value" | "nth_value":
            low, high = rows.frame(call.frame, call.peers)
            places = {"first_value": low, "last_value": high - 1}.get(call.function, low + call.number - 1)
            return _taken(call, rows, places, (places >= low) & (places < high))
        case "count" | "sum" | "avg":
            return _summed(call, rows)
        case "min" | "max":
            return _extreme(call, rows)
        case _:
            return pa.array(_ranking(call, rows)).cast(call.type)


def _ranking(call: OverCall, rows: Sorted) -> npt.NDArray[Any]:
    number = rows.here - rows.start
    peers = rows.peers[call.peers]
    result: npt.NDArray[Any]
    match call.function:
        case "row_number":
            result = number + 1
        case "rank":
            result = starts_of(peers) - rows.start + 1
        case "dense_rank":
            dense = np.cumsum(peers, dtype=np.int64)
            result = dense - dense[rows.start] + 1
        case "percent_rank":
            result = (starts_of(peers) - rows.start) / np.maximum(rows.end - rows.start - 1, 1)
        case "cume_dist":
            result = (ends_of(peers) - rows.start) / (rows.end - rows.start)
        case "ntile":
            size, larger = np.divmod(rows.end - rows.start, call.number)
            inside = larger * (size + 1)
            small = larger + (number - inside) // np.maximum(size, 1)
            result = np.where(number < inside, number // (size + 1), small) + 1
        case _:
            raise AssertionError(call.function)
    return result


def _shifted(call: OverCall, rows: Sorted) -> pa.Array:
    places = rows.here + (call.number if call.function == "lead" else -call.number)
    there = (places >= rows.start) & (places < rows.end)
    taken = _taken(call, rows, places, there)
    if call.default is None:
        return taken
    return pa.compute.if_else(pa.array(there), taken, rows.batch.column(call.default).cast(call.type))


def _taken(call: OverCall, rows: Sorted, places: Places, there: Mask) -> pa.Array:
    """The argument at `places`, NULL where nothing is there."""
    assert call.argument is not None
    column = rows.batch.column(call.argument)
    taken = column.take(pa.array(np.where(there, places, 0), mask=None if there.all() else ~there))
    return taken if taken.type == call.type else taken.cast(call.type)


def _summed(call: OverCall, rows: Sorted) -> pa.Array:
    """count, sum and avg from sums up to each row: exact, since integers and decimals are added."""
    low, high = rows.frame(call.frame, call.peers)
    if call.argument is None:
        return pa.array(high - low)
    column = rows.batch.column(call.argument)
    valid: Mask = column.is_valid().to_numpy(zero_copy_only=False)
    counts = _between(np.cumsum(valid), low, high) if column.null_count else high - low
    if call.function == "count":
        return pa.array(counts)
    sums = _between(_running(column, valid), low, high)
    if call.function == "avg":
        scale = 10**column.type.scale if pa.types.is_decimal(column.type) else 1
        means = sums.astype(np.float64) / (np.maximum(counts, 1) * float(scale))
        return pa.array(means, mask=counts == 0).cast(call.type)
    if sums.dtype == object:
        words = [(sums & 0xFFFFFFFFFFFFFFFF).astype(np.uint64).view(np.int64), (sums >> 64).astype(np.int64)]
    else:
        words = [sums, sums >> 63]
    return words_array(call.type, words, counts == 0 if (counts == 0).any() else None)


def _running(column: pa.Array, valid: Mask) -> npt.NDArray[Any]:
    """The sum of all values up to each row, in int64 or, where these could overflow, as Python integers."""
    filled = column.fill_null(0) if column.null_count else column
    words = integer_words(filled)
    values: npt.NDArray[Any] = words[0]
    if len(words) > 1:
        values = (words[1].astype(object) << 64) + words[0].view(np.uint64).astype(object)
    elif len(values) and int(np.abs(values.astype(np.float64)).max()) > (1 << 62) // len(values):
        values = values.astype(object)
    return np.cumsum(values)


def _between(running: npt.NDArray[Any], low: Places, high: Places) -> npt.NDArray[Any]:
    """The sum over [low, high), given the sums up to and with each row."""
    before = np.concatenate([np.zeros(1, running.dtype), running])
    difference: npt.NDArray[Any] = before[high] - before[low]
    return difference


def _extreme(call: OverCall, rows: Sorted) -> pa.Array:
    """min and max, by the values' ranks: running ones at once for all partitions, moving ones by halving frames."""
    assert call.argument is not None
    column = rows.batch.column(call.argument)
    key = SortKey(call.argument, descending=call.function == "min")  # so that it is always the greatest rank
    words = order_words(pa.RecordBatch.from_arrays([column], names=[call.argument]), [key])
    order = np.lexsort([*reversed(words)])
    ranks = np.empty(rows.rows, np.int64)
    ranks[order] = np.arange(1, rows.rows + 1)
    if column.null_count:
        ranks[column.is_null().to_numpy(zero_copy_only=False)] = 0  # less than any value
    low, high = rows.frame(call.frame, call.peers)
    there = high > low
    offsets = np.cumsum(rows.first) * (rows.rows + 1)  # each partition begins above all before it
    if call.frame.start is None:
        best = np.maximum.accumulate(ranks + offsets) - offsets
        best = np.where(there, best[np.where(there, high - 1, 0)], 0)
    elif call.frame.end is None:
        offsets = offsets[-1:] - offsets
        best = np.maximum.accumulate((ranks + offsets)[::-1])[::-1] - offsets
        best = np.where(there, best[np.where(there, low, 0)], 0)
    else:
        best = _greatest(ranks, low, high)
    taken = column.take(pa.array(order[np.maximum(best, 1) - 1], mask=best == 0))
    return taken if taken.type == call.type else taken.cast(call.type)


def _greatest(ranks: Places, low: Places, high: Places) -> Places:
    """The greatest of `ranks` in each [low, high), 0 where that is empty: of two stretches of a power of two rows.

    From: Bender and Farach-Colton, "The LCA problem revisited" (LATIN 2000), section 3, a power at a time.
    """
    lengths = high - low
    best = np.zeros(len(low), np.int64)
    size, stretches = 1, ranks  # the greatest of the `size` ranks from each place on
    while size <= lengths.max(initial=0):
        now = where((lengths >= size) & (lengths < 2 * size))
        best[now] = np.maximum(stretches[low[now]], stretches[high[now] - size])
        stretches = np.maximum(stretches[:-size], stretches[size:])
        size *= 2
    return best
