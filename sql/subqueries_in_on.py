"""Subqueries in ON moved to where they are joins: into WHERE, or into a query in the place of one side."""

from __future__ import annotations

from sqlglot import exp

from ..storage.errors import Error
from .block_names import Bind
from .blocks import Unplannable
from .correlation import own_conjuncts

_BRING_BACK = ("RIGHT", "FULL", "OUTER")


def without_subqueries_in_on(select: exp.Select, bind: Bind) -> exp.Select:
    """`select` with no subquery in ON; itself if it has none.

    What an inner join asks for WHERE may ask as well, unless a later join brings rows back. What an outer, semi or anti
    join asks of the rows alone that it may leave out is a filter on them.
    Raises: Unplannable where a condition is neither.
    """
    joins = select.args.get("joins") or []
    if not any(join.args.get("on") is not None and join.args["on"].find(exp.Query) for join in joins):
        return select
    select = select.copy()
    joins = select.args["joins"]
    for place, join in enumerate(joins):
        on = join.args.get("on")
        if on is None or not on.find(exp.Query):
            continue
        parts = list(own_conjuncts(on))
        asked = [part for part in parts if part.find(exp.Query)]
        rest = [part for part in parts if not part.find(exp.Query)]
        side, kind = join.side.upper(), join.kind.upper()
        later = any((other.side or other.kind).upper() in _BRING_BACK for other in joins[place:])
        if join.method:
            raise Unplannable("subquery in ON")
        if not side and kind in ("", "INNER", "CROSS") and not later:
            select.where(*asked, copy=False)
        elif side == "LEFT" or (not side and kind != "OUTER"):
            join.set("this", _filtered(join.this, asked, bind))
        elif side == "RIGHT" and place == 0:
            source = select.args["from_"]
            source.set("this", _filtered(source.this, asked, bind))
        else:
            raise Unplannable("subquery in ON")
        join.set("on", exp.and_(*rest, copy=True) if rest else exp.true())
    return select


def _filtered(item: exp.Expr, conditions: list[exp.Expr], bind: Bind) -> exp.Subquery:
    """The rows of an item of FROM for which all `conditions` hold, under the same name."""
    query = exp.select(exp.Star()).from_(item.copy()).where(*conditions)
    try:
        bind(exp.select(exp.Literal.number(1)).from_(item.copy()).where(*conditions))
    except Error:  # they name the other side, too
        raise Unplannable("subquery in ON") from None
    alias = exp.TableAlias(this=exp.to_identifier(item.alias_or_name, quoted=True))
    return exp.Subquery(this=query, alias=alias)
