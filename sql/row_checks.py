"""Rows before they are written: one batch, and no NULL where none may be."""

from __future__ import annotations

import pyarrow as pa

from ..storage.errors import IntegrityError
from .relations import Relation


def check_nulls(target: Relation, table: pa.Table) -> None:
    """Raise IntegrityError for the first NULL in a column declared NOT NULL."""
    for column in target.columns:
        values = table.column(column.name)
        if not column.nullable and values.null_count:
            row = values.is_null().combine_chunks().to_numpy(zero_copy_only=False).argmax()
            raise IntegrityError(
                f'NULL in column "{column.name}" of "{target.name}"',
                detail=f"Row {row + 1} of {table.num_rows} has none, and the column is NOT NULL; no row was kept.",
                sqlstate="23502",
            )


def batch_of(table: pa.Table) -> pa.RecordBatch:
    """The rows as one batch."""
    batches = table.combine_chunks().to_batches()
    if len(batches) == 1:
        return batches[0]
    return pa.RecordBatch.from_arrays([column.combine_chunks() for column in table.columns], schema=table.schema)
