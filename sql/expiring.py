"""Operators with a time to live: which of a plan heed it, which cannot and why, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from . import plan as p
from .plan import Plan
from .plan_properties import forgets
from .time_to_live import HINT, OPTION, Said
from .window_twin import interval

Keeping = p.Aggregate | p.GroupingSets | p.TopN | p.SetOperation | p.Over  # what lives by one time
_SIDES = ("left", "right")
_PARTNERS = (("right", "full"), ("left", "full", "semi", "anti"))  # joins where the rows of the other side need them


def expiring(plan: Plan, ttl_us: int | None, *, grows: bool = False) -> Plan:
    """The same plan, whose operators forget what has been idle for so long, or as a hint says, where they can.

    Groups and first rows go from the result then. Where it only `grows`, and where something else is made of the rows
    of a DISTINCT, these are forgotten in silence, and come again.
    """
    if ttl_us is None and not any(_said(node) for node in p.walk(plan)):
        return plan
    return _expiring(plan, ttl_us, shown=not grows)


def _expiring(plan: Plan, ttl_us: int | None, *, shown: bool) -> Plan:
    below = [_expiring(each, ttl_us, shown=shown and isinstance(plan, p.Map)) for each in p.inputs_of(plan)]
    plan = _with_inputs(plan, below)
    match plan:
        case p.Join() | p.AsofJoin():
            left, right = (
                _meant(said, ttl_us) if _side_unheeded(plan, side) is None else None
                for side, said in enumerate(plan.said)
            )
            return replace(plan, ttls_us=(left, right))
        case p.Aggregate() | p.GroupingSets() | p.TopN() | p.SetOperation() | p.Over():
            ttl_us = _meant(_said_once(plan), ttl_us)
            if ttl_us is None or _unheeded(plan, ttl_us) is not None:
                return plan
            plan = replace(plan, ttl_us=ttl_us)
    match plan:
        case p.Aggregate(calls=()) | p.SetOperation(kind="intersect") if not shown and plan.ttl_us is not None:
            return replace(plan, silent=True)
        case _:
            return plan


def _meant(said: Said | None, ttl_us: int | None) -> int | None:
    """How long something lives: as the hint says, or else the query."""
    return ttl_us if said is None else said.ttl_us


def _with_inputs(plan: Plan, inputs: list[Plan]) -> Plan:
    match plan:
        case p.Scan() | p.ViewScan() | p.Constant() | p.Late() | p.Changelog():  # which are over nothing that expires
            return plan
        case p.Recompute() | p.UnionAll() | p.SetOperation():
            return replace(plan, inputs=tuple(inputs))
        case p.Join() | p.AsofJoin() | p.LookupJoin():
            return replace(plan, left=inputs[0], right=inputs[1])
        case _:
            return replace(plan, input=inputs[0])


def _said(plan: Plan) -> tuple[Said, ...]:
    """What hints say of an operator."""
    match plan:
        case p.Join() | p.AsofJoin():
            return tuple(said for said in plan.said if said is not None)
        case p.Aggregate() | p.GroupingSets() | p.TopN() | p.Over():
            return () if plan.said is None else (plan.said,)
        case _:
            return ()


def _said_once(plan: Keeping) -> Said | None:
    """What a hint says of an operator that lives by one time; None if none does."""
    return next(iter(_said(plan)), None)


def _unheeded(plan: Keeping, ttl_us: int) -> str | None:
    """Why an operator cannot forget what has been idle for so long; None if it can."""
    match plan:
        case p.Aggregate() | p.GroupingSets() if not p.append_only(plan.input):
            return "rows that it has counted may be retracted"
        case p.Aggregate(keys=()) | p.GroupingSets(by=()):
            return "it has one row that is always there"
        case p.TopN() if not plan.partition:
            return "it has one partition"
        case p.TopN() if not (forgets(plan) and p.append_only(plan.input)):
            return "rows that it has seen may be retracted"
        case p.Over() if not _lasting(plan, ttl_us):
            return "rows that it has seen may be retracted"
        case p.SetOperation() if not all(p.append_only(below) for below in plan.inputs):
            return "rows that it has counted may be retracted"
    return None


def _lasting(plan: p.Over, ttl_us: int) -> bool:
    """Whether no row is retracted of a partition that has been idle for so long.

    So it is if none ever is; and if all that are belong to partitions below that are parts of those here and are
    forgotten no later: to have a row retracted such a part must have got one itself, which has come here, too.
    """
    below, names = plan.input, set(plan.partition)
    while isinstance(below, p.Map) and not isinstance(below, p.SkippingMap) and below.where is None:
        columns = {name: item.name for name, item in below.items if isinstance(item, exp.Column)}
        if not names <= columns.keys():
            break
        below, names = below.input, {columns[name] for name in names}
    if isinstance(below, p.Over):
        return below.ttl_us is not None and below.ttl_us <= ttl_us and names <= set(below.partition)
    return p.append_only(plan.input)


def _side_unheeded(plan: p.Join | p.AsofJoin, side: int) -> str | None:
    """Why the rows of a side of a join cannot be forgotten; None if they can."""
    own, other = (plan.left, plan.right) if side == 0 else (plan.right, plan.left)
    if plan.bounds if isinstance(plan, p.Join) else plan.rule.needed is not None:
        return "the watermark says how long its rows are needed"
    if not p.append_only(own):
        return "its rows may be retracted"
    if isinstance(plan, p.AsofJoin):
        return None if side == 0 else _versions_unheeded(plan)
    if plan.kind in _PARTNERS[side] and not p.append_only(other):
        return "rows of the other input may be retracted, and have all their partners then"
    return None


def _versions_unheeded(plan: p.AsofJoin) -> str | None:
    """Why versions cannot be forgotten, of which none is retracted; None if they can."""
    if plan.rule.backward:
        return "any of them may be the first after a row that comes"
    return None if p.append_only(plan.left) else "rows of the other input may be retracted, each with its version"


def expires(plan: Plan) -> bool:
    """Whether an operator forgets what is idle, so that the result is no longer that of the twin."""
    return any(_lives(node) for node in p.walk(plan))


def _lives(node: Plan) -> bool:
    """Whether an operator forgets what is idle."""
    match node:
        case p.Join() | p.AsofJoin():
            return node.ttls_us != (None, None)
        case p.Aggregate() | p.GroupingSets() | p.TopN() | p.SetOperation() | p.Over():
            return node.ttl_us is not None
        case _:
            return False


def told(plan: Plan, ttl_us: int | None, hints: Sequence[Said]) -> list[str]:
    """What to say to the person who asked for it, of the query or by `hints` in it."""
    if ttl_us is None and not hints:
        return []
    notes = [note for node in p.nodes(plan) for note in _notes(node, ttl_us)]
    known = {said for node in p.walk(plan) for said in _said(node)}
    notes += [
        f'{HINT} of "{said.name}" says nothing: no join, groups, first rows or OVER of its SELECT go by it'
        for said in hints
        if said not in known
    ]
    if not notes and not hints:
        notes = [f"{OPTION} says nothing here: no operator keeps state that it is about"]
    return list(dict.fromkeys(notes))


def _notes(node: Plan, ttl_us: int | None) -> list[str]:
    """What to say of one operator."""
    match node:
        case p.Join() | p.AsofJoin():
            return _join_notes(node, ttl_us)
        case p.Aggregate() | p.GroupingSets() | p.TopN() | p.SetOperation() | p.Over():
            name, said = _named(node), _said_once(node)
            if node.ttl_us is not None:
                return [f"{name} forgets what was idle for {_length(node.ttl_us)}{_TWIN}"]
            if (meant := _meant(said, ttl_us)) is not None:
                return [f"{_asked(said, ttl_us)} says nothing of {name}: {_unheeded(node, meant)}"]
        case p.Recompute() if ttl_us is not None:
            return [f"{OPTION} says nothing of recompute: it needs all rows"]
        case _:
            pass
    return []


_TWIN = ": from then on the result is not the twin's"


def _join_notes(plan: p.Join | p.AsofJoin, ttl_us: int | None) -> list[str]:
    name = "join" if isinstance(plan, p.Join) else "asof_join"
    left, right = plan.ttls_us
    if left == right and left is not None:
        return [f"{name} forgets what was idle for {_length(left)}{_TWIN}"]
    reasons = [_side_unheeded(plan, side) for side in range(2)]
    if plan.said == (None, None) and reasons[0] == reasons[1] is not None:
        return [] if ttl_us is None else [f"{OPTION} says nothing of {name}: {reasons[0]}"]
    lives = zip(_SIDES, plan.ttls_us, strict=True)
    forgets = ", ".join(f"rows of its {side} input after {_length(us)}" for side, us in lives if us is not None)
    notes = [f"{name} forgets {forgets}{_TWIN}"] if forgets else []
    for side, said, reason in zip(_SIDES, plan.said, reasons, strict=True):
        if reason is not None and (asked := _asked(said, ttl_us)) is not None:
            notes.append(f"{asked} says nothing of the {side} input of {name}: {reason}")
    return notes


def _asked(said: Said | None, ttl_us: int | None) -> str | None:
    """Who asks an operator to forget: a hint or the query; None if nobody does."""
    if said is not None:
        return None if said.ttl_us is None else f'{HINT} of "{said.name}"'
    return None if ttl_us is None else OPTION


def _named(plan: Keeping) -> str:
    match plan:
        case p.Over():
            return f"over in each {', '.join(plan.partition)}" if plan.partition else "over"
        case p.TopN():
            return "top_n"
        case p.SetOperation():
            return plan.kind
        case p.GroupingSets():
            return f"aggregate by sets of {', '.join(plan.by)}" if plan.by else "aggregate"
        case p.Aggregate():
            return f"aggregate by {', '.join(plan.keys)}" if plan.keys else "aggregate"


def _length(ttl_us: int) -> str:
    return interval(ttl_us)[len("INTERVAL '") : -1]
