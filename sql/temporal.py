"""Conditions on the clock: WHERE ts > now() - INTERVAL '1' HOUR, taken as when a row comes and when it goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from ..storage.errors import Error, NotSupportedError
from .intervals import constant_us
from .positions import position_of
from .trees import copied, every, every_node

_CLOCKS = ("now", "current_timestamp", "get_current_timestamp", "transaction_timestamp")
_TIMESTAMPS = (exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPNTZ, exp.DataType.Type.TIMESTAMPTZ)
_TURNED = {exp.GT: exp.LT, exp.GTE: exp.LTE, exp.LT: exp.GT, exp.LTE: exp.GTE}


@dataclass(frozen=True)
class Bound:
    """A row is there from `value` plus `length_us` on, or, if it `ends` it, before that."""

    value: exp.Expr
    length_us: int
    ends: bool


def is_clock(node: exp.Expr) -> bool:
    """Whether `node` is the present time, under one of its names."""
    match node:
        case exp.CurrentTimestamp():
            return True
        case exp.Anonymous():
            return node.name.lower() in _CLOCKS and not node.expressions
        case exp.Column(this=exp.Identifier()):
            return node.name.lower() == "current_timestamp" and not node.table and not node.this.quoted
        case _:
            return False


def has_clock(node: exp.Expr) -> bool:
    """Whether the present time is asked for anywhere in `node`."""
    return any(is_clock(found) for found in every_node(node))


def split_condition(condition: exp.Expr) -> tuple[exp.Expr | None, list[Bound]]:
    """The parts of a condition that do not look at the clock, joined by AND, and when it says that rows come and go.

    Raises: NotSupportedError for a part that says it in no way that can be kept up to date.
    """
    rest: list[exp.Expr] = []
    bounds: list[Bound] = []
    for part in _conjuncts(condition):
        if has_clock(part):
            bounds += _bounds(part)
        else:
            rest.append(part)
    return exp.and_(*(copied(part) for part in rest), wrap=True, copy=False) if rest else None, bounds


def without_clocks(query: exp.Query) -> exp.Query:
    """A copy of `query` whose WHERE and HAVING have lost what `split_condition` takes for bounds."""
    query = copied(query)
    for clause in every(query, exp.Where, exp.Having):
        if has_clock(clause.this) and not isinstance(clause.this, exp.Query):
            rest, _ = split_condition(clause.this)
            clause.set("this", rest or exp.true())
    return query


def at_clock(query: exp.Query, clock: int) -> exp.Query:
    """A copy of `query` in which the present time is `clock`. Units: microseconds since 1970."""
    literal = exp.Anonymous(this="make_timestamptz", expressions=[exp.Literal.number(clock)])
    query = copied(query)
    for node in [node for node in every_node(query) if is_clock(node)]:
        node.replace(copied(literal))
    return query


def refuse_clock(query: exp.Expr) -> None:
    """Raise at the present time where a query is run again only when its rows change."""
    node = next((node for node in every_node(query) if is_clock(node)), None)
    if node is not None:
        raise _refusal(node, "This part of the query is run again when its rows change, not when time passes.")


def _conjuncts(condition: exp.Expr) -> Iterator[exp.Expr]:
    match condition:
        case exp.And():
            yield from _conjuncts(condition.this)
            yield from _conjuncts(condition.expression)
        case exp.Paren():
            yield from _conjuncts(condition.this)
        case exp.Between() if not condition.args.get("symmetric"):
            yield exp.GTE(this=condition.this, expression=condition.args["low"])
            yield exp.LTE(this=condition.this, expression=condition.args["high"])
        case _:
            yield condition


def _bounds(part: exp.Expr) -> list[Bound]:
    kind = type(part)
    if isinstance(part, exp.EQ) or kind not in _TURNED:
        raise _refusal(part, "A comparison with <, <=, > or >= says when a row comes or goes.")
    assert isinstance(part, exp.Binary)
    left, right = part.left, part.right
    if has_clock(left):
        left, right, kind = right, left, _TURNED[kind]  # now the clock is on the right
    if has_clock(left):
        raise _refusal(part, "The present time stands on both sides.")
    value, length = _solve(left, right, part)
    if kind in (exp.GT, exp.GTE):  # value > now: the row goes
        return [Bound(value, length + (kind is exp.GTE), ends=True)]
    return [Bound(value, length + (kind is exp.LT), ends=False)]


def _solve(value: exp.Expr, clock: exp.Expr, part: exp.Expr) -> tuple[exp.Expr, int]:
    """What to compare with now() alone, a value plus a length, instead of `value` with `clock`."""
    clock = clock.unnest()
    if is_clock(clock):
        return value, 0
    match clock:
        case exp.Cast() if clock.to.this in _TIMESTAMPS:
            return _solve(value, clock.this, part)
        case exp.Sub(this=inner, expression=length) if has_clock(inner) and _is_length(length):
            value, known = _solve(value, inner, part)
            return value, known + _length(length)
        case exp.Add(this=inner, expression=length) if has_clock(inner) and _is_length(length):
            value, known = _solve(value, inner, part)
            return value, known - _length(length)
        case exp.Add(this=length, expression=inner) if has_clock(inner) and _is_length(length):
            value, known = _solve(value, inner, part)
            return value, known - _length(length)
        case exp.Sub(this=inner, expression=since) if is_clock(inner.unnest()) and _is_length(value):
            return since, _length(value)  # now() - ts < INTERVAL ...
    raise _refusal(part, "The present time may only be moved by an interval of fixed length.")


def _is_length(node: exp.Expr) -> bool:
    try:
        constant_us(node, None, "it")
    except Error:
        return False
    return True


def _length(node: exp.Expr) -> int:
    return constant_us(node, position_of(node), "the interval")


def _refusal(node: exp.Expr, detail: str) -> NotSupportedError:
    clock = next((found for found in every_node(node) if is_clock(found)), node)
    return NotSupportedError(
        "cannot follow the present time here",
        detail=detail,
        hint="Compare a time with it in WHERE, as in ts > now() - INTERVAL '1' HOUR; in a query in FROM if need be.",
        position=position_of(clock) or position_of(node),
    )
