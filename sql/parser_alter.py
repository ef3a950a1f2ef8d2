"""Reading ALTER STREAM and DELETE: what changes a relation that is there."""

from __future__ import annotations

from typing import Any

from .cursor import Cursor
from .parser_streams import column
from .parser_tables import delete_rows
from .statements import (
    AddColumn,
    AdvanceWatermark,
    AlterStream,
    AlterType,
    Delete,
    DeleteRows,
    DropColumn,
    RenameColumn,
    ResetOptions,
    SetOptions,
    StreamChange,
)

_CHANGES = ("ADD COLUMN", "DROP COLUMN", "RENAME COLUMN", "ALTER COLUMN", "SET", "RESET", "ADVANCE WATERMARK TO")


def alter(cursor: Cursor, place: dict[str, Any]) -> AlterStream:
    """The rest of ALTER."""
    if cursor.word in ("MATERIALIZED", "VIEW", "TABLE"):
        hint = "CREATE OR REPLACE it; or ALTER STREAM." if cursor.word != "TABLE" else "ALTER STREAM."
        cursor.not_yet(f"ALTER {cursor.word} is not supported yet", hint=hint)
    cursor.expect("STREAM")
    if_exists = cursor.accept("IF EXISTS")
    position = cursor.position
    name = cursor.relation("the stream's name")
    change = _change(cursor)
    if cursor.at_mark(","):
        cursor.unexpected("ALTER STREAM changes one thing at a time.")
    return AlterStream(name=name, change=change, if_exists=if_exists, position=position, **place)


def delete(cursor: Cursor, place: dict[str, Any]) -> Delete | DeleteRows:
    """The rest of DELETE."""
    cursor.expect("FROM")
    position = cursor.position
    name = cursor.relation("the name of a table or a stream")
    if not cursor.accept("BEFORE"):
        return delete_rows(cursor, name, place, position=position)
    if cursor.accept("OFFSET"):
        offset = cursor.integer("an offset")
        partition = cursor.integer("a partition") if cursor.accept("PARTITION") else None
        return Delete(name=name, offset=offset, partition=partition, position=position, **place)
    if cursor.accept("TIMESTAMP"):
        time_position, time = cursor.position, cursor.string("a time")
        return Delete(name=name, time=time, time_position=time_position, position=position, **place)
    return cursor.choice("a place to delete before", ("OFFSET", "TIMESTAMP"))


def _change(cursor: Cursor) -> StreamChange:
    position = cursor.position
    if cursor.accept("ADD"):
        cursor.accept("COLUMN")
        if_not_exists = cursor.accept("IF NOT EXISTS")
        return AddColumn(column(cursor, cursor.position), if_not_exists, position)
    if cursor.accept("DROP"):
        cursor.accept("COLUMN")
        if_exists = cursor.accept("IF EXISTS")
        position = cursor.position
        name = cursor.name("a column's name")
        if cursor.accept("CASCADE"):
            cursor.not_yet("DROP COLUMN ... CASCADE is not supported yet", hint="Drop the views that read it first.")
        return DropColumn(name, if_exists, position)
    if cursor.accept("RENAME"):
        if cursor.accept("TO"):
            cursor.not_yet("a stream keeps its name", position=position, hint="CREATE VIEW the_new_name AS FROM it.")
        cursor.accept("COLUMN")
        position = cursor.position
        old = cursor.name("a column's name")
        cursor.expect("TO")
        return RenameColumn(old, cursor.name("the column's new name"), position)
    if cursor.accept("ALTER"):
        cursor.accept("COLUMN")
        position = cursor.position
        name = cursor.name("a column's name")
        if not (cursor.accept("TYPE") or cursor.accept("SET DATA TYPE")):
            cursor.not_yet("only the type of a column can be altered", hint="Say ALTER COLUMN name TYPE type.")
        return AlterType(name, cursor.type(), position)
    if cursor.accept("ADVANCE WATERMARK TO"):
        cursor.accept("TIMESTAMP") or cursor.accept("TIMESTAMPTZ")
        time_position, time = cursor.position, cursor.string("a time")
        partition = cursor.integer("a partition") if cursor.accept("PARTITION") else None
        return AdvanceWatermark(time, partition, time_position, position)
    if cursor.accept("SET"):
        return SetOptions(cursor.options(bare=False), position)
    if cursor.accept("RESET"):
        return ResetOptions(tuple(name.lower() for name in cursor.names("an option")), position)
    return cursor.choice("a change to a stream", _CHANGES)
