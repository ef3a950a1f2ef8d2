"""Declaring: what the catalog holds becomes relations and running queries, at the start and as others change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..engine.watermark import Advance
from ..storage.catalog import CatalogEntry
from ..storage.errors import OperationalError
from ..storage.readable import ReadableTopic
from .declaration import declared_relation
from .dialect import parse_script
from .statements import CopyTo, CreateDerived, CreateStream, CreateView, Insert

if TYPE_CHECKING:
    from .database import Database


class Declarations:
    """The entries of the catalog as they are declared in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries: dict[str, CatalogEntry] = {}

    def follow(self, entries: Mapping[str, CatalogEntry]) -> None:
        """Declare what is new in the catalog, and forget what is not in it any more or is another now."""
        database = self._database
        stale = {name for name, entry in self._entries.items() if not _alike(entries.get(name), entry)}
        for name in [name for name in stale if name in entries and self._altered(name, entries[name])]:
            stale.remove(name)
        gone = [relation for relation in database.relations if relation.name in stale]
        while gone:
            for relation in [r for r in gone if not any(d in gone for d in database.dependents(r.name))]:
                database.forget(relation)
                del self._entries[relation.name]
                gone.remove(relation)
        self.declare({name: entry for name, entry in entries.items() if name not in self._entries})

    def _altered(self, name: str, entry: CatalogEntry) -> bool:
        """Take over what a stream has become that the catalog says otherwise now; False if it is another stream."""
        database = self._database
        topic = database.followed.get(name)
        if topic is None or database.log.topics.get(name) is not topic:
            return False
        old = database.relations.require(name)
        if old.kind == "TABLE":
            return False  # whose rows are kept: they are read again
        self._entries[name] = entry
        statement = parse_script(_in_force(entry, topic).sql)[0]
        assert isinstance(statement, CreateStream)
        new = replace(declared_relation(database.binder, statement), partitions=old.partitions)
        lost = {column.name for column in old.columns if column not in new.columns}
        database.relations.add(new)
        advance = Advance.of(entry.properties)
        if advance is not None:
            database.engine.advance_watermark(name, advance)
        altered = OperationalError(f'stream "{name}" was altered', hint="Start it again.")
        database.engine.end_readers(name, lost, altered)
        return True

    def declare(self, entries: Mapping[str, CatalogEntry]) -> None:
        """Declare what the catalog holds, in the order it was created."""
        database = self._database
        for known in entries.values():
            self._entries[known.name] = known
            entry = _in_force(known, database.log.topics.get(known.name))
            statement = parse_script(entry.sql)[0]
            if isinstance(statement, CreateStream):
                relation = declared_relation(database.binder, statement)
                options = database.topic_options(statement, relation)
                partitions = int(entry.properties["partitions"])
                database.open_stream(
                    replace(relation, partitions=partitions), options, partitions, list(entry.properties["key"])
                )
            elif isinstance(statement, CreateDerived | Insert | CopyTo):
                database.queries.declare(entry, statement)
            else:
                assert isinstance(statement, CreateView)
                view, planned = database.view_relation(statement)
                database.relations.add(view)
                if planned is not None:
                    view_id = int(entry.properties["id"])
                    database.keep(view.name, view_id, planned)


def _alike(new: CatalogEntry | None, old: CatalogEntry) -> bool:
    """Whether two entries declare the same, whatever is said of it."""
    return new is not None and _uncommented(new) == _uncommented(old)


def _uncommented(entry: CatalogEntry) -> CatalogEntry:
    return replace(entry, properties={name: value for name, value in entry.properties.items() if name != "comments"})


def _in_force(entry: CatalogEntry, topic: ReadableTopic | None) -> CatalogEntry:
    """The entry as it counts: an ALTER without its last step is done if the topic has changed, else it never was."""
    altered = entry.properties.get("altered")
    if altered is None or topic is None:
        return entry
    if topic.version.id >= altered["version"]:
        return replace(entry, sql=altered["sql"], properties=altered["properties"])
    return replace(entry, properties={name: value for name, value in entry.properties.items() if name != "altered"})
