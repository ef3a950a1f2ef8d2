"""Kernels that Arrow lacks, or has with other semantics than SQL; each takes a list of arrays or scalars."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .expression import Datum, Kernel, Refused, as_array


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
        values = compute(*[values_of(argument) for argument in arguments])
        nulls = [_validity(a, rows) for a in arguments if not isinstance(a, pa.Array) or a.null_count]
        mask = ~np.logical_and.reduce(nulls) if nulls else None
        array = pa.array(np.broadcast_to(values, rows), mask=mask)
        return array if array.type == result else array.view(result)

    return run


def values_of(argument: Datum) -> Any:
    """The numbers behind an array, whatever stands where it is NULL, or behind a scalar."""
    if isinstance(argument, pa.Scalar):
        if not argument.is_valid:
            return 0
        return values_of(as_array(argument, 1))[0]
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


# Bytes that begin (or, where a script shares them, continue) characters whose case some versions of Unicode know and
# others do not: Latin Extended-B and IPA, Georgian and Vedic, Latin Extended-D, and all beyond the basic plane.
_UNSETTLED = np.isin(np.arange(256), [0xC6, 0xC9, 0xE1, 0xEA, *range(0xF0, 0xF5)])


def settled_case(name: str) -> Kernel:
    """Arrow's kernel `name` that changes case, over texts whose characters have had the same case for long."""
    change = arrow(name)

    def run(arguments: list[Datum]) -> Datum:
        texts = as_array(arguments[0], 1)
        _, offsets, content = texts.buffers()
        if content is not None and len(texts):
            start, end = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]]
            used = np.frombuffer(content, np.uint8)[start:end]
            if used.size and used.max() >= 0xC6 and _UNSETTLED[used].any():
                raise Refused
        return change(arguments)

    return run


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
