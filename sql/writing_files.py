"""COPY ... TO: the rows of a query as a file, which is there whole or not at all."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.ipc
from sqlglot import exp

from ..storage.errors import DataError, NotSupportedError, OperationalError, ProgrammingError
from .reading import Rows, register
from .relations import Column
from .statements import CopyTo
from .types import connect, translate
from .writing import format_of

_OPTIONS = {
    "csv": {"header", "delimiter", "delim", "sep", "quote", "escape", "nullstr", "dateformat", "timestampformat"},
    "json": {"array", "dateformat", "timestampformat", "compression"},
    "parquet": {"compression", "compression_level", "row_group_size"},
    "arrow": set(),
}
_OPTIONS["csv"] |= {"compression", "force_quote"}


def write_file(rows: Rows, statement: CopyTo) -> None:
    """Put the rows into the file that the statement names; a file that was there is replaced in one step."""
    path = Path(statement.path)
    format = statement.format or format_of(statement.path, statement.start)
    for name in statement.options:
        if name not in _OPTIONS[format]:
            raise NotSupportedError(
                f'COPY to {format} has no option "{name}"',
                hint=f"It takes {', '.join(sorted(_OPTIONS[format]))}." if _OPTIONS[format] else None,
                position=statement.start,
            )
    names = Counter(name.lower() for name in rows.table.column_names)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise ProgrammingError(
            f'two columns are named "{twice}"', hint="Name them with AS.", position=statement.start, sqlstate="42701"
        )
    if not path.parent.is_dir():
        raise OperationalError(
            f'could not write "{statement.path}"',
            detail=f'There is no folder "{path.parent}".',
            position=statement.start,
        )
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write(rows, beside, format, statement)
        os.replace(beside, path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OperationalError(
            f'could not write "{statement.path}"', detail=f"The reason: {reason}.", position=statement.start
        ) from None
    finally:
        beside.unlink(missing_ok=True)


def _write(rows: Rows, path: Path, format: str, statement: CopyTo) -> None:
    if format == "arrow":
        with pa.ipc.new_file(str(path), rows.table.schema) as writer:
            writer.write_table(rows.table)
        return
    options = {"format": format, **({"header": True} if format == "csv" else {}), **statement.options}
    said = ", ".join(f"{name.upper()} {exp.convert(value).sql(dialect='duckdb')}" for name, value in options.items())
    fields = zip(rows.table.schema, rows.types, strict=True)
    connection = connect()
    try:
        register(
            connection, "copied/rows", [Column(field.name, type, field.type) for field, type in fields], rows.table
        )
        target = exp.Literal.string(str(path)).sql(dialect="duckdb")
        connection.execute(f'COPY (SELECT * FROM "copied/rows") TO {target} ({said})')
    except duckdb.Error as error:
        told = translate(error)
        raise DataError(
            f'could not write "{statement.path}"',
            detail=f"{told.headline}. {told.detail or ''}".strip(),
            position=statement.start,
        ) from None
    finally:
        connection.close()
