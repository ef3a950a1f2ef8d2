"""A query as a small tree: to be written as SQL, and to be made smaller piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

Kind: TypeAlias = str  # int, huge, dec, dbl, approx, str, bool, ts; approx: floats that depend on the order of summing


JOINS = ("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN")


@dataclass(frozen=True)
class Column:
    """A column that an expression may read: what to write, and of what kind it is."""

    text: str
    kind: Kind


@dataclass(frozen=True)
class Relation:
    """A relation that queries may read; `time` is its event time, if it has one."""

    name: str
    columns: tuple[tuple[str, Kind], ...]
    time: str | None = None


@dataclass(frozen=True)
class Item:
    """An item of a select list; `name` is that of the result column."""

    text: str
    name: str
    kind: Kind


@dataclass(frozen=True)
class Named:
    """A relation of the database, or a table function over one."""

    text: str
    alias: str


@dataclass(frozen=True)
class Derived:
    """A query in FROM."""

    query: Query
    alias: str


@dataclass(frozen=True)
class Joined:
    """Two sources; `on` has the conditions, all of which must hold."""

    kind: str
    left: Source
    right: Source
    on: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """One SELECT; `tail` is what stands behind HAVING."""

    items: tuple[Item, ...]
    source: Source
    where: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    having: tuple[str, ...] = ()
    tail: str = ""
    distinct: bool = False

    @property
    def columns(self) -> tuple[Item, ...]:
        return self.items


@dataclass(frozen=True)
class Combined:
    """A set operation."""

    operation: str
    left: Query
    right: Query

    @property
    def columns(self) -> tuple[Item, ...]:
        return self.left.columns


Source: TypeAlias = Named | Derived | Joined
Query: TypeAlias = Block | Combined


def sql(query: Query) -> str:
    """The query as text."""
    match query:
        case Combined():
            return f"({sql(query.left)}) {query.operation} ({sql(query.right)})"
        case Block():
            items = ", ".join(f"{item.text} AS {item.name}" for item in query.items)
            parts = [f"SELECT {'DISTINCT ' if query.distinct else ''}{items} FROM {_source(query.source)}"]
            if query.where:
                parts.append("WHERE " + " AND ".join(f"({part})" for part in query.where))
            if query.group:
                parts.append("GROUP BY " + ", ".join(query.group))
            if query.having:
                parts.append("HAVING " + " AND ".join(query.having))
            return " ".join([*parts, query.tail]).strip()


def _source(source: Source) -> str:
    match source:
        case Named():
            return f"{source.text} AS {source.alias}"
        case Derived():
            return f"({sql(source.query)}) AS {source.alias}"
        case Joined():
            on = " AND ".join(f"({part})" for part in source.on)
            return f"{_source(source.left)} {source.kind} {_source(source.right)}" + (f" ON {on}" if on else "")


def smaller(query: Query) -> Iterator[Query]:
    """The query less one piece, in every way; some of them do not bind."""
    match query:
        case Combined():
            yield query.left
            yield query.right
            yield from (replace(query, left=left) for left in smaller(query.left))
            yield from (replace(query, right=right) for right in smaller(query.right))
        case Block():
            if isinstance(query.source, Derived):
                yield query.source.query
            if query.tail:
                yield replace(query, tail="")
            if query.distinct:
                yield replace(query, distinct=False)
            for name in ("where", "having", "group", "items"):
                pieces = getattr(query, name)
                if len(pieces) > (name == "items"):
                    for place in range(len(pieces)):
                        yield replace(query, **{name: pieces[:place] + pieces[place + 1 :]})
            yield from (replace(query, source=source) for source in _smaller_source(query.source))


def _smaller_source(source: Source) -> Iterator[Source]:
    match source:
        case Named():
            return
        case Derived():
            yield from (replace(source, query=query) for query in smaller(source.query))
        case Joined():
            yield source.left
            yield source.right
            for place in range(len(source.on) if len(source.on) > 1 else 0):
                yield replace(source, on=source.on[:place] + source.on[place + 1 :])
            yield from (replace(source, left=left) for left in _smaller_source(source.left))
            yield from (replace(source, right=right) for right in _smaller_source(source.right))


def timeless(columns: Sequence[Column]) -> list[Column]:
    """Those that are no times: a condition between two times may bind them, and then late rows take no part."""
    return [column for column in columns if column.kind != "ts"]
