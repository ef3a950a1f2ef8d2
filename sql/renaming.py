"""ALTER VIEW ... RENAME TO: another name for a view that nothing reads."""

from __future__ import annotations

from dataclasses import replace

from ..storage.catalog import CatalogEntry
from ..storage.errors import NotSupportedError, ProgrammingError
from .alterations import RenameView
from .database import Database
from .declaration import spelled_name
from .lexer import tokenize, words
from .positions import Source


def rename_view(database: Database, statement: RenameView) -> list[str]:
    """The view has another name, and its rows as they are; live queries of it end. Notices.

    Raises: NotSupportedError where other queries know it by its name.
    """
    with database.lock:
        view = database.relations.get(statement.name)
        if view is None and statement.if_exists:
            return [f'"{statement.name}" does not exist; nothing was done']
        view = database.relations.require(statement.name, statement.position)
        if view.kind != statement.kind:
            raise ProgrammingError(
                f'"{view.name}" is not a {statement.kind.lower()}',
                hint=f"It is a {view.kind.lower()}.",
                position=statement.position,
                sqlstate="42809",
            )
        new, taken = statement.new, database.relations.get(statement.new)
        if taken is not None and taken is not view:
            raise ProgrammingError(
                f'"{taken.name}" exists already',
                detail=f"It is a {taken.kind.lower()}.",
                position=statement.new_position,
                sqlstate="42P07",
            )
        readers = ", ".join(f'"{reader.name}"' for reader in database.dependents(view.name))
        if readers:
            raise NotSupportedError(
                f'cannot rename "{view.name}"',
                detail=f"Read by {readers}, under this name.",
                hint=f"CREATE VIEW {spelled_name(new)} AS FROM {spelled_name(view.name)} gives it a second one.",
                position=statement.position,
                sqlstate="2BP01",
            )
        if new == view.name:
            return ["nothing to change"]
        entry = database.folder.catalog.entries[view.name]
        sql = _renamed(view.sql, new)
        database.folder.catalog.replace(view.name, CatalogEntry(new, entry.kind, sql, entry.properties))
        database.rename(view, replace(view, name=new, sql=sql))
        return []


def _renamed(sql: str, new: str) -> str:
    """The CREATE VIEW of another name."""
    tokens = tokenize(Source.of(sql))
    place = next(number for number, token in enumerate(tokens) if words(token)[-1:] == ["VIEW"]) + 1
    if words(tokens[place]) == ["IF"]:
        place += 3
    name = tokens[place]
    return sql[: name.start] + spelled_name(new) + sql[name.end + 1 :]
