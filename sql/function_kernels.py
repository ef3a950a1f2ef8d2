"""Which kernel computes a function for given arguments: what the rows of the table of functions refer to.

Each takes the arguments and the type of the result; None says that there is no kernel for these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..engine import kernels as k
from ..engine import number_kernels as n
from ..engine import time_kernels as t
from ..engine.expression import Datum, Kernel
from ..engine.kernels import arrow, cast, chain, first
from .casts import INTEGER_DIGITS
from .kinds import Argument

Build = Callable[[Sequence[Argument], pa.DataType], Kernel | None]

_DAY_US = 86_400_000_000
_MONDAY_US = 4 * _DAY_US  # the first Monday after 1970-01-01: weeks and time_bucket keep step with it
_FIXED_US = {
    "microseconds": 1,
    "milliseconds": 1_000,
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": _DAY_US,
}
_SPAN_US_MAX = 10**15  # some 31 years: what is rounded to less cannot overflow


def always(kernel: Kernel) -> Build:
    """The same kernel whatever the arguments."""
    return lambda arguments, result: kernel


def for_floats(floats: Kernel, others: Kernel) -> Build:
    """One kernel for floats, where NaN wants care, another for all else."""
    return lambda arguments, result: floats if arguments[0].kind == "float" else others


def constant(argument: Argument) -> Any:
    """The Python value of a constant argument, or None if it is NULL or varies by row."""
    return None if argument.constant is None else argument.constant.as_py()


# --- numbers


def arithmetic(name: str) -> Build:
    """Integers overflow with an error, floats do not, decimals keep to the precision of the result."""
    checked = arrow(f"{name}_checked")

    def build(arguments: Sequence[Argument], result: pa.DataType) -> Kernel:
        match arguments[0].kind:
            case "decimal":
                return chain(checked, cast(result))
            case "huge":
                return n.by_units(checked)
            case "integer":
                return checked
            case _:
                return arrow(name)

    return build


def multiply_decimals(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """Exact products; integers are decimals without a scale."""
    if not pa.types.is_decimal(result):
        return None
    casts = [
        None if a.kind == "decimal" else cast(pa.decimal128(INTEGER_DIGITS[a.type.bit_width], 0)) for a in arguments
    ]
    multiply, fits = arrow("multiply_checked"), cast(result)

    def run(values: list[Datum]) -> Datum:
        return fits([multiply([v if to is None else to([v]) for v, to in zip(values, casts, strict=True)])])

    return run


def round_float(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """Halves away from zero; further digits by the multiplication and division that DuckDB does."""
    digits = constant(arguments[1]) if len(arguments) > 1 else 0
    if digits == 0:
        return first(n.round_half_away(0))
    return first(n.round_digits(digits, result)) if digits is not None and 0 < digits <= 15 else None


def round_decimal(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """Halves away from zero, with the scale of the result."""
    digits = constant(arguments[1]) if len(arguments) > 1 else 0
    if digits is None or not 0 <= digits <= arguments[0].type.scale:
        return None
    kernel = n.round_decimal(arguments[0].type, digits, result)
    return None if kernel is None else first(kernel)


def _scaled(factor: float) -> Build:
    scale = k.on_values(lambda values: values * factor, pa.float64())
    return always(scale)


degrees = _scaled(180.0 / math.pi)
radians = _scaled(math.pi / 180.0)


def whole_decimal(name: str) -> Build:
    """The next whole number below or above, with the type of the result."""

    def build(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
        source = arguments[0].type
        if not pa.types.is_decimal(result) or source.precision == 38:
            return None
        wider = cast(pa.decimal128(source.precision + 1, source.scale))  # Arrow's own result has no room for a carry
        return chain(wider, arrow(name), cast(result))

    return build


# --- choices


def among(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """IN a list of constants."""
    if any(argument.constant is None for argument in arguments[1:]):
        return None
    values = pa.array([argument.constant for argument in arguments[1:]], arguments[0].type)
    return first(k.is_in(values))


greatest = always(arrow("max_element_wise", pc.ElementWiseAggregateOptions(skip_nulls=True)))
least = always(arrow("min_element_wise", pc.ElementWiseAggregateOptions(skip_nulls=True)))


# --- time


def _interval_us(argument: Argument) -> int | None:
    """A constant interval of fixed length in microseconds; None if it counts months."""
    interval = constant(argument)
    if interval is None or interval.months:
        return None
    length = interval.days * _DAY_US + interval.nanoseconds // 1000
    return length if abs(length) <= _SPAN_US_MAX else None


def shift(sign: int) -> Build:
    """A moment and an interval, in either order."""

    def build(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
        interval_first = arguments[0].kind == "interval"
        length = _interval_us(arguments[0 if interval_first else 1])
        if length is None:
            return None
        kernel = t.shift(sign * length)
        return (lambda values: kernel(values[1:])) if interval_first else first(kernel)

    return build


def move_date(sign: int) -> Build:
    """A date some days later or earlier."""
    return always(t.move_date(sign))


_CALENDAR = ("month", "quarter", "year")
SPANS = (*_FIXED_US, "week", *_CALENDAR)


def _unit(argument: Argument) -> str:
    return str(constant(argument)).lower()


def truncate(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The start of the unit of time that a moment is in."""
    unit = _unit(arguments[0])
    kernel: Kernel
    if unit in _FIXED_US:
        kernel = t.floor_to(_FIXED_US[unit], 0, result)
    elif unit == "week":
        kernel = t.floor_to(7 * _DAY_US, _MONDAY_US, result)
    elif unit in _CALENDAR:
        floor = arrow("floor_temporal", pc.RoundTemporalOptions(1, unit))
        kernel = chain(t.common_era, floor, t.relabelled(result))
    else:
        return None
    return lambda values: kernel(values[1:])


def bucket(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The start of the interval that a moment is in, counted from Monday 2000-01-03."""
    size = _interval_us(arguments[0])
    if size is None or size <= 0 or len(arguments) > 2:
        return None
    monday_2000_us = 10_959 * _DAY_US
    kernel = t.floor_to(size, monday_2000_us % size, result)
    return lambda values: kernel(values[1:])


def difference(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """How many starts of a unit of time lie between two timestamps."""
    size = _FIXED_US.get(_unit(arguments[0]))
    if size is None:
        return None
    kernel = t.steps_between(size)
    return lambda values: kernel(values[1:])


def _calendar(name: str, options: pc.FunctionOptions | None = None) -> Kernel:
    return chain(t.common_era, arrow(name, options), cast(pa.int64()))


_PARTS: dict[str, Kernel] = {
    "year": _calendar("year"),
    "quarter": _calendar("quarter"),
    "month": _calendar("month"),
    "week": _calendar("iso_week"),
    "day": _calendar("day"),
    "dayofyear": _calendar("day_of_year"),
    "dayofweek": _calendar("day_of_week", pc.DayOfWeekOptions(count_from_zero=True, week_start=7)),
    "isodow": _calendar("day_of_week", pc.DayOfWeekOptions(count_from_zero=False, week_start=1)),
    "hour": t.time_of(3_600_000_000, 24),
    "minute": t.time_of(60_000_000, 60),
    "second": t.time_of(1_000_000, 60),
    "millisecond": t.time_of(1_000, 60_000),
    "microsecond": t.time_of(1, 60_000_000),
    "epoch": t.epoch_s,
}
PARTS = tuple(_PARTS)
_PART_NAMES = {"dow": "dayofweek", "doy": "dayofyear", "weekofyear": "week", "dayofmonth": "day"}


def part(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The part of a date or moment that a constant names."""
    unit = _unit(arguments[0])
    kernel = _part(_PART_NAMES.get(unit, unit), arguments[1])
    return None if kernel is None else lambda values: kernel(values[1:])


def named_part(name: str) -> Build:
    """The part that the function is named for."""
    return lambda arguments, result: _part(name, arguments[0])


def _part(name: str, argument: Argument) -> Kernel | None:
    # DuckDB computes the epoch of an instant with another rounding.
    return None if name == "epoch" and argument.kind == "instant" else _PARTS.get(name)


DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def name_of(part: str, names: Sequence[str]) -> Build:
    """The name of the day of the week, counted from 0, or of the month, counted from 1."""

    def build(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
        known = pa.array(names if part == "dayofweek" else ["", *names])
        number = _PARTS[part]
        take = arrow("take")
        return lambda values: take([known, number(values)])

    return build


def format_time(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """strftime with a constant format."""
    pattern = constant(arguments[1])
    kernel = None if pattern is None else t.format_time(pattern)
    return None if kernel is None else first(kernel)
