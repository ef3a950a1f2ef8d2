"""Rows that come after their window has ended: told apart above a scan, and corrections of what was told."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from ..engine.windows import Rule
from ..storage.errors import NotSupportedError
from . import plan as p
from .dialect import WindowFunction, position_of
from .plan import Plan
from .plan_inputs import with_inputs
from .trees import every


def with_late(plan: Plan, lateness: int, window: Rule | None = None) -> Plan:
    """`plan` with late rows told apart right above its scan, if only maps, unnesting and windows stand between.

    A window above the scan says itself which rows are late for it; without one, and without `window`, none is.
    """
    match plan:
        case p.Scan() if window is not None and plan.event_time is not None:
            return p.Late(plan, window, plan.event_time, lateness)
        case p.Map() | p.Unnest():
            return replace(plan, input=with_late(plan.input, lateness, window))
        case p.LookupJoin():
            return replace(plan, left=with_late(plan.left, lateness, window))
        case p.AssignWindow() if plan.time in p.time_columns(plan.input):
            return replace(plan, input=with_late(plan.input, lateness, plan.window))
        case _:
            return plan


def when_closed(plan: p.Session | p.WindowAggregate, end: str) -> Plan:
    """The rows of `plan`, which may still be corrected, from when the watermark has reached the end of their windows.

    `end` is a column that says the end, or a time before it.
    """
    starts = ((end, p.closing(plan)[end] - plan.lateness),)
    return p.TemporalFilter(plan, starts, (), plan.columns, event_time=True)


def rows_held_until_closed(plan: Plan, lateness: int) -> Plan:
    """`plan`, in which rows that nothing groups by their windows come once these have ended, as groups of them do.

    Rows that come later, and for which the windows stay open for `lateness` (us), come at once.
    """
    match plan:
        case p.TemporalFilter(event_time=True) | p.WindowAggregate() | p.Session():
            return plan
        case p.AssignWindow() if plan.time in p.time_columns(plan.input):
            late = with_late(plan, lateness)
            return p.TemporalFilter(late, (("window_end", 0),), (), plan.columns, event_time=True)
        case _:
            return with_inputs(plan, [rows_held_until_closed(below, lateness) for below in p.inputs_of(plan)])


def refuse_windows(query: exp.Query, reason: str) -> None:
    """Raises: NotSupportedError for windows in what is computed anew for a result that has closed ones only."""
    for window in every(query, WindowFunction):
        raise NotSupportedError(
            "cannot EMIT FINAL of windows that are computed anew",
            detail=f"They run as recompute ({reason}), over the rows of open windows too.",
            hint="Leave EMIT FINAL out, or compute that over a view whose windows are final.",
            position=position_of(window),
        )


def held_until_closed(plan: Plan, end: str, lateness: int) -> Plan:
    """`plan`, whose rows are in windows as `end` says; if they come as soon as they are there, from their end on.

    Rows that come later, and for which the windows stay open for `lateness` (us), come at once.
    """
    below = plan
    while isinstance(below, p.Map):
        below = below.input
    if not isinstance(below, p.AssignWindow):
        return plan
    return p.TemporalFilter(plan, ((end, p.closing(plan)[end] - lateness),), (), plan.columns, event_time=True)
