"""executemany: one INSERT for many parameter rows, as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from ..storage.errors import DataError, ProgrammingError
from .session import Outcome, Session
from .statements import Insert
from .trees import every
from .types import connect, translate
from .writing import append, conform, require_written
from .writing_columns import target_columns


def insert_many(session: Session, statement: Insert, rows: Sequence[Sequence[Any]]) -> Outcome:
    """Append a row per parameter row of an INSERT whose VALUES is one row of `?` only; all of them, or none."""
    target = require_written(session.database, statement.name, statement.position)
    names = target_columns(target, statement.columns, statement.position)
    tuples = every(statement.query, exp.Tuple)
    marks = every(statement.query, exp.Placeholder, exp.Parameter)
    if len(tuples) != 1 or len(marks) != len(names) or len(tuples[0].expressions) != len(names):
        raise ProgrammingError("executemany takes VALUES (?, ...) with one ? per column", position=statement.position)
    if any(len(row) != len(names) for row in rows):
        raise ProgrammingError(f"each row needs {len(names)} values")
    if not rows:
        return Outcome("INSERT 0 0", rowcount=0)
    try:
        columns = [pa.array([row[i] for row in rows]) for i in range(len(names))]
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError("the rows do not make columns", detail=f"{error}.") from None
    connection = connect()
    try:
        connection.register("many", pa.table(columns, names=[f"v{i}" for i in range(len(names))]))
        table = conform(connection, "SELECT * FROM many", target, names)
    except duckdb.Error as error:
        raise translate(error) from None
    finally:
        connection.close()
    count, appended = append(session.database, target, table, statement.conflict)
    session.wrote(target.name, appended)
    return Outcome(f"INSERT 0 {count}", rowcount=count)
