"""Rewrites: other spellings of a query, each turned into the one the planner knows."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from .ksql_windows import ksql_windows
from .legacy_windows import legacy_windows
from .processing_time import processing_time

RULES: tuple[Callable[[exp.Query], exp.Query], ...] = (processing_time, ksql_windows, legacy_windows)


def rewrite(query: exp.Query) -> exp.Query:
    """`query` after each rule in turn; the same meaning, and the same rows."""
    for rule in RULES:
        query = rule(query)
    return query
