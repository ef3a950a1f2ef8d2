"""PIVOT and UNPIVOT as plans: columns out of values are filtered aggregates, values out of columns are a UNION ALL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from sqlglot import exp

from ..storage.errors import ProgrammingError
from . import plan as p
from .aggregation import plan_aggregation
from .blocks import Scope, Unplannable, is_aggregate
from .plan import Plan
from .positions import position_of
from .relations import Column
from .trees import as_column, every, every_node
from .types import Binder


def pivot_of(source: exp.Expr) -> exp.Pivot | None:
    """The one PIVOT or UNPIVOT that stands behind a FROM item; None if there is none, or more."""
    pivots = source.args.get("pivots") or []
    return pivots[0] if len(pivots) == 1 and not source.args.get("sample") else None


def pivoted(source: exp.Expr) -> exp.Select:
    """The rows that a FROM item's PIVOT takes, or one that stands as a query of its own."""
    if isinstance(source, exp.Pivot):
        return exp.select(exp.Star()).from_(source.this.copy())
    source = source.copy()
    source.set("pivots", None)
    return exp.select(exp.Star()).from_(source)


def refuse_open_pivots(query: exp.Expr) -> None:
    """Raise at a PIVOT whose columns would follow from its rows."""
    for pivot in every(query, exp.Pivot):
        fields = [] if pivot.args.get("unpivot") else pivot.args.get("fields") or pivot.expressions
        field = next((field for field in fields if not isinstance(field, exp.In)), None)
        if field is not None:
            raise ProgrammingError(
                "PIVOT in a view needs the list of its values",
                detail="The columns of a view are known before its rows are.",
                hint=f"Say ON {field.sql('duckdb')} IN ('...', '...').",
                position=next((found for node in every_node(field) if (found := position_of(node))), None),
            )


def plan_pivot(
    pivot: exp.Pivot, below: Plan, columns: tuple[Column, ...], binder: Binder, *, final: bool, lateness: int
) -> Plan:
    """The plan of a PIVOT or UNPIVOT over the rows of `below`; DuckDB has said which `columns` come out."""
    if pivot.args.get("unpivot"):
        return _unpivot(pivot, below, columns, binder)
    return _pivot(pivot, Scope(below, "", binder), columns, final=final, lateness=lateness)


def _pivot(pivot: exp.Pivot, scope: Scope, columns: tuple[Column, ...], *, final: bool, lateness: int) -> Plan:
    standard = bool(pivot.args.get("fields"))
    aggregates = [item.unalias() for item in (pivot.expressions if standard else pivot.args.get("using") or ())]
    aggregates = aggregates or [exp.Count(this=exp.Star())]
    if not all(is_aggregate(call) for call in aggregates):
        raise Unplannable("PIVOT of more than aggregates")
    lists = [_values(field) for field in (pivot.args["fields"] if standard else pivot.expressions)]
    group = pivot.args.get("group")
    taken = {
        column.name.lower() for part in (*aggregates, *(c for c, _ in lists)) for column in every(part, exp.Column)
    }
    keys: list[exp.Expr] = [as_column(c.name) for c in scope.below.columns if c.name.lower() not in taken]
    if group is not None:
        keys = [key.copy() for key in group.expressions]
    if not all(isinstance(key, exp.Column) for key in keys):
        raise Unplannable("PIVOT that groups by more than columns")
    calls = [
        exp.Filter(this=call.copy(), expression=exp.Where(this=exp.and_(*chosen, copy=True)))
        for chosen in product(*([_is(column, value) for value in values] for column, values in lists))
        for call in aggregates
    ]
    if len(keys) + len(calls) != len(columns):
        raise Unplannable("PIVOT whose columns could not be told")
    items = [exp.alias_(item, f"+{place}", quoted=True) for place, item in enumerate([*keys, *calls])]
    select = exp.Select(expressions=items)
    if keys:
        select.set("group", exp.Group(expressions=[key.copy() for key in keys]))
    return _named(plan_aggregation(select, scope, final=final, lateness=lateness), columns)


def _values(field: exp.Expr) -> tuple[exp.Column, list[exp.Expr]]:
    """The column that is pivoted, and the values that it is looked for."""
    values = [
        value.this if isinstance(value, exp.PivotAlias) else value for value in field.args.get("expressions") or ()
    ]
    known = all(isinstance(value.this if isinstance(value, exp.Neg) else value, _SPELLED) for value in values)
    if not isinstance(field, exp.In) or not isinstance(field.this, exp.Column) or not values or not known:
        raise Unplannable("PIVOT without a list of values")
    return field.this, values


_SPELLED = exp.Literal | exp.Null | exp.Boolean


def _is(column: exp.Column, value: exp.Expr) -> exp.Expr:
    """As DuckDB has it: the texts of both are equal."""
    texts = (exp.cast(side.copy(), "VARCHAR", dialect="duckdb") for side in (column, value))
    left, right = texts
    return exp.NullSafeEQ(this=left, expression=right)


def _unpivot(pivot: exp.Pivot, below: Plan, columns: tuple[Column, ...], binder: Binder) -> Plan:
    """Each row once per column, with the column's name and its value; without the NULLs, unless they are wanted."""
    standard = bool(pivot.args.get("fields"))
    if standard and (len(pivot.args["fields"]) != 1 or len(pivot.expressions) != 1):
        raise Unplannable("UNPIVOT of several columns at once")
    named = [_labelled(item) for item in (pivot.args["fields"][0].expressions if standard else pivot.expressions)]
    scope = Scope(below, "", binder)
    gone = {column.name.lower() for column, _ in named}
    kept = [column.name for column in below.columns if column.name.lower() not in gone]
    if len(kept) + 2 != len(columns):
        raise Unplannable("UNPIVOT whose columns could not be told")
    inputs = []
    for column, label in named:
        value = scope.resolve(column)
        texts = [*map(as_column, kept), exp.Literal.string(label or value.name)]
        items = [*texts, exp.cast(value, columns[-1].type, dialect="duckdb")]
        where = (
            None if pivot.args.get("include_nulls") else exp.Not(this=exp.Is(this=column.copy(), expression=exp.Null()))
        )
        named_items = [exp.alias_(item, f"+{place}", quoted=True) for place, item in enumerate(items)]
        inputs.append(_named(scope.map(named_items, where), columns))
    return p.UnionAll(tuple(inputs), columns)


def _labelled(item: exp.Expr) -> tuple[exp.Column, str]:
    """A column, and what it is called in the rows if that is not its name."""
    label = ""
    if isinstance(item, exp.PivotAlias | exp.Alias):
        alias = item.args["alias"]
        item, label = item.this, str(alias.this if isinstance(alias, exp.Identifier | exp.Literal) else alias.name)
    if not isinstance(item, exp.Column) or isinstance(item.this, exp.Star):
        raise Unplannable("UNPIVOT of more than columns")
    return item, label


def _named(plan: Plan, columns: Sequence[Column]) -> Plan:
    """The columns of `plan`, by their place, under the names and types of `columns`."""
    items: tuple[tuple[str, exp.Expr], ...] = tuple(
        (c.name, as_column(b.name) if b.arrow == c.arrow else exp.cast(as_column(b.name), c.type, dialect="duckdb"))
        for c, b in zip(columns, plan.columns, strict=True)
    )
    if isinstance(plan, p.Map) and all(isinstance(item, exp.Column) for _, item in items):
        items = tuple((c.name, item) for c, (_, item) in zip(columns, plan.items, strict=True))
        return replace(plan, items=items, columns=tuple(columns))
    return p.Map(plan, items, None, tuple(columns))
