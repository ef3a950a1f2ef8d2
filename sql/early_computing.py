"""Computing early: what a query computes of one row alone is computed before that row is joined with others."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from . import plan as p
from .dialect import twin_sql
from .plan import Plan
from .plan_inputs import with_inputs
from .pushdown import is_total, substituted
from .relations import Column
from .trees import every
from .twin import bind_over
from .types import Binder

CONDITIONAL = (exp.Case, exp.If, exp.Coalesce, exp.Try, exp.TryCast)
_WHOLE = {"left": ("inner", "cross", "left", "semi", "anti"), "right": ("inner", "cross", "right")}


def computed_early(plan: Plan, binder: Binder) -> Plan:
    """The same plan, in which what may fail fails on a row of a stream, a table or a view, where it can.

    What is computed only under a condition stays where it is, and what is made of rows that a join fills with NULL.
    """
    plan = with_inputs(plan, [computed_early(below, binder) for below in p.inputs_of(plan)])
    match plan:
        case p.Map(input=p.Join()):
            below = _Early(plan.input, binder)
            items = tuple((name, below.expression(item)) for name, item in plan.items)
            where = None if plan.where is None else below.expression(plan.where)
            return replace(plan, input=below.plan, items=items, where=where)
        case p.Join(bounds=()) if plan.residual is not None:
            left, right = _Early(plan.left, binder), _Early(plan.right, binder)
            residual = right.expression(left.expression(plan.residual))
            return replace(plan, left=left.plan, right=right.plan, residual=residual)
        case _:
            return plan


class _Early:
    """A plan that gets a column for each expression over it that is computed early."""

    def __init__(self, plan: Plan, binder: Binder) -> None:
        self.plan = plan
        self._binder = binder

    def expression(self, value: exp.Expr) -> exp.Expr:
        """The expression over the plan as it is then."""
        names = {column.name for column in every(value, exp.Column)}
        if isinstance(value, exp.Column) or not names:
            return value
        if names <= {column.name for column in self.plan.columns}:
            if is_total(value, self.plan.columns):
                return value
            name = twin_sql(value)
            more = _with(self.plan, name, value, names, self._binder)
            if more is not None:
                self.plan = more
                return exp.column(exp.to_identifier(name, quoted=True))
        if isinstance(value, CONDITIONAL):
            return value
        value = value.copy()
        for part in list(value.iter_expressions()):
            new = self.expression(part)
            if new is not part:
                part.replace(new)
        return value


def _with(plan: Plan, name: str, value: exp.Expr, names: set[str], binder: Binder) -> Plan | None:
    """The plan with a column more, which is computed of a row alone; None if it is not."""
    if any(column.name == name for column in plan.columns):
        return plan
    match plan:
        case p.Map(input=p.Scan() | p.ViewScan() | p.Late()):
            item = substituted(value, dict(plan.items))
            (bound,) = bind_over(f"SELECT {twin_sql(item)} FROM _in", [("_in", plan.input.columns)], binder)
            column = replace(bound, name=name)
            return replace(plan, items=(*plan.items, (name, item)), columns=(*plan.columns, column))
        case p.Join():
            for side, below in (("left", plan.left), ("right", plan.right)):
                if plan.kind in _WHOLE[side] and names <= {column.name for column in below.columns}:
                    more = _with(below, name, value, names, binder)
                    return None if more is None else _beside(plan, side, more, name)
    return None


def _beside(plan: p.Join, side: str, more: Plan, name: str) -> p.Join:
    """The join over another input on that side, whose column `name` comes out too; the left side's come first."""
    column = next(column for column in more.columns if column.name == name)
    lefts = {column.name for column in plan.left.columns}
    left: list[Column] = [column for column in plan.columns if column.name in lefts]
    right = [column for column in plan.columns if column.name not in lefts]
    if side == "left":
        return replace(plan, left=more, columns=(*left, column, *right))
    return replace(plan, right=more, columns=(*left, *right, column))
