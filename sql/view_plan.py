"""Planning a view: what its query means over the relations there are, its columns, and how to keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from ..engine.windows import Given
from ..storage.errors import NotSupportedError, ProgrammingError
from . import plan as p
from .blocks import volatile_names
from .dialect import WindowFunction, position_of
from .expiring import expiring, told
from .late_target import late_target
from .lateness import rows_held_until_closed
from .parser_emit import refuse_every
from .pivots import refuse_open_pivots
from .places import forget_places, mark_places, number_places, told_apart
from .plan import Plan
from .plan_properties import unbounded
from .planner import Planner, ViewProperties
from .pushdown import push_filters
from .relations import Column, Relation, Relations
from .sets import unwrap_limits
from .settled_aggregates import settle_aggregates
from .skipping import skipping, skips_of, unskipped
from .state_ttl import ttl_of
from .statements import CreateView, Statement
from .system import refuse_system
from .temporal import without_clocks
from .ties import settle_windows
from .time_to_live import Said, hints_in
from .trees import as_column, copied, every
from .twin import (
    bind,
    expand_views,
    inline_ctes,
    refuse_outside,
    refuse_volatile,
    settle_ties,
    twin,
)
from .types import Binder
from .window_checks import check_windows


@dataclass(frozen=True)
class ViewPlan:
    """A planned continuous query: `query` with views expanded and ties settled, its columns and its plan.

    Its late rows go to the stream `late_to` too. `hints` are those in the query.
    """

    query: exp.Query
    columns: tuple[Column, ...]
    plan: Plan
    final: bool
    late_to: str = ""
    ttl_us: int | None = None
    hints: tuple[Said, ...] = ()
    skips: bool = False

    def expiring(self, ttl_us: int | None, *, grows: bool = False) -> ViewPlan:
        """The same, forgetting what has been idle for so long, or as its hints say."""
        return replace(self, plan=expiring(self.plan, ttl_us, grows=grows), ttl_us=ttl_us)


@dataclass(frozen=True)
class ViewPlanner:
    """Plans over `relations`. `properties` and `stateless` are those of the materialized views among them."""

    relations: Relations
    properties: Mapping[str, ViewProperties]
    stateless: frozenset[str]
    binder: Binder

    def view(self, statement: CreateView) -> tuple[Relation, ViewPlan | None]:
        """What a view is and, if it is materialized, its plan."""
        if statement.materialized:
            refuse_every(statement.emit)
            final = statement.emit is not None and statement.emit.mode == "FINAL"
            lateness_us = 0 if statement.emit is None else statement.emit.lateness_us
            planned = self.plan(
                statement.query,
                final=final,
                lateness_us=lateness_us,
                names=statement.columns,
                emit=statement,
                skips=skips_of(statement.options, statement.start),
            )
            planned = replace(planned, late_to=late_target(planned.plan, statement.emit, self.relations))
            planned = planned.expiring(ttl_of(statement.options, statement.start))
            columns = planned.columns
        else:
            if statement.emit is not None:
                raise ProgrammingError(
                    "cannot say EMIT in a plain view",
                    detail="A view is a name for its query.",
                    hint="Say EMIT where the view is subscribed to, or create a MATERIALIZED VIEW.",
                    position=statement.emit.position,
                )
            planned = None
            refuse_open_pivots(statement.query)
            query = expand_views(statement.query, self.relations)
            check_windows(query, self.relations, self.binder)
            columns = _named(
                bind(twin(query), self.relations, self.binder, statement.query), statement.columns, statement
            )
        refuse_duplicates(columns, statement)
        kind = "MATERIALIZED VIEW" if statement.materialized else "VIEW"
        relation = Relation(statement.name, kind, columns, statement.text, statement.query)  # type: ignore[arg-type]
        return replace(relation, target="" if planned is None else planned.late_to), planned

    def plan(
        self,
        query: exp.Query,
        *,
        final: bool,
        lateness_us: int = 0,
        names: tuple[str, ...] = (),
        emit: CreateView | None = None,
        skips: bool = False,
    ) -> ViewPlan:
        """The plan of a continuous query; a ProgrammingError with its place if it is not one.

        With `skips` it does without the rows on which it fails.
        """
        refuse_system(query, self.relations)
        refuse_outside(query)
        refuse_open_pivots(query)
        expanded = unwrap_limits(inline_ctes(expand_views(query, self.relations, self.stateless)))
        hints = hints_in(expanded)
        refuse_volatile(without_clocks(expanded), volatile_names())
        check_windows(expanded, self.relations, self.binder)
        columns = bind(twin(expanded), self.relations, self.binder, query)
        expanded = settle_aggregates(
            expanded, lambda part: [c.name for c in bind(twin(copied(part)), self.relations, self.binder)]
        )
        expanded = settle_ties(expanded, lambda part: len(bind(twin(copied(part)), self.relations, self.binder)))
        expanded = settle_windows(
            expanded, lambda part: [c.name for c in bind(twin(copied(part)), self.relations, self.binder)]
        )
        lateness_us = _lateness(expanded, lateness_us)
        planner = Planner(self.relations, self.properties, self.binder, final=final, lateness_us=lateness_us)
        number_places(expanded)
        plan = planner.plan(expanded, columns)
        if not told_apart(plan):
            forget_places(expanded)
            plan = planner.plan(expanded, columns)
        if final:
            plan = rows_held_until_closed(plan, lateness_us)
        mark_places(expanded, plan)
        if (final or lateness_us) and not any(_closes(node) for node in p.walk(plan)):
            raise ProgrammingError(
                f"cannot {'EMIT FINAL' if final else 'ALLOW LATENESS'} without a window that closes",
                detail="A result is final when the watermark has passed the end of its window.",
                hint="Group by window_start, window_end of a TUMBLE or HOP over the column with the WATERMARK.",
                position=emit.emit.position if emit is not None and emit.emit is not None else None,
            )
        if names:
            columns = _named(columns, names, emit)
            items = tuple((c.name, as_column(b.name)) for c, b in zip(columns, plan.columns, strict=True))
            plan = p.Map(plan, items, None, columns)
        plan = push_filters(plan)
        if skips:
            plan = skipping(expanded, plan, self.binder)
        return ViewPlan(expanded, columns, plan, final, hints=hints, skips=skips)


def notes_on(planned: ViewPlan) -> list[str]:
    """What to say to the person who creates it."""
    grows = [f"state grows without bound: {note}" for note in unbounded(planned.plan)]
    return [*grows, *notes_on_ttl(planned), *unskipped(planned.plan, asked=planned.skips)]


def notes_on_ttl(planned: ViewPlan) -> list[str]:
    """The part of it that is about the time to live of its state."""
    return told(planned.plan, planned.ttl_us, planned.hints)


def _closes(node: p.Plan) -> bool:
    """Whether a watermark closes windows here, and so decides what comes out."""
    if isinstance(node, p.WindowAggregate) and isinstance(node.window, Given):
        return not any(isinstance(below, p.ViewScan) for below in p.walk(node))
    if isinstance(node, p.Join):
        return bool(node.bounds)
    if isinstance(node, p.AsofJoin):
        return node.rule.needed is not None
    return isinstance(node, p.WindowAggregate | p.Session) and p.closes(node)


def _lateness(query: exp.Query, said_us: int) -> int:
    """How long after their end the windows of a query still take rows: as was `said`, or the longest GRACE PERIOD.

    Units: microseconds.
    Raises: NotSupportedError for windows over windows, which do not know how late what they see is.
    """
    windows = every(query, WindowFunction)
    graces = [int(window.args["grace_us"].name) for window in windows if window.args.get("grace_us") is not None]
    lateness = max([said_us, *graces])
    nested = next((window for window in windows if window.find_ancestor(WindowFunction) is not None), None)
    if lateness and nested is not None:
        raise NotSupportedError(
            "cannot allow lateness in windows over windows",
            hint="Let the inner windows be a view of their own, without lateness.",
            position=position_of(nested),
        )
    return lateness


def _named(columns: tuple[Column, ...], names: tuple[str, ...], statement: CreateView | None) -> tuple[Column, ...]:
    if not names:
        return columns
    if len(names) != len(columns):
        raise ProgrammingError(
            f"the view names {len(names)} columns, but its query returns {len(columns)}",
            position=None if statement is None else statement.start,
        )
    return tuple(replace(column, name=name) for column, name in zip(columns, names, strict=True))


def refuse_duplicates(columns: tuple[Column, ...], statement: Statement) -> None:
    """Raises: ProgrammingError for two columns of one name."""
    seen: set[str] = set()
    for column in columns:
        if column.name.lower() in seen:
            raise ProgrammingError(
                f'column "{column.name}" comes twice out of the query',
                hint="Name one of them otherwise with AS.",
                position=statement.start,
                sqlstate="42701",
            )
        seen.add(column.name.lower())
