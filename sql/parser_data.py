"""Reading the statements that hold a query or rows: views, INSERT, COPY and SUBSCRIBE."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from .cursor import Cursor
from .lexer import words
from .parser_emit import (
    QUERY_WORDS,
    as_of,
    emit_clause,
    name_or_query,
    query_and_emit,
    refuse_options,
    starts_query,
)
from .parser_tables import find_conflict, on_conflict, or_action
from .positions import position_of, position_of_token
from .query_options import QUERY_OPTIONS
from .statements import Copy, CopyFormat, CopyTo, CreateView, Insert, Option, Subscribe
from .time_to_live import OPTION
from .trees import as_column, every

_FORMATS: dict[str, CopyFormat] = {
    "csv": "csv",
    "tsv": "csv",
    "json": "json",
    "jsonl": "json",
    "ndjson": "json",
    "parquet": "parquet",
    "arrow": "arrow",
    "feather": "arrow",
    "ipc": "arrow",
}


def create_view(
    cursor: Cursor, *, materialized: bool, or_replace: bool, place: dict[str, Any], altered: bool = False
) -> CreateView:
    """The rest of CREATE [OR REPLACE] [MATERIALIZED] VIEW, or of ALTER MATERIALIZED VIEW ... AS."""
    if_not_exists = cursor.accept("IF NOT EXISTS")
    name = cursor.relation("the view's name")
    columns = cursor.names("a column's name") if cursor.at_mark("(") else ()
    options, options_at = _view_options(cursor, materialized=materialized)
    cursor.expect("AS")
    query, emit = query_and_emit(cursor)
    refuse_options(emit)
    for parameter in every(query, exp.Placeholder, exp.Parameter):
        cursor.wrong(
            "a view cannot have parameters",
            detail="It lives on after the call that gave them.",
            hint="Write the value itself.",
            position=position_of(parameter),
        )
    return CreateView(
        name=name,
        query=query,
        materialized=materialized,
        emit=emit,
        columns=columns,
        if_not_exists=if_not_exists,
        or_replace=or_replace,
        altered=altered,
        options=options,
        options_at=options_at,
        **place,
    )


def _view_options(cursor: Cursor, *, materialized: bool) -> tuple[dict[str, Option], int]:
    """WITH (state_ttl = '1 hour'), of what a view that is kept can have, and where it could stand."""
    position, at = cursor.position, cursor.offset()
    if not cursor.accept("WITH"):
        return {}, at
    at = cursor.offset(1)
    options = cursor.options(bare=False)
    for name in options:
        if name not in QUERY_OPTIONS or not materialized:
            kind = "materialized view" if materialized else "view"
            hint = f"{'There is' if materialized else 'A materialized view can have'} {' and '.join(QUERY_OPTIONS)}."
            cursor.wrong(f'a {kind} has no option "{name}"', hint=hint, position=position)
    return options, at


def insert(cursor: Cursor, place: dict[str, Any]) -> Insert:
    """The rest of INSERT."""
    if cursor.word == "OVERWRITE":
        cursor.not_yet("INSERT OVERWRITE is not supported", hint="A stream is append-only: INSERT INTO.")
    conflict = or_action(cursor)
    cursor.expect("INTO")
    position, name = cursor.position, cursor.relation("the name of a stream or a table")
    inner = cursor.words_at(1)
    named = cursor.at_mark("(") and not cursor.at_mark("(", 1) and (not inner or inner[0] not in QUERY_WORDS)
    columns = cursor.names("a column") if named else ()
    for clause in ("DEFAULT VALUES", "BY NAME", "BY POSITION", "SET"):
        at = cursor.position
        if cursor.accept(clause):
            hint = "Name the columns: INSERT INTO bids (price, ts) VALUES (...)."
            cursor.not_yet(f"INSERT ... {clause} is not supported", position=at, hint=hint)
    _refuse_default(cursor)
    if not starts_query(cursor):
        cursor.unexpected("Here should be VALUES (...) or a query.")
    end = find_conflict(cursor)
    rows = Cursor(cursor.source, cursor.tokens[:end], cursor.index)
    query, emit = query_and_emit(rows)
    cursor.index = rows.index
    if emit is not None and emit.mode == "CHANGELOG":
        cursor.not_yet("INSERT ... EMIT CHANGELOG is not supported", position=emit.position)
    if emit is not None and (end is not None or conflict is not None):
        cursor.wrong("what goes on inserting cannot meet a key", position=emit.position)
    if end is not None:
        if conflict is not None:
            cursor.wrong("OR REPLACE and ON CONFLICT say the same thing in two ways", position=conflict.position)
        conflict = on_conflict(cursor)
    return Insert(name=name, columns=columns, query=query, emit=emit, conflict=conflict, position=position, **place)


def _refuse_default(cursor: Cursor) -> None:
    """Raise for DEFAULT among the rows of an INSERT."""
    for index, token, depth in cursor.depths():
        before = cursor.tokens[index - 1].text
        if depth == 1 and words(token) == ["DEFAULT"] and cursor.word == "VALUES" and before in ("(", ","):
            hint = "Leave the column out of the list of columns."
            cursor.not_yet("DEFAULT among VALUES is not supported", position=position_of_token(token), hint=hint)


def copy(cursor: Cursor, place: dict[str, Any]) -> Copy | CopyTo:
    """The rest of COPY."""
    to = next((index for index, token, depth in cursor.depths() if depth == 0 and words(token) == ["TO"]), None)
    if to is not None:
        return _copy_to(cursor, to, place)
    name = cursor.relation("the stream's name")
    columns = cursor.names("a column") if cursor.at_mark("(") else ()
    cursor.expect("FROM")
    return Copy(name=name, columns=columns, **_file(cursor), **place)


def _copy_to(cursor: Cursor, to: int, place: dict[str, Any]) -> CopyTo:
    """The rest of COPY ... TO, whose TO is the token `to`: a relation, some columns of one, or a query in brackets."""
    bracket = next((index for index, token, _ in cursor.depths() if token.text == "(" and index < to), to)
    query, emit = name_or_query(
        Cursor(cursor.source, cursor.tokens[: to if bracket == cursor.index else bracket], cursor.index)
    )
    if emit is not None:
        cursor.wrong("EMIT comes last", position=emit.position, hint="Write it after the path and the options.")
    if bracket not in (cursor.index, to):
        cursor.index = bracket
        columns = cursor.names("a column")
        named = [token for token in cursor.tokens[bracket + 1 : cursor.index - 1] if token.text != ","]
        items = [as_column(column) for column in columns]
        for item, token in zip(items, named, strict=True):
            item.this.update_positions(token)
        query.set("expressions", items)
    cursor.index = to
    cursor.expect("TO")
    file = _file(cursor)
    return CopyTo(query=query, **file, emit=emit_clause(cursor) if cursor.word == "EMIT" else None, **place)


def _file(cursor: Cursor) -> dict[str, Any]:
    """'path' [[WITH] (FORMAT format, option value, ...)]."""
    path = cursor.string("a file's path")
    with_ = cursor.accept("WITH")
    at = cursor.position
    options = cursor.options(bare=True) if with_ or cursor.at_mark("(") else {}
    written = options.pop("format", None)
    format = None if written is None else _FORMATS.get(str(written).lower())
    if written is not None and format is None:
        hint = "Use csv, json, parquet or arrow."
        cursor.wrong(f'"{written}" is not a format that COPY knows', position=at, hint=hint)
    return {"path": path, "format": format, "options": options}


def subscribe(cursor: Cursor, place: dict[str, Any]) -> Subscribe:
    """The rest of SUBSCRIBE."""
    cursor.accept("TO")
    if cursor.token is None:
        cursor.unexpected("Here should be a view, a stream or a query.")
    end, options, bounds = len(cursor.tokens), dict[str, Any](), dict[str, Any]()
    for index, token, depth in cursor.depths():
        pair = [*words(token), *cursor.words_at(index - cursor.index + 1)]
        versioned = index > 0 and words(cursor.tokens[index - 1]) == ["SYSTEM_TIME"]
        if depth == 0 and pair in (["AS", "OF"], ["UP", "TO"]) and not versioned:
            end, rest = index, Cursor(cursor.source, cursor.tokens, index)
            bounds = _bounds(rest)
            if rest.accept("WITH"):
                options = _subscription_options(rest)
            if rest.word == "EMIT":
                rest.unexpected("EMIT comes before AS OF, UP TO and WITH (...).")
            rest.end()
            break
        if depth == 0 and pair == ["WITH"] and index > cursor.index and cursor.at_mark("(", index - cursor.index + 1):
            end, options = index, _subscription_options(Cursor(cursor.source, cursor.tokens, index + 1))
            break
    query, emit = name_or_query(Cursor(cursor.source, cursor.tokens[:end], cursor.index))
    cursor.index = len(cursor.tokens)
    if emit is not None and emit.mode == "FINAL":
        hint = "CREATE MATERIALIZED VIEW ... EMIT FINAL, and subscribe to that."
        cursor.not_yet("SUBSCRIBE ... EMIT FINAL is not supported yet", position=emit.position, hint=hint)
    return Subscribe(
        query=query,
        changelog=emit is not None and emit.mode == "CHANGELOG",
        every_us=None if emit is None else emit.every_us,
        **options,
        **bounds,
        **place,
    )


def _bounds(cursor: Cursor) -> dict[str, Any]:
    """[AS OF EPOCH n | TIMESTAMP t | LATEST] [UP TO EPOCH n | TIMESTAMP t], as fields of Subscribe."""
    bounds: dict[str, Any] = {}
    if cursor.accept("AS OF"):
        position = cursor.position
        if cursor.word == "EARLIEST":
            hint = "AS OF LATEST, and without AS OF, it begins with the rows that are there now."
            cursor.not_yet(f"SUBSCRIBE ... AS OF {cursor.word} is not supported yet", position=position, hint=hint)
        if cursor.word in ("EPOCH", "TIMESTAMP"):
            bounds["as_of"] = as_of(cursor)
        elif not cursor.accept("LATEST"):
            cursor.choice("where to begin", ("EPOCH", "TIMESTAMP", "LATEST"))
    if cursor.accept("UP TO"):
        if cursor.accept("EPOCH"):
            bounds["until_epoch"] = cursor.integer("an epoch")
        elif cursor.accept("TIMESTAMP"):
            bounds["until_position"], bounds["until"] = cursor.position, cursor.string("a time")
        else:
            cursor.choice("where to end", ("EPOCH", "TIMESTAMP"))
    return bounds


def _subscription_options(cursor: Cursor) -> dict[str, Any]:
    """WITH (...) at the end of SUBSCRIBE, as fields of it: whether it wants the rows of now first, and the others."""
    position = cursor.position
    options = cursor.options(bare=False)
    if cursor.word == "EMIT":
        cursor.unexpected("EMIT comes before WITH (...).")
    cursor.end()
    snapshot = options.pop("snapshot", True)
    for name in options:
        if name != OPTION:
            hint = f"It has snapshot = true or false, and {OPTION}."
            cursor.not_yet(f'SUBSCRIBE has no option "{name}"', position=position, hint=hint)
    if not isinstance(snapshot, bool):
        cursor.wrong("snapshot must be true or false", position=position)
    return {"snapshot": snapshot, "options": options}
