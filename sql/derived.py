"""Derived streams and tables: what CREATE ... AS and a lasting INSERT mean, and whether their target can take it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from ..storage.errors import Error, NotSupportedError, Position, ProgrammingError
from . import plan as p
from .declaration import spelled
from .late_target import late_target
from .parser_emit import refuse_every
from .plan import Plan
from .plan_inputs import over_logs
from .plan_keys import key_of
from .relations import Column, Relation
from .skipping import emit_skips, skips_of
from .state_ttl import emitted_ttl, ttl_of
from .statements import CopyTo, CreateDerived, Emit, Insert
from .trees import as_column
from .view_plan import ViewPlan, ViewPlanner, refuse_duplicates
from .writing_columns import target_columns


@dataclass(frozen=True)
class Derived:
    """Where the changes of `planned` go; its plan reads logs only. `writes` is the relation that has the rows.

    `query_id` tells apart queries that had one name.
    """

    relation: Relation
    planned: ViewPlan
    writes: Relation
    query_id: int = 0


def derive(planner: ViewPlanner, statement: CreateDerived, plans: Mapping[str, Plan]) -> Derived:
    """The stream or table that the statement makes, and the query that writes it."""
    refuse_every(statement.emit)
    final = None if statement.emit is None else statement.emit.mode == "FINAL"
    skips = skips_of(statement.options, statement.start)
    if statement.kind == "STREAM":
        what = f'stream "{statement.name}"'
        planned = _append_only(planner, statement.query, statement.emit, what, plans, skips=skips)
    else:
        planned = _plan(planner, statement.query, bool(final), plans, skips=skips)
    refuse_duplicates(planned.columns, statement)
    planned = planned.expiring(ttl_of(statement.options, statement.start), grows=statement.kind == "STREAM")
    planned = replace(planned, late_to=late_target(planned.plan, statement.emit, planner.relations))
    times = sorted(p.time_columns(planned.plan)) if statement.kind == "STREAM" else []
    relation = Relation(
        statement.name,
        statement.kind,
        planned.columns,
        statement.text,
        statement.query,
        times[0] if len(times) == 1 else None,
        _delay_us(planner, planned.plan) if len(times) == 1 else 0,
    )
    relation = replace(relation, key=_key(relation, planned.plan, statement), target=planned.late_to)
    for name in statement.partition_by:
        spelled(relation, name)
    return Derived(relation, planned, relation)


def insert_derived(
    planner: ViewPlanner, statement: Insert, name: str, target: Relation, plans: Mapping[str, Plan]
) -> Derived:
    """The query called `name` that goes on inserting into the stream `target`."""
    refuse_every(statement.emit)
    what, skips = f'stream "{target.name}"', emit_skips(statement.emit)
    planned = _append_only(planner, statement.query, statement.emit, what, plans, skips=skips)
    planned = planned.expiring(emitted_ttl(statement.emit), grows=True)
    names = target_columns(target, statement.columns, statement.position)
    if len(names) != len(planned.columns):
        raise ProgrammingError(
            f'{len(planned.columns)} values for {len(names)} columns of "{target.name}"', position=statement.position
        )
    by_name = dict(zip(names, planned.columns, strict=True))
    items = tuple((column.name, _value(target, column, by_name.get(column.name))) for column in target.columns)
    written = replace(planned, plan=p.Map(planned.plan, items, None, target.columns), columns=target.columns)
    relation = Relation(name, "QUERY", target.columns, statement.text, statement.query, target=target.name)
    return Derived(relation, written, target)


def copy_derived(planner: ViewPlanner, statement: CopyTo, name: str, topic: str, plans: Mapping[str, Plan]) -> Derived:
    """The query called `name` whose rows go to `topic`, and from there to files."""
    refuse_every(statement.emit)
    what, skips = f'files in "{statement.path}"', emit_skips(statement.emit)
    planned = _append_only(planner, statement.query, statement.emit, what, plans, skips=skips)
    planned = planned.expiring(emitted_ttl(statement.emit), grows=True)
    refuse_duplicates(planned.columns, statement)
    relation = Relation(name, "QUERY", planned.columns, statement.text, statement.query, target=topic)
    return Derived(relation, planned, Relation(topic, "STREAM", planned.columns, statement.text))


def refuse_cycle(derived: Derived, writers: Mapping[str, Iterable[ViewPlan]], position: Position) -> None:
    """Raises: ProgrammingError if the query would read what it writes, itself or through others' `writers`."""
    seen, waiting = set[str](), [derived.planned]
    while waiting:
        streams = {node.stream for node in p.walk(waiting.pop().plan) if isinstance(node, p.Scan)}
        if derived.writes.name in streams:
            raise ProgrammingError(
                f'a query that inserts into "{derived.writes.name}" for ever cannot read it',
                detail="Each row that it wrote would make it write another.",
                hint="Leave EMIT out, and it runs once.",
                position=position,
            )
        waiting += [planned for stream in streams - seen for planned in writers.get(stream, ())]
        seen |= streams


def _delay_us(planner: ViewPlanner, plan: Plan) -> int:
    """How much out of order the rows come: as much as those of the streams, unless windows have put them in order."""
    if any(isinstance(node, p.WindowAggregate) for node in p.walk(plan)):
        return 0
    scanned = [planner.relations.require(node.stream) for node in p.walk(plan) if isinstance(node, p.Scan)]
    return max((relation.delay_us for relation in scanned), default=0)


def _value(target: Relation, column: Column, given: Column | None) -> exp.Expr:
    if given is None:
        return exp.cast(target.defaults.get(column.name, exp.Null()).copy(), column.type, dialect="duckdb")
    value = as_column(given.name)
    return value if given.arrow == column.arrow else exp.cast(value, column.type, dialect="duckdb")


def _plan(
    planner: ViewPlanner, query: exp.Query, final: bool, plans: Mapping[str, Plan], *, skips: bool = False
) -> ViewPlan:
    """The plan over logs: what a query has written must follow from them alone, also when it begins anew."""
    planned = planner.plan(query, final=final, skips=skips)
    return replace(planned, plan=over_logs(planned.plan, plans))


def _append_only(
    planner: ViewPlanner,
    query: exp.Query,
    emit: Emit | None,
    target: str,
    plans: Mapping[str, Plan],
    *,
    skips: bool = False,
) -> ViewPlan:
    """The plan of a query whose rows never change; of a window each once it is closed, unless EMIT says otherwise."""
    if emit is None or emit.mode != "FINAL":
        planned = _plan(planner, query, False, plans, skips=skips)
        if p.append_only(planned.plan):
            return planned
    if emit is None or emit.mode == "FINAL":
        try:
            planned = _plan(planner, query, True, plans, skips=skips)
        except Error:
            if emit is not None:
                raise
        else:
            if p.append_only(planned.plan):
                return planned
    kept = "a stream keeps" if target.startswith("stream") else "a file keeps"
    raise NotSupportedError(
        f"cannot write to {target} what changes later",
        detail=f"The query's rows are updated as others come, and {kept} every row as it is.",
        hint="Group by a window that closes, so that each comes once (EMIT FINAL); or CREATE TABLE ... AS, whose rows "
        "change too; or CREATE MATERIALIZED VIEW, and SUBSCRIBE to its changes.",
        position=None if emit is None else emit.position,
    )


def _key(relation: Relation, plan: Plan, statement: CreateDerived) -> tuple[str, ...]:
    known = key_of(plan)
    if relation.kind == "STREAM":
        return ()
    if statement.primary_key is None:
        return known or ()
    given = tuple(spelled(relation, name) for name in statement.primary_key)
    if known is not None and not p.append_only(plan) and not set(known) <= set(given):
        raise ProgrammingError(
            f'({", ".join(given)}) does not tell the rows of "{relation.name}" apart',
            detail=f"The query has a row for each ({', '.join(known)}).",
            hint="Leave PRIMARY KEY out, and that is the key.",
            position=statement.start,
        )
    return given
