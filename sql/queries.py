"""The continuous queries of a database that write: how they are created, found again after a restart, and dropped."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage.catalog import CatalogEntry
from ..storage.errors import Error, ProgrammingError
from .copying import Copies, file_target, folder_of, made_folder, query_name, topic_of
from .declaration import refuse_cleaning, spelled, topic_options
from .derived import Derived, copy_derived, derive, insert_derived, refuse_cycle
from .late_target import refuse_late_target
from .outputs import TopicOutput, engine_name, written_progress
from .plan import Plan
from .query_options import of_topic
from .relations import Relation, Relations
from .statements import CopyTo, CreateDerived, Insert
from .twin import named_tables, table_name
from .view_plan import ViewPlan, notes_on

if TYPE_CHECKING:
    from .database import Database


class Queries:
    """All that write a stream or a table of the database, by name in lower case."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._running: dict[str, Derived] = {}
        self._copies = Copies(database)

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self._running)

    def get(self, name: str) -> Derived | None:
        """The query of that name, or that writes the derived stream or table of that name."""
        return self._running.get(name.lower())

    def create(self, statement: CreateDerived, replaced: Relation | None) -> list[str]:
        """A stream or a table whose rows are those of a query from now on, and of the rows there are; notices."""
        database = self._database
        if replaced is not None and any(
            table_name(table).lower() == replaced.name.lower() for table in named_tables(statement.query)
        ):
            raise ProgrammingError(f'"{replaced.name}" cannot read itself', position=statement.start)
        derived = self.derive(statement)
        relation = derived.relation
        kept = of_topic(statement.options)
        options = topic_options(kept, database.default_options(relation, None), statement.start)
        if relation.kind == "TABLE":
            refuse_cleaning(statement.options, statement.start)
        spread = relation.kind == "STREAM" or bool(relation.key)
        partitions = (statement.partitions or database.default_partitions) if spread else 1
        key = [*relation.key, *(spelled(relation, name) for name in statement.partition_by)]
        query_id = time.time_ns()
        properties = {"partitions": partitions, "key": key, "id": query_id}
        if replaced is not None:
            database.drop([replaced.name])
        database.folder.catalog.put(CatalogEntry(relation.name, relation.kind, statement.text, properties))
        database.open_stream(replace(relation, partitions=partitions), options, partitions, key)
        self._start(derived, query_id)
        return notes_on(derived.planned)

    def insert(self, statement: Insert, target: Relation) -> list[str]:
        """A query that goes on inserting into a stream; a notice says what it is called."""
        database = self._database
        name = self._numbered(f"insert_into_{target.name}")
        refuse_late_target(statement.emit)
        derived = self.derive_insert(statement, name, target)
        query_id = time.time_ns()
        database.folder.catalog.put(CatalogEntry(name, "QUERY", statement.text, {"id": query_id}))
        database.relations.add(derived.relation)
        self._start(derived, query_id)
        notes = notes_on(derived.planned)
        return [f'query "{name}" goes on inserting; DROP QUERY {name} ends it', *notes]

    def copy(self, statement: CopyTo) -> list[str]:
        """A query that goes on making files; a notice says what it is called."""
        database = self._database
        refuse_late_target(statement.emit)
        query_id = time.time_ns()
        name = self._numbered(query_name(statement))
        derived = self.derive_copy(statement, name, query_id)
        files = file_target(statement, folder_of(statement, database.log), query_id, derived.planned.columns)
        folder = made_folder(statement, database.log)
        properties = {"id": query_id, "folder": str(folder)}
        database.folder.catalog.put(CatalogEntry(name, "QUERY", statement.text, properties))
        database.relations.add(derived.relation)
        self._copies.open(name, files, query_id)
        self._start(derived, query_id)
        notes = notes_on(derived.planned)
        return [f'query "{name}" goes on writing files; DROP QUERY {name} ends it', *notes]

    def derive_copy(self, statement: CopyTo, name: str, query_id: int, relations: Relations | None = None) -> Derived:
        """What the query called `name` means whose rows go to files."""
        planner = self._database.planning(relations)
        return copy_derived(planner, statement, name, topic_of(query_id), self._plans())

    def failure(self, name: str) -> Error | None:
        """Why the files of a query that runs cannot be made at the moment."""
        return self._copies.failure(name)

    def failures(self) -> dict[str, Error]:
        """The queries that run and whose files cannot be made at the moment, and why."""
        return self._copies.failures()

    def finish(self, name: str) -> list[str]:
        """The query of that name is about to be dropped: what it has put out goes to files; notices."""
        return self._copies.finish(name)

    def close(self) -> None:
        """Let those that make files finish them; the engine has stopped."""
        self._copies.close()

    def derive(self, statement: CreateDerived, relations: Relations | None = None) -> Derived:
        """What CREATE ... AS means over `relations`, or the present ones."""
        return derive(self._database.planning(relations), statement, self._plans())

    def derive_insert(
        self, statement: Insert, name: str, target: Relation, relations: Relations | None = None
    ) -> Derived:
        """What the query called `name` means that goes on inserting."""
        derived = insert_derived(self._database.planning(relations), statement, name, target, self._plans())
        refuse_cycle(derived, self._writers(), statement.position)
        return derived

    def declare(self, entry: CatalogEntry, statement: CreateDerived | Insert | CopyTo) -> None:
        """Take up what the catalog holds; the query goes on where it was, if this process may write."""
        database, properties = self._database, entry.properties
        if isinstance(statement, Insert):
            target = database.relations.require(statement.name)
            derived = self.derive_insert(statement, entry.name, target)
            database.relations.add(derived.relation)
        elif isinstance(statement, CopyTo):
            derived = self.derive_copy(statement, entry.name, int(properties["id"]))
            database.relations.add(derived.relation)
            if not database.read_only:
                folder, query_id = Path(properties["folder"]), int(properties["id"])
                files = file_target(statement, folder, query_id, derived.planned.columns)
                self._copies.open(entry.name, files, query_id)
        else:
            derived = self.derive(statement)
            base = database.default_options(derived.relation, None)
            options = topic_options(of_topic(statement.options), base, None)
            relation = replace(derived.relation, partitions=int(properties["partitions"]))
            database.open_stream(relation, options, relation.partitions, list(properties["key"]))
        self._start(derived, int(properties["id"]))

    def resume(self, name: str) -> None:
        """Start a query that has stopped once more, from its log: it goes on writing after what it wrote last."""
        derived = self._running[name.lower()]
        self._database.engine.drop_view(engine_name(derived.relation.name))
        self._start(derived, derived.query_id)

    def forget(self, relation: Relation) -> None:
        """The query of that name writes no more."""
        running = self._running.pop(relation.name.lower(), None)
        if running is not None and not self._database.read_only:
            self._database.engine.drop_view(engine_name(relation.name))
            self._copies.drop(relation.name, running.query_id)

    def status(self) -> list[tuple[str, ViewPlan, Exception | None]]:
        """Each query's name and plan, and why it has stopped if it has."""
        errors = self._database.engine.errors()
        return [
            (derived.relation.name, derived.planned, errors.get(engine_name(derived.relation.name)))
            for derived in self._running.values()
        ]

    def _start(self, derived: Derived, query_id: int) -> None:
        database, name = self._database, derived.relation.name
        self._running[name.lower()] = replace(derived, query_id=query_id)
        if database.read_only:
            return  # whoever owns the folder runs it
        done = written_progress(database.log).get(query_id)
        output = TopicOutput(database.folder, derived.writes, query_id, done, database.reports.settle)
        dataflow = database.lower(engine_name(name), derived.planned, query_id, keeps=False)
        database.start(engine_name(name), query_id, derived.planned, dataflow, output)

    def _numbered(self, name: str) -> str:
        """The name with the first number that makes it one that nothing has."""
        names = (f"{name}_{number}" for number in itertools.count(1))
        return next(name for name in names if self._database.relations.get(name) is None)

    def _plans(self) -> Mapping[str, Plan]:
        return {name: planned.plan for name, planned in self._database.plans.items()}

    def _writers(self) -> dict[str, list[ViewPlan]]:
        found: dict[str, list[Any]] = {}
        for derived in self._running.values():
            found.setdefault(derived.writes.name, []).append(derived.planned)
        return found
