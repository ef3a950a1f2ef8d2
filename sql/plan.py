"""What a continuous query means: a tree of frozen nodes, each of which one operator will run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from sqlglot import exp

from ..engine.aggregates import AggregateCall
from ..engine.operators.join import Kind
from ..engine.operators.top_n import Ranking
from ..engine.over_functions import OverCall
from ..engine.sort_keys import SortKey
from ..engine.windows import Window
from .relations import Column


@dataclass(frozen=True)
class Scan:
    """All rows of a stream in log order, as they are appended; only `columns` are read."""

    stream: str
    columns: tuple[Column, ...]
    event_time: str | None


@dataclass(frozen=True)
class ViewScan:
    """The changes of a materialized view or a table of the same database, from its present rows on."""

    view: str
    columns: tuple[Column, ...]
    append_only: bool
    time_columns: frozenset[str]
    key: tuple[str, ...] | None
    table: bool = False


@dataclass(frozen=True)
class Changelog:
    """The changes of a table, as its log `input` tells them: by `key`, or else by the weight of each row."""

    input: Scan
    key: tuple[str, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Late:
    """The rows of `input` with those marked, or left out, whose window the watermark has closed."""

    input: Scan
    window: Window
    time: str

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.input.columns


@dataclass(frozen=True)
class Map:
    """Per row that `where` lets pass, the `items` computed from it. Keeps nothing."""

    input: Plan
    items: tuple[tuple[str, exp.Expr], ...]
    where: exp.Expr | None
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class AssignWindow:
    """Each row once per window that holds its `time`, with window_start, window_end and window_time."""

    input: Plan
    window: Window
    time: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class WindowAggregate:
    """Per window and group, the aggregates of its rows; final: once, when the watermark closes the window."""

    input: Plan
    window: Window
    time: str
    keys: tuple[str, ...]
    calls: tuple[AggregateCall, ...]
    columns: tuple[Column, ...]
    final: bool


@dataclass(frozen=True)
class Aggregate:
    """Per group, the aggregates of its rows so far, updated as rows come and go."""

    input: Plan
    keys: tuple[str, ...]
    calls: tuple[AggregateCall, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Join:
    """Pairs of rows of both inputs whose `keys` are equal (left, right, NULL equals NULL) and which `residual` passes.

    Outer kinds also have rows without a partner; semi and anti only rows of the left. No column name is on both sides.
    """

    left: Plan
    right: Plan
    kind: Kind
    keys: tuple[tuple[str, str, bool], ...]
    residual: exp.Expr | None
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Recompute:
    """Whatever DuckDB can say of the inputs: `sql` is run again when they change and the difference comes out.

    `partition` names per input the columns whose values decide which results a row can touch; empty: all.
    """

    inputs: tuple[Plan, ...]
    names: tuple[str, ...]
    sql: str
    reason: str
    columns: tuple[Column, ...]
    partition: tuple[tuple[str, ...], ...] = field(default=())


@dataclass(frozen=True)
class Constant:
    """Rows that no stream brings: what DuckDB makes of `sql`, which reads nothing, once."""

    sql: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class UnionAll:
    """All rows of all `inputs`, whose columns go by their place and have the types of `columns`."""

    inputs: tuple[Plan, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class SetOperation:
    """INTERSECT or EXCEPT of two inputs, as in UnionAll; `all_rows`: as often as SQL's ALL has a row, else once."""

    inputs: tuple[Plan, ...]
    kind: Literal["intersect", "except"]
    all_rows: bool
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Over:
    """Each row of `input` with the values of `calls` over its partition in `order` beside it."""

    input: Plan
    partition: tuple[str, ...]
    order: tuple[SortKey, ...]
    calls: tuple[OverCall, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class TopN:
    """The rows of `input` whose `ranking` in their partition is above `offset` and at most `limit`.

    `peers` leading keys of `order` make rows equal for a rank; with `shown` the rank is the last of `columns`.
    """

    input: Plan
    partition: tuple[str, ...]
    order: tuple[SortKey, ...]
    ranking: Ranking
    offset: int
    limit: int
    peers: int
    shown: bool
    columns: tuple[Column, ...]


_Sets = Constant | UnionAll | SetOperation
_Ordered = Over | TopN
_Grouped = WindowAggregate | Aggregate
Plan = Scan | ViewScan | Changelog | Late | Map | AssignWindow | _Grouped | Join | Recompute | _Sets | _Ordered


def inputs_of(plan: Plan) -> tuple[Plan, ...]:
    """The plans right below `plan`."""
    match plan:
        case Scan() | ViewScan() | Constant():
            return ()
        case Recompute() | UnionAll() | SetOperation():
            return plan.inputs
        case Join():
            return (plan.left, plan.right)
        case _:
            return (plan.input,)


def walk(plan: Plan) -> Iterator[Plan]:
    """`plan` and everything below it, inputs before what uses them."""
    for below in inputs_of(plan):
        yield from walk(below)
    yield plan


def stateless(plan: Plan) -> bool:
    """Whether `plan` is a stream seen through maps only."""
    return all(isinstance(node, Scan | Map) for node in walk(plan))


def append_only(plan: Plan) -> bool:
    """Whether the changelog of `plan` never retracts."""
    match plan:
        case Scan() | Late() | Constant():
            return True
        case UnionAll():
            return all(append_only(below) for below in plan.inputs)
        case SetOperation():  # what both have once they go on to have
            return plan.kind == "intersect" and all(append_only(below) for below in plan.inputs)
        case ViewScan():
            return plan.append_only
        case Map() | AssignWindow():
            return append_only(plan.input)
        case WindowAggregate():
            return plan.final
        case Join():
            return plan.kind in ("inner", "semi") and append_only(plan.left) and append_only(plan.right)
        case Aggregate():  # DISTINCT
            return bool(plan.keys) and not plan.calls and append_only(plan.input)
        case Changelog() | Recompute() | Over() | TopN():
            return False


def time_columns(plan: Plan) -> frozenset[str]:
    """The columns that a watermark speaks of: no row with a smaller value in them is still to come."""
    match plan:
        case Scan():
            return frozenset(() if plan.event_time is None else (plan.event_time,))
        case ViewScan():
            return plan.time_columns
        case Late():
            return time_columns(plan.input)
        case Map():
            below = time_columns(plan.input)
            return frozenset(name for name, item in plan.items if isinstance(item, exp.Column) and item.name in below)
        case WindowAggregate():
            names = {column.name for column in plan.columns}
            return frozenset({"window_time"} & names) if plan.time in time_columns(plan.input) else frozenset()
        case Changelog() | AssignWindow() | Aggregate() | Join() | Recompute():
            return frozenset()
        case Constant() | UnionAll() | SetOperation() | Over() | TopN():
            return frozenset()


def key(plan: Plan) -> tuple[str, ...] | None:
    """Columns that no two rows of the result share, or None where none are known."""
    match plan:
        case ViewScan():
            return plan.key
        case Map():
            below = key(plan.input)
            if below is None:
                return None
            renamed = {item.name: name for name, item in plan.items if isinstance(item, exp.Column)}
            return tuple(renamed[name] for name in below) if all(name in renamed for name in below) else None
        case WindowAggregate():
            names = [column.name for column in plan.columns]
            start = next((name for name in ("window_start", "window_end", "window_time") if name in names), None)
            return None if start is None else (start, *plan.keys)
        case Aggregate():
            return plan.keys
        case Changelog():
            return plan.key or None
        case Join():
            return _join_key(plan)
        case TopN() if not plan.partition and plan.limit == 1:
            return ()
        case TopN() if plan.ranking == "row_number" and plan.limit == 1:
            return plan.partition
        case TopN() if plan.ranking == "row_number" and plan.shown:
            return (*plan.partition, plan.columns[-1].name)
        case Over() | TopN():
            return key(plan.input)
        case SetOperation():
            return None if plan.all_rows else tuple(column.name for column in plan.columns)
        case Scan() | Late() | AssignWindow() | Recompute() | Constant() | UnionAll():
            return None


def _join_key(plan: Join) -> tuple[str, ...] | None:
    """Key columns of both sides that come out, but for a side of which a row finds one partner at most."""
    left, right = key(plan.left), key(plan.right)
    names = {column.name for column in plan.columns}
    one_right = right is not None and set(right) <= {name for _, name, _ in plan.keys}
    one_left = left is not None and set(left) <= {name for name, _, _ in plan.keys}
    found: tuple[str, ...] | None = None
    if plan.kind in ("semi", "anti") or (plan.kind in ("inner", "left") and one_right):
        found = left
    elif plan.kind in ("inner", "right") and one_left:
        found = right
    elif left is not None and right is not None:
        found = (*left, *right)
    return found if found is not None and names >= set(found) else None
