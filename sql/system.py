"""The system relations: what SQL can ask of the database itself. One more is one more entry of SYSTEM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from sqlglot import exp

from ..engine.operator import NO_WATERMARK
from ..storage.errors import NotSupportedError
from ..storage.figures import (
    CONSUMERS,
    PARTITIONS,
    SEGMENTS,
    TOPICS,
    consumer_figures,
    partition_figures,
    segment_figures,
    topic_figures,
    topics_of,
)
from .comments import comments
from .dialect import position_of
from .explain import operator_names
from .failed_rows import FailedLog
from .late_rows import LateLog
from .problems import PROBLEMS, problem_rows
from .relations import Relation, Relations
from .running_queries import QUERIES, query_rows
from .twin import expand_views, named_tables, table_name
from .types import Binder

if TYPE_CHECKING:
    from .database import Database


@dataclass(frozen=True)
class System:
    """The columns of a system relation, and what gives its rows at this moment."""

    schema: pa.Schema
    rows: Callable[[Database], pa.Table]


OPERATORS = pa.schema(
    [
        ("view", pa.string()),
        ("node", pa.int32()),
        ("operator", pa.string()),
        ("rows_in", pa.int64()),
        ("rows_out", pa.int64()),
        ("milliseconds", pa.float64()),
        ("state_bytes", pa.int64()),
        ("spilled_bytes", pa.int64()),
        ("kept", pa.int64()),
        ("oldest", pa.timestamp("us")),
        ("watermark", pa.timestamp("us")),
    ]
)


def _operators(database: Database) -> pa.Table:
    """Every node of every materialized view, inputs before what reads them."""
    rows: list[tuple[object, ...]] = []
    for relation in database.relations:
        planned = database.plans.get(relation.name.lower())
        if planned is None:
            continue
        names = operator_names(planned.plan)
        for number, (name, node) in enumerate(zip(names, database.engine.state(relation.name).nodes, strict=True)):
            figures = node.figures
            mark = None if node.watermark == NO_WATERMARK else node.watermark
            done = (figures.rows_in, figures.rows_out, figures.seconds * 1000)
            state = (node.state_bytes, node.spilled_bytes, node.kept, node.oldest)
            rows.append((relation.name, number, name, *done, *state, mark))
    return _table(OPERATORS, rows)


CHECKPOINTS = pa.schema(
    [
        ("epoch", pa.int64()),
        ("taken", pa.timestamp("us")),
        ("reason", pa.string()),
        ("bytes_written", pa.int64()),
        ("bytes_total", pa.int64()),
        ("milliseconds", pa.float64()),
        ("pause_milliseconds", pa.float64()),
    ]
)


def _checkpoints(database: Database) -> pa.Table:
    """Those taken since the database was opened."""
    rows = [
        (
            one.epoch,
            one.at,
            one.reason,
            one.bytes_written,
            one.bytes_total,
            round(one.duration_s * 1000, 3),
            round(one.pause_s * 1000, 3),
        )
        for one in database.checkpointer.taken
    ]
    return _table(CHECKPOINTS, rows)


EPOCHS = pa.schema(
    [
        ("epoch", pa.int64()),
        ("clock", pa.timestamp("us")),
        ("rows", pa.int64()),
        ("stream", pa.string()),
        ("ends", pa.list_(pa.int64())),
        ("watermark", pa.timestamp("us")),
    ]
)


def _epochs(database: Database) -> pa.Table:
    """Those in the journal: a row for each stream of which an epoch says how far it is."""
    rows: list[tuple[object, ...]] = []
    for cut in database.epochs.cuts(0):
        for name, read in cut.news.items():
            mark = None if read.watermark == NO_WATERMARK else read.watermark
            rows.append((cut.epoch, cut.clock, cut.rows, name, read.ends, mark))
    return _table(EPOCHS, rows)


RELATIONS = pa.schema([(name, pa.string()) for name in ("name", "kind", "comment", "statement")])
COLUMNS = pa.schema(
    [
        ("relation", pa.string()),
        ("name", pa.string()),
        ("position", pa.int64()),
        ("type", pa.string()),
        ("nullable", pa.bool_()),
        ("comment", pa.string()),
    ]
)


def _relations(database: Database) -> pa.Table:
    """All that SQL can name but for our own."""
    named = [relation for relation in database.relations if relation.kind != "SYSTEM"]
    return _table(RELATIONS, [(r.name, r.kind, comments(database, r.name).get(""), r.sql) for r in named])


def _columns(database: Database) -> pa.Table:
    """The columns of all these, counted from 1."""
    rows: list[tuple[object, ...]] = []
    for relation in database.relations:
        said = comments(database, relation.name)
        if relation.kind not in ("SYSTEM", "QUERY"):
            for place, c in enumerate(relation.columns, start=1):
                rows.append((relation.name, c.name, place, c.type, c.nullable, said.get(c.name)))
    return _table(COLUMNS, rows)


def _table(schema: pa.Schema, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    columns = [*zip(*rows, strict=True)] or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


SYSTEM: Mapping[str, System] = {
    "system.relations": System(RELATIONS, _relations),
    "system.relation_columns": System(COLUMNS, _columns),
    LateLog.NAME: System(LateLog.SCHEMA, lambda database: database.reports.late.rows()),
    FailedLog.NAME: System(FailedLog.SCHEMA, lambda database: database.reports.failed.rows()),
    "system.topics": System(TOPICS, lambda database: topic_figures(topics_of(database.log))),
    "system.partitions": System(PARTITIONS, lambda database: partition_figures(topics_of(database.log))),
    "system.segments": System(SEGMENTS, lambda database: segment_figures(topics_of(database.log))),
    "system.operators": System(OPERATORS, _operators),
    "system.queries": System(QUERIES, query_rows),
    "system.problems": System(PROBLEMS, problem_rows),
    "system.checkpoints": System(CHECKPOINTS, _checkpoints),
    "system.epochs": System(EPOCHS, _epochs),
    "system.consumers": System(CONSUMERS, lambda database: consumer_figures(database.log)),
}

_TYPES: Mapping[pa.DataType, str] = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us"): "TIMESTAMP",
    pa.list_(pa.string()): "VARCHAR[]",
    pa.list_(pa.int64()): "BIGINT[]",
}


def system_relations(binder: Binder) -> Iterator[Relation]:
    """All of them, as SQL sees them."""
    for name, system in SYSTEM.items():
        columns = tuple(
            binder.column(field.name, _TYPES[field.type], nullable=True, position=None) for field in system.schema
        )
        yield Relation(name, "SYSTEM", columns)


def refuse_system(query: exp.Query, relations: Relations) -> None:
    """Raises: NotSupportedError where a continuous query reads a system relation, through a view or not."""
    for table in named_tables(query):
        position = position_of(table) or position_of(table.this)
        relation = relations.require(table_name(table), position)
        below = () if relation.query is None else named_tables(expand_views(relation.query, relations))
        for name in (relation.name, *map(table_name, below)):
            if relations.require(name).kind == "SYSTEM":
                raise NotSupportedError(
                    f'cannot keep a view over "{name}" up to date',
                    detail="It changes without a row being appended to any stream.",
                    hint="Read it with a plain SELECT.",
                    position=position,
                )


def system_rows(database: Database, name: str) -> pa.Table:
    """The rows of the system relation of that name."""
    return SYSTEM[name].rows(database)
