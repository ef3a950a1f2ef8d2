"""PROCTIME(), Flink's name for the present time: the clock, or, as the time of a window, when each row came."""

from __future__ import annotations

from sqlglot import exp

from ..trees import every
from ..window_function import ARGUMENTS, arrival_column


def processing_time(query: exp.Query) -> exp.Query:
    """`query` with now() for PROCTIME(), and for that of a window in GROUP BY the column that says when a row came."""
    for call in every(query, exp.Anonymous):
        if call.name.upper() != "PROCTIME" or call.expressions:
            continue
        window = call.parent
        if isinstance(window, exp.Anonymous) and window.name.upper().partition("_")[0] in ARGUMENTS:
            column = arrival_column(call.name)
            column.this.meta.update(call.meta)
            call.replace(column)
        else:
            call.set("this", "now")
    return query
