"""What CREATE STREAM and CREATE TABLE declare: a relation, and how its topic is kept."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ..storage import limits
from ..storage.errors import NotSupportedError, Position, ProgrammingError
from ..storage.last_rows import WEIGHT_COLUMN
from ..storage.readable import TopicOptions
from .blocks import volatile_names
from .fidelity import reserved_words
from .relations import Column, Kind, Relation
from .statements import CreateStream, CreateTable
from .twin import refuse_volatile
from .types import Binder, connect, quote
from .window_twin import interval

_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZES |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_DURATIONS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000), ("millisecond", 1))
_NONE = ("none", "infinite", "unlimited", "")


def declared_relation(binder: Binder, statement: CreateStream) -> Relation:
    """The stream or the table as SQL sees it, every part of the statement checked."""
    kind: Kind = "TABLE" if isinstance(statement, CreateTable) else "STREAM"
    key = tuple(statement.primary_key) if isinstance(statement, CreateTable) else ()
    columns: list[Column] = []
    defaults: dict[str, exp.Expr] = {}
    for definition in statement.columns:
        if any(c.name.lower() == definition.name.lower() for c in columns):
            raise ProgrammingError(
                f'column "{definition.name}" is declared twice', position=definition.position, sqlstate="42701"
            )
        nullable = not definition.not_null and definition.name.lower() not in (name.lower() for name in key)
        column = binder.column(definition.name, definition.type, nullable=nullable, position=definition.position)
        if kind == "TABLE":
            check_table_column(column, definition.position, keyed=not nullable and not definition.not_null)
        if definition.default is not None:
            check_default(binder, definition.default, column)
            defaults[column.name] = definition.default
        columns.append(column)
    event_time = None
    if statement.watermark is not None:
        mark = statement.watermark
        time = next((c for c in columns if c.name.lower() == mark.column.lower()), None)
        if time is None:
            raise ProgrammingError(
                f'{kind.lower()} "{statement.name}" has no column "{mark.column}"',
                position=mark.position,
                sqlstate="42703",
            )
        if time.type not in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"):
            raise ProgrammingError(
                f'cannot use "{time.name}" of type {time.type} as event time',
                detail="A watermark follows a point in time with microseconds.",
                hint="Declare the column TIMESTAMP or TIMESTAMPTZ.",
                position=mark.position,
            )
        event_time = time.name
    if statement.partitions is not None and not 1 <= statement.partitions <= limits.PARTITIONS_MAX:
        raise ProgrammingError(
            f"cannot have {statement.partitions} partitions",
            detail=f"A {kind.lower()} has 1 to {limits.PARTITIONS_MAX}.",
            position=statement.start,
        )
    delay = statement.watermark.delay_us if statement.watermark is not None else 0
    arrivals = [column for column in statement.columns if column.metadata == "append_time"]
    if len(arrivals) > 1:
        raise ProgrammingError("a stream has one time at which a row is appended", position=arrivals[1].position)
    arrival = arrivals[0].name if arrivals else None
    if event_time is None and arrival is not None:
        event_time, delay = arrival, limits.ARRIVAL_DELAY_US
    relation = Relation(
        statement.name, kind, tuple(columns), statement.text, None, event_time, delay, defaults, arrival=arrival
    )
    for name in statement.partition_by:
        spelled(relation, name)
    if kind == "TABLE" and not key and (statement.partitions or 1) > 1:
        raise NotSupportedError(
            f"cannot spread a table without a key over {statement.partitions} partitions",
            detail="What deletes a row must come after the row, and only a partition has an order.",
            hint="Declare a PRIMARY KEY.",
            position=statement.start,
        )
    return replace(relation, key=tuple(spelled(relation, name) for name in key))


def check_table_column(column: Column, position: Position, *, keyed: bool) -> None:
    """Raises: an error for a column that a table cannot have, or not as part of its key."""
    if column.name.lower() == WEIGHT_COLUMN:
        raise ProgrammingError(
            f'a table cannot have a column "{column.name}"', detail="Its log has one of that name.", position=position
        )
    if keyed and pa.types.is_nested(column.arrow):
        raise NotSupportedError(
            f'cannot use "{column.name}" of type {column.type} as a key',
            detail="Keys are compared whole, and lists, structs and maps cannot be compared.",
            position=position,
        )


def log_schema(relation: Relation) -> pa.Schema:
    """The columns of the relation's topic: a table's has for each row whether it comes or goes as well."""
    if relation.kind == "TABLE":
        return relation.schema.append(pa.field(WEIGHT_COLUMN, pa.int8()))
    return relation.schema


def check_default(binder: Binder, default: exp.Expr, column: Column) -> None:
    """Raises: an error at the default that is not the same for a row whenever it is asked, or of another type."""
    refuse_volatile(
        exp.select(default.copy()),
        volatile_names() - {"now", "uuid", "gen_random_uuid", "current_timestamp", "today", "current_date"},
    )
    binder.bind(f"SELECT CAST(({default.sql(dialect='duckdb')}) AS {column.type})", default)


def spelled(relation: Relation, name: str) -> str:
    """The column of that name as the stream spells it."""
    column = relation.column(name)
    if column is None:
        raise ProgrammingError(
            f'{relation.kind.lower()} "{relation.name}" has no column "{name}"',
            hint=f"Its columns are {', '.join(quote(c.name) for c in relation.columns)}.",
            sqlstate="42703",
        )
    return column.name


def topic_options(options: Mapping[str, Any], base: TopicOptions, position: Position | None) -> TopicOptions:
    """`base` with what WITH or SET says.

    Raises: ProgrammingError for an option that there is not, or a value that it cannot have.
    """
    values = {name: getattr(base, name) for name in base.__dataclass_fields__}
    for name, value in options.items():
        field, read, expected = _option(name, position)
        try:
            values[field] = read(value)
        except ValueError:
            raise ProgrammingError(
                f"cannot set {name} to {value!r}", hint=f"Give {expected}.", position=position
            ) from None
    return TopicOptions(**values)


def refuse_cleaning(options: Mapping[str, Any], position: Position) -> None:
    """Raises: ProgrammingError for an option by which rows of a table would go that are still there."""
    for name in options:
        if name in ("cleanup", "retention", "retention_bytes"):
            raise ProgrammingError(
                f'a table has no option "{name}"',
                detail="Its rows stay until they are deleted; what was superseded is compacted away by itself.",
                position=position,
            )


def option_defaults(
    names: Sequence[str], options: TopicOptions, base: TopicOptions, position: Position
) -> TopicOptions:
    """`options` with those of RESET as they are in `base`."""
    values = {_option(name, position)[0]: getattr(base, _option(name, position)[0]) for name in names}
    return replace(options, **values)


def declared(relation: Relation, key: Sequence[str], options: TopicOptions, base: TopicOptions) -> str:
    """The CREATE that makes the stream or the table as it is; options that are as in `base` are left out."""
    lines = []
    for column in relation.columns:
        said = not column.nullable and column.name not in relation.key
        line = f"{spelled_name(column.name)} {column.type}{' NOT NULL' if said else ''}"
        if column.name in relation.defaults:
            line += f" DEFAULT {relation.defaults[column.name].sql(dialect='duckdb')}"
        if column.name in (options.headers, relation.arrival):
            line += f" METADATA FROM '{'headers' if column.name == options.headers else 'append_time'}'"
        lines.append(line)
    implied = relation.event_time == relation.arrival and relation.delay_us == limits.ARRIVAL_DELAY_US
    if relation.event_time is not None and not implied:
        time = spelled_name(relation.event_time)
        delay = f" - {interval(relation.delay_us)}" if relation.delay_us else ""
        lines.append(f"WATERMARK FOR {time} AS {time}{delay}")
    if relation.key:
        lines.append(f"PRIMARY KEY ({', '.join(spelled_name(name) for name in relation.key)})")
    text = f"CREATE {relation.kind} {spelled_name(relation.name)} (\n  " + ",\n  ".join(lines) + "\n)"
    if key and not relation.key:
        text += f" PARTITIONED BY ({', '.join(spelled_name(name) for name in key)})"
    if relation.partitions != 1:
        text += f" INTO {relation.partitions} PARTITIONS"
    given = [
        f"{name} = {_said(field, getattr(options, field))}"
        for name, (field, _, _) in _OPTIONS.items()
        if getattr(options, field) != getattr(base, field)
    ]
    return text + (f" WITH ({', '.join(given)})" if given else "")


def spelled_name(name: str) -> str:
    """A name as SQL takes it: in quotes where it would be read otherwise."""
    return name if re.fullmatch(r"[a-z_]\w*", name, re.ASCII) and name.upper() not in reserved_words() else quote(name)


def _said(field: str, value: Any) -> str:
    """An option's value as WITH takes it."""
    if value is None:
        return "'none'"
    if not field.endswith("_ms"):
        return str(value) if isinstance(value, int) else f"'{value}'"
    unit, size = next((unit, size) for unit, size in _DURATIONS if value % size == 0)
    return f"'{value // size} {unit}{'' if value == size else 's'}'"


def _option(name: str, position: Position | None) -> tuple[str, Callable[[Any], Any], str]:
    if name in _OPTIONS:
        return _OPTIONS[name]
    close = difflib.get_close_matches(name, _OPTIONS, n=1)
    raise ProgrammingError(
        f'a stream has no option "{name}"',
        hint=f'Did you mean "{close[0]}"?' if close else f"There are {', '.join(sorted(_OPTIONS))}.",
        position=position,
    )


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if str(value).lower() not in allowed:
            raise ValueError(value)
        return str(value).lower()

    return read


def _compression(value: Any) -> str | None:
    if value is None or str(value).lower() in _NONE:
        return None
    return _one_of("zstd", "lz4")(value)


def bytes_of(value: Any) -> int:
    """'10 GB' as a number of bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(value).lower())
    if match is None or match[2] not in _SIZES:
        raise ValueError(value)
    size = int(float(match[1]) * _SIZES[match[2]])
    if size < 1:
        raise ValueError(value)
    return size


def _bytes_or_none(value: Any) -> int | None:
    return None if value is None or str(value).lower() in _NONE else bytes_of(value)


def milliseconds_of(value: Any) -> int:
    """'7 days' as a number of milliseconds; a bare number is in milliseconds."""
    text = str(value).strip()
    if text.isdecimal():
        milliseconds = int(text)
    else:
        connection = connect()
        try:
            (found,) = connection.execute("SELECT epoch_ms(try_cast(? AS INTERVAL))", [text]).fetchall()
        finally:
            connection.close()
        if found[0] is None:
            raise ValueError(value)
        milliseconds = int(found[0])
    if milliseconds < 1:
        raise ValueError(value)
    return milliseconds


def milliseconds_or_none(value: Any) -> int | None:
    """The same, or None for 'none'. Raises: ValueError for what is no time."""
    return None if value is None or str(value).lower() in _NONE else milliseconds_of(value)


def _uri_or_none(value: Any) -> str | None:
    return None if value is None or str(value).lower() in _NONE else str(value)


_DURATION = "a time such as '7 days' or '90 minutes', or 'none'"
_SIZE = "a size such as '10 GB' or '512 MiB', or 'none'"

# option: field of TopicOptions, how its value is read, what to say of one that does not fit
_OPTIONS: Mapping[str, tuple[str, Callable[[Any], Any], str]] = {
    "durability": ("durability", _one_of("none", "group", "each"), "'none', 'group' or 'each'"),
    "retention": ("retention_ms", milliseconds_or_none, _DURATION),
    "retention_bytes": ("retention_bytes", _bytes_or_none, _SIZE),
    "cleanup": ("cleanup", _one_of("delete", "compact", "compact,delete"), "'delete', 'compact' or 'compact,delete'"),
    "tombstone_retention": ("tombstone_retention_ms", milliseconds_of, "a time such as '1 day'"),
    "compression": ("compression", _compression, "'zstd', 'lz4' or 'none'"),
    "tier": ("tier", _uri_or_none, "a URI such as 's3://bucket/prefix', or 'none'"),
    "tier_after": ("tier_after_ms", milliseconds_or_none, _DURATION),
    "local_bytes": ("local_bytes", _bytes_or_none, _SIZE),
    "segment_bytes": ("segment_bytes", bytes_of, "a size such as '256 MiB'"),
}
