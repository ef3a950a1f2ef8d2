"""Reading statements: a table from the first word to the function that reads the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .as_of import AsOf
from .cursor import Cursor
from .looking_back import Replay
from .parser_alter import alter, comment, delete
from .parser_data import copy, create_view, insert, subscribe
from .parser_emit import QUERY_WORDS, as_of, name_or_query, query_and_emit, starts_query, without_as_of
from .parser_returning import returning
from .parser_streams import create_stream
from .parser_tables import create_table, truncate, update
from .positions import position_of_token
from .setting_statements import Reset, Set
from .statements import Checkpoint, Describe, Drop, Explain, ExplainMode, Select, Show, Statement, Verify

_SHOW = ("STREAMS", "TABLES", "VIEWS", "QUERIES", "PARTITIONS", "CREATE")
_DROP = ("STREAM", "TABLE", "VIEW", "MATERIALIZED VIEW", "QUERY")
_NOT_SUPPORTED: dict[str, str | None] = {  # statements that mean something, and what to do instead
    "ANALYZE": None,
    "ATTACH": "A folder is one database; open another with headrace.connect.",
    "BEGIN": "Each statement is a transaction of its own.",
    "CALL": None,
    "COMMIT": "Each statement is a transaction of its own.",
    "DETACH": None,
    "EXECUTE": "Pass parameters to execute().",
    "EXPORT": "Copy the folder.",
    "GRANT": None,
    "IMPORT": "Use COPY stream FROM 'file'.",
    "INSTALL": None,
    "LOAD": None,
    "MERGE": "A stream is append-only; INSERT newer rows.",
    "PAUSE": None,
    "PIVOT": "Write SELECT * FROM (PIVOT ...).",
    "PRAGMA": "Use SET name = value.",
    "PREPARE": "Pass parameters to execute().",
    "RESUME": None,
    "REVOKE": None,
    "ROLLBACK": "Each statement is a transaction of its own.",
    "START": "Each statement is a transaction of its own.",
    "SUMMARIZE": "Write SELECT count(*), min(x), max(x) FROM it.",
    "UNPIVOT": "Write SELECT * FROM (UNPIVOT ...).",
    "USE": "A folder is one database; there is nothing to change to.",
    "VACUUM": None,
}
_CREATE_NOT_SUPPORTED: dict[str, str | None] = {
    "DATABASE": "A folder is one database; headrace.connect makes it.",
    "EXTERNAL": None,
    "FUNCTION": None,
    "INDEX": None,
    "MACRO": None,
    "SCHEMA": None,
    "SECRET": None,
    "SEQUENCE": None,
    "SINK": None,
    "SOURCE": "CREATE STREAM, then COPY or INSERT into it.",
    "TEMP": "A connection to :memory: is temporary as a whole.",
    "TEMPORARY": "A connection to :memory: is temporary as a whole.",
    "TYPE": None,
}


def read_statement(cursor: Cursor) -> Statement:
    """The statement that all tokens of `cursor` are, from where it stands."""
    first, word = cursor.tokens[cursor.index], cursor.word
    text = cursor.source.text[first.start : cursor.tokens[-1].end + 1]
    place: dict[str, Any] = {"text": text, "start": position_of_token(first)}
    if starts_query(cursor):
        before, moment = without_as_of(cursor)
        query, emit = query_and_emit(before)
        if emit is not None and moment is not None:
            hint = "SUBSCRIBE (query) AS OF EPOCH n tells the changes since an epoch."
            cursor.wrong("EMIT and AS OF do not go together", position=moment.position, hint=hint)
        return Select(query=query, emit=emit, as_of=moment, **place)
    if word in STATEMENTS:
        cursor.expect(word)
        statement = STATEMENTS[word](cursor, place)
        cursor.end()
        return statement
    if word in _NOT_SUPPORTED:
        cursor.not_yet(f"{word} is not supported", hint=_NOT_SUPPORTED[word])
    return cursor.choice("a statement", [*STATEMENTS, *QUERY_WORDS])


def _create(cursor: Cursor, place: dict[str, Any]) -> Statement:
    or_replace = cursor.accept("OR REPLACE")
    if cursor.accept("STREAM"):
        return create_stream(cursor, or_replace=or_replace, place=place)
    if cursor.accept("TABLE"):
        return create_table(cursor, or_replace=or_replace, place=place)
    if cursor.accept("VIEW"):
        return create_view(cursor, materialized=False, or_replace=or_replace, place=place)
    if cursor.accept("MATERIALIZED VIEW"):
        return create_view(cursor, materialized=True, or_replace=or_replace, place=place)
    if cursor.word in _CREATE_NOT_SUPPORTED:
        cursor.not_yet(f"CREATE {cursor.word} is not supported yet", hint=_CREATE_NOT_SUPPORTED[cursor.word])
    return cursor.choice("something to CREATE", ("STREAM", "TABLE", "VIEW", "MATERIALIZED VIEW"))


def _show(cursor: Cursor, place: dict[str, Any]) -> Show:
    what = next((what for what in _SHOW if cursor.accept(what)), None)
    if what is None:
        cursor.choice("something to SHOW", _SHOW)
    name = None
    if what == "CREATE":
        if len(cursor.tokens) > cursor.index + 1:  # not SHOW CREATE stream, where the relation is called so
            any(cursor.accept(kind) for kind in _DROP)
        name = cursor.relation("a stream or a view")
    elif what == "PARTITIONS" and cursor.token is not None:
        any(cursor.accept(word) for word in ("OF", "FROM", "IN"))
        name = cursor.relation("a stream")
    return Show(what=what, name=name, **place)


def _describe(cursor: Cursor, place: dict[str, Any]) -> Describe:
    if starts_query(cursor):
        cursor.not_yet("DESCRIBE of a query is not supported yet", hint="CREATE VIEW it, and DESCRIBE the view.")
    return Describe(name=cursor.relation("a stream or a view"), **place)


def _drop(cursor: Cursor, place: dict[str, Any]) -> Drop:
    kind = next((kind for kind in _DROP if cursor.accept(kind)), None)
    if kind is None:
        cursor.choice("something to DROP", _DROP)
    if_exists = cursor.accept("IF EXISTS")
    name = cursor.relation("a name")
    if cursor.at_mark(","):
        cursor.unexpected("DROP takes one name.")
    cascade = cursor.accept("CASCADE")
    if not cascade:
        cursor.accept("RESTRICT")
    return Drop(kind=kind, name=name, if_exists=if_exists, cascade=cascade, **place)


def _explain(cursor: Cursor, place: dict[str, Any]) -> Explain:
    mode: ExplainMode = "PLAN"
    if len(cursor.tokens) > cursor.index + 1:  # not EXPLAIN state, where a view is called so
        modes: tuple[ExplainMode, ...] = ("TWIN", "STATE", "ANALYZE", "WHY NO OUTPUT", "PLAN")
        mode = next((mode for mode in modes if cursor.accept(mode)), "PLAN")
    if cursor.token is None:
        cursor.unexpected("Here should be a query, a view, CREATE VIEW, INSERT or SUBSCRIBE.")
    lone = len(cursor.tokens) == cursor.index + 1
    if cursor.word in ("CREATE", "INSERT", "SUBSCRIBE") and not lone:
        return Explain(mode=mode, statement=read_statement(cursor), **place)
    if (cursor.word in STATEMENTS or cursor.word in _NOT_SUPPORTED) and not lone:
        hint = "EXPLAIN takes a query, a view, CREATE VIEW, INSERT or SUBSCRIBE."
        cursor.not_yet(f"cannot explain {cursor.word}", hint=hint)
    first = cursor.tokens[cursor.index]
    text, start = cursor.source.text[first.start : cursor.tokens[-1].end + 1], position_of_token(first)
    query, emit = name_or_query(cursor)
    return Explain(mode=mode, statement=Select(query=query, emit=emit, text=text, start=start), **place)


def _verify(cursor: Cursor, place: dict[str, Any]) -> Verify:
    if cursor.token is None or cursor.accept("ALL VIEWS") or cursor.accept("VIEWS"):
        return Verify(name=None, **place)
    if not (cursor.accept("MATERIALIZED VIEW") or cursor.accept("TABLE")):
        cursor.expect("VIEW")
    name = cursor.relation("the name of a view or a table")
    return Verify(name=name, as_of=as_of(cursor) if cursor.accept("AS OF") else None, **place)


def _replay(cursor: Cursor, place: dict[str, Any]) -> Replay:
    if not any(cursor.accept(kind) for kind in ("MATERIALIZED VIEW", "TABLE", "STREAM", "QUERY")):
        cursor.expect("VIEW")
    name = cursor.relation("the name of a view, a table or a query")
    bounds = []
    for word in ("FROM", "TO"):
        cursor.expect(f"{word} EPOCH")
        bounds.append(AsOf(cursor.position, epoch=cursor.integer("an epoch")))
    return Replay(name=name, first=bounds[0], last=bounds[1], **place)


def _set(cursor: Cursor, place: dict[str, Any]) -> Set:
    if cursor.word in ("LOCAL", "GLOBAL", "SESSION", "VARIABLE") and cursor.words_at(1):
        hint = "Settings belong to the connection: SET name = value."
        cursor.not_yet(f"SET {cursor.word} is not supported", hint=hint)
    name = cursor.dotted().lower()
    if not (cursor.accept_mark("=") or cursor.accept("TO")):
        cursor.unexpected('Here should be "=" and a value.')
    return Set(name=name, value=cursor.value(f"the value of {name}"), **place)


def _reset(cursor: Cursor, place: dict[str, Any]) -> Reset:
    return Reset(name=cursor.dotted().lower(), **place)


STATEMENTS: dict[str, Callable[[Cursor, dict[str, Any]], Statement]] = {
    "ALTER": alter,
    "COMMENT": comment,
    "CHECKPOINT": lambda cursor, place: Checkpoint(**place),
    "COPY": copy,
    "CREATE": _create,
    "DELETE": returning(delete),
    "DESC": _describe,
    "DESCRIBE": _describe,
    "DROP": _drop,
    "EXPLAIN": _explain,
    "INSERT": returning(insert),
    "REPLAY": _replay,
    "RESET": _reset,
    "SET": _set,
    "SHOW": _show,
    "SUBSCRIBE": subscribe,
    "TRUNCATE": truncate,
    "UPDATE": returning(update),
    "VERIFY": _verify,
}
