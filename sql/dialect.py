"""The SQL dialect: a script as typed statements, and a query as text for its DuckDB twin."""

from __future__ import annotations

from functools import lru_cache

from sqlglot import exp

from ..storage import limits
from .cursor import Cursor
from .lexer import pieces, statements, tokenize
from .parser_queries import Headrace
from .parser_statements import read_statement
from .positions import Source, position_of
from .statements import Statement
from .trees import copied, every
from .window_function import WindowFunction

__all__ = ["Headrace", "WindowFunction", "parse_script", "position_of", "split_script", "twin_sql"]

_DIALECT = Headrace()


def parse_script(text: str) -> list[Statement]:
    """The statements of a script; their positions count in `text`.

    Raises: ProgrammingError or NotSupportedError, with its position, for the first thing that is not understood.

    >>> [statement.name for statement in parse_script("DESCRIBE bids; DESCRIBE asks")]
    ['bids', 'asks']
    """
    return list(_read(text) if len(text) <= limits.KEPT_SCRIPT_CHARS else _read.__wrapped__(text))


@lru_cache(limits.KEPT_SCRIPTS)
def _read(text: str) -> tuple[Statement, ...]:
    """The same. Nobody changes a statement or a tree in it: what is run again with other parameters is read once."""
    source = Source.of(text)
    return tuple(read_statement(Cursor(source, tokens)) for tokens, _ in statements(tokenize(source)))


def split_script(text: str) -> tuple[list[str], str]:
    """The texts of the complete statements, each with its `;`, and the unfinished rest (empty if only white space).

    Quotes and comments hide a `;`; nothing is parsed, so nothing is raised.

    >>> split_script("SELECT ';'; SELECT 'a;")
    (["SELECT ';';"], "SELECT 'a;")
    """
    complete, start = [], 0
    for piece in pieces(text):
        if piece.kind == "semicolon":
            complete.append(text[start : piece.end].strip())
            start = piece.end
    return complete, text[start:].strip()


def twin_sql(node: exp.Expr) -> str:
    """DuckDB's SQL for a query or expression in which no WindowFunction is left."""
    assert not every(node, WindowFunction), "a window function has no DuckDB text; sql/twin.py replaces it first"
    return Headrace.Generator(dialect=_DIALECT).generate(copied(node), copy=False)
