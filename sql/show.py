"""SHOW and DESCRIBE: the catalog as small tables."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ..storage.errors import NotSupportedError, ProgrammingError
from .comments import comments
from .database import Database
from .reading import Rows
from .relations import Relation
from .running_queries import running_queries
from .statements import Describe, Show

_ARROW = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "BOOLEAN": pa.bool_(), "TIMESTAMP": pa.timestamp("us")}


def show(database: Database, statement: Show | Describe) -> Rows:
    """The rows that SHOW or DESCRIBE answers with."""
    match statement:
        case Describe():
            return _describe(database, database.relations.require(statement.name, statement.start))
        case Show(what="STREAMS"):
            return _streams(database)
        case Show(what="TABLES"):
            return _tables(database)
        case Show(what="VIEWS"):
            return _views(database)
        case Show(what="QUERIES"):
            return _queries(database)
        case Show(what="PARTITIONS"):
            return _partitions(database, statement)
        case Show(what="CREATE", name=str() as name):
            relation = database.relations.require(name, statement.start)
            if not relation.sql:
                raise ProgrammingError(f'"{relation.name}" was not created by a statement', position=statement.start)
            return _table([("name", "VARCHAR"), ("statement", "VARCHAR")], [(relation.name, relation.sql)])
        case _:
            raise NotSupportedError(
                f"cannot SHOW {statement.what}",
                hint="SHOW STREAMS, VIEWS, QUERIES, PARTITIONS or CREATE name.",
                position=statement.start,
            )


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[tuple[Any, ...]]) -> Rows:
    arrays = [pa.array([row[i] for row in rows], _ARROW[type]) for i, (_, type) in enumerate(columns)]
    return Rows(pa.table(arrays, names=[name for name, _ in columns]), tuple(type for _, type in columns))


def _describe(database: Database, relation: Relation) -> Rows:
    rows, said = [], comments(database, relation.name)
    for column in relation.columns:
        default = relation.defaults.get(column.name)
        note = "primary key" if column.name in relation.key else None
        note = f"watermark {relation.delay_us / 1e6:g} s behind" if column.name == relation.event_time else note
        rows.append(
            (
                column.name,
                column.type,
                column.nullable,
                None if default is None else default.sql(dialect="duckdb"),
                note,
                said.get(column.name),
            )
        )
    return _table(
        [
            ("column", "VARCHAR"),
            ("type", "VARCHAR"),
            ("nullable", "BOOLEAN"),
            ("default", "VARCHAR"),
            ("note", "VARCHAR"),
            ("comment", "VARCHAR"),
        ],
        rows,
    )


def _streams(database: Database) -> Rows:
    marks = database.engine.watermarks()
    rows = []
    for relation in database.relations:
        if relation.kind == "STREAM":
            partitions = database.log.topic(relation.name).partitions
            count = sum(part.count() for part in partitions)
            mark = marks.get(relation.name)
            time = None if mark is None else datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=mark)
            rows.append((relation.name, len(partitions), count, relation.event_time, time))
    return _table(
        [
            ("name", "VARCHAR"),
            ("partitions", "BIGINT"),
            ("rows", "BIGINT"),
            ("event_time", "VARCHAR"),
            ("watermark", "TIMESTAMP"),
        ],
        rows,
    )


def _tables(database: Database) -> Rows:
    tables = [relation for relation in database.relations if relation.kind == "TABLE"]
    reading = database.engine.read([table.name for table in tables], [])
    rows = [
        (table.name, table.partitions, reading.views[table.name].num_rows, ", ".join(table.key) or None)
        for table in tables
    ]
    return _table([("name", "VARCHAR"), ("partitions", "BIGINT"), ("rows", "BIGINT"), ("key", "VARCHAR")], rows)


def _views(database: Database) -> Rows:
    rows = [
        (r.name, r.kind, len(r.columns), r.sql) for r in database.relations if r.kind in ("VIEW", "MATERIALIZED VIEW")
    ]
    return _table([("name", "VARCHAR"), ("kind", "VARCHAR"), ("columns", "BIGINT"), ("statement", "VARCHAR")], rows)


def _queries(database: Database) -> Rows:
    rows = [(one.name, one.status, one.runs, one.reason) for one in running_queries(database)]
    return _table([("view", "VARCHAR"), ("status", "VARCHAR"), ("runs", "VARCHAR"), ("reason", "VARCHAR")], rows)


def _partitions(database: Database, statement: Show) -> Rows:
    rows = []
    for relation in database.relations:
        if relation.logged and (statement.name is None or relation.name.lower() == statement.name.lower()):
            for index, part in enumerate(database.log.topic(relation.name).partitions):
                rows.append((relation.name, index, part.start_offset, part.end_offset))
    if statement.name is not None and not rows:
        database.relations.require(statement.name, statement.start)
    return _table(
        [("stream", "VARCHAR"), ("partition", "BIGINT"), ("start_offset", "BIGINT"), ("end_offset", "BIGINT")], rows
    )
