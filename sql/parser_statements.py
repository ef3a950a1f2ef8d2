"""Reading statements: a table from the first word to the function that reads the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from ..storage.errors import Position
from .cursor import Cursor
from .lexer import words
from .parser_queries import QueryParser
from .parser_streams import create_stream
from .positions import position_of, position_of_token
from .statements import (
    Copy, CreateView, Describe, Drop, Emit, EmitMode, Explain, ExplainMode, Insert, Reset, Select, Set, Show,
    Statement, Subscribe, Verify,
)  # fmt: skip

_EMIT: dict[str, EmitMode] = {
    "FINAL": "FINAL",
    "ON WINDOW CLOSE": "FINAL",
    "AFTER WINDOW CLOSE": "FINAL",
    "CHANGES": "CHANGES",
    "ON UPDATE": "CHANGES",
    "CHANGELOG": "CHANGELOG",
}
_EMIT_NOT_YET = ("EVERY", "PERIODIC")
_SHOW = ("STREAMS", "TABLES", "VIEWS", "MATERIALIZED VIEWS", "QUERIES", "PARTITIONS", "CREATE", "ALL")
_FORMATS = {"csv": "csv", "tsv": "csv", "json": "json", "jsonl": "json", "ndjson": "json", "parquet": "parquet", "arrow": "arrow", "feather": "arrow", "ipc": "arrow"}  # fmt: skip
_NOT_YET = {  # statements that mean something, and the way to go today
    "UPDATE": "A stream is append-only; INSERT a newer row.",
    "DELETE": "A stream is append-only.",
    "MERGE": "A stream is append-only; INSERT a newer row.",
    "ALTER": "DROP it and CREATE it again.",
    "TRUNCATE": "DROP it and CREATE it again.",
    "COMMENT": None,
    "CHECKPOINT": None,
    "USE": "A folder is one database; there is nothing to change to.",
    "PAUSE": None,
    "RESUME": None,
    "BEGIN": "Every statement is a transaction of its own.",
    "START": "Every statement is a transaction of its own.",
    "COMMIT": "Every statement is a transaction of its own.",
    "ROLLBACK": "Every statement is a transaction of its own.",
    "ATTACH": "A folder is one database; open another with headrace.connect.",
    "DETACH": None,
    "INSTALL": None,
    "LOAD": None,
    "PRAGMA": "Use SET.",
    "CALL": None,
    "EXPORT": "SELECT with --format, or COPY the folder.",
    "IMPORT": "Use COPY stream FROM 'file'.",
    "PREPARE": "Pass parameters to execute().",
    "EXECUTE": "Pass parameters to execute().",
    "GRANT": None,
    "REVOKE": None,
    "ANALYZE": None,
    "VACUUM": None,
    "PIVOT": "Write SELECT ... FROM (PIVOT ...).",
    "UNPIVOT": "Write SELECT ... FROM (UNPIVOT ...).",
    "SUMMARIZE": "Write SELECT count(*), min(x), max(x), ... FROM it.",
}
_OPERAND_WORDS_NOT = {"CASE", "DISTINCT", "SELECT", "ALL", "NOT", "AS"}


def read_statement(cursor: Cursor) -> Statement:
    """The statement that all tokens of `cursor` are."""
    first = cursor.tokens[0]
    place = {"text": cursor.source.text[first.start : cursor.tokens[-1].end + 1], "start": position_of_token(first)}
    word = cursor.word
    if word in _STARTS_QUERY or first.token_type == TokenType.L_PAREN:
        return _select(cursor, place)
    if word in STATEMENTS:
        cursor.index += 1 if words(first) == [word] else 0
        statement = STATEMENTS[word](cursor, place)
        cursor.end()
        return statement
    if word in _NOT_YET:
        cursor.not_yet(f"{word} is not supported", hint=_NOT_YET[word])
    if not word:
        cursor.unexpected("A statement begins with a word such as SELECT or CREATE.")
    cursor.choice("a statement", [*STATEMENTS, *_STARTS_QUERY])


def _select(cursor: Cursor, place: dict[str, Any]) -> Select:
    query, emit = _query_and_emit(cursor)
    return Select(query=query, emit=emit, **place)


def _query_and_emit(cursor: Cursor) -> tuple[exp.Query, Emit | None]:
    """A query up to its EMIT clause, and that."""
    at = _find_emit(cursor)
    query = cursor.query(at)
    return query, None if at is None else _emit(cursor)


def _find_emit(cursor: Cursor) -> int | None:
    """The token where the EMIT clause begins: the word after a complete operand, not after AS or an operator."""
    for index, token, depth in cursor.depths():
        if words(token) == ["TUMBLING"] or words(token) == ["HOPPING"] or words(token) == ["SESSION"]:
            _refuse_ksql_window(cursor, index)
        if words(token) != ["EMIT"] or index == cursor.index or not _ends_operand(cursor, index):
            continue
        if depth:
            cursor.wrong(
                "EMIT belongs at the end of the statement, outside parentheses",
                position=position_of_token(token),
                hint='To name something emit, write AS "emit".',
            )
        return index
    return None


def _ends_operand(cursor: Cursor, index: int) -> bool:
    """Whether the token before `index` can end an expression or a clause."""
    before = cursor.tokens[index - 1]
    if before.token_type == TokenType.ALL:
        return index > 1 and words(cursor.tokens[index - 2]) in (["GROUP", "BY"], ["ORDER", "BY"])
    if before.token_type == TokenType.STAR:
        return index < 2 or not _ends_operand(cursor, index - 1)
    if words(before):
        kinds = QueryParser.ID_VAR_TOKENS | {TokenType.NULL, TokenType.TRUE, TokenType.FALSE, TokenType.END, TokenType.ALL, TokenType.ASC, TokenType.DESC}
        return before.token_type in kinds and words(before)[0] not in _OPERAND_WORDS_NOT
    return before.token_type in (TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER, TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.PLACEHOLDER)  # fmt: skip


def _refuse_ksql_window(cursor: Cursor, index: int) -> None:
    following = cursor.tokens[index + 1 : index + 2]
    if index and words(cursor.tokens[index - 1]) == ["WINDOW"] and following and following[0].token_type == TokenType.L_PAREN:
        kind = cursor.tokens[index].text.upper()
        works = {"HOPPING": "FROM HOP(TABLE bids, DESCRIPTOR(ts), slide, size)"}.get(kind, "FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), size)")
        cursor.not_yet(f"WINDOW {kind} is not supported yet", position=position_of_token(cursor.tokens[index - 1]), hint=f"Write {works}.")


def _emit(cursor: Cursor) -> Emit:
    position = cursor.position
    cursor.expect("EMIT")
    for phrase, mode in _EMIT.items():
        if cursor.accept(phrase):
            break
    else:
        if cursor.word in _EMIT_NOT_YET:
            cursor.not_yet(f"EMIT {cursor.word} is not supported yet", hint="EMIT CHANGES and EMIT FINAL work.")
        cursor.choice("a way to EMIT", _EMIT)
    for clause in ("ALLOW LATENESS", "LATE TO"):
        at = cursor.position
        if cursor.accept(clause):
            cursor.not_yet(f"{clause} is not supported yet", position=at, hint="Late rows are kept in system.late_rows.")
    if cursor.word == "LIMIT":
        cursor.unexpected("EMIT comes last.", hint="Put LIMIT before EMIT.")
    cursor.end()
    return Emit(mode, position)


def _create(cursor: Cursor, place: dict[str, Any]) -> Statement:
    or_replace = cursor.accept("OR REPLACE")
    for word in ("TEMP", "TEMPORARY", "EXTERNAL", "PERSISTENT"):
        if cursor.word == word:
            cursor.not_yet(f"CREATE {word} is not supported", hint=f"Leave {word} out.")
    if cursor.accept("STREAM"):
        return create_stream(cursor, or_replace=or_replace, place=place)
    if cursor.accept("VIEW"):
        return _create_view(cursor, place, materialized=False, or_replace=or_replace)
    if cursor.accept("MATERIALIZED VIEW"):
        return _create_view(cursor, place, materialized=True, or_replace=or_replace)
    hints = {
        "TABLE": "CREATE STREAM keeps rows; CREATE MATERIALIZED VIEW keeps a query's result.",
        "FUNCTION": None, "MACRO": None, "TYPE": None, "SEQUENCE": None, "SCHEMA": None, "DATABASE": None, "INDEX": None,
        "SECRET": None, "SOURCE": "CREATE STREAM, then COPY into it.", "SINK": None,
    }  # fmt: skip
    if cursor.word in hints:
        cursor.not_yet(f"CREATE {cursor.word} is not supported yet", hint=hints[cursor.word])
    cursor.choice("something to CREATE", ("STREAM", "VIEW", "MATERIALIZED VIEW"))


def _create_view(cursor: Cursor, place: dict[str, Any], *, materialized: bool, or_replace: bool) -> CreateView:
    if_not_exists = cursor.accept("IF NOT EXISTS")
    name = cursor.relation("the view's name")
    columns = cursor.names("a column's name") if cursor.token is not None and cursor.token.text == "(" else ()
    if cursor.word == "WITH":
        cursor.not_yet("a view has no WITH options yet", hint="Leave WITH (...) out.")
    cursor.expect("AS")
    query, emit = _query_and_emit(cursor)
    _refuse_parameters(cursor, query)
    return CreateView(
        name=name, query=query, materialized=materialized, emit=emit, columns=columns, if_not_exists=if_not_exists, or_replace=or_replace, **place
    )


def _refuse_parameters(cursor: Cursor, query: exp.Query) -> None:
    for node in query.find_all(exp.Placeholder, exp.Parameter):
        cursor.wrong("a view cannot have parameters", position=position_of(node), detail="It lives on after this call.", hint="Write the value itself.")


def _insert(cursor: Cursor, place: dict[str, Any]) -> Insert:
    if cursor.word in ("OR", "OVERWRITE"):
        cursor.not_yet(f"INSERT {cursor.word} is not supported", hint="A stream is append-only: INSERT INTO.")
    cursor.expect("INTO")
    position = cursor.position
    name = cursor.relation("the stream's name")
    columns: tuple[str, ...] = ()
    following = cursor.tokens[cursor.index + 1 : cursor.index + 2]
    if cursor.token is not None and cursor.token.text == "(" and following and words(following[0])[:1] not in _QUERY_HEADS and following[0].text != "(":
        columns = cursor.names("a column")
    for clause in ("DEFAULT VALUES", "BY NAME", "BY POSITION", "SET"):
        if cursor.accept(clause):
            cursor.index -= len(clause.split())
            cursor.not_yet(f"INSERT ... {clause} is not supported", hint="Name the columns: INSERT INTO s (a, b) VALUES (...).")
    for _, token, depth in cursor.depths():
        if depth == 0 and words(token)[:1] == ["RETURNING"]:
            cursor.not_yet("RETURNING is not supported", position=position_of_token(token))
    if cursor.word not in _STARTS_QUERY and not (cursor.token is not None and cursor.token.text == "("):
        cursor.unexpected("Here should be VALUES (...) or a query.")
    query, emit = _query_and_emit(cursor)
    if emit is not None:
        cursor.not_yet("INSERT ... EMIT is not supported yet", position=emit.position, hint="Keep the result in a MATERIALIZED VIEW.")
    for node in query.find_all(exp.Var):
        if node.name.upper() == "DEFAULT":
            cursor.not_yet("DEFAULT among VALUES is not supported", position=position_of(node) or position, hint="Leave the column out of the list of columns.")
    return Insert(name=name, columns=columns, query=query, position=position, **place)


def _copy(cursor: Cursor, place: dict[str, Any]) -> Copy:
    for _, token, depth in cursor.depths():
        if depth == 0 and words(token) == ["TO"]:
            cursor.not_yet("COPY ... TO is not supported yet", position=position_of_token(token), hint="Use headrace FOLDER -c 'SELECT ...' --format csv -o FILE.")
    name = cursor.relation("the stream's name")
    columns = cursor.names("a column") if cursor.token is not None and cursor.token.text == "(" else ()
    cursor.expect("FROM")
    path = cursor.string("a file's path")
    cursor.accept("WITH")
    places = cursor.index
    options = cursor.options(bare=True) if cursor.token is not None else {}
    written = options.pop("format", None)
    if written is None:
        return Copy(name=name, columns=columns, path=path, format=None, options=options, **place)
    format_ = _FORMATS.get(str(written).lower())
    if format_ is None:
        at = next(i for i in range(places, len(cursor.tokens)) if words(cursor.tokens[i]) == ["FORMAT"])
        cursor.wrong(f'cannot copy from the format "{written}"', position=position_of_token(cursor.tokens[at]), hint="Use csv, json, parquet or arrow.")
    return Copy(name=name, columns=columns, path=path, format=format_, options=options, **place)  # type: ignore[arg-type]


def _subscribe(cursor: Cursor, place: dict[str, Any]) -> Subscribe:
    cursor.accept("TO")
    snapshot = True
    end = len(cursor.tokens)
    for index, token, depth in cursor.depths():
        head = words(token)[:1]
        if depth == 0 and index > cursor.index and head in (["AS"], ["UP"]):
            pair = (*head, *words(cursor.tokens[index + 1])[:1]) if index + 1 < len(cursor.tokens) else ()
            if pair in (("AS", "OF"), ("UP", "TO")):
                cursor.not_yet(f"SUBSCRIBE ... {' '.join(pair)} is not supported yet", position=position_of_token(token), hint="A subscription starts now and has no end.")
        if depth == 0 and head == ["WITH"] and index > cursor.index and cursor.tokens[index + 1 : index + 2] and cursor.tokens[index + 1].text == "(":
            options = Cursor(cursor.source, cursor.tokens, index + 1)
            snapshot, end = _subscription_options(options), options.index
            if options.word == "EMIT":
                cursor.wrong("EMIT comes before WITH (...)", position=options.position)
            options.end()
            end = index
            break
    body = Cursor(cursor.source, cursor.tokens[cursor.index : end])
    if not body.tokens:
        cursor.unexpected("Here should be a view, a stream or a query.")
    cursor.index = len(cursor.tokens)
    query, emit = _name_or_query(body)
    if emit is not None and emit.mode == "FINAL":
        cursor.not_yet("SUBSCRIBE ... EMIT FINAL is not supported yet", position=emit.position, hint="CREATE MATERIALIZED VIEW ... EMIT FINAL, and subscribe to that.")
    return Subscribe(query=query, snapshot=snapshot, changelog=emit is not None and emit.mode == "CHANGELOG", **place)


def _subscription_options(cursor: Cursor) -> bool:
    position = cursor.position
    options = cursor.options(bare=False)
    snapshot = options.pop("snapshot", True)
    if options:
        cursor.not_yet(f'SUBSCRIBE has no option "{next(iter(options))}"', position=position, hint="It has snapshot = true or false.")
    if not isinstance(snapshot, bool):
        cursor.wrong("snapshot must be true or false", position=position)
    return snapshot


def _name_or_query(cursor: Cursor) -> tuple[exp.Query, Emit | None]:
    """A bare name as SELECT * FROM it, or a query."""
    if cursor.word in _STARTS_QUERY or cursor.tokens[cursor.index].text == "(":
        return _query_and_emit(cursor)
    token = cursor.tokens[cursor.index]
    schema, _, name = cursor.relation("a view, a stream or a query").rpartition(".")
    table = exp.Table(this=exp.Identifier(this=name, quoted=True), db=exp.Identifier(this=schema, quoted=True) if schema else None)
    table.this.update_positions(token)
    query = exp.Select(expressions=[exp.Star()], from_=exp.From(this=table))
    emit = _emit(cursor) if cursor.word == "EMIT" else None
    cursor.end()
    return query, emit


def _show(cursor: Cursor, place: dict[str, Any]) -> Show:
    for what in _SHOW:
        if cursor.accept(what):
            break
    else:
        cursor.choice("something to SHOW", _SHOW)
    name = None
    if what == "CREATE":
        for kind in ("STREAM", "MATERIALIZED VIEW", "VIEW", "TABLE"):
            index = cursor.index
            if cursor.accept(kind):
                if cursor.token is None:  # a relation that is called so
                    cursor.index = index
                break
        name = cursor.relation("a stream or a view")
    elif what == "PARTITIONS" and cursor.token is not None:
        if not (cursor.accept("OF") or cursor.accept("FROM")):
            cursor.accept("IN")
        name = cursor.relation("a stream")
    return Show(what=what, name=name, **place)


def _describe(cursor: Cursor, place: dict[str, Any]) -> Describe:
    if cursor.word in _STARTS_QUERY:
        cursor.not_yet("DESCRIBE of a query is not supported yet", hint="CREATE VIEW it, and DESCRIBE the view.")
    return Describe(name=cursor.relation("a stream or a view"), **place)


def _drop(cursor: Cursor, place: dict[str, Any]) -> Drop:
    kinds = ("STREAM", "TABLE", "VIEW", "MATERIALIZED VIEW")
    for kind in kinds:
        if cursor.accept(kind):
            break
    else:
        cursor.choice("something to DROP", kinds)
    if_exists = cursor.accept("IF EXISTS")
    name = cursor.relation(f"the {kind.lower()}'s name")
    if cursor.token is not None and cursor.token.text == ",":
        cursor.unexpected("DROP takes one name.")
    cascade = cursor.accept("CASCADE")
    if not cascade:
        cursor.accept("RESTRICT")
    return Drop(kind=kind, name=name, if_exists=if_exists, cascade=cascade, **place)


def _explain(cursor: Cursor, place: dict[str, Any]) -> Explain:
    mode: ExplainMode = "PLAN"
    if cursor.index + 1 < len(cursor.tokens):  # a lone word is a view's name
        for word in ("ANALYZE", "WHY"):
            if cursor.word == word:
                cursor.not_yet(f"EXPLAIN {'WHY NO OUTPUT' if word == 'WHY' else word} is not supported yet", hint="EXPLAIN, EXPLAIN STATE and EXPLAIN TWIN work.")
        if cursor.accept("TWIN"):
            mode = "TWIN"
        elif cursor.accept("STATE"):
            mode = "STATE"
        else:
            cursor.accept("PLAN")
    rest = cursor.rest()
    if rest.word in STATEMENTS and rest.word not in ("CREATE", "INSERT", "SUBSCRIBE") and len(rest.tokens) > 1:
        cursor.not_yet(f"cannot explain {rest.word}", position=rest.position, hint="EXPLAIN a query, a view, CREATE VIEW, INSERT or SUBSCRIBE.")
    if rest.word in _STARTS_QUERY or rest.tokens[0].text == "(" or (rest.word in STATEMENTS and len(rest.tokens) > 1):
        return Explain(mode=mode, statement=read_statement(rest), **place)
    first = rest.tokens[0]
    text = rest.source.text[first.start : rest.tokens[-1].end + 1]
    if len(rest.tokens) > 1 and rest.tokens[1].text not in (".", "EMIT"):
        return Explain(mode=mode, statement=read_statement(rest), **place)
    query, emit = _name_or_query(rest)
    return Explain(mode=mode, statement=Select(query=query, emit=emit, text=text, start=position_of_token(first)), **place)


def _verify(cursor: Cursor, place: dict[str, Any]) -> Verify:
    if cursor.token is None or cursor.accept("ALL VIEWS") or cursor.accept("VIEWS"):
        return Verify(name=None, **place)
    if not cursor.accept("MATERIALIZED VIEW"):
        cursor.expect("VIEW")
    return Verify(name=cursor.relation("the view's name"), **place)


def _set(cursor: Cursor, place: dict[str, Any]) -> Set:
    for scope in ("LOCAL", "GLOBAL", "SESSION", "VARIABLE"):
        if cursor.word == scope and cursor.index + 1 < len(cursor.tokens) and cursor.tokens[cursor.index + 1].text != "=":
            cursor.not_yet(f"SET {scope} is not supported", hint="Settings belong to the connection: SET name = value.")
    name = cursor.dotted().lower()
    if not (cursor.accept_mark("=") or cursor.accept("TO")):
        cursor.unexpected('Here should be "=" and a value.')
    return Set(name=name, value=cursor.value(f"the value of {name}"), **place)


def _reset(cursor: Cursor, place: dict[str, Any]) -> Reset:
    return Reset(name=cursor.dotted().lower(), **place)


_STARTS_QUERY = ("SELECT", "WITH", "FROM", "VALUES", "TABLE")
_QUERY_HEADS = [[word] for word in _STARTS_QUERY]
STATEMENTS: dict[str, Callable[[Cursor, dict[str, Any]], Statement]] = {
    "CREATE": _create,
    "INSERT": _insert,
    "COPY": _copy,
    "SUBSCRIBE": _subscribe,
    "SHOW": _show,
    "DESCRIBE": _describe,
    "DESC": _describe,
    "DROP": _drop,
    "EXPLAIN": _explain,
    "VERIFY": _verify,
    "SET": _set,
    "RESET": _reset,
}
