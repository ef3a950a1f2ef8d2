"""Arrow rows from a program, checked against a stream's declaration: what append() and producers are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ..storage.errors import DataError, ProgrammingError
from .database import Database
from .relations import Relation
from .row_checks import check_nulls
from .types import connect
from .writing import require_written


def conformed(database: Database, stream: str, table: pa.Table) -> tuple[Relation, pa.Table]:
    """The stream or table, and the rows with its columns, matched by name; those left out have their defaults, or NULL.

    Raises: ProgrammingError for a column that the stream has not or a value that does not fit, IntegrityError for a
    NULL that may not be, DataError for a map that SQL could not read.
    """
    if not isinstance(table, pa.Table):
        raise ProgrammingError(
            f"cannot append a {type(table).__name__}",
            hint="Give an Arrow batch or table; a producer takes mappings too.",
        )
    target = require_written(database, stream, None)
    schema = target.schema
    if table.schema.equals(schema, check_metadata=False):
        _check(target, table)
        return target, table
    table = table.rename_columns(_spelled(target, table.schema.names))
    for name in schema.names:
        if name not in table.schema.names:
            table = table.append_column(schema.field(name), _left_out(target, name, table.num_rows))
    try:
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise ProgrammingError(f'rows do not fit {target.kind.lower()} "{target.name}"', detail=f"{error}.") from None
    _check(target, table)
    return target, table


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


def _spelled(target: Relation, names: Sequence[str]) -> list[str]:
    """The columns of these names, which are compared without case, as the stream spells them."""
    spelled: list[str] = []
    for name in names:
        column = target.column(name)
        if column is None:
            raise ProgrammingError(
                f'{target.kind.lower()} "{target.name}" has no column "{name}"',
                hint=f"Its columns are {', '.join(target.schema.names)}.",
                sqlstate="42703",
            )
        if column.name in spelled:
            raise ProgrammingError(f'column "{column.name}" is named twice', sqlstate="42701")
        spelled.append(column.name)
    return spelled


def _check(target: Relation, table: pa.Table) -> None:
    """Raises: IntegrityError for a NULL that may not be, DataError for a map with a key twice."""
    check_nulls(target, table)
    for column in target.columns:
        if pa.types.is_nested(column.arrow) and not all(map(_unique, table.column(column.name).chunks)):
            raise DataError(
                f'a map in column "{column.name}" of "{target.name}" has a key twice',
                detail="No row was kept: Arrow can hold such a map, but SQL cannot read it.",
            )


def _unique(values: pa.Array) -> bool:
    """Whether in each map, at any depth, each key comes once."""
    kind = values.type
    if pa.types.is_struct(kind):
        return all(map(_unique, values.flatten()))
    if pa.types.is_map(kind):
        starts = values.offsets.to_numpy()
        keys, items = (each.slice(starts[0], starts[-1] - starts[0]) for each in (values.keys, values.items))
        if pa.types.is_nested(keys.type):
            keys = pa.array(map(repr, keys.to_pylist()))  # Arrow does not group by them
        maps = np.repeat(np.arange(len(values)), np.diff(starts))
        pairs = pa.table({"map": maps, "key": keys}).group_by(["map", "key"]).aggregate([])
        return pairs.num_rows == len(keys) and _unique(items)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _unique(values.flatten())
    return True
