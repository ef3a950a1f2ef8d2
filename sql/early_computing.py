"""Computing early: what a query computes of one row alone is computed before that row is joined with others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from ..storage import limits
from . import plan as p
from .correlation import own_conjuncts
from .dialect import twin_sql
from .plan import Plan
from .plan_inputs import with_inputs
from .pushdown import as_they_are, constant_value, is_total, substituted
from .relations import Column
from .time_bounds import says_no_more
from .trees import as_column, every, every_node
from .twin import bind_over
from .types import Binder

CONDITIONAL = (exp.Case, exp.If, exp.Coalesce, exp.Try, exp.TryCast)
_WHOLE = {"left": ("inner", "cross", "left", "semi", "anti"), "right": ("inner", "cross", "right")}

_Paired = p.Join | p.AsofJoin | p.LookupJoin
_Passing = p.AssignWindow | p.Session | p.TemporalFilter | p.Unnest | p.Over | p.TopN


def computed_early(plan: Plan, binder: Binder) -> Plan:
    """The same plan, in which what may fail fails on a row of a stream, a table or a view, where it can.

    What is computed only under a condition stays where it is, and what is a value where a join fills in NULLs.
    """
    plan = with_inputs(plan, [computed_early(below, binder) for below in p.inputs_of(plan)])
    match plan:
        case p.Map():
            return _map(plan, binder)
        case p.Join() if plan.residual is not None:
            left, right = _Early(plan.left, binder), _Early(plan.right, binder)
            bounds, others = list[exp.Expr](), list[exp.Expr]()
            for part in own_conjuncts(plan.residual):
                bounds_it = any(says_no_more(part, bound) for bound in plan.bounds)
                (bounds if bounds_it else others).append(part)
            residual = exp.and_(*bounds, *(right.expression(left.expression(part)) for part in others), copy=True)
            return replace(plan, left=left.plan, right=right.plan, residual=residual)
        case _:
            return plan


def may_fail(plan: p.Map) -> bool:
    """Whether there may be a row that it fails on."""
    return bool(failing_items(plan)) or (plan.where is not None and not is_total(plan.where, plan.input.columns))


def failing_items(plan: p.Map) -> list[exp.Expr]:
    """What it computes of a row, and not of constants alone, and may fail."""
    return [item for _, item in plan.items if every(item, exp.Column) and not _is_safe(item, plan.input.columns)]


def _is_safe(value: exp.Expr, columns: tuple[Column, ...]) -> bool:
    return isinstance(value, exp.Column) or is_total(value, columns)


def _map(plan: p.Map, binder: Binder) -> Plan:
    """A map over something else than rows that are read, as one over those, or over something that computes early."""
    below = plan.input
    if isinstance(below, p.Scan | p.ViewScan | p.Late) or not may_fail(plan):
        return plan
    if isinstance(below, p.UnionAll):
        return p.UnionAll(tuple(_map(_side(plan, below, one), binder) for one in below.inputs), plan.columns)
    if isinstance(below, p.Map) and _of_rows(below):
        fused = _fused(plan, below)
        if fused is not None:
            return _map(fused, binder)
    early = _Early(below, binder)
    items = tuple((name, early.expression(item)) for name, item in plan.items)
    where = None if plan.where is None else early.expression(plan.where)
    return replace(plan, input=early.plan, items=items, where=where)


def _of_rows(plan: Plan) -> bool:
    """Whether rows of what is read come through to it."""
    match plan:
        case p.Scan() | p.ViewScan() | p.Late() | p.Join() | p.AsofJoin() | p.LookupJoin() | p.UnionAll():
            return True
        case p.Map() | p.AssignWindow() | p.Session() | p.TemporalFilter() | p.Unnest() | p.Over() | p.TopN():
            return _of_rows(plan.input)
        case p.Aggregate(calls=()):
            return _of_rows(plan.input)
        case _:
            return False


def _fused(plan: p.Map, below: p.Map) -> p.Map | None:
    """Both as one: what the upper one's filter says is only asked where the lower one's is true. None: too long."""
    inner = _typed(below)
    items = tuple((name, substituted(item, inner)) for name, item in plan.items)
    above = None if plan.where is None else substituted(plan.where, inner)
    if (
        sum(len(every_node(value)) for value in (*(item for _, item in items), *own_conjuncts(above)))
        > limits.FUSED_NODES
    ):
        return None
    total, guards, guarded = list[exp.Expr](), list[exp.Expr](), list[exp.Expr]()
    for where, others in ((below.where, guards), (above, guarded)):
        for part in own_conjuncts(where):
            (total if is_total(part, below.input.columns) else others).append(part)
    parts = [*total, *(guards or guarded)]
    if guards and guarded:
        then = exp.and_(*guarded, copy=True)
        parts = [*total, exp.Case().when(exp.and_(*guards, copy=True), then).else_(exp.false())]
    return p.Map(below.input, items, exp.and_(*parts, copy=True) if parts else None, plan.columns)


def _typed(plan: p.Map) -> Mapping[str, exp.Expr]:
    """What it computes by name; constants have the types of their columns, which they would not have elsewhere."""
    return {
        name: item if every(item, exp.Column) else exp.cast(item, column.type, dialect="duckdb")
        for (name, item), column in zip(plan.items, plan.columns, strict=True)
    }


def _side(plan: p.Map, union: p.UnionAll, side: Plan) -> p.Map:
    """The map over one input of the union that it is over."""
    names = {column.name: as_column(own.name) for column, own in zip(union.columns, side.columns, strict=True)}
    items = tuple((name, substituted(item, names)) for name, item in plan.items)
    return p.Map(side, items, None if plan.where is None else substituted(plan.where, names), plan.columns)


class _Early:
    """A plan that gets a column for each expression over it that is computed early."""

    def __init__(self, plan: Plan, binder: Binder) -> None:
        self.plan = plan
        self._binder = binder

    def expression(self, value: exp.Expr) -> exp.Expr:
        """The expression over the plan as it is then."""
        names = _names(value)
        if isinstance(value, exp.Column) or not names:
            return value
        if names <= {column.name for column in self.plan.columns}:
            if is_total(value, self.plan.columns):
                return value
            name = twin_sql(value)
            more = _with(self.plan, name, value, self._binder)
            if more is not None:
                self.plan = more
                return as_column(name)
        if isinstance(value, CONDITIONAL):
            return value
        value = value.copy()
        for part in list(value.iter_expressions()):
            new = self.expression(part)
            if new is not part:
                part.replace(new)
        return value


def _with(plan: Plan, name: str, value: exp.Expr, binder: Binder) -> Plan | None:
    """The plan with a column more, which is computed of a row alone; None if it is not."""
    names = _names(value)
    if any(column.name == name for column in plan.columns):
        return plan
    match plan:
        case p.Scan() | p.ViewScan() | p.Late():
            return _with(p.Map(plan, as_they_are(plan.columns), None, plan.columns), name, value, binder)
        case p.Map():
            item = substituted(value, _typed(plan))
            if isinstance(plan.input, p.Scan | p.ViewScan | p.Late):
                (bound,) = bind_over(f"SELECT {twin_sql(item)} FROM _in", [("_in", plan.input.columns)], binder)
                column = replace(bound, name=name)
                return replace(plan, items=(*plan.items, (name, item)), columns=(*plan.columns, column))
            more = _with(plan.input, twin_sql(item), item, binder) if _names(item) else None
            if more is None:
                return None
            column = replace(_named(more, twin_sql(item)), name=name)
            items = (*plan.items, (name, as_column(twin_sql(item))))
            return replace(plan, input=more, items=items, columns=(*plan.columns, column))
        case p.Join() | p.AsofJoin() | p.LookupJoin():
            for side, below in (("left", plan.left), ("right", plan.right)):
                if names <= {column.name for column in below.columns}:
                    if not _is_whole(plan, side) and not _is_null_of_nulls(value, below.columns):
                        return None
                    more = _with(below, name, value, binder)
                    return None if more is None else _beside(plan, side, more, name)
        case p.Aggregate(calls=()) if names <= set(plan.keys):  # as many different ones
            more = _with(plan.input, name, value, binder)
            if more is not None:
                columns = (*plan.columns, _named(more, name))
                return replace(plan, input=more, keys=(*plan.keys, name), columns=columns)
        case p.AssignWindow() | p.Session() | p.TemporalFilter() | p.Unnest() | p.Over() | p.TopN():
            if names <= {column.name for column in plan.input.columns}:
                more = _with(plan.input, name, value, binder)
                return None if more is None else _passing(plan, more, name)
    return None


def _is_whole(plan: _Paired, side: str) -> bool:
    """Whether no row of that side is made up of NULLs in what comes out."""
    if isinstance(plan, p.Join):
        return plan.kind in _WHOLE[side]
    return side == "left" or not plan.outer


def _is_null_of_nulls(value: exp.Expr, columns: tuple[Column, ...]) -> bool:
    nulls = {column.name: exp.cast(exp.null(), column.type, dialect="duckdb") for column in columns}
    known = constant_value(substituted(value, nulls))
    return known is not None and not known.is_valid


def _beside(plan: _Paired, side: str, more: Plan, name: str) -> Plan:
    """The join over another input on that side, whose column `name` comes out too; the left side's come first."""
    lefts = {column.name for column in plan.left.columns}
    left: list[Column] = [column for column in plan.columns if column.name in lefts]
    right = [column for column in plan.columns if column.name not in lefts]
    if side == "left":
        return replace(plan, left=more, columns=(*left, _named(more, name), *right))
    return replace(plan, right=more, columns=(*left, *right, _named(more, name)))


def _passing(plan: _Passing, more: Plan, name: str) -> Plan:
    """The same over another input, whose column `name` comes out too: what comes from the input is in its order."""
    names, shown = {column.name for column in plan.input.columns}, {column.name for column in plan.columns} | {name}
    through = tuple(column for column in more.columns if column.name in shown)
    if isinstance(plan, p.TemporalFilter):  # what it lets through stands first
        ordered = (*through, *(column for column in more.columns if column.name not in shown))
        return replace(plan, input=p.Map(more, as_they_are(ordered), None, ordered), columns=through)
    own = (column for column in plan.columns if column.name not in names)
    return replace(plan, input=more, columns=(*through, *own))


def _named(plan: Plan, name: str) -> Column:
    return next(column for column in plan.columns if column.name == name)


def _names(value: exp.Expr) -> set[str]:
    return {column.name for column in every(value, exp.Column)}
