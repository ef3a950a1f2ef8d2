"""Evolving a database: a materialized view becomes another one while it, and what reads it, goes on answering."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sqlglot import exp

from ..engine.backfill import Backfill
from ..engine.operators.late import Late
from ..engine.replacing import Version
from ..storage.errors import Error, NotSupportedError, OperationalError, ProgrammingError
from . import plan as p
from .dialect import parse_script
from .fingerprint import fingerprint
from .plan import Plan
from .plan_inputs import streams_of
from .plan_properties import stateless
from .planner import ViewProperties, properties_of
from .relations import Relation, Relations, schema_of
from .statements import CreateView
from .twin import named_tables, table_name
from .view_plan import ViewPlan, ViewPlanner, notes_on

if TYPE_CHECKING:
    from .database import Database


@dataclass(frozen=True)
class _New:
    """What a view becomes; a plain one is only read otherwise."""

    relation: Relation
    planned: ViewPlan | None


@dataclass(frozen=True)
class _Change:
    """All that becomes another one with a view: itself first; the live queries of their own that end."""

    old: Relation
    news: tuple[_New, ...]
    readers: tuple[str, ...]
    ended: tuple[str, ...]
    plans: Mapping[str, Plan]
    ids: Mapping[str, int] = field(default_factory=dict)  # of those whose windows are built anew

    @property
    def built(self) -> list[tuple[str, ViewPlan]]:
        """Those that are kept, by name."""
        return [(new.relation.name, new.planned) for new in self.news if new.planned is not None]


class Evolving:
    """Replaces materialized views of a database that runs. State: why the last attempt for a view failed, by name."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.failures: dict[str, Error] = {}

    def replace(self, statement: CreateView, old: Relation, *, wait: bool, partial: bool) -> list[str]:
        """Build what `statement` says beside `old`, and let it take its place at one epoch; notices.

        With `wait` that has happened when this returns, and if it is interrupted nothing has. Whatever fails on the
        way leaves all as it was. `partial`: history of which rows have been deleted will do.
        """
        database = self._database
        with database.lock:
            change = self._plan(statement, old)
            self.failures.pop(old.name.lower(), None)
            relation, planned = change.news[0].relation, change.news[0].planned
            assert planned is not None
            notes = notes_on(planned)
            running = database.plans[old.name.lower()]
            stopped = old.name in database.engine.errors()
            if (
                not stopped
                and planned.plan == running.plan
                and relation.columns == old.columns
                and len(change.news) == 1
            ):
                self._commit(change)
                self._take_over(change)
                return notes
            backfill = database.engine.replacements.begin(self._versions(change))
            late = backfill.anew(Late)
            if late:  # what was late for windows that are built anew is history to them
                database.engine.replacements.abandon(backfill)
                change = replace(change, ids={name: time.time_ns() + place for place, name in enumerate(sorted(late))})
                backfill = database.engine.replacements.begin(self._versions(change))
            try:
                if not partial:
                    self._refuse_gaps(backfill, statement)
            except Error:
                database.engine.replacements.abandon(backfill)
                raise
        if wait:
            try:
                self._finish(change, backfill)
            except BaseException:
                database.engine.replacements.abandon(backfill)
                raise
            return notes
        threading.Thread(
            target=self._in_background, args=(change, backfill), name="headrace-evolving", daemon=True
        ).start()
        return [*notes, f'the new "{old.name}" is built in the background: SHOW QUERIES says how far it is']

    def resume(self, view: Relation, *, wait: bool, partial: bool) -> list[str]:
        """Build a view that has stopped anew, and all that stopped because of it; notices."""
        statement = parse_script(view.sql)[0]
        assert isinstance(statement, CreateView)
        return self.replace(statement, view, wait=wait, partial=partial)

    def _in_background(self, change: _Change, backfill: Backfill) -> None:
        try:
            self._finish(change, backfill)
        except Error as error:
            self.failures[change.old.name.lower()] = error
            with suppress(Error):
                self._database.engine.replacements.abandon(backfill)

    def _finish(self, change: _Change, backfill: Backfill) -> None:
        database = self._database
        try:
            database.engine.replacements.wait(backfill)
            with database.lock:
                database.engine.replacements.swap(backfill, lambda: self._commit(change), change.ended)
                self._take_over(change)
        except Error as error:
            name = change.old.name
            raise OperationalError(
                f'"{name}" is what it was: its new version has failed',
                detail=error.detail or f"{error.headline[:1].upper()}{error.headline[1:]}.",
                hint="Say it again with a query that handles such rows." if _of_view(error) else error.hint,
                sqlstate=error.sqlstate,
            ) from error
        database.checkpointer.keep()

    # -- what becomes another one ---------------------------------------------------------------------------------

    def _plan(self, statement: CreateView, old: Relation) -> _Change:
        """What the statement changes. Raises: NotSupportedError where something that reads it cannot go along."""
        database = self._database
        readers = database.readers(old.name)
        named = {table_name(table).lower() for table in named_tables(statement.query)}
        below = next((each for each in (old, *readers) if each.name.lower() in named), None)
        if below is not None:
            itself = f'"{old.name}" cannot read itself'
            detail = None if below is old else f'"{below.name}" reads it.'
            raise ProgrammingError(itself, detail=detail, position=statement.start)
        graph = _Graph(database)
        relation, planned = graph.planner.view(statement)
        assert planned is not None
        relation = replace(relation, name=old.name)
        news = [_New(relation, planned)]
        graph.change(relation, planned, told=_alike(database, old, planned))
        for reader in readers:
            if database.queries.get(reader.name) is not None:
                raise NotSupportedError(
                    f'cannot replace "{old.name}" while "{reader.name}" writes what follows from it',
                    detail="What it has written would not follow from its query any more.",
                    hint=f"DROP {reader.kind} {reader.name}, and create it again after.",
                    position=statement.start,
                    sqlstate="2BP01",
                )
            try:
                new = self._reader(graph, reader)
            except Error as error:
                raise NotSupportedError(
                    f'cannot replace "{old.name}" while "{reader.name}" reads it',
                    detail=f"It would not work any more: {error.headline}.",
                    hint=f"Keep the columns that it reads, or DROP {reader.kind} {reader.name} first.",
                    position=statement.start,
                    sqlstate="2BP01",
                ) from error
            if new is not None:
                news.append(new)
        ended = tuple(
            name for name, plan in database.unnamed.items() if not graph.goes_on(plan.again(graph.planner), plan)
        )
        return _Change(old, tuple(news), tuple(reader.name for reader in readers), ended, graph.plans)

    def _reader(self, graph: _Graph, reader: Relation) -> _New | None:
        """What a view becomes by what it reads; None if it stays, and the difference will do."""
        again = parse_script(reader.sql)[0]
        assert isinstance(again, CreateView)
        relation, planned = graph.planner.view(again)
        if planned is None:
            if relation.columns == reader.columns:
                return None
            graph.relations = graph.relations.with_changed(relation)
            return _New(relation, None)
        before = self._database.plans[reader.name.lower()]
        stopped = reader.name in self._database.engine.errors()
        if relation.columns == reader.columns and not stopped and graph.passes(before.plan, planned.plan):
            if graph.reads(planned.plan):
                graph.touched.add(reader.name.lower())
            return None
        graph.change(relation, planned, told=_alike(self._database, reader, planned))
        return _New(relation, planned)

    def _versions(self, change: _Change) -> list[Version]:
        database, versions = self._database, []
        for name, planned in change.built:
            view_id = change.ids.get(name, database.view_ids[name.lower()])
            dataflow = database.lower(name, planned, view_id, plans=change.plans)
            told = _alike(database, database.relations.require(name), planned)
            keeps = planned.late_to == database.plans[name.lower()].late_to and name not in change.ids
            key = fingerprint(view_id, planned.plan)
            versions.append(Version(name, dataflow, schema_of(planned.columns), key, keeps, told))
        return versions

    def _refuse_gaps(self, backfill: Backfill, statement: CreateView) -> None:
        """Raises: NotSupportedError where rows were deleted that the new versions would have to read."""
        for name, stream in backfill.group.streams.items():
            if self._database.relations.require(name).kind != "STREAM":
                continue  # of a table nothing goes that still counts
            gone = sum(partition.start_offset for partition in stream.topic.partitions)
            if gone:
                raise NotSupportedError(
                    f'cannot build the new "{statement.name}" from all of its history',
                    detail=f'{gone} rows were deleted from "{name}", and parts of it that are new need them.',
                    hint="SET allow_partial_history = on, and it is built from the rows that are left.",
                    position=statement.start,
                    sqlstate="55000",
                )

    # -- taking over ----------------------------------------------------------------------------------------------

    def _commit(self, change: _Change) -> None:
        """What was replaced is another one on disk from now on."""
        database, name = self._database, change.old.name
        readers = tuple(reader.name for reader in database.readers(name))
        if readers != change.readers or database.relations.get(name) is not change.old:
            raise OperationalError(f'what reads "{name}" has changed meanwhile', hint="Say it again.")
        catalog, new = database.folder.catalog, change.news[0].relation
        entries = {name: replace(catalog.entries[name], sql=new.sql)}
        for other, view_id in change.ids.items():
            known = entries.get(other, catalog.entries[other])
            entries[other] = replace(known, properties={**known.properties, "id": view_id})
        catalog.rewrite([*entries.values()], [name, *readers] if self._moves(change) else [])

    def _moves(self, change: _Change) -> bool:
        """Whether it reads what was created after it: then it has to be declared later."""
        order = [relation.name.lower() for relation in self._database.relations]
        query = change.news[0].relation.query
        assert query is not None
        reads = [table_name(table).lower() for table in named_tables(query)]
        place = order.index(change.old.name.lower())
        return any(name in order and order.index(name) > place for name in reads)

    def _take_over(self, change: _Change) -> None:
        database = self._database
        moves = self._moves(change)
        for new in change.news:
            database.relations.add(new.relation)
            if new.planned is not None:
                database.know(new.relation.name, new.planned)
        database.view_ids.update({name.lower(): view_id for name, view_id in change.ids.items()})
        if moves:
            database.relations.move_to_end([change.old.name, *change.readers])


class _Graph:
    """What there will be: relations, and what is known of the views among them; `touched` are those that change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.relations: Relations = database.relations
        self._properties: dict[str, ViewProperties] = dict(database.all_properties)
        self.plans: dict[str, Plan] = {name: planned.plan for name, planned in database.plans.items()}
        self.touched: set[str] = set()
        self._untold: set[str] = set()

    @property
    def planner(self) -> ViewPlanner:
        """What plans over it."""
        through = frozenset(name for name, plan in self.plans.items() if stateless(plan))
        return ViewPlanner(self.relations, self._properties, through, self._database.binder)

    def change(self, relation: Relation, planned: ViewPlan, *, told: bool) -> None:
        """A view is another one."""
        name = relation.name.lower()
        self.relations = self.relations.with_changed(relation)
        self._properties[name] = properties_of(planned.plan)
        self.plans[name] = planned.plan
        self.touched.add(name)
        if not told or streams_of(name, self.plans) != self._database.streams_of(name):
            self._untold.add(name)

    def reads(self, plan: Plan) -> bool:
        """Whether it takes in the changes of a view that changes."""
        return any(isinstance(node, p.ViewScan) and node.view.lower() in self.touched for node in p.walk(plan))

    def passes(self, before: Plan, after: Plan) -> bool:
        """Whether a plan stays, and can take in the difference of what it reads.

        It cannot where it counts on rows that never go, on values that move one way, or on time that has passed.
        """
        if before != after:
            return False
        scans = [node for node in p.walk(after) if isinstance(node, p.ViewScan) and node.view.lower() in self.touched]
        if not scans:
            return True
        counted = any(scan.append_only or scan.motions or scan.time_columns or scan.closing for scan in scans)
        untold = any(scan.view.lower() in self._untold for scan in scans)
        return not counted and not untold and not p.append_only(after)

    def goes_on(self, after: ViewPlan | None, unnamed: Unnamed) -> bool:
        """Whether a live query of its own stays what it is."""
        return after is not None and self.passes(unnamed.planned.plan, after.plan)


@dataclass(frozen=True)
class Unnamed:
    """A live query of its own, and how it was planned."""

    query: exp.Query
    planned: ViewPlan
    lateness_us: int = 0

    def again(self, planner: ViewPlanner) -> ViewPlan | None:
        """Its plan as it would be now; None if it has none."""
        try:
            planned = planner.plan(self.query, final=self.planned.final, lateness_us=self.lateness_us)
        except Error:
            return None
        return planned.expiring(self.planned.ttl_us)


def _alike(database: Database, old: Relation, planned: ViewPlan) -> bool:
    """Whether who listens can go on: the columns and the key are what they were."""
    same_key = database.properties(old.name).key == properties_of(planned.plan).key
    return planned.columns == old.columns and same_key


def _of_view(error: Error) -> bool:
    return error.headline.endswith("has stopped")
