"""Lengths of time: an interval in SQL text as months and microseconds, and back."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from sqlglot import exp

from ..storage.errors import NotSupportedError, Position, ProgrammingError

DAY_US = 86_400_000_000
LARGEST_US = 1 << 62
LARGEST_MONTHS = 1_200_000
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
_UNITS_MONTHS = {
    ("mon", "mons", "month", "months"): 1,
    ("quarter", "quarters"): 3,
    ("y", "yr", "yrs", "year", "years"): 12,
    ("decade", "decades"): 120,
    ("century", "centuries", "c"): 1_200,
    ("millennium", "millennia", "millenniums"): 12_000,
}
_MONTHS = {name: months for names, months in _UNITS_MONTHS.items() for name in names}
_PART = re.compile(r"\s*(-?\d+(?:\.\d*)?)\s*([a-z]+)", re.IGNORECASE)
_CLOCK = re.compile(r"\s*([+-]?)(\d+):(\d{1,2})(?::(\d{1,2}(?:\.\d+)?))?\s*")
_AGO = re.compile(r"\s+ago\s*", re.IGNORECASE)


class Length(NamedTuple):
    """A length of time as the calendar has it: months, whose length depends on where they are, and microseconds."""

    months: int = 0
    us: int = 0

    @property
    def sql(self) -> str:
        """As SQL: INTERVAL '10' SECOND, INTERVAL '1' YEAR."""
        if not self.months:
            return interval_sql(self.us)
        number, unit = (self.months // 12, "YEAR") if self.months % 12 == 0 else (self.months, "MONTH")
        return f"INTERVAL '{number}' {unit}" + (f" + {interval_sql(self.us)}" if self.us else "")


def constant_us(node: exp.Expr | None, position: Position | None, what: str) -> int:
    """The microseconds of an interval that is spelled out and always equally long.

    Raises: ProgrammingError if it is no interval, NotSupportedError if its length depends on the calendar;
    the headline says `what` was wanted.
    """
    length = constant_length(node, position, what)
    if length.months:
        raise NotSupportedError(
            f"{what} cannot be counted in months",
            detail="Months and years differ in length.",
            hint="Use weeks, days or a smaller unit.",
            position=position,
        )
    return length.us


def constant_length(node: exp.Expr | None, position: Position | None, what: str) -> Length:
    """The length of an interval that is spelled out.

    Raises: ProgrammingError if it is none; the headline says `what` was wanted.
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
            return _text_length(text, position, what)
        case exp.Paren(this=inner):
            return constant_length(inner, position, what)
        case exp.Neg(this=inner):
            months, us = constant_length(inner, position, what)
            return Length(-months, -us)
        case exp.Add(this=left, expression=right):
            one, other = (constant_length(part, position, what) for part in (left, right))
            return Length(one.months + other.months, one.us + other.us)
        case exp.Cast(this=exp.Literal(is_string=True) as amount) if node.is_type("interval"):
            return _text_length(amount.name, position, what)
    raise ProgrammingError(
        f"{what} must be an interval that is spelled out", hint="Write it as INTERVAL '10' SECOND.", position=position
    )


def interval_sql(us: int) -> str:
    """A fixed length as SQL, in the largest unit that holds it whole: INTERVAL '10' SECOND."""
    units = ("day", "hour", "minute", "second", "millisecond", "microsecond")
    unit = next(unit for unit in units if us % _US[unit] == 0)
    return f"INTERVAL '{us // _US[unit]}' {unit.upper()}"


def _text_length(text: str, position: Position | None, what: str) -> Length:
    """'5 seconds', '1 hour 30 minutes', '01:30:00', '1 day 02:03:04', '2 weeks ago', '1 year 3 months'."""
    months, total, end = Decimal(0), Decimal(0), 0
    while part := _PART.match(text, end):
        amount, unit = Decimal(part[1]), part[2].lower()
        if unit in _MONTHS:
            months += amount * _MONTHS[unit]
        elif unit in _US:
            total += amount * _US[unit]
        else:
            raise ProgrammingError(
                f'"{part[2]}" is not a unit of time',
                hint="Use YEAR, MONTH, WEEK, DAY, HOUR, MINUTE, SECOND, MILLISECOND or MICROSECOND.",
                position=position,
            )
        end = part.end()
    if clock := _CLOCK.match(text, end):
        sign, hours, minutes, seconds = clock.groups()
        us = int(hours) * Decimal(_US["h"]) + int(minutes) * _US["m"] + Decimal(seconds or 0) * _US["s"]
        total, end = total + (-us if sign == "-" else us), clock.end()
    if end and (ago := _AGO.fullmatch(text, end)):
        months, total, end = -months, -total, ago.end()
    if end == 0 or text[end:].strip():
        raise ProgrammingError(
            f"{what} must be a number and a unit of time, not '{text}'",
            hint="Write it as INTERVAL '10' SECOND.",
            position=position,
        )
    if months != int(months) or abs(months) > LARGEST_MONTHS:
        raise ProgrammingError(f"{what} must be whole months, and not too many", position=position)
    return Length(int(months), _whole(total, position, what))


def _whole(us: Decimal, position: Position | None, what: str) -> int:
    try:
        if us == int(us) and abs(us) < LARGEST_US:
            return int(us)
    except (InvalidOperation, OverflowError):
        pass
    headline = f"{what} is too long" if abs(us) >= LARGEST_US else f"{what} must be whole microseconds"
    raise ProgrammingError(headline, position=position)
