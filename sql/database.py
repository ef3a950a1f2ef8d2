"""One open database: its folder, the relations SQL can name, and the engine that keeps its views."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from sqlglot import exp

from ..engine.checkpoint import Found, RestoreError
from ..engine.checkpointer import Checkpointer
from ..engine.dataflow import Dataflow
from ..engine.epochs import Epochs
from ..engine.options import Options
from ..engine.output import Output
from ..engine.retracing import Retracing
from ..engine.runtime import Engine
from ..engine.view import Stream
from ..engine.watermark import Advance
from ..storage import limits
from ..storage.catalog import CatalogEntry
from ..storage.checkpoints import Checkpoints
from ..storage.epoch_log import EpochLog
from ..storage.errors import OperationalError, ProgrammingError
from ..storage.folder import Folder
from ..storage.readable import ReadableFolder, ReadableTopic
from ..storage.remote_files import RemoteFiles
from ..storage.tail import TailFolder
from ..storage.topic import Durability, TopicOptions
from . import plan as p
from .declaration import declared, declared_relation, log_schema, refuse_cleaning, spelled, topic_options
from .declaring import Declarations
from .evolving import Evolving, Unnamed
from .fingerprint import fingerprint
from .lower import lower
from .memory_limit import MemoryLimit
from .orphans import drop_orphans
from .plan_inputs import streams_of
from .plan_properties import stateless
from .planner import ViewProperties, properties_of
from .queries import Queries
from .relations import Relation, Relations, schema_of
from .reports import Reports
from .retaining import needed
from .statements import CreateStream, CreateView
from .system import system_relations
from .table_log import changelog
from .turns import Turns
from .twin import named_tables, table_name
from .types import Binder, quote
from .view_plan import ViewPlan, ViewPlanner, notes_on


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
        checkpoint_interval_s: float = limits.CHECKPOINT_INTERVAL_S,
        memory_limit: int | None = None,
    ) -> None:
        self.lock, self.options = threading.RLock(), options
        self.binder = Binder()
        self.relations = Relations()
        self.plans: dict[str, ViewPlan] = {}
        self.view_ids: dict[str, int] = {}
        self.turns = Turns()
        self.queries = Queries(self)
        self.evolving = Evolving(self)
        self.unnamed: dict[str, Unnamed] = {}  # subscriptions with queries of their own
        self.default_partitions = default_partitions
        self.all_properties: dict[str, ViewProperties] = {}
        self._through = set[str]()  # materialized views without state, in place of which their queries are planned
        self.followed: dict[str, ReadableTopic] = {}  # of the streams
        self._declarations = Declarations(self)
        self._tail: TailFolder | None = None
        self._owned: Folder | None = None
        if path is not None and read_only:
            self._tail = TailFolder(path, remote=remote, cache_bytes=cache_bytes)
        else:
            self._owned = Folder.open(path, durability=durability, remote=remote, cache_bytes=cache_bytes)
            self._owned.hold(lambda topic: needed(self, topic))
        durable = durability != "none" and not self.log.temporary
        self.epochs = Epochs(EpochLog(self.log.path / "journal", durable=durable, read_only=read_only))
        try:
            self.reports: Reports = Reports(self.log, self._owned)
            for system in system_relations(self.binder):
                self.relations.add(system)
            self.checkpoints = Checkpoints(self.log.path / "checkpoints", durable=durable)
            self.memory = MemoryLimit(self.log, self.read_only)
            past = Retracing(self.epochs, Found.newest(self.checkpoints), self.log.topics)
            self.engine = Engine(options, self.reports.flush, self.reports.ends, self.memory.state, past)
            interval_s = 0.0 if self.read_only or self.log.temporary else checkpoint_interval_s
            kept = (self.checkpoints, self.epochs, self.reports.settle)
            self.checkpointer = Checkpointer(self.engine, *kept, interval_s, past.found)
            if self._owned is not None:
                drop_orphans(self._owned)
            self.memory.limit(memory_limit, self.engine)
            self._declarations.declare(self.log.catalog.entries)
        except BaseException:
            self.epochs.close()
            self.log.close()
            raise
        self.engine.start()
        self.checkpointer.start()

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
        raise self._not_owned("write")

    def _not_owned(self, wish: str) -> OperationalError:
        assert self._tail is not None
        return OperationalError(
            f"cannot {wish}: the database is open for reading only",
            detail=f"Process {self._tail.owner} owns {self._tail.path}, or owned it last.",
            hint="Write from that process; or, when it has ended, connect without read_only.",
            sqlstate="25006",
        )

    @property
    def read_only(self) -> bool:
        """Whether another process may be writing, and this one may not."""
        return self._tail is not None

    @property
    def notices(self) -> list[str]:
        """What there is to say about how the database was found."""
        found = [*self.log.notices, *self.checkpoints.notices, *self.epochs.notices]
        for relation in self.relations:
            gone = 0
            if relation.kind == "STREAM":  # of a table nothing goes that still counts
                gone = sum(partition.start_offset for partition in self.log.topic(relation.name).partitions)
            if not gone:
                continue
            built = [view.name for view in self.readers(relation.name) if view.kind == "MATERIALIZED VIEW"]
            names = [f'"{name}"' for name in built if name not in self.engine.recorder.resumed]
            if names:
                says = f'{gone} rows were deleted from "{relation.name}" so far'
                found.append(f"{says}: {', '.join(names)} followed, when this was opened, from those left then")
        return found

    def refresh(self) -> None:
        """Take over what the process that owns the folder has created and dropped since."""
        if self._tail is None:
            return
        with self.lock:
            if self._tail.look():
                self._declarations.follow(self._tail.catalog.entries)

    def checkpoint(self) -> None:
        """Write down what the engine has kept, and return when it is on disk. Raises: OperationalError if it cannot."""
        if self.read_only:
            raise self._not_owned("take a checkpoint")
        self.checkpointer.take("statement")

    def close(self) -> None:
        """Stop the engine, with a checkpoint where it is worth one, then let go of the folder."""
        self.checkpointer.close()
        self.engine.close()
        self.queries.close()
        self.memory.close()
        self.log.close()

    # -- streams --------------------------------------------------------------------------------------------------

    def create_stream(self, statement: CreateStream, replaced: Relation | None = None) -> list[str]:
        """Declare a stream or a table and its topic, all of it checked before anything is kept; notices, none so far.

        One that is `replaced` goes first, with its rows.
        """
        relation = declared_relation(self.binder, statement)
        options = self.topic_options(statement, relation)
        spread = relation.kind == "STREAM" or bool(relation.key)
        partitions = statement.partitions or (self.default_partitions if spread else 1)
        relation = replace(relation, partitions=partitions)
        key = [*relation.key, *(spelled(relation, name) for name in statement.partition_by)]
        properties = {"partitions": partitions, "key": key}
        if replaced is not None:
            self.drop([replaced.name])
        self.folder.catalog.put(CatalogEntry(relation.name, relation.kind, statement.text, properties))
        self.open_stream(relation, options, partitions, key)
        return []

    def default_options(self, stream: Relation, headers: str | None) -> TopicOptions:
        """How the log of a stream is kept that says nothing else."""
        cleanup: Literal["compact", "delete"] = "compact" if stream.key and not stream.versioned else "delete"
        durability: Durability = "none" if self.log.temporary else "group"
        return TopicOptions(durability, stream.event_time, cleanup=cleanup, headers=headers, append_time=stream.arrival)

    def topic_options(self, statement: CreateStream, relation: Relation) -> TopicOptions:
        """How the log of a declared stream or table is kept."""
        if relation.kind == "TABLE":
            refuse_cleaning(statement.options, statement.start)
        headers = next((column.name for column in statement.columns if column.metadata == "headers"), None)
        return topic_options(statement.options, self.default_options(relation, headers), statement.start)

    def open_stream(self, relation: Relation, options: TopicOptions, partitions: int, key: list[str]) -> None:
        """Let SQL and the engine know a stream or a table, whose topic is made if it is not there."""
        topic: ReadableTopic
        if relation.name in self.log.topics:
            topic = self.log.topic(relation.name)
        else:
            topic = self.folder.create_topic(
                relation.name, log_schema(relation), partitions=partitions, key=key, options=options
            )
        if topic.options != options:  # an ALTER came so far and no further
            base = self.default_options(relation, topic.options.headers)
            relation = replace(relation, sql=declared(relation, topic.key, topic.options, base))
        self.relations.add(relation)
        self.followed[relation.name] = topic
        entry = self.log.catalog.entries.get(relation.name)
        advance = None if entry is None else Advance.of(entry.properties)
        arrival = relation.event_time is not None and relation.event_time == relation.arrival
        self.engine.add_stream(Stream(relation.name, topic, relation.event_time, relation.delay_us, advance, arrival))
        if relation.kind == "TABLE":
            self.keep_table(relation)

    def keep_table(self, table: Relation) -> None:
        """Let the engine keep the rows that a table's log says are there now."""
        query = exp.select("*").from_(quote(table.name))
        self.keep(table.name, 0, ViewPlan(query, table.columns, changelog(table, table.name), final=False))

    # -- views ----------------------------------------------------------------------------------------------------

    def create_view(self, statement: CreateView, replaced: Relation | None = None) -> list[str]:
        """Declare a view, and start to keep it if it is materialized; notices for the person who asked.

        A view that is `replaced` goes in the same step: a crash leaves the one or the other.
        """
        if replaced is not None and any(_same(table_name(t), replaced.name) for t in named_tables(statement.query)):
            raise ProgrammingError(f'"{replaced.name}" cannot read itself', position=statement.start)
        relation, planned = self.view_relation(statement)
        view_id = time.time_ns()
        dataflow = None if planned is None else self.lower(relation.name, planned, view_id)
        entry = CatalogEntry(relation.name, relation.kind, statement.text, {"id": view_id})
        self.folder.catalog.replace(relation.name if replaced is None else replaced.name, entry)
        if replaced is not None:
            self.forget(replaced)
        self.relations.add(relation)
        if planned is None or dataflow is None:
            return []
        self.keep(relation.name, view_id, planned, dataflow)
        return notes_on(planned)

    def view_relation(
        self, statement: CreateView, relations: Relations | None = None
    ) -> tuple[Relation, ViewPlan | None]:
        """What a view is and, if it is materialized, its plan; over `relations`, or the present ones."""
        return self.planning(relations).view(statement)

    def plan(self, query: exp.Query, *, final: bool, lateness_us: int = 0, skips: bool = False) -> ViewPlan:
        """The plan of a continuous query; a ProgrammingError with its place if it is not one."""
        return self.planning().plan(query, final=final, lateness_us=lateness_us, skips=skips)

    def planning(self, relations: Relations | None = None) -> ViewPlanner:
        """What plans continuous queries over `relations`, or the present ones."""
        through = frozenset(self._through)
        return ViewPlanner(
            self.relations if relations is None else relations, self.all_properties, through, self.binder
        )

    def keep(self, name: str, view_id: int, planned: ViewPlan, dataflow: Dataflow | None = None) -> None:
        """Know a relation whose rows the engine keeps, and let it."""
        self.view_ids[name.lower()] = view_id
        self.know(name, planned)
        self.start(name, view_id, planned, dataflow or self.lower(name, planned, view_id))

    def know(self, name: str, planned: ViewPlan) -> None:
        """The plan by which the rows of a relation are kept."""
        self.all_properties[name.lower()] = properties_of(planned.plan)
        self.plans[name.lower()] = planned
        (self._through.add if stateless(planned.plan) else self._through.discard)(name.lower())

    def start(
        self, name: str, view_id: int, planned: ViewPlan, dataflow: Dataflow, output: Output | None = None
    ) -> None:
        """Let the engine run a query under `name`, after a restart from where a checkpoint has it."""
        schema = schema_of(planned.columns)
        try:
            self.engine.add_view(name, dataflow, schema, output, fingerprint(view_id, planned.plan))
        except RestoreError as error:
            self.checkpoints.notices.append(f"a checkpoint was of no use: {error}")
            self.engine.add_view(name, self.lower(name, planned, view_id, keeps=output is None), schema, output)

    def start_unnamed(self, name: str, unnamed: Unnamed) -> None:
        """Let the engine keep the result of a subscription's own query under `name`, which no SQL can say."""
        planned = unnamed.planned
        self.engine.add_view(name, self.lower(name, planned, view_id=0), schema_of(planned.columns))
        self.unnamed[name] = unnamed

    def stop_unnamed(self, name: str) -> None:
        """The subscription is over."""
        if self.unnamed.pop(name, None) is not None:
            self.engine.drop_view(name)

    def lower(
        self,
        name: str,
        planned: ViewPlan,
        view_id: int,
        *,
        keeps: bool = True,
        plans: Mapping[str, p.Plan] | None = None,
    ) -> Dataflow:
        """The operators that run a plan for the view `name`, which keeps its result or only tells its changes.

        `plans` are those of the views that it may read, or the present ones.
        """
        over = self.streams_of if plans is None else lambda view: streams_of(view, plans)
        return lower(planned.plan, self.reports.around(name, view_id, planned, over), keeps=keeps)

    def streams_of(self, name: str) -> frozenset[str]:
        """All streams that a materialized view depends on, through other views too."""
        return streams_of(name, {name: planned.plan for name, planned in self.plans.items()})

    def properties(self, name: str) -> ViewProperties:
        """What is known of a materialized view's changelog."""
        return self.all_properties[name.lower()]

    # -- dropping and reopening -----------------------------------------------------------------------------------

    def dependents(self, name: str) -> list[Relation]:
        """What names `name` in its query, directly, or inserts into it."""
        return [
            relation
            for relation in self.relations
            if relation.query is not None
            and any(_same(each, name) for each in (relation.target, *map(table_name, named_tables(relation.query))))
        ]

    def readers(self, name: str) -> list[Relation]:
        """The views that read `name`, through other views too, in the order in which they were made."""
        found = [name.lower()]
        for relation in self.relations:  # whoever reads another was made after it
            tables = named_tables(relation.query) if relation.query is not None else []
            if any(table_name(table).lower() in found for table in tables):
                found.append(relation.name.lower())
        return [relation for relation in self.relations if relation.name.lower() in found[1:]]

    def drop(self, names: list[str]) -> None:
        """Forget relations, given so that none comes before one that reads it; from the catalog all at once."""
        self.folder.catalog.remove(*names)
        for name in names:
            self.forget(self.relations.require(name))

    def forget(self, relation: Relation) -> None:
        """Let go of a relation that is not in the catalog any more, and of its rows."""
        name = relation.name.lower()
        self.queries.forget(relation)
        if relation.kept:
            self.engine.drop_view(relation.name)
            del self.plans[name], self.all_properties[name], self.view_ids[name]
            self._through.discard(name)
        if relation.logged:
            self.engine.drop_stream(relation.name)
            self.reports.ends.pop(relation.name, None)
            del self.followed[relation.name]
            if self._owned is not None:
                self._owned.drop_topic(relation.name)
        self.relations.remove(name)

    def rename(self, relation: Relation, new: Relation) -> None:
        """Know a view, which nothing reads, under the name that the catalog has for it now."""
        old, name = relation.name.lower(), new.name.lower()
        self.relations.remove(old)
        self.relations.add(new)
        if relation.kept:
            del self.all_properties[old]
            self._through.discard(old)
            self.know(name, self.plans.pop(old))
            self.view_ids[name] = self.view_ids.pop(old)
            self.engine.rename_view(relation.name, new.name)
            self.reports.rename(self.view_ids[name], new.name)


def _same(left: str, right: str) -> bool:
    return left.lower() == right.lower()
