"""Names of one block: what its sources let them mean, and which of a subquery's are the outer block's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sqlglot import exp

from ..storage.errors import Error
from .blocks import Unplannable
from .dialect import WindowFunction
from .relations import Column

Bind = Callable[[exp.Query], tuple[Column, ...]]  # the columns that a query returns


@dataclass
class Names:
    """What the names of a block can mean: per source (lower case) its columns, each with whether it may be NULL."""

    sources: dict[str, dict[str, bool]] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether a source has a column of that name."""
        return any(name.lower() in columns for columns in self.sources.values())

    def knows(self, column: exp.Column) -> bool:
        """Whether a column, qualified or not, is of this block."""
        parts = [part.name.lower() for part in column.parts]
        return (len(parts) > 1 and parts[0] in self.sources) or self.has(parts[0])

    def never_null(self, value: exp.Expr) -> bool:
        """Whether `value` is a literal, or a column that is declared NOT NULL."""
        if isinstance(value, exp.Literal):
            return True
        if not isinstance(value, exp.Column):
            return False
        parts = [part.name.lower() for part in value.parts]
        if len(parts) > 1 and parts[0] in self.sources:
            return len(parts) == 2 and not self.sources[parts[0]].get(parts[1], True)
        found = [columns[parts[0]] for columns in self.sources.values() if parts[0] in columns]
        return len(parts) == 1 and found == [False]


def block_names(select: exp.Select, bind: Bind) -> Names:
    """The names that the sources of a block have.

    Raises: Unplannable where DuckDB does not say, as for a source that is itself correlated.
    """
    names = Names()
    source = select.args.get("from_")
    items = [] if source is None else [source.this]
    joins = select.args.get("joins") or []
    outer = any((join.side or join.kind).upper() in ("LEFT", "RIGHT", "FULL", "OUTER") for join in joins)
    for item in [*items, *(join.this for join in joins)]:
        alias = item.alias_or_name
        if isinstance(item, exp.Table) and isinstance(item.this, WindowFunction):
            alias = item.alias or item.this.this.alias_or_name
        if item.args.get("joins"):
            raise Unplannable("join")
        if alias.lower() in names.sources:
            raise Unplannable(f'two sources named "{alias}"')
        plain = isinstance(item, exp.Table | exp.Subquery | exp.Values)
        columns = _bound(exp.select(exp.Star()).from_(item.copy()), bind) if plain else None
        if columns is None:  # it sees the sources before it
            star = exp.select(exp.Column(this=exp.Star(), table=exp.to_identifier(alias, quoted=True)))
            star.set("from_", source and source.copy())
            star.set("joins", [join.copy() for join in joins])
            columns = _bound(star, bind)
        if columns is None:
            raise Unplannable("a correlated source")
        names.sources[alias.lower()] = {c.name.lower(): c.nullable or outer for c in columns}
    return names


def _bound(query: exp.Query, bind: Bind) -> tuple[Column, ...] | None:
    try:
        return bind(query)
    except Error:
        return None


def stands_alone(query: exp.Query, bind: Bind) -> bool:
    """Whether a subquery means the same without the block around it."""
    return _bound(query, bind) is not None


def outer_columns(query: exp.Query, outer: Names, bind: Bind) -> list[exp.Column]:
    """The nodes in `query` that are columns of the block around it."""
    found = []
    for column, named in _unresolved(query, bind):
        if outer.knows(column):
            if named:
                raise Unplannable(f'"{column.name}", which is an item and a column of the outer query')
            found.append(column)
    return found


def _unresolved(query: exp.Expr, bind: Bind) -> Iterator[tuple[exp.Column, bool]]:
    """Columns that no source within has, each with whether an item of its block is called so."""
    match query:
        case exp.Select():
            if query.args.get("with_"):
                raise Unplannable("recursive CTE")
            names = block_names(query, bind)
            items = {item.alias.lower() for item in query.expressions if isinstance(item, exp.Alias)}
            for node in query.walk(prune=lambda node: isinstance(node, exp.Query) and node is not query):
                if isinstance(node, exp.Query) and node is not query:
                    for column, named in _unresolved(node, bind):
                        if not names.knows(column):
                            yield column, named
                elif isinstance(node, exp.Column) and not isinstance(node.this, exp.Star) and not names.knows(node):
                    yield node, not node.table and node.name.lower() in items
        case exp.Subquery():
            yield from _unresolved(query.this, bind)
        case exp.SetOperation():
            yield from _unresolved(query.this, bind)
            yield from _unresolved(query.expression, bind)
        case _:
            raise Unplannable("a correlated subquery that is no SELECT")


def name_items(select: exp.Select, bind: Bind, chosen: Callable[[exp.Expr], bool]) -> None:
    """Give the `chosen` items the name that they have by what is written, before that changes."""
    unnamed = [item for item in select.expressions if chosen(item) and not isinstance(item, exp.Alias)]
    if not unnamed:
        return
    names = [column.name for column in bind(select)]
    if len(names) != len(select.expressions):
        raise Unplannable("an item without a name beside *")
    for item, name in zip(list(select.expressions), names, strict=True):
        if any(item is other for other in unnamed):
            item.replace(exp.alias_(item.copy(), name, quoted=True))
