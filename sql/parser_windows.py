"""Reading window table functions, in Flink's spelling (with or without TABLE( ), named or not) and RisingWave's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp
from sqlglot.errors import ParseError
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from ..storage.errors import Error, NotSupportedError, ProgrammingError
from .intervals import Length, constant_length
from .lexer import words
from .positions import position_of_token
from .window_function import ARGUMENTS, EXAMPLES, OPTIONAL, WindowFunction, arrival_column, build_window
from .zones import zone


class SpottedError(ParseError):
    """One of our errors on its way through sqlglot's parser, which backtracks over its own kind only."""

    def __init__(self, error: Error) -> None:
        super().__init__(str(error))
        self.error = error


def unexpected(
    token: Token | None, last: Token, *, detail: str | None = None, hint: str | None = None
) -> ProgrammingError:
    """Something stands at `token`, or nothing after `last`, where the grammar wants something else."""
    if token:
        shown = token.text if len(token.text) <= 40 else token.text[:37] + "..."
        return ProgrammingError(f'unexpected "{shown}"', detail=detail, hint=hint, position=position_of_token(token))
    return ProgrammingError(
        "unexpected end of the statement", detail=detail, hint=hint, position=position_of_token(last)
    )


@dataclass
class Arguments:
    """What the parentheses of a window function held; `tokens` where each argument stands, `extent` the source's."""

    kind: str
    source: exp.Expr | None = None
    extent: tuple[int, int] = (0, 0)
    column: exp.Column | None = None
    partition: list[exp.Column] = field(default_factory=list)
    lengths: dict[str, Length] = field(default_factory=dict)
    timezone: str | None = None
    tokens: dict[str, Token] = field(default_factory=dict)

    @property
    def example(self) -> str:
        """A whole sentence that shows how it is written."""
        return f"{self.kind} looks like {EXAMPLES[self.kind]}."


class WindowParser(DuckDBParser):
    """DuckDB's parser plus TUMBLE, HOP and the like wherever a table may stand.

    `blanks` maps the start of characters that DuckDB's own parser must not see to (their end, what stands there
    instead): around a window's source all becomes blank, so that the source is left as a plain table.
    """

    blanks: dict[int, tuple[int, str]]

    def reset(self) -> None:
        """Ready for the next text."""
        super().reset()
        self.blanks = {}

    def refuse(
        self,
        headline: str,
        token: Token | None = None,
        *,
        detail: str | None = None,
        hint: str | None = None,
        later: bool = False,
    ) -> SpottedError:
        """An error at `token`, or at the current one; `later` says that headrace is to understand it one day."""
        kind = NotSupportedError if later else ProgrammingError
        place = token or self._curr or self._prev
        return SpottedError(kind(headline, detail=detail, hint=hint, position=position_of_token(place)))

    def _require(self, kind: TokenType, text: str) -> None:
        if not self._match(kind):
            raise SpottedError(unexpected(self._curr or None, self._prev, detail=f'Here should be "{text}".'))

    def _parse_table_parts(self, *args: Any, **kwargs: Any) -> Any:
        wrapped = self._curr.token_type == TokenType.TABLE and self._next.token_type == TokenType.L_PAREN
        head = self._tokens[self._index : self._index + 4][2 if wrapped else 0 :][:2]
        name = "".join(words(head[0])) if len(head) == 2 and head[1].token_type == TokenType.L_PAREN else ""
        if kwargs.get("fast") or name not in ARGUMENTS:
            return super()._parse_table_parts(*args, **kwargs)
        first = self._curr
        self._advance(2 if wrapped else 0)
        window, (start, end) = self._parse_window_function(name)
        if wrapped:
            self._require(TokenType.R_PAREN, ")")
        self.blanks[first.start] = (start, " ")
        self.blanks[end] = (self._prev.end + 1, " ")
        return exp.Table(this=window).update_positions(head[0])

    def _parse_window_function(self, kind: str) -> tuple[WindowFunction, tuple[int, int]]:
        """The function, and the characters [start, end) of its source."""
        head = self._curr
        self._advance(2)
        found = Arguments(kind)
        while not found.tokens or self._match(TokenType.COMMA):
            self._parse_argument(found)
        self._require(TokenType.R_PAREN, ")")
        missing = [name for name in ARGUMENTS[kind] if name not in (*found.tokens, *OPTIONAL)]
        if missing:
            raise self.refuse(f"{kind} lacks its {missing[0]}", head, detail=found.example)
        assert found.source is not None
        assert found.column is not None
        size = "GAP" if kind == "SESSION" else "SIZE"
        try:
            window = build_window(
                kind,
                found.source,
                found.column,
                size=found.lengths[size],
                slide=found.lengths.get("SLIDE", found.lengths.get("STEP")),
                offset=found.lengths.get("OFFSET"),
                position=position_of_token(found.tokens[size]),
                partition=found.partition,
                timezone=found.timezone,
            )
        except Error as error:
            raise SpottedError(error) from None
        return window.update_positions(head), found.extent

    def _parse_argument(self, found: Arguments) -> None:
        kind, token, wanted = found.kind, self._curr, ARGUMENTS[found.kind]
        if not token or token.token_type == TokenType.R_PAREN:
            raise SpottedError(unexpected(token or None, self._prev, detail=found.example))
        named = self._next.token_type in (TokenType.FARROW, TokenType.COLON_EQ)
        if named:
            name = token.text.upper()
            self._advance(2)
            if name not in wanted:
                raise self.refuse(f'{kind} has no argument "{token.text}"', token, hint=f"It has {', '.join(wanted)}.")
        elif len(found.tokens) < len(wanted):
            name = wanted[len(found.tokens)]
        else:
            raise self.refuse(f"{kind} has too many arguments", token, detail=found.example)
        if name in found.tokens:
            raise self.refuse(f"{kind} is given its {name} twice", token, detail=found.example)
        found.tokens[name] = self._curr or token
        if name == "DATA":
            found.source, found.extent = self._parse_window_source(found)
        elif name == "TIMECOL":
            found.column = self._parse_descriptor(found)
        elif name == "TIMEZONE":
            found.timezone = self._parse_timezone(found)
        else:
            found.lengths[name] = self._parse_length(found, name)

    def _parse_window_source(self, found: Arguments) -> tuple[exp.Expr, tuple[int, int]]:
        self._match(TokenType.TABLE)
        start = self._curr
        if start.token_type == TokenType.L_PAREN:
            source = self._parse_select(table=True, parse_subquery_alias=False)
        else:
            source = self._parse_table_parts()
        if source is None or not (isinstance(source, exp.Subquery) or isinstance(source.this, exp.Identifier)):
            raise self.refuse(
                f"{found.kind} takes a stream, a view or a query in parentheses", start, detail=found.example
            )
        extent = (start.start, self._prev.end + 1)
        if words(self._curr)[:1] in (["PARTITION"], ["PARTITIONED"]):
            if found.kind != "SESSION":
                raise self.refuse(f"{found.kind} takes no PARTITION BY", hint="Group by those columns instead.")
            found.partition = self._parse_window_keys(found)
        return source, extent

    def _parse_window_keys(self, found: Arguments) -> list[exp.Column]:
        whole = words(self._curr) == ["PARTITION", "BY"]
        self._advance()
        if not whole and not self._match_text_seq("BY"):
            raise SpottedError(unexpected(self._curr or None, self._prev, detail=found.example))
        wrapped = self._match(TokenType.L_PAREN)
        keys = [self._parse_name(found, "SESSION is partitioned by columns")]
        while self._window_key_follows(wrapped=bool(wrapped)) and self._match(TokenType.COMMA):
            keys.append(self._parse_name(found, "SESSION is partitioned by columns"))
        if wrapped:
            self._require(TokenType.R_PAREN, ")")
        return keys

    def _parse_name(self, found: Arguments, wanted: str) -> exp.Column:
        """A column, named without saying of which table; an error says what is `wanted`."""
        start = self._curr
        column = self._parse_column()
        if isinstance(column, exp.Column) and isinstance(column.this, exp.Identifier) and not column.table:
            return column
        raise self.refuse(wanted, start, detail=found.example)

    def _window_key_follows(self, *, wrapped: bool) -> bool:
        """Whether another key comes after the comma; without parentheses DESCRIPTOR( or a name with => ends them."""
        after = self._tokens[self._index + 1 : self._index + 3]
        return wrapped or (len(after) == 2 and after[1].token_type == TokenType.COMMA)

    def _parse_descriptor(self, found: Arguments) -> exp.Column:
        wrapped = words(self._curr) == ["DESCRIPTOR"] and self._next.token_type == TokenType.L_PAREN
        self._advance(2 if wrapped else 0)
        start = self._curr
        if words(start) == ["PROCTIME"] and self._next.token_type == TokenType.L_PAREN:
            self._advance(2)
            self._require(TokenType.R_PAREN, ")")
            column = arrival_column(start.text).update_positions(start)
            column.this.update_positions(start)
        else:
            column = self._parse_name(found, f"{found.kind} takes one column as its time")
        if wrapped:
            self._require(TokenType.R_PAREN, ")")
        return column

    def _parse_timezone(self, found: Arguments) -> str:
        start = self._curr
        if not self._match(TokenType.STRING):
            hint = "As in 'Europe/Berlin'."
            raise self.refuse(f"the time zone of {found.kind} is a name in quotes", start, hint=hint)
        try:
            return zone(start.text, position_of_token(start)).name
        except Error as error:
            raise SpottedError(error) from None

    def _parse_length(self, found: Arguments, name: str) -> Length:
        start = self._curr
        node = self._parse_bitwise()
        try:
            return constant_length(node, position_of_token(start), f"the {name.lower()} of {found.kind}")
        except Error as error:
            raise SpottedError(error) from None
