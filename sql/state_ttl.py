"""State with a time to live: what state_ttl says, which operators of a plan heed it, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..storage.errors import Position, ProgrammingError
from . import plan as p
from .declaration import milliseconds_or_none
from .plan import Plan
from .plan_properties import forgets
from .statements import CreateDerived, CreateView, Option
from .window_twin import interval

OPTION = "state_ttl"

Keeping = p.Aggregate | p.Join | p.TopN


def read_ttl(value: object, position: Position | None = None) -> int | None:
    """'1 hour' in microseconds; None for 'none' and 0. Raises: ProgrammingError for what is no time."""
    if str(value).strip() == "0":
        return None
    try:
        milliseconds = milliseconds_or_none(value)
    except ValueError:
        raise ProgrammingError(
            f"cannot set {OPTION} to {value!r}", hint="Give a time such as '1 hour', or 'none'.", position=position
        ) from None
    return None if milliseconds is None else milliseconds * 1000


def ttl_of(options: Mapping[str, Option], position: Position | None) -> int | None:
    """What WITH says of it."""
    return read_ttl(options[OPTION], position) if OPTION in options else None


def without_ttl(options: Mapping[str, Option]) -> dict[str, Option]:
    """The options that are of the topic."""
    return {name: value for name, value in options.items() if name != OPTION}


def with_default(statement: CreateView | CreateDerived, ttl: str | None) -> CreateView | CreateDerived:
    """The statement as if its WITH had said what SET state_ttl did, unless it says something itself."""
    if ttl is None or OPTION in statement.options or (isinstance(statement, CreateView) and not statement.materialized):
        return statement
    said = f"{OPTION} = '{ttl}'"
    inserted = f"{said}, " if statement.options else f"WITH ({said}) "
    text = statement.text[: statement.options_at] + inserted + statement.text[statement.options_at :]
    return replace(statement, options={**statement.options, OPTION: ttl}, text=text)


def expiring(plan: Plan, ttl_us: int | None, *, grows: bool = False) -> Plan:
    """The same plan, whose operators forget what has been idle for so long, where they can.

    Groups and first rows go from the result then. Where it only `grows`, and where something else is made of the rows
    of a DISTINCT, these are forgotten in silence, and come again.
    """
    return plan if ttl_us is None else _expiring(plan, ttl_us, shown=not grows)


def _expiring(plan: Plan, ttl_us: int, *, shown: bool) -> Plan:
    below = [_expiring(each, ttl_us, shown=shown and isinstance(plan, p.Map)) for each in p.inputs_of(plan)]
    plan = _with_inputs(plan, below)
    if not isinstance(plan, Keeping) or _unheeded(plan) is not None:
        return plan
    if isinstance(plan, p.Aggregate):
        return replace(plan, ttl_us=ttl_us, silent=not plan.calls and not shown)
    return replace(plan, ttl_us=ttl_us)


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


def _unheeded(plan: Keeping) -> str | None:
    """Why an operator cannot forget what is idle; None if it can."""
    match plan:
        case p.Aggregate() if not p.append_only(plan.input):
            return "rows that it has counted may be retracted"
        case p.Aggregate() if not plan.keys:
            return "it has one row that is always there"
        case p.Join() if plan.bounds:
            return "the watermark says how long its rows are needed"
        case p.Join() if plan.kind != "inner":
            return "rows without a partner depend on all that ever came"
        case p.Join() if not all(p.append_only(side) for side in p.inputs_of(plan)):
            return "its rows may be retracted"
        case p.TopN() if not plan.partition:
            return "it has one partition"
        case p.TopN() if not (forgets(plan) and p.append_only(plan.input)):
            return "rows that it has seen may be retracted"
    return None


def expires(plan: Plan) -> bool:
    """Whether an operator forgets what is idle, so that the result is no longer that of the twin."""
    return any(isinstance(node, Keeping) and node.ttl_us is not None for node in p.walk(plan))


def told(plan: Plan, ttl_us: int | None) -> list[str]:
    """What to say to the person who asked for it."""
    if ttl_us is None:
        return []
    length = interval(ttl_us)[len("INTERVAL '") : -1]
    notes = []
    for node in p.nodes(plan):
        if isinstance(node, Keeping):
            name = _named(node)
            if node.ttl_us is not None:
                notes.append(f"{name} forgets what was idle for {length}: from then on the result is not the twin's")
            else:
                notes.append(f"{OPTION} says nothing of {name}: {_unheeded(node)}")
        elif isinstance(node, p.Recompute | p.Over | p.SetOperation | p.AsofJoin | p.GroupingSets):
            notes.append(f"{OPTION} says nothing of {type(node).__name__.lower()}: it needs all rows")
    return list(dict.fromkeys(notes)) or [f"{OPTION} says nothing here: no operator keeps state that it is about"]


def _named(plan: Keeping) -> str:
    match plan:
        case p.Aggregate():
            return f"aggregate by {', '.join(plan.keys)}" if plan.keys else "aggregate"
        case p.TopN():
            return "top_n"
        case p.Join():
            return "join"
