"""One open database: its folder, the relations SQL can name, and the engine that keeps its views."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..engine.dataflow import Dataflow
from ..engine.group import Stream
from ..engine.runtime import Engine, Options
from ..storage import limits
from ..storage.catalog import CatalogEntry
from ..storage.errors import OperationalError, ProgrammingError
from ..storage.folder import Folder
from ..storage.readable import ReadableFolder, ReadableTopic
from ..storage.remote_files import RemoteFiles
from ..storage.tail import TailFolder
from ..storage.topic import Durability, TopicOptions
from . import plan as p
from .blocks import volatile_names
from .declaration import spelled, stream_relation, topic_options
from .dialect import parse_script
from .explain import unbounded
from .late_rows import LateLog
from .lower import Surroundings, lower
from .plan import Plan
from .planner import Planner, ViewProperties
from .relations import Column, Relation, Relations, schema_of
from .statements import CreateStream, CreateView
from .system import refuse_system, system_relations
from .twin import (
    bind,
    expand_views,
    inline_ctes,
    named_tables,
    refuse_outside,
    refuse_volatile,
    settle_ties,
    table_name,
    twin,
)
from .types import Binder
from .window_checks import check_windows

from sqlglot import exp  # isort: skip


@dataclass(frozen=True)
class ViewPlan:
    """A planned continuous query: `query` with views expanded and ties settled, its columns and its plan."""

    query: exp.Query
    columns: tuple[Column, ...]
    plan: Plan
    final: bool


class Database:
    """What connections to one folder share. Statements that change it hold `lock`."""

    def __init__(
        self,
        path: Path | None,
        options: Options,
        *,
        durability: Durability | None,
        default_partitions: int,
        read_only: bool = False,
        remote: RemoteFiles | None = None,
        cache_bytes: int = limits.SEGMENT_CACHE_BYTES,
    ) -> None:
        self.lock = threading.RLock()
        self.binder = Binder()
        self.relations = Relations()
        self.plans: dict[str, ViewPlan] = {}
        self.view_ids: dict[str, int] = {}
        self.default_partitions = default_partitions
        self._properties: dict[str, ViewProperties] = {}
        self._entries: dict[str, CatalogEntry] = {}  # of the catalog, as they are declared here
        self._tail: TailFolder | None = None
        self._owned: Folder | None = None
        if path is not None and read_only:
            self._tail = TailFolder(path, remote=remote, cache_bytes=cache_bytes)
        else:
            self._owned = Folder.open(path, durability=durability, remote=remote, cache_bytes=cache_bytes)
        try:
            self.late: LateLog = LateLog(self.log, self._owned)
            for system in system_relations(self.binder):
                self.relations.add(system)
            self.engine = Engine(options, self.late.flush)
            if self._owned is not None:
                self._drop_orphans(self._owned)
            self._declare(self.log.catalog.entries)
        except BaseException:
            self.log.close()
            raise
        self.engine.start()

    @property
    def log(self) -> ReadableFolder:
        """The folder, to read."""
        if self._owned is not None:
            return self._owned
        assert self._tail is not None
        return self._tail

    @property
    def folder(self) -> Folder:
        """The folder, to write. Raises: OperationalError where it was opened to read only."""
        if self._owned is not None:
            return self._owned
        assert self._tail is not None
        raise OperationalError(
            "cannot write: the database is open for reading only",
            detail=f"Process {self._tail.owner} owns {self._tail.path}, or owned it last.",
            hint="Write from that process; or, when it has ended, connect without read_only.",
            sqlstate="25006",
        )

    @property
    def read_only(self) -> bool:
        """Whether another process may be writing, and this one may not."""
        return self._tail is not None

    def refresh(self) -> None:
        """Take over what the process that owns the folder has created and dropped since."""
        if self._tail is None:
            return
        with self.lock:
            if self._tail.look():
                self._follow_catalog(self._tail.catalog.entries)

    def close(self) -> None:
        """Stop the engine, then let go of the folder."""
        self.engine.close()
        self.log.close()

    # -- streams --------------------------------------------------------------------------------------------------

    def create_stream(self, statement: CreateStream, replaced: Relation | None = None) -> list[str]:
        """Declare a stream and its topic, all of it checked before anything is kept; notices, none so far.

        A stream that is `replaced` goes first, with its rows.
        """
        relation = stream_relation(self.binder, statement)
        options = self._options(statement, relation)
        partitions = statement.partitions or self.default_partitions
        relation = replace(relation, partitions=partitions)
        key = [spelled(relation, name) for name in statement.partition_by]
        properties = {"partitions": partitions, "key": key}
        if replaced is not None:
            self.drop([replaced.name])
        self.folder.catalog.put(CatalogEntry(relation.name, "STREAM", statement.text, properties))
        self._open_stream(relation, options, partitions, key)
        return []

    def _options(self, statement: CreateStream, relation: Relation) -> TopicOptions:
        base = TopicOptions("none" if self.log.temporary else "group", relation.event_time)
        return topic_options(statement.options, base, statement.start)

    def _open_stream(self, relation: Relation, options: TopicOptions, partitions: int, key: list[str]) -> None:
        topic: ReadableTopic
        if relation.name in self.log.topics:
            topic = self.log.topic(relation.name)
        else:
            topic = self.folder.create_topic(
                relation.name, relation.schema, partitions=partitions, key=key, options=options
            )
        self.relations.add(relation)
        self.engine.add_stream(Stream(relation.name, topic, relation.event_time, relation.delay_us))

    # -- views ----------------------------------------------------------------------------------------------------

    def create_view(self, statement: CreateView, replaced: Relation | None = None) -> list[str]:
        """Declare a view, and start to keep it if it is materialized; notices for the person who asked.

        A view that is `replaced` goes in the same step: a crash leaves the one or the other.
        """
        if replaced is not None and any(_same(table_name(t), replaced.name) for t in named_tables(statement.query)):
            raise ProgrammingError(f'"{replaced.name}" cannot read itself', position=statement.start)
        relation, planned = self._view_relation(statement)
        view_id = time.time_ns()
        dataflow = None if planned is None else self._lower(relation.name, planned, view_id)
        entry = CatalogEntry(relation.name, relation.kind, statement.text, {"id": view_id})
        self.folder.catalog.replace(relation.name if replaced is None else replaced.name, entry)
        if replaced is not None:
            self._forget(replaced)
        self.relations.add(relation)
        if planned is None or dataflow is None:
            return []
        self._keep(relation.name, view_id, planned, dataflow)
        return [f"state grows without bound: {note}" for note in unbounded(planned.plan)]

    def _view_relation(self, statement: CreateView) -> tuple[Relation, ViewPlan | None]:
        if statement.materialized:
            final = statement.emit is not None and statement.emit.mode == "FINAL"
            planned = self.plan(statement.query, final=final, names=statement.columns, emit=statement)
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
            query = expand_views(statement.query, self.relations)
            check_windows(query, self.relations, self.binder)
            columns = self._named(
                bind(twin(query), self.relations, self.binder, statement.query), statement.columns, statement
            )
        _refuse_duplicates(columns, statement)
        kind = "MATERIALIZED VIEW" if statement.materialized else "VIEW"
        return Relation(statement.name, kind, columns, statement.text, statement.query), planned  # type: ignore[arg-type]

    def plan(
        self, query: exp.Query, *, final: bool, names: tuple[str, ...] = (), emit: CreateView | None = None
    ) -> ViewPlan:
        """The plan of a continuous query; a ProgrammingError with its place if it is not one."""
        refuse_system(query, self.relations)
        refuse_outside(query)
        stateless = {name for name, planned in self.plans.items() if p.stateless(planned.plan)}
        expanded = inline_ctes(expand_views(query, self.relations, stateless))
        refuse_volatile(expanded, volatile_names())
        check_windows(expanded, self.relations, self.binder)
        columns = bind(twin(expanded), self.relations, self.binder, query)
        expanded = settle_ties(expanded, lambda part: len(bind(twin(part.copy()), self.relations, self.binder)))
        plan = Planner(self.relations, self._properties, self.binder, final=final).plan(expanded, columns)
        if final and not any(isinstance(node, p.WindowAggregate) and node.final for node in p.walk(plan)):
            raise ProgrammingError(
                "cannot EMIT FINAL without a window that closes",
                detail="A result is final when the watermark has passed the end of its window.",
                hint="Group by window_start, window_end of a TUMBLE or HOP over the column with the WATERMARK.",
                position=emit.emit.position if emit is not None and emit.emit is not None else None,
            )
        if names:
            columns = self._named(columns, names, emit)
            items = tuple(
                (c.name, exp.column(exp.to_identifier(b.name, quoted=True)))
                for c, b in zip(columns, plan.columns, strict=True)
            )
            plan = p.Map(plan, items, None, columns)
        return ViewPlan(expanded, columns, plan, final)

    def _keep(self, name: str, view_id: int, planned: ViewPlan, dataflow: Dataflow) -> None:
        plan = planned.plan
        settled = any(isinstance(node, p.WindowAggregate) for node in p.walk(plan))
        times = p.time_columns(plan) if settled else frozenset()
        self._properties[name.lower()] = ViewProperties(p.append_only(plan), times, p.key(plan))
        self.plans[name.lower()] = planned
        self.view_ids[name.lower()] = view_id
        self.engine.add_view(name, dataflow, schema_of(planned.columns))

    def start_unnamed(self, name: str, planned: ViewPlan) -> None:
        """Let the engine keep the result of a subscription's own query under `name`, which no SQL can say."""
        self.engine.add_view(name, self._lower(name, planned, view_id=0), schema_of(planned.columns))

    def _lower(self, name: str, planned: ViewPlan, view_id: int) -> Dataflow:
        kept = [relation.name for relation in self.relations if relation.kind == "MATERIALIZED VIEW"]
        around = Surroundings(
            {view.lower(): self.streams_of(view) for view in kept},
            self.late.known(view_id),
            self.late.reporter(name, view_id),
        )
        return lower(planned.plan, around)

    def streams_of(self, name: str) -> frozenset[str]:
        """All streams that a materialized view depends on, through other views too."""
        found: set[str] = set()
        planned = self.plans.get(name.lower())
        for node in p.walk(planned.plan) if planned is not None else ():
            if isinstance(node, p.Scan):
                found.add(node.stream)
            elif isinstance(node, p.ViewScan):
                found |= self.streams_of(node.view)
        return frozenset(found)

    def properties(self, name: str) -> ViewProperties:
        """What is known of a materialized view's changelog."""
        return self._properties[name.lower()]

    # -- dropping and reopening -----------------------------------------------------------------------------------

    def dependents(self, name: str) -> list[Relation]:
        """The views whose query names `name`, directly."""
        return [
            relation
            for relation in self.relations
            if relation.query is not None
            and any(table_name(t).lower() == name.lower() for t in named_tables(relation.query))
        ]

    def drop(self, names: list[str]) -> None:
        """Forget relations, given so that none comes before one that reads it; from the catalog all at once."""
        self.folder.catalog.remove(*names)
        for name in names:
            self._forget(self.relations.require(name))

    def _forget(self, relation: Relation) -> None:
        name = relation.name.lower()
        if relation.kind == "MATERIALIZED VIEW":
            self.engine.drop_view(relation.name)
            del self.plans[name], self._properties[name], self.view_ids[name]
        elif relation.kind == "STREAM":
            self.engine.drop_stream(relation.name)
            if self._owned is not None:
                self._owned.drop_topic(relation.name)
        self.relations.remove(name)

    def _drop_orphans(self, folder: Folder) -> None:
        """Drop the topics of no stream: a DROP was committed, and the process died before the files went."""
        streams = {entry.name for entry in folder.catalog.entries.values() if entry.kind == "STREAM"}
        for name in [name for name in folder.topics if name not in streams and name != self.late.NAME]:
            folder.drop_topic(name)

    def _follow_catalog(self, entries: Mapping[str, CatalogEntry]) -> None:
        """Declare what is new in the catalog, and forget what is not in it any more or is another now."""
        stale = [name for name, entry in self._entries.items() if entries.get(name) != entry]
        gone = [relation for relation in self.relations if relation.name in stale]
        while gone:
            for relation in [r for r in gone if not any(d in gone for d in self.dependents(r.name))]:
                self._forget(relation)
                del self._entries[relation.name]
                gone.remove(relation)
        self._declare({name: entry for name, entry in entries.items() if name not in self._entries})

    def _declare(self, entries: Mapping[str, CatalogEntry]) -> None:
        """Declare what the catalog holds, in the order it was created."""
        for entry in entries.values():
            self._entries[entry.name] = entry
            statement = parse_script(entry.sql)[0]
            if isinstance(statement, CreateStream):
                relation = stream_relation(self.binder, statement)
                options = self._options(statement, relation)
                partitions = int(entry.properties["partitions"])
                self._open_stream(
                    replace(relation, partitions=partitions), options, partitions, list(entry.properties["key"])
                )
            else:
                assert isinstance(statement, CreateView)
                view, planned = self._view_relation(statement)
                self.relations.add(view)
                if planned is not None:
                    view_id = int(entry.properties["id"])
                    self._keep(view.name, view_id, planned, self._lower(view.name, planned, view_id))

    def _named(
        self, columns: tuple[Column, ...], names: tuple[str, ...], statement: CreateView | None
    ) -> tuple[Column, ...]:
        if not names:
            return columns
        if len(names) != len(columns):
            raise ProgrammingError(
                f"the view names {len(names)} columns, but its query returns {len(columns)}",
                position=None if statement is None else statement.start,
            )
        return tuple(replace(column, name=name) for column, name in zip(columns, names, strict=True))


def _same(left: str, right: str) -> bool:
    return left.lower() == right.lower()


def _refuse_duplicates(columns: tuple[Column, ...], statement: CreateView) -> None:
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
