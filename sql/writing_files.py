"""COPY ... TO: the rows of a query as a file, which is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from ..storage.errors import OperationalError
from .file_formats import check_options, format_of, write_table
from .reading import Rows
from .relations import Column
from .statements import CopyTo


def write_file(rows: Rows, statement: CopyTo) -> None:
    """Put the rows into the file that the statement names; a file that was there is replaced in one step."""
    path = Path(statement.path)
    format = statement.format or format_of(statement.path, statement.start)
    check_options(statement, format, statement.options, rows.table.column_names)
    if not path.parent.is_dir():
        raise OperationalError(
            f'could not write "{statement.path}"',
            detail=f'There is no folder "{path.parent}".',
            position=statement.start,
        )
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        fields = zip(rows.table.schema, rows.types, strict=True)
        columns = [Column(field.name, type, field.type) for field, type in fields]
        write_table(rows.table, columns, beside, format, statement.options, statement)
        os.replace(beside, path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OperationalError(
            f'could not write "{statement.path}"', detail=f"The reason: {reason}.", position=statement.start
        ) from None
    finally:
        beside.unlink(missing_ok=True)
