"""UNNEST: its lists in FROM as elements beside the sources before it, and in a select list as one in FROM."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from ..storage.errors import Error
from .block_names import Bind, name_items
from .blocks import Unplannable
from .correlation import has_own_aggregates, own_windows
from .dialect import twin_sql
from .join_scope import JoinedSource, JoinNames
from .relations import Column
from .trees import as_column
from .twin import bind_over
from .types import Binder

_SERIES = ("range", "generate_series")
_ELEMENTS = "elements"


@dataclass(frozen=True)
class Elements:
    """An item of FROM that has a row per element of lists: an expression over the sources before it each."""

    alias: str
    lists: tuple[exp.Expr, ...]
    names: tuple[str, ...]
    numbered: bool

    def source(self, names: JoinNames, binder: Binder) -> JoinedSource:
        """Its columns, beside the sources that there are.

        Raises: Unplannable where the values are no lists.
        """
        columns = tuple(
            Column(source.inner(column.name), column.type, column.arrow)
            for source in names.sources
            for column in source.columns
        )
        found = []
        for value, name in zip(self.lists, self.names, strict=False):
            text = twin_sql(names.resolve(value))
            try:
                kind = bind_over(f"SELECT {text} FROM _in", [("_in", columns)], binder)[0].arrow
                if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
                    raise Unplannable("UNNEST of what is no list")
                element = bind_over(f"SELECT unnest({text}) FROM _in", [("_in", columns)], binder)[0]
            except Error:
                raise Unplannable("UNNEST") from None
            found.append(Column(name, element.type, element.arrow))
        if self.numbered:
            found.append(Column(self.names[-1], "BIGINT", pa.int64()))
        return JoinedSource(self.alias, tuple(found))


def elements_of(item: exp.Expr) -> Elements | None:
    """What an item of FROM unnests, if it does."""
    named = item.args.get("alias")
    inner = item.this if isinstance(item, exp.Lateral) else item
    if isinstance(inner, exp.Unnest):
        named = named or inner.args.get("alias")
        lists, function = tuple(inner.expressions), "unnest"
        place = inner.args.get("offset")
    elif isinstance(inner, exp.Table) and isinstance(inner.this, exp.Anonymous) and inner.find(exp.Column):
        function = inner.this.name.lower()
        if function not in _SERIES:
            return None
        lists, place = (inner.this,), None
    else:
        return None
    alias = named.name if named is not None and named.this is not None else function
    names = [identifier.name for identifier in (named.args.get("columns") or ())] if named is not None else []
    if len(names) < len(lists):
        names = [function if place else alias]
    if place:
        names.append(place.name if isinstance(place, exp.Identifier) else "ordinality")
    if len(names) != len(lists) + bool(place):
        raise Unplannable("UNNEST of several lists")
    return Elements(alias, lists, tuple(names), bool(place))


def without_unnest(select: exp.Select, bind: Bind) -> exp.Select:
    """`select` with the lists of its select list unnested in FROM, side by side; itself if it has none."""

    if not any(_unnests(item) for item in select.expressions) or select.args.get("from_") is None:
        return select
    grouped = select.args.get("group") or select.args.get("having") or has_own_aggregates(select)
    select = select.copy()
    if grouped or select.args.get("qualify") or own_windows(select):
        select = _apart(select, bind)
    name_items(select, bind, lambda item: bool(_unnests(item)))
    found: dict[str, tuple[str, exp.Expr]] = {}
    for node in [node for item in select.expressions for node in _unnests(item)]:
        if node.expressions or node.this.find(exp.Explode):
            raise Unplannable("UNNEST within UNNEST")
        name, _ = found.setdefault(twin_sql(node), (f"element {len(found) + 1}", node.this.copy()))
        column = exp.column(exp.to_identifier(name, quoted=True), table=exp.to_identifier(_ELEMENTS, quoted=True))
        node.replace(column)
    alias = exp.TableAlias(
        this=exp.to_identifier(_ELEMENTS, quoted=True),
        columns=[exp.to_identifier(name, quoted=True) for name, _ in found.values()],
    )
    join = exp.Join(this=exp.Unnest(expressions=[value for _, value in found.values()], alias=alias), kind="CROSS")
    join.set("aside", [name for name, _ in found.values()])
    select.append("joins", join)
    return select


def _unnests(item: exp.Expr) -> list[exp.Expr]:
    """The calls of UNNEST in an item of the select list."""
    nodes = item.walk(prune=lambda node: isinstance(node, exp.Query))
    return [node for node in nodes if isinstance(node, exp.Explode)]


def _apart(select: exp.Select, bind: Bind) -> exp.Select:
    """A block with aggregates or OVER whose lists are unnested by a block around it."""
    group = select.args.get("group")
    keys = [] if group is None else group.expressions
    by_place = any(isinstance(key, exp.Literal) for key in keys) or (group is not None and group.args.get("all"))
    if by_place or any(item.is_star for item in select.expressions) or select.args.get("distinct"):
        raise Unplannable("UNNEST beside aggregates or OVER")
    name_items(select, bind, lambda item: not isinstance(item, exp.Alias))
    inner: list[exp.Expr] = []
    outer: list[exp.Expr] = []

    def below(value: exp.Expr) -> exp.Column:
        inner.append(exp.alias_(value.copy(), f"below {len(inner) + 1}", quoted=True))
        return as_column(inner[-1].alias)

    for item in select.expressions:
        value = item.this
        lists = _unnests(item)
        for node in lists:
            if node.expressions or node.this.find(exp.Explode):
                raise Unplannable("UNNEST within UNNEST")
            node.set("this", below(node.this))
        if not lists:
            value = below(value)
        elif any(not (c.find_ancestor(exp.Explode)) for c in value.find_all(exp.Column, exp.AggFunc, exp.Window)):
            raise Unplannable("UNNEST beside aggregates or OVER")
        outer.append(exp.alias_(value.copy(), item.alias, quoted=True))
    block = select.copy()
    block.set("expressions", inner)
    block.set("order", None)
    return exp.select(*outer).from_(block.subquery("below", copy=False))
