"""Reading CREATE STREAM and what CREATE TABLE has in common with it: columns, the watermark, partitions, options."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from sqlglot import exp

from ..storage.errors import Position
from .cursor import Cursor
from .intervals import constant_us
from .lexer import words
from .parser_emit import query_and_emit, refuse_options
from .positions import position_of
from .statements import ColumnDefinition, CreateDerived, CreateStream, Watermark
from .trees import every

_TIMES = ("TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE")
_NOT_YET = {  # what may follow a column's type one day, and what to do until then
    "PRIMARY KEY": "A stream is append-only: PARTITIONED BY (column) spreads it, and CREATE TABLE has keys.",
    "UNIQUE": "A stream is append-only; leave it out.",
    "CHECK": "Leave it out, and filter in a view.",
    "REFERENCES": "Leave it out.",
    "GENERATED": "Compute the column in a view.",
    "AS": "Compute the column in a view.",
    "COLLATE": "Give the collation in the query.",
    "COMMENT": "Write it as an SQL comment.",
}


def create_stream(cursor: Cursor, *, or_replace: bool, place: dict[str, Any]) -> CreateStream | CreateDerived:
    """The rest of CREATE [OR REPLACE] STREAM."""
    if_not_exists = cursor.accept("IF NOT EXISTS")
    given: dict[str, Any] = {"if_not_exists": if_not_exists, "or_replace": or_replace, **place}
    name = cursor.relation("the stream's name")
    if not cursor.at_mark("(") and cursor.token is not None:
        return create_derived(cursor, "stream", name, given)
    columns, watermark, _ = read_columns(cursor, "stream")
    clauses = read_clauses(cursor, columns, "stream")
    if cursor.word == "AS":
        cursor.wrong("the columns of CREATE STREAM ... AS follow from the query", hint="Leave them out.")
    return CreateStream(name=name, columns=columns, watermark=watermark, **clauses, **given)


def create_derived(
    cursor: Cursor,
    kind: Literal["stream", "table"],
    name: str,
    given: dict[str, Any],
    primary_key: tuple[str, ...] | None = None,
) -> CreateDerived:
    """The clauses and the query of CREATE STREAM or TABLE ... AS."""
    begun = cursor.index
    clauses = read_clauses(cursor, None, kind)
    options = next((i for i in range(begun, cursor.index) if words(cursor.tokens[i]) == ["WITH"]), None)
    options_at = cursor.offset() if options is None else cursor.offset(options + 2 - cursor.index)
    cursor.expect("AS")
    query, emit = query_and_emit(cursor)
    refuse_options(emit)
    for parameter in every(query, exp.Placeholder, exp.Parameter):
        detail = "It lives on after the call that gave them."
        cursor.wrong(f"a {kind} cannot have parameters", detail=detail, position=position_of(parameter))
    upper: Literal["STREAM", "TABLE"] = "STREAM" if kind == "stream" else "TABLE"
    given |= {"query": query, "emit": emit, "primary_key": primary_key, "options_at": options_at}
    return CreateDerived(kind=upper, name=name, **clauses, **given)


def read_clauses(
    cursor: Cursor, columns: tuple[ColumnDefinition, ...] | None, kind: Literal["stream", "table"]
) -> dict[str, Any]:
    """The clauses after the columns and before AS, as fields of CreateStream with their values."""
    clauses: dict[str, Any] = {}
    while cursor.token is not None and cursor.word != "AS":
        position = cursor.position
        clause, value = _clause(cursor, columns, kind)
        if clause in clauses:
            cursor.wrong("this clause is given twice", position=position)
        clauses[clause] = value
    return clauses


def _clause(cursor: Cursor, columns: tuple[ColumnDefinition, ...] | None, kind: str) -> tuple[str, Any]:
    if kind == "stream" and (cursor.accept("PARTITIONED BY") or cursor.accept("PARTITION BY")):
        return "partition_by", _partition_by(cursor, columns)
    if cursor.accept("INTO"):
        return "partitions", _partitions(cursor, kind)
    if cursor.accept("WITH"):
        return "options", cursor.options(bare=False)
    if kind == "table":
        cursor.unexpected("After the columns come INTO n PARTITIONS and WITH (...).")
    return cursor.unexpected("After the columns come PARTITIONED BY (...), INTO n PARTITIONS and WITH (...).")


def read_columns(
    cursor: Cursor, kind: Literal["stream", "table"]
) -> tuple[tuple[ColumnDefinition, ...], Watermark | None, tuple[str, ...]]:
    """( ... ) of CREATE: the columns, the watermark, and the columns of the PRIMARY KEY, which only a table has."""
    columns: dict[str, ColumnDefinition] = {}
    watermark: Watermark | None = None
    key: _Key | None = None
    cursor.expect_mark("(")
    first = True
    while first or cursor.accept_mark(","):
        first, position = False, cursor.position
        named = _constraint(cursor, kind)
        if named is not None:
            key = _one_key(cursor, key, _Key(named, position))
            continue
        if cursor.accept("WATERMARK FOR"):
            if watermark is not None:
                cursor.wrong(f"a {kind} has one watermark", position=position)
            watermark = _watermark(cursor, position)
            continue
        definition = column(cursor, position, kind)
        if definition.primary_key:
            key = _one_key(cursor, key, _Key((definition.name,), position))
        if definition.name.lower() in columns:
            cursor.wrong(f'column "{definition.name}" is declared twice', position=position)
        columns[definition.name.lower()] = definition
    cursor.expect_mark(")")
    if not columns:
        cursor.wrong(f"a {kind} needs at least one column")
    if watermark is not None:
        declared = columns.get(watermark.column.lower())
        if declared is None:
            cursor.wrong(f'the watermark\'s column "{watermark.column}" is not declared', position=watermark.position)
        watermark = Watermark(declared.name, watermark.delay_us, watermark.position)
    for name in key.columns if key is not None else ():
        if name.lower() not in columns:
            cursor.wrong(f'column "{name}" of the key is not declared', position=key.position if key else None)
    return tuple(columns.values()), watermark, () if key is None else key.columns


def _constraint(cursor: Cursor, kind: str) -> tuple[str, ...] | None:
    """The columns of PRIMARY KEY (...), if that comes next; other constraints there are none."""
    index, position = cursor.index, cursor.position
    for constraint in ("PRIMARY KEY", "UNIQUE", "CHECK", "FOREIGN KEY", "CONSTRAINT"):
        if cursor.accept(constraint):
            if cursor.token is not None and (cursor.token.text == "(" or constraint == "CONSTRAINT"):
                if kind == "stream" or constraint != "PRIMARY KEY":
                    cursor.not_yet(f"a {kind} has no {constraint}", position=position, hint=_hint(constraint, kind))
                columns = cursor.names("a column")
                _not_enforced(cursor)
                return columns
            cursor.index = index
    return None


class _Key(NamedTuple):
    columns: tuple[str, ...]
    position: Position


def _one_key(cursor: Cursor, known: _Key | None, key: _Key) -> _Key:
    if known is not None:
        hint = "A key of several columns is PRIMARY KEY (a, b) after them."
        cursor.wrong("a table has one PRIMARY KEY", position=key.position, hint=hint)
    return key


def _not_enforced(cursor: Cursor) -> None:
    position = cursor.position
    if cursor.accept("NOT ENFORCED"):
        cursor.not_yet("a key is always enforced", position=position, hint="Leave NOT ENFORCED out.")


def column(cursor: Cursor, position: Position, kind: Literal["stream", "table"] = "stream") -> ColumnDefinition:
    """One column's name, type, NOT NULL, DEFAULT, and METADATA of a stream or PRIMARY KEY of a table."""
    name = cursor.name("a column's name")
    if cursor.word == "AS":
        return _computed(cursor, name, position, kind)
    type_text = cursor.type()
    nullable: bool | None = None
    default: exp.Expr | None = None
    metadata: str | None = None
    primary_key = False
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
            for node in every(default, exp.Column, exp.Placeholder, exp.Query, exp.AggFunc, exp.Window):
                cursor.wrong("a default must be a value by itself", position=position_of(node) or at)
        elif kind == "table" and cursor.accept("PRIMARY KEY"):
            primary_key = True
            _not_enforced(cursor)
        elif kind == "stream" and cursor.accept("METADATA"):
            metadata = _metadata(cursor, name, type_text, position)
        else:
            for clause in _NOT_YET:
                if cursor.accept(clause):
                    headline = f"{clause} is not supported on a {kind}'s column"
                    cursor.not_yet(headline, position=at, hint=_hint(clause, kind))
            key = ", PRIMARY KEY" if kind == "table" else ""
            cursor.unexpected(f"After a column's type come NOT NULL{key} and DEFAULT.")
    return ColumnDefinition(
        name=name,
        type=type_text,
        not_null=nullable is False,
        default=default,
        metadata=metadata,
        primary_key=primary_key,
        position=position,
    )


def _hint(clause: str, kind: str) -> str | None:
    hint = _NOT_YET.get(clause)
    return None if hint is None or kind == "stream" else hint.replace("A stream is append-only; leave", "Leave")


def _computed(cursor: Cursor, name: str, position: Position, kind: str) -> ColumnDefinition:
    """AS PROCTIME(), which is the one computed column that there is: the time at which each row is appended."""
    at = cursor.position
    cursor.expect("AS")
    if kind != "stream" or cursor.word != "PROCTIME":
        cursor.not_yet("computed columns are not supported yet", position=at, hint=_NOT_YET["AS"])
    cursor.expect("PROCTIME")
    cursor.expect_mark("(")
    cursor.expect_mark(")")
    return ColumnDefinition(
        name, "TIMESTAMPTZ", not_null=False, default=None, metadata="append_time", position=position
    )


def _metadata(cursor: Cursor, name: str, type_text: str, position: Position) -> str:
    """[FROM 'what']; what a producer says about a row beside its columns."""
    at = cursor.position
    what = (cursor.string("what the column holds") if cursor.accept("FROM") else name).lower()
    if what == "append_time":
        if type_text.upper() not in _TIMES:
            cursor.wrong("the time of appending is a TIMESTAMP or a TIMESTAMPTZ", position=position)
        cursor.accept("VIRTUAL")
        return what
    if what != "headers":
        hint = "There are METADATA FROM 'headers' and 'append_time'; consumers see each row's offset and partition."
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


def _partition_by(cursor: Cursor, columns: tuple[ColumnDefinition, ...] | None) -> tuple[str, ...]:
    start = cursor.index
    if columns is None:  # the query has them
        return cursor.names("a column")
    known = {column.name.lower(): column.name for column in columns}
    names = cursor.names("a column")
    for number, name in enumerate(names):
        if name.lower() not in known:
            cursor.index = start + 1 + 2 * number
            cursor.wrong(f'column "{name}" is not declared')
    return tuple(known[name.lower()] for name in names)


def _partitions(cursor: Cursor, kind: str) -> int:
    position, partitions = cursor.position, cursor.integer("the number of partitions")
    if not cursor.accept("PARTITIONS"):
        cursor.expect("PARTITION")
    if partitions < 1:
        cursor.wrong(f"a {kind} has at least one partition", position=position)
    return partitions
