"""`headrace topic export` and `import`: rows of a topic to a file, and rows of files to a topic, piece by piece."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..storage.errors import DataError, Error, NotSupportedError, OperationalError, ProgrammingError
from ..storage.limits import ROWS_PER_FRAME
from .console import Console, Settings, UsageError
from .formats import FORMATS, format_of, write_result
from .topic_reading import reading, say_notices, selected, shown_schema, topic_in

if TYPE_CHECKING:
    from ..sql.dbapi import Connection, RelationInfo

OK = 0
READ_FORMATS = ("parquet", "arrow", "csv", "jsonl")


# -- export ---------------------------------------------------------------------------------------------------------


def run_export(arguments: argparse.Namespace) -> int:
    """The rows of a topic in a file."""
    path = None if arguments.file == "-" else Path(arguments.file)
    name = format_asked(arguments.format, path)
    if path is None and FORMATS[name].binary and sys.stdout.isatty():
        raise UsageError(f"{name} is not for a terminal: name a file")
    with reading(arguments.folder) as folder:
        topic = topic_in(folder, arguments.topic)
        schema = shown_schema(topic, arguments.columns, numbered=False)
        console = Console(Settings(format=name), output=path)
        try:
            batches = selected(topic, schema, arguments, arguments.limit, console)
            reader = pa.RecordBatchReader.from_batches(schema, gathered(batches))
            rows = write_result(reader, name, console.out)
        except BaseException:
            if path is not None:
                with suppress(OSError):
                    path.unlink()  # half of a file is none
            raise
        finally:
            console.close()
        console.say(f"{rows:,} row{'' if rows == 1 else 's'} exported", role="tag")
        return say_notices(folder, console)


def format_asked(format: str | None, path: Path | None) -> str:
    """The format that --format or the name of the file asks for. Raises: UsageError if neither does."""
    found = format or (format_of(path) if path is not None else "jsonl")
    if found not in READ_FORMATS:
        raise UsageError(f"cannot tell the format of {path}: say --format {', '.join(READ_FORMATS)}")
    return found


def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in larger batches: a Parquet file has a row group for each."""
    pending: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if pending and rows + batch.num_rows > ROWS_PER_FRAME:
            yield pa.concat_batches(pending)
            pending, rows = [], 0
        pending.append(batch)
        rows += batch.num_rows
    if pending:
        yield pa.concat_batches(pending)


# -- import ---------------------------------------------------------------------------------------------------------


def run_import(arguments: argparse.Namespace) -> int:
    """The rows of files, appended to a stream."""
    from ..sql.dbapi import connect

    files = [(path, format_asked(arguments.format, path)) for path in arguments.files]
    for path, _ in files:
        if not path.is_file():
            raise OperationalError(f'there is no file "{path}"')
    console = Console()
    done = Progress()
    with connect(arguments.folder) as con:
        for notice in con.execute("SHOW STREAMS").notices:
            console.say(notice)
        for path, name in files:
            try:
                import_file(con, console, path, name, arguments, done)
            except Error as error:
                if done.rows:
                    said = f"The {done.rows:,} rows before were imported, and stay."
                    error.detail = f"{error.detail} {said}" if error.detail else said
                raise
    console.say(f"{done.rows:,} row{'' if done.rows == 1 else 's'} imported", role="tag")
    return OK


@dataclass
class Progress:
    """How many rows of all files are appended."""

    rows: int = 0


def import_file(
    con: Connection, console: Console, path: Path, name: str, arguments: argparse.Namespace, done: Progress
) -> None:
    """Appends the rows of one file, a batch after the other."""
    stream = stream_named(con, arguments.topic)
    if stream is None:
        with opened(path, name, {}, {}) as (schema, _):
            create(con, arguments, schema)
        console.say(f'created stream "{arguments.topic}"', role="tag")
    wanted = arrow_types(con, arguments.topic)
    with opened(path, name, wanted, sql_types(con, arguments.topic)) as (schema, batches):
        names = matched(path, schema, wanted, arguments.topic)
        for batch in batches:
            con.append(arguments.topic, conformed(path, batch, names, wanted), wait=False)
            done.rows += batch.num_rows


def stream_named(con: Connection, name: str) -> str | None:
    """The stream, as it spells its name; None if there is none."""
    found: RelationInfo | None = next((one for one in con.relations() if one.name.lower() == name.lower()), None)
    return None if found is None else found.name


def arrow_types(con: Connection, stream: str) -> dict[str, pa.DataType]:
    """The columns of a stream and their types in Arrow."""
    schema = con.execute(f"SELECT * FROM {quoted(stream)} LIMIT 0").fetch_arrow_table().schema
    return {field.name: field.type for field in schema}


def sql_types(con: Connection, stream: str) -> dict[str, str]:
    """The columns of a stream and their types in SQL."""
    return next(dict(one.columns) for one in con.relations() if one.name.lower() == stream.lower())


def create(con: Connection, arguments: argparse.Namespace, schema: pa.Schema) -> None:
    """A stream with the columns of the file."""
    columns = ", ".join(f"{quoted(field.name)} {sql_type(field)}" for field in schema)
    key = f" PARTITIONED BY ({', '.join(quoted(name) for name in arguments.key)})" if arguments.key else ""
    into = f" INTO {arguments.partitions} PARTITIONS" if arguments.partitions else ""
    con.execute(f"CREATE STREAM {quoted(arguments.topic)} ({columns}){key}{into}")


def sql_type(field: pa.Field) -> str:
    """The SQL type of a column, as DuckDB reads it."""
    import duckdb

    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_null(kind):
        return "VARCHAR"
    with duckdb.connect() as connection:
        connection.register("file_rows", pa.table({"value": pa.array([], kind)}))
        found = str(connection.sql("SELECT value FROM file_rows").types[0])
    return {"TIMESTAMP_S": "TIMESTAMP", "TIMESTAMP_MS": "TIMESTAMP"}.get(found, found)


def matched(path: Path, schema: pa.Schema, wanted: Mapping[str, pa.DataType], stream: str) -> dict[str, str]:
    """For each column of the file that of the stream. Raises: ProgrammingError for one that the stream has not."""
    known = {name.lower(): name for name in wanted}
    for name in schema.names:
        if name.lower() not in known:
            raise ProgrammingError(
                f'"{path}" has a column "{name}" that stream "{stream}" has not',
                hint=f"Its columns are {', '.join(wanted)}.",
                sqlstate="42703",
            )
    return {name: known[name.lower()] for name in schema.names}


def conformed(
    path: Path, batch: pa.RecordBatch, names: Mapping[str, str], wanted: Mapping[str, pa.DataType]
) -> pa.RecordBatch:
    """The rows with the stream's types, every value the same. Raises: DataError naming the column where one is not."""
    arrays = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = wanted[names[name]]
        try:
            plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
            arrays.append(plain if plain.type == kind else plain.cast(kind))
        except (pa.ArrowException, ValueError) as error:
            raise DataError(
                f'column "{name}" of "{path}" does not fit: {column.type} into {kind}', detail=sentence(error)
            ) from None
    return pa.RecordBatch.from_arrays(arrays, names=[names[name] for name in batch.schema.names])


@contextmanager
def opened(
    path: Path, name: str, wanted: Mapping[str, pa.DataType], types: Mapping[str, str]
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """The schema of a file and its rows, read piece by piece; `wanted` and `types` are the columns of the stream.

    Raises: DataError if it is no such file.
    """
    from .topic_texts import members_read, names_in, read_by_sql, texts_read

    known = {key.lower(): kind for key, kind in wanted.items()}
    by_sql = {key.lower(): types[key] for key, kind in wanted.items() if read_by_sql(kind, name)}
    try:
        match name:
            case "parquet":
                from pyarrow import parquet

                with parquet.ParquetFile(path) as file:
                    yield file.schema_arrow, told(path, file.iter_batches(ROWS_PER_FRAME))
            case "arrow":
                with pa.memory_map(str(path)) as source:
                    reader = open_arrow(source)
                    yield reader.schema, told(path, arrow_batches(reader))
            case "csv":
                from pyarrow import csv

                with path.open("rb") as source:
                    header = csv.open_csv(source).schema.names
                plain = {column: known[column.lower()] for column in header if column.lower() in known}
                texts = {column: by_sql[column.lower()] for column in header if column.lower() in by_sql}
                options = csv.ConvertOptions(
                    column_types=plain | dict.fromkeys(texts, pa.string()),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=[""],
                )
                with csv.open_csv(path, convert_options=options) as reader:
                    yield reader.schema, told(path, texts_read(path, reader, texts) if texts else reader)
            case _:
                from pyarrow import json

                names = names_in(path) if wanted else []
                members = {key: by_sql[key.lower()] for key in names if key.lower() in by_sql}
                given = [key for key in names if key.lower() in known and key not in members]
                explicit = pa.schema([(key, known[key.lower()]) for key in given])
                unknown = "ignore" if members else "infer"
                parse = json.ParseOptions(explicit_schema=explicit or None, unexpected_field_behavior=unknown)
                reader = json.open_json(path, parse_options=parse)
                if members:
                    empty = pa.schema([(key, pa.null()) for key in names])  # their types are the stream's
                    yield empty, told(path, members_read(path, reader, members, names))
                else:
                    yield reader.schema, told(path, reader)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, name, error, wanted) from None


def told(path: Path, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, in pieces of ROWS_PER_FRAME rows."""
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS_PER_FRAME):
            yield batch.slice(start, ROWS_PER_FRAME)


def open_arrow(source: pa.NativeFile) -> Any:
    """A reader of an Arrow file, or of an Arrow stream."""
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source)


def arrow_batches(reader: Any) -> Iterator[pa.RecordBatch]:
    """The batches of either."""
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(reader)


def unreadable(path: Path, name: str, error: Exception, wanted: Mapping[str, pa.DataType]) -> Error:
    """What Arrow says, with the column's name where it gives a number only."""
    said = str(error)
    numbered = re.search(r"In CSV column #(\d+): (.*)", said, re.DOTALL)
    if numbered:
        with path.open("rb") as source:
            from pyarrow import csv

            column = csv.open_csv(source).schema.names[int(numbered[1])]
        hint = None if wanted else "Create the stream with the types you want, and import again."
        return DataError(f'column "{column}" of "{path}" does not fit', detail=sentence(numbered[2]), hint=hint)
    if "not implemented" in said.lower() or isinstance(error, pa.ArrowNotImplementedError):
        return NotSupportedError(f'cannot read "{path}" as {name}', detail=sentence(said))
    return DataError(f'could not read "{path}" as {name}', detail=sentence(said))


def sentence(error: object) -> str:
    """What a library says, as one sentence."""
    text = str(error).strip().splitlines()[0].rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
