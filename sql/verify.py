"""VERIFY: a materialized view or a table beside its twin, run in batch over the same rows, compared as multisets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from ..engine.epochs import Cut
from ..engine.operator import NO_WATERMARK
from ..engine.reading import Reading
from ..storage.schema import OFFSET_COLUMN
from . import plan as p
from .database import Database
from .dialect import twin_sql
from .expiring import expires
from .join_twin import LATE_SUFFIX
from .past import past, past_of_query
from .plan_keys import key_of
from .reading import logs_of, narrowed, relation_rows, relations_of
from .relations import Column, Relation
from .table_log import rows_of_log
from .temporal import at_clock
from .twin import twin
from .types import connect, quote, register, translate

FLOAT_TOLERANCE = 1e-9  # sums of floats depend on their order; relative, and absolute near zero


@dataclass(frozen=True)
class Verdict:
    """Whether a view equals its twin: rows in each, and rows that only one of them has.

    A difference does not mean a mistake where rows were deleted from its streams or compacted away (`trimmed`), nor
    where rows were `looked_up` when others came.
    """

    view: str
    rows: int
    twin_rows: int
    missing: int
    surplus: int
    trimmed: bool = False
    looked_up: bool = False
    expires: bool = False

    @property
    def doubt(self) -> str:
        """Why nobody can tell."""
        if self.expires:
            return "by its state_ttl it forgets what is idle, which its twin does not"
        if self.looked_up:
            return "it has what was there when its rows came"
        return "rows that it has counted were deleted from its streams"

    @property
    def equal(self) -> bool | None:
        """None if nobody can tell."""
        if self.missing == self.surplus == 0:
            return True
        return None if self.trimmed or self.looked_up or self.expires else False


def verify(database: Database, name: str, ends: Mapping[str, list[int]], cut: Cut | None = None) -> Verdict:
    """Compare the view, table or derived stream `name` with its twin, both over what the log held at one epoch.

    That is the one of the `cut`, as of which the view is run again, or one that covers `ends`. What a derived stream
    had by the cut was readable only later: there it is what its query makes when it is run again.

    Rows that came too late are left out of the twin's windows just as they were of the view's. A view that the query
    itself reads is taken as it stands: it has a verdict of its own.
    """
    view = database.relations.require(name)
    derived = database.queries.get(name)
    if view.kind == "TABLE" and (derived is None or view.key != (key_of(derived.planned.plan) or ())):
        return _verify_table(database, view, ends, cut)
    planned = database.plans[name.lower()] if derived is None else derived.planned
    used = relations_of(database, planned.query)
    kept = [relation.name for relation in (view, *used) if relation.kept]
    again = None
    if cut is not None and derived is not None:
        views = [relation.name for relation in used if relation.kept]
        reading, again = past_of_query(database, cut, derived, views, logs_of(used))
    else:
        reading = _read(database, kept, logs_of((view, *used)), ends, cut)
    known = database.reports.late.known(database.view_ids[name.lower()] if derived is None else derived.query_id)
    connection = connect(threads=None)
    try:
        late: set[str] = set()
        for relation in used:
            rows = relation_rows(database, relation, reading, None)
            register(connection, relation.name, narrowed(relation.columns, rows), rows)
            if relation.name in known:
                _register_closed(connection, database, relation, reading, known[relation.name])
                late.add(relation.name.lower())
        marks = {r.name.lower(): reading.watermarks[r.target if r.kind == "VERSIONS" else r.name] for r in used}
        closed = marks if planned.final else None
        expected = connection.sql(
            f"SELECT * FROM ({twin_sql(twin(at_clock(planned.query, reading.clock), late=late, closed=closed))})"
        ).to_arrow_table()
        expected = expected.rename_columns([column.name for column in view.columns]).cast(view.schema)
        actual = relation_rows(database, view, reading, None) if again is None else again
        missing, surplus = compare(connection, view.columns, expected, actual)
        below = {node.stream for node in p.walk(planned.plan) if isinstance(node, p.Scan)}
        read = database.streams_of(name) if derived is None else {view.name, *below} - set(kept)
        looked_up = any(isinstance(node, p.LookupJoin) for node in p.walk(planned.plan))
        forgets = expires(planned.plan)
        trimmed = any(_trimmed(database, stream) for stream in read)
        return Verdict(view.name, actual.num_rows, expected.num_rows, missing, surplus, trimmed, looked_up, forgets)
    except duckdb.Error as error:
        raise translate(error) from error
    finally:
        connection.close()


def _read(
    database: Database, views: list[str], streams: list[str], ends: Mapping[str, list[int]], cut: Cut | None
) -> Reading:
    if cut is not None:
        return past(database, cut, views, streams)
    database.engine.wait(ends, [*views, *streams])
    return database.engine.read(views, streams)


def _verify_table(database: Database, table: Relation, ends: Mapping[str, list[int]], cut: Cut | None) -> Verdict:
    """Compare the rows that are kept of a table with those that follow from its log at the same epoch."""
    reading = _read(database, [table.name], [table.name], ends, cut)
    expected, actual = rows_of_log(database, table, table.name, reading), reading.views[table.name]
    connection = connect(threads=None)
    try:
        return Verdict(
            table.name, actual.num_rows, expected.num_rows, *compare(connection, table.columns, expected, actual)
        )
    except duckdb.Error as error:
        raise translate(error) from error
    finally:
        connection.close()


def _trimmed(database: Database, stream: str) -> bool:
    if database.relations.require(stream).kind == "TABLE":
        return False  # what its log lacks was superseded
    topic = database.log.topic(stream)
    return any(log.start_offset > 0 or any(s.sparse for s in log.segments) for log in topic.partitions)


def compare(
    connection: duckdb.DuckDBPyConnection, columns: tuple[Column, ...], expected: pa.Table, actual: pa.Table
) -> tuple[int, int]:
    """How many rows of `expected` are not in `actual`, and the other way round; floats equal within FLOAT_TOLERANCE."""
    connection.register("expected/rows", expected)
    connection.register("actual/rows", actual)

    def only_in(left: str, right: str) -> pa.Table:
        exact = ", ".join(quote(c.name) for c in columns if not pa.types.is_floating(c.arrow))
        inexact = ", ".join(quote(c.name) for c in columns if pa.types.is_floating(c.arrow))
        order = ", ".join(part for part in (exact, inexact) if part)
        return connection.sql(
            f'SELECT * FROM (SELECT * FROM "{left}" EXCEPT ALL SELECT * FROM "{right}") ORDER BY {order}'
        ).to_arrow_table()

    missing = only_in("expected/rows", "actual/rows")
    if missing.num_rows == 0 and expected.num_rows == actual.num_rows:
        return 0, 0
    surplus = only_in("actual/rows", "expected/rows")
    if missing.num_rows == surplus.num_rows > 0:
        same = np.ones(missing.num_rows, dtype=np.bool_)
        for column in columns:
            left, right = missing.column(column.name), surplus.column(column.name)
            if pa.types.is_floating(column.arrow):
                a, b = (v.cast(pa.float64()).to_numpy(zero_copy_only=False) for v in (left, right))
                close = np.isclose(a, b, rtol=FLOAT_TOLERANCE, atol=FLOAT_TOLERANCE, equal_nan=True)
                same &= close & (left.is_null().to_numpy() == right.is_null().to_numpy())
            else:
                same &= np.array(
                    [x == y for x, y in zip(left.to_pylist(), right.to_pylist(), strict=True)], dtype=np.bool_
                )
        different = int((~same).sum())
        return different, different
    return missing.num_rows, surplus.num_rows


def _register_closed(
    connection: duckdb.DuckDBPyConnection,
    database: Database,
    relation: Relation,
    reading: Reading,
    known: list[tuple[int, int, int]],
) -> None:
    """The stream once more with `_closed`: per late row, up to when the windows that hold it do not count it."""
    partitions = database.log.topic(relation.name).partitions
    names = [column.name for column in relation.columns]
    batches: list[pa.RecordBatch] = []
    marks = []
    late = np.array(known, np.int64)
    for number, (partition, end) in enumerate(zip(partitions, reading.streams[relation.name], strict=True)):
        read = partition.read_all(end, [*names, OFFSET_COLUMN])
        batches += [batch.select(names) for batch in read]
        offsets = np.concatenate([np.zeros(0, np.int64), *(batch.column(OFFSET_COLUMN).to_numpy() for batch in read)])
        mine = late[(late[:, 0] == number) & np.isin(late[:, 1], offsets)]  # others were deleted meanwhile
        marks.append(np.full(len(offsets), NO_WATERMARK, dtype=np.int64))
        marks[-1][np.searchsorted(offsets, mine[:, 1])] = mine[:, 2]
    closed = np.concatenate(marks)
    forever = np.datetime64("9999-12-31", "us").astype(np.int64)
    values = pa.array(np.minimum(closed, forever), pa.int64(), mask=closed == NO_WATERMARK)
    time = relation.column(relation.event_time or "")
    assert time is not None, "only rows with an event time can be late"
    closed_column = Column("_closed", time.type, time.arrow)
    rows = pa.Table.from_batches(batches, schema=relation.schema)
    table = rows.append_column("_closed", values.cast(time.arrow))
    register(connection, relation.name + LATE_SUFFIX, [*narrowed(relation.columns, rows), closed_column], table)
