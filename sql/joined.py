"""The sources of FROM with joins: each with how it is joined to those before it, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sqlglot import exp

from ..engine.time_bound import Kind
from ..storage.errors import Position
from .blocks import Unplannable
from .join_scope import JoinNames
from .places import LOOKUP, PLACE, TEMPORAL
from .plan import Plan
from .ties import has_own_aggregate
from .time_to_live import Said, hint_of_source
from .unnesting import Elements

_KINDS: dict[tuple[str, str], Kind] = {  # by side and kind
    ("", ""): "inner",
    ("", "INNER"): "inner",
    ("", "CROSS"): "inner",
    ("LEFT", ""): "left",
    ("LEFT", "OUTER"): "left",
    ("RIGHT", ""): "right",
    ("RIGHT", "OUTER"): "right",
    ("FULL", ""): "full",
    ("FULL", "OUTER"): "full",
    ("", "OUTER"): "full",
    ("", "SEMI"): "semi",
    ("LEFT", "SEMI"): "semi",
    ("", "ANTI"): "anti",
    ("LEFT", "ANTI"): "anti",
}
_MAKING = ("group", "having", "qualify", "distinct", "limit", "offset")  # clauses of which an operator is made


@dataclass
class Joined:
    """One source and how it is joined to those before it."""

    plan: Plan | None
    kind: Kind = "inner"
    place: int | None = None  # of the join in the query's text
    first: bool = False  # whether that joins two sources, and says its own condition
    asof: bool = False
    outer: bool = False  # of an ASOF join, whose kind here is left: what it keeps out is left out above
    temporal: bool = False
    lookup: Position | None = None  # of the relation, where it is looked up in as it is
    elements: Elements | None = None  # where it is UNNEST, and has no plan
    conditions: list[exp.Expr] = field(default_factory=list)  # of the join
    below: list[exp.Expr] = field(default_factory=list)  # filters on the source alone
    above: list[exp.Expr] = field(default_factory=list)  # filters on what the join gives
    said: Said | None = None  # of how long its rows are kept


def joined_source(below: Plan, join: exp.Join, *, first: bool) -> Joined:
    """A source with rows of its own, as `join` has it."""
    place = join.meta.get(PLACE)
    if join.method.upper() == "ASOF":
        side = (join.side.upper(), join.kind.upper())
        if _KINDS.get(side) not in ("inner", "left") or not join.args.get("on") or place is None:
            raise Unplannable(f"ASOF {' '.join(side)}".strip() + " join")
        outer = _KINDS[side] == "left"
        return Joined(below, "left", place, first, asof=True, outer=outer, temporal=TEMPORAL in join.meta)
    if LOOKUP in join.meta:
        return Joined(below, "left", outer=bool(join.side), lookup=join.meta[LOOKUP])
    return Joined(below, kind_of(join), place, first and not join.method)


def unnested_source(elements: Elements, kind: Kind, join: exp.Join, names: JoinNames) -> Joined:
    """UNNEST of what the sources before it have."""
    on = join.args.get("on")
    always = on is None or (isinstance(on, exp.Boolean) and on.this)
    if not (kind == "inner" or (kind == "left" and always)) or join.args.get("using") or join.method:
        raise Unplannable(f"UNNEST in a {kind} join")
    resolved = tuple(names.resolve(value) for value in elements.lists)
    return Joined(None, kind, elements=replace(elements, lists=resolved))


def hint_of_rows(item: exp.Expr) -> Said | None:
    """What the hint in a subquery says of its one source, if all that is made of its rows is the join with them."""
    query = item.this if isinstance(item, exp.Subquery) else None
    if not isinstance(query, exp.Select) or any(query.args.get(clause) for clause in _MAKING):
        return None
    return None if any(has_own_aggregate(value) for value in query.expressions) else hint_of_source(query)


def kind_of(join: exp.Join) -> Kind:
    """Which rows of either side a join has. Raises: Unplannable for those that no operator does."""
    if join.method.upper() not in ("", "NATURAL"):
        raise Unplannable(f"{join.method.upper()} join")
    kind = _KINDS.get((join.side.upper(), join.kind.upper()))
    if kind is None:
        raise Unplannable(f"{join.side} {join.kind} join".strip())
    return kind
