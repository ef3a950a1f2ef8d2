"""What a consumer reads of a stream, as SQL says it: some columns, of rows that a condition holds for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from ..engine.delta import Delta
from ..storage.errors import Error, NotSupportedError, ProgrammingError
from ..storage.records import Offsets, Wanted
from . import plan as p
from .database import Database
from .declaration import spelled
from .dialect import parse_script
from .lower import lower_map
from .relations import Relation
from .statements import Select
from .types import quote


def wanted(database: Database, stream: Relation, columns: Sequence[str] | None, where: str | None) -> Wanted:
    """What `columns` (None: all) and the SQL condition `where` mean for a stream.

    Only what they name is read. Raises: ProgrammingError, NotSupportedError where the condition is not one of a row.
    """
    given = [columns] if isinstance(columns, str) else columns
    names = None if given is None else [spelled(stream, name) for name in given]
    for name in names or ():
        if names is not None and names.count(name) > 1:
            raise ProgrammingError(f'column "{name}" is named twice', sqlstate="42701")
    if where is None:
        return Wanted(None if names is None else tuple(names))
    items = "*" if names is None else ", ".join(quote(name) for name in names)
    plan = _plan(database, f"SELECT {items} FROM {quote(stream.name)} WHERE ({where}\n)", where)
    if not isinstance(plan, p.Map) or not isinstance(plan.input, p.Scan):
        raise NotSupportedError(
            f"cannot consume where {where}",
            detail="The condition must say something of each row by itself, without other rows.",
            hint="Create a stream or a view with what is wanted, and read that.",
        )
    return Wanted(tuple(column.name for column in plan.input.columns), _chooser(plan))


def _plan(database: Database, sql: str, where: str) -> p.Plan:
    try:
        if not isinstance(where, str) or not where.strip():
            raise ProgrammingError(f"not a condition: {where!r}", hint="Say it as in SQL: where=\"channel = 'shop'\".")
        statements = list(parse_script(sql))
        if len(statements) != 1 or not isinstance(statements[0], Select) or statements[0].emit is not None:
            raise ProgrammingError(f"not a condition: {where}")
        return database.plan(statements[0].query, final=False).plan
    except Error as error:
        error.position = None  # it counts in a text that the caller has not written
        raise


def _chooser(plan: p.Map) -> Callable[[pa.RecordBatch, Offsets], tuple[pa.RecordBatch, Offsets]]:
    operator = lower_map(plan)

    def choose(batch: pa.RecordBatch, offsets: Offsets) -> tuple[pa.RecordBatch, Offsets]:
        chosen = operator.process(Delta(batch, offsets))  # a weight goes with its row, and so does an offset
        if chosen is None:
            return pa.RecordBatch.from_pylist([], schema=operator.schema), offsets[:0]
        return chosen.batch, chosen.weight_array()

    return choose
