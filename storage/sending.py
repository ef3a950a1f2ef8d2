"""Rows as they are given to a producer, until they are a batch of their topic."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from .deliveries import Delivery
from .errors import DataError, ProgrammingError
from .limits import PRODUCER_ROW_BYTES
from .topic import Topic

Rows: TypeAlias = "pa.RecordBatch | pa.Table | Mapping[str, Any] | Sequence[Mapping[str, Any]]"


class Sent:
    """Rows that were sent together, until they are appended."""

    __slots__ = ("delivery", "headers", "partition", "rows", "sequence", "size", "stream")

    def __init__(
        self,
        stream: str,
        rows: Rows,
        partition: int | None,
        headers: Mapping[str, bytes] | None,
        sequence: int,
        delivery: Delivery,
    ) -> None:
        self.stream = stream
        self.rows = rows
        self.partition = partition
        self.headers = headers
        self.sequence = sequence
        self.delivery = delivery
        if isinstance(rows, Mapping):
            self.size = PRODUCER_ROW_BYTES
        elif isinstance(rows, (pa.RecordBatch, pa.Table)):
            self.size = rows.get_total_buffer_size()
        else:
            self.size = PRODUCER_ROW_BYTES * len(rows)


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
    columns = {}
    for name in names:
        place = schema.get_field_index(name)
        if place < 0:
            raise ProgrammingError(f'there is no column "{name}"', hint=f"There are {', '.join(schema.names)}.")
        try:
            columns[name] = pa.array([row.get(name) for row in given], schema.field(place).type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DataError(f'a value does not fit column "{name}"', detail=f"{error}.") from None
    return pa.table(columns)


def alike(sends: Sequence[Sent]) -> Iterator[list[Sent]]:
    """Sends of one row each with the same columns together, as they follow each other; others alone."""
    for keys, group in itertools.groupby(sends, lambda one: tuple(one.rows) if isinstance(one.rows, Mapping) else None):
        if keys is None:
            yield from ([sent] for sent in group)
        else:
            yield list(group)


def with_headers(table: pa.Table, headers: Sequence[Any], topic: Topic) -> pa.Table:
    """The table with its rows' headers in the column that the topic keeps them in; one for all rows, or one each."""
    name = topic.options.headers
    if all(one is None for one in headers):
        return table
    if name is None:
        raise ProgrammingError(
            f'stream "{topic.name}" keeps no headers',
            hint="Declare it with a column MAP(VARCHAR, BLOB) METADATA FROM 'headers'.",
        )
    values = headers if len(headers) == table.num_rows else list(headers) * table.num_rows
    return table.append_column(name, pa.array(values, topic.schema.field(name).type))
