"""UPDATE, DELETE and TRUNCATE: the rows a condition holds for become others, or go."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
from sqlglot import exp

from ..storage.errors import ProgrammingError
from .assignments import ROW, check_columns, items, register_rows, with_values
from .database import Database
from .dialect import twin_sql
from .reading import Parameters, prepare
from .relations import Relation
from .returning import Answer
from .row_checks import check_nulls
from .statements import DeleteRows, Update
from .tables import Written, change_rows, ends_of
from .twin import twin
from .types import connect, translate
from .writing import Ends, require_table

_ROWS = "target/rows"  # the table's rows with their numbers, as the statement's own name for it


def update(database: Database, statement: Update, parameters: Parameters, ends: Ends, answer: Answer) -> Written:
    """Every row that the condition holds for has the new values, or none has. Nobody else changes rows meanwhile."""
    target = require_table(database, statement.name, statement.position, "UPDATE")
    check_columns(target, statement.assignments)
    select = exp.select(*items(target, statement.assignments, statement.alias))
    _restrict(select, statement)
    with database.turns.of(target):
        rows, values = _matching(database, target, statement.alias, select, parameters, ends)
        if len(np.unique(values.column(ROW).to_numpy())) < values.num_rows:
            raise ProgrammingError(
                f'a row of "{target.name}" would be set to more than one row\'s values',
                detail="Several rows of what is named after FROM match it.",
                hint="Aggregate them first, in a subquery.",
                position=statement.position,
                sqlstate="21000",
            )
        changed = with_values(target, rows, values)
        check_nulls(target, changed)
        answer(changed)
        return changed.num_rows, change_rows(database, target, rows.take(values.column(ROW)), changed)


def delete_rows(
    database: Database, statement: DeleteRows, parameters: Parameters, ends: Ends, answer: Answer
) -> Written:
    """Every row that the condition holds for is gone, or none is. Nobody else changes rows meanwhile."""
    target = require_table(database, statement.name, statement.position, statement.word)
    select = exp.select(*items(target, (), statement.alias))
    if statement.others is not None:
        select = select.distinct()
    _restrict(select, statement)
    with database.turns.of(target):
        rows, values = _matching(database, target, statement.alias, select, parameters, ends)
        gone = rows.take(values.column(ROW))
        answer(gone)
        return gone.num_rows, change_rows(database, target, gone, gone.slice(0, 0))


def _restrict(select: exp.Select, statement: Update | DeleteRows) -> None:
    """Add what other relations the rows are joined with, and the condition."""
    others = statement.others
    if others is not None:
        joined = [exp.Join(this=others.args["from_"].this.copy())]
        select.set("joins", [*joined, *(join.copy() for join in others.args.get("joins") or ())])
        select.set("laterals", [lateral.copy() for lateral in others.args.get("laterals") or ()])
        select.set("where", others.args["where"].copy() if others.args.get("where") else None)
    elif statement.where is not None:
        select.where(statement.where.copy(), copy=False)


def _matching(
    database: Database, target: Relation, alias: str, select: exp.Select, parameters: Parameters, ends: Ends
) -> tuple[pa.Table, pa.Table]:
    """All rows of the table, and what `select` says of those that it finds among them by their numbers."""
    own = exp.Table(this=exp.to_identifier(target.name, quoted=True))
    own.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
    select = select.from_(own)
    connection = connect(threads=None)
    try:
        expanded = prepare(database, connection, select, {**ends, target.name: ends_of(database, target)})
        rows = database.engine.read([target.name], []).views[target.name]
        register_rows(connection, _ROWS, target, rows)
        expanded.args["from_"].this.set("this", exp.to_identifier(_ROWS, quoted=True))
        sql = twin_sql(twin(expanded))
        found = connection.sql(sql, params=parameters) if parameters else connection.sql(sql)
        return rows, found.to_arrow_table()
    except duckdb.Error as error:
        raise translate(error, select) from None
    finally:
        connection.close()
