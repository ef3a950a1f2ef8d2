"""DROP: a relation goes, and with CASCADE all that reads it."""

from __future__ import annotations

from ..storage.errors import ProgrammingError
from .database import Database
from .relations import Relation
from .statements import Drop


def drop(database: Database, statement: Drop) -> list[str]:
    """Forget a relation, and with CASCADE what reads it; notices."""
    with database.lock:
        relation = database.relations.get(statement.name)
        if relation is None and statement.if_exists:
            return [f'"{statement.name}" does not exist; nothing was done']
        relation = database.relations.require(statement.name, statement.start)
        if relation.kind != statement.kind:
            raise ProgrammingError(
                f'"{relation.name}" is not a {statement.kind.lower()}',
                hint=None if relation.kind == "SYSTEM" else f"DROP {relation.kind} {relation.name}",
                position=statement.start,
                sqlstate="42809",
            )
        order = _with_dependents(database, relation)
        if len(order) > 1 and not statement.cascade:
            names = ", ".join(f'"{name}"' for name in order[:-1])
            raise ProgrammingError(
                f'cannot drop "{relation.name}" while others read it',
                detail=f"Read by {names}.",
                hint="Drop those first, or say CASCADE.",
                position=statement.start,
                sqlstate="2BP01",
            )
        notices = [notice for name in order for notice in database.queries.finish(name)]
        database.drop(order)
        return [*notices, *(f'also dropped "{name}"' for name in order[:-1])]


def _with_dependents(database: Database, relation: Relation) -> list[str]:
    """Names to drop so that `relation` can go: whoever reads it first, itself last."""
    order: list[str] = []

    def visit(name: str) -> None:
        for reader in database.dependents(name):
            if reader.name not in order:
                visit(reader.name)
        if name not in order:
            order.append(name)

    visit(relation.name)
    return order
