"""EXPLAIN WHY NO OUTPUT: the operators of a view that have taken rows in and given none out, and what they wait for."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..engine.metrics import NodeState
from ..engine.operator import NO_WATERMARK
from . import plan as p
from .database import Database
from .explain import operator_names
from .plan import Plan
from .relations import Relation

_INNER = ("inner", "semi", "cross")


def why_no_output(database: Database, view: Relation, plan: Plan, running: str) -> list[str]:
    """How many rows the view has; if none, a line per operator that is a reason for it, inputs before their readers.

    `running` is what the engine calls it; a derived stream has the rows that its query wrote.
    """
    error = database.engine.errors().get(running)
    if error is not None:
        return [
            f'"{view.name}" has stopped: {error}',
            *([detail] if (detail := getattr(error, "detail", None)) else []),
        ]
    nodes = p.nodes(plan)
    states = dict(zip(nodes, database.engine.state(running).nodes, strict=True))
    rows = _count(database, view, states[nodes[-1]].figures.rows_out)
    if rows:
        return [f'"{view.name}" has output: {_rows(rows)}']
    names = dict(zip(nodes, operator_names(plan), strict=True))
    reasons = [
        f"{names[node]}: {reason}"
        for node in nodes
        if (reason := _reason(node, states[node], [states[part] for part in p.inputs_of(node)])) is not None
    ]
    late = sum(name == running for name in database.reports.late.rows().column("view").to_pylist())
    if late:
        reasons.append(f"{_rows(late)} came too late; system.late_rows has them")
    failed = database.reports.failed.count(view.name)
    if failed:
        reasons.append(f"it failed on {_rows(failed)}, which it does without; system.failed_rows has them")
    return [f'"{view.name}" has no rows', *(reasons or ["all that came out was retracted again"])]


def _count(database: Database, view: Relation, written: int) -> int:
    """How many rows a view has, or a query has written: in this process, if others write to the same stream."""
    if view.kept:
        return int(database.engine.read([view.name], []).views[view.name].num_rows)
    if view.kind == "QUERY":
        return written
    return sum(partition.count() for partition in database.log.topic(view.name).partitions)


def _reason(node: Plan, state: NodeState, inputs: list[NodeState]) -> str | None:
    """Why the operator has given no row out, if that is not because of what is below it."""
    done = state.figures
    if done.rows_out:
        return None
    if isinstance(node, p.Scan | p.ViewScan):
        return "no row has come yet"
    if isinstance(node, p.Join) and inputs and sum(one.figures.rows_out > 0 for one in inputs) == 1:
        side = "left" if not inputs[0].figures.rows_out else "right"
        return f"the {side} side has no rows" if node.kind in _INNER else None
    if not done.rows_in:
        return None
    came = _rows(done.rows_in)
    match node:
        case p.Map():
            return f"its filter lets none of {came} pass"
        case p.TemporalFilter():
            return f"the {'watermark' if node.event_time else 'clock'} is not within the bounds of any of {came}"
        case p.Late():
            return f"all of {came} came too late"
        case p.WindowAggregate(final=True) | p.Session(final=True):
            kind = "session" if isinstance(node, p.Session) else "window"
            return f"{came} came, and no {kind} has closed; {_mark(state)}"
        case p.Join():
            waits = f", or a row without a partner still waits; {_mark(state)}" if node.final else ""
            return f"no two of {came} make a pair that the condition holds for{waits}"
        case _:
            return f"{came} came, and none went on"


def _mark(state: NodeState) -> str:
    if state.watermark == NO_WATERMARK:
        return "the watermark has not begun: it needs a row in each partition that is not idle"
    return f"the watermark is at {datetime(1970, 1, 1) + timedelta(microseconds=state.watermark)}"


def _rows(count: int) -> str:
    return f"{count:,} row" + ("s" if count != 1 else "")
