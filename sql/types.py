"""Types, asked of DuckDB and never guessed: what a query returns, and how Arrow carries it."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import duckdb
import pyarrow as pa
from sqlglot import exp

from ..storage import limits
from ..storage.errors import DataError, Error, NotSupportedError, OperationalError, Position, ProgrammingError
from .positions import position_of
from .relations import Column
from .trees import every_node

# Types whose Arrow form DuckDB would read back as another type: a scan casts these columns again.
_CAST_BACK = re.compile(r"HUGEINT|UUID|JSON|BIT|VARINT|ENUM|TIME WITH TIME ZONE|GEOMETRY", re.IGNORECASE)


_memory: tuple[int | None, Path | None] = (None, None)  # that each instance may take, and where the rest goes


def limit_memory(bytes: int | None, folder: Path | None) -> None:
    """Sessions from now on take no more memory, and write the rest below `folder`; None: as much as DuckDB likes."""
    global _memory
    _memory = (bytes, folder)


@lru_cache(limits.DUCKDB_INSTANCES_MAX)
def _instance(threads: int | None, bytes: int | None, folder: Path | None) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    if bytes is not None:
        connection.execute("SET GLOBAL memory_limit = ?", [f"{bytes}B"])
        connection.execute("SET GLOBAL temp_directory = ?", [str(folder)])
    connection.execute("SET GLOBAL TimeZone = 'UTC'; SET GLOBAL python_enable_replacements = false")
    if threads is not None:
        connection.execute(f"SET GLOBAL threads = {threads}")
    return connection


def connect(*, threads: int | None = 1) -> duckdb.DuckDBPyConnection:
    """A DuckDB session of its own: in memory, UTC, seeing nothing of the Python process. None: all cores.

    Sessions with as many threads share an instance (50 ms to open), but nothing that is registered or created.
    """
    return _instance(threads, *_memory).cursor()


def quote(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def type_name(type: object) -> str:
    """A DuckDB type as SQL writes it; the type of a bare NULL is one that every value fits."""
    return "INTEGER" if str(type) == '"NULL"' else str(type)


@lru_cache(limits.BOUND_QUERIES_MAX)
def arrow_type(type: str) -> pa.DataType:
    """How Arrow carries values of a DuckDB type."""
    return connect().sql(f"SELECT NULL::{type}").to_arrow_table().schema.field(0).type


def typed_empty(columns: Sequence[Column]) -> str:
    """SQL for a relation without rows that has these columns, to bind against."""
    return "(SELECT " + ", ".join(f"NULL::{c.type} AS {quote(c.name)}" for c in columns) + " WHERE false)"


def scan_sql(source: str, columns: Sequence[Column]) -> str:
    """SQL that reads the registered Arrow relation `source` with exactly the types of `columns`."""
    items = [
        f"CAST({quote(c.name)} AS {c.type}) AS {quote(c.name)}" if _CAST_BACK.search(c.type) else quote(c.name)
        for c in columns
    ]
    return f"SELECT {', '.join(items)} FROM {quote(source)}"


class Binder:
    """DuckDB's binder over empty relations: names, types and errors of a query that is not run."""

    def bind(self, sql: str, node: exp.Expr | None = None) -> tuple[Column, ...]:
        """The columns `sql` would return. `node` is the user's query, to find the place of an error in."""
        try:
            return _bound(sql)
        except duckdb.Error as error:
            raise translate(error, node) from None

    def column(self, name: str, type: str, *, nullable: bool, position: Position | None) -> Column:
        """The column that a definition `name type` in CREATE STREAM means."""
        try:
            bound = self.bind(f"SELECT NULL::{type}")[0]
        except ProgrammingError as error:
            raise ProgrammingError(
                f'there is no type "{type}"', detail=error.headline, position=position, sqlstate="42704"
            ) from None
        return Column(name, bound.type, bound.arrow, nullable)


_BINDING = threading.Lock()


def register(connection: duckdb.DuckDBPyConnection, name: str, columns: Sequence[Column], table: pa.Table) -> None:
    """Let SQL on `connection` find `table` under `name`, with the SQL types of `columns`."""
    read = scan_sql(f"{name}/arrow", columns)
    if "CAST(" in read:
        connection.register(f"{name}/arrow", table)
        connection.execute(f"CREATE TEMP VIEW {quote(name)} AS {read}")
    else:
        connection.register(name, table)


@lru_cache(limits.BOUND_QUERIES_MAX)
def _bound(sql: str) -> tuple[Column, ...]:
    """The columns of a query, which its text alone decides: planning asks for the same one several times."""
    with _BINDING:
        relation = _binding().sql(sql)
        if relation is None:
            raise ProgrammingError("the statement returns no rows")
        types = [type_name(kind) for kind in relation.types]
        return tuple(Column(n, t, arrow_type(t)) for n, t in zip(relation.columns, types, strict=True))


@lru_cache
def _binding() -> duckdb.DuckDBPyConnection:
    return connect()


_NOT_SAID = ("LINE ", "Did you mean", "Candidate bindings", "Candidate functions")
_PREFIX = re.compile(r"^([A-Z][A-Za-z ]+?) Error: ")


def translate(error: duckdb.Error, node: exp.Expr | None = None) -> Error:
    """A DuckDB error as one of ours: headline, what DuckDB adds as detail or hint, and the place if it names one."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return _out_of_memory(error)
    text = str(error).strip()
    match = _PREFIX.match(text)
    kind = match.group(1) if match else ""
    lines = [line for line in (text[match.end() :] if match else text).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("\t")]  # candidate functions, often hundreds
    body = [line for line in lines if not line.startswith(_NOT_SAID) and set(line.strip()) != {"^"}]
    headline = (body[0] if body else text).rstrip(" .!")
    headline = headline[:1].lower() + headline[1:] if not headline[:2].isupper() else headline
    hints = [line for line in lines if line.startswith("Did you mean")]
    candidates = [
        name for line in lines if line.startswith("Candidate bindings") for name in re.findall(r'"([^"]+)"', line)
    ]
    if candidates and not hints:
        hints = [f'Did you mean "{candidates[0]}"?']
    detail = " ".join(body[1:]) or None
    if detail and not detail.endswith((".", "?", "!")):
        detail += "."
    position = _place(headline, node)
    hint = hints[0] if hints else None
    if kind in ("Conversion", "Out of Range", "Invalid Input", "Mismatch Type"):
        return DataError(headline, detail=detail, hint=hint, position=position)
    if kind == "Not implemented":
        return NotSupportedError(headline, detail=detail, hint=hint, position=position)
    return ProgrammingError(headline, detail=detail, hint=hint, position=position)


def _out_of_memory(error: duckdb.Error) -> Error:
    first = str(error).strip().splitlines()[0].removeprefix("Out of Memory Error: ")
    return OperationalError(
        "the query needs more memory than it may take",
        detail=f"DuckDB says: {first}.",
        hint="SET memory_limit to more; of it a query by DuckDB may take a quarter.",
        sqlstate="53200",
    )


def _place(headline: str, node: exp.Expr | None) -> Position | None:
    """Where in the user's query the name stands that the headline quotes or mentions."""
    if node is None:
        return None
    names = [name.split(".")[-1].lower() for name in re.findall(r'"([^"]+)"', headline)]
    names += [word.lower() for word in re.findall(r"with name (\w+)", headline)]
    call = re.search(r"'(\w+)\(", headline) or re.search(r"\b(\w+)\(", headline)
    if call:
        names.append(call.group(1).lower())
    for name in names:
        for found in every_node(node):
            label = (
                found.name
                if isinstance(found, exp.Identifier | exp.Anonymous | exp.Column)
                else getattr(found, "key", "")
            )
            if label.lower() == name and (position := position_of(found)) is not None:
                return position
    return None
