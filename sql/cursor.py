"""A cursor over the tokens of one statement: words, names and values taken one by one, or an error with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from ..storage.errors import NotSupportedError, Position, ProgrammingError
from .fidelity import reserved_words, type_complaint
from .lexer import QUOTED, words
from .parser_queries import QueryParser, read_condition, read_expression, read_part, read_query
from .parser_windows import unexpected
from .positions import Source, position_of_token
from .statements import Option

_NAME_TOKENS = QueryParser.ID_VAR_TOKENS | {TokenType.IDENTIFIER}
_NAME = re.compile(r"[^\W\d]\w*")
_OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE}
_CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE}


@dataclass
class Cursor:
    """Where one statement is being read. Holds: `tokens` is never empty; `index` is the next one."""

    source: Source
    tokens: Sequence[Token]
    index: int = 0

    @property
    def token(self) -> Token | None:
        """The next token; None at the end."""
        return self.tokens[self.index] if self.index < len(self.tokens) else None

    @property
    def word(self) -> str:
        """The next token's first word in upper case; empty for what is quoted and at the end."""
        return (words(self.token) or [""])[0] if self.token else ""

    @property
    def position(self) -> Position:
        """Where the next token stands, or at the end the last one."""
        return position_of_token(self.token or self.tokens[-1])

    def offset(self, ahead: int = 0) -> int:
        """Where the token `ahead` of the next one begins, counted from the start of the statement."""
        index = self.index + ahead
        return self.tokens[min(index, len(self.tokens) - 1)].start - self.tokens[0].start

    def words_at(self, ahead: int) -> list[str]:
        """The upper-case words of the token `ahead` of the next one; none if it is quoted, a mark or beyond the end."""
        index = self.index + ahead
        return words(self.tokens[index]) if index < len(self.tokens) else []

    def at_mark(self, mark: str, ahead: int = 0) -> bool:
        """Whether the token `ahead` of the next one is the punctuation `mark`."""
        index = self.index + ahead
        return (
            index < len(self.tokens) and self.tokens[index].text == mark and self.tokens[index].token_type not in QUOTED
        )

    def accept(self, phrase: str) -> bool:
        """Take `phrase` (upper-case words) if it comes next."""
        wanted, index = phrase.split(), self.index
        while wanted:
            got = words(self.tokens[index]) if index < len(self.tokens) else []
            if not got or wanted[: len(got)] != got:
                return False
            wanted, index = wanted[len(got) :], index + 1
        self.index = index
        return True

    def expect(self, phrase: str) -> None:
        """Take `phrase`, which must come next."""
        if not self.accept(phrase):
            self.unexpected(f"Here should be {phrase}.")

    def accept_mark(self, mark: str) -> bool:
        """Take the punctuation `mark` if it comes next."""
        found = self.at_mark(mark)
        self.index += found
        return found

    def expect_mark(self, mark: str) -> None:
        """Take the punctuation `mark`, which must come next."""
        if not self.accept_mark(mark):
            self.unexpected(f'Here should be "{mark}".')

    def end(self) -> None:
        """Nothing may be left."""
        if self.token:
            self.unexpected()

    def unexpected(self, detail: str | None = None, *, hint: str | None = None) -> NoReturn:
        """Raise: what comes next has no place here."""
        raise unexpected(self.token, self.tokens[-1], detail=detail, hint=hint)

    def wrong(
        self, headline: str, *, position: Position | None = None, detail: str | None = None, hint: str | None = None
    ) -> NoReturn:
        """Raise: the statement is wrong at `position`, or here."""
        raise ProgrammingError(headline, detail=detail, hint=hint, position=position or self.position)

    def not_yet(
        self, headline: str, *, position: Position | None = None, detail: str | None = None, hint: str | None = None
    ) -> NoReturn:
        """Raise: headrace does not do this, or not yet."""
        raise NotSupportedError(headline, detail=detail, hint=hint, position=position or self.position)

    def choice(self, what: str, words: Iterable[str]) -> NoReturn:
        """Raise: the next word is none of the `words` that may stand here."""
        words = list(words)
        if not self.word:
            self.unexpected(f"Here should be {what}.")
        close = difflib.get_close_matches(self.word, words, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Use one of {', '.join(words)}."
        assert self.token is not None
        self.wrong(f'"{self.token.text}" is not {what}', hint=hint)

    def name(self, what: str) -> str:
        """One identifier, in the case it was written."""
        if self.token is not None and self.word in reserved_words():
            hint = f'A reserved word needs quotes: "{self.token.text}".'
            self.unexpected(f"Here should be {what}.", hint=hint)
        return self._name(what)

    def _name(self, what: str) -> str:
        """The same, or a word that is reserved where queries are."""
        token = self.token
        if token is None or token.token_type not in _NAME_TOKENS:
            reserved = token is not None and _NAME.fullmatch(token.text)
            hint = f'A reserved word needs quotes: "{token.text}".' if token is not None and reserved else None
            self.unexpected(f"Here should be {what}.", hint=hint)
        if token.token_type != TokenType.IDENTIFIER and not _NAME.fullmatch(token.text):
            self.unexpected(f"Here should be {what}.")
        if not token.text:
            self.wrong("a name cannot be empty")
        self.index += 1
        return token.text

    def relation(self, what: str) -> str:
        """The name of a relation; only system and information_schema may qualify it."""
        position, name = self.position, self.name(what)
        while self.accept_mark("."):
            if name.lower() not in ("system", "information_schema"):
                self.wrong(
                    f'there is no schema "{name}"',
                    position=position,
                    detail="Streams and views live in no schema; only system and information_schema exist.",
                )
            name = f"{name.lower()}.{self.name(what)}"
        return name

    def names(self, what: str) -> tuple[str, ...]:
        """( a, b, c ), no name twice."""
        self.expect_mark("(")
        names: list[str] = []
        while not names or self.accept_mark(","):
            position, name = self.position, self.name(what)
            if name.lower() in (known.lower() for known in names):
                self.wrong(f'"{name}" is named twice', position=position)
            names.append(name)
        self.expect_mark(")")
        return tuple(names)

    def string(self, what: str) -> str:
        """A quoted text."""
        token = self.token
        if token is None or token.token_type != TokenType.STRING:
            self.unexpected(f"Here should be {what} in single quotes.")
        self.index += 1
        return token.text

    def integer(self, what: str) -> int:
        """A whole number."""
        position, value = self.position, self.value(what)
        if not isinstance(value, int) or isinstance(value, bool):
            self.wrong(f"{what} must be a whole number", position=position)
        return value

    def value(self, what: str) -> str | int | float | bool:
        """'text', a number, true, false, or one bare word."""
        minus = self.accept_mark("-")
        token = self.token
        if token is not None and token.token_type == TokenType.NUMBER:
            self.index += 1
            text = ("-" if minus else "") + token.text.replace("_", "")
            try:
                return int(text) if text.lstrip("-").isdigit() else float(text)
            except ValueError:
                self.wrong(f"cannot read {token.text} as a number", position=position_of_token(token))
        if token is None or minus:
            self.unexpected(f"Here should be {what}.")
        if token.token_type == TokenType.STRING:
            self.index += 1
            return token.text
        if self.word in ("TRUE", "ON", "FALSE", "OFF"):
            self.index += 1
            return words(token)[0] in ("TRUE", "ON")
        return self._name(what)

    def options(self, *, bare: bool) -> dict[str, Option]:
        """( name = value, ... ) with lower-case names; `bare`: the = may be missing, and a lone name is true."""
        self.expect_mark("(")
        options: dict[str, Option] = {}
        while not options or self.accept_mark(","):
            position = self.position
            name = (
                self.string("a name") if self.token and self.token.token_type == TokenType.STRING else self.dotted()
            ).lower()
            if name in options:
                self.wrong(f'"{name}" is given twice', position=position)
            value: Option | float = True
            place = self.position
            if self.accept_mark("="):
                place = self.position
                value = self.value(f"the value of {name}")
            elif not bare:
                self.unexpected('Here should be "=".')
            elif self.at_mark("("):
                value = self.names("a column")
            elif self.token is not None and self.token.text not in (",", ")"):
                value = self.value(f"the value of {name}")
            if isinstance(value, float):
                self.wrong(f"{name} must be text, a whole number, true or false", position=place)
            options[name] = value
        self.expect_mark(")")
        return options

    def dotted(self) -> str:
        """a.b.c as one setting's name."""
        parts = [self._name("the name of an option")]
        while self.accept_mark("."):
            parts.append(self._name("the rest of the name"))
        return ".".join(parts)

    def query(self, end: int | None = None, *, first: TokenType | None = None) -> exp.Query:
        """The query up to token `end`, or to the end; the word that begins it is read as if it were `first`."""
        tokens = self.tokens[self.index : end]
        if not tokens:
            self.unexpected("Here should be a query.")
        self.index += len(tokens)
        return read_query(tokens, self.source, first)

    def expression(self, what: str) -> exp.Expr:
        """One scalar expression, as far as it reaches."""
        if self.token is None:
            self.unexpected(f"Here should be {what}.")
        node, taken = read_expression(self.tokens[self.index :], self.source)
        if node is None:
            self.unexpected(f"Here should be {what}.")
        self.index += taken
        return node

    def condition(self, what: str, end: int | None = None) -> exp.Expr:
        """The expression up to token `end`, or to the end."""
        tokens = self.tokens[self.index : end]
        if not tokens:
            self.unexpected(f"Here should be {what}.")
        self.index += len(tokens)
        return read_condition(tokens, self.source)

    def type(self) -> str:
        """A type of DuckDB's, as it was written."""
        if self.token is None:
            self.unexpected("Here should be a type.")
        start = self.token
        node, taken = read_part(lambda parser: parser._parse_types(schema=True), self.tokens[self.index :], self.source)
        if node is None or taken == 0:
            self.unexpected("Here should be a type.")
        text = self.source.text[start.start : self.tokens[self.index + taken - 1].end + 1]
        complaint = type_complaint(text)
        if complaint is not None:
            self.wrong(f'there is no type "{text}"', hint=complaint.headline or None)
        self.index += taken
        return text

    def depths(self) -> Iterable[tuple[int, Token, int]]:
        """Each token left, with its index and how many brackets it stands in."""
        depth = 0
        for index in range(self.index, len(self.tokens)):
            token = self.tokens[index]
            depth -= token.token_type in _CLOSING
            yield index, token, depth
            depth += token.token_type in _OPENING
