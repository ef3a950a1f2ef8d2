"""Reading what only tables have: CREATE TABLE, UPDATE, DELETE of some rows, TRUNCATE, and keys that INSERT meets."""

from __future__ import annotations

from typing import Any, cast

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from .cursor import Cursor
from .lexer import words
from .parser_streams import create_derived, read_clauses, read_columns
from .positions import position_of
from .statements import Assignment, Conflict, CreateDerived, CreateTable, DeleteRows, Update
from .trees import every


def create_table(cursor: Cursor, *, or_replace: bool, place: dict[str, Any]) -> CreateTable | CreateDerived:
    """The rest of CREATE [OR REPLACE] TABLE."""
    if_not_exists = cursor.accept("IF NOT EXISTS")
    given: dict[str, Any] = {"if_not_exists": if_not_exists, "or_replace": or_replace, **place}
    name = cursor.relation("the table's name")
    if not cursor.at_mark("(") and cursor.token is not None:
        return create_derived(cursor, "table", name, given)
    start = cursor.index
    if cursor.accept_mark("(") and cursor.accept("PRIMARY KEY") and cursor.at_mark("("):
        key = cursor.names("a column")
        if cursor.accept_mark(")"):
            return create_derived(cursor, "table", name, given, key)
    cursor.index = start
    columns, watermark, key = read_columns(cursor, "table")
    clauses = read_clauses(cursor, columns, "table")
    if cursor.word == "AS":
        hint = f"Only the key may be said: CREATE TABLE {name} (PRIMARY KEY (column)) AS ..."
        cursor.wrong("the columns of CREATE TABLE ... AS follow from the query", hint=hint)
    return CreateTable(name=name, columns=columns, watermark=watermark, primary_key=key, **clauses, **given)


def update(cursor: Cursor, place: dict[str, Any]) -> Update:
    """The rest of UPDATE."""
    position, name = cursor.position, cursor.relation("the table's name")
    alias = _alias(cursor, name, ("SET",))
    cursor.expect("SET")
    from_, where = (_find(cursor, word) for word in ("FROM", "WHERE"))
    assignments = _assignments(cursor, min(index for index in (from_, where, len(cursor.tokens)) if index is not None))
    others = None if from_ is None else _others(cursor, "UPDATE ... FROM")
    condition = _where(cursor) if from_ is None else None
    return Update(
        name=name, alias=alias, assignments=assignments, others=others, where=condition, position=position, **place
    )


def delete_rows(cursor: Cursor, name: str, place: dict[str, Any], **given: Any) -> DeleteRows:
    """The rest of DELETE FROM name, where it is not BEFORE a place in a stream."""
    alias = _alias(cursor, name, ("WHERE", "USING"))
    if cursor.word == "USING":
        others = _others(cursor, "DELETE ... USING", TokenType.FROM)
        return DeleteRows(name=name, alias=alias, others=others, **given, **place)
    return DeleteRows(name=name, alias=alias, where=_where(cursor), **given, **place)


def truncate(cursor: Cursor, place: dict[str, Any]) -> DeleteRows:
    """The rest of TRUNCATE [TABLE]."""
    cursor.accept("TABLE")
    position, name = cursor.position, cursor.relation("the table's name")
    return DeleteRows(name=name, alias=name, word="TRUNCATE", position=position, **place)


def or_action(cursor: Cursor) -> Conflict | None:
    """OR REPLACE or OR IGNORE after INSERT."""
    position = cursor.position
    if cursor.accept("OR REPLACE"):
        return Conflict("replace", position)
    if cursor.accept("OR IGNORE"):
        return Conflict("nothing", position)
    if cursor.word == "OR":
        cursor.index += 1
        cursor.choice("what to do with a row whose key is there", ("REPLACE", "IGNORE"))
    return None


def find_conflict(cursor: Cursor) -> int | None:
    """The token where ON CONFLICT begins."""
    for index, token, depth in cursor.depths():
        if depth == 0 and words(token) + cursor.words_at(index - cursor.index + 1) == ["ON", "CONFLICT"]:
            return index
    return None


def on_conflict(cursor: Cursor) -> Conflict:
    """ON CONFLICT [(columns)] DO NOTHING or DO UPDATE SET ... [WHERE ...]."""
    position = cursor.position
    cursor.expect("ON CONFLICT")
    columns = cursor.names("a column of the key") if cursor.at_mark("(") else ()
    cursor.expect("DO")
    if cursor.accept("NOTHING"):
        return Conflict("nothing", position, columns)
    if not cursor.accept("UPDATE"):
        cursor.choice("what to DO", ("NOTHING", "UPDATE"))
    cursor.expect("SET")
    where = _find(cursor, "WHERE")
    assignments = _assignments(cursor, len(cursor.tokens) if where is None else where)
    conflict = Conflict("update", position, columns, assignments, _where(cursor))
    for part in [*(one.value for one in assignments), conflict.where]:
        for node in every(part, exp.Placeholder, exp.Parameter, exp.Query) if part is not None else ():
            hint = "The row that was to be inserted is called excluded."
            cursor.not_yet("DO UPDATE takes no parameters and no queries", position=position_of(node), hint=hint)
    return conflict


def _alias(cursor: Cursor, name: str, following: tuple[str, ...]) -> str:
    if cursor.accept("AS") or (cursor.token is not None and cursor.word not in following):
        return cursor.name("another name for the table")
    return name.split(".")[-1]


def _find(cursor: Cursor, word: str) -> int | None:
    """The token outside of brackets that is `word`, which IS DISTINCT FROM is not."""
    for index, token, depth in cursor.depths():
        if depth == 0 and words(token) == [word] and words(cursor.tokens[index - 1]) != ["DISTINCT"]:
            return index
    return None


def _assignments(cursor: Cursor, end: int) -> tuple[Assignment, ...]:
    """column = value, ... up to token `end`."""
    found: list[Assignment] = []
    while not found or cursor.accept_mark(","):
        position, column = cursor.position, cursor.name("a column")
        if column.lower() in (known.column.lower() for known in found):
            cursor.wrong(f'column "{column}" is set twice', position=position)
        cursor.expect_mark("=")
        marks = (index for index, token, depth in cursor.depths() if depth == 0 and index < end and token.text == ",")
        stop = next((index for index in marks if not _quoted(cursor, index)), end)
        if cursor.word == "DEFAULT" and stop == cursor.index + 1:
            cursor.index += 1
            value = None
        else:
            value = cursor.condition(f"the value of {column}", stop)
        found.append(Assignment(column, value, position))
    return tuple(found)


def _quoted(cursor: Cursor, index: int) -> bool:
    return not cursor.at_mark(",", index - cursor.index)


def _others(cursor: Cursor, clause: str, first: TokenType | None = None) -> exp.Select:
    """FROM or USING ... [WHERE ...] as the query that it would be by itself."""
    position = cursor.position
    query = cursor.query(first=first)
    if not isinstance(query, exp.Select) or set(_said(query)) - {"expressions", "from_", "joins", "where", "laterals"}:
        cursor.wrong(f"{clause} takes relations and WHERE, and no more", position=position)
    return query


def _said(query: exp.Select) -> list[str]:
    return [name for name, value in query.args.items() if value]


def _where(cursor: Cursor) -> exp.Expr | None:
    if not cursor.accept("WHERE"):
        return None
    condition = cursor.condition("a condition")
    for node in every(condition, exp.AggFunc, exp.Window):
        if node.find_ancestor(exp.Query) is None:
            cursor.wrong("a condition says something of each row by itself", position=position_of(cast(exp.Expr, node)))
    return condition
