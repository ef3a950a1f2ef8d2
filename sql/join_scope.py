"""Names over several joined sources: which column of which source each means, and what a star stands for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from ..storage.errors import Error
from .blocks import Scope, Unplannable
from .dialect import twin_sql
from .plan import Plan
from .relations import Column
from .trees import as_column, copied, every
from .twin import bind_over
from .types import Binder, quote


@dataclass(frozen=True)
class JoinedSource:
    """One item of FROM: what it may be qualified with, and its columns; those `aside` are asked for by that alone."""

    alias: str
    columns: tuple[Column, ...]
    aside: frozenset[str] = frozenset()

    def column(self, name: str) -> Column | None:
        """The column of that name, whatever its case."""
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)

    def shows(self, name: str) -> bool:
        """Whether it has a column that is meant by `name` alone, and by a star."""
        return self.column(name) is not None and name.lower() not in self.aside

    def inner(self, column: str) -> str:
        """What a column is called in the plan of the join, where the columns of all sources stand side by side."""
        return f"{self.alias}.{column}"


@dataclass
class JoinNames:
    """The sources in their order, as they are added; `merged` has the columns of USING, which are qualified by none.

    A source that is not `shown` (the right side of a semi join) has no names for what stands above it.
    """

    sources: list[JoinedSource] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    merged: dict[str, exp.Expr] = field(default_factory=dict)
    _merged_right: set[str] = field(default_factory=set)  # inner names that a star leaves out

    def add(self, source: JoinedSource) -> None:
        if any(known.alias.lower() == source.alias.lower() for known in self.sources):
            raise Unplannable(f'two sources named "{source.alias}"')
        self.sources.append(source)

    def common(self) -> list[str]:
        """The names that the last source shares with those before it, as NATURAL compares them."""
        *before, last = self.sources
        return [c.name for c in last.columns if any(source.shows(c.name) for source in before)]

    def merge(self, name: str, side: str) -> exp.Expr:
        """Make one column of `name` in the sources so far and in the last one; the condition that they are equal."""
        right = self.sources[-1]
        column = right.column(name)
        if column is None:
            raise Unplannable(f'name "{name}"')
        ours = self.find(name, len(self.sources) - 1)
        theirs = as_column(right.inner(column.name))
        if side == "full":
            merged: exp.Expr = exp.Coalesce(this=copied(ours), expressions=[copied(theirs)])
        else:
            merged = theirs if side == "right" else ours
        self.merged[name.lower()] = copied(merged)
        self._merged_right.add(right.inner(column.name))
        return exp.EQ(this=copied(ours), expression=copied(theirs))

    def find(self, name: str, count: int | None = None) -> exp.Expr:
        """What an unqualified name means among the first `count` sources."""
        if name.lower() in self.merged:
            return self.merged[name.lower()]
        found = [
            as_column(source.inner(column.name))
            for place, source in enumerate(self.sources[:count])
            if place not in self.hidden and source.shows(name) and (column := source.column(name)) is not None
        ]
        if len(found) != 1:
            raise Unplannable(f'name "{name}"')
        return found[0]

    def resolve(self, expression: exp.Expr, count: int | None = None) -> exp.Expr:
        """`expression` with inner names only, as seen from the first `count` sources."""

        def spell(node: exp.Expr) -> exp.Expr:
            if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
                return node
            parts = [part.name for part in node.parts]
            result, rest = self._meant(parts, count)
            for part in rest:
                result = exp.Anonymous(this="struct_extract", expressions=[result, exp.Literal.string(part)])
            return result

        return copied(expression).transform(spell, copy=False)

    def _meant(self, parts: Sequence[str], count: int | None) -> tuple[exp.Expr, Sequence[str]]:
        if len(parts) == 1 and self.owner(parts[0]) is not None:
            return as_column(parts[0]), ()  # resolved before
        for place, source in enumerate(self.sources[:count]):
            if len(parts) > 1 and source.alias.lower() == parts[0].lower() and place not in self.hidden:
                column = source.column(parts[1])
                if column is not None:
                    return as_column(source.inner(column.name)), parts[2:]
        return self.find(parts[0], count).copy(), parts[1:]

    def owner(self, inner: str) -> int | None:
        """The place of the source that the inner name is of."""
        for place, source in enumerate(self.sources):
            prefix = source.inner("")
            if inner.startswith(prefix) and any(c.name == inner[len(prefix) :] for c in source.columns):
                return place
        return None

    def owners(self, resolved: exp.Expr) -> frozenset[int]:
        """The places of all sources that a resolved expression names."""
        places = [self.owner(column.name) for column in every(resolved, exp.Column)]
        return frozenset(place for place in places if place is not None)

    def star(self, table: str) -> list[tuple[str, exp.Expr]]:
        """The names and columns that `*` or `table.*` stands for."""
        found: list[tuple[str, exp.Expr]] = []
        for place, source in enumerate(self.sources):
            if place in self.hidden or (table and source.alias.lower() != table.lower()):
                continue
            for column in source.columns:
                if not source.shows(column.name):
                    continue
                inner = source.inner(column.name)
                if table:
                    found.append((column.name, as_column(inner)))
                elif inner not in self._merged_right:
                    value = self.merged.get(column.name.lower(), as_column(inner))
                    found.append((column.name, copied(value)))
        if not found:
            raise Unplannable("qualified *")
        return found


class JoinScope(Scope):
    """The columns of joined sources, whose plan `below` has them under their inner names."""

    def __init__(self, below: Plan, names: JoinNames, binder: Binder) -> None:
        super().__init__(below, "", binder)
        self._names = names

    def has(self, name: str) -> bool:
        return any(source.shows(name) for source in self._names.sources)

    def resolve(self, expression: exp.Expr) -> exp.Expr:
        return self._names.resolve(expression)

    def star(self, table: str, dropped: Collection[str]) -> list[exp.Expr]:
        return [
            exp.alias_(value, name, quoted=True)
            for name, value in self._names.star(table)
            if name.lower() not in dropped
        ]

    def items(self, expressions: Sequence[exp.Expr]) -> list[exp.Expr]:  # type: ignore[override]
        """As below; of equal names all but the first get a number, as in a DuckDB subquery."""
        items = super().items(expressions)
        taken: set[str] = set()
        for item in items:
            if not isinstance(item, exp.Alias):
                continue
            name, number = item.alias, 0
            while name.lower() in taken:
                number += 1
                name = f"{item.alias}_{number}"
            taken.add(name.lower())
            item.set("alias", exp.to_identifier(name, quoted=True))
        return items

    def labelled(self, item: exp.Expr, resolved: exp.Expr) -> exp.Expr:
        if isinstance(resolved, exp.Alias):
            return resolved
        if isinstance(item, exp.Column):
            return exp.alias_(resolved, item.name, quoted=True)
        sources = ", ".join(quote(source.alias) for source in self._names.sources)
        columns = [(source.alias, source.columns) for source in self._names.sources]
        try:
            name = bind_over(f"SELECT {twin_sql(item)} FROM {sources}", columns, self.binder)[0].name
        except Error:
            return resolved
        return exp.alias_(resolved, name, quoted=True)
