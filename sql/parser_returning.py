"""Reading RETURNING: what a statement that changes rows answers with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from .cursor import Cursor
from .lexer import words
from .positions import position_of
from .statements import Delete, DeleteRows, Insert, Statement, Update
from .trees import every

Read = Callable[[Cursor, dict[str, Any]], Statement]


def returning(read: Read) -> Read:
    """What reads the statement that `read` reads, and RETURNING after it."""

    def read_both(cursor: Cursor, place: dict[str, Any]) -> Statement:
        end = next(
            (index for index, token, depth in cursor.depths() if depth == 0 and words(token) == ["RETURNING"]), None
        )
        if end is None:
            return read(cursor, place)
        before = Cursor(cursor.source, cursor.tokens[:end], cursor.index)
        statement = read(before, place)
        before.end()
        cursor.index = end
        if not isinstance(statement, Insert | Update | DeleteRows) or (
            isinstance(statement, Insert) and statement.emit is not None
        ):
            what = "DELETE ... BEFORE" if isinstance(statement, Delete) else "what goes on inserting"
            cursor.not_yet(f"{what} has no rows to return")
        return replace(statement, returning=_items(cursor))

    return read_both


def _items(cursor: Cursor) -> exp.Select:
    """The items, as the query without FROM that they would be after SELECT."""
    position = cursor.position
    if len(cursor.tokens) == cursor.index + 1:
        cursor.index += 1
        cursor.unexpected("Here should be * or expressions.")
    query = cursor.query(first=TokenType.SELECT)
    if not isinstance(query, exp.Select) or {name for name, value in query.args.items() if value} != {"expressions"}:
        cursor.wrong("RETURNING takes expressions, and no more", position=position)
    for node in every(query, exp.Placeholder, exp.Parameter, exp.Query, exp.AggFunc, exp.Window, exp.Explode):
        if node is not query:
            hint = "It says something of each row by itself."
            cursor.not_yet(
                "RETURNING takes no parameters, queries or aggregates",
                position=position_of(node) or position,
                hint=hint,
            )
    return query
