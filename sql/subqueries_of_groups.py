"""Subqueries beside aggregates: such a block as two, of which the outer one selects from the groups of the inner."""

from __future__ import annotations

from sqlglot import exp

from .block_names import Bind, Names, block_names, outer_columns
from .blocks import Unplannable, has_aggregate, is_aggregate
from .ties import has_own_window

_GROUPS = "_g"


def split_groups(select: exp.Select, bind: Bind) -> exp.Select:
    """A block with aggregates whose items have names, as one without that selects from the groups."""
    if has_own_window(select) or select.args.get("qualify"):
        raise Unplannable("subquery beside aggregates and OVER")
    names = block_names(select, bind)
    items = list(select.expressions)
    if any(isinstance(item, exp.Star) or (isinstance(item, exp.Column) and item.is_star) for item in items):
        raise Unplannable("* beside aggregates")
    group = select.args.get("group")
    keys = [] if group is None else [_spelled(key, items, names) for key in group.expressions]
    if group is not None and group.args.get("all"):
        keys = [item.unalias().copy() for item in items if not has_aggregate(item)]
    if any(isinstance(key, exp.Rollup | exp.Cube | exp.GroupingSets | exp.Tuple | exp.Query) for key in keys) or any(
        key.find(exp.Query) for key in keys
    ):
        raise Unplannable("subquery beside grouping sets")
    lifting = _Lifting(keys, names, bind)
    outer_items = [
        exp.alias_(lifting.lifted(item.unalias()), item.alias_or_name, quoted=True)
        if isinstance(item, exp.Alias | exp.Column)
        else lifting.lifted(item)
        for item in items
    ]
    having = select.args.get("having")
    condition = None if having is None else lifting.lifted(_spelled(having.this, items, names))
    inner = select.copy()
    inner.set("expressions", lifting.items or [exp.alias_(exp.Count(this=exp.Star(), big_int=True), "_a0")])
    inner.set("group", exp.Group(expressions=keys) if keys else None)
    inner.set("having", None)
    outer = exp.select(*outer_items).from_(inner.subquery(_GROUPS))
    return outer if condition is None else outer.where(condition)


def _spelled(node: exp.Expr, items: list[exp.Expr], names: Names) -> exp.Expr:
    """A key, or a condition, with ordinals and names of items replaced by the items, but not within subqueries."""
    if isinstance(node, exp.Literal) and node.is_int and isinstance(node.parent, exp.Group):
        return items[int(node.name) - 1].unalias().copy()
    if isinstance(node, exp.Query):
        return node.copy()
    if isinstance(node, exp.Column) and not names.knows(node):
        named = next((i.this for i in items if isinstance(i, exp.Alias) and i.alias.lower() == node.name.lower()), None)
        if named is None or isinstance(named, exp.Column):
            return (node if named is None else named).copy()
        return exp.Paren(this=named.copy())
    result = node.copy()
    for ours, theirs in zip(list(result.iter_expressions()), list(node.iter_expressions()), strict=True):
        ours.replace(_spelled(theirs, items, names))
    return result


class _Lifting:
    """Replaces keys and aggregates by columns of the groups, and collects what these are."""

    def __init__(self, keys: list[exp.Expr], names: Names, bind: Bind) -> None:
        self._keys = [key.unnest() for key in keys]
        self._names = names
        self._bind = bind
        self._known: dict[str, str] = {}
        self.items: list[exp.Expr] = []

    def lifted(self, node: exp.Expr) -> exp.Expr:
        for place, key in enumerate(self._keys):
            if node == key or (isinstance(node, exp.Column) and isinstance(key, exp.Column) and _same(node, key)):
                return self._column(f"_k{place}", key)
        if isinstance(node, exp.Filter | exp.WithinGroup) or is_aggregate(node):
            return self._column(self._known.get(node.sql(), f"_a{len(self._known)}"), node)
        if isinstance(node, exp.Column):
            raise Unplannable(f'"{node.name}" beside aggregates')
        node = node.copy()
        if isinstance(node, exp.Query):
            for column in outer_columns(node, self._names, self._bind):
                if column.find_ancestor(exp.AggFunc) is not None:
                    raise Unplannable("an aggregate of the outer query in a subquery")
                column.replace(self.lifted(column))
            return node
        for child in list(node.iter_expressions()):
            child.replace(self.lifted(child))
        return node

    def _column(self, name: str, value: exp.Expr) -> exp.Expr:
        if name not in self._known.values():
            self._known[value.sql()] = name
            self.items.append(exp.alias_(value.copy(), name))
        return exp.column(name, table=_GROUPS)


def _same(left: exp.Column, right: exp.Column) -> bool:
    """Whether two spellings of a name in one block, qualified or not, mean one column."""
    parts = [[part.name.lower() for part in column.parts] for column in (left, right)]
    short, long = sorted(parts, key=len)
    return len(long) <= 2 and long[-len(short) :] == short
