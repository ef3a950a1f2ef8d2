"""Pull reads: a SELECT answered by DuckDB over all its relations as of one epoch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from ..engine.epochs import Cut
from ..engine.reading import Reading
from ..storage.errors import OperationalError
from .as_of import AsOf
from .database import Database
from .dialect import twin_sql
from .past import cut_of, gone, past, refuse_now
from .recompute import used_columns
from .relations import Column, Relation
from .system import system_rows
from .table_log import rows_of_log
from .temporal import at_clock
from .twin import expand_views, named_tables, twin
from .types import connect, register, translate, type_name
from .window_checks import check_windows

Parameters = Sequence[Any] | Mapping[str, Any] | None


@dataclass(frozen=True)
class Rows:
    """A result: an Arrow table and the SQL type of each column (names may repeat)."""

    table: pa.Table
    types: tuple[str, ...]
    key: tuple[str, ...] | None = None
    notices: tuple[str, ...] = ()


def select(
    database: Database,
    query: exp.Query,
    parameters: Parameters,
    ends: Mapping[str, list[int]],
    as_of: AsOf | None = None,
) -> Rows:
    """The rows of `query` now, at an epoch that covers `ends` (what this connection has written); or in the past."""
    connection = connect(threads=None)
    try:
        cut = None if as_of is None else cut_of(database, as_of)
        expanded = prepare(database, connection, query, ends, cut)
        if cut is None:
            return run(connection, twin_sql(twin(expanded)), parameters, query)
        rows = run(connection, twin_sql(twin(at_clock(expanded, cut.clock))), parameters, query)
        return replace(rows, notices=tuple(gone(database, logs_of(relations_of(database, expanded)), cut)))
    finally:
        connection.close()


def prepare(
    database: Database,
    connection: duckdb.DuckDBPyConnection,
    query: exp.Query,
    ends: Mapping[str, list[int]],
    cut: Cut | None = None,
) -> exp.Query:
    """The query with its views expanded, once `connection` finds the rows of all its relations as of one epoch.

    That is the one of the `cut`, or one that covers `ends`.
    """
    expanded = expand_views(query, database.relations)
    check_windows(expanded, database.relations, database.binder)
    used = relations_of(database, expanded)
    if used:
        views = [relation.name for relation in used if relation.kept]
        logs = logs_of(used)
        if cut is not None:
            refuse_now(used, cut)
            reading = past(database, cut, views, logs)
        else:
            database.engine.wait(ends, [*views, *logs])
            reading = database.engine.read(views, logs)
        wanted = used_columns(expanded)
        for relation in used:
            table = relation_rows(database, relation, reading, wanted)
            register(connection, relation.name, narrowed(relation.columns, table), table)
    return expanded


def relations_of(database: Database, expanded: exp.Query) -> list[Relation]:
    """The relations that a query with its views expanded reads, each once."""
    names = dict.fromkeys(table.name.lower() for table in named_tables(expanded))
    return [database.relations.require(name) for name in names]


def logs_of(relations: Iterable[Relation]) -> list[str]:
    """The logs that are read for the rows of these."""
    logs = [r.target if r.kind == "VERSIONS" else r.name for r in relations if r.kind in ("STREAM", "VERSIONS")]
    return list(dict.fromkeys(logs))


def relation_rows(database: Database, relation: Relation, reading: Reading, wanted: frozenset[str] | None) -> pa.Table:
    """The rows of one relation as of `reading`; of a stream only the `wanted` columns (lower case; None: all)."""
    if relation.kept:
        return reading.views[relation.name]
    if relation.kind == "VERSIONS":
        return rows_of_log(database, relation, relation.target, reading)
    if relation.kind == "SYSTEM":
        return system_rows(database, relation.name)
    columns = [c.name for c in relation.columns if wanted is None or c.name.lower() in wanted] or [
        relation.columns[0].name
    ]
    topic = database.log.topic(relation.name)
    try:
        batches = [
            batch
            for partition, end in zip(topic.partitions, reading.streams[relation.name], strict=True)
            for batch in partition.read_all(end, columns)
        ]
    except KeyError as name:
        raise OperationalError(
            f'stream "{relation.name}" was altered while it was read',
            detail=f"It has no column {name} any more.",
            hint="Run the statement again.",
            sqlstate="40001",
        ) from None
    return pa.Table.from_batches(batches, schema=pa.schema([relation.schema.field(name) for name in columns]))


def narrowed(columns: Sequence[Column], table: pa.Table) -> list[Column]:
    """Those of `columns` that `table` has, in its order."""
    by_name = {column.name: column for column in columns}
    return [by_name[name] for name in table.schema.names]


def interruptibly(connection: duckdb.DuckDBPyConnection, work: Callable[[], pa.Table]) -> pa.Table:
    """What `work` returns. On the main thread Ctrl-C ends it, though DuckDB never looks: it works on another thread."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    with ThreadPoolExecutor(1) as worker:
        pending = worker.submit(work)
        try:
            return pending.result()
        except BaseException:
            connection.interrupt()
            raise


def run(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters, node: exp.Expr | None) -> Rows:
    """What DuckDB answers, its errors told as ours."""
    try:
        relation = connection.sql(sql, params=parameters) if parameters else connection.sql(sql)
        if relation is None:
            return Rows(pa.table({}), ())
        types = tuple(type_name(kind) for kind in relation.types)
        return Rows(interruptibly(connection, relation.to_arrow_table), types)
    except duckdb.Error as error:
        raise translate(error, node) from None
