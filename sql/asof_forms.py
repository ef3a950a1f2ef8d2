"""ASOF SEMI and ANTI joins, and ASOF with USING, as ASOF LEFT and ON: for the planner alone."""

from __future__ import annotations

from sqlglot import exp

from .block_names import Bind, Names, block_names
from .blocks import Unplannable

_ASIDE = "aside"  # of a join: columns that only those know who ask for them by the name of its source
_COMPARED = (exp.GTE, exp.GT, exp.LTE, exp.LT)
_BRING_BACK = ("RIGHT", "FULL", "OUTER")


def without_asof_forms(select: exp.Select, bind: Bind) -> exp.Select:
    """`select` with ASOF joins that are inner or left and say ON; itself if it has no others.

    Raises: Unplannable where there is no such block.
    """
    if not any(_other(join) for join in select.args.get("joins") or []):
        return select
    select = select.copy()
    joins = select.args["joins"]
    for place, join in enumerate(joins):
        if not _other(join):
            continue
        if any((other.side or other.kind).upper() in _BRING_BACK for other in joins[place:]):
            raise Unplannable(f"ASOF {join.side.upper()} join".replace("  ", " "))
        right = block_names(exp.select(exp.Star()).from_(join.this.copy()), bind)
        aside = [name for columns in right.sources.values() for name in columns]
        if join.args.get("using"):
            before = exp.select(exp.Star()).from_(select.args["from_"].this.copy())
            before.set("joins", [other.copy() for other in joins[:place]])
            shared = [name.name.lower() for name in join.args["using"]]
            join.set("on", _spelled(shared, block_names(before, bind), right))
            join.set("using", None)
            if join.kind.upper() not in ("SEMI", "ANTI"):
                aside = shared
        join.set(_ASIDE, aside)
        if join.kind.upper() in ("SEMI", "ANTI"):
            missing = exp.Is(this=_time(join.args.get("on"), right), expression=exp.Null())
            select.where(exp.Not(this=missing) if join.kind.upper() == "SEMI" else missing, copy=False)
            join.set("kind", None)
            join.set("side", "LEFT")
    return select


def _other(join: exp.Join) -> bool:
    return join.method.upper() == "ASOF" and (
        join.kind.upper() in ("SEMI", "ANTI") or bool(join.args.get("using")) or join.side.upper() in ("RIGHT", "FULL")
    )


def _spelled(shared: list[str], left: Names, right: Names) -> exp.Expr:
    """USING (a, t): equal in all but the last, in which the right row is not later."""
    conditions = []
    for place, name in enumerate(shared):
        sides = []
        for names in (left, right):
            source = next((source for source, columns in names.sources.items() if name in columns), None)
            if source is None:
                raise Unplannable(f'name "{name}"')
            sides.append(exp.column(exp.to_identifier(name, quoted=True), table=exp.to_identifier(source, quoted=True)))
        kind = exp.GTE if place == len(shared) - 1 else exp.EQ
        conditions.append(kind(this=sides[0], expression=sides[1]))
    return exp.and_(*conditions)


def _time(on: exp.Expr | None, right: Names) -> exp.Expr:
    """The right side of the comparison, which is not NULL where there is a partner."""
    compared = [] if on is None else list(on.find_all(*_COMPARED))
    if len(compared) == 1:
        for side in (compared[0].left, compared[0].right):
            columns = list(side.find_all(exp.Column))
            if columns and all(right.knows(column) and column.table for column in columns):
                return side.copy()
    raise Unplannable("ASOF join on more than equalities and one comparison")
