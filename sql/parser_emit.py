"""Reading a query and its EMIT clause, which is no part of any SQL that DuckDB knows."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from ..storage.errors import NotSupportedError, ProgrammingError
from .as_of import AsOf
from .cursor import Cursor
from .intervals import constant_us
from .lexer import words
from .parser_queries import QueryParser
from .positions import position_of_token
from .query_options import QUERY_OPTIONS
from .statements import Emit, EmitMode, Option

QUERY_WORDS = ("SELECT", "WITH", "FROM", "VALUES", "TABLE")
_MODES: dict[str, EmitMode] = {
    "FINAL": "FINAL",
    "ON WINDOW CLOSE": "FINAL",
    "AFTER WINDOW CLOSE": "FINAL",
    "CHANGES": "CHANGES",
    "ON UPDATE": "CHANGES",
    "CHANGELOG": "CHANGELOG",
}
_EVERY = ("EVERY", "PERIODIC")
_OPERAND_ENDS = QueryParser.ID_VAR_TOKENS | {  # what an expression or a clause may end with
    TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER, TokenType.NULL, TokenType.TRUE, TokenType.FALSE,
    TokenType.END, TokenType.ASC, TokenType.DESC, TokenType.PLACEHOLDER, TokenType.R_PAREN, TokenType.R_BRACKET,
    TokenType.R_BRACE,
}  # fmt: skip
_OPERAND_STARTS = {"CASE", "DISTINCT", "NOT", "AS"}  # among those: words after which an operand is still to come


def starts_query(cursor: Cursor) -> bool:
    """Whether a query comes next, in parentheses or not."""
    return cursor.word in QUERY_WORDS or cursor.at_mark("(")


def query_and_emit(cursor: Cursor) -> tuple[exp.Query, Emit | None]:
    """The query that all the rest is, and its EMIT clause if it ends with one."""
    clause = _find_emit(cursor)
    query = cursor.query(clause)
    return query, None if clause is None else emit_clause(cursor)


def name_or_query(cursor: Cursor) -> tuple[exp.Query, Emit | None]:
    """The same, where a bare name stands for SELECT * FROM it."""
    if starts_query(cursor):
        return query_and_emit(cursor)
    token = cursor.token
    schema, _, name = cursor.relation("a view, a stream or a query").rpartition(".")
    table = exp.Table(this=exp.Identifier(this=name, quoted=True))
    if schema:
        table.set("db", exp.Identifier(this=schema, quoted=True))
    if token is not None:
        table.this.update_positions(token)
    query = exp.Select(expressions=[exp.Star()], from_=exp.From(this=table))
    emit = emit_clause(cursor) if cursor.word == "EMIT" else None
    cursor.end()
    return query, emit


def as_of(cursor: Cursor) -> AsOf:
    """EPOCH n, or TIMESTAMP 'a time', after AS OF."""
    position = cursor.position
    if cursor.accept("EPOCH"):
        return AsOf(position, epoch=cursor.integer("an epoch"))
    if cursor.accept("TIMESTAMP"):
        place = cursor.position
        return AsOf(place, time=cursor.string("a time"))
    return cursor.choice("a moment of the past", ("EPOCH", "TIMESTAMP"))


def without_as_of(cursor: Cursor) -> tuple[Cursor, AsOf | None]:
    """What comes before AS OF EPOCH n, or AS OF TIMESTAMP 'a time', at the end of a query; and that, if it is there.

    After FOR SYSTEM_TIME it belongs to a table.
    """
    start = len(cursor.tokens) - 4
    said = [word for token in cursor.tokens[max(0, start) : start + 3] for word in words(token)]
    if start <= cursor.index or said not in (["AS", "OF", "EPOCH"], ["AS", "OF", "TIMESTAMP"]):
        return cursor, None
    if words(cursor.tokens[start - 1]) == ["SYSTEM_TIME"]:
        return cursor, None
    clause = Cursor(cursor.source, cursor.tokens, start + 2)
    return Cursor(cursor.source, cursor.tokens[:start], cursor.index), as_of(clause)


def _find_emit(cursor: Cursor) -> int | None:
    """The token where the clause begins: EMIT after a complete operand; after AS or an operator it is a name."""
    for index, token, depth in cursor.depths():
        if words(token) != ["EMIT"] or index == cursor.index or not _ends_operand(cursor, index - 1):
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
    """Whether the token at `index` can end an expression or a clause."""
    token = cursor.tokens[index]
    if token.token_type == TokenType.ALL:  # GROUP BY ALL, but not SELECT ALL or UNION ALL
        return index > 0 and words(cursor.tokens[index - 1])[-1:] == ["BY"]
    if token.token_type == TokenType.STAR:  # SELECT *, but not price *
        return index == 0 or not _ends_operand(cursor, index - 1)
    return token.token_type in _OPERAND_ENDS and not _OPERAND_STARTS.intersection(words(token))


def emit_clause(cursor: Cursor) -> Emit:
    """EMIT and all that comes after it."""
    position = cursor.position
    cursor.expect("EMIT")
    if any(cursor.accept(word) for word in _EVERY):
        every_us = _every(cursor)
        return Emit("EVERY", position, every_us=every_us, options=_options(cursor))
    mode = next((mode for phrase, mode in _MODES.items() if cursor.accept(phrase)), None)
    if mode is None:
        cursor.choice("a way to EMIT", (*_MODES, *_EVERY))
    lateness_us = _lateness(cursor) if cursor.accept("ALLOW LATENESS") else 0
    late_to, place = None, None
    if cursor.accept("LATE TO"):
        place = cursor.position
        late_to = cursor.relation("the name of the stream that late rows go to")
    return Emit(mode, position, lateness_us, late_to, place, options=_options(cursor))


def _options(cursor: Cursor) -> dict[str, Option]:
    """WITH (state_ttl = '1 hour', on_error = 'skip') at the end, of a query that goes on."""
    options: dict[str, Option] = {}
    position = cursor.position
    if cursor.accept("WITH"):
        options = cursor.options(bare=False)
        for name in options:
            if name not in QUERY_OPTIONS:
                hint = f"There is {' and '.join(QUERY_OPTIONS)}."
                cursor.wrong(f'what goes on has no option "{name}"', hint=hint, position=position)
    if cursor.token is not None:
        cursor.unexpected("EMIT comes last.")
    return options


def refuse_options(emit: Emit | None) -> None:
    """Raises: ProgrammingError for WITH after EMIT, of what is created: it has options of its own."""
    if emit is not None and emit.options:
        raise ProgrammingError(
            "WITH (...) comes before AS", hint="EMIT comes last in a CREATE.", position=emit.position
        )


def _every(cursor: Cursor) -> int:
    place = cursor.position
    every_us = constant_us(cursor.expression("an interval"), place, "what comes after EVERY")
    if every_us <= 0:
        cursor.wrong("the interval must be longer than nothing", position=place)
    return every_us


def refuse_every(emit: Emit | None) -> None:
    """Raises: NotSupportedError where EMIT says how often, of what is kept or written."""
    if emit is not None and emit.mode == "EVERY":
        raise NotSupportedError(
            "EMIT EVERY is for live queries",
            detail="What is kept is always as its rows are, and what is written says how far it has read.",
            hint="Create it without, and SUBSCRIBE TO it EMIT EVERY ...",
            position=emit.position,
        )


def _lateness(cursor: Cursor) -> int:
    place = cursor.position
    lateness_us = constant_us(cursor.expression("an interval"), place, "the lateness")
    if lateness_us < 0:
        cursor.wrong("the lateness cannot be negative", position=place)
    return lateness_us
