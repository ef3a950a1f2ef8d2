"""Tokens: SQL text cut into words that know their place, and statements cut at semicolons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from ..storage.errors import ProgrammingError
from .hints import OPENING, refuse_misplaced
from .positions import Source

QUOTED = {
    TokenType.STRING, TokenType.IDENTIFIER, TokenType.NUMBER, TokenType.HEREDOC_STRING, TokenType.BYTE_STRING,
    TokenType.RAW_STRING, TokenType.NATIONAL_STRING, TokenType.UNICODE_STRING, TokenType.HEX_STRING,
    TokenType.BIT_STRING,
}  # fmt: skip
_OPENERS = re.compile(  # what may hide a semicolon; group "end" is what closed it, empty when nothing did
    r"""--[^\r\n]*+(?P<line>)
      | (?P<block>/\*)
      | \b[eE]'(?:[^'\\]|\\.|'')*+(?P<escaped>'?)
      | '(?:[^']|'')*+(?P<string>'?)
      | "(?:[^"]|"")*+(?P<name>"?)
      | (?P<tag>\$(?:[^\W\d]\w*)?\$)
      | (?P<semicolon>;)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class Tokenizer(DuckDB.Tokenizer):
    """DuckDB's words, with no word that swallows the rest of its statement unread."""

    KEYWORDS: ClassVar[dict[str, TokenType]] = {**DuckDB.Tokenizer.KEYWORDS}
    KEYWORDS.pop("SESSION")  # also a window
    COMMANDS: ClassVar[set[TokenType]] = set()


def tokenize(source: Source) -> list[Token]:
    """The tokens of a script; their line and col are where they begin.

    Raises: ProgrammingError for text that has no tokens, an unclosed quote, and for a hint that would be dropped.
    """
    try:
        tokens = list(Tokenizer(dialect="duckdb").tokenize(source.text))
    except TokenError as error:
        raise _unreadable(source, error) from None
    if OPENING in source.text:
        said = [piece for piece in pieces(source.text) if piece.kind == "block"]
        hints = [piece.start for piece in said if source.text.startswith(OPENING, piece.start)]
        refuse_misplaced(tokens, hints, source)
    for token in tokens:
        position = source.position(token.start)
        token.line, token.col = position.line, position.column
    return tokens


def statements(tokens: list[Token]) -> Iterator[tuple[list[Token], Token | None]]:
    """Each statement's tokens and the semicolon that closes it; None for the last one if nothing does."""
    part: list[Token] = []
    for token in tokens:
        if token.token_type != TokenType.SEMICOLON:
            part.append(token)
        elif part:
            yield part, token
            part = []
    if part:
        yield part, None


def words(token: Token) -> list[str]:
    """The upper-case words of a token: two for GROUP BY, none for what is quoted."""
    if token.token_type in QUOTED or not (token.text[:1].isalpha() or token.text[:1] == "_"):
        return []
    return token.text.upper().split()


@dataclass(frozen=True)
class Piece:
    """Text [start, end) that is one quoted thing, comment or semicolon; `missing` is what should have closed it."""

    kind: str
    start: int
    end: int
    missing: str | None = None


def pieces(text: str) -> Iterator[Piece]:
    """The quotes, comments and semicolons of `text` in order; only the last can lack its end."""
    index = 0
    while match := _OPENERS.search(text, index):
        kind, index, missing = str(match.lastgroup), match.end(), None
        if kind == "block":
            depth = 1
            while depth and (edge := _COMMENT_EDGE.search(text, index)):
                depth, index = depth + (1 if edge.group() == "/*" else -1), edge.end()
            missing = "*/" if depth else None
        elif kind == "tag":
            found = text.find(match.group(), index)
            missing, index = (match.group(), index) if found < 0 else (None, found + len(match.group()))
        elif kind in ("escaped", "string", "name") and not match[kind]:
            missing = '"' if kind == "name" else "'"
        end = len(text) if missing else index
        yield Piece(kind, match.start(), end, missing)
        index = end


def _unreadable(source: Source, error: TokenError) -> ProgrammingError:
    """What the tokenizer could not finish, as an error at the place where it began."""
    for piece in pieces(source.text):
        if piece.missing:
            return ProgrammingError(
                f"the text ends before the closing {piece.missing}", position=source.position(piece.start)
            )
    reached = re.search(r":(\d+)$", str(error.__cause__))
    start = min(int(reached[1]), len(source.text) - 1) if reached else len(source.text) - 1
    return ProgrammingError("cannot read this literal", detail=f"{error.__cause__}.", position=source.position(start))
