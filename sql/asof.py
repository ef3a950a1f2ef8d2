"""ASOF joins, and joins with versions: what their conditions ask for, and when a watermark has settled it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from ..engine.operators.asof_join import AsofRule
from ..engine.sort_keys import sortable
from ..engine.time_bound import TimeBound
from ..engine.windows import Moments
from . import plan as p
from .blocks import Unplannable
from .lateness import with_late
from .plan import Plan
from .relations import Column
from .time_bounds import settled_columns
from .trees import every

_SIGNS: dict[type[exp.Expr], tuple[bool, bool]] = {  # strict, backward; as left sign right
    exp.GTE: (False, False),
    exp.GT: (True, False),
    exp.LTE: (False, True),
    exp.LT: (True, True),
}


@dataclass(frozen=True)
class Nearness:
    """The one comparison of an ASOF join, as an equality of its two sides, and how it compares them."""

    sides: exp.EQ
    strict: bool
    backward: bool


def nearness(conditions: Sequence[exp.Expr], right: Mapping[str, str]) -> tuple[Nearness, list[exp.Expr]]:
    """The comparison of an ASOF join, and its other conditions, which are equalities. `right` has the right columns."""
    equal: list[exp.Expr] = [condition for condition in conditions if isinstance(condition, exp.EQ | exp.NullSafeEQ)]
    others = [condition for condition in conditions if condition not in equal]
    if len(others) != 1 or type(others[0]) not in _SIGNS:
        raise Unplannable("ASOF join on more than equalities and one comparison")
    condition = others[0]
    assert isinstance(condition, exp.Binary)
    strict, backward = _SIGNS[type(condition)]
    if any(column.name in right for column in every(condition.left, exp.Column)):
        backward = not backward
    return Nearness(exp.EQ(this=condition.left.copy(), expression=condition.right.copy()), strict, backward), equal


def refuse_unordered(columns: Sequence[Column], times: Sequence[pa.DataType]) -> None:
    """Raises: Unplannable where ties have no order, or times are no whole numbers."""
    for column in columns:
        if not sortable(column.arrow):
            raise Unplannable(f"ASOF join with {column.type}")
    for kind in times:
        whole = pa.types.is_signed_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date32(kind)
        if not whole:
            raise Unplannable(f"ASOF join by {kind}")


def settled_after(left: Plan, right: Plan, rule: AsofRule, lateness: int) -> tuple[Plan, Plan, int | None]:
    """The inputs with late rows told apart, and how long after a left row's time its version is settled."""
    if rule.backward or any(
        isinstance(node, p.Scan) and node.place is None for side in (left, right) for node in p.walk(side)
    ):
        return left, right, None
    timed = with_late(left, lateness, Moments()), with_late(right, lateness, Moments())
    ours, theirs = settled_columns(timed[0]), settled_columns(timed[1])
    if rule.left not in ours or rule.right not in theirs:
        return left, right, None
    bound = TimeBound(rule.left, rule.right, None, -1 if rule.strict else 0, ours[rule.left], theirs[rule.right])
    return *timed, bound.left_needed
