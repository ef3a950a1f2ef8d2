"""A plan over other inputs: what it reads replaced, everything else as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from . import plan as p
from .plan import Plan


def with_inputs(plan: Plan, inputs: Sequence[Plan]) -> Plan:
    """`plan` over other inputs, in the order of `inputs_of`."""
    below = iter(inputs)
    changed: dict[str, Any] = {}
    for part in fields(plan):
        value = getattr(plan, part.name)
        if isinstance(value, Plan):
            changed[part.name] = next(below)
        elif isinstance(value, tuple) and value and all(isinstance(one, Plan) for one in value):
            changed[part.name] = tuple(next(below) for _ in value)
    return replace(plan, **changed) if changed else plan


def over_logs(plan: Plan, views: Mapping[str, Plan]) -> Plan:
    """The same, with the plan of each materialized view and table (by name, lower case) in the place of its changes."""
    if isinstance(plan, p.ViewScan):
        return over_logs(views[plan.view.lower()], views)
    return with_inputs(plan, [over_logs(below, views) for below in p.inputs_of(plan)])


def streams_of(name: str, plans: Mapping[str, Plan]) -> frozenset[str]:
    """All streams that the view `name` depends on, through other views too; `plans` by name in lower case."""
    found: set[str] = set()
    plan = plans.get(name.lower())
    for node in p.walk(plan) if plan is not None else ():
        if isinstance(node, p.Scan):
            found.add(node.stream)
        elif isinstance(node, p.ViewScan):
            found |= streams_of(node.view, plans)
    return frozenset(found)
