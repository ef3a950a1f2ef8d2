"""What a continuous query means: a tree of frozen nodes, each of which one operator will run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from sqlglot import exp

from ..engine.operators.top_n import Ranking
from ..engine.over_functions import OverCall
from ..engine.sort_keys import SortKey
from ..engine.time_bound import settled
from ..engine.windows import WINDOW_TIME_US, Cumulate, Given, Hop, Moments, Rule, Window
from .plan_groups import Aggregate as Aggregate
from .plan_groups import Expand as Expand
from .plan_groups import GroupingSets as GroupingSets
from .plan_groups import WindowAggregate as WindowAggregate
from .plan_joins import AsofJoin as AsofJoin
from .plan_joins import Join as Join
from .plan_joins import LookupJoin as LookupJoin
from .relations import Column
from .time_to_live import Said

Motion = Literal["rises", "falls", "stays"]  # of a column's value when a row gives way to the next of its key


@dataclass(frozen=True)
class Scan:
    """All rows of a stream in log order, as they are appended; only `columns` are read.

    `place` numbers the table in the query's text. Frames with event times outside of `times` only (us) may be left out.
    """

    stream: str
    columns: tuple[Column, ...]
    event_time: str | None
    place: int | None = field(default=None, compare=False)
    times: tuple[int | None, int | None] | None = None


@dataclass(frozen=True)
class ViewScan:
    """The changes of a materialized view or a table of the same database, from its present rows on."""

    view: str
    columns: tuple[Column, ...]
    append_only: bool
    time_columns: frozenset[str]
    key: tuple[str, ...] | None
    closing: tuple[tuple[str, int], ...] = ()
    motions: tuple[tuple[str, Motion], ...] = ()  # how columns move, as `monotonic` says
    table: bool = False
    place: int | None = field(default=None, compare=False, repr=False)


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
    window: Rule
    time: str
    lateness: int

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
class SkippingMap(Map):
    """A map that goes on without those rows of the relation `source` on which it fails.

    `others` is true of the rows on which nothing fails that is computed of them elsewhere, where the same table of the
    text is read in another way: it goes on with these alone.
    """

    source: str
    others: exp.Expr | None = None


@dataclass(frozen=True)
class TemporalFilter:
    """The rows while the clock is past all their `starts` and before all their `ends`: columns, and lengths to add.

    With `event_time` it is not the clock but the watermark.
    """

    input: Plan
    starts: tuple[tuple[str, int], ...]
    ends: tuple[tuple[str, int], ...]
    columns: tuple[Column, ...]
    event_time: bool = False


@dataclass(frozen=True)
class AssignWindow:
    """Each row once per window that holds its `time`, with window_start, window_end and window_time."""

    input: Plan
    window: Window
    time: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Session:
    """Each row that has a `time` with the session it is in, of the rows of equal `keys` without a pause of `gap`.

    final: once, when the watermark closes the session.
    """

    input: Plan
    gap: int
    time: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    final: bool
    lateness: int


@dataclass(frozen=True)
class Unnest:
    """Each row once per element of its `lists`, and their place if `numbered`; if `outer` those without any, too."""

    input: Plan
    lists: tuple[str, ...]
    outer: bool
    numbered: bool
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
    """INTERSECT or EXCEPT of two inputs, as in UnionAll; `all_rows`: as often as SQL's ALL has a row, else once.

    With `ttl_us` a row goes that did not come for so long; `silent`: it is forgotten, and not retracted.
    """

    inputs: tuple[Plan, ...]
    kind: Literal["intersect", "except"]
    all_rows: bool
    columns: tuple[Column, ...]
    ttl_us: int | None = None
    silent: bool = False


@dataclass(frozen=True)
class Over:
    """Each row of `input` with the values of `calls` over its partition in `order` beside it.

    With `ttl_us` a partition is forgotten when it has been idle for so long, as a hint `said` or the query does.
    """

    input: Plan
    partition: tuple[str, ...]
    order: tuple[SortKey, ...]
    calls: tuple[OverCall, ...]
    columns: tuple[Column, ...]
    ttl_us: int | None = None
    said: Said | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class TopN:
    """The rows of `input` whose `ranking` in their partition is above `offset` and at most `limit`.

    `peers` leading keys of `order` make rows equal for a rank; with `shown` the rank is the last of `columns`. With
    `ttl_us` a partition goes when it has been idle for so long, as a hint `said` or the query does.
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
    ttl_us: int | None = None
    said: Said | None = field(default=None, compare=False, repr=False)


_Sets = Constant | UnionAll | SetOperation
_Ordered = Over | TopN
_Grouped = WindowAggregate | Session | Aggregate | GroupingSets | Expand
_Filtered = Map | TemporalFilter | Unnest
_Paired = Join | AsofJoin | LookupJoin
Plan = Scan | ViewScan | Changelog | Late | _Filtered | AssignWindow | _Grouped | _Paired | Recompute | _Sets | _Ordered


def inputs_of(plan: Plan) -> tuple[Plan, ...]:
    """The plans right below `plan`."""
    match plan:
        case Scan() | ViewScan() | Constant():
            return ()
        case Recompute() | UnionAll() | SetOperation():
            return plan.inputs
        case Join() | AsofJoin() | LookupJoin():
            return (plan.left, plan.right)
        case _:
            return (plan.input,)


def walk(plan: Plan) -> Iterator[Plan]:
    """`plan` and everything below it, inputs before what uses them."""
    for below in inputs_of(plan):
        yield from walk(below)
    yield plan


def nodes(plan: Plan) -> tuple[Plan, ...]:
    """The same, but what is there twice comes once, as it runs once."""
    return tuple(dict.fromkeys(walk(plan)))


def append_only(plan: Plan) -> bool:
    """Whether the changelog of `plan` never retracts."""
    match plan:
        case Scan() | Late() | Constant():
            return True
        case UnionAll():
            return all(append_only(below) for below in plan.inputs)
        case SetOperation():  # what both have once they go on to have
            stays = plan.ttl_us is None or plan.silent
            return plan.kind == "intersect" and stays and all(append_only(below) for below in plan.inputs)
        case ViewScan():
            return plan.append_only
        case Map() | AssignWindow() | Expand() | Unnest():
            return append_only(plan.input)
        case TemporalFilter():
            return not plan.ends and append_only(plan.input)
        case Session():
            return plan.final and append_only(plan.input)
        case WindowAggregate():
            return plan.final
        case Join():
            grows = plan.final or plan.kind in ("inner", "semi")
            return grows and append_only(plan.left) and append_only(plan.right)
        case AsofJoin():
            return plan.final
        case LookupJoin():
            return append_only(plan.left)
        case Aggregate():  # DISTINCT
            stays = plan.ttl_us is None or plan.silent
            return bool(plan.keys) and not plan.calls and stays and append_only(plan.input)
        case Changelog() | GroupingSets() | Recompute() | Over() | TopN():
            return False


def time_columns(plan: Plan) -> frozenset[str]:
    """The columns that a watermark speaks of: no row with a smaller value in them is still to come."""
    match plan:
        case Scan():
            return frozenset(() if plan.event_time is None else (plan.event_time,))
        case ViewScan():
            return plan.time_columns
        case Late() | Expand():
            return time_columns(plan.input)
        case Unnest():
            return time_columns(plan.input) & {column.name for column in plan.columns}
        case Map():
            below = time_columns(plan.input)
            return frozenset(name for name, item in plan.items if isinstance(item, exp.Column) and item.name in below)
        case WindowAggregate(window=Given()):
            return frozenset(name for name, before in closing(plan).items() if before <= WINDOW_TIME_US)
        case WindowAggregate() | Session():
            names = {column.name for column in plan.columns}
            return frozenset({"window_time"} & names) if closes(plan) and not plan.lateness else frozenset()
        case LookupJoin():
            return time_columns(plan.left) & {column.name for column in plan.columns}
        case Join() | AsofJoin():
            return frozenset(name for name, after in closing(plan).items() if after <= 1)
        case Changelog() | TemporalFilter() | AssignWindow() | Aggregate() | GroupingSets() | Recompute():
            return frozenset()
        case Constant() | UnionAll() | SetOperation() | Over() | TopN():
            return frozenset()


def closes(plan: Session | WindowAggregate) -> bool:
    """Whether a watermark says when its windows are complete."""
    if isinstance(plan, WindowAggregate) and isinstance(plan.window, Given):
        return True
    return plan.time in time_columns(plan.input)


def closing(plan: Plan) -> dict[str, int]:
    """Columns that say when their rows are complete: of those with value v, once the watermark is at v plus the length.

    No row comes or goes after that. Units: microseconds.
    """
    match plan:
        case ViewScan():
            return dict(plan.closing)
        case TemporalFilter(event_time=True):
            return closing(plan.input)
        case Late(window=Moments()):
            return {plan.time: 1 + plan.lateness}
        case AsofJoin() if plan.rule.needed is not None:
            return {column.name: plan.rule.needed for column in plan.columns if column.name == plan.rule.left}
        case Join():
            names = {column.name for column in plan.columns}
            return {name: after for name, after in settled(plan.bounds, plan.kind).items() if name in names}
        case Map():
            below = closing(plan.input)
            items = ((name, item.name) for name, item in plan.items if isinstance(item, exp.Column))
            return {name: below[item] for name, item in items if item in below}
        case AssignWindow() if plan.time in time_columns(plan.input):
            late = next((node for node in walk(plan) if isinstance(node, Late)), None)
            return {} if late is None else _window_columns(plan.window, late.lateness)
        case Session() if closes(plan):
            return _window_columns(None, plan.lateness)
        case WindowAggregate(window=Given()):
            return {name: before for name, before in closing(plan.input).items() if name in plan.keys}
        case WindowAggregate() if closes(plan):
            names = {column.name for column in plan.columns}
            columns = _window_columns(plan.window, plan.lateness)
            return {name: before for name, before in columns.items() if name in names}
        case _:
            return {}


def _window_columns(window: Window | None, lateness: int) -> dict[str, int]:
    """How long before a pane is complete the times in its columns are, where that is the same for all panes."""
    columns = {"window_end": lateness, "window_time": WINDOW_TIME_US + lateness}
    match window:
        case Hop() | Cumulate():
            return {**columns, "window_start": window.size + lateness}
        case _:
            return columns
