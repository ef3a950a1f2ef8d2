"""Hints: SELECT /*+ STATE_TTL('a' = '1 day', 'b' = 'none') */, as Flink has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NoReturn

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from ..storage.errors import Position, ProgrammingError
from .positions import Source
from .time_to_live import HINT, Said, read_ttl, source_name
from .trees import every

OPENING, CLOSING = "/*+", "*/"
_EXAMPLE = "SELECT /*+ STATE_TTL('a' = '1 day', 'b' = 'none') */ n, m FROM a JOIN b USING (k)"
_WORD = re.compile(r"""\s*(?:(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")*")|(?P<name>[^\W\d]\w*)|(?P<mark>\S))""")


def refuse_misplaced(tokens: list[Token], starts: Iterable[int], source: Source) -> None:
    """Raises: ProgrammingError for a hint at one of `starts` that does not stand right after a SELECT."""
    for start in starts:
        before = max((token for token in tokens if token.end < start), key=lambda token: token.end, default=None)
        if before is None or before.token_type != TokenType.SELECT:
            raise ProgrammingError(
                "a hint stands right after SELECT",
                detail="Anywhere else it would do nothing, and look as if it did.",
                hint=f"As in {_EXAMPLE}; a plain comment is /* ... */.",
                position=source.position(start, start + len(OPENING)),
            )


def read_hints(source: Source, start: int, end: int) -> tuple[Said, ...]:
    """What the hints in [start, end) of the text say, which are the white space after a SELECT.

    Raises: ProgrammingError for a hint that there is not, or one that cannot be read.
    """
    said: list[Said] = []
    while (start := source.text.find(OPENING, start, end)) >= 0:
        after = source.text.find(CLOSING, start, end)
        said += _Hints(source, start + len(OPENING), after).read(said)
        start = after
    return tuple(said)


def check_hints(query: exp.Expr) -> None:
    """Raises: ProgrammingError for a hint about what is not in the FROM of its SELECT."""
    for select in every(query, exp.Select):
        said: tuple[Said, ...] = select.meta.get(HINT, ())
        if not said:
            continue
        source = select.args.get("from_")
        items = [] if source is None else [source.this, *(join.this for join in select.args.get("joins") or ())]
        names = list(dict.fromkeys(name for item in items if (name := source_name(item))))
        for each in said:
            if each.name.lower() not in names:
                raise ProgrammingError(
                    f'there is no "{each.name}" in the FROM of this SELECT',
                    detail="A hint names what stands in the FROM of its own SELECT, by its alias if it has one.",
                    hint=f"There is {', '.join(names)}." if names else "Give what stands in FROM an alias.",
                    position=each.position,
                    sqlstate="42P01",
                )


class _Hints:
    """The words of one hint comment, [start, end) of the text, taken one by one."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self._source = source
        self._words = list(_WORD.finditer(source.text, start, end))
        self._words = [word for word in self._words if word.lastgroup is not None]
        self._place = 0
        self._span = start - len(OPENING), end + len(CLOSING)

    def read(self, known: list[Said]) -> list[Said]:
        """All that it says, beside what is `known`."""
        said: list[Said] = []
        while self._peek() is not None:
            word = self._take("name")
            if word.upper() != HINT:
                self._refuse(f'there is no hint "{word}"', 1, f"There is {HINT}, as in {_EXAMPLE}.")
            self._mark("(")
            while True:
                each = self._said()
                if any(each.name.lower() == other.name.lower() for other in (*known, *said)):
                    self._refuse(f'the hint says it of "{each.name}" twice', 3, "Leave one of them out.")
                said.append(each)
                if not self._at(","):
                    break
                self._mark(",")
            self._mark(")")
            if self._at(","):
                self._mark(",")
        if not said:
            self._unreadable()
        return said

    def _said(self) -> Said:
        place = self._place
        name = self._take("name", "quoted", "text")
        position = self._position(place)
        self._mark("=")
        place = self._place
        return Said(name, read_ttl(self._take("text"), self._position(place)), position)

    def _peek(self) -> re.Match[str] | None:
        return self._words[self._place] if self._place < len(self._words) else None

    def _at(self, mark: str) -> bool:
        word = self._peek()
        return word is not None and word["mark"] == mark

    def _mark(self, mark: str) -> None:
        if not self._at(mark):
            self._unreadable()
        self._place += 1

    def _take(self, *kinds: str) -> str:
        word = self._peek()
        if word is None or word.lastgroup not in kinds:
            self._unreadable()
        assert word is not None
        self._place += 1
        text = word[str(word.lastgroup)]
        quote = text[0]
        return text[1:-1].replace(quote * 2, quote) if quote in "'\"" else text

    def _position(self, place: int) -> Position:
        if place >= len(self._words):
            return self._source.position(*self._span)
        word = self._words[place]
        kind = str(word.lastgroup)
        return self._source.position(word.start(kind), word.end(kind))

    def _unreadable(self) -> NoReturn:
        self._refuse("cannot read this hint", 0, f"It looks like {_EXAMPLE}.")

    def _refuse(self, headline: str, back: int, hint: str) -> NoReturn:
        raise ProgrammingError(headline, hint=hint, position=self._position(self._place - back))
