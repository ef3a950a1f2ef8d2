"""In which order inner joins run: none of every pair where an equality can lead, and those by a key before others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from .join_scope import JoinNames
from .plan import Plan, closing, time_columns
from .plan_keys import key_of
from .trees import every


@dataclass(frozen=True)
class _Link:
    """An equality by which the source `place` is found from the sources `known`; `column` of it, if it is one."""

    known: frozenset[int]
    place: int
    column: str | None


def join_order(names: JoinNames, plans: Sequence[Plan], conditions: Sequence[exp.Expr]) -> list[int]:
    """The places of the sources in the order in which to join them: as written, where nothing speaks against it.

    Each next source is one that an equality with those before finds; of these one that has one row at most for each
    of theirs, as its key says, since that does not multiply; then the first one. State is kept per join, and so what
    does not multiply comes first.
    """
    links = [link for condition in conditions for link in _links(condition, names)]
    order = [0]
    while len(order) < len(plans):
        rest = [place for place in range(len(plans)) if place not in order]
        order.append(min(rest, key=lambda place: (_rank(place, frozenset(order), links, names, plans[place]), place)))
    return order


def relates_times(names: JoinNames, plans: Sequence[Plan], conditions: Sequence[exp.Expr]) -> bool:
    """Whether a condition compares times of two sources that say when their rows are complete."""
    settled = {
        names.sources[place].inner(name): place
        for place, plan in enumerate(plans)
        for name in (*closing(plan), *time_columns(plan))
    }
    named = [{settled.get(column.name) for column in every(condition, exp.Column)} for condition in conditions]
    return any(len(places - {None}) > 1 for places in named)


def _links(condition: exp.Expr, names: JoinNames) -> list[_Link]:
    if not isinstance(condition, exp.EQ | exp.NullSafeEQ):
        return []
    found = []
    for ours, theirs in ((condition.this, condition.expression), (condition.expression, condition.this)):
        known, owners = names.owners(ours), names.owners(theirs)
        if known and len(owners) == 1 and not known & owners:
            found.append(_Link(known, min(owners), theirs.name if isinstance(theirs, exp.Column) else None))
    return found


def _rank(place: int, before: frozenset[int], links: Sequence[_Link], names: JoinNames, plan: Plan) -> int:
    """0: at most one row for each of those before; 1: those that an equality finds; 2: every row."""
    usable = [link for link in links if link.place == place and link.known <= before]
    if not usable:
        return 2
    key = key_of(plan)
    found = {link.column for link in usable}
    return 0 if key is not None and {names.sources[place].inner(name) for name in key} <= found else 1
