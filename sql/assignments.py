"""What SET says, computed by DuckDB for rows of a table that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np
import pyarrow as pa
from sqlglot import exp

from ..storage.errors import ProgrammingError
from .dialect import twin_sql
from .relations import Column, Relation
from .statements import Assignment, Conflict
from .trees import every
from .types import connect, quote, register, translate

ROW = "_row"  # which of the rows, counted from 0
_ROW_COLUMN = Column(ROW, "BIGINT", pa.int64())


def check_columns(target: Relation, assignments: Sequence[Assignment]) -> None:
    """Raises: ProgrammingError for a column that the table has not."""
    for one in assignments:
        if target.column(one.column) is None:
            raise ProgrammingError(
                f'table "{target.name}" has no column "{one.column}"',
                hint=f"Its columns are {', '.join(column.name for column in target.columns)}.",
                position=one.position,
                sqlstate="42703",
            )


def items(target: Relation, assignments: Sequence[Assignment], alias: str) -> list[exp.Expr]:
    """What to select for the values that columns are set to, and the number of the row that gets them."""
    found: list[exp.Expr] = [exp.alias_(exp.column(ROW, table=exp.to_identifier(alias, quoted=True)), ROW)]
    for one in assignments:
        column = target.column(one.column)
        assert column is not None
        value = target.defaults.get(column.name, exp.Null()) if one.value is None else one.value
        cast = exp.cast(exp.Paren(this=value.copy()), column.type, dialect="duckdb")
        found.append(exp.alias_(cast, exp.to_identifier(column.name, quoted=True)))
    return found


def register_rows(
    connection: duckdb.DuckDBPyConnection, name: str, target: Relation, rows: pa.Table | pa.RecordBatch
) -> None:
    """Let SQL find `rows` of the target under `name`, with their numbers."""
    table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
    numbered = table.append_column(ROW, pa.array(np.arange(table.num_rows)))
    register(connection, name, [*target.columns, _ROW_COLUMN], numbered)


def with_values(target: Relation, rows: pa.Table, values: pa.Table) -> pa.Table:
    """Those of `rows` whose numbers are in `values`, with the other columns of `values` in the place of theirs."""
    changed = rows.take(values.column(ROW))
    for place, field in enumerate(target.schema):
        if field.name in values.schema.names:
            changed = changed.set_column(place, field, values.column(field.name).cast(field.type))
    return changed


def assigned(target: Relation, conflict: Conflict, present: pa.RecordBatch, excluded: pa.RecordBatch) -> pa.Table:
    """The rows that DO UPDATE makes of those present, given those that were to be inserted, one for one.

    A name without a table means the row that is present. Where the condition does not hold nothing comes out.
    """
    alias = target.name
    select = exp.select(*items(target, conflict.assignments, alias))
    if conflict.where is not None:
        select = select.where(conflict.where.copy())
    for column in every(select, exp.Column):
        if not column.table:
            column.set("table", exp.to_identifier(alias, quoted=True))
    connection = connect()
    try:
        register_rows(connection, "present/rows", target, present)
        register_rows(connection, "excluded/rows", target, excluded)
        select = select.from_(f'"present/rows" AS {quote(alias)}', dialect="duckdb").join(
            f'"excluded/rows" AS excluded ON excluded.{ROW} = {quote(alias)}.{ROW}', dialect="duckdb"
        )
        values = connection.sql(twin_sql(select)).to_arrow_table()
    except duckdb.Error as error:
        raise translate(error, _together(conflict)) from None
    finally:
        connection.close()
    return with_values(target, pa.Table.from_batches([present]), values)


def _together(conflict: Conflict) -> exp.Expr:
    """All that was written, to find the place of an error in."""
    parts: Mapping[str, exp.Expr] = {one.column: one.value for one in conflict.assignments if one.value is not None}
    return exp.Tuple(expressions=[*parts.values(), *([] if conflict.where is None else [conflict.where])])
