"""Columns of CSV and JSON lines that Arrow's readers do not know: their texts, read as SQL reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from ..sql.types import connect, quote
from ..storage.errors import DataError
from ..storage.limits import FRAME_BYTES_MAX, ROWS_PER_FRAME

if TYPE_CHECKING:
    import duckdb

NAMES_LOOK_ROWS = 10_000
Types = Mapping[str, str]  # of some columns of a file, the SQL types of the stream's


def read_by_sql(kind: pa.DataType, format: str) -> bool:
    """Whether Arrow's reader of this format does not read what `export` writes for this type."""
    if format == "jsonl" and (pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_floating(kind)):
        return True  # it takes numbers for dates, and no "nan"
    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_interval(kind))


def texts_read(path: Path, batches: Iterable[pa.RecordBatch], types: Types) -> Iterator[pa.RecordBatch]:
    """The batches of a CSV file with these columns, so far texts, as their types. Raises: DataError naming one."""
    connection = connect()
    for batch in batches:
        columns = {name: batch.column(name) for name in batch.schema.names}
        yield pa.RecordBatch.from_pydict(
            columns | computed(connection, path, batch, {n: quote(n) for n in types}, types)
        )


def members_read(
    path: Path, batches: Iterable[pa.RecordBatch], types: Types, names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The batches of a file of JSON lines with these columns besides those they have; all columns are in `names`.

    Raises: DataError naming a column that does not fit, or that is not in `names`.
    """
    others = Pieces(path, batches)
    connection = connect()
    members = {name: f"CAST(line AS JSON)->{text(pointer(name))}" for name in types}
    for lines in lines_of(path).to_arrow_reader(ROWS_PER_FRAME):
        check_names(connection, path, lines, names)
        columns = computed(connection, path, lines, members, types)
        if len(types) < len(names):
            plain = others.take(lines.num_rows)
            columns |= {name: plain.column(name).combine_chunks() for name in plain.column_names}
        yield pa.RecordBatch.from_pydict({name: columns[name] for name in names})


def names_in(path: Path) -> list[str]:
    """The names of the members of the first lines, as they come. Raises: DataError if these are not JSON lines."""
    import duckdb

    try:
        found = lines_of(path).limit(NAMES_LOOK_ROWS).project("json_keys(CAST(line AS JSON))").fetchall()
    except duckdb.Error as error:
        raise DataError(f'could not read "{path}" as jsonl', detail=said(error)) from None
    return list(dict.fromkeys(name for (names,) in found for name in names))


def lines_of(path: Path) -> duckdb.DuckDBPyRelation:
    """The lines of a file of JSON lines, in order, in the column `line`."""
    source = "SELECT CAST(json AS VARCHAR) AS line FROM read_ndjson_objects($path, maximum_object_size = $most)"
    return connect().sql(source, params={"path": glob_free(path), "most": 4 * FRAME_BYTES_MAX})


class Pieces:
    """Rows that come in batches, so many at a time as somebody wants."""

    def __init__(self, path: Path, batches: Iterable[pa.RecordBatch]) -> None:
        self.path = path
        self.batches = iter(batches)
        self.rest: list[pa.RecordBatch] = []

    def take(self, count: int) -> pa.Table:
        """The next ones. Raises: DataError if there are no more."""
        while sum(batch.num_rows for batch in self.rest) < count:
            batch = next(self.batches, None)
            if batch is None:
                raise DataError(f'could not read "{self.path}" as jsonl', detail="Not every line has one object.")
            self.rest.append(batch)
        table = pa.Table.from_batches(self.rest)
        self.rest = table.slice(count).to_batches()
        return table.slice(0, count)


def computed(
    connection: duckdb.DuckDBPyConnection, path: Path, rows: pa.RecordBatch, columns: Mapping[str, str], types: Types
) -> dict[str, pa.Array]:
    """For each of the columns what its SQL expression is for the rows, as its type. Raises: DataError naming it."""
    import duckdb

    connection.register("file_rows", pa.Table.from_batches([rows]))
    found = {}
    for name, expression in columns.items():
        try:
            sql = f"SELECT CAST({expression} AS {types[name]}) AS value FROM file_rows"
            found[name] = connection.sql(sql).to_arrow_table().combine_chunks().to_batches()[0].column(0)
        except duckdb.Error as error:
            raise DataError(f'column "{name}" of "{path}" does not fit {types[name]}', detail=said(error)) from None
    return found


def check_names(connection: duckdb.DuckDBPyConnection, path: Path, lines: pa.RecordBatch, names: Sequence[str]) -> None:
    """Raises: DataError for a line that is no object, or has a member that the first lines have not."""
    connection.register("file_rows", pa.Table.from_batches([lines]))
    others = connection.sql(
        "SELECT line FROM file_rows WHERE json_type(CAST(line AS JSON)) <> 'OBJECT' LIMIT 1"
    ).fetchall()
    if others:
        raise DataError(
            f'could not read "{path}" as jsonl', detail=f"There is no object in the line {others[0][0]:.40}."
        )
    keys = connection.sql("SELECT DISTINCT unnest(json_keys(CAST(line AS JSON))) FROM file_rows").fetchall()
    for (name,) in keys:
        if name not in names:
            raise DataError(
                f'"{path}" has a column "{name}" that its first lines have not',
                hint="Put a line with all columns first.",
            )


def said(error: duckdb.Error) -> str:
    """What DuckDB says, as one sentence."""
    return f"{str(error).strip().splitlines()[0].partition(': ')[2].rstrip('.')}."


def glob_free(path: Path) -> str:
    """The path as DuckDB takes it, its wildcards being characters."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in str(path))


def pointer(name: str) -> str:
    """The JSON pointer to a member."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def text(value: str) -> str:
    """A text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"
