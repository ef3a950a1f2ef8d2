"""Reading queries: sqlglot makes the tree, DuckDB's own parser confirms the text, and nothing is dropped in between."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar, TypeVar

import duckdb
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ParseError
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.tokenizer_core import Token, TokenType

from ..storage.errors import NotSupportedError, Position, ProgrammingError
from .lexer import Tokenizer
from .parser_windows import SpottedError, WindowParser, unexpected
from .positions import Source, position_of, position_of_token
from .rewrites import rewrite
from .window_function import WindowFunction, window_sql

SYSTEM_SCHEMAS = ("system", "information_schema")
T = TypeVar("T")


class QueryParser(WindowParser):
    """The parser of our dialect: windows, `:name` parameters, and a place for every interval."""

    PLACEHOLDER_PARSERS: ClassVar[dict[TokenType, Callable[[Any], Any]]] = {
        **WindowParser.PLACEHOLDER_PARSERS,
        TokenType.COLON: lambda self: self._parse_named_parameter(),
    }

    def run(self, parse: Callable[[QueryParser], T], tokens: Sequence[Token], source: Source) -> tuple[T, int]:
        """What `parse` makes of the tokens, and how many it took.

        Raises: ProgrammingError or NotSupportedError at the token that it cannot take.
        """
        self.reset()
        self.sql = source.text
        self._chunks = [list(tokens)]
        self._advance_chunk()
        try:
            return parse(self), self._index
        except SpottedError as spotted:
            raise spotted.error from None
        except RecursionError:
            raise ProgrammingError(
                "the statement is nested too deeply", hint="Cut it into views.", position=position_of_token(tokens[0])
            ) from None
        except ParseError as error:
            said = str(error.errors[0].get("description", "")) if error.errors else ""
            detail = None if "nexpected token" in said or not said else f"{said}."
            raise unexpected(self._curr or None, self._prev or tokens[-1], detail=detail) from None

    def parse_query(self) -> exp.Expr | None:
        """A whole query, in parentheses or not."""
        tree: exp.Expr | None = self._parse_query_modifiers(self._parse_set_operations(self._parse_select(nested=True)))
        return tree

    def _parse_named_parameter(self) -> exp.Expr | None:
        colon = self._prev
        if not (self._is_connected() and self._match_set(self.ID_VAR_TOKENS)):
            return None
        self.blanks[colon.start] = (colon.end + 1, "$")
        return self.expression(exp.Placeholder(this=self._prev.text), token=colon)

    def _parse_interval(self, *args: Any, **kwargs: Any) -> Any:
        token = self._curr
        interval = super()._parse_interval(*args, **kwargs)
        if interval is not None and token:
            interval.update_positions(token)
        return interval


class Headrace(DuckDB):
    """DuckDB's dialect with streaming's words."""

    Tokenizer = Tokenizer
    Parser = QueryParser

    class Generator(DuckDBGenerator):
        """DuckDB's printer, and windows as Flink writes them."""

        TRANSFORMS: ClassVar[dict[Any, Any]] = {**DuckDBGenerator.TRANSFORMS, WindowFunction: window_sql}


def read_query(tokens: Sequence[Token], source: Source) -> exp.Query:
    """The query that all of `tokens` are, legacy windows already in FROM.

    Raises: ProgrammingError or NotSupportedError, at its place, for all that is not one.
    """
    parser = QueryParser(dialect=Headrace)
    tree, taken = parser.run(lambda self: self.parse_query(), tokens, source)
    _confirm(tokens, source, parser.blanks)
    if taken < len(tokens):
        raise unexpected(tokens[taken], tokens[-1])
    if isinstance(tree, exp.Values):
        tree = exp.Select(expressions=[exp.Star()], from_=exp.From(this=tree))
    if not isinstance(tree, exp.Query):
        raise NotSupportedError("this is not a query that headrace can run", position=position_of_token(tokens[0]))
    _refuse_strangers(tree, position_of_token(tokens[0]))
    return rewrite(tree)


def read_part(parse: Callable[[QueryParser], T], tokens: Sequence[Token], source: Source) -> tuple[T, int]:
    """What `parse` makes of the beginning of `tokens`, and how many it took."""
    return QueryParser(dialect=Headrace).run(parse, tokens, source)


@cache
def _duckdb() -> tuple[duckdb.DuckDBPyConnection, threading.Lock]:
    return duckdb.connect(":memory:"), threading.Lock()


def _confirm(tokens: Sequence[Token], source: Source, blanks: dict[int, tuple[int, str]]) -> None:
    """Raise unless DuckDB's parser takes the text too, once what only headrace understands is blanked.

    sqlglot forgives much (a missing parenthesis, an empty item between commas) and would drop it without a word.
    """
    start, end = tokens[0].start, tokens[-1].end + 1
    characters = list(source.text[start:end])
    for left, (right, instead) in blanks.items():
        characters[left - start : right - start] = instead.ljust(right - left)
    text = "".join(characters)
    connection, lock = _duckdb()
    with lock:
        try:
            found = connection.extract_statements(text)
        except duckdb.Error:
            answer = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()
        else:
            assert len(found) <= 1
            return
    assert answer is not None
    told = json.loads(answer[0])
    place = int(told.get("position") or 0)
    offset = start + min(len(text.encode()[:place].decode(errors="replace")), len(text) - 1)
    at = next((token for token in tokens if token.start <= offset <= token.end), tokens[-1])
    if "syntax error" in told["error_message"]:
        raise unexpected(at, tokens[-1])
    raise ProgrammingError(f"{told['error_message'].lower().rstrip('.')}", position=position_of_token(at))


def _refuse_strangers(tree: exp.Expr, start: Position) -> None:
    """Raise for what sqlglot reads but no part of headrace means."""
    for node in tree.walk():
        match node:
            case exp.Command() | exp.Hint() | exp.Into() | exp.Lock() | exp.DDL() | exp.DML():
                raise NotSupportedError("this clause is not supported in a query", position=position_of(node) or start)
            case exp.Version() | exp.HistoricalData():
                raise NotSupportedError(
                    "reading a relation as of a time is not supported yet", position=position_of(node) or start
                )
            case exp.Table(this=exp.Identifier()) if node.args.get("db") or node.args.get("catalog"):
                schema = node.args.get("catalog") or node.args["db"]
                if node.args.get("catalog") or schema.name.lower() not in SYSTEM_SCHEMAS:
                    raise ProgrammingError(
                        f'there is no schema "{schema.name}"',
                        detail="Streams and views live in no schema; only system and information_schema exist.",
                        position=position_of(schema) or start,
                    )
