"""Comparisons in the condition of a join without equalities, by which an order of its rows finds partners."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlglot import exp

from ..engine.value_order import measurable
from .join_keys import JoinKey, JoinKeys
from .join_scope import JoinNames
from .plan import Plan

_LEFT_FIRST = {exp.LT: True, exp.LTE: True, exp.GT: False, exp.GTE: False}  # whether left sign right says so


def comparisons(
    conditions: Sequence[exp.Expr], names: JoinNames, keys: JoinKeys, place: int, left: Plan, right: Plan
) -> list[tuple[JoinKey, bool]]:
    """The two sides of each comparison between them, in one type, and whether it is the left one that is not above."""
    found = []
    for condition in conditions:
        for low, high in _ordered(condition):
            sides = keys.find(exp.EQ(this=low.copy(), expression=high.copy()), place, left, right)
            if sides is not None and measurable(keys.typed(sides.left, left).arrow):
                found.append((sides, names.owners(low) != {place}))
    return found


def named(
    ranges: Sequence[tuple[JoinKey, bool]], left_names: Sequence[str], right_names: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """The pairs of columns of which the first is not above the second, given the names of both sides."""
    return tuple(
        (left, right) if left_first else (right, left)
        for (_, left_first), left, right in zip(ranges, left_names, right_names, strict=True)
    )


def _ordered(condition: exp.Expr) -> Iterator[tuple[exp.Expr, exp.Expr]]:
    """Pairs of values of which `condition` says that the first is not above the second."""
    while isinstance(condition, exp.Paren):
        condition = condition.this
    match condition:
        case exp.Between() if not condition.args.get("symmetric"):
            yield condition.args["low"], condition.this
            yield condition.this, condition.args["high"]
        case exp.Binary() if type(condition) in _LEFT_FIRST:
            sides = condition.left, condition.right
            yield sides if _LEFT_FIRST[type(condition)] else sides[::-1]
        case _:
            return
