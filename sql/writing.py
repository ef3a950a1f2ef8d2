"""INSERT and COPY: rows checked as a whole against a stream's declaration, then appended."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.ipc
from sqlglot import exp

from ..storage import limits
from ..storage.errors import DataError, IntegrityError, NotSupportedError, OperationalError, Position, ProgrammingError
from ..storage.topic import Appended
from .database import Database
from .datasets import is_dataset, open_dataset
from .dialect import twin_sql
from .reading import Parameters, register, relation_rows, relations_of
from .relations import Relation
from .statements import Copy, Insert
from .twin import expand_views, twin
from .types import connect, quote, translate
from .window_checks import check_windows

Ends = dict[str, list[int]]


def require_stream(database: Database, name: str, position: Position | None, act: str = "write to") -> Relation:
    """The stream of that name, to `act` on; views are none."""
    relation = database.relations.require(name, position)
    if relation.kind != "STREAM":
        raise ProgrammingError(
            f'cannot {act} "{relation.name}"',
            detail="It is ours: its rows say how the database is."
            if relation.kind == "SYSTEM"
            else f"It is a {relation.kind.lower()}: its rows follow from a query.",
            hint=None if relation.kind == "SYSTEM" else _INSTEAD[act],
            position=position,
        )
    return relation


_INSTEAD = {
    "write to": "Insert into the streams that the query reads.",
    "alter": "CREATE OR REPLACE it.",
    "delete from": "Delete from the streams that the query reads.",
    "consume": "SUBSCRIBE to it, or consume the streams that the query reads.",
}


def insert(
    database: Database, statement: Insert, parameters: Parameters, ends: Ends
) -> tuple[int, tuple[Appended, ...]]:
    """Append the rows of VALUES or of a query; all of them are good, or none is kept."""
    target = require_stream(database, statement.name, statement.position)
    names = target_columns(target, statement.columns, statement.position)
    query = expand_views(statement.query, database.relations)
    check_windows(query, database.relations, database.binder)
    used = relations_of(database, query)
    connection = connect()
    try:
        if used:
            views = [relation.name for relation in used if relation.kind == "MATERIALIZED VIEW"]
            database.engine.wait(ends, views)
            reading = database.engine.read(views, [relation.name for relation in used if relation.kind == "STREAM"])
            for relation in used:
                register(connection, relation.name, relation.columns, relation_rows(database, relation, reading, None))
        try:
            sql = twin_sql(twin(query))
            found = connection.sql(sql, params=parameters) if parameters else connection.sql(sql)
            if len(found.columns) != len(names):
                raise ProgrammingError(
                    f'{len(found.columns)} values for {len(names)} columns of "{target.name}"',
                    detail=f"The columns are {', '.join(names)}.",
                    position=statement.position,
                    sqlstate="42601",
                )
            table = conform(connection, sql, target, names, parameters)
        except duckdb.Error as error:
            raise translate(error, statement.query) from None
    finally:
        connection.close()
    return table.num_rows, append(database, target, table)


def conform(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    target: Relation,
    names: Sequence[str],
    parameters: Parameters = None,
) -> pa.Table:
    """The rows of the SQL `source` (one column per name, by place) as the target's columns; defaults filled in."""
    items = []
    for column in target.columns:
        if column.name in names:
            value = quote(column.name)
        elif column.name in target.defaults:
            value = f"({target.defaults[column.name].sql(dialect='duckdb')})"
        else:
            value = "NULL"
        items.append(f"CAST({value} AS {column.type}) AS {quote(column.name)}")
    sql = f"SELECT {', '.join(items)} FROM ({source}) AS _source({', '.join(quote(name) for name in names)})"
    table = (connection.sql(sql, params=parameters) if parameters else connection.sql(sql)).to_arrow_table()
    check_nulls(target, table)
    return table.cast(target.schema)


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


def append(database: Database, target: Relation, table: pa.Table) -> tuple[Appended, ...]:
    """Append checked rows in frames, and wait once until all are durable."""
    topic = database.folder.topic(target.name)
    appended: list[Appended] = []
    for batch in table.combine_chunks().to_batches(max_chunksize=limits.ROWS_PER_FRAME):
        appended += topic.append(batch, wait=False)
    topic.sync()
    return tuple(appended)


def copy(database: Database, statement: Copy) -> tuple[int, tuple[Appended, ...]]:
    """Append the rows of a file; the whole file is read and checked before the first row is kept."""
    target = require_stream(database, statement.name, statement.start)
    connection = connect(threads=None)
    try:
        source = _open(connection, statement)
        found = connection.sql(source).columns
        if statement.columns:
            names = target_columns(target, statement.columns, statement.start)
            if len(names) != len(found):
                raise ProgrammingError(
                    f'"{statement.path}" has {len(found)} columns, not {len(names)}', position=statement.start
                )
        else:
            names = []
            for name in found:
                column = target.column(name)
                if column is None:
                    close = difflib.get_close_matches(name.lower(), [c.name.lower() for c in target.columns], n=1)
                    raise ProgrammingError(
                        f'"{statement.path}" has a column "{name}" that stream "{target.name}" has not',
                        hint=f'Did you mean "{close[0]}"?'
                        if close
                        else f"COPY {target.name} (column, ...) FROM names the columns in the file's order.",
                        position=statement.start,
                    )
                names.append(column.name)
        # What a file says is read as the declared type: what DuckDB would guess may lose a leading zero.
        types = {
            name: next(c.type for c in target.columns if c.name == to) for name, to in zip(found, names, strict=True)
        }
        table = conform(connection, _open(connection, statement, types), target, names)
    except duckdb.Error as error:
        translated = translate(error, None)
        cut = (translated.detail or "").split(" This type was")[0].split(" Possible solutions")[0]
        said = f"{translated.headline[:1].upper()}{translated.headline[1:]}. {cut}".strip()
        raise DataError(f'could not read "{statement.path}"', detail=said, position=statement.start) from None
    finally:
        connection.close()
    return table.num_rows, append(database, target, table)


_READERS = {"csv": "read_csv", "json": "read_json", "parquet": "read_parquet"}
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
_CSV_OPTIONS = {
    "header",
    "delimiter",
    "delim",
    "sep",
    "quote",
    "escape",
    "nullstr",
    "dateformat",
    "timestampformat",
    "skip",
}


def _open(connection: duckdb.DuckDBPyConnection, statement: Copy, types: Mapping[str, str] | None = None) -> str:
    """SQL for the rows of the file, its columns read as `types` where text leaves the type open."""
    if is_dataset(statement.path):
        connection.register("file_rows", open_dataset(statement.path).read_all())
        return "SELECT * FROM file_rows"
    path = Path(statement.path)
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in (".gz", ".zst")]
    format = statement.format or _SUFFIXES.get(suffixes[-1] if suffixes else "")
    if format is None:
        raise ProgrammingError(
            f'cannot tell the format of "{statement.path}"',
            hint="Say it: WITH (format = 'csv' | 'json' | 'parquet' | 'arrow').",
            position=statement.start,
        )
    if not any(mark in statement.path for mark in "*?[") and not path.exists():
        raise OperationalError(
            f'there is no file "{statement.path}"', detail=f"Looked in {Path.cwd()}.", position=statement.start
        )
    if format == "arrow":
        connection.register("file_rows", _read_arrow(path))
        return "SELECT * FROM file_rows"
    options = ""
    for name, value in statement.options.items():
        if format != "csv" or name not in _CSV_OPTIONS:
            raise NotSupportedError(
                f'COPY of {format} has no option "{name}"',
                hint=f"CSV takes {', '.join(sorted(_CSV_OPTIONS))}." if format == "csv" else None,
                position=statement.start,
            )
        options += f", {name} = {exp.convert(value).sql(dialect='duckdb')}"
    if types is not None and format in ("csv", "json"):
        given = ", ".join(f"{_text(name)}: {_text(type)}" for name, type in types.items())
        options += f", {'types' if format == 'csv' else 'columns'} = {{{given}}}"
    text = _text(statement.path)
    return f"SELECT * FROM {_READERS[format]}({text}{options})"


def _text(value: str) -> str:
    return str(exp.Literal.string(value).sql(dialect="duckdb"))


def _read_arrow(path: Path) -> pa.Table:
    try:
        with pa.memory_map(str(path)) as source:
            try:
                return pa.ipc.open_file(source).read_all()
            except pa.ArrowInvalid:
                source.seek(0)
                return pa.ipc.open_stream(source).read_all()
    except pa.ArrowException as error:
        raise DataError(f'could not read "{path}" as Arrow', detail=f"{error}.") from None


def target_columns(target: Relation, columns: Sequence[str], position: Position | None) -> list[str]:
    """The named columns of a stream as it spells them; all where none are named."""
    names: list[str] = []
    for name in columns or [column.name for column in target.columns]:
        column = target.column(name)
        if column is None:
            close = difflib.get_close_matches(name.lower(), [c.name.lower() for c in target.columns], n=1)
            raise ProgrammingError(
                f'stream "{target.name}" has no column "{name}"',
                hint=f'Did you mean "{close[0]}"?'
                if close
                else f"Its columns are {', '.join(c.name for c in target.columns)}.",
                position=position,
                sqlstate="42703",
            )
        if column.name in names:
            raise ProgrammingError(f'column "{column.name}" is named twice', position=position, sqlstate="42701")
        names.append(column.name)
    return names
