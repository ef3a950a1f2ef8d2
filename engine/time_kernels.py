"""Kernels over dates and moments. They refuse infinite ones, of which DuckDB has two of each type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .expression import Datum, Kernel, Refused, as_array
from .kernels import arrow, bound, cast, chain, on_values, values_of

# Times within these bounds are finite and stay within int64 whatever a kernel here does to them.
_MOMENT_US_MAX = 9_200_000_000_000_000_000  # in the year 293507
_DAY_US = 86_400_000_000
_DATE_DAYS_MAX = _MOMENT_US_MAX // _DAY_US


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
            _within(values_of(argument), _DATE_DAYS_MAX if argument.type == pa.date32() else _MOMENT_US_MAX)
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
    day_units = 1 if moment.type == pa.date32() else _DAY_US
    values = values_of(moment)
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


def _month_end(days: Any) -> Any:
    months = _within(days, _DATE_DAYS_MAX).astype("M8[D]").astype("M8[M]")
    return ((months + 1).astype("M8[D]") - 1).astype(np.int32)


month_end = on_values(_month_end, pa.date32())

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


_FIELDS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "f": 6, "j": 3, "y": 2}  # digits of strftime's fields


def format_time(pattern: str) -> Kernel | None:
    """strftime with fields of a fixed number of digits, for years of four; None if `pattern` has others."""
    parts = _parts(pattern)
    if parts is None:
        return None
    width = sum(len(part) if literal else _FIELDS[part] for literal, part in parts)

    def write(arguments: list[Datum]) -> Datum:
        moment = moments(common_era)(arguments)
        if isinstance(moment, pa.Scalar):
            return write([as_array(moment, 1)])[0]
        fields = _calendar_fields(values_of(moment), {part for literal, part in parts if not literal})
        text = np.empty((len(moment), width), np.uint8)
        place = 0
        for literal, part in parts:
            if literal:
                text[:, place : place + len(part)] = np.frombuffer(part, np.uint8)
                place += len(part)
                continue
            place += _FIELDS[part]
            digits = fields[part]
            for i in range(1, _FIELDS[part] + 1):
                text[:, place - i] = digits % 10 + ord("0")
                digits = digits // 10
        offsets = np.arange(len(moment) + 1, dtype=np.int32) * np.int32(width)
        texts = pa.StringArray.from_buffers(len(moment), pa.py_buffer(offsets), pa.py_buffer(text))
        return pc.if_else(moment.is_valid(), texts, None) if moment.null_count else texts

    return write


def _parts(pattern: str) -> list[tuple[bool, Any]] | None:
    """A format as (is literal, UTF-8 or field) in order."""
    first, *words = pattern.replace("%%", "\0").split("%")
    if any(word[:1] not in _FIELDS for word in words):
        return None
    parts: list[tuple[bool, Any]] = [(True, first)]
    for word in words:
        parts += [(False, word[:1]), (True, word[1:])]
    return [(literal, part.replace("\0", "%").encode() if literal else part) for literal, part in parts if part]


def _calendar_fields(us: Any, wanted: set[str]) -> dict[str, Any]:
    """The fields of the moments, as numbers."""
    days = us // _DAY_US
    time_us = us - days * _DAY_US
    fields: dict[str, Any] = {}
    if wanted & set("Ymdyj"):
        dates = days.astype("M8[D]")
        months = dates.astype("M8[M]")
        month_numbers = months.astype(np.int64)
        fields |= {"Y": month_numbers // 12 + 1970, "m": (month_numbers % 12 + 1).astype(np.int32)}
        fields["y"] = fields["Y"] % 100
        fields["d"] = ((dates - months).astype(np.int64) + 1).astype(np.int32)
        fields["j"] = ((dates - months.astype("M8[Y]")).astype(np.int64) + 1).astype(np.int32)
    if wanted & set("HMSf"):
        seconds = (time_us // 1_000_000).astype(np.int32)
        fields |= {"H": seconds // 3600, "M": seconds // 60 % 60, "S": seconds % 60}
        fields["f"] = (time_us % 1_000_000).astype(np.int32)
    return fields


def timestamp_to_text() -> Kernel:
    """Timestamps as CAST writes them: the fraction of a second without its last zeros."""
    full = format_time("%Y-%m-%d %H:%M:%S.%f")
    assert full is not None
    zeros = arrow("ascii_rtrim", pc.TrimOptions("0"))
    return chain(full, zeros, arrow("ascii_rtrim", pc.TrimOptions(".")))
