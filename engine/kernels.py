"""Kernels that Arrow lacks, or has with other semantics than SQL; each takes a list of arrays or scalars.

Those over times refuse infinite ones, of which DuckDB has two (the largest int64 and its negative).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .expression import Datum, Kernel, Refused, as_array

# Times within these bounds are finite and stay within int64 whatever a kernel here does to them.
_MOMENT_US_MAX = 9_200_000_000_000_000_000  # in the year 293507
_DATE_DAYS_MAX = _MOMENT_US_MAX // 86_400_000_000


def arrow(name: str, options: pc.FunctionOptions | None = None) -> Kernel:
    """Arrow's own kernel of that name."""
    function = pc.get_function(name)
    if options is None:
        return function.call  # type: ignore[no-any-return]
    return partial(function.call, options=options)


def chain(*kernels: Kernel) -> Kernel:
    """Each kernel applied to the one result of the kernel before."""

    def run(arguments: list[Datum]) -> Datum:
        return reduce(lambda values, kernel: [kernel(values)], kernels, arguments)[0]

    return run


def swapped(kernel: Kernel) -> Kernel:
    """The kernel with its two arguments exchanged."""
    return lambda arguments: kernel([arguments[1], arguments[0]])


def first(kernel: Kernel) -> Kernel:
    """The kernel on the first argument alone; the others were constants when it was made."""
    return lambda arguments: kernel(arguments[:1])


def bound(kernel: Kernel, *constants: pa.Scalar) -> Kernel:
    """The kernel with further arguments that never change."""
    return lambda arguments: kernel([*arguments, *constants])


def cast(target: pa.DataType, *, safe: bool = True) -> Kernel:
    """Arrow's cast; where not safe, a float takes the nearest value there is."""
    return arrow("cast", pc.CastOptions(target, allow_float_truncate=not safe, allow_time_truncate=not safe))


_is_nan, _and_not, _or, _invert = arrow("is_nan"), arrow("and_not"), arrow("or"), arrow("invert")
_equal, _less, _less_equal = arrow("equal"), arrow("less"), arrow("less_equal")
_is_null, _xor, _coalesce, _if_else = arrow("is_null"), arrow("xor"), arrow("coalesce"), arrow("if_else")
_FALSE = pa.scalar(False)


def float_equal(arguments: list[Datum]) -> Datum:
    """Equal, where NaN is equal to NaN."""
    left, right = arguments
    return _or([_equal([left, right]), arrow("and")([_is_nan([left]), _is_nan([right])])])


def float_not_equal(arguments: list[Datum]) -> Datum:
    return _invert([float_equal(arguments)])


def float_less(arguments: list[Datum]) -> Datum:
    """Less, where NaN is greater than all else."""
    left, right = arguments
    return _or([_less([left, right]), _and_not([_is_nan([right]), _is_nan([left])])])


def float_less_equal(arguments: list[Datum]) -> Datum:
    left, right = arguments
    return _or([_less_equal([left, right]), _is_nan([right])])


float_greater = swapped(float_less)
float_greater_equal = swapped(float_less_equal)


def distinct(equal: Kernel) -> Kernel:
    """IS DISTINCT FROM, given the kernel for equality: NULL is not distinct from NULL, and from all else."""

    def run(arguments: list[Datum]) -> Datum:
        left, right = arguments
        return _coalesce([_invert([equal([left, right])]), _xor([_is_null([left]), _is_null([right])])])

    return run


def is_true(arguments: list[Datum]) -> Datum:
    return _coalesce([arguments[0], _FALSE])


def is_false(arguments: list[Datum]) -> Datum:
    return _coalesce([_invert([arguments[0]]), _FALSE])


def choose(arguments: list[Datum]) -> Datum:
    """The second argument where the first is true, else the third."""
    condition, taken, other = arguments
    if isinstance(condition, pa.Scalar) or condition.null_count:
        condition = is_true([condition])
    return _if_else([condition, taken, other])


def is_in(values: pa.Array) -> Kernel:
    """Whether an argument is among `values`: NULL if it is NULL, or not there while a NULL is."""
    lookup = arrow("is_in", pc.SetLookupOptions(values.drop_null(), skip_nulls=False))
    absent = pa.scalar(None if values.null_count else False, pa.bool_())

    def run(arguments: list[Datum]) -> Datum:
        found = lookup(arguments)
        if values.null_count:
            found = _if_else([found, found, absent])
        argument = arguments[0]
        if isinstance(argument, pa.Array) and not argument.null_count:
            return found
        return _if_else([arrow("is_valid")([argument]), found, pa.scalar(None, pa.bool_())])

    return run


def round_half_even_to(target: pa.DataType) -> Kernel:
    """A float to the nearest integer, halves to the even one; what does not fit is an error."""
    return chain(arrow("round", pc.RoundOptions(0, "half_to_even")), cast(target))


def finite_cast(target: pa.DataType) -> Kernel:
    """A float in fewer bits; a value that only then becomes infinite is refused."""
    unsafe = cast(target, safe=False)

    def run(arguments: list[Datum]) -> Datum:
        result = unsafe(arguments)
        if pc.any(_and_not([arrow("is_inf")([result]), arrow("is_inf")(arguments)])).as_py():
            raise Refused
        return result

    return run


def round_half_away(digits: int) -> Kernel:
    """The nearest number of so many digits, halves away from zero."""
    return arrow("round", pc.RoundOptions(digits, "half_towards_infinity"))


def round_decimal(source: pa.DataType, digits: int, target: pa.DataType) -> Kernel | None:
    """Decimals of so many digits after the point, halves away from zero; needs a digit to spare for the carry."""
    if source.precision == 38:
        return None
    return chain(cast(pa.decimal128(source.precision + 1, source.scale)), round_half_away(digits), cast(target))


def round_digits(digits: int, type: pa.DataType) -> Kernel:
    """Floats rounded by multiplying, rounding halves away from zero, and dividing; what overflows stays as it is."""
    dtype = type.to_pandas_dtype()
    power = 10.0**digits

    def compute(values: Any) -> Any:
        with np.errstate(all="ignore"):
            scaled = values.astype(np.float64) * power
            whole = np.trunc(scaled)
            whole += np.copysign(np.abs(scaled - whole) >= 0.5, scaled)
            rounded = whole / power
        return np.where(np.isfinite(rounded), rounded, values).astype(dtype)

    return on_values(compute, type)


def float_extreme(gives_way: Kernel) -> Kernel:
    """Of all arguments that are not NULL the one that `gives_way` to none, the first of equals."""

    def run(arguments: list[Datum]) -> Datum:
        best, *others = arguments
        for other in others:
            yields = _coalesce([gives_way([best, other]), _is_null([best])])
            best = _if_else([yields, other, best])
        return best

    return run


def on_values(compute: Callable[..., npt.NDArray[Any]], result: pa.DataType) -> Kernel:
    """A NumPy function of the bare values of arrays and scalars as a kernel: NULL where any argument is NULL."""

    def run(arguments: list[Datum]) -> Datum:
        if all(isinstance(argument, pa.Scalar) for argument in arguments):
            return run([as_array(a, 1) for a in arguments])[0]
        rows = next(len(argument) for argument in arguments if isinstance(argument, pa.Array))
        values = compute(*[_values(argument) for argument in arguments])
        nulls = [_validity(a, rows) for a in arguments if not isinstance(a, pa.Array) or a.null_count]
        mask = ~np.logical_and.reduce(nulls) if nulls else None
        array = pa.array(np.broadcast_to(values, rows), mask=mask)
        return array if array.type == result else array.view(result)

    return run


def _values(argument: Datum) -> Any:
    """The numbers behind an array, whatever stands where it is NULL, or behind a scalar."""
    if isinstance(argument, pa.Scalar):
        if not argument.is_valid:
            return 0
        return _values(as_array(argument, 1))[0]
    width = argument.type.bit_width // 8
    plain = argument.type.to_pandas_dtype() if pa.types.is_floating(argument.type) else f"i{width}"
    if pa.types.is_unsigned_integer(argument.type):
        plain = f"u{width}"
    return (
        np.frombuffer(argument.buffers()[1], plain, len(argument), argument.offset * width)
        if len(argument)
        else np.empty(0, plain)
    )


def _validity(argument: Datum, rows: int) -> npt.NDArray[np.bool_]:
    if isinstance(argument, pa.Scalar):
        return np.full(rows, argument.is_valid)
    return argument.is_valid().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _within(values: Any, bound: int) -> Any:
    """The same values, if none is beyond the bound: infinite times are, and some that no one uses."""
    if np.size(values) and (np.min(values) < -bound or np.max(values) > bound):
        raise Refused
    return values


def _finite_us(values: Any) -> Any:
    return _within(values, _MOMENT_US_MAX)


def finite(kernel: Kernel) -> Kernel:
    """The kernel, over dates and moments that are all finite."""

    def run(arguments: list[Datum]) -> Datum:
        for argument in arguments:
            _within(_values(argument), _DATE_DAYS_MAX if argument.type == pa.date32() else _MOMENT_US_MAX)
        return kernel(arguments)

    return run


def naive(arguments: list[Datum]) -> Datum:
    """Moments as the timestamps a clock in UTC shows; dates and timestamps as they are."""
    moment = arguments[0]
    return (
        relabelled(pa.timestamp("us"))(arguments) if pa.types.is_timestamp(moment.type) and moment.type.tz else moment
    )


def relabelled(target: pa.DataType) -> Kernel:
    """The same microseconds as another type of time."""

    def run(arguments: list[Datum]) -> Datum:
        moment = arguments[0]
        if isinstance(moment, pa.Scalar):
            return run([as_array(moment, 1)])[0]
        return moment if moment.type == target else moment.view(target)

    return run


def common_era(arguments: list[Datum]) -> Datum:
    """Moments as `naive`, and dates, if all are in the years 1 to 9999, which all write with four digits."""
    moment = arguments[0]
    day_units = 1 if moment.type == pa.date32() else 86_400_000_000
    values = _values(moment)
    if np.size(values) and (np.min(values) < -719_162 * day_units or np.max(values) >= 2_932_897 * day_units):
        raise Refused
    return naive(arguments)


def shift(microseconds: int) -> Kernel:
    """Moments moved by a fixed length of time."""
    distance = pa.scalar(microseconds, pa.duration("us"))
    return finite(bound(arrow("add_checked"), distance))


def move_date(sign: int) -> Kernel:
    """Dates moved by a number of days."""

    def move(dates: Any, days: Any) -> Any:
        moved = _within(dates, _DATE_DAYS_MAX) + sign * np.asarray(days, np.int64)
        return _within(moved, _DATE_DAYS_MAX).astype(np.int32)

    return on_values(move, pa.date32())


days_between = on_values(
    lambda end, start: np.subtract(_within(end, _DATE_DAYS_MAX), _within(start, _DATE_DAYS_MAX), dtype=np.int64),
    pa.int64(),
)


def floor_to(size: int, origin: int, result: pa.DataType) -> Kernel:
    """Moments rounded down to `origin` plus a whole number of `size` microseconds."""

    def floor(values: Any) -> Any:
        return (_finite_us(values) - origin) // size * size + origin

    return on_values(floor, result)


def steps_between(size: int) -> Kernel:
    """How many whole multiples of `size` microseconds since 1970 lie between two moments."""
    return on_values(lambda start, end: _finite_us(end) // size - _finite_us(start) // size, pa.int64())


def time_of(size: int, count: int) -> Kernel:
    """How many times `size` microseconds a date or moment is into the unit of time that has `count` of them."""
    return moments(on_values(lambda values: _finite_us(values) // size % count, pa.int64()))


def moments(kernel: Kernel) -> Kernel:
    """The kernel of moments, for dates too: each is its midnight."""
    midnight = finite(arrow("cast", pc.CastOptions.safe(pa.timestamp("us"))))
    return lambda arguments: kernel([midnight(arguments)] if arguments[0].type == pa.date32() else arguments)


def _nearest_ms(values: Any) -> Any:
    return np.sign(values) * ((np.abs(_finite_us(values)) + 500) // 1000)


epoch_us = on_values(_finite_us, pa.int64())
epoch_ms = on_values(_nearest_ms, pa.int64())  # halves away from 1970
epoch_s = moments(on_values(lambda values: _finite_us(values) / 1e6, pa.float64()))


def text_to_timestamp(arguments: list[Datum]) -> Datum:
    """Texts as timestamps; those with hours but no minutes, which only Arrow reads, are refused."""
    lengths = pc.binary_length(arguments[0])
    if pc.any(pc.is_in(lengths, value_set=pa.array([13, 14, 15, 17, 18], pa.int32()))).as_py():
        raise Refused
    return _to_timestamp(arguments)


_to_timestamp = cast(pa.timestamp("us"))


def decimal_to_float(scale: int, target: pa.DataType) -> Kernel:
    """Decimals of at most 18 digits as floats, by the division DuckDB does."""
    dtype = target.to_pandas_dtype()
    exact = 1 << (53 if dtype is np.float64 else 24)
    power = dtype(10.0**scale)

    def divide(words: Any) -> Any:
        if np.ndim(words) and words.size and (words.max() > exact or words.min() < -exact):
            whole, rest = np.divmod(np.abs(words), 10**scale)
            split = np.sign(words) * (whole.astype(dtype) + rest.astype(dtype) / power)
            return np.where(np.abs(words) > exact, split, words.astype(dtype) / power).astype(dtype)
        return words.astype(dtype) / power

    return chain(_low_words, on_values(divide, target))


def _low_words(arguments: list[Datum]) -> Datum:
    """The unscaled values of decimals of at most 18 digits."""
    argument = arguments[0]
    if isinstance(argument, pa.Scalar):
        return _low_words([as_array(argument, 1)])[0]
    words = np.frombuffer(argument.buffers()[1], np.int64, 2 * len(argument), 16 * argument.offset)[::2]
    return pa.array(
        np.ascontiguousarray(words), mask=~_validity(argument, len(argument)) if argument.null_count else None
    )


def split_part(separator: str, index: int) -> Kernel:
    """The part of each text at `index`, from 1, between separators; the empty text where there is none."""
    split = arrow("split_pattern", pc.SplitPatternOptions(separator))

    def run(arguments: list[Datum]) -> Datum:
        if isinstance(arguments[0], pa.Scalar):
            return run([as_array(arguments[0], 1)])[0]
        parts = split(arguments)
        starts = np.asarray(parts.offsets)[:-1]
        there = np.diff(np.asarray(parts.offsets)) >= index
        places = pa.array(starts + (index - 1), mask=~there)
        found = _coalesce([parts.values.take(places), pa.scalar("")])
        return (
            _if_else([arrow("is_valid")([parts]), found, pa.scalar(None, pa.string())]) if parts.null_count else found
        )

    return run
