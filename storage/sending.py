"""Rows as they are given to a producer, until they are a batch of their topic."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from numbers import Integral
from typing import Any, TypeAlias, get_args

import pyarrow as pa

from .deliveries import Delivery
from .errors import DataError, ProgrammingError
from .limits import PRODUCER_ROW_BYTES, PRODUCER_SLICE_BYTES
from .owned_log import Durability
from .topic import Topic

Rows: TypeAlias = "pa.RecordBatch | pa.Table | Mapping[str, Any] | Sequence[Mapping[str, Any]]"
Header: TypeAlias = "tuple[str, bytes | str | None]"
FLAT = frozenset({int, float, bool, type(None), datetime, date, Decimal})  # which a row's own bytes have room for
Headers: TypeAlias = "Mapping[str, bytes | str | None] | Sequence[Header]"


class Sent:
    """Rows that were sent together, as they were then, until they are appended.

    Raises: ProgrammingError for what is no rows, and for headers that are none.
    """

    __slots__ = ("delivery", "headers", "partition", "rows", "sequence", "size", "stream")

    def __init__(
        self, stream: str, rows: Rows, partition: int | None, headers: Headers | None, delivery: Delivery
    ) -> None:
        self.stream = stream
        self.rows = rows
        self.partition = partition
        self.headers = None if headers is None else checked_headers(headers)
        self.sequence = 0
        self.delivery = delivery
        if type(rows) is dict:  # by far the most frequent, and quicker asked than below
            self.rows = rows.copy()  # the caller may put the next row into it
            self.size = _size(rows)
        elif isinstance(rows, (pa.RecordBatch, pa.Table)):
            held = rows.get_total_buffer_size()  # quick, and more than it is where rows are a slice of others
            self.size = held if held <= PRODUCER_SLICE_BYTES else rows.nbytes
        elif isinstance(rows, Mapping):
            self.rows = dict(rows)
            self.size = _size(rows)
        elif isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows):
            self.rows = [dict(row) for row in rows]
            self.size = sum(map(_size, rows))
        else:
            raise ProgrammingError(
                f"cannot send a {type(rows).__name__}",
                hint="Give an Arrow batch or table, a mapping of column names to values, or a list of mappings.",
            )
        if self.headers:
            self.size += _size(dict(self.headers))


def as_table(rows: Rows, schema: pa.Schema) -> pa.Table:
    """Rows as they were given, mappings with the types that `schema` has for their names.

    Raises: DataError, ProgrammingError naming the column that does not fit.
    """
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    given = [rows] if isinstance(rows, Mapping) else rows
    names = list(dict.fromkeys(name for row in given for name in row))
    if not names:  # each row is made of defaults
        return pa.table({"": pa.nulls(len(given))}).select([])
    columns = {}
    for name in names:
        place = _place(name, schema)
        if schema.names[place] in columns:
            raise ProgrammingError(f'column "{name}" is named twice', sqlstate="42701")
        try:
            values = _array([row.get(name) for row in given], schema.field(place).type)
            columns[schema.names[place]] = values
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DataError(f'a value does not fit column "{name}"', detail=f"{error}.") from None
    return pa.table(columns)


def _place(name: str, schema: pa.Schema) -> int:
    """The place of a column, whose name is compared without case. Raises: ProgrammingError if there is none."""
    place = schema.get_field_index(name)
    if place < 0:
        place = next((n for n, known in enumerate(schema.names) if known.lower() == name.lower()), -1)
    if place < 0:
        raise ProgrammingError(f'there is no column "{name}"', hint=f"There are {', '.join(schema.names)}.")
    return int(place)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """The values as an array of this type, none of them changed."""
    if pa.types.is_integer(kind) and any(isinstance(value, float) for value in values):
        return pa.array(values).cast(kind)  # which, unlike pa.array, refuses 1.5
    return pa.array(values, kind)


def alike(sends: Sequence[Sent]) -> Iterator[list[Sent]]:
    """Sends of one row each with the same columns together, as they follow each other; others alone."""
    for keys, group in itertools.groupby(sends, lambda one: tuple(one.rows) if isinstance(one.rows, Mapping) else None):
        if keys is None:
            yield from ([sent] for sent in group)
        else:
            yield list(group)


def with_headers(table: pa.Table, headers: Sequence[Sequence[Header] | None], topic: Topic) -> pa.Table:
    """The table with its rows' headers in the column that the topic keeps them in; one for all rows, or one each."""
    name = topic.options.headers
    if all(one is None for one in headers):
        return table
    if name is None:
        raise ProgrammingError(
            f'stream "{topic.name}" keeps no headers',
            hint="Declare it with a column MAP(VARCHAR, BLOB) METADATA FROM 'headers'.",
        )
    if name in table.schema.names:
        raise ProgrammingError(
            f'headers are given twice: as such, and in column "{name}"', hint="Give them in one way or the other."
        )
    values = headers if len(headers) == table.num_rows else list(headers) * table.num_rows
    return table.append_column(name, pa.array(values, topic.schema.field(name).type))


def checked_headers(headers: Headers) -> list[Header]:
    """The headers of a row by name. Raises: ProgrammingError where they are none, or of one name twice."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else headers
    try:
        named = [(name, bytes(value) if isinstance(value, bytearray | memoryview) else value) for name, value in pairs]
    except (TypeError, ValueError):
        named = [("", 0)]  # type: ignore[list-item]
    if not all(isinstance(name, str) and isinstance(value, bytes | str | None) for name, value in named):
        raise ProgrammingError(
            f"cannot send {headers!r} as headers", hint="Headers are names with bytes, as in {'trace': b'4bf92f'}."
        )
    if len(dict(named)) < len(named):
        raise ProgrammingError(
            f"cannot send {headers!r} as headers: a name comes twice",
            detail="They are kept as a MAP, in which it cannot.",
        )
    return named


def check_options(
    name: str | None, durability: Durability | None, linger_s: float, batch_bytes: int, buffer_bytes: int
) -> None:
    """Raises: ProgrammingError for what a producer cannot be told."""
    if name is not None and (not isinstance(name, str) or not name):
        raise ProgrammingError(f"cannot name a producer {name!r}", hint='A name is a text such as "nightly load".')
    if durability is not None and durability not in get_args(Durability):
        known = ", ".join(f"'{one}'" for one in get_args(Durability))
        raise ProgrammingError(f'there is no durability "{durability}"', hint=f"There are {known}.")
    for option, value in (("linger_s", linger_s), ("batch_bytes", batch_bytes), ("buffer_bytes", buffer_bytes)):
        if not isinstance(value, int | float) or value < (0 if option == "linger_s" else 1):
            raise ProgrammingError(f"cannot make a producer with {option} = {value!r}")


def check_sequence(sequence: int | None, name: str | None) -> None:
    """Raises: ProgrammingError if rows cannot have this number."""
    if sequence is None:
        return
    if name is None:
        raise ProgrammingError(
            "cannot number what a producer without a name sends",
            detail="A retry is known by the producer's name and its sequence.",
            hint="Give the producer a name.",
        )
    if not isinstance(sequence, Integral) or not 0 < sequence < 1 << 63:
        raise ProgrammingError(f"cannot number rows {sequence!r}", hint="A sequence is a whole number from 1 on.")


def _size(row: Mapping[Any, Any]) -> int:
    """About how much memory a row takes."""
    size = PRODUCER_ROW_BYTES
    for value in row.values():
        kind = type(value)
        if kind is str or kind is bytes:
            size += len(value)
        elif kind not in FLAT:
            size += _nested_size(value)
    return size


def _nested_size(value: Any) -> int:
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    if isinstance(value, Mapping):
        return _size(value)
    if isinstance(value, list | tuple):
        return sum(map(_nested_size, value), 8 * len(value))
    return int(getattr(value, "nbytes", 0))
