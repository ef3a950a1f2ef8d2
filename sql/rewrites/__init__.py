"""Rewrites: other spellings of a query, each turned into the one the planner knows."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from .legacy_windows import legacy_windows

RULES: tuple[Callable[[exp.Query], exp.Query], ...] = (legacy_windows,)


def rewrite(query: exp.Query) -> exp.Query:
    """`query` after each rule in turn; the same meaning, and the same rows."""
    for rule in RULES:
        query = rule(query)
    return query
