"""UNION, INTERSECT and EXCEPT as plans over the plans of both sides, and queries that read nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
from sqlglot import exp

from ..storage import limits
from ..storage.errors import Error, OperationalError
from . import plan as p
from .blocks import Unplannable
from .dialect import twin_sql
from .plan import Plan
from .relations import Column, schema_of
from .temporal import refuse_clock
from .trees import as_column, copied, every
from .twin import bind_over, named_tables, twin
from .types import Binder, connect


def plan_set(query: exp.SetOperation, left: Plan, right: Plan, columns: tuple[Column, ...], binder: Binder) -> Plan:
    """The plan of a set operation whose result has `columns`.

    Raises: Unplannable where the columns of a side cannot be told apart or DuckDB has no such cast.
    """
    by_name = bool(query.args.get("by_name"))
    sides = tuple(_aligned(side, columns, binder, by_name=by_name) for side in (left, right))
    distinct = bool(query.args.get("distinct"))
    match query:
        case exp.Union():
            union = p.UnionAll(tuple(part for side in sides for part in _parts(side, distinct=distinct)), columns)
            return p.Aggregate(union, tuple(c.name for c in columns), (), columns) if distinct else union
        case exp.Intersect():
            return p.SetOperation(sides, "intersect", not distinct, columns)
        case exp.Except():
            return p.SetOperation(sides, "except", not distinct, columns)
        case _:
            raise Unplannable("set operation")


def _aligned(side: Plan, columns: tuple[Column, ...], binder: Binder, *, by_name: bool) -> Plan:
    """`side` with the columns of the result, by their place or by their name; types are cast, names may differ."""
    names = [column.name.lower() for column in side.columns]
    if len(set(names)) != len(names):
        raise Unplannable("set operation over columns of one name")
    items: list[tuple[str, exp.Expr]] = []
    for place, column in enumerate(columns):
        if by_name and column.name.lower() not in names:
            items.append((column.name, exp.cast(exp.Null(), column.type, dialect="duckdb")))
            continue
        below = side.columns[names.index(column.name.lower()) if by_name else place]
        item: exp.Expr = as_column(below.name)
        items.append(
            (column.name, item if below.type == column.type else exp.cast(item, column.type, dialect="duckdb"))
        )
    same_place = not by_name or names == [column.name.lower() for column in columns]
    if same_place and all(isinstance(item, exp.Column) for _, item in items):
        return side
    select = exp.select(*[exp.alias_(copied(item), name, quoted=True) for name, item in items]).from_("_in")
    try:
        bound = bind_over(twin_sql(select), [("_in", side.columns)], binder)
    except Error:
        raise Unplannable("set operation over types that have no cast") from None
    if [column.arrow for column in bound] != [column.arrow for column in columns]:
        raise Unplannable("set operation over types that have no cast")
    return p.Map(
        side, tuple(items), None, tuple(replace(c, name=name) for c, (name, _) in zip(bound, items, strict=True))
    )


def _parts(side: Plan, *, distinct: bool) -> Sequence[Plan]:
    """What to unite instead of `side`: a union in a union is one, and need not be distinct twice."""
    if distinct and isinstance(side, p.Aggregate) and not side.calls and isinstance(side.input, p.UnionAll):
        return side.input.inputs
    return side.inputs if isinstance(side, p.UnionAll) else (side,)


def is_constant(query: exp.Expr) -> bool:
    """Whether `query` reads no relation, so that its rows are known at once."""
    return not named_tables(exp.Subquery(this=copied(query)))


def plan_constant(query: exp.Expr, binder: Binder) -> Plan:
    """The plan of a query that reads no relation."""
    refuse_clock(query)
    sql = twin_sql(twin(query)) if isinstance(query, exp.Query) else twin_sql(query)
    return p.Constant(sql, bind_over(sql, [], binder))


def constant_rows(plan: p.Constant) -> pa.Table:
    """The rows of a constant.

    Raises: OperationalError beyond limits.CONSTANT_ROWS_MAX.
    """
    most = limits.CONSTANT_ROWS_MAX
    table = connect().sql(f"SELECT * FROM ({plan.sql}) LIMIT {most + 1}").to_arrow_table()
    if table.num_rows > most:
        raise OperationalError(
            f"cannot keep more than {most:,} rows that come from no stream",
            detail="They are computed once and held in memory.",
            hint="Generate fewer rows, or insert them into a stream.",
        )
    schema = schema_of(plan.columns)
    return table.rename_columns(schema.names).cast(schema)


def unwrap_limits(query: exp.Query) -> exp.Query:
    """`query` with each ORDER BY and LIMIT behind parentheses, (SELECT ...) LIMIT 3, in a SELECT of its own."""
    query = copied(query)
    holder = exp.Subquery(this=query)
    for node in [node for node in every(holder, exp.Subquery) if node is not holder]:
        if not any(node.args.get(name) for name in ("order", "limit", "offset")):
            continue
        inner = exp.Subquery(this=node.this, alias=exp.TableAlias(this=exp.to_identifier("_q")))
        select = exp.select(exp.Star()).from_(inner)
        for name in ("order", "limit", "offset"):
            select.set(name, node.args.get(name))
            node.set(name, None)
        if node.parent is holder or isinstance(node.parent, exp.SetOperation):
            node.replace(exp.Subquery(this=select) if isinstance(node.parent, exp.SetOperation) else select)
        else:
            node.set("this", select)
    result = holder.this
    assert isinstance(result, exp.Query)
    return result
