"""Map: filter and project, fused."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..delta import Delta
from ..expression import DECLINED, Datum, Program, Projection, as_array
from ..operator import Operator


class Map(Operator):
    """Each row that the filter lets pass, replaced by what is computed of it; its weight stays.

    With a program, Arrow kernels compute: `where` over the batch (None: all rows pass), then `items` over the rows that
    passed. A batch that a kernel declines (an overflow, a cast that fails) and a Map without a program go to DuckDB,
    whose answer or error is the one that counts.
    State: none.
    """

    def __init__(
        self,
        *,
        items: Program | None,
        where: Program | None,
        projection: Projection,
        reason: str | None = None,
    ) -> None:
        self.schema = projection.output
        self._items = items
        self._where = where
        self._projection = projection
        self._reason = reason

    @property
    def kernel(self) -> bool:
        """Whether Arrow kernels do all of it, but for batches that they decline."""
        return self._items is not None

    def describe(self) -> str:
        """Who computes, in a few words for EXPLAIN."""
        return "kernels" if self.kernel else f"duckdb: because of {self._reason}"

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        if delta.rows == 0:
            return None
        if self._items is not None:
            try:
                return self._by_kernels(delta, self._items)
            except DECLINED:
                pass
        batch, rows = self._projection.run(delta.batch)
        if batch.num_rows == 0:
            return None
        return _beside(batch, delta, rows if batch.num_rows < delta.rows else None)

    def _by_kernels(self, delta: Delta, items: Program) -> Delta | None:
        batch, passed = delta.batch, None
        columns = [batch.column(i) for i in items.columns]
        rows = batch.num_rows
        if self._where is not None:
            mask = self._where.run([batch.column(i) for i in self._where.columns])[0]
            if isinstance(mask, pa.Scalar):
                return self._whole(delta, items) if mask.as_py() else None
            rows = mask.true_count
            if rows == 0:
                return None
            if rows < batch.num_rows:
                columns = _filter(columns, mask)
                if delta.weights is not None or delta.closed is not None:
                    passed = np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False))
        return _beside(self._batch(items.run(columns), rows), delta, passed)

    def _whole(self, delta: Delta, items: Program) -> Delta:
        columns = [delta.batch.column(i) for i in items.columns]
        return _beside(self._batch(items.run(columns), delta.rows), delta, None)

    def _batch(self, results: list[Datum], rows: int) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([as_array(result, rows) for result in results], schema=self.schema)


def _filter(columns: list[pa.Array], mask: pa.Array) -> list[pa.Array]:
    """Those rows of `columns` where `mask` is true."""
    if not columns:
        return []
    batch = pa.RecordBatch.from_arrays(columns, names=[""] * len(columns))
    return batch.filter(mask).columns  # type: ignore[no-any-return]


def _beside(batch: pa.RecordBatch, delta: Delta, rows: npt.NDArray[np.int64] | None) -> Delta:
    """`batch` with the weights and closing times of those `rows` of `delta` it was computed from; None: of all."""
    weights, closed = delta.weights, delta.closed
    if rows is not None:
        weights = None if weights is None else weights[rows]
        closed = None if closed is None else closed[rows]
    return Delta(batch, weights, closed)
