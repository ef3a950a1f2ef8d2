"""Reading ALTER STREAM and DELETE: what changes a relation that is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from .alterations import (
    AddColumn,
    AdvanceWatermark,
    AlterStream,
    AlterType,
    DropColumn,
    RenameColumn,
    RenameView,
    ResetOptions,
    Resume,
    SetOptions,
    StreamChange,
)
from .cursor import Cursor
from .parser_data import create_view
from .parser_streams import column
from .parser_tables import delete_rows
from .statements import Comment, CreateView, Delete, DeleteRows

_CHANGES_OF_TABLE = ("ADD COLUMN", "DROP COLUMN", "RENAME COLUMN", "ALTER COLUMN", "SET", "RESET")
_COMMENTED = ("STREAM", "TABLE", "VIEW", "MATERIALIZED VIEW", "QUERY")
_CHANGES = ("ADD COLUMN", "DROP COLUMN", "RENAME COLUMN", "ALTER COLUMN", "SET", "RESET", "ADVANCE WATERMARK TO")


def alter(cursor: Cursor, place: dict[str, Any]) -> AlterStream | RenameView | CreateView | Resume:
    """The rest of ALTER."""
    view = next((kind for kind in ("VIEW", "MATERIALIZED VIEW") if cursor.accept(kind)), None)
    if view is not None:
        return _alter_view(cursor, view, place)
    if cursor.accept("QUERY"):
        position, name = cursor.position, cursor.relation("the query's name")
        cursor.expect("RESUME")
        return Resume(kind="QUERY", name=name, position=position, **place)
    kind: Literal["STREAM", "TABLE"] = "TABLE" if cursor.accept("TABLE") else "STREAM"
    if kind == "STREAM" and not cursor.accept("STREAM"):
        cursor.choice("something to ALTER", ("STREAM", "TABLE", "VIEW", "MATERIALIZED VIEW", "QUERY"))
    if_exists = cursor.accept("IF EXISTS")
    position = cursor.position
    name = cursor.relation(f"the {kind.lower()}'s name")
    if cursor.accept("RESUME"):
        return Resume(kind=kind, name=name, position=position, **place)
    change = _change(cursor, kind)
    if cursor.at_mark(","):
        cursor.unexpected(f"ALTER {kind} changes one thing at a time.")
    return AlterStream(name=name, change=change, kind=kind, if_exists=if_exists, position=position, **place)


def _alter_view(cursor: Cursor, kind: str, place: dict[str, Any]) -> RenameView | CreateView | Resume:
    """[IF EXISTS] name RENAME TO name; name [(columns)] [WITH (...)] AS query; or name RESUME."""
    start, materialized = cursor.index, kind == "MATERIALIZED VIEW"
    if_exists, position = cursor.accept("IF EXISTS"), cursor.position
    name = cursor.relation("the view's name")
    if materialized and not if_exists and (cursor.word in ("AS", "WITH") or cursor.at_mark("(")):
        text = cursor.source.text[cursor.tokens[start].start : cursor.tokens[-1].end + 1]
        cursor.index = start
        create, before = "CREATE MATERIALIZED VIEW ", cursor.offset()
        view = create_view(
            cursor, materialized=True, or_replace=True, place={**place, "text": create + text}, altered=True
        )
        return replace(view, options_at=view.options_at - before + len(create))
    if materialized and cursor.accept("RESUME"):
        return Resume(kind=kind, name=name, position=position, **place)
    if not cursor.accept("RENAME"):
        can = "can only RENAME, RESUME, or say AS query" if materialized else "can only RENAME"
        cursor.not_yet(f"ALTER {kind} {can}", hint=f"CREATE OR REPLACE {kind} gives it another query.")
    cursor.expect("TO")
    new_position = cursor.position
    new = cursor.name("the view's new name")
    return RenameView(
        kind=kind, name=name, new=new, if_exists=if_exists, position=position, new_position=new_position, **place
    )


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


def comment(cursor: Cursor, place: dict[str, Any]) -> Comment:
    """The rest of COMMENT ON kind name IS 'text', or COLUMN relation.column."""
    cursor.expect("ON")
    kind = next((kind for kind in (*_COMMENTED, "COLUMN") if cursor.accept(kind)), None)
    if kind is None:
        cursor.choice("what the comment is on", (*_COMMENTED, "COLUMN"))
    position, column = cursor.position, None
    if kind == "COLUMN":
        name, _, column = cursor.dotted().rpartition(".")
        if not name:
            cursor.wrong("a column is named with its relation", position=position, hint="As in COLUMN bids.price.")
    else:
        name = cursor.relation("its name")
    cursor.expect("IS")
    said = None if cursor.accept("NULL") else cursor.string("the comment, or NULL")
    return Comment(
        kind="" if kind == "COLUMN" else str(kind), name=name, column=column, comment=said, position=position, **place
    )


def _change(cursor: Cursor, kind: Literal["STREAM", "TABLE"]) -> StreamChange:
    position = cursor.position
    if cursor.accept("ADD"):
        cursor.accept("COLUMN")
        if_not_exists = cursor.accept("IF NOT EXISTS")
        place = cursor.position
        added = column(cursor, place, "stream" if kind == "STREAM" else "table")
        if added.primary_key:
            hint = "CREATE a new table and INSERT the rows of this one into it."
            cursor.not_yet("the key of a table cannot change", position=place, hint=hint)
        return AddColumn(added, if_not_exists, position)
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
            cursor.not_yet(
                f"a {kind.lower()} keeps its name", position=position, hint="CREATE VIEW the_new_name AS FROM it."
            )
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
    if kind == "STREAM" and cursor.accept("ADVANCE WATERMARK TO"):
        cursor.accept("TIMESTAMP") or cursor.accept("TIMESTAMPTZ")
        time_position, time = cursor.position, cursor.string("a time")
        partition = cursor.integer("a partition") if cursor.accept("PARTITION") else None
        return AdvanceWatermark(time, partition, time_position, position)
    if cursor.accept("SET"):
        return SetOptions(cursor.options(bare=False), position)
    if cursor.accept("RESET"):
        return ResetOptions(tuple(name.lower() for name in cursor.names("an option")), position)
    return cursor.choice(f"a change to a {kind.lower()}", _CHANGES if kind == "STREAM" else _CHANGES_OF_TABLE)
