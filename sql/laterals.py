"""LATERAL: queries in FROM that see the sources before them, as joins with queries that do not."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from ..storage.errors import Error
from .block_names import Bind, block_names, outer_columns, stands_alone
from .blocks import Unplannable
from .correlation import Apart, Outer, has_own_aggregates, plain


def without_laterals(select: exp.Select, bind: Bind) -> exp.Select:
    """`select` with joins in the place of its lateral queries; itself if it has none.

    Raises: Unplannable where there is no such block.
    """
    joins = select.args.get("joins") or []
    if select.args.get("from_") is None or not any(_lateral(join.this, bind) is not None for join in joins):
        return select
    select = select.copy()
    for place, join in enumerate(select.args["joins"]):
        query = _lateral(join.this, bind)
        if query is None:
            continue
        left = join.side.upper() == "LEFT"
        if join.method or join.args.get("using") or not (left or join.kind.upper() in ("", "INNER", "CROSS")):
            raise Unplannable("LATERAL in such a join")
        before = exp.select(exp.Star())
        before.set("from_", select.args["from_"].copy())
        before.set("joins", [known.copy() for known in select.args["joins"][:place]])
        apart = _apart(query, join.this.alias, _names(before, join.this, bind), before, bind)
        conditions = [*apart.conditions, *([join.args["on"]] if join.args.get("on") is not None else [])]
        made = exp.Join(this=apart.source(), on=exp.and_(*conditions, copy=True) if conditions else exp.true())
        if left:
            made.set("side", "LEFT")
        made.set("aside", list(apart.keys))
        join.replace(made)
    return select


def _lateral(item: exp.Expr, bind: Bind) -> exp.Query | None:
    """The query of an item of FROM that is lateral, by its word or by what it names."""
    if isinstance(item, exp.Lateral) and isinstance(item.this, exp.Subquery):
        return plain(item.this)
    if isinstance(item, exp.Subquery) and item.alias and not item.args.get("joins"):
        query = plain(item)
        return None if stands_alone(query, bind) else query
    return None


def _names(before: exp.Select, item: exp.Expr, bind: Bind) -> list[str]:
    """What the columns of the item are called, beside the sources before it."""
    star = before.copy()
    star.set("expressions", [exp.Column(this=exp.Star(), table=exp.to_identifier(item.alias, quoted=True))])
    star.append("joins", exp.Join(this=item.copy(), kind="CROSS"))
    try:
        return [column.name for column in bind(star)]
    except Error:
        raise Unplannable("LATERAL") from None


def _apart(query: exp.Query, alias: str, names: Sequence[str], before: exp.Select, bind: Bind) -> Apart:
    """The lateral query as one that stands by itself, its columns under their names."""
    outer = Outer(before, block_names(before, bind), bind)
    whole = isinstance(query, exp.Select) and has_own_aggregates(query) and not query.args.get("group")
    if isinstance(query, exp.Select) and whole and not stands_alone(query, bind):
        return _aggregated(query, alias, names, outer)
    apart = outer.apart(query, alias, any_condition=True)
    if len(apart.values) != len(names) or {name.lower() for name in apart.keys} & {name.lower() for name in names}:
        raise Unplannable("LATERAL with such columns")
    apart.values = list(names)
    return apart


def _aggregated(query: exp.Select, alias: str, names: Sequence[str], outer: Outer) -> Apart:
    """Aggregates without GROUP BY, a row also where there are none: each as a value for what the outer row has."""
    clauses = ("having", "qualify", "distinct", "limit", "offset")
    if any(query.args.get(clause) for clause in clauses) or len(query.expressions) != len(names):
        raise Unplannable("LATERAL aggregate with other clauses")
    domain, pairs = outer.different(query, outer_columns(query, outer.names, outer.bind))
    made = exp.select()
    for item, name in zip(query.expressions, names, strict=True):
        value = query.copy()
        value.set("expressions", [item.unalias().copy()])
        made.append("expressions", exp.alias_(exp.Subquery(this=value), name, quoted=True))
    made.set("from_", exp.From(this=domain))
    apart = Apart(made, alias, list(names))
    for inner, outside in pairs:
        apart.add_key(inner, outside, exp.NullSafeEQ)
    return apart
