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
    for node in p.nodes(plan):
        match node:
            case p.Recompute() if any(p.append_only(below) for below in node.inputs):
                notes.append(f"recompute ({node.reason}) keeps every row of its inputs")
            case p.Join(bounds=()) if sides := _kept_sides(node):
                notes.append(f"join keeps every row of its {sides}")
            case p.Join() if node.bounds and node.bounds[0].kept is not None:
                notes.append(f"join keeps every row of its {node.bounds[0].kept} input")
            case p.AsofJoin() if node.rule.needed is None and (sides := _kept_sides(node)):
                notes.append(f"asof_join keeps every row of its {sides}")
            case p.Over(ttl_us=None) if p.append_only(_beside(node)):
                notes.append("over keeps every row of its input")
            case p.WindowAggregate() | p.Session() if not p.closes(node):
                notes.append(f'no watermark speaks of "{node.time}", so no window is ever closed')
            case _:
                pass
    return list(dict.fromkeys(notes))


def _beside(plan: p.Over) -> Plan:
    """What has each of the rows beside which the values of OVER, or several, stand."""
    below = plan.input
    while isinstance(below, p.Over | p.Map):
        below = below.input
    return below


def _kept_sides(plan: p.Join | p.AsofJoin) -> str:
    """Which inputs of a join, of which no row ever goes, are kept for ever; empty if none is."""
    sides = zip(("left", "right"), p.inputs_of(plan), plan.ttls_us, strict=True)
    kept = [(side, p.append_only(below)) for side, below, ttl_us in sides if ttl_us is None]
    if not any(grows for _, grows in kept):
        return ""
    return "inputs" if len(kept) == 2 else f"{kept[0][0]} input"


def monotonic(plan: Plan) -> dict[str, Motion]:
    """How each column moves when a row gives way to the next of its key; empty unless rows go in this way only.

    NULL counts as below all values that rise, and above all that fall. Columns that may move both ways are left out.
    From: Flink's RelModifiedMonotonicity, by which its top-N forgets what it does not show.
    """
    match plan:
        case p.ViewScan():
            return dict(plan.motions)
        case p.Aggregate(ttl_us=None) | p.GroupingSets(ttl_us=None) if p.append_only(plan.input):
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


def forgets(plan: p.TopN) -> bool:
    """Whether no row that is behind the limit is ever in front again, so that it need not be kept.

    So it is where rows only come; and where each gives way to one that is not behind it, as its values move one way.
    """
    if p.append_only(plan.input):
        return True
    motions = monotonic(plan.input)
    key = key_of(plan.input)
    if plan.ranking != "row_number" or key is None or any(motions.get(name) != "stays" for name in plan.partition):
        return False
    compared: set[str] = set(plan.partition)
    for order in plan.order:
        motion = motions.get(order.column)
        if motion is None or (motion != "stays" and (order.nulls_first or order.descending != (motion == "rises"))):
            return False
        if motion == "stays":
            compared.add(order.column)
        if set(key) <= compared or order.column in _counts(plan.input):
            return True  # what comes after it never decides
    return True


def _counts(plan: Plan) -> set[str]:
    """Columns of `monotonic` plans that rise whenever anything changes in a row: the number of its rows."""
    match plan:
        case p.Aggregate() | p.GroupingSets() | p.WindowAggregate():
            return {call.name for call in plan.calls if call.function == "count_star" and call.filter is None}
        case p.Map():
            below = _counts(plan.input)
            return {name for name, item in plan.items if isinstance(item, exp.Column) and item.name in below}
        case _:
            return set()


def _grouped(plan: p.Aggregate | p.GroupingSets | p.WindowAggregate, keys: tuple[str, ...]) -> dict[str, Motion]:
    motions: dict[str, Motion] = dict.fromkeys(keys, "stays")
    types = {column.name: column.arrow for column in plan.input.columns}
    for call in plan.calls:
        adds_up = call.function == "sum" and pa.types.is_unsigned_integer(types[call.argument or ""])
        if call.function in _RISING or adds_up:
            motions[call.name] = "rises"
        elif call.function in _FALLING:
            motions[call.name] = "falls"
    return motions


def stateless(plan: Plan) -> bool:
    """Whether `plan` is a stream seen through maps only, which anybody may read it through instead."""
    while isinstance(plan, p.Map) and not isinstance(plan, p.SkippingMap):
        plan = plan.input
    return isinstance(plan, p.Scan)


def keeps_state(plan: Plan) -> bool:
    """Whether something is kept by the plan's operator or those below."""
    return any(_kept(node) != "nothing" for node in p.nodes(plan))


def repeatable(plan: Plan) -> bool:
    """Whether the state and the result follow from the rows read alone: not from when they came, nor in which order."""
    return all(_repeatable(node) for node in p.nodes(plan))


def _repeatable(node: Plan) -> bool:
    match node:
        case p.SkippingMap():  # each tells of its own rows
            return False
        case p.Scan() | p.ViewScan() | p.Map() | p.AssignWindow() | p.Expand() | p.Constant() | p.UnionAll():
            return True
        case p.SetOperation() | p.TopN() | p.Over():
            return node.ttl_us is None
        case p.Join():
            return not node.bounds and node.ttls_us == (None, None)
        case p.Aggregate() | p.GroupingSets() if node.ttl_us is not None:
            return False
        case p.Aggregate() | p.GroupingSets():
            # of keys that are equal one stands for all; sums of floats are exact where rows can leave
            types = {column.name: column.arrow for column in (*node.columns, *node.input.columns)}
            inexact = {"product", "entropy"} | ({"sum", "avg"} if p.append_only(node.input) else set())
            summed = [call.argument for call in node.calls if call.function in inexact]
            return not any(pa.types.is_floating(types[name]) for name in (*node.keys, *summed) if name is not None)
        case _:
            return False


def _state(plan: Plan) -> str:
    if unbounded(plan):
        return "unbounded state"
    kept = [_kept(node) for node in p.nodes(plan)]
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
        case p.Join() if node.bounds or None not in node.ttls_us:
            return "some"
        case p.AsofJoin() if None not in node.ttls_us:
            return "some"
        case p.Aggregate() | p.TopN() | p.SetOperation() | p.Over() if node.ttl_us is not None:
            return "some"
        case p.Aggregate() | p.GroupingSets():
            whole = any(keeps_rows(call, append_only=p.append_only(node.input)) for call in node.calls)
            if isinstance(node, p.GroupingSets) and node.ttl_us is not None:  # the group of no columns stays
                return "keys" if whole and not all(node.sets) else "some"
            return "keys" if node.keys or whole else "some"
        case p.TopN():
            return "some" if not node.partition and forgets(node) else "keys"
        case p.Changelog() | p.Join() | p.AsofJoin() | p.LookupJoin() | p.Recompute() | p.SetOperation() | p.Over():
            return "keys"
