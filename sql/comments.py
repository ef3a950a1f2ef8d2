"""COMMENT ON: what is to be said of relations and their columns, kept in the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..storage.errors import ProgrammingError
from .declaration import spelled
from .statements import Comment

if TYPE_CHECKING:
    from .database import Database


def comment(database: Database, statement: Comment) -> None:
    """What is to be said of a relation or a column; None, nothing. Raises: ProgrammingError where there is no such."""
    with database.lock:
        relation = database.relations.require(statement.name, statement.position)
        if relation.kind == "SYSTEM" or statement.kind not in ("", relation.kind):
            what = f"not a {statement.kind.lower()}" if statement.kind else "ours"
            raise ProgrammingError(
                f'"{relation.name}" is {what}',
                hint=None if relation.kind == "SYSTEM" else f"COMMENT ON {relation.kind} {relation.name}",
                position=statement.position,
                sqlstate="42809",
            )
        entry = database.folder.catalog.entries[relation.name]
        said = dict(entry.properties.get("comments", {}))
        key = ""
        if statement.column is not None:
            try:
                key = spelled(relation, statement.column)
            except ProgrammingError as error:
                error.position = statement.position
                raise
        said.pop(key, None)
        if statement.comment is not None:
            said[key] = statement.comment
        properties = {name: value for name, value in entry.properties.items() if name != "comments"}
        database.folder.catalog.put(replace(entry, properties={**properties, **({"comments": said} if said else {})}))


def comments(database: Database, name: str) -> dict[str, str]:
    """What is said of a relation, under "", and of its columns, under their names."""
    entry = database.log.catalog.entries.get(name)
    return {} if entry is None else dict(entry.properties.get("comments", {}))


def renamed_comments(said: Mapping[str, str], old: str, new: str | None) -> dict[str, str]:
    """The comments `said` once a column is called otherwise, or is there no more."""
    names = {name: new if name == old else name for name in said}
    return {kept: said[name] for name, kept in names.items() if kept is not None}
