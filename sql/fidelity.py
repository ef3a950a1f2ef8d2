"""Fidelity: DuckDB's own parser reads the text and its twin, and what it found in the one must be in the other.

sqlglot forgives much (a missing parenthesis, an empty item between commas) and drops what it has no place for. This
is where either becomes an error instead of another query than the one that was written.
"""

from __future__ import annotations

import difflib
import json
import re
import threading
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from typing import Any

import duckdb

from ..storage import limits

_TRUE = {"type": "VALUE_CONSTANT", "literal": {"kind": "BOOLEAN", "text": "true"}}
Node = dict[str, Any]
_SPELLING = frozenset(  # what may differ between two ways to say the same
    [
        "class",
        "kind",
        "syntax_type",
        "is_implicit",
        "is_operator",
        "type_expr",
        "null_order",
        "qualified_name",
        "query_location",
        "query_location_length",
    ]
)
_SAME_FUNCTION = {"**": "power", "^": "power", "@": "abs", "^@": "starts_with", "position": "strpos"}
_NEGATED = {  # written in one word; sqlglot says NOT and the opposite
    "OPERATOR_IS_NOT_NULL": "OPERATOR_IS_NULL",
    "COMPARE_DISTINCT_FROM": "COMPARE_NOT_DISTINCT_FROM",
}
_SAME_WORD = {"!=": "<>"}
_WORD = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|[(),.;\[\]{}]|[^\w\s'"(),.;\[\]{}]+|['"]""")


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

    def place_of(self, node: Node) -> tuple[int, int]:
        """Where in the text a node of the tree stands, and how long it is."""
        start, length = int(node["query_location"]), int(node.get("query_location_length", 1))
        encoded = self.text.encode()
        before = len(encoded[:start].decode(errors="replace"))
        return before, max(1, len(encoded[start : start + length].decode(errors="replace")))


def accepts(text: str) -> bool:
    """Whether DuckDB can read `text`; what it reads there, only `parse` says."""
    connection, lock = _duckdb()
    with lock:
        try:
            connection.extract_statements(text)
        except duckdb.Error:
            return False
    return True


def same_words(written: str, twin: str) -> bool:
    """Whether `twin` differs from a text that DuckDB accepts only in white space, letter case and AS before an alias.

    DuckDB then reads the same in both, which takes two looks at its trees to see otherwise. A word that could be more
    than a name (INTERVAL '1' year) is no alias here.
    """
    theirs = iter(_words(twin))
    for word in _words(written):
        other = next(theirs, "")
        if other == "as" != word and (word[0] == '"' or (word.isidentifier() and word not in _keywords())):
            other = next(theirs, "")
        if word != other:
            return False
    return next(theirs, None) is None


def _words(text: str) -> list[str]:
    return [word if word[0] in "'\"" else _SAME_WORD.get(word, word.lower()) for word in _WORD.findall(text)]


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


@lru_cache(limits.BOUND_QUERIES_MAX)
def type_complaint(text: str) -> Complaint | None:
    """Why DuckDB has no type that is spelled `text`, if it has none."""
    connection, lock = _duckdb()
    with lock:
        try:
            connection.execute(f"SELECT CAST(NULL AS {text})")
        except duckdb.Error:  # what it proposes depends on what it has loaded
            rows = connection.execute("SELECT DISTINCT upper(type_name) FROM duckdb_types() WHERE internal").fetchall()
            close = difflib.get_close_matches(text.upper(), sorted(name for (name,) in rows), n=1)
            return Complaint(f"Did you mean {close[0]}?" if close else "", None)
    return None


def difference(written: Parsed, twin: Parsed) -> Complaint | None:
    """The first thing that `twin` says in other words than `written`, if they do not mean the same."""
    if written.tree is None or twin.tree is None:
        return None
    node = _difference(written.tree, twin.tree, {})
    if node is None:
        return None
    start, length = written.place_of(node) if "query_location" in node else (None, 1)
    return Complaint("its twin would be another query", start, length)


@cache
def reserved_words() -> frozenset[str]:
    """The upper-case words that DuckDB takes as a name only in quotes."""
    connection, lock = _duckdb()
    with lock:
        rows = connection.execute(
            "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved', 'type_function')"
        )
        return frozenset(name.upper() for (name,) in rows.fetchall())


@cache
def _keywords() -> frozenset[str]:
    connection, lock = _duckdb()
    with lock:
        rows = connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()
        return frozenset(name for (name,) in rows)


@cache
def _duckdb() -> tuple[duckdb.DuckDBPyConnection, threading.Lock]:
    return duckdb.connect(":memory:"), threading.Lock()


def _difference(left: Any, right: Any, owner: Node) -> Node | None:
    """The node of `left` (or of its `owner`) at which the trees begin to differ; None if they mean the same."""
    left, right = _plain(left), _plain(right)
    if isinstance(left, dict) and isinstance(right, dict):
        owner = left if "query_location" in left else owner
        pairs = [(left.get(key), right.get(key)) for key in {**left, **right} if key not in _SPELLING]
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = list(zip(left, right, strict=True))
    else:
        return None if left == right else owner
    return next((found for pair in pairs if (found := _difference(*pair, owner)) is not None), None)


def _plain(value: Any) -> Any:
    """A node of the tree, or a value in it, in the one of its spellings that we compare."""
    if isinstance(value, str):
        return _number(value.lower()) or None
    if not isinstance(value, dict):
        return value or None
    kind = value.get("type")
    if not isinstance(kind, str):
        return value
    if kind in _NEGATED:
        return {
            "type": "OPERATOR_NOT",
            "children": [{**value, "type": _NEGATED[kind], "alias": ""}],
            "alias": value["alias"],
        }
    if kind == "FUNCTION":
        return _plain_call(value)
    if value.get("ref_type") == "CROSS":
        return {**value, "ref_type": "REGULAR", "condition": _TRUE}
    return value


def _plain_call(call: Node) -> Any:
    name, arguments = call["function_name"], call["arguments"]
    if name == "+" and len(arguments) == 1:
        inner = arguments[0]["expression"]
        return _plain({**inner, "alias": call["alias"] or inner["alias"]})
    orders = call["order_bys"]["orders"]
    if name == "list_value" and not (orders or call["filter"] or call["distinct"]):
        items = [argument["expression"] for argument in arguments]
        return {"type": "ARRAY_CONSTRUCTOR", "alias": call["alias"], "children": items}
    if name in ("quantile_cont", "quantile_disc") and len(arguments) == 1 and orders:  # ... WITHIN GROUP (ORDER BY a)
        arguments = [{"name": "", "expression": orders[0]["expression"]}, *arguments]
    return {**call, "function_name": _SAME_FUNCTION.get(name, name), "arguments": arguments}


def _number(text: str) -> str:
    """Numbers that are equal, equally; all else as it is."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return text
    return str(value.normalize()) if value.is_finite() else text
