"""What a window asks of the rows below it, checked before anything runs."""

from __future__ import annotations

from sqlglot import exp

from ..storage.errors import ProgrammingError
from .dialect import WindowFunction, position_of
from .relations import Column, Relations
from .trees import copied, every
from .twin import bind, twin
from .types import Binder

WINDOW_COLUMNS = ("window_start", "window_end", "window_time")


def check_windows(query: exp.Query, relations: Relations, binder: Binder) -> None:
    """Raise, with its place, for a window over a column that is no time, or over rows that have window columns.

    `query` has its views expanded. A window over the columns of a window must rename them first: which of two
    window_start is meant would otherwise be a matter of luck.
    """
    for window in every(query, WindowFunction):
        columns = _columns_below(window, relations, binder)
        time = window.args["column"]
        for wanted in (*(window.args.get("partition") or ()), time):
            found = next((column for column in columns if column.name.lower() == wanted.name.lower()), None)
            if found is None:
                names = ", ".join(column.name for column in columns)
                raise ProgrammingError(
                    f'the rows below the window have no column "{wanted.name}"',
                    hint=f"They have {names}.",
                    position=position_of(wanted),
                    sqlstate="42703",
                )
        assert found is not None
        if found.type not in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"):
            raise ProgrammingError(
                f'cannot make windows over "{found.name}" of type {found.type}',
                detail="A window is a stretch of time.",
                hint=f"Give it a TIMESTAMP or TIMESTAMPTZ column, such as {found.name}::TIMESTAMP in a subquery.",
                position=position_of(time),
                sqlstate="42804",
            )
        clash = next((column.name for column in columns if column.name.lower() in WINDOW_COLUMNS), None)
        if clash is not None:
            raise ProgrammingError(
                f'the rows below the window already have a column "{clash}"',
                detail="The window would add another of the same name.",
                hint=f"Rename it below: TABLE (SELECT {clash} AS inner_{clash.removeprefix('window_')}, ... FROM ...).",
                position=position_of(time),
                sqlstate="42701",
            )


def _columns_below(window: WindowFunction, relations: Relations, binder: Binder) -> tuple[Column, ...]:
    select = exp.select(exp.Star()).from_(copied(window.this))
    node: exp.Expr | None = window
    while node is not None:
        clause = node.args.get("with_")
        if clause is not None and select.args.get("with_") is None:
            select.set("with_", copied(clause))
        node = node.parent
    return bind(twin(select), relations, binder, window)
