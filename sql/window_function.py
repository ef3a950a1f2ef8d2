"""The window table function as a node of a query: FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sqlglot import exp
from sqlglot.generator import Generator

from ..storage.errors import Position, ProgrammingError
from .intervals import interval_sql

ARGUMENTS = {
    "TUMBLE": ("DATA", "TIMECOL", "SIZE", "OFFSET"),
    "HOP": ("DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"),
    "CUMULATE": ("DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"),
    "SESSION": ("DATA", "TIMECOL", "GAP"),
}
OPTIONAL = ("OFFSET",)
EXAMPLES = {
    "TUMBLE": "TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)",
    "HOP": "HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND), slide before size",
    "CUMULATE": "CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND), step before size",
    "SESSION": "SESSION(TABLE bids PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '10' MINUTE)",
}


class WindowFunction(exp.Expression):
    """The rows of `this`, each once per window of `column` that holds it, with window_start, window_end, window_time.

    Shape: kind one of ARGUMENTS; this a Table or a Subquery; column an unqualified Column; the rest number Literals,
    where `size_us` is the gap of SESSION, `slide_us` the slide of HOP and the step of CUMULATE. `partition`, of SESSION
    alone, holds unqualified Columns. `grace_us`: how long after its end a window still counts late rows.
    Units: microseconds.
    """

    arg_types: ClassVar[dict[str, bool]] = {
        "kind": True,
        "this": True,
        "column": True,
        "size_us": True,
        "slide_us": False,
        "offset_us": False,
        "partition": False,
        "grace_us": False,
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
    partition: Sequence[exp.Column] = (),
) -> WindowFunction:
    """The window function with these lengths; `position` is where its size stands.

    Raises: ProgrammingError if no time can pass in it.
    """
    slide = "step" if kind == "CUMULATE" else "slide"
    for name, us in (("gap" if kind == "SESSION" else "size", size_us), (slide, slide_us)):
        if us is not None and us <= 0:
            raise ProgrammingError(f"the {name} of {kind} must be longer than nothing", position=position)
    if slide_us is not None:
        _check_slide(kind, slide, size_us=size_us, slide_us=slide_us, position=position)
    lengths = {"size_us": size_us, "slide_us": slide_us, "offset_us": offset_us}
    literals = {name: exp.Literal(this=str(us), is_string=False) for name, us in lengths.items() if us is not None}
    return WindowFunction(kind=kind, this=source, column=column, partition=list(partition), **literals)


def window_sql(generator: Generator, node: exp.Expr) -> str:
    """The function as Flink writes it."""
    keys = ", ".join(generator.sql(key) for key in node.args.get("partition") or ())
    source = f"TABLE {generator.sql(node, 'this')}" + (f" PARTITION BY {keys}" if keys else "")
    arguments = [source, f"DESCRIPTOR({generator.sql(node, 'column')})"]
    lengths = [node.args.get(name) for name in ("slide_us", "size_us", "offset_us")]
    arguments += [interval_sql(int(length.name)) for length in lengths if length is not None]
    return f"{node.args['kind']}({', '.join(arguments)})"


def _check_slide(kind: str, name: str, *, size_us: int, slide_us: int, position: Position | None) -> None:
    slide, size = interval_sql(slide_us), interval_sql(size_us)
    if slide_us > size_us:
        between = f"Read as windows of {size}, one every {slide}, the rows between two windows are in none."
        swapped = f"windows of {slide}, one every {size}" if kind == "HOP" else f"windows up to {slide} by {size}"
        raise ProgrammingError(
            f"the {name} of {kind} cannot be longer than its size",
            detail=between if kind == "HOP" else None,
            hint=f"{name.capitalize()} comes before size. For {swapped}, write {size}, {slide}.",
            position=position,
        )
    if kind == "CUMULATE" and size_us % slide_us:
        raise ProgrammingError(
            "the size of CUMULATE must be a multiple of its step",
            detail=f"Steps of {slide} do not add up to {size}.",
            position=position,
        )
