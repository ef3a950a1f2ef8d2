"""The past: what views, tables and streams were after an epoch that the journal has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from ..engine.checkpoint import STATE_VERSION, Found, RestoreError
from ..engine.dataflow import Dataflow
from ..engine.epochs import Cut
from ..engine.reading import Reading
from ..engine.shadow import Plan, Shadow
from ..engine.view import Stream
from ..storage.errors import NotSupportedError, OperationalError, Position, ProgrammingError
from . import plan as p
from .advancing import moment
from .as_of import AsOf
from .derived import Derived
from .fingerprint import fingerprint
from .lower import Surroundings, lower
from .outputs import engine_name
from .relations import Relation, schema_of
from .view_plan import ViewPlan

if TYPE_CHECKING:
    from .database import Database


def cut_of(database: Database, as_of: AsOf) -> Cut:
    """The epoch that is meant. Raises: ProgrammingError, at its place, if it is not in the journal."""
    epochs = database.epochs
    if as_of.epoch is not None:
        asked, cut = f"epoch {as_of.epoch}", epochs.at(epoch=as_of.epoch)
    else:
        asked, clock = f"'{as_of.time}'", moment(as_of.time or "", as_of.position)
        cut = epochs.at(clock=clock) if clock <= database.engine.now() else None
    if cut is not None:
        return cut
    bounds = epochs.bounds()
    known = "It has none so far."
    if bounds is not None:
        first, last = epochs.at(epoch=bounds[0]), epochs.at(clock=database.engine.now())
        known = f"It has epochs from {bounds[0]}" + (f" to {last.epoch}." if last is not None else " on.")
        if as_of.time is not None and first is not None:
            known = f"It begins with epoch {first.epoch}; a time to come is not known yet."
        elif last is not None and first is not None and first.epoch < (as_of.epoch or 0) < last.epoch:
            known += " This number was left out, or its epoch was lost in a failure of the machine."
    raise ProgrammingError(
        f"{asked} is not in the journal of epochs",
        detail=known,
        hint="SELECT epoch, clock FROM system.epochs shows what there is.",
        position=as_of.position,
    )


def refuse_now(relations: Iterable[Relation], cut: Cut) -> None:
    """Raises: NotSupportedError where one of these is only known as it is now."""
    for relation in relations:
        if relation.kind == "SYSTEM":
            raise NotSupportedError(
                f'cannot read "{relation.name}" as of epoch {cut.epoch}', detail="It says how the database is now."
            )


def gone(database: Database, streams: Iterable[str], cut: Cut) -> list[str]:
    """What is to be said of streams that have not got all rows any more that they ever had by the cut."""
    notes = []
    for name in streams:
        topic, read = database.log.topic(name), cut.streams.get(name)
        if read is None or read.created != topic.created:
            continue
        logs = list(zip(topic.partitions, read.ends, strict=True))
        deleted = sum(min(log.start_offset, end) for log, end in logs)
        if deleted:
            why = "they were deleted, then or since, by retention or DELETE; a longer retention keeps more of the past"
            notes.append(f'{deleted} rows that "{name}" had got by epoch {cut.epoch} are missing: {why}')
        elif not all(log.whole(0, end) for log, end in logs):
            why = "they were compacted away, then or since; without compaction all versions stay"
            notes.append(f'rows that "{name}" had got by epoch {cut.epoch} are missing: {why}')
    return notes


def past(database: Database, cut: Cut, views: Sequence[str], streams: Sequence[str]) -> Reading:
    """What these views and tables, and streams, were after the cut.

    Raises: NotSupportedError, OperationalError, with the reason, where that cannot be known any more.
    """
    shadow = shadow_at(database, cut, views, also=streams)
    return shadow.reading(cut, views, streams)


def shadow_at(database: Database, cut: Cut, views: Sequence[str], *, also: Sequence[str] = ()) -> Shadow:
    """The views, and those that they read, as they were after the cut; streams `also` are there to be read."""
    plans, names = _plans(database, views)
    return _at(database, cut, names, plans, also)


def shadow_before(database: Database, cut: Cut, name: str, position: Position) -> tuple[Shadow, Plan, Cut]:
    """A view, or a query that writes, as it was before the cut, or when it began, if that was later: before which cut.

    Also its plan, with the name and the key that it has in the engine. If it can it runs each epoch again, since the
    view began or since a checkpoint.
    """
    derived = database.queries.get(name)
    if derived is None:
        plans, names = _plans(database, [name])
    else:
        own, names = _plan_of(database, derived)
        name, plans = own.name, [own]
    joined = database.epochs.joined(name, plans[-1].key or "") or 0
    if joined >= cut.epoch:
        later = next(database.epochs.cuts(joined), None)
        if later is None:
            raise NotSupportedError(f'cannot replay "{name}": it runs only since epoch {joined}', position=position)
        cut = later
    streams = [_stream(database, each) for each in sorted(names)]
    if cut.after == 0:
        return Shadow(database.options, streams, plans), plans[-1], cut
    before = cut_of(database, AsOf(position, epoch=cut.after))
    shadow = _from_checkpoint(database, before, streams, plans) or Shadow(database.options, streams, plans)
    for stream in streams:
        _check_log(stream, shadow, before)
    cuts = database.epochs.path(shadow.epoch, before.epoch)
    begins = shadow.epoch > 0 or _began_with_nothing(database, plans, shadow)
    exact = shadow.epoch == before.epoch or (bool(cuts) and begins)
    if exact:
        for each in cuts:
            shadow.step(each)
    elif shadow.needs_each:
        raise _depends(plans, before)
    else:
        shadow.go_through_history(before)
    return shadow, plans[-1], cut


def _began_with_nothing(database: Database, plans: list[Plan], shadow: Shadow) -> bool:
    """Whether no row had been read of their streams when these views began to run."""
    for plan in plans:
        joined = database.epochs.joined(plan.name, plan.key or "")
        cut = None if not joined else database.epochs.at(epoch=joined)
        if joined is None or (joined and cut is None):
            return False
        streams = shadow.view(plan.name).all_streams
        if cut is not None and any(any(read.ends) for name, read in cut.streams.items() if name in streams):
            return False
    return True


def past_of_query(
    database: Database, cut: Cut, derived: Derived, views: Sequence[str], streams: Sequence[str]
) -> tuple[Reading, pa.Table]:
    """What these views and tables, and streams, were after the cut, and the rows of a query that writes, run again."""
    plans, names = _plans(database, views)
    own, read = _plan_of(database, derived)
    shadow = _at(database, cut, names | read, [*plans, own], streams, whole=True)  # a checkpoint has not what it wrote
    reading = shadow.reading(cut, [*views, own.name], streams)
    return reading, reading.views[own.name]


def _plan_of(database: Database, derived: Derived) -> tuple[Plan, set[str]]:
    """How to make a query that writes, with its name and key in the engine; and the streams that it reads."""
    planned, query_id = derived.planned, derived.query_id
    key = fingerprint(query_id, planned.plan)
    name, schema = engine_name(derived.relation.name), schema_of(planned.columns)
    names = {node.stream for node in p.walk(planned.plan) if isinstance(node, p.Scan)}
    return Plan(name, lambda: _lower(database, planned, query_id), schema, key), names


def shadow_of(database: Database, cut: Cut, name: str, planned: ViewPlan) -> Shadow:
    """A query's own plan, as its result was after the cut, and the views that it reads."""
    reads = [node.view for node in p.walk(planned.plan) if isinstance(node, p.ViewScan)]
    plans, names = _plans(database, reads)
    own = Plan(name, lambda: _lower(database, planned, 0), schema_of(planned.columns), None)
    names |= {node.stream for node in p.walk(planned.plan) if isinstance(node, p.Scan)}
    return _at(database, cut, names, [*plans, own])


def _at(
    database: Database, cut: Cut, names: set[str], plans: list[Plan], also: Sequence[str] = (), *, whole: bool = False
) -> Shadow:
    """The plans as they were after the cut; if they are to be `whole` from the logs and not from a checkpoint."""
    streams = [_stream(database, name) for name in sorted({*names, *also})]
    found = None if whole else _from_checkpoint(database, cut, streams, plans)
    shadow = found or Shadow(database.options, streams, plans)
    for stream in streams:
        if stream.name in names:
            _check_log(stream, shadow, cut, whole=whole)
    cuts = database.epochs.path(shadow.epoch, cut.epoch) if shadow.needs_each else []
    if shadow.needs_each and shadow.epoch < cut.epoch:
        known = [plan for plan in plans if plan.key is not None]
        if not cuts or not (shadow.epoch or _began_with_nothing(database, known, shadow)):
            raise _depends(plans, cut)
    if cuts:
        for each in cuts:
            shadow.step(each)
    elif shadow.epoch < cut.epoch:
        shadow.go_through_history(cut)
    return shadow


def _depends(plans: list[Plan], cut: Cut) -> NotSupportedError:
    views = ", ".join(f'"{plan.name}"' for plan in plans)
    return NotSupportedError(
        f"cannot tell what {views} had by epoch {cut.epoch}",
        detail="What is looked up, or kept for a time, depends on the epochs, and the journal has not all of "
        "them, or the view went through a history of its own when it was made.",
        hint="Read an epoch after the older checkpoint: SELECT * FROM system.checkpoints.",
    )


def _from_checkpoint(database: Database, cut: Cut, streams: list[Stream], plans: list[Plan]) -> Shadow | None:
    """From the newest checkpoint that is not after the cut; None if there is none that has all of it."""
    if not plans or any(plan.key is None for plan in plans):
        return None
    loaded = database.checkpoints.load(
        lambda content: content["version"] == STATE_VERSION and int(content["epoch"]) <= cut.epoch
    )
    if loaded is None:
        return None
    try:
        return Shadow(database.options, streams, plans, Found(*loaded))
    except RestoreError:
        return None


def _plans(database: Database, views: Iterable[str]) -> tuple[list[Plan], set[str]]:
    """How to make these views and all that they read, in order; and the streams below."""
    plans: dict[str, Plan] = {}
    streams: set[str] = set()

    def visit(name: str) -> None:
        planned, view_id = database.plans[name.lower()], database.view_ids[name.lower()]
        for node in p.walk(planned.plan):
            if isinstance(node, p.ViewScan):
                visit(node.view)
            elif isinstance(node, p.Scan):
                streams.add(node.stream)
        name = database.relations.require(name).name
        if name not in plans:
            key = fingerprint(view_id, planned.plan)
            plans[name] = Plan(name, lambda: _lower(database, planned, view_id), schema_of(planned.columns), key)

    for name in views:
        visit(name)
    return list(plans.values()), streams


def _lower(database: Database, planned: ViewPlan, view_id: int) -> Dataflow:
    known = database.reports.late.known(view_id) if view_id else {}
    return lower(planned.plan, Surroundings(database.streams_of, known, _nobody, _nobody))


def _nobody(relation: str, rows: object) -> None:
    """Who is told of rows that were reported when that was the present."""


def _stream(database: Database, name: str) -> Stream:
    relation, topic = database.relations.require(name), database.log.topic(name)
    arrival = relation.event_time is not None and relation.event_time == relation.arrival
    return Stream(relation.name, topic, relation.event_time, relation.delay_us, None, arrival)


def _check_log(stream: Stream, shadow: Shadow, cut: Cut, *, whole: bool = False) -> None:
    """Raises: OperationalError where rows are gone that were there by the cut."""
    read = cut.streams.get(stream.name)
    if read is None or read.created != stream.topic.created:
        return
    starts = shadow.positions[stream.name]
    for log, position, end in zip(stream.topic.partitions, starts, read.ends, strict=True):
        start = position if shadow.epoch else 0
        if not log.whole(start, end):
            how = "deleted" if log.start_offset > start else "compacted away"
            raise OperationalError(
                f'cannot read "{stream.name}" as of epoch {cut.epoch}',
                detail=f"Rows that it had by then were {how} since.",
                hint=None
                if whole
                else "An epoch after the older checkpoint can still be read: SELECT * FROM system.checkpoints.",
            )
