"""Fidelity: DuckDB's own parser reads the text and its twin, and what it found in the one must be in the other.

sqlglot forgives much (a missing parenthesis, an empty item between commas) and drops what it has no place for. This
is where either becomes an error instead of another query than the one that was written.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

import duckdb

_SPELLING = frozenset(  # what may differ between two ways to say the same
    """class kind syntax_type ref_type is_implicit is_operator type_expr null_order query_location
    query_location_length""".split()
)
_SPELT = {  # and words that do, as (what was written, what the twin says)
    ("function_name", "**"): "power",
    ("function_name", "^"): "power",
    ("function_name", "position"): "strpos",
    ("type", "operator_is_not_null"): "operator_is_null",
    ("type", "compare_distinct_from"): "compare_not_distinct_from",
}
_UNCOUNTED = {  # nodes that come and go with the spelling
    ("type", "array_constructor"),
    ("type", "column_ref"),
    ("type", "function"),
    ("type", "order_modifier"),
    ("type", "type"),
    ("function_name", "+"),
    ("function_name", "list_value"),
    ("column_names", "current_user"),
}
Fact = tuple[str, str]


@dataclass(frozen=True)
class Complaint:
    """Why a text cannot be taken. Units: `start` and `length` in characters of that text; `start` None: anywhere."""

    headline: str
    start: int | None
    length: int = 1
    syntax: bool = False


@dataclass(frozen=True)
class Parsed:
    """What DuckDB's parser said about `text`; no tree for what it reads but cannot describe, such as PIVOT."""

    text: str
    tree: Any

    def facts(self) -> Counter[Fact]:
        """What the text says, whatever way it is spelled, and how often."""
        return Counter(fact for fact, _ in _facts(self.tree, None))

    def place_of(self, fact: Fact) -> tuple[int | None, int]:
        """Where in the text `fact` stands, and how long it is."""
        found = next((node for known, node in _facts(self.tree, None) if known == fact), None)
        if found is None or "query_location" not in found:
            return None, 1
        start, length = int(found["query_location"]), int(found.get("query_location_length", 1))
        encoded = self.text.encode()
        characters = len(encoded[:start].decode(errors="replace"))
        return characters, max(1, len(encoded[start : start + length].decode(errors="replace")))


def parse(text: str) -> Parsed | Complaint:
    """What DuckDB reads in `text`, or why it does not."""
    connection, lock = _duckdb()
    with lock:
        row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()
        assert row is not None
        told = json.loads(row[0])
        if not told["error"]:
            return Parsed(text, told["statements"])
        try:
            connection.extract_statements(text)
        except duckdb.Error:
            pass
        else:
            return Parsed(text, None)
    message = str(told["error_message"])
    if "position" not in told:
        return Complaint(message, None)
    start = len(text.encode()[: int(told["position"])].decode(errors="replace"))
    return Complaint(message, start, syntax="syntax error" in message)


def lost(written: Parsed, twin: Parsed) -> Complaint | None:
    """The first thing that `written` says and `twin` does not."""
    if written.tree is None or twin.tree is None:
        return None
    missing = written.facts() - twin.facts()
    if not missing:
        return None
    places = [(*written.place_of(fact), fact) for fact in missing]
    start, length, (_, value) = min(places, key=lambda place: (place[0] is None, place[0] or 0))
    return Complaint(f'"{value}" would be lost', start, length)


@cache
def _duckdb() -> tuple[duckdb.DuckDBPyConnection, threading.Lock]:
    return duckdb.connect(":memory:"), threading.Lock()


def _facts(node: Any, owner: dict[str, Any] | None, key: str = "") -> Iterator[tuple[Fact, dict[str, Any]]]:
    """Each value in a tree with the node that holds it."""
    if isinstance(node, dict):
        if "literal" in node and "text" in (node["literal"] or {}):
            owner = node
        elif "class" in node or "ref_type" in node or owner is None:
            owner = node
        for inner, value in node.items():
            if inner not in _SPELLING:
                yield from _facts(value, owner, inner)
    elif isinstance(node, list):
        for value in node:
            yield from _facts(value, owner, key)
    elif owner is not None and node not in (None, False, ""):
        text = str(node).lower()
        fact = (key, _number(text) if key == "text" else _SPELT.get((key, text), text))
        if key not in ("path",) and fact not in _UNCOUNTED:
            yield fact, owner


def _number(text: str) -> str:
    """Numbers that are equal, equally; all else as it is."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return text
    return str(value.normalize()) if value.is_finite() else text
