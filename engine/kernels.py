"""Kernels that Arrow lacks, or has with other semantics than SQL; each takes a list of arrays or scalars."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .expression import Datum, Kernel, as_array


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


@cache
def _false() -> pa.Scalar:
    """Made when first needed: pyarrow imports pandas, if it is there, for its first scalar."""
    return pa.scalar(False)


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
    return _coalesce([arguments[0], _false()])


def is_false(arguments: list[Datum]) -> Datum:
    return _coalesce([_invert([arguments[0]]), _false()])


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
        nulls = [validity_of(a, rows) for a in arguments if not isinstance(a, pa.Array) or a.null_count]
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
    if not len(argument):
        return np.empty(0, plain)
    return np.frombuffer(argument.buffers()[1], plain, len(argument), argument.offset * width)


def validity_of(argument: Datum, rows: int) -> npt.NDArray[np.bool_]:
    """Which of its rows are not NULL."""
    if isinstance(argument, pa.Scalar):
        return np.full(rows, argument.is_valid)
    return argument.is_valid().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
