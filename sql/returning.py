"""RETURNING: the rows that a statement changes, looked at just before they are written."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from sqlglot import exp

from .dialect import twin_sql
from .reading import Rows, run
from .relations import Relation
from .types import Binder, connect, quote, register, typed_empty

Answer = Callable[[pa.Table], None]


def told(answer: Answer) -> Rows | None:
    """What an answer has to say."""
    return answer.rows if isinstance(answer, Returning) else None


def ignore(rows: pa.Table) -> None:
    """No answer is wanted."""


class Returning:
    """What `items` are for the rows of `target`, which they call `alias`; `rows` once they have been told.

    Raises: ProgrammingError where they cannot be computed; DataError for a row, which then is not written.
    """

    def __init__(self, items: exp.Select, target: Relation, alias: str, binder: Binder) -> None:
        self._items, self._target, self._alias = items, target, alias
        binder.bind(f"{twin_sql(items)} FROM {typed_empty(target.columns)} AS {quote(alias)}", items)
        self.rows: Rows | None = None

    def __call__(self, rows: pa.Table) -> None:
        connection = connect()
        try:
            register(connection, "changed/rows", self._target.columns, rows)
            sql = f'{twin_sql(self._items)} FROM "changed/rows" AS {quote(self._alias)}'
            self.rows = run(connection, sql, None, self._items)
        finally:
            connection.close()
