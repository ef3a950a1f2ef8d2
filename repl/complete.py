"""Completion: what could stand at the cursor, from the catalog and from the query's own scope."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from .commands import COMMANDS
from .formats import FORMATS
from .words import FUNCTIONS, KEYWORDS

if TYPE_CHECKING:
    from ..sql.dbapi import RelationInfo

BEFORE_RELATION = {"FROM", "JOIN", "INTO", "SUBSCRIBE", "TO", "DESCRIBE", "TABLE", "VIEW", "STREAM", "COPY", "VERIFY"}
TOKEN = re.compile(r"""--[^\n]*|'(?:[^']|'')*'?|"[^"]*"?|[A-Za-z_]\w*|\S""")
WORD = re.compile(r'"?[A-Za-z_]\w*$|"$')
QUALIFIED = re.compile(r'(?:"([^"]+)"|([A-Za-z_]\w*))\.("?\w*)$')
PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class Suggestion:
    """A text for the place of the last `replaces` characters before the cursor, and what it is."""

    text: str
    replaces: int
    kind: str


def suggestions(before: str, after: str, relations: Sequence[RelationInfo]) -> Iterator[Suggestion]:
    """What could complete the word that ends `before`, likeliest first; `after` only says what is in scope."""
    if before.lstrip().startswith("\\"):
        yield from of_command(before.lstrip(), relations)
        return
    tokens = TOKEN.findall(before)
    if tokens and (tokens[-1].startswith("--") or unclosed(tokens[-1], "'")):
        return
    found = WORD.search(before)
    word = found[0] if found else ""
    scope = sources(TOKEN.findall(before[: len(before) - len(word)] + " " + after), relations)
    qualified = QUALIFIED.search(before)
    if qualified:
        yield from of_qualifier(qualified, scope, relations)
        return
    previous = tokens[-2 if word and len(tokens) > 1 else -1].upper() if len(tokens) > bool(word) else ""
    names = [(relation.name, relation.kind.lower()) for relation in relations]
    if previous in BEFORE_RELATION:
        yield from starting(word, names)
        if word:
            yield from starting(word, ((keyword, "keyword") for keyword in KEYWORDS))
        return
    columns = dict(column for relation in scope.values() for column in relation.columns)
    yield from starting(word, columns.items())
    if word:
        yield from starting(word, ((alias, "alias") for alias in scope if alias not in columns))
        yield from starting(word, ((keyword, "keyword") for keyword in KEYWORDS))
        yield from starting(word, ((function, "function") for function in FUNCTIONS))
        yield from starting(word, names)


def sources(tokens: Sequence[str], relations: Sequence[RelationInfo]) -> Mapping[str, RelationInfo]:
    """What the statement reads, by the name or alias under which its columns are reached."""
    known = {relation.name.lower(): relation for relation in relations}
    scope: dict[str, RelationInfo] = {}
    for index, token in enumerate(tokens):
        relation = known.get(token.strip('"').lower())
        if relation is None or (index and tokens[index - 1] == "."):
            continue
        following = [*tokens[index + 1 : index + 3], "", ""]
        alias = following[1] if following[0].upper() == "AS" else following[0]
        is_name = bool(re.fullmatch(r'[A-Za-z_]\w*|"[^"]+"', alias)) and alias.upper() not in NOT_ALIASES
        scope[alias.strip('"') if is_name else relation.name] = relation
    return scope


NOT_ALIASES = {*KEYWORDS, "NATURAL", "POSITIONAL"}


def of_qualifier(
    found: re.Match[str], scope: Mapping[str, RelationInfo], relations: Sequence[RelationInfo]
) -> Iterator[Suggestion]:
    """The columns behind `alias.`, or the relations behind `system.`."""
    qualifier = (found[1] or found[2]).lower()
    for name, relation in scope.items():
        if name.lower() == qualifier:
            yield from starting(found[3], relation.columns)
            return
    inside = [relation.name.partition(".") for relation in relations]
    yield from starting(
        found[3], ((name, "system") for schema, _, name in inside if name and schema.lower() == qualifier)
    )


def of_command(line: str, relations: Sequence[RelationInfo]) -> Iterator[Suggestion]:
    """The backslash commands, and what can stand behind some of them."""
    name, space, argument = line.partition(" ")
    if not space:
        yield from (Suggestion(row.name, len(name), row.help) for row in COMMANDS if row.name.startswith(name))
        return
    match name:
        case "\\d":
            yield from starting(argument, ((relation.name, relation.kind.lower()) for relation in relations))
        case "\\format":
            yield from starting(argument, ((choice, "format") for choice in FORMATS))
        case "\\x":
            yield from starting(argument, ((choice, "") for choice in ("on", "off", "auto")))
        case "\\timing" | "\\changelog":
            yield from starting(argument, ((choice, "") for choice in ("on", "off")))
        case "\\i" | "\\o":
            yield from files(argument)


def files(start: str) -> Iterator[Suggestion]:
    """Files and folders whose path begins so."""
    folder, _, name = start.rpartition("/")
    base = Path(folder or ("/" if start.startswith("/") else ".")).expanduser()
    if not base.is_dir():
        return
    for path in sorted(base.iterdir()):
        if path.name.startswith(name) and (name or not path.name.startswith(".")):
            yield Suggestion(path.name + ("/" if path.is_dir() else ""), len(name), "")


def starting(word: str, candidates: Iterable[tuple[str, str]]) -> Iterator[Suggestion]:
    """Those that begin with `word`, whatever its case; keywords in lower case where the word is."""
    bare = word.lstrip('"').lower()
    for name, kind in candidates:
        if name.lower().startswith(bare) and not (kind in ("keyword", "function") and name.lower() == bare):
            yield Suggestion(spelled(name, kind, word), len(word), kind)


def spelled(name: str, kind: str, word: str) -> str:
    """A name as it must be written: quoted if it is not a plain word."""
    if kind == "keyword":
        return name.lower() if word.islower() else name
    if kind == "function" or "." in name:
        return name
    return name if PLAIN_NAME.fullmatch(name.lower()) and not word.startswith('"') else f'"{name}"'


def unclosed(token: str, quote: str) -> bool:
    """Whether the token is a quoted one whose end is not yet typed."""
    return token.startswith(quote) and (len(token) == 1 or token.count(quote) % 2 == 1)


class ShellCompleter(Completer):
    """`suggestions` for prompt_toolkit. `relations` is asked at each keystroke."""

    def __init__(self, relations: Callable[[], Sequence[RelationInfo]]) -> None:
        self.relations = relations

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """What could stand at the cursor; nothing unasked for where no word has begun."""
        before = document.text_before_cursor
        if not complete_event.completion_requested and before[-1:] in (" ", "\n", ""):
            return
        seen = set()
        for suggestion in suggestions(before, document.text_after_cursor, self.relations()):
            if suggestion.text not in seen:
                seen.add(suggestion.text)
                yield Completion(suggestion.text, start_position=-suggestion.replaces, display_meta=suggestion.kind)
