"""Arrow rows from a program, checked against a stream's declaration: what append() and producers are given."""

from __future__ import annotations

import pyarrow as pa

from ..storage.errors import ProgrammingError
from .database import Database
from .relations import Relation
from .types import connect
from .writing import check_nulls, require_stream


def conformed(database: Database, stream: str, table: pa.Table) -> tuple[Relation, pa.Table]:
    """The stream, and the rows with its columns, matched by name; those left out have their defaults, or NULL.

    Raises: ProgrammingError for a column that the stream has not or a value that does not fit, IntegrityError for a
    NULL that may not be.
    """
    target = require_stream(database, stream, None)
    schema = target.schema
    if table.schema.equals(schema, check_metadata=False):
        check_nulls(target, table)
        return target, table
    extra = set(table.schema.names) - set(schema.names)
    if extra:
        raise ProgrammingError(
            f'stream "{target.name}" has no column "{min(extra)}"',
            hint=f"Its columns are {', '.join(schema.names)}.",
            sqlstate="42703",
        )
    for name in schema.names:
        if name not in table.schema.names:
            table = table.append_column(schema.field(name), _left_out(target, name, table.num_rows))
    try:
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise ProgrammingError(f'rows do not fit stream "{target.name}"', detail=f"{error}.") from None
    check_nulls(target, table)
    return target, table


def batch_of(table: pa.Table) -> pa.RecordBatch:
    """The rows as one batch."""
    batches = table.combine_chunks().to_batches()
    if len(batches) == 1:
        return batches[0]
    return pa.RecordBatch.from_arrays([column.combine_chunks() for column in table.columns], schema=table.schema)


def _left_out(target: Relation, name: str, rows: int) -> pa.Array:
    """The values of a column that is not given: its default for each row, or NULL."""
    kind = target.schema.field(name).type
    if name not in target.defaults:
        return pa.nulls(rows, kind)
    connection = connect()
    try:
        sql = f"SELECT {target.defaults[name].sql(dialect='duckdb')} AS value FROM range({rows})"
        return connection.sql(sql).to_arrow_table().column(0).cast(kind)
    finally:
        connection.close()
