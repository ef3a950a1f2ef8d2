"""Kernels over lists and maps: all the values of a batch lie in one array, and offsets say whose they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .expression import Datum, Kernel, Refused, as_array
from .kernels import arrow, values_of

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranges:
    """Where each row's values lie: from `starts` up to `starts` + `lengths`; of a NULL there are none."""

    starts: Places
    lengths: Places
    nulls: npt.NDArray[np.bool_] | None

    @staticmethod
    def of(rows: pa.Array) -> Ranges:
        """Those of a list or map array, in its whole child."""
        offsets = np.asarray(rows.offsets).astype(np.int64)
        starts, lengths = offsets[:-1], np.diff(offsets)
        if not rows.null_count:
            return Ranges(starts, lengths, None)
        nulls = rows.is_null().to_numpy(zero_copy_only=False)
        return Ranges(starts, np.where(nulls, 0, lengths), nulls)

    @property
    def ends(self) -> Places:
        """Per row how many values there are up to its last one."""
        return np.cumsum(self.lengths)

    def gathered(self, values: pa.Array) -> pa.Array:
        """Those of the child that are in some row, row after row."""
        ends = self.ends
        count = int(ends[-1]) if len(ends) else 0
        if not count:
            return values[:0]
        skipped = self.starts - (ends - self.lengths)
        if skipped[0] == skipped[-1]:  # it never grows less, so there is no gap
            return values.slice(int(skipped[0]), count)
        return values.take(pa.array(np.arange(count) + np.repeat(skipped, self.lengths)))

    def owners(self, at: Places) -> Places:
        """The rows that the gathered values at these places are in."""
        return np.searchsorted(self.ends, at, side="right")


def by_rows(compute: Callable[..., pa.Array]) -> Kernel:
    """A kernel of arrays: of arguments that are all scalars it makes arrays of one row, and other scalars stay."""

    def run(arguments: list[Datum]) -> Datum:
        if all(isinstance(argument, pa.Scalar) for argument in arguments):
            return compute(*[as_array(argument, 1) for argument in arguments])[0]
        rows = next(len(argument) for argument in arguments if isinstance(argument, pa.Array))
        return compute(as_array(arguments[0], rows), *arguments[1:])

    return run


def listed(ranges: Ranges, values: pa.Array, type: pa.DataType) -> pa.Array:
    """A list array of `values`, which lie row after row as long as `ranges` says, and NULL where it is."""
    offsets = np.concatenate([np.zeros(1, np.int64), ranges.ends])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise Refused
    mask = None if ranges.nulls is None else pa.array(ranges.nulls)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, type=type, mask=mask)


def length(result: pa.DataType) -> Kernel:
    """How many values there are."""

    def compute(rows: pa.Array) -> pa.Array:
        ranges = Ranges.of(rows)
        return pa.array(ranges.lengths, mask=ranges.nulls).cast(result)

    return by_rows(compute)


def element(rows: pa.Array, index: Datum) -> pa.Array:
    """The value at an index, from 1, or from -1 backwards from the end; NULL where there is none."""
    ranges = Ranges.of(rows)
    wanted = values_of(index)
    at = np.where(wanted < 0, ranges.lengths + wanted, wanted - 1) if np.ndim(wanted) else _at(wanted, ranges.lengths)
    missing = (at < 0) | (at >= ranges.lengths)
    if isinstance(index, pa.Array) and index.null_count:
        missing |= index.is_null().to_numpy(zero_copy_only=False)
    return rows.values.take(pa.array(ranges.starts + at, mask=missing))


def _at(wanted: int, lengths: Places) -> Any:
    return lengths + wanted if wanted < 0 else np.full(len(lengths), wanted - 1)


def hits(equal: Kernel, ranges: Ranges, values: pa.Array, wanted: Datum) -> npt.NDArray[np.bool_]:
    """Which of the gathered values are what is wanted in their row. Raises: Refused where a NULL is wanted."""
    if isinstance(wanted, pa.Array):
        if wanted.null_count:
            raise Refused
        wanted = wanted.take(pa.array(np.repeat(np.arange(len(ranges.lengths)), ranges.lengths)))
    found = equal([ranges.gathered(values), wanted])
    return np.asarray(found.fill_null(False))


def contains(equal: Kernel, values: str = "values") -> Kernel:
    """Whether a value is among the `values` of a list, or the `keys` of a map."""

    def compute(rows: pa.Array, wanted: Datum) -> pa.Array:
        ranges = Ranges.of(rows)
        at = hits(equal, ranges, getattr(rows, values), wanted).nonzero()[0]
        there = np.zeros(len(rows), bool)
        there[ranges.owners(at)] = True
        return pa.array(there, mask=ranges.nulls)

    return by_rows(compute)


def position(equal: Kernel, result: pa.DataType) -> Kernel:
    """The index of the first value that is what is wanted, from 1; NULL where none is."""

    def compute(rows: pa.Array, wanted: Datum) -> pa.Array:
        ranges = Ranges.of(rows)
        at = hits(equal, ranges, rows.values, wanted).nonzero()[0][::-1]
        owners = ranges.owners(at)
        index = np.zeros(len(rows), np.int64)
        index[owners] = at - (ranges.ends - ranges.lengths)[owners] + 1  # of several the first, which is written last
        return pa.array(index, mask=index == 0).cast(result)

    return by_rows(compute)


def listing(type: pa.DataType) -> Kernel:
    """A list of the arguments."""

    def run(arguments: list[Datum]) -> Datum:
        rows = next(len(argument) for argument in arguments if isinstance(argument, pa.Array))
        count = len(arguments)
        order = np.arange(rows * count).reshape(count, rows).T.ravel()
        values = pa.concat_arrays([as_array(argument, rows) for argument in arguments]).take(pa.array(order))
        return listed(Ranges(order[:0], np.full(rows, count), None), values, type)

    return run


def joined(separator: str) -> Kernel:
    """The texts of each list with the separator between; of a list with NULLs refused."""
    join = arrow("binary_join")

    def compute(rows: pa.Array) -> pa.Array:
        if rows.flatten().null_count:
            raise Refused
        return join([rows, pa.scalar(separator)])

    return by_rows(compute)


def split(separator: str, type: pa.DataType) -> Kernel:
    """The parts of a text between separators."""
    return by_rows(lambda texts: pc.split_pattern(texts, separator).cast(type))


def lookup(equal: Kernel) -> Kernel:
    """The value under a key of a map; NULL where the key is not there."""

    def compute(rows: pa.Array, key: Datum) -> pa.Array:
        ranges = Ranges.of(rows)
        at = hits(equal, ranges, rows.keys, key).nonzero()[0]
        owners = ranges.owners(at)
        place, missing = np.zeros(len(rows), np.int64), np.ones(len(rows), bool)
        place[owners], missing[owners] = at, False
        return ranges.gathered(rows.items).take(pa.array(place, mask=missing))

    return by_rows(compute)


def halves(name: str, type: pa.DataType) -> Kernel:
    """All `keys` or all `items` of a map as a list."""

    def compute(rows: pa.Array) -> pa.Array:
        ranges = Ranges.of(rows)
        return listed(ranges, ranges.gathered(getattr(rows, name)), type)

    return by_rows(compute)


def field(index: int) -> Kernel:
    """A field of a struct; NULL where the struct is."""
    return arrow("struct_field", pc.StructFieldOptions([index]))


def packed(type: pa.DataType) -> Kernel:
    """A struct of the arguments."""

    def run(arguments: list[Datum]) -> Datum:
        rows = next(len(argument) for argument in arguments if isinstance(argument, pa.Array))
        return pa.StructArray.from_arrays([as_array(a, rows) for a in arguments], fields=list(type))

    return run
