"""Reading CREATE STREAM: columns, the watermark, partitions and options."""

from __future__ import annotations

from typing import Any, NoReturn

from sqlglot import exp

from ..storage.errors import Position
from .cursor import Cursor
from .intervals import constant_us
from .positions import position_of
from .statements import ColumnDefinition, CreateStream, Watermark

_NOT_YET = {  # what may follow a column's type one day, and what to do until then
    "PRIMARY KEY": "A stream is append-only; leave the key out, or spread it with PARTITIONED BY (column).",
    "UNIQUE": "A stream is append-only; leave it out.",
    "CHECK": "Leave it out, and filter in a view.",
    "REFERENCES": "Leave it out.",
    "GENERATED": "Compute the column in a view.",
    "AS": "Compute the column in a view.",
    "COLLATE": "Give the collation in the query.",
    "COMMENT": "Write it as an SQL comment.",
}


def create_stream(cursor: Cursor, *, or_replace: bool, place: dict[str, Any]) -> CreateStream:
    """The rest of CREATE [OR REPLACE] STREAM."""
    if_not_exists = cursor.accept("IF NOT EXISTS")
    name = cursor.relation("the stream's name")
    if cursor.word == "AS":
        _refuse_as(cursor, name)
    columns, watermark = _columns(cursor)
    clauses: dict[str, Any] = {}
    while cursor.token is not None:
        position = cursor.position
        clause, value = _clause(cursor, name, columns)
        if clause in clauses:
            cursor.wrong("this clause is given twice", position=position)
        clauses[clause] = value
    return CreateStream(
        name=name,
        columns=columns,
        watermark=watermark,
        partition_by=clauses.get("partition_by", ()),
        partitions=clauses.get("partitions"),
        options=clauses.get("options", {}),
        if_not_exists=if_not_exists,
        or_replace=or_replace,
        **place,
    )


def _clause(cursor: Cursor, name: str, columns: tuple[ColumnDefinition, ...]) -> tuple[str, Any]:
    """One clause after the columns, as a field of CreateStream and its value."""
    if cursor.accept("PARTITIONED BY") or cursor.accept("PARTITION BY"):
        return "partition_by", _partition_by(cursor, columns)
    if cursor.accept("INTO"):
        return "partitions", _partitions(cursor)
    if cursor.accept("WITH"):
        return "options", cursor.options(bare=False)
    if cursor.word == "AS":
        _refuse_as(cursor, name)
    return cursor.unexpected("After the columns come PARTITIONED BY (...), INTO n PARTITIONS and WITH (...).")


def _refuse_as(cursor: Cursor, name: str) -> NoReturn:
    hint = f"Keep the result up to date with CREATE MATERIALIZED VIEW {name} AS ..."
    cursor.not_yet("CREATE STREAM ... AS is not supported yet", hint=hint)


def _columns(cursor: Cursor) -> tuple[tuple[ColumnDefinition, ...], Watermark | None]:
    columns: dict[str, ColumnDefinition] = {}
    watermark: Watermark | None = None
    cursor.expect_mark("(")
    first = True
    while first or cursor.accept_mark(","):
        first, position = False, cursor.position
        for constraint in ("PRIMARY KEY", "UNIQUE", "CHECK", "FOREIGN KEY", "CONSTRAINT"):
            index = cursor.index
            if cursor.accept(constraint):
                if cursor.token is not None and (cursor.token.text == "(" or constraint == "CONSTRAINT"):
                    cursor.not_yet(f"a stream has no {constraint}", position=position, hint=_NOT_YET.get(constraint))
                cursor.index = index
        if cursor.accept("WATERMARK FOR"):
            if watermark is not None:
                cursor.wrong("a stream has one watermark", position=position)
            watermark = _watermark(cursor, position)
            continue
        definition = column(cursor, position)
        if definition.name.lower() in columns:
            cursor.wrong(f'column "{definition.name}" is declared twice', position=position)
        columns[definition.name.lower()] = definition
    cursor.expect_mark(")")
    if not columns:
        cursor.wrong("a stream needs at least one column")
    if watermark is not None:
        declared = columns.get(watermark.column.lower())
        if declared is None:
            cursor.wrong(f'the watermark\'s column "{watermark.column}" is not declared', position=watermark.position)
        watermark = Watermark(declared.name, watermark.delay_us, watermark.position)
    return tuple(columns.values()), watermark


def column(cursor: Cursor, position: Position) -> ColumnDefinition:
    """One column's name, type, NOT NULL, DEFAULT and METADATA."""
    name = cursor.name("a column's name")
    if cursor.word == "AS":
        cursor.not_yet("computed columns are not supported yet", hint=_NOT_YET["AS"])
    type_text = cursor.type()
    nullable: bool | None = None
    default: exp.Expr | None = None
    metadata: str | None = None
    while cursor.token is not None and cursor.token.text not in (",", ")"):
        at = cursor.position
        if cursor.accept("NOT NULL") or cursor.accept("NULL"):
            said = cursor.tokens[cursor.index - 2].text.upper() != "NOT"
            if nullable is not None and nullable != said:
                cursor.wrong("a column is either NULL or NOT NULL", position=at)
            nullable = said
        elif cursor.accept("DEFAULT"):
            if default is not None:
                cursor.wrong("a column has one DEFAULT", position=at)
            default = cursor.expression("the default")
            for node in default.find_all(exp.Column, exp.Placeholder, exp.Query, exp.AggFunc, exp.Window):
                cursor.wrong("a default must be a value by itself", position=position_of(node) or at)
        elif cursor.accept("METADATA"):
            metadata = _metadata(cursor, name, type_text, position)
        else:
            for clause, hint in _NOT_YET.items():
                if cursor.accept(clause):
                    cursor.not_yet(f"{clause} is not supported on a stream's column", position=at, hint=hint)
            cursor.unexpected("After a column's type come NOT NULL and DEFAULT.")
    return ColumnDefinition(
        name=name, type=type_text, not_null=nullable is False, default=default, metadata=metadata, position=position
    )


def _metadata(cursor: Cursor, name: str, type_text: str, position: Position) -> str:
    """[FROM 'what']; what a producer says about a row beside its columns."""
    at = cursor.position
    what = (cursor.string("what the column holds") if cursor.accept("FROM") else name).lower()
    if what != "headers":
        hint = "Only METADATA FROM 'headers' is; consumers see each row's offset and partition."
        cursor.not_yet(f"a column from '{what}' is not supported yet", position=at, hint=hint)
    if "".join(type_text.upper().split()) != "MAP(VARCHAR,BLOB)":
        cursor.wrong("headers are MAP(VARCHAR, BLOB)", position=position)
    if cursor.accept("VIRTUAL"):
        cursor.not_yet("headers are kept with the rows", position=at, hint="Leave VIRTUAL out.")
    return what


def _watermark(cursor: Cursor, position: Position) -> Watermark:
    """FOR column AS column [- interval]."""
    at, column = cursor.position, cursor.name("the column of event time")
    cursor.expect("AS")
    place = cursor.position
    node = cursor.expression("the watermark")
    delay: exp.Expr | None = None
    if isinstance(node, exp.Sub):
        node, delay = node.this, node.expression
    if not isinstance(node, exp.Column) or node.table or node.name.lower() != column.lower():
        cursor.wrong(
            "a watermark is its column, or its column minus an interval",
            position=place,
            hint=f"Write WATERMARK FOR {column} AS {column} - INTERVAL '5' SECOND.",
        )
    delay_us = 0 if delay is None else constant_us(delay, place, "the delay of a watermark")
    if delay_us < 0:
        cursor.wrong("the delay of a watermark cannot be negative", position=place)
    return Watermark(column, delay_us, at)


def _partition_by(cursor: Cursor, columns: tuple[ColumnDefinition, ...]) -> tuple[str, ...]:
    start = cursor.index
    known = {column.name.lower(): column.name for column in columns}
    names = cursor.names("a column")
    for number, name in enumerate(names):
        if name.lower() not in known:
            cursor.index = start + 1 + 2 * number
            cursor.wrong(f'column "{name}" is not declared')
    return tuple(known[name.lower()] for name in names)


def _partitions(cursor: Cursor) -> int:
    position, partitions = cursor.position, cursor.integer("the number of partitions")
    if not cursor.accept("PARTITIONS"):
        cursor.expect("PARTITION")
    if partitions < 1:
        cursor.wrong("a stream has at least one partition", position=position)
    return partitions
