"""Cursors: what a statement returned, as Python rows, as Arrow, or as changes that keep coming."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..storage.errors import InterfaceError, NotSupportedError, ProgrammingError
from .dialect import parse_script
from .many import insert_many
from .session import Outcome
from .statements import Insert

if TYPE_CHECKING:
    from .dbapi import Connection


class Cursor:
    """The result of a statement: rows to fetch, or, when `live`, changes that keep coming."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._outcome = Outcome("")
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._changes: list[tuple[Any, ...]] = []
        self._closed = False

    # -- what it holds --------------------------------------------------------------------------------------------

    @property
    def description(self) -> list[tuple[Any, ...]] | None:
        """Per column (name, SQL type, None, None, None, None, None); None where the statement returns no rows."""
        names = self._names()
        return (
            None
            if names is None
            else [(name, type, None, None, None, None, None) for name, type in zip(names, self.types, strict=True)]
        )

    @property
    def rowcount(self) -> int:
        """Rows returned or written; -1 where that is not known."""
        return self._outcome.rowcount

    @property
    def tag(self) -> str:
        """What was done, as PostgreSQL writes it: 'SELECT 3', 'CREATE STREAM', 'INSERT 0 3'."""
        return self._outcome.tag

    @property
    def notices(self) -> list[str]:
        """Things worth knowing that stopped nothing."""
        return self._outcome.notices

    @property
    def types(self) -> list[str]:
        """The SQL type of each column."""
        live, rows = self._outcome.live, self._outcome.rows
        return list(live.types if live is not None else rows.types if rows is not None else ())

    @property
    def live(self) -> bool:
        """Whether the result is a subscription that never ends by itself."""
        return self._outcome.live is not None

    @property
    def ended(self) -> bool:
        """Whether a live result has come to its end."""
        return self._outcome.live is not None and self._outcome.live.ended

    @property
    def key(self) -> tuple[str, ...] | None:
        """The columns that tell a live result's rows apart, where they are known."""
        return self._outcome.live.key if self._outcome.live is not None else None

    # -- running --------------------------------------------------------------------------------------------------

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Cursor:
        """Run SQL; several statements one after the other, the last one's result is kept. Returns itself."""
        self._check()
        statements = parse_script(sql)
        if not statements:
            raise ProgrammingError("there is no statement")
        if parameters and len(statements) > 1:
            raise ProgrammingError("cannot give parameters to more than one statement")
        for statement in statements:
            self._end_live()
            self._take(self.connection._session.run(statement, parameters or None))
        return self

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> Cursor:
        """Run an INSERT ... VALUES (?, ...) for many rows, all in one batch: all of them are kept, or none."""
        self._check()
        statements = parse_script(sql)
        if len(statements) != 1 or not isinstance(statements[0], Insert):
            raise ProgrammingError("executemany takes one INSERT ... VALUES (?, ...)")
        self._end_live()
        self._take(insert_many(self.connection._session, statements[0], rows))
        return self

    def close(self) -> None:
        """End it, and the subscription it holds."""
        if not self._closed:
            self._closed = True
            self._end_live()

    # -- fetching -------------------------------------------------------------------------------------------------

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row; None at the end. A live cursor waits for one."""
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None, timeout: float | None = None) -> list[tuple[Any, ...]]:
        """The next `size` rows, fewer at the end. A live cursor waits for the first, up to `timeout` seconds."""
        self._check_rows()
        size = self.arraysize if size is None else size
        if not self.live:
            return [row for _, row in zip(range(size), self._rows, strict=False)]
        while len(self._changes) < size:
            table = self.next_changes(timeout if not self._changes else 0)
            if table is None:
                break
            self._changes += _python_rows(table, self.types)
        taken, self._changes = self._changes[:size], self._changes[size:]
        return taken

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that are left, of a live query with UP TO until it ends; others have no end."""
        self._check_rows()
        if self._outcome.live is not None and self._outcome.live.ends:
            return list(self)
        if self.live:
            raise NotSupportedError(
                "cannot fetch all of a live query", hint="Use fetchmany(n, timeout=...), next_changes() or iterate."
            )
        return list(self._rows)

    def fetch_arrow_table(self) -> pa.Table:
        """The whole result as an Arrow table."""
        self._check_rows()
        if self._outcome.rows is None:
            raise NotSupportedError(
                "cannot fetch all of a live query", hint="next_changes() gives the changes as Arrow tables."
            )
        return self._outcome.rows.table

    def fetch_record_batch(self) -> pa.RecordBatchReader:
        """The result as a reader of Arrow batches."""
        return self.fetch_arrow_table().to_reader()

    def next_changes(self, timeout_s: float | None = None) -> pa.Table | None:
        """A live cursor's changes of the next epoch that has any; None after the timeout, or once closed."""
        self._check()
        if self._outcome.live is None:
            raise InterfaceError(
                "next_changes needs a live cursor", hint="SUBSCRIBE TO a view, or SELECT ... EMIT CHANGES."
            )
        return self._outcome.live.next(timeout_s)

    def rest_of_changes(self) -> pa.Table | None:
        """What EMIT EVERY holds back until its interval ends, told now; None where that is nothing."""
        self._check()
        return None if self._outcome.live is None else self._outcome.live.rest()

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def setinputsizes(self, sizes: Sequence[Any]) -> None:
        """Nothing: PEP 249 asks for it."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Nothing: PEP 249 asks for it."""

    # -- inside ---------------------------------------------------------------------------------------------------

    def _take(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._changes = []
        self._rows = iter(()) if outcome.rows is None else iter(_python_rows(outcome.rows.table, outcome.rows.types))

    def _names(self) -> list[str] | None:
        live, rows = self._outcome.live, self._outcome.rows
        return (
            list(live.schema.names) if live is not None else list(rows.table.schema.names) if rows is not None else None
        )

    def _end_live(self) -> None:
        if self._outcome.live is not None:
            self._outcome.live.close()
            self._outcome = Outcome("")

    def _check(self) -> None:
        self.connection._check()
        if self._closed:
            raise InterfaceError("the cursor is closed")

    def _check_rows(self) -> None:
        self._check()
        if self._names() is None:
            raise ProgrammingError("there are no rows to fetch", detail="The last statement returned none.")


def _python_rows(table: pa.Table, types: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Rows as tuples of Python values, made batch by batch as they are asked for."""
    for batch in table.to_batches(max_chunksize=8192):
        columns = []
        for column, type in zip(batch.columns, types, strict=True):
            values = column.to_pylist()
            if type == "HUGEINT":
                values = [None if value is None else int(value) for value in values]
            columns.append(values)
        yield from zip(*columns, strict=True)
