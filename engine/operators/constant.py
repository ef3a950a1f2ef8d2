"""Constant: rows that were known before anything happened."""

from __future__ import annotations

import pyarrow as pa

from ..delta import Delta
from ..operator import ResultHolder, Snapshot, Time


class Constant(ResultHolder):
    """The rows of `table`, all in the first epoch, and nothing after it.

    State: the table, and whether it has come out.
    """

    def __init__(self, table: pa.Table) -> None:
        self.schema = table.schema
        self._table = table
        self._shown = False

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        raise AssertionError("a constant has no input")

    def advance(self, time: Time) -> Delta | None:
        if self._shown or not self._table.num_rows:
            return None
        self._shown = True
        return Delta(self._table.combine_chunks().to_batches()[0])

    def rows(self) -> pa.Table:
        return self._table

    def snapshot(self) -> Snapshot:
        return {"shown": pa.table({"shown": [self._shown]})}

    def restore(self, snapshot: Snapshot) -> None:
        self._shown = snapshot["shown"]["shown"][0].as_py()
