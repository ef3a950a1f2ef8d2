"""The formats of files that COPY writes: how their suffixes and options are called, and how rows become a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.ipc
from sqlglot import exp

from ..storage.errors import DataError, NotSupportedError, Position, ProgrammingError
from .relations import Column
from .statements import CopyTo, Option
from .types import connect, register, translate

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_OPTIONS = {
    "csv": {"header", "delimiter", "delim", "sep", "quote", "escape", "nullstr", "dateformat", "timestampformat"},
    "json": {"array", "dateformat", "timestampformat", "compression"},
    "parquet": {"compression", "compression_level", "row_group_size"},
    "arrow": set(),
}
_OPTIONS["csv"] |= {"compression", "force_quote"}


def format_of(path: str, position: Position) -> str:
    """The format that the suffix of a file stands for. Raises: ProgrammingError where it stands for none."""
    suffixes = [s.lower() for s in Path(path).suffixes if s.lower() not in (".gz", ".zst")]
    format = _SUFFIXES.get(suffixes[-1] if suffixes else "")
    if format is None:
        raise ProgrammingError(
            f'cannot tell the format of "{path}"',
            hint="Say it: WITH (format = 'csv' | 'json' | 'parquet' | 'arrow').",
            position=position,
        )
    return format


def check_options(
    statement: CopyTo, format: str, options: Mapping[str, Option], names: Sequence[str], also: Sequence[str] = ()
) -> None:
    """Raises: NotSupportedError for an option that the format has not, ProgrammingError for a name given twice."""
    allowed = [*sorted(_OPTIONS[format]), *also]
    for name in options:
        if name not in _OPTIONS[format]:
            raise NotSupportedError(
                f'COPY to {format} has no option "{name}"',
                hint=f"It takes {', '.join(allowed)}." if allowed else None,
                position=statement.start,
            )
    counts = Counter(name.lower() for name in names)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise ProgrammingError(
            f'two columns are named "{twice}"', hint="Name them with AS.", position=statement.start, sqlstate="42701"
        )


def write_table(
    table: pa.Table,
    columns: Sequence[Column],
    path: Path,
    format: str,
    options: Mapping[str, Option],
    statement: CopyTo,
) -> None:
    """A file with these rows. Raises: DataError for what the format cannot hold, OSError for the disk."""
    if format == "arrow":
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
        return
    all_options = {"format": format, **({"header": True} if format == "csv" else {}), **options}
    said = ", ".join(
        f"{name.upper()} {exp.convert(value).sql(dialect='duckdb')}" for name, value in all_options.items()
    )
    connection = connect()
    try:
        register(connection, "copied/rows", list(columns), table)
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
