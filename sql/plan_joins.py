"""The plan's nodes of two inputs whose rows find each other: joins of all kinds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot import exp

from ..engine.operators.asof_join import AsofRule
from ..engine.time_bound import Kind, TimeBound
from .relations import Column
from .time_to_live import NOTHING_SAID, Sides

if TYPE_CHECKING:
    from .plan import Plan


@dataclass(frozen=True)
class Join:
    """Pairs of rows of both inputs whose `keys` are equal (left, right, NULL equals NULL) and which `residual` passes.

    Outer kinds also have rows without a partner; semi and anti only rows of the left. No column name is on both sides.
    `bounds` say how far apart in time the rows of a pair are, the most useful first; final: rows without a partner come
    once, when none can come any more. `place` is the number of the join in the query's text. Without keys `order` has
    pairs of columns of either side, of which `residual` lets the first not be above the second. `ttls_us` say of each
    side how long after it came a row is forgotten, as a hint `said` or the query does.
    """

    left: Plan
    right: Plan
    kind: Kind
    keys: tuple[tuple[str, str, bool], ...]
    residual: exp.Expr | None
    columns: tuple[Column, ...]
    bounds: tuple[TimeBound, ...] = ()
    final: bool = False
    place: int | None = field(default=None, compare=False)
    order: tuple[tuple[str, str], ...] = ()
    ttls_us: tuple[int | None, int | None] = (None, None)
    said: Sides = field(default=NOTHING_SAID, compare=False, repr=False)


@dataclass(frozen=True)
class AsofJoin:
    """Each row of the left beside the version of its `keys` that `rule` chooses; outer: or beside NULLs.

    final: once, when its version is settled. `ties` are the columns that choose among versions of one time, and
    `versions` what tells the versions apart, both as the text has them at the join number `place`. `ttls_us` say how
    long after it came a row of the left is forgotten, and a version after a later one of its key came.
    """

    left: Plan
    right: Plan
    outer: bool
    keys: tuple[tuple[str, str, bool], ...]
    rule: AsofRule
    columns: tuple[Column, ...]
    final: bool
    ties: tuple[str, ...]
    versions: tuple[str, ...]
    place: int = field(compare=False)
    ttls_us: tuple[int | None, int | None] = (None, None)
    said: Sides = field(default=NOTHING_SAID, compare=False, repr=False)


@dataclass(frozen=True)
class LookupJoin:
    """Each row of the left, as it comes, beside the rows of the right that have its `keys` then; outer: or NULLs."""

    left: Plan
    right: Plan
    outer: bool
    keys: tuple[tuple[str, str, bool], ...]
    columns: tuple[Column, ...]
