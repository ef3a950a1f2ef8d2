"""From a plan to the operators that run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import pyarrow as pa
from sqlglot import exp

from ..engine.dataflow import Dataflow, Node, Source
from ..engine.join_side import JoinInput
from ..engine.operator import Operator
from ..engine.operators.aggregate import Aggregate
from ..engine.operators.asof_join import AsofJoin
from ..engine.operators.assign_window import AssignWindow
from ..engine.operators.constant import Constant
from ..engine.operators.expand import Expand
from ..engine.operators.join import Join
from ..engine.operators.late import Late, LateRows
from ..engine.operators.lookup_join import LookupJoin
from ..engine.operators.map import Map
from ..engine.operators.over import ExpiringOver, Over
from ..engine.operators.recompute import Recompute
from ..engine.operators.session import Session
from ..engine.operators.set_operation import SetOperation
from ..engine.operators.temporal_filter import TemporalFilter
from ..engine.operators.top_n import TopN
from ..engine.operators.union_all import UnionAll
from ..engine.operators.unnest import Unnest
from ..engine.operators.upsert import Upsert
from ..engine.operators.weighted import Weighted
from ..engine.operators.window_aggregate import WindowAggregate
from ..engine.screening import FailedRows
from . import plan as p
from .expressions import Skips, compile_map
from .plan import Plan
from .plan_properties import forgets, repeatable
from .relations import schema_of
from .sets import constant_rows
from .skipping import screening
from .time_bounds import says_no_more
from .trees import as_column, every
from .types import connect, scan_sql, translate

KnownLate = Mapping[str, list[tuple[int, int, int]]]  # per stream (partition, offset, closed), found before a restart
ReportLate = Callable[[str, LateRows], None]  # stream, rows
ReportFailed = Callable[[str, FailedRows], None]  # relation, rows


class Identity:
    """What a node computes, compared with that of all others each time a view is added: hashed once."""

    def __init__(self, plan: Plan, *, root: bool = False) -> None:
        self._plan = (plan, root)
        self._hash = hash(self._plan)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self._hash == other._hash and self._plan == other._plan


@dataclass(frozen=True)
class Surroundings:
    """What the operators of one view need from the database around it."""

    streams_of: Callable[[str], frozenset[str]]  # those that a materialized view or a table depends on
    known_late: KnownLate
    report_late: ReportLate
    report_failed: ReportFailed


def lower(plan: Plan, around: Surroundings, *, keeps: bool = True) -> Dataflow:
    """The dataflow that keeps the result of `plan`, or only tells how it changes."""
    return Dataflow(_lower(plan, around, {}, root=keeps))


def lower_map(plan: p.Map, report: ReportFailed | None = None) -> Map:
    """The operator of a map; if it skips rows, `report` gets them."""
    below = plan.input.columns
    types = [column.type for column in below]
    skips = None
    if isinstance(plan, p.SkippingMap) and report is not None:
        skips = Skips(screening(plan), plan.others, partial(report, plan.source))
    schemas = schema_of(below), schema_of(plan.columns)
    return compile_map(plan.items, plan.where, *schemas, input_types=types, skips=skips)


def _join_inputs(plan: p.Join | p.AsofJoin | p.LookupJoin) -> tuple[JoinInput, JoinInput]:
    """What a join has to know of its two inputs."""
    sides = []
    left_keys, right_keys = (tuple(str(pair[place]) for pair in plan.keys) for place in (0, 1))
    for below, keys in ((plan.left, left_keys), (plan.right, right_keys)):
        names = {column.name for column in below.columns}
        output = tuple(column.name for column in plan.columns if column.name in names)
        sides.append(JoinInput(schema_of(below.columns), keys, tuple(safe for _, _, safe in plan.keys), output))
    return sides[0], sides[1]


def _join(plan: p.Join) -> Join:
    """The operator of a join."""
    sides = _join_inputs(plan)
    both = (*plan.left.columns, *plan.right.columns)
    named = set() if plan.residual is None else {column.name for column in every(plan.residual, exp.Column)}
    reads = [column for column in both if column.name in named] or [both[0]]
    residual = None
    if plan.residual is not None:
        item = (reads[0].name, as_column(reads[0].name))
        types = [column.type for column in reads]
        residual = compile_map([item], plan.residual, schema_of(reads), schema_of(reads[:1]), input_types=types)
    bound = plan.bounds[0] if plan.bounds else None
    schema, read = schema_of(plan.columns), schema_of(reads)
    timed = bound is not None and plan.residual is not None and says_no_more(plan.residual, bound)
    return Join(
        plan.kind,
        *sides,
        schema,
        residual,
        read,
        bound,
        final=plan.final,
        timed=timed,
        order=plan.order,
        ttls_us=plan.ttls_us,
    )


def _lower(plan: Plan, around: Surroundings, known: dict[Plan, Node], *, root: bool) -> Node:
    """The node with the result of `plan`, which is made if it is not `known` yet. `root`: the view is read from it."""
    if plan not in known:
        known[plan] = _node(plan, around, known, root=root)
    return known[plan]


def _node(plan: Plan, around: Surroundings, known: dict[Plan, Node], *, root: bool) -> Node:
    schema = schema_of(plan.columns)
    operator: Operator
    match plan:
        case p.Scan():
            source = Source(plan.stream, tuple(column.name for column in plan.columns), times=plan.times)
            identity = Identity(plan)
            return Node(None, source=source, streams=frozenset({plan.stream}), identity=identity, plan=identity)
        case p.ViewScan():
            source = Source(plan.view, tuple(column.name for column in plan.columns), is_view=True)
            identity = Identity(plan)
            return Node(None, source=source, streams=around.streams_of(plan.view), identity=identity, plan=identity)
        case p.Changelog():
            operator = Upsert(plan.key, schema) if plan.key else Weighted(schema)
        case p.Late():
            stream = plan.input.stream
            operator = Late(
                plan.window,
                plan.time,
                schema,
                lambda rows: around.report_late(stream, rows),
                plan.lateness,
                times=plan.input.times,
            )
            operator.know(around.known_late.get(stream, ()))
        case p.Map():
            operator = lower_map(plan, around.report_failed)
        case p.TemporalFilter():
            operator = TemporalFilter(plan.starts, plan.ends, schema, event_time=plan.event_time)
        case p.AssignWindow():
            operator = AssignWindow(plan.window, plan.time, schema)
        case p.Session():
            operator = Session(
                plan.gap,
                plan.time,
                plan.keys,
                schema_of(plan.input.columns),
                schema,
                final=plan.final,
                watermarked=p.closes(plan),
                lateness=plan.lateness,
            )
        case p.WindowAggregate():
            operator = WindowAggregate(
                plan.window,
                plan.time,
                plan.keys,
                plan.calls,
                schema_of(plan.input.columns),
                schema,
                append_only=p.append_only(plan.input),
                final=plan.final,
                watermarked=p.closes(plan),
                keeps_result=root,
                lateness=plan.lateness,
            )
        case p.Expand():
            operator = Expand(plan.keys, plan.sets, schema)
        case p.Unnest():
            operator = Unnest(plan.lists, schema, outer=plan.outer, numbered=plan.numbered)
        case p.Aggregate():
            operator = Aggregate(
                plan.keys,
                plan.calls,
                schema_of(plan.input.columns),
                schema,
                append_only=p.append_only(plan.input),
                ttl_us=plan.ttl_us,
                silent=plan.silent,
            )
        case p.GroupingSets():
            operator = Aggregate(
                plan.by,
                plan.calls,
                schema_of(plan.input.columns),
                schema,
                append_only=p.append_only(plan.input),
                standing=_standing(plan),
                sets=plan.sets,
                set_keys=plan.keys,
                ttl_us=plan.ttl_us,
            )
        case p.Join():
            operator = _join(plan)
        case p.AsofJoin():
            inputs = _join_inputs(plan)
            operator = AsofJoin(plan.rule, *inputs, schema, outer=plan.outer, final=plan.final, ttls_us=plan.ttls_us)
        case p.LookupJoin():
            operator = LookupJoin(*_join_inputs(plan), schema, outer=plan.outer)
        case p.Recompute():
            operator = Recompute(
                plan.sql,
                plan.names,
                [scan_sql(f"{name}_rows", below.columns) for name, below in zip(plan.names, plan.inputs, strict=True)],
                [schema_of(below.columns) for below in plan.inputs],
                schema,
                plan.partition,
                connect(),
                translate,
            )
        case p.Over():
            rows = plan.partition, plan.order, plan.calls, schema_of(plan.input.columns)
            operator = Over(*rows) if plan.ttl_us is None else ExpiringOver(*rows, plan.ttl_us)
        case p.TopN():
            operator = TopN(
                plan.partition,
                plan.order,
                plan.ranking,
                plan.limit,
                schema_of(plan.input.columns),
                offset=plan.offset,
                peers=plan.peers,
                rank=plan.columns[-1].name if plan.shown else None,
                forgets=forgets(plan),
                ttl_us=plan.ttl_us,
            )
        case p.Constant():
            operator = Constant(constant_rows(plan))
        case p.UnionAll():
            operator = UnionAll(schema)
        case p.SetOperation():
            operator = SetOperation(plan.kind, schema, all_rows=plan.all_rows, ttl_us=plan.ttl_us, silent=plan.silent)
        case _:
            assert_never(plan)
    on_top = root and isinstance(plan, p.Map)
    below = tuple(_lower(part, around, known, root=on_top) for part in p.inputs_of(plan))
    streams = frozenset().union(*(node.streams for node in below))
    identity = Identity(plan, root=root and isinstance(plan, p.WindowAggregate))
    return Node(operator, below, streams=streams, identity=identity if repeatable(plan) else None, plan=identity)


def _standing(plan: p.GroupingSets) -> pa.RecordBatch | None:
    """The keys of the groups that are there even without rows: the set's number, which comes last, and no others."""
    standing = [number for number, chosen in enumerate(plan.sets) if not chosen]
    if not standing:
        return None
    schema = schema_of(next(c for c in plan.columns if c.name == name) for name in plan.keys)
    keys = [pa.nulls(len(standing), field.type) for field in list(schema)[:-1]]
    return pa.RecordBatch.from_arrays([*keys, pa.array(standing, pa.int32())], schema=schema)
