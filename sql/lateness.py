"""Rows that come after their window has ended: told apart above a scan, and corrections of what was told."""

from __future__ import annotations

from dataclasses import replace

from ..engine.windows import Rule
from . import plan as p
from .plan import Plan


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
