"""What a join condition says of times: how far apart those of its two rows may be, where watermarks speak of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from ..engine.time_bound import TimeBound
from ..engine.windows import Moments
from ..storage.errors import Error
from . import plan as p
from .intervals import constant_us
from .lateness import held_until_closed, with_late
from .plan import Plan

_MIRRORED: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.EQ: exp.EQ,
}


def bounded(
    conditions: Iterable[exp.Expr], left: Plan, right: Plan, *, final: bool, lateness: int
) -> tuple[Plan, Plan, tuple[TimeBound, ...]]:
    """Both inputs of a join and the bounds that its conditions put on their times, the most useful first.

    Where there are any, late rows are told apart below; with `final` windows are held back until they close.
    """
    if any(isinstance(node, p.Scan) and node.place is None for side in (left, right) for node in p.walk(side)):
        return left, right, ()
    timed = with_late(left, lateness, Moments()), with_late(right, lateness, Moments())
    settled_left, settled_right = (settled_columns(side) for side in timed)
    bounds = time_bounds(conditions, settled_left, settled_right)
    if not bounds:
        return left, right, ()
    if final:
        ends = bounds[0].left, bounds[0].right
        timed = held_until_closed(timed[0], ends[0], lateness), held_until_closed(timed[1], ends[1], lateness)
    return *timed, bounds


def time_bounds(
    conditions: Iterable[exp.Expr], left: Mapping[str, int], right: Mapping[str, int]
) -> tuple[TimeBound, ...]:
    """A bound per time of `left` and one of `right` that the conditions keep apart; those with two sides come first.

    Any spelling of comparisons will do: BETWEEN, one side's time plus or minus intervals, or a difference of the two.
    `left` and `right` say how long after its time a row is settled.
    """
    lows: dict[tuple[str, str], int] = {}
    highs: dict[tuple[str, str], int] = {}
    for condition in conditions:
        for said in _limits(condition, left, right):
            if said is None:
                continue
            pair, operator, limit = said
            if operator in (exp.LTE, exp.LT, exp.EQ):
                high = limit - (operator is exp.LT)
                highs[pair] = min(high, highs.get(pair, high))
            if operator in (exp.GTE, exp.GT, exp.EQ):
                low = limit + (operator is exp.GT)
                lows[pair] = max(low, lows.get(pair, low))
    bounds = [
        TimeBound(*pair, lows.get(pair), highs.get(pair), left[pair[0]], right[pair[1]])
        for pair in dict.fromkeys([*lows, *highs])
    ]
    return tuple(sorted(bounds, key=_width))


def says_no_more(condition: exp.Expr, bound: TimeBound) -> bool:
    """Whether a condition that implies `bound` is one on its two times and nothing else."""
    parts = list(condition.flatten()) if isinstance(condition, exp.And) else [condition]
    said = [limit for part in parts for limit in _limits(part, {bound.left: 0}, {bound.right: 0}) or (None,)]
    return all(limit is not None for limit in said)


def _limits(
    condition: exp.Expr, left: Mapping[str, int], right: Mapping[str, int]
) -> list[tuple[tuple[str, str], type[exp.Expr], int] | None]:
    """Each comparison in a condition as (times, operator, limit): the right time less the left one against the limit.

    None for one of anything else.
    """
    found: list[tuple[tuple[str, str], type[exp.Expr], int] | None] = []
    for one, operator, other in _comparisons(condition):
        first, second = _linear(one, {**left, **right}), _linear(other, {**left, **right})
        found.append(None)
        if first is None or second is None:
            continue
        times: dict[str, int] = dict(first.times)
        for name, sign in second.times.items():
            times[name] = times.get(name, 0) - sign
        ours = [name for name, sign in times.items() if sign and name in left]
        theirs = [name for name, sign in times.items() if sign and name in right]
        if len(ours) != 1 or len(theirs) != 1 or {times[ours[0]], times[theirs[0]]} != {-1, 1}:
            continue
        limit = second.constant_us - first.constant_us
        if times[theirs[0]] < 0:
            operator, limit = _MIRRORED[operator], -limit
        found[-1] = (ours[0], theirs[0]), operator, limit
    return found


def _width(bound: TimeBound) -> tuple[bool, int]:
    one_sided = bound.low is None or bound.high is None
    return one_sided, 0 if bound.low is None or bound.high is None else bound.high - bound.low


def settled_columns(plan: Plan) -> dict[str, int]:
    """Columns that say when their rows are settled, and how long after: of those that have microseconds."""
    micro = {
        column.name for column in plan.columns if pa.types.is_timestamp(column.arrow) and column.arrow.unit == "us"
    }
    return {name: after for name, after in p.closing(plan).items() if name in micro}


@dataclass(frozen=True)
class _Linear:
    """A sum of times, each so many times, and a constant. Units: microseconds."""

    times: Mapping[str, int]
    constant_us: int


def _comparisons(condition: exp.Expr) -> Iterator[tuple[exp.Expr, type[exp.Expr], exp.Expr]]:
    condition = condition.unnest()
    if isinstance(condition, exp.Between) and not condition.args.get("symmetric"):
        yield condition.this, exp.GTE, condition.args["low"]
        yield condition.this, exp.LTE, condition.args["high"]
    elif type(condition) in _MIRRORED:
        yield condition.this, type(condition), condition.expression


def _linear(node: exp.Expr, times: Mapping[str, int]) -> _Linear | None:
    node = node.unnest()
    match node:
        case exp.Column():
            return _Linear({node.name: 1}, 0) if node.name in times else None
        case exp.Add() | exp.Sub() if node.find(exp.Column) is not None:
            left, right = _linear(node.this, times), _linear(node.expression, times)
            if left is None or right is None:
                return None
            sign = 1 if isinstance(node, exp.Add) else -1
            sums = dict(left.times)
            for name, count in right.times.items():
                sums[name] = sums.get(name, 0) + sign * count
            return _Linear(sums, left.constant_us + sign * right.constant_us)
        case _:
            try:
                return _Linear({}, constant_us(node, None, "it"))
            except Error:
                return None


def ends(join: p.Join) -> bool:
    """Whether rows without a partner can be told once: when the watermark says so, of inputs that take none back."""
    if not join.bounds or not (p.append_only(join.left) and p.append_only(join.right)):
        return False
    left, right = join.bounds[0].left_needed is not None, join.bounds[0].right_needed is not None
    match join.kind:
        case "left" | "anti":
            return left
        case "right":
            return right
        case "full":
            return left and right
        case _:
            return False
