"""What follows from a plan: whether its result only grows, which of its values move one way, what keeping it takes."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from sqlglot import exp

from ..engine.aggregates import keeps_rows
from . import plan as p
from .plan import Motion, Plan
from .plan_keys import key_of

_RISING = frozenset({"count", "count_star", "max"})
_FALLING = frozenset({"min"})


def summary(plan: Plan) -> str:
    """One line: append-only or updating, the key, the watermarked columns, those that move one way, and the state."""
    parts = ["append-only" if p.append_only(plan) else "updating"]
    key = key_of(plan)
    if key is not None:
        parts.append(f"key {', '.join(key)}" if key else "one row")
    times = sorted(p.time_columns(plan))
    if times:
        parts.append(f"watermark on {', '.join(times)}")
    motions = monotonic(plan)
    for motion, verb in (("rises", "rise"), ("falls", "fall")):
        names = [name for name, moves in motions.items() if moves == motion]
        if names:
            parts.append(f"{', '.join(names)} {motion if len(names) == 1 else verb}")
    return "; ".join([*parts, _state(plan)])


def unbounded(plan: Plan) -> list[str]:
    """A sentence per operator whose state nothing bounds but the number of rows or groups that ever come."""
    notes = []
    for node in p.walk(plan):
        match node:
            case p.Recompute() if any(p.append_only(below) for below in node.inputs):
                notes.append(f"recompute ({node.reason}) keeps every row of its inputs")
            case p.Join(bounds=()) if any(p.append_only(below) for below in p.inputs_of(node)):
                notes.append("join keeps every row of its inputs")
            case p.Join() if node.bounds and node.bounds[0].kept is not None:
                notes.append(f"join keeps every row of its {node.bounds[0].kept} input")
            case p.AsofJoin() if node.rule.needed is None and any(p.append_only(side) for side in p.inputs_of(node)):
                notes.append("asof_join keeps every row of its inputs")
            case p.Over() if p.append_only(node.input):
                notes.append("over keeps every row of its input")
            case p.WindowAggregate() | p.Session() if not p.closes(node):
                notes.append(f'no watermark speaks of "{node.time}", so no window is ever closed')
            case _:
                pass
    return list(dict.fromkeys(notes))


def monotonic(plan: Plan) -> dict[str, Motion]:
    """How each column moves when a row gives way to the next of its key; empty unless rows go in this way only.

    NULL counts as below all values that rise, and above all that fall. Columns that may move both ways are left out.
    From: Flink's RelModifiedMonotonicity, by which its top-N forgets what it does not show.
    """
    match plan:
        case p.ViewScan():
            return dict(plan.motions)
        case p.Aggregate() if p.append_only(plan.input):
            return _grouped(plan, plan.keys)
        case p.WindowAggregate() if not plan.final and p.append_only(plan.input):
            names = [column.name for column in plan.columns]
            bounds = [name for name in ("window_start", "window_end", "window_time") if name in names]
            return _grouped(plan, (*bounds, *plan.keys))
        case p.Map() if plan.where is None:
            below = monotonic(plan.input)
            named = {name: item.name for name, item in plan.items if isinstance(item, exp.Column)}
            return {name: below[item] for name, item in named.items() if item in below}
        case _:
            return {}


def _grouped(plan: p.Aggregate | p.WindowAggregate, keys: tuple[str, ...]) -> dict[str, Motion]:
    motions: dict[str, Motion] = dict.fromkeys(keys, "stays")
    types = {column.name: column.arrow for column in plan.input.columns}
    for call in plan.calls:
        adds_up = call.function == "sum" and pa.types.is_unsigned_integer(types[call.argument or ""])
        if call.function in _RISING or adds_up:
            motions[call.name] = "rises"
        elif call.function in _FALLING:
            motions[call.name] = "falls"
    return motions


def _state(plan: Plan) -> str:
    if unbounded(plan):
        return "unbounded state"
    kept = [_kept(node) for node in p.walk(plan)]
    return "state per key" if "keys" in kept else "bounded state" if "some" in kept else "stateless"


def _kept(node: Plan) -> Literal["nothing", "some", "keys"]:
    """What grows with the different rows or keys there are, and what does not."""
    match node:
        case p.Scan() | p.ViewScan() | p.Map() | p.AssignWindow() | p.Expand() | p.Unnest():
            return "nothing"
        case p.Constant() | p.UnionAll():
            return "nothing"
        case p.Late() | p.WindowAggregate() | p.Session() | p.TemporalFilter():
            return "some"
        case p.Join() if node.bounds:
            return "some"
        case p.Aggregate():
            whole = any(keeps_rows(call, append_only=p.append_only(node.input)) for call in node.calls)
            return "keys" if node.keys or whole else "some"
        case p.TopN():
            return "some" if not node.partition and p.append_only(node.input) else "keys"
        case p.Changelog() | p.Join() | p.AsofJoin() | p.LookupJoin() | p.Recompute() | p.SetOperation() | p.Over():
            return "keys"
