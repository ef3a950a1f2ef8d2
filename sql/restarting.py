"""ALTER ... RESUME: a query that has stopped runs again."""

from __future__ import annotations

from ..storage.errors import ProgrammingError
from .alterations import Resume
from .database import Database
from .outputs import engine_name


def resume(database: Database, statement: Resume, *, wait: bool, partial: bool) -> list[str]:
    """What stopped is built anew from its log, and runs on; notices. `wait` and `partial` as in `Evolving.replace`."""
    with database.lock:
        relation = database.relations.require(statement.name, statement.position)
        writes = database.queries.get(relation.name) is not None
        if relation.kind != statement.kind or not (writes or relation.kind == "MATERIALIZED VIEW"):
            hint = f"It is a {relation.kind.lower()}." if relation.kind != statement.kind else None
            raise ProgrammingError(
                f'"{relation.name}" is no {statement.kind.lower()} that a query keeps',
                hint=hint,
                position=statement.position,
                sqlstate="42809",
            )
        name = engine_name(relation.name) if writes else relation.name
        if name not in database.engine.errors():
            return [f'"{relation.name}" has not stopped; nothing was done']
        if writes:
            database.queries.resume(relation.name)
            return []
    return database.evolving.resume(relation, wait=wait, partial=partial)
