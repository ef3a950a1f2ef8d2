"""UnionAll: the rows of all inputs together."""

from __future__ import annotations

import pyarrow as pa

from ..delta import Delta
from ..operator import Operator


class UnionAll(Operator):
    """Each row of each input, as often as the inputs together have it.

    Shape: every input has as many columns as the output, of the same types; their names may differ.
    State: none.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        batch = delta.batch
        if batch.schema != self.schema:
            batch = pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)
        return Delta(batch, delta.weights)
