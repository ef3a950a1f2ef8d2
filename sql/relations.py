"""What a name in SQL can mean: streams, tables, views and system relations, with their typed columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import pyarrow as pa
from sqlglot import exp

from ..storage.errors import Position, ProgrammingError

Kind = Literal["STREAM", "TABLE", "VIEW", "MATERIALIZED VIEW", "QUERY", "SYSTEM", "VERSIONS"]
VERSIONS_SUFFIX = "+versions"  # behind a table's name, where SQL means the versions that its rows have had


@dataclass(frozen=True)
class Column:
    """A name, its SQL type as DuckDB writes it, and the Arrow type DuckDB gives such a value."""

    name: str
    type: str
    arrow: pa.DataType
    nullable: bool = True


def schema_of(columns: Iterable[Column]) -> pa.Schema:
    """The Arrow schema of the columns; NOT NULL is checked on the way in, so every field is nullable here."""
    return pa.schema([pa.field(column.name, column.arrow) for column in columns])


@dataclass(frozen=True)
class Relation:
    """One named relation. `query` is set where rows follow from one, `event_time` and `delay_us` with a WATERMARK.

    `key` has the columns of a table's PRIMARY KEY. A QUERY inserts into `target`, and has no rows of its own; VERSIONS
    are those of the table `target`, each with its key and its time;
    the late rows of what else follows from a query go there. `arrival` is the column of when each row came.
    """

    name: str
    kind: Kind
    columns: tuple[Column, ...]
    sql: str = ""
    query: exp.Query | None = None
    event_time: str | None = None
    delay_us: int = 0
    defaults: Mapping[str, exp.Expr] = field(default_factory=dict)
    partitions: int = 1
    key: tuple[str, ...] = ()
    target: str = ""
    arrival: str | None = None

    @property
    def versioned(self) -> bool:
        """Whether the log keeps the rows that a key has had, from their time on, which is not in the key."""
        return self.kind == "TABLE" and bool(self.key) and self.event_time not in (None, *self.key)

    @property
    def versions(self) -> Relation:
        """These rows, as a relation."""
        assert self.event_time is not None
        key, name = (*self.key, self.event_time), self.name + VERSIONS_SUFFIX
        return replace(self, name=name, kind="VERSIONS", key=key, target=self.name)

    @property
    def logged(self) -> bool:
        """Whether rows are written to it, and so to a topic of its name."""
        return self.kind in ("STREAM", "TABLE")

    @property
    def kept(self) -> bool:
        """Whether the engine keeps its present rows, under its name."""
        return self.kind in ("TABLE", "MATERIALIZED VIEW")

    @property
    def schema(self) -> pa.Schema:
        return schema_of(self.columns)

    def column(self, name: str) -> Column | None:
        """The column of that name, whatever its case."""
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)


class Relations:
    """All relations of a database by name, compared without case."""

    def __init__(self) -> None:
        self._by_name: dict[str, Relation] = {}

    def __iter__(self) -> Iterator[Relation]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Relation | None:
        found = self._by_name.get(name.lower())
        if found is None and name.lower().endswith(VERSIONS_SUFFIX):
            table = self._by_name.get(name.lower().removesuffix(VERSIONS_SUFFIX))
            return table.versions if table is not None and table.versioned else None
        return found

    def add(self, relation: Relation) -> None:
        self._by_name[relation.name.lower()] = relation

    def with_changed(self, relation: Relation) -> Relations:
        """A copy in which `relation` has taken the place of that with its name."""
        copy = Relations()
        copy._by_name = {**self._by_name, relation.name.lower(): relation}
        return copy

    def move_to_end(self, names: Iterable[str]) -> None:
        """These come after all others, in this order."""
        for name in names:
            self._by_name[name.lower()] = self._by_name.pop(name.lower())

    def remove(self, name: str) -> None:
        del self._by_name[name.lower()]

    def require(self, name: str, position: Position | None = None) -> Relation:
        """The relation of that name, or a ProgrammingError that proposes the nearest one."""
        relation = self.get(name)
        if relation is not None:
            return relation
        close = difflib.get_close_matches(name.lower(), self._by_name, n=1)
        raise ProgrammingError(
            f'no stream or view is named "{name}"',
            hint=f'Did you mean "{self._by_name[close[0]].name}"?'
            if close
            else "SHOW STREAMS and SHOW VIEWS list what there is.",
            position=position,
            sqlstate="42P01",
        )
