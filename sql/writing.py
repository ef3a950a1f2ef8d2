"""INSERT and COPY: rows checked as a whole against a declaration, then appended."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.ipc
from sqlglot import exp

from ..storage import limits
from ..storage.errors import DataError, NotSupportedError, OperationalError, Position, ProgrammingError
from ..storage.topic import Appended
from .database import Database
from .datasets import is_dataset, open_dataset
from .dialect import twin_sql
from .file_formats import format_of
from .reading import Parameters, prepare
from .relations import Relation
from .returning import Answer, ignore
from .row_checks import check_nulls
from .statements import Conflict, Copy, Insert
from .tables import check_conflict, insert_rows
from .twin import twin
from .types import connect, quote, translate
from .writing_columns import target_columns

Ends = dict[str, list[int]]


def require_stream(database: Database, name: str, position: Position | None, act: str = "write to") -> Relation:
    """The stream of that name, to `act` on; views and tables are none."""
    relation = database.relations.require(name, position)
    if relation.kind != "STREAM":
        raise _not_ours(relation, act, position)
    return relation


def require_written(database: Database, name: str, position: Position | None) -> Relation:
    """The stream or table of that name, to write to; views are none, and none whose rows follow from a query."""
    relation = database.relations.require(name, position)
    if not relation.logged or relation.query is not None:
        raise _not_ours(relation, "write to", position)
    return relation


def require_table(database: Database, name: str, position: Position | None, word: str) -> Relation:
    """The table of that name, whose rows UPDATE and the like may change."""
    relation = database.relations.require(name, position)
    if relation.kind == "STREAM":
        before = "DELETE FROM stream BEFORE OFFSET n [PARTITION p], or BEFORE TIMESTAMP 'time'."
        raise NotSupportedError(
            f"{word} takes no rows from the middle of a stream" if word != "UPDATE" else "cannot UPDATE a stream",
            detail="A stream is append-only" + ("." if word == "UPDATE" else ": only its oldest rows go."),
            hint="INSERT newer rows, or keep such rows in a table." if word == "UPDATE" else before,
            position=position,
        )
    if relation.kind != "TABLE" or relation.query is not None:
        raise _not_ours(relation, "write to", position)
    return relation


def _not_ours(relation: Relation, act: str, position: Position | None) -> ProgrammingError:
    if relation.query is not None:
        detail = f"It is a {relation.kind.lower()}: its rows follow from a query."
        return ProgrammingError(f'cannot {act} "{relation.name}"', detail=detail, hint=_INSTEAD[act], position=position)
    details = {
        "SYSTEM": "It is ours: its rows say how the database is.",
        "TABLE": "It is a table: its log says which rows changed, and a key decides which row is meant.",
    }
    hints = {"SYSTEM": None, "TABLE": _INSTEAD_OF_TABLE[act]}
    return ProgrammingError(
        f'cannot {act} "{relation.name}"',
        detail=details.get(relation.kind),
        hint=hints.get(relation.kind),
        position=position,
    )


_INSTEAD = {
    "write to": "Insert into the streams that the query reads.",
    "alter": "CREATE OR REPLACE it.",
    "delete from": "Delete from the streams that the query reads.",
    "consume": "SUBSCRIBE to it, or consume the streams that the query reads.",
}
_INSTEAD_OF_TABLE = {
    "write to": "Use INSERT, COPY or con.append().",
    "alter": "Say ALTER TABLE.",
    "delete from": "Say which rows: DELETE FROM table WHERE ...",
    "consume": "SUBSCRIBE to it.",
}


def insert(
    database: Database, statement: Insert, parameters: Parameters, ends: Ends, answer: Answer = ignore
) -> tuple[int, tuple[Appended, ...]]:
    """Append the rows of VALUES or of a query, and how many; all of them are good, or none is kept."""
    target = require_written(database, statement.name, statement.position)
    if statement.conflict is not None:
        check_conflict(target, statement.conflict)
    names = target_columns(target, statement.columns, statement.position)
    connection = connect()
    try:
        with database.turns.of(target):  # a query that reads the table itself reads what it then changes
            query = prepare(database, connection, statement.query, ends)
            table = _selected(connection, twin_sql(twin(query)), statement, target, names, parameters)
            return append(database, target, table, statement.conflict, answer)
    finally:
        connection.close()


def _selected(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    statement: Insert,
    target: Relation,
    names: Sequence[str],
    parameters: Parameters,
) -> pa.Table:
    """The rows that the statement inserts, checked."""
    try:
        width = _width(statement.query)
        if width is None:
            width = len((connection.sql(sql, params=parameters) if parameters else connection.sql(sql)).columns)
        if width != len(names):
            raise ProgrammingError(
                f'{width} values for {len(names)} columns of "{target.name}"',
                detail=f"The columns are {', '.join(names)}.",
                position=statement.position,
                sqlstate="42601",
            )
        return conform(connection, sql, target, names, parameters)
    except duckdb.Error as error:
        raise translate(error, statement.query) from None


def _width(query: exp.Query) -> int | None:
    """How many values a row of VALUES has; None for other queries."""
    source = query.args.get("from_")
    if source is None or list(query.args) != ["expressions", "from_"] or query.expressions != [exp.Star()]:
        return None
    first = source.this.expressions[0] if isinstance(source.this, exp.Values) else None
    return len(first.expressions) if isinstance(first, exp.Tuple) else None


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


def append(
    database: Database, target: Relation, table: pa.Table, conflict: Conflict | None = None, answer: Answer = ignore
) -> tuple[int, tuple[Appended, ...]]:
    """Append checked rows, and return when all are durable; how many were kept.

    Raises: IntegrityError where a table has a row of the same key, unless `conflict` says what to do then.
    """
    if target.kind == "TABLE":
        return insert_rows(database, target, table, conflict, answer)
    answer(table)
    topic = database.folder.topic(target.name)
    appended: list[Appended] = []
    for batch in table.combine_chunks().to_batches(max_chunksize=limits.ROWS_PER_FRAME):
        appended += topic.append(batch, wait=False)
    topic.sync()
    return table.num_rows, tuple(appended)


def copy(database: Database, statement: Copy) -> tuple[int, tuple[Appended, ...]]:
    """Append the rows of a file; the whole file is read and checked before the first row is kept."""
    target = require_written(database, statement.name, statement.start)
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
                        f'"{statement.path}" has a column "{name}" that {target.kind.lower()} "{target.name}" has not',
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
    return append(database, target, table)


_READERS = {"csv": "read_csv", "json": "read_json", "parquet": "read_parquet"}
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
    "allow_quoted_nulls",
}


def _open(connection: duckdb.DuckDBPyConnection, statement: Copy, types: Mapping[str, str] | None = None) -> str:
    """SQL for the rows of the file, its columns read as `types` where text leaves the type open."""
    if is_dataset(statement.path):
        connection.register("file_rows", open_dataset(statement.path).read_all())
        return "SELECT * FROM file_rows"
    path = Path(statement.path)
    format = statement.format or format_of(statement.path, statement.start)
    if not any(mark in statement.path for mark in "*?[") and not path.exists():
        raise OperationalError(
            f'there is no file "{statement.path}"', detail=f"Looked in {Path.cwd()}.", position=statement.start
        )
    if format == "arrow":
        connection.register("file_rows", _read_arrow(path))
        return "SELECT * FROM file_rows"
    options = ""
    if format == "csv" and "allow_quoted_nulls" not in statement.options:
        options = ", allow_quoted_nulls = false"  # as COPY ... TO writes it: "" is a text, and nothing is NULL
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
