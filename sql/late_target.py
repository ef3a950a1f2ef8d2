"""LATE TO: the stream that gets the rows which came too late for a continuous query, whole and each of them once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..storage.errors import NotSupportedError, ProgrammingError
from . import plan as p
from .plan import Plan
from .relations import Relation, Relations
from .statements import Emit

if TYPE_CHECKING:
    from .database import Database


def late_target(plan: Plan, emit: Emit | None, relations: Relations) -> str:
    """The name of the stream that an EMIT clause sends late rows to, as it was declared; empty if to none.

    Raises: ProgrammingError if no row of the query can be late, or if the stream cannot take the rows.
    """
    if emit is None or emit.late_to is None:
        return ""
    target = relations.require(emit.late_to, emit.late_position)
    if target.kind != "STREAM" or target.query is not None:
        raise ProgrammingError(
            f'cannot send late rows to "{target.name}"',
            detail="It is no stream that rows are inserted into.",
            hint="CREATE STREAM with the columns that you want of the late rows, and name that.",
            position=emit.late_position,
        )
    sources = {node.input.stream for node in p.walk(plan) if isinstance(node, p.Late)}
    if not sources:
        raise ProgrammingError(
            "no row can be late for this query",
            detail="Late is what comes after its window has closed, and here no watermark closes one.",
            position=emit.late_position,
        )
    read = {node.stream for node in p.walk(plan) if isinstance(node, p.Scan)}
    if target.name in read:
        raise ProgrammingError(
            f'cannot send late rows to "{target.name}", which the query reads',
            detail="Each would come back, and be late again.",
            hint="Send them to a stream of their own.",
            position=emit.late_position,
        )
    if len(sources) > 1:
        raise NotSupportedError(
            "cannot send the late rows of several streams to one",
            detail=f"The query has windows over {', '.join(sorted(sources))}.",
            hint="system.late_rows has them all.",
            position=emit.late_position,
        )
    (source,) = (relations.require(name) for name in sources)
    for column in target.columns:
        known = source.column(column.name)
        if known is None or known.type != column.type or (known.nullable and not column.nullable):
            has = "no such column" if known is None else f"one of type {known.type}"
            has += "" if known is None or column.nullable or not known.nullable else " that may be NULL"
            raise ProgrammingError(
                f'column "{column.name}" of "{target.name}" cannot take late rows of "{source.name}"',
                detail=f'"{source.name}" has {has}.',
                hint="Rows go there by the names of their columns, which have the same types.",
                position=emit.late_position,
            )
    return target.name


def refuse_late_target(emit: Emit | None) -> None:
    """Raise where a query that is not kept would send its late rows anywhere."""
    if emit is not None and emit.late_to is not None:
        raise NotSupportedError(
            "LATE TO belongs to a view, a derived stream or a derived table",
            detail="Each late row goes there once, whatever happens, and for that the query has to last.",
            hint="CREATE MATERIALIZED VIEW with it, and read that.",
            position=emit.late_position,
        )


def refuse_late_rows(database: Database, stream: Relation) -> None:
    """Raise if late rows go from this stream or to it: then its columns stay as they are."""
    readers = {reader.name for reader in database.readers(stream.name)}
    for relation in database.relations:
        if (
            relation.target
            and relation.kind != "QUERY"
            and (relation.target == stream.name or relation.name in readers)
        ):
            raise NotSupportedError(
                f'cannot alter the columns of "{stream.name}"',
                detail=f'Late rows of "{relation.name}" go to "{relation.target}", column by column.',
                hint=f'Drop "{relation.name}" first, and create it again.',
            )
