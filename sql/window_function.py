"""The window table function as a node of a query: FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)."""

from __future__ import annotations

from typing import ClassVar

from sqlglot import exp
from sqlglot.generator import Generator

from ..storage.errors import Position, ProgrammingError
from .intervals import interval_sql

ARGUMENTS = {"TUMBLE": ("DATA", "TIMECOL", "SIZE", "OFFSET"), "HOP": ("DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET")}
NOT_YET = {"CUMULATE": "HOP", "SESSION": "TUMBLE"}  # a window to come, and what works today
EXAMPLES = {
    "TUMBLE": "TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)",
    "HOP": "HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND), slide before size",
}


class WindowFunction(exp.Expression):
    """The rows of `this`, each once per window of `column` that holds it, with window_start, window_end, window_time.

    Shape: kind 'TUMBLE' or 'HOP'; this a Table or a Subquery; column an unqualified Column; the rest number Literals.
    Units: microseconds.
    """

    arg_types: ClassVar[dict[str, bool]] = {
        "kind": True,
        "this": True,
        "column": True,
        "size_us": True,
        "slide_us": False,
        "offset_us": False,
    }


def build_window(
    kind: str,
    source: exp.Expr,
    column: exp.Column,
    *,
    size_us: int,
    slide_us: int | None,
    offset_us: int | None,
    position: Position | None,
) -> WindowFunction:
    """The window function with these lengths; `position` is where its size stands.

    Raises: ProgrammingError if no time can pass in it.
    """
    if size_us <= 0:
        raise ProgrammingError(f"the size of {kind} must be longer than nothing", position=position)
    if slide_us is not None and slide_us <= 0:
        raise ProgrammingError(f"the slide of {kind} must be longer than nothing", position=position)
    if slide_us is not None and slide_us > size_us:
        slide, size = interval_sql(slide_us), interval_sql(size_us)
        raise ProgrammingError(
            "the slide of HOP cannot be longer than its size",
            detail=f"Read as windows of {size}, one every {slide}, the rows between two windows are in none.",
            hint=f"Slide comes before size. For windows of {slide}, one every {size}, write {size}, {slide}.",
            position=position,
        )
    lengths = {"size_us": size_us, "slide_us": slide_us, "offset_us": offset_us}
    literals = {name: exp.Literal(this=str(us), is_string=False) for name, us in lengths.items() if us is not None}
    return WindowFunction(kind=kind, this=source, column=column, **literals)


def window_sql(generator: Generator, node: exp.Expr) -> str:
    """The function as Flink writes it."""
    arguments = [f"TABLE {generator.sql(node, 'this')}", f"DESCRIPTOR({generator.sql(node, 'column')})"]
    lengths = [node.args.get(name) for name in ("slide_us", "size_us", "offset_us")]
    arguments += [interval_sql(int(length.name)) for length in lengths if length is not None]
    return f"{node.args['kind']}({', '.join(arguments)})"
