"""Kernels over numbers: roundings, and the decimals and wide integers that Arrow keeps in 128 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .expression import Datum, Kernel, Refused, as_array
from .kernels import arrow, cast, chain, on_values, validity_of

HUGE = pa.decimal128(38, 0)  # how Arrow carries a HUGEINT


def round_half_even_to(target: pa.DataType) -> Kernel:
    """A float to the nearest integer, halves to the even one; what does not fit is an error."""
    return chain(arrow("round", pc.RoundOptions(0, "half_to_even")), cast(target))


def finite_cast(target: pa.DataType) -> Kernel:
    """A float in fewer bits; a value that only then becomes infinite is refused."""
    unsafe = cast(target, safe=False)

    def run(arguments: list[Datum]) -> Datum:
        result = unsafe(arguments)
        if pc.any(arrow("and_not")([arrow("is_inf")([result]), arrow("is_inf")(arguments)])).as_py():
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
    """The float nearest to the value in so many digits, halves away from zero; what overflows stays as it is.

    A product that seems to be half of a unit may be a little less, as in 2.675 * 100: its rounding error says.
    From: Dekker, "A floating-point technique for extending the available precision" (1971), on that error.
    """
    dtype = type.to_pandas_dtype()
    power = 10.0**digits
    power_high, power_low = _split(power)

    def compute(values: Any) -> Any:
        with np.errstate(all="ignore"):
            exact = values.astype(np.float64)
            scaled = exact * power
            whole = np.trunc(scaled)
            rest = np.abs(scaled - whole)
            up = rest >= 0.5
            if (halves := (rest == 0.5).nonzero()[0]).size:
                high, low = _split(exact[halves])
                error = high * power_high - scaled[halves] + high * power_low + low * power_high + low * power_low
                up[halves] = error * np.sign(scaled[halves]) >= 0
            whole += np.copysign(up, scaled)
            rounded = whole / power
        return np.where(np.isfinite(rounded), rounded, values).astype(dtype)

    return on_values(compute, type)


def _split(value: Any) -> tuple[Any, Any]:
    """Two floats of 26 bits each that add up to `value`."""
    shifted = value * 134217729.0  # 2^27 + 1
    high = shifted - (shifted - value)
    return high, value - high


def decimal_to_float(source: pa.DataType, target: pa.DataType) -> Kernel:
    """Decimals as floats, by the division DuckDB does; of more than 18 digits only those that convert exactly."""
    dtype = target.to_pandas_dtype()
    exact = 1 << (53 if dtype is np.float64 else 24)
    power = dtype(10.0**source.scale)

    def divide(units: Any) -> Any:
        large = (units > exact) | (units < -exact)
        if not np.any(large):
            return units.astype(dtype) / power
        if source.precision > 18:
            raise Refused
        whole, rest = np.divmod(np.abs(units), 10**source.scale)
        split = np.sign(units) * (whole.astype(dtype) + rest.astype(dtype) / power)
        return np.where(large, split, units.astype(dtype) / power).astype(dtype)

    return chain(units_of, on_values(divide, target))


def units_of(arguments: list[Datum]) -> Datum:
    """128-bit decimals as int64 of their last digit's unit; what needs more bits is refused."""
    argument = as_array(arguments[0], 1)
    words = np.frombuffer(argument.buffers()[1], np.int64, 2 * len(argument), 16 * argument.offset)
    low, high = words[::2], words[1::2]
    if np.any(high != low >> 63):
        raise Refused
    nulls = ~validity_of(argument, len(argument)) if argument.null_count else None
    units = pa.array(np.ascontiguousarray(low), mask=nulls)
    return units[0] if isinstance(arguments[0], pa.Scalar) else units


def huge_to_float(target: pa.DataType) -> Kernel:
    """HUGEINTs as floats, with DuckDB's rounding of large negative ones."""

    def convert(units: Any) -> Any:
        return np.where(units >= 0, units.astype(np.float64), -(-(units + 1)).astype(np.float64) - 1)

    return chain(units_of, on_values(convert, pa.float64()), cast(target))


def by_units(kernel: Kernel) -> Kernel:
    """A kernel of int64 for HUGEINTs, as long as arguments and result fit into 64 bits."""
    widen = cast(HUGE)
    return lambda arguments: widen([kernel([units_of([argument]) for argument in arguments])])
