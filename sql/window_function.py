"""The window table function as a node of a query: FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sqlglot import exp
from sqlglot.generator import Generator

from ..storage.errors import Position, ProgrammingError
from .intervals import DAY_US, Length

ARGUMENTS = {
    "TUMBLE": ("DATA", "TIMECOL", "SIZE", "OFFSET", "TIMEZONE"),
    "HOP": ("DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET", "TIMEZONE"),
    "CUMULATE": ("DATA", "TIMECOL", "STEP", "SIZE", "OFFSET", "TIMEZONE"),
    "SESSION": ("DATA", "TIMECOL", "GAP"),
}
OPTIONAL = ("OFFSET", "TIMEZONE")
EXAMPLES = {
    "TUMBLE": "TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)",
    "HOP": "HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND), slide before size",
    "CUMULATE": "CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND), step before size",
    "SESSION": "SESSION(TABLE bids PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '10' MINUTE)",
}


ARRIVAL = "arrival"  # in the meta of a name: it stands for the time at which the rows of the stream below came


def arrival_column(name: str) -> exp.Column:
    """The column, by whatever name, that says when each row of a stream came."""
    column = exp.Column(this=exp.Identifier(this=name, quoted=False))
    column.this.meta[ARRIVAL] = True
    return column


class WindowFunction(exp.Expression):
    """The rows of `this`, each once per window of `column` that holds it, with window_start, window_end, window_time.

    Shape: kind one of ARGUMENTS; this a Table or a Subquery; column an unqualified Column; the lengths number Literals,
    where `size` is the gap of SESSION, `slide` the slide of HOP and the step of CUMULATE, in months and microseconds;
    `timezone` a string Literal. `partition`, of SESSION alone, holds unqualified Columns. `grace_us`: how long after
    its end a window still counts late rows.
    """

    arg_types: ClassVar[dict[str, bool]] = {
        "kind": True,
        "this": True,
        "column": True,
        "size_us": True,
        "slide_us": False,
        "offset_us": False,
        "size_months": False,
        "slide_months": False,
        "offset_months": False,
        "timezone": False,
        "partition": False,
        "grace_us": False,
    }

    def length(self, name: str) -> Length | None:
        """Its size, slide or offset; None where it is not given."""
        us, months = (self.args.get(f"{name}_{unit}") for unit in ("us", "months"))
        return None if us is None else Length(0 if months is None else int(months.name), int(us.name))

    @property
    def timezone(self) -> str | None:
        """The zone whose clocks cut its days and months."""
        name = self.args.get("timezone")
        return None if name is None else str(name.name)

    @property
    def by_calendar(self) -> bool:
        """Whether it counts in days and months as the clocks show them, and not in lengths that are always the same."""
        size = self.length("size")
        return self.timezone is not None or (size is not None and size.months > 0)


def build_window(
    kind: str,
    source: exp.Expr,
    column: exp.Column,
    *,
    size: Length,
    slide: Length | None,
    offset: Length | None,
    position: Position | None,
    partition: Sequence[exp.Column] = (),
    timezone: str | None = None,
) -> WindowFunction:
    """The window function with these lengths; `position` is where its size stands.

    Raises: ProgrammingError if no time can pass in it, or if its lengths do not go together.
    """
    step = "step" if kind == "CUMULATE" else "slide"
    lengths = {"size": size, "slide": slide, "offset": offset}
    for name, length in (("gap" if kind == "SESSION" else "size", size), (step, slide)):
        if length is None:
            continue
        if min(length) < 0 or not any(length):
            raise ProgrammingError(f"the {name} of {kind} must be longer than nothing", position=position)
        if all(length) or (length.months and kind == "SESSION"):
            raise ProgrammingError(
                f"the {name} of {kind} cannot be counted in months" + (" and days" if all(length) else ""),
                detail="Months and years differ in length.",
                hint="Use weeks, days or a smaller unit.",
                position=position,
            )
    literals: dict[str, exp.Expr] = {}
    for name, length in lengths.items():
        if length is not None:
            literals[f"{name}_us"] = exp.Literal(this=str(length.us), is_string=False)
            if length.months:
                literals[f"{name}_months"] = exp.Literal(this=str(length.months), is_string=False)
    if timezone is not None:
        literals["timezone"] = exp.Literal.string(timezone)
    window = WindowFunction(kind=kind, this=source, column=column, partition=list(partition), **literals)
    if window.by_calendar or any(length is not None and length.months for length in lengths.values()):
        _check_calendar(window, step, position)
    if slide is not None:
        _check_slide(kind, step, size=size, slide=slide, position=position)
    return window


def window_sql(generator: Generator, node: exp.Expr) -> str:
    """The function as Flink writes it."""
    keys = ", ".join(generator.sql(key) for key in node.args.get("partition") or ())
    source = f"TABLE {generator.sql(node, 'this')}" + (f" PARTITION BY {keys}" if keys else "")
    arguments = [source, f"DESCRIPTOR({generator.sql(node, 'column')})"]
    assert isinstance(node, WindowFunction)
    lengths = [node.length(name) for name in ("slide", "size", "offset")]
    arguments += [length.sql for length in lengths if length is not None]
    if node.timezone is not None:
        arguments.append(f"TIMEZONE => {generator.sql(node, 'timezone')}")
    return f"{node.args['kind']}({', '.join(arguments)})"


def _check_slide(kind: str, name: str, *, size: Length, slide: Length, position: Position | None) -> None:
    if slide > size:
        between = f"Read as windows of {size.sql}, one every {slide.sql}, the rows between two windows are in none."
        swapped = f"windows of {slide.sql}, one every {size.sql}"
        if kind == "CUMULATE":
            swapped = f"windows up to {slide.sql} by {size.sql}"
        raise ProgrammingError(
            f"the {name} of {kind} cannot be longer than its size",
            detail=between if kind == "HOP" else None,
            hint=f"{name.capitalize()} comes before size. For {swapped}, write {size.sql}, {slide.sql}.",
            position=position,
        )
    whole = size.months % slide.months == 0 if slide.months else size.months > 0 or size.us % slide.us == 0
    if kind == "CUMULATE" and not whole:
        raise ProgrammingError(
            "the size of CUMULATE must be a multiple of its step",
            detail=f"Steps of {slide.sql} do not add up to {size.sql}.",
            position=position,
        )


def _check_calendar(window: WindowFunction, step: str, position: Position | None) -> None:
    """Raise where days, months and lengths that are always the same are mixed so that windows do not fit together."""
    kind, size = window.args["kind"], window.length("size")
    slide, offset = window.length("slide"), window.length("offset")
    assert size is not None
    for name, length in (("size", size), (step, slide)):
        if length is not None and length.us % DAY_US:
            raise ProgrammingError(
                f"the {name} of {kind} by the calendar must be whole days, or months",
                detail="Days differ in length where clocks are changed.",
                hint="Leave out the time zone, and give an OFFSET if need be." if window.timezone else None,
                position=position,
            )
    by_day = kind == "CUMULATE" and slide == Length(us=DAY_US)
    if slide is not None and bool(slide.months) != bool(size.months) and not by_day:
        raise ProgrammingError(
            f"the {step} and the size of {kind} must both be counted in days, or both in months",
            detail="Months and years differ in length.",
            hint="CUMULATE with a step of one day may have a size in months." if kind == "CUMULATE" else None,
            position=position,
        )
    if offset is not None and offset.months and not size.months:
        raise ProgrammingError(
            f"the offset of {kind} can only be counted in months if its size is",
            hint="Use weeks, days or a smaller unit.",
            position=position,
        )
