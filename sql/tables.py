"""Rows of tables: what an INSERT or a change means for the log of a table, and whether its key allows it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlglot import exp

from ..engine.key_index import KeyIndex
from ..storage import limits
from ..storage.errors import IntegrityError, ProgrammingError
from ..storage.last_rows import WEIGHT_COLUMN
from ..storage.topic import Appended, Topic
from .assignments import assigned, check_columns
from .database import Database
from .relations import Relation
from .returning import Answer, ignore
from .row_checks import batch_of, check_nulls
from .statements import Conflict

Mask = npt.NDArray[np.bool_]
Written = tuple[int, tuple[Appended, ...]]  # how many rows, and where they are in the log
_HINT = "INSERT OR REPLACE takes its place, ON CONFLICT DO NOTHING leaves it."
_AT_ONCE_BYTES = 1 << 20  # so much is one frame for certain, and a frame counts whole or not at all


def check_conflict(target: Relation, conflict: Conflict) -> None:
    """Raises: ProgrammingError where ON CONFLICT does not fit the key of the target."""
    if not target.key:
        raise ProgrammingError(
            f'"{target.name}" has no key that rows could have in common',
            detail="A stream keeps every row." if target.kind == "STREAM" else "It was declared without PRIMARY KEY.",
            hint="Leave OR REPLACE, OR IGNORE or ON CONFLICT out.",
            position=conflict.position,
        )
    if conflict.columns and {name.lower() for name in conflict.columns} != {name.lower() for name in target.key}:
        raise ProgrammingError(
            f'({", ".join(conflict.columns)}) is not the key of "{target.name}"',
            hint=f"Its PRIMARY KEY is ({', '.join(target.key)}).",
            position=conflict.position,
        )
    check_columns(target, conflict.assignments)
    for one in conflict.assignments:
        if one.column.lower() in (name.lower() for name in target.key):
            raise ProgrammingError(
                f'cannot set "{one.column}": it is part of the key',
                detail="The key says which row it is.",
                position=one.position,
            )


def insert_rows(
    database: Database, target: Relation, rows: pa.Table, conflict: Conflict | None, answer: Answer = ignore
) -> Written:
    """Insert checked rows into a table, all of them or none; those that replace another or change it count too.

    Raises: IntegrityError that names the first key that is there already, unless `conflict` says what to do then.
    """
    with database.turns.of(target):
        kept = _kept(database, target, rows, conflict) if target.key and rows.num_rows else rows
        answer(kept)
        if not kept.num_rows:
            return 0, ()
        return kept.num_rows, write(database, target, kept)


def _kept(database: Database, target: Relation, rows: pa.Table, conflict: Conflict | None) -> pa.Table:
    """The rows to append so that these rows are inserted."""
    if conflict is not None and conflict.action == "replace":
        return rows  # of equal keys the last one stays
    keys = _keys(target, rows)
    _, first = KeyIndex(keys.schema).lookup_or_insert(keys)
    database.engine.wait({target.name: ends_of(database, target)}, [target.name])
    found, present = database.engine.find(target.name, keys)
    if conflict is None or conflict.action == "update":
        if not first.all():
            _refuse_key(target, keys, ~first, "Two of the rows have", hint=_HINT)
        if conflict is None and found.any():
            _refuse_key(target, keys, found, "There is a row with", hint=_HINT)
    if not found.any() and first.all():
        return rows
    if conflict is not None and conflict.action == "update":
        excluded = batch_of(rows.filter(pa.array(found)))
        changed = assigned(target, conflict, present, excluded)
        check_nulls(target, changed)
        return pa.concat_tables([rows.filter(pa.array(~found)), changed])
    return rows.filter(pa.array(first & ~found))


def change_rows(database: Database, target: Relation, removed: pa.Table, added: pa.Table) -> tuple[Appended, ...]:
    """Rows that are there become others, of which there may be fewer; all in one step. Who calls this has the turn.

    Raises: IntegrityError if two rows had the same key then.
    """
    if not removed.num_rows:
        return ()
    if not target.key:
        return write(database, target, pa.concat_tables([removed, added]), removed.num_rows)
    before, after = _keys(target, removed), _keys(target, added)
    index = KeyIndex(after.schema)
    _, first = index.lookup_or_insert(after)
    if not first.all():
        _refuse_key(target, after, ~first, "Two of the rows would have")
    gone = index.lookup(before) < 0
    if gone.any() and added.num_rows:
        there, _ = database.engine.find(target.name, after)
        index = KeyIndex(before.schema)
        index.load(before)
        others = there & (index.lookup(after) < 0)
        if others.any():
            _refuse_key(target, after, others, "There is a row with")
    deleted = removed.filter(pa.array(gone))
    said = (*target.key, target.event_time) if target.versioned else target.key
    for place, column in enumerate(target.columns):
        if column.name not in said:  # a deletion says nothing but which row it is, or which version
            deleted = deleted.set_column(place, target.schema.field(place), pa.nulls(deleted.num_rows, column.arrow))
    return write(database, target, pa.concat_tables([deleted, added]), deleted.num_rows)


def write(database: Database, target: Relation, rows: pa.Table, retracted: int = 0) -> tuple[Appended, ...]:
    """Append rows to the log of a table, the first `retracted` of them as such that go; all of them or none."""
    topic = database.folder.topic(target.name)
    appends = _logged(topic, rows, retracted)
    if len(appends) == len(topic.partitions) == 1 and appends[0][1].nbytes < _AT_ONCE_BYTES:
        return topic.append(appends[0][1])
    return tuple(appended for _, appended in database.folder.append_atomic(appends))


def append_together(database: Database, gathered: Mapping[str, pa.Table]) -> tuple[tuple[Topic, Appended], ...]:
    """Append checked rows to several streams and tables, readable in one moment; or none ever is."""
    targets = [database.relations.require(name) for name in sorted(gathered)]
    with ExitStack() as turns:
        for target in targets:
            turns.enter_context(database.turns.of(target))
        appends = []
        for target in targets:
            topic, rows = database.folder.topic(target.name), gathered[target.name]
            if target.kind == "TABLE":
                rows = _kept(database, target, rows, None) if target.key and rows.num_rows else rows
                appends += _logged(topic, rows, 0)
            else:
                appends.append((topic, batch_of(rows), None))
        return database.folder.append_atomic(appends)


def ends_of(database: Database, target: Relation) -> list[int]:
    """Where the log of a table ends; who has the turn finds no more rows in it later."""
    return [partition.end_offset for partition in database.log.topic(target.name).partitions]


def _logged(topic: Topic, rows: pa.Table, retracted: int) -> list[tuple[Topic, pa.RecordBatch, None]]:
    weights = np.ones(rows.num_rows, np.int8)
    weights[:retracted] = -1
    logged = rows.append_column(pa.field(WEIGHT_COLUMN, pa.int8()), pa.array(weights)).combine_chunks()
    return [(topic, batch, None) for batch in logged.to_batches(max_chunksize=limits.ROWS_PER_FRAME)]


def _keys(target: Relation, rows: pa.Table) -> pa.RecordBatch:
    return batch_of(rows.select(list(target.key)))


def _refuse_key(target: Relation, keys: pa.RecordBatch, refused: Mask, says: str, *, hint: str | None = None) -> None:
    """Raise for the first of the keys that are `refused`."""
    row = int(np.flatnonzero(refused)[0])
    values = [exp.convert(column[row].as_py()).sql(dialect="duckdb") for column in keys.columns]
    key = ", ".join(f"{name} = {value}" for name, value in zip(target.key, values, strict=True))
    raise IntegrityError(
        f'duplicate key in "{target.name}"',
        detail=f"{says} {key}{' already' if says.startswith('There') else ''}; nothing was changed.",
        hint=hint,
        sqlstate="23505",
    )
