"""The functions of OVER, each for all rows of sorted partitions at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .slot_array import Mask, where
from .sort_keys import SortKey, order_words
from .sums import integer_words
from .words import words_array

Places = npt.NDArray[np.int64]

FRAME_ROWS_MAX = 256  # of a moving minimum or maximum: each row of the frame is a pass over all rows


@dataclass(frozen=True)
class Frame:
    """Which rows of its partition a row's value is made of.

    'rows' counts from the row itself: -2 is two before it; None is the partition's end on that side. 'peers': all from
    the start of the partition to the last row that is equal in the order's leading keys.
    """

    kind: str = "peers"
    start: int | None = None
    end: int | None = None


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


class Sorted:
    """Rows in the order of their partitions and, in these, of a window; and where partitions and peers begin."""

    def __init__(self, batch: pa.RecordBatch, first: Mask, peers: dict[int, Mask]) -> None:
        self.batch = batch
        self.rows = int(batch.num_rows)
        self.first = first
        self.peers = peers  # by the number of keys that make peers, where stretches of them begin

    @cached_property
    def start(self) -> Places:
        """Where each row's partition begins."""
        return _starts(self.first)

    @cached_property
    def end(self) -> Places:
        """Where it ends."""
        return _ends(self.first)

    @cached_property
    def here(self) -> Places:
        return np.arange(self.rows)

    def frame(self, call: OverCall) -> tuple[Places, Places]:
        """Where the frame of each row begins and ends."""
        if call.frame.kind == "peers":
            return self.start, _ends(self.peers[call.peers])
        start, end = call.frame.start, call.frame.end
        low = self.start if start is None else np.clip(self.here + start, self.start, self.end)
        high = self.end if end is None else np.clip(self.here + end + 1, self.start, self.end)
        return low, np.maximum(low, high)


def compute(call: OverCall, rows: Sorted) -> pa.Array:
    """The value of `call` for each row."""
    match call.function:
        case "lag" | "lead":
            return _shifted(call, rows)
        case "first_value" | "last_value" | "nth_value":
            low, high = rows.frame(call)
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
            result = _starts(peers) - rows.start + 1
        case "dense_rank":
            dense = np.cumsum(peers, dtype=np.int64)
            result = dense - dense[rows.start] + 1
        case "percent_rank":
            result = (_starts(peers) - rows.start) / np.maximum(rows.end - rows.start - 1, 1)
        case "cume_dist":
            result = (_ends(peers) - rows.start) / (rows.end - rows.start)
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
    low, high = rows.frame(call)
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
    """min and max, by the values' ranks: running ones at once for all partitions, moving ones a pass a row of frame."""
    assert call.argument is not None
    column = rows.batch.column(call.argument)
    key = SortKey(call.argument, descending=call.function == "min")  # so that it is always the greatest rank
    words = order_words(pa.RecordBatch.from_arrays([column], names=[call.argument]), [key])
    order = np.lexsort([*reversed(words)])
    ranks = np.empty(rows.rows, np.int64)
    ranks[order] = np.arange(1, rows.rows + 1)
    if column.null_count:
        ranks[column.is_null().to_numpy(zero_copy_only=False)] = 0  # less than any value
    low, high = rows.frame(call)
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
        best = np.zeros(rows.rows, np.int64)
        for distance in range(call.frame.start, call.frame.end + 1):
            places = rows.here + distance
            inside = where((places >= low) & (places < high))
            best[inside] = np.maximum(best[inside], ranks[places[inside]])
    taken = column.take(pa.array(order[np.maximum(best, 1) - 1], mask=best == 0))
    return taken if taken.type == call.type else taken.cast(call.type)


def _starts(begins: Mask) -> Places:
    places = where(begins)
    return np.repeat(places, np.diff(places, append=len(begins)))


def _ends(begins: Mask) -> Places:
    places = where(begins)
    lengths = np.diff(places, append=len(begins))
    return np.repeat(places + lengths, lengths)
