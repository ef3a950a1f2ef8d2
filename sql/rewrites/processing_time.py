"""PROCTIME(), Flink's name for the present time, turned into now()."""

from __future__ import annotations

from sqlglot import exp


def processing_time(query: exp.Query) -> exp.Query:
    """`query` with now() for PROCTIME()."""
    for call in list(query.find_all(exp.Anonymous)):
        if call.name.upper() == "PROCTIME" and not call.expressions:
            call.set("this", "now")
    return query
