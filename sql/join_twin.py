"""Twins of joins with a time bound: late rows take no part, and a final one has rows without a partner at their end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlglot import exp

from ..engine.time_bound import TimeBound
from .dialect import twin_sql
from .places import BEHIND, ENDING
from .trees import every
from .types import quote

LATE_SUFFIX = "+closed"  # a stream's rows with, per row, `_closed`: windows ending up to then do not count it


def leave_out_late(query: exp.Query, late: Collection[str]) -> None:
    """Let marked tables of `query` that are named in `late` (lower case) be without the rows behind the watermark."""
    for table in [t for t in every(query, exp.Table) if BEHIND in t.meta and t.name.lower() in late]:
        time = quote(table.meta[BEHIND])
        rows: exp.Expr = exp.maybe_parse(
            f"SELECT * EXCLUDE (_closed) FROM {quote(table.name + LATE_SUFFIX)} "
            f"WHERE {time} IS NOT NULL AND (_closed IS NULL OR {time} >= _closed)",
            dialect="duckdb",
        )
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        table.replace(exp.Subquery(this=rows, alias=alias.copy(), joins=table.args.get("joins")))


def end_joins(query: exp.Query, closed: Mapping[str, int]) -> None:
    """Let a row of a marked join's outer side be there once it has a partner, or the watermark says it will have none.

    `closed` gives watermarks per relation (lower case).
    """
    for join in [join for join in every(query, exp.Join) if ENDING in join.meta]:
        select = join.parent
        assert isinstance(select, exp.Select)
        bound: TimeBound = join.meta[ENDING]
        sides = select.args["from_"].this, join.this
        watermark = watermark_below(sides, closed)
        condition = _condition(join)
        outer = join.side.upper() or join.kind.upper()
        left, right = (
            _ended(mine, theirs, name, needed, watermark, condition)
            for (mine, theirs), name, needed in (
                (sides, bound.left, bound.left_needed),
                (sides[::-1], bound.right, bound.right_needed),
            )
        )
        if outer in ("LEFT", "FULL", "ANTI", "OUTER"):
            sides[0].replace(left)
        if outer in ("RIGHT", "FULL", "OUTER"):
            sides[1].replace(right)


def watermark_below(sides: Iterable[exp.Expr], closed: Mapping[str, int]) -> int:
    """The least of the watermarks `closed` of the relations that are read in `sides`."""
    tables = [table for side in sides for table in every(side, exp.Table)]
    names = {table.name.lower().removesuffix(LATE_SUFFIX) for table in tables}
    return min(mark for name, mark in closed.items() if name in names)


def _ended(
    mine: exp.Expr, theirs: exp.Expr, time: str, needed: int | None, watermark: int, condition: str
) -> exp.Subquery:
    column = f"{quote(mine.alias_or_name)}.{quote(time.removeprefix(f'{mine.alias_or_name}.'))}"
    rows: exp.Expr = exp.maybe_parse(
        f"SELECT * FROM {twin_sql(mine)} WHERE epoch_us({column}) + ({needed or 0}) <= {watermark} "
        f"OR EXISTS (SELECT 1 FROM {twin_sql(theirs)} WHERE {condition})",
        dialect="duckdb",
    )
    alias = exp.TableAlias(this=exp.to_identifier(mine.alias_or_name, quoted=True))
    return exp.Subquery(this=rows, alias=alias)


def _condition(join: exp.Join) -> str:
    select = join.parent
    assert isinstance(select, exp.Select)
    left, right = quote(select.args["from_"].this.alias_or_name), quote(join.this.alias_or_name)
    using = [quote(name.name) for name in join.args.get("using") or ()]
    shared = [f"{left}.{name} = {right}.{name}" for name in using]
    return " AND ".join([*shared, *([f"({twin_sql(join.args['on'])})"] if join.args.get("on") else [])])
