"""ALTER STREAM and DELETE: a stream that changes while views, producers and consumers use it."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import pyarrow as pa
from sqlglot import exp

from ..storage import schema as log
from ..storage.catalog import CatalogEntry
from ..storage.errors import Error, NotSupportedError, OperationalError, ProgrammingError
from ..storage.topic import Topic
from .advancing import advance_watermark, moment
from .alterations import (
    AddColumn,
    AdvanceWatermark,
    AlterStream,
    AlterType,
    DropColumn,
    RenameColumn,
    ResetOptions,
    SetOptions,
    StreamChange,
)
from .comments import renamed_comments
from .database import Database
from .declaration import (
    check_default,
    check_table_column,
    declared,
    option_defaults,
    refuse_cleaning,
    spelled,
    topic_options,
)
from .dialect import parse_script
from .late_target import refuse_late_rows
from .relations import Column, Relation, Relations
from .retaining import needed
from .statements import CopyTo, CreateDerived, CreateView, Delete, Insert, Statement
from .types import connect, translate
from .view_plan import ViewPlan
from .writing import require_stream

_READERS = "Its columns would not be what they are now"


def alter(database: Database, statement: AlterStream) -> list[str]:
    """The stream is another from now on, and its rows are read by its new columns; notices.

    Views that read what changes are a reason to refuse; live queries that do end with an error.
    Holds: after a crash the stream is as before or as it should be.
    """
    with database.lock:
        if statement.if_exists and database.relations.get(statement.name) is None:
            return [f'"{statement.name}" does not exist; nothing was done']
        stream = _target(database, statement)
        if stream.query is not None:
            raise NotSupportedError(
                f'cannot alter "{stream.name}"',
                detail="Its columns follow from its query.",
                hint="CREATE OR REPLACE it.",
                position=statement.position,
            )
        topic = database.folder.topic(stream.name)
        change = statement.change
        try:
            if stream.kind == "TABLE":
                _refuse_kept(database, stream, change)
            if isinstance(change, SetOptions | ResetOptions):
                return _set_options(database, stream, topic, change)
            if isinstance(change, AdvanceWatermark):
                return advance_watermark(database, stream, change)
            if isinstance(change, AddColumn) and change.if_not_exists and stream.column(change.column.name):
                return [f'column "{change.column.name}" exists already; nothing was done']
            if isinstance(change, DropColumn) and change.if_exists and stream.column(change.name) is None:
                return [f'column "{change.name}" does not exist; nothing was done']
            refuse_late_rows(database, stream)
            with database.turns.of(stream):
                return _evolve(database, stream, topic, change)
        except Error as error:
            error.position = error.position or change.position
            raise


def _target(database: Database, statement: AlterStream) -> Relation:
    """The stream or the table that is altered."""
    if statement.kind == "STREAM":
        return require_stream(database, statement.name, statement.position, "alter")
    relation = database.relations.require(statement.name, statement.position)
    if relation.kind != "TABLE":
        raise ProgrammingError(
            f'"{relation.name}" is not a table',
            hint=f"ALTER STREAM {relation.name}" if relation.kind == "STREAM" else f"It is a {relation.kind.lower()}.",
            position=statement.position,
            sqlstate="42809",
        )
    return relation


def _refuse_kept(database: Database, table: Relation, change: StreamChange) -> None:
    """Raises: where an option would let rows of a table go, or what is kept has rows of the table as they were."""
    if isinstance(change, SetOptions | ResetOptions):
        options = change.options if isinstance(change, SetOptions) else dict.fromkeys(change.names)
        refuse_cleaning(options, change.position)
        return
    kept = [view for view in database.readers(table.name) if view.kept or database.queries.get(view.name)]
    if kept:
        raise NotSupportedError(
            f'cannot alter "{table.name}" while "{kept[0].name}" reads it',
            detail="It is kept up to date from whole rows of the table.",
            hint=f"DROP {kept[0].kind} {kept[0].name}, alter the table, and create it again.",
            sqlstate="2BP01",
        )


def delete(database: Database, statement: Delete) -> tuple[int, list[str]]:
    """The stream begins at a later row from now on; how many offsets went, and notices."""
    with database.lock:
        stream = require_stream(database, statement.name, statement.position, "delete from")
        topic = database.folder.topic(stream.name)
        if statement.time is not None:
            ends = [
                partition.offset_at(moment(statement.time, statement.time_position)) for partition in topic.partitions
            ]
        else:
            ends = _ends_at(stream, topic, statement)
        gone = 0
        bounds = needed(database, stream.name)
        if bounds is not None and any(end > bound for end, bound in zip(ends, bounds, strict=False)):
            database.checkpointer.secure()
        for number, (partition, end) in enumerate(zip(topic.partitions, ends, strict=True)):
            gone += max(0, end - partition.start_offset)
            topic.delete_before(number, end)
        readers = [view for view in database.readers(stream.name) if view.kind == "MATERIALIZED VIEW"]
        if not gone or not readers:
            return gone, []
        names = ", ".join(f'"{view.name}"' for view in readers)
        return gone, [f"{names} still counts what was deleted; built anew it follows from the rows that are left"]


def _set_options(database: Database, stream: Relation, topic: Topic, change: SetOptions | ResetOptions) -> list[str]:
    if isinstance(change, SetOptions):
        options = topic_options(change.options, topic.options, change.position)
    else:
        base = database.default_options(stream, topic.options.headers)
        options = option_defaults(change.names, topic.options, base, change.position)
    topic.set_options(options)  # what is in force; should the process die now, opening tells the catalog
    _save(database, stream, topic)
    return []


def _evolve(
    database: Database,
    stream: Relation,
    topic: Topic,
    change: AddColumn | DropColumn | RenameColumn | AlterType,
) -> list[str]:
    new, evolution, lost = _changed(database, stream, change)
    if evolution is None:
        return ["nothing to change"]
    if isinstance(change, DropColumn | RenameColumn) and stream.event_time in lost:
        raise NotSupportedError(
            f'cannot {"drop" if isinstance(change, DropColumn) else "rename"} column "{stream.event_time}"',
            detail="The watermark follows it.",
        )
    _check_readers(database, new)
    entry = database.folder.catalog.entries[stream.name]
    key = [change.new if isinstance(change, RenameColumn) and name in lost else name for name in topic.key]
    options = topic.options
    if isinstance(change, RenameColumn) and options.headers in lost:
        options = replace(options, headers=change.new)
    new = replace(new, sql=declared(new, key, options, database.default_options(new, options.headers)))
    properties = {**entry.properties, "key": key}
    if isinstance(change, DropColumn | RenameColumn) and "comments" in properties:
        old, renamed = next(iter(lost)), change.new if isinstance(change, RenameColumn) else None
        properties["comments"] = renamed_comments(properties["comments"], old, renamed)
    pending = {"sql": new.sql, "properties": properties, "version": topic.version.id + 1}
    database.folder.catalog.put(replace(entry, properties={**entry.properties, "altered": pending}))
    try:
        reason = OperationalError(
            f'stream "{stream.name}" was altered', detail="The query read what has changed.", hint="Start it again."
        )
        with database.engine.still():
            topic.evolve(evolution)
            database.relations.add(new)
            if new.kind == "TABLE":
                database.engine.drop_view(new.name, "was altered")
                database.keep_table(new)
            else:
                database.engine.end_readers(stream.name, lost, reason)
    except Error:
        database.folder.catalog.put(entry)
        raise
    database.folder.catalog.put(CatalogEntry(stream.name, entry.kind, new.sql, properties))
    return []


def _changed(
    database: Database, stream: Relation, change: AddColumn | DropColumn | RenameColumn | AlterType
) -> tuple[Relation, log.Change | None, set[str]]:
    """The stream after the change, what that means for its log, and the columns that are not what they were."""
    columns, defaults = list(stream.columns), dict(stream.defaults)
    if isinstance(change, AddColumn):
        definition = change.column
        if stream.column(definition.name) is not None:
            raise ProgrammingError(
                f'column "{definition.name}" exists already', position=definition.position, sqlstate="42701"
            )
        if definition.metadata is not None:
            raise NotSupportedError(
                "cannot add a METADATA column",
                detail="The rows that are there have nothing of it.",
                hint="Declare it when the stream is created.",
                position=definition.position,
            )
        added = database.binder.column(
            definition.name, definition.type, nullable=not definition.not_null, position=definition.position
        )
        if stream.kind == "TABLE":
            check_table_column(added, definition.position, keyed=False)
        value = None
        if definition.default is not None:
            check_default(database.binder, definition.default, added)
            defaults[added.name] = definition.default
            value = _value(definition.default, added)
        if not added.nullable and (value is None or not value.is_valid):
            raise ProgrammingError(
                f'cannot add column "{added.name}" that is NOT NULL without a default',
                detail="The rows that are there would have none.",
                hint="Give it a DEFAULT.",
                position=definition.position,
            )
        field = pa.field(added.name, added.arrow)  # what is NOT NULL is checked on the way in
        return replace(stream, columns=(*columns, added), defaults=defaults), log.AddColumn(field, value), set()
    name = spelled(stream, change.old if isinstance(change, RenameColumn) else change.name)
    place = [column.name for column in columns].index(name)
    match change:
        case DropColumn():
            del columns[place]
            defaults.pop(name, None)
            return replace(stream, columns=tuple(columns), defaults=defaults), log.DropColumn(name), {name}
        case RenameColumn(_, new):
            if stream.column(new) is not None and new.lower() != name.lower():
                raise ProgrammingError(f'column "{new}" exists already', sqlstate="42701")
            columns[place] = replace(columns[place], name=new)
            stream = replace(
                stream,
                arrival=new if stream.arrival == name else stream.arrival,
                key=tuple(new if known == name else known for known in stream.key),
            )
            defaults = {new if known == name else known: value for known, value in defaults.items()}
            return (
                replace(stream, columns=tuple(columns), defaults=defaults),
                None if new == name else log.RenameColumn(name, new),
                {name},
            )
        case AlterType():
            old = columns[place]
            widened = database.binder.column(name, change.type, nullable=old.nullable, position=change.position)
            columns[place] = widened
            same = widened.type == old.type
            evolution = None if same else log.WidenColumn(name, widened.arrow)
            return replace(stream, columns=tuple(columns)), evolution, {name}


def _check_readers(database: Database, new: Relation) -> None:
    """Raises: NotSupportedError if a view would have another result, or none, once the stream is `new`."""
    relations = database.relations.with_changed(new)
    for view in database.readers(new.name):
        statement = parse_script(view.sql)[0]
        before = database.plans.get(view.name.lower())
        planned: ViewPlan | None
        try:
            if isinstance(statement, CreateView):
                after, planned = database.view_relation(statement, relations)
            else:
                before, after, planned = _requeried(database, view, statement, relations)
        except Error as error:
            reason = f"It would not work any more: {error.headline}."
        else:
            if after.columns == view.columns and (before is None or planned is None or planned.plan == before.plan):
                continue
            reason = f"{_READERS}; it selects * or reads the column."
        kind = new.kind.lower()
        raise NotSupportedError(
            f'cannot alter "{new.name}" while "{view.name}" reads it',
            detail=reason,
            hint=f"DROP {view.kind} {view.name}, alter the {kind}, and create the view again, with its columns named.",
            sqlstate="2BP01",
        )


def _requeried(
    database: Database, view: Relation, statement: Statement, relations: Relations
) -> tuple[ViewPlan, Relation, ViewPlan]:
    """How a query that writes is planned now; what it writes, and how, once `relations` are what there is."""
    known = database.queries.get(view.name)
    assert known is not None
    if isinstance(statement, CreateDerived):
        derived = database.queries.derive(statement, relations)
    elif isinstance(statement, CopyTo):
        derived = database.queries.derive_copy(statement, view.name, known.query_id, relations)
    else:
        assert isinstance(statement, Insert)
        target = relations.require(statement.name)
        derived = database.queries.derive_insert(statement, view.name, target, relations)
    return known.planned, derived.relation, derived.planned


def _save(database: Database, stream: Relation, topic: Topic) -> None:
    """The catalog says how the stream would be created as it is now."""
    base = database.default_options(stream, topic.options.headers)
    new = replace(stream, sql=declared(stream, topic.key, topic.options, base))
    entry = database.folder.catalog.entries[stream.name]
    database.folder.catalog.put(replace(entry, sql=new.sql))
    database.relations.add(new)


def _ends_at(stream: Relation, topic: Topic, statement: Delete) -> list[int]:
    offset, partition, count = statement.offset, statement.partition, len(topic.partitions)
    assert offset is not None
    if partition is None and count > 1:
        raise ProgrammingError(
            f'stream "{stream.name}" has {count} partitions, with offsets of their own',
            hint="Say BEFORE OFFSET n PARTITION p, or BEFORE TIMESTAMP.",
            position=statement.position,
        )
    partition = partition or 0
    if not 0 <= partition < count:
        raise ProgrammingError(
            f'stream "{stream.name}" has no partition {partition}',
            detail=f"It has {count}, counted from 0.",
            position=statement.position,
        )
    end = topic.partitions[partition].end_offset
    if not 0 <= offset <= end:
        raise ProgrammingError(
            f"there is no offset {offset}", detail=f"The partition ends at {end}.", position=statement.position
        )
    return [offset if number == partition else 0 for number in range(count)]


def _value(default: exp.Expr, column: Column) -> pa.Scalar:
    """What rows from before the column read: its default, computed once."""
    connection = connect()
    try:
        sql = f"SELECT CAST(({default.sql(dialect='duckdb')}) AS {column.type}) AS value"
        return connection.sql(sql).to_arrow_table().column(0).cast(column.arrow)[0]
    except duckdb.Error as error:
        raise translate(error) from None
    finally:
        connection.close()
