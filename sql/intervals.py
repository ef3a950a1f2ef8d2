"""Fixed lengths of time: an interval in SQL text as microseconds, and back."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from sqlglot import exp

from ..storage.errors import NotSupportedError, Position, ProgrammingError

LARGEST_US = 1 << 62
_UNITS_US = {
    ("us", "usec", "usecs", "microsecond", "microseconds"): 1,
    ("ms", "msec", "msecs", "millisecond", "milliseconds"): 1_000,
    ("s", "sec", "secs", "second", "seconds"): 1_000_000,
    ("m", "min", "mins", "minute", "minutes"): 60_000_000,
    ("h", "hr", "hrs", "hour", "hours"): 3_600_000_000,
    ("d", "day", "days"): 86_400_000_000,
    ("w", "week", "weeks"): 604_800_000_000,
}
_US = {name: us for names, us in _UNITS_US.items() for name in names}
_CALENDAR = re.compile(r"(mon|month|quarter|y|yr|year|decade|century|centurie|millennium|millennia)s?", re.IGNORECASE)
_PART = re.compile(r"\s*(-?\d+(?:\.\d*)?)\s*([a-z]+)", re.IGNORECASE)
_CLOCK = re.compile(r"\s*([+-]?)(\d+):(\d{1,2})(?::(\d{1,2}(?:\.\d+)?))?\s*")
_AGO = re.compile(r"\s+ago\s*", re.IGNORECASE)


def constant_us(node: exp.Expr | None, position: Position | None, what: str) -> int:
    """The microseconds of an interval that is spelled out and always equally long.

    Raises: ProgrammingError if it is no interval, NotSupportedError if its length depends on the calendar;
    the headline says `what` was wanted.
    """
    match node:
        case exp.Interval(this=exp.Literal() as amount):
            unit = node.args.get("unit")
            if isinstance(unit, exp.IntervalSpan):
                raise NotSupportedError(
                    f"{what} cannot be a span such as DAY TO HOUR",
                    hint="Write it in one unit, such as INTERVAL '90' MINUTE.",
                    position=position,
                )
            if unit is not None and "." in amount.name and _US.get(unit.name.lower(), 0) >= _US["m"]:
                hint = "Count in a smaller unit."
                raise ProgrammingError(f"{what} must be a whole number of units", hint=hint, position=position)
            text = amount.name if unit is None else f"{amount.name} {unit.name}"
            return _text_us(text, position, what)
        case exp.Paren(this=inner):
            return constant_us(inner, position, what)
        case exp.Neg(this=inner):
            return -constant_us(inner, position, what)
        case exp.Add(this=left, expression=right):
            return constant_us(left, position, what) + constant_us(right, position, what)
        case exp.Cast(this=exp.Literal(is_string=True) as amount) if node.is_type("interval"):
            return _text_us(amount.name, position, what)
    raise ProgrammingError(
        f"{what} must be an interval that is spelled out", hint="Write it as INTERVAL '10' SECOND.", position=position
    )


def interval_sql(us: int) -> str:
    """A fixed length as SQL, in the largest unit that holds it whole: INTERVAL '10' SECOND."""
    units = ("day", "hour", "minute", "second", "millisecond", "microsecond")
    unit = next(unit for unit in units if us % _US[unit] == 0)
    return f"INTERVAL '{us // _US[unit]}' {unit.upper()}"


def _text_us(text: str, position: Position | None, what: str) -> int:
    """'5 seconds', '1 hour 30 minutes', '01:30:00', '1 day 02:03:04', '2 weeks ago'."""
    total, end = Decimal(0), 0
    while part := _PART.match(text, end):
        total, end = total + _part_us(part[1], part[2], position, what), part.end()
    if clock := _CLOCK.match(text, end):
        sign, hours, minutes, seconds = clock.groups()
        us = int(hours) * Decimal(_US["h"]) + int(minutes) * _US["m"] + Decimal(seconds or 0) * _US["s"]
        total, end = total + (-us if sign == "-" else us), clock.end()
    if end and (ago := _AGO.fullmatch(text, end)):
        total, end = -total, ago.end()
    if end == 0 or text[end:].strip():
        raise ProgrammingError(
            f"{what} must be a number and a unit of time, not '{text}'",
            hint="Write it as INTERVAL '10' SECOND.",
            position=position,
        )
    return _whole(total, position, what)


def _part_us(amount: str, unit: str, position: Position | None, what: str) -> Decimal:
    if _CALENDAR.fullmatch(unit):
        raise NotSupportedError(
            f"{what} cannot be counted in {unit.lower()} yet",
            detail="Months and years differ in length.",
            hint="Use weeks, days or a smaller unit.",
            position=position,
        )
    if unit.lower() not in _US:
        raise ProgrammingError(
            f'"{unit}" is not a unit of time',
            hint="Use WEEK, DAY, HOUR, MINUTE, SECOND, MILLISECOND or MICROSECOND.",
            position=position,
        )
    return Decimal(amount) * _US[unit.lower()]


def _whole(us: Decimal, position: Position | None, what: str) -> int:
    try:
        if us == int(us) and abs(us) < LARGEST_US:
            return int(us)
    except (InvalidOperation, OverflowError):
        pass
    headline = f"{what} is too long" if abs(us) >= LARGEST_US else f"{what} must be whole microseconds"
    raise ProgrammingError(headline, position=position)
