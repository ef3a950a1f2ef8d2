"""Positions: where a character, a token or a node of a query stands in the script."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from itertools import accumulate

from sqlglot import exp
from sqlglot.tokenizer_core import Token

from ..storage.errors import Position
from .trees import every_node


@dataclass(frozen=True)
class Source:
    """SQL text and where its lines begin, counted as `Error.report` counts them."""

    text: str
    line_starts: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Source:
        """The source of a whole script."""
        return cls(text, (0, *accumulate(len(line) for line in text.splitlines(keepends=True))))

    def position(self, start: int, end: int | None = None) -> Position:
        """The position of characters [start, end)."""
        line = max(0, min(bisect.bisect_right(self.line_starts, start), max(1, len(self.line_starts) - 1)) - 1)
        return Position(line + 1, start - self.line_starts[line] + 1, max(1, (end or start + 1) - start))


def position_of_token(token: Token) -> Position:
    """Where a token of `tokenize` stands."""
    return Position(token.line, token.col, token.end - token.start + 1)


def position_of(node: exp.Expr) -> Position | None:
    """Where a node of a parsed query begins, from itself or the first of its parts that know."""
    if "start" not in node.meta:
        placed = [part for part in every_node(node) if "start" in part.meta]
        if not placed:
            return None
        node = min(placed, key=lambda part: int(part.meta["start"]))
    meta = node.meta
    return Position(int(meta["line"]), int(meta["col"]), int(meta["end"]) - int(meta["start"]) + 1)
