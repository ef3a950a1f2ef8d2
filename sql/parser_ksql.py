"""Reading ksqlDB's windows: FROM bids WINDOW TUMBLING (SIZE 5 MINUTES, GRACE PERIOD 1 MINUTE) GROUP BY auction."""

from __future__ import annotations

from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from ..storage.errors import Error
from .intervals import constant_length
from .lexer import words
from .parser_windows import SpottedError, WindowParser
from .positions import position_of_token

KSQL_WINDOW = "ksql_window"  # in the meta of a table: what stands in its WINDOW clause, as the older form would have it
_KINDS = {"TUMBLING": "TUMBLE", "HOPPING": "HOP", "SESSION": "SESSION"}
_PARTS = {"TUMBLE": ("SIZE",), "HOP": ("ADVANCE BY", "SIZE"), "SESSION": ("",)}
_GRACE = "GRACE PERIOD"
_EXAMPLES = {
    "TUMBLE": "WINDOW TUMBLING (SIZE 5 MINUTES)",
    "HOP": "WINDOW HOPPING (SIZE 5 MINUTES, ADVANCE BY 1 MINUTE)",
    "SESSION": "WINDOW SESSION (5 MINUTES)",
}


class KsqlWindowParser(WindowParser):
    """A table that a WINDOW clause follows keeps, in its meta, the GROUP BY function that means the same."""

    def _parse_table(self, *args: Any, **kwargs: Any) -> Any:
        table = super()._parse_table(*args, **kwargs)
        following = self._tokens[self._index : self._index + 3]
        if not isinstance(table, exp.Table | exp.Subquery) or len(following) < 3 or words(following[0]) != ["WINDOW"]:
            return table
        kind = _KINDS.get("".join(words(following[1])))
        if kind is not None and following[2].token_type == TokenType.L_PAREN:
            table.meta[KSQL_WINDOW] = self._parse_ksql_window(kind)
        return table

    def _parse_ksql_window(self, kind: str) -> exp.Anonymous:
        first, head = self._curr, self._next
        self._advance(3)
        lengths: dict[str, exp.Expr] = {}
        while not lengths or self._match(TokenType.COMMA):
            name = self._parse_ksql_part(kind, lengths)
            lengths[name] = self._parse_ksql_length(kind, name)
        self._require(TokenType.R_PAREN, ")")
        lacking = [name for name in _PARTS[kind] if name not in lengths]
        if lacking:
            raise self.refuse(f"WINDOW {head.text.upper()} lacks its {lacking[0]}", head, detail=_example(kind))
        self.blanks[first.start] = (self._prev.end + 1, " ")
        call = exp.Anonymous(this=kind, expressions=[lengths[name] for name in _PARTS[kind]])
        if _GRACE in lengths:
            call.set("grace", lengths[_GRACE])
        return call.update_positions(head)

    def _parse_ksql_part(self, kind: str, known: dict[str, exp.Expr]) -> str:
        start = self._curr
        for name in (*_PARTS[kind], _GRACE):
            found = self._match_text_seq(*name.split()) if name else start.token_type == TokenType.NUMBER
            if found and name not in known:
                return name
        if words(start) == ["RETENTION"]:
            raise self.refuse("RETENTION is not supported yet", start, later=True, hint="A view keeps all its windows.")
        raise self.refuse(f'unexpected "{start.text}"', start, detail=_example(kind))

    def _parse_ksql_length(self, kind: str, name: str) -> exp.Expr:
        amount, unit = self._curr, self._next
        if not amount or amount.token_type != TokenType.NUMBER or not words(unit):
            raise self.refuse(f"{name or 'the gap'} takes a number and a unit of time", detail=_example(kind))
        self._advance(2)
        length = exp.Interval(this=exp.Literal.string(amount.text), unit=exp.Var(this=unit.text.upper()))
        self._check_length(length, amount, name)
        return length.update_positions(amount)

    def _check_length(self, length: exp.Interval, amount: Token, name: str) -> None:
        try:
            constant_length(length, position_of_token(amount), name or "the gap of SESSION")
        except Error as error:
            raise SpottedError(error) from None


def _example(kind: str) -> str:
    return f"It looks like {_EXAMPLES[kind]}."
