"""Times to live: how one is spelled, and what a query block says of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlglot import exp

from ..storage.errors import Error, Position, ProgrammingError
from .intervals import DAY_US, constant_length
from .trees import every
from .window_function import WindowFunction

OPTION = "state_ttl"
HINT = "STATE_TTL"
_NONE = ("none", "infinite", "unlimited", "0", "")
_MONTH_US = 30 * DAY_US


@dataclass(frozen=True)
class Said:
    """What a STATE_TTL hint says of the source `name` of its SELECT: how long its rows live there, None for ever.

    Units: microseconds.
    """

    name: str
    ttl_us: int | None
    position: Position


Sides = tuple[Said | None, Said | None]  # of the left and of the right input
NOTHING_SAID: Sides = (None, None)


def read_ttl(value: object, position: Position | None = None) -> int | None:
    """'1 hour' in microseconds; a bare number is in milliseconds, and 'none' and 0 are None.

    Raises: ProgrammingError for what is no time.
    """
    text = str(value).strip()
    if text.lower() in _NONE:
        return None
    if text.isdecimal():
        return int(text) * 1000
    try:
        length = constant_length(exp.Interval(this=exp.Literal.string(text)), position, "a time to live")
    except Error:
        length = None
    total = 0 if length is None else length.months * _MONTH_US + length.us
    if total < 1000:
        raise ProgrammingError(
            f"cannot set {OPTION} to {value!r}", hint="Give a time such as '1 hour', or 'none'.", position=position
        )
    return total


def hinted(select: exp.Expr) -> dict[str, Said]:
    """What the hint of a SELECT says, by the names of its sources in lower case."""
    said: Iterable[Said] = select.meta.get(HINT, ())
    return {each.name.lower(): each for each in said}


def hints_in(query: exp.Expr) -> tuple[Said, ...]:
    """All that hints say in a query."""
    return tuple(said for select in every(query, exp.Select) for said in select.meta.get(HINT, ()))


def hint_of_source(select: exp.Select) -> Said | None:
    """What the hint says of the one source of a SELECT, and so of what the SELECT makes of it; None beside others."""
    source = select.args.get("from_")
    if source is None or select.args.get("joins"):
        return None
    return hinted(select).get(source_name(source.this))


def source_name(item: exp.Expr) -> str:
    """What an item of FROM is called, in lower case; empty if it has no name."""
    bare = isinstance(item, exp.Table) and isinstance(item.this, WindowFunction) and not item.alias
    return (item.this.this if bare else item).alias_or_name.lower()
