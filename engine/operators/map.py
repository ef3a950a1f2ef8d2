"""Map: filter and project, fused."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..delta import Delta
from ..expression import DECLINED, Program, Projection, as_array
from ..operator import Operator
from ..screening import Screen


class Map(Operator):
    """Each row that the filter lets pass, replaced by what is computed of it; its weight stays.

    With a program, Arrow kernels compute: `where` over the batch (None: all rows pass), then `items` over the rows that
    passed. A batch that a kernel declines (an overflow, a cast that fails) and a Map without a program go to DuckDB,
    whose answer or error is the one that counts. With a screen, rows on which that fails are left out, and reported.
    State: none.
    """

    def __init__(
        self,
        *,
        items: Program | None,
        where: Program | None,
        projection: Projection,
        reason: str | None = None,
        screen: Screen | None = None,
    ) -> None:
        self.schema = projection.output
        self._items = items
        self._where = where
        self._projection = projection
        self._reason = reason
        self._screen = screen
        self._chosen: list[int] | None = None  # where all it does is to choose columns
        if items is not None and where is None and all(result < len(items.columns) for result in items.results):
            self._chosen = [items.columns[result] for result in items.results]

    @property
    def kernel(self) -> bool:
        """Whether Arrow kernels do all of it, but for batches that they decline."""
        return self._items is not None

    def describe(self) -> str:
        """Who computes, in a few words for EXPLAIN."""
        return "kernels" if self.kernel else f"duckdb: because of {self._reason}"

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        if self._screen is not None:
            delta = self._screen.first(delta)
        if delta.rows == 0:
            return None
        if self._chosen is not None:
            columns = [delta.batch.column(i) for i in self._chosen]
            chosen = pa.RecordBatch.from_arrays(columns, schema=self.schema)
            return Delta(chosen, delta.weights, delta.closed)
        for thorough in (False, True):
            try:
                return self._computed(delta)
            except Exception as error:
                if self._screen is None:
                    raise
                delta = self._screen.passing(delta, error, thorough=thorough)
                if not delta.rows:
                    return None
        return self._computed(delta)

    def _computed(self, delta: Delta) -> Delta | None:
        """What is made of a delta with rows. Raises: what DuckDB says if it cannot be."""
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
        columns = [delta.batch.column(i) for i in items.columns]
        rows, passed = delta.rows, None
        if self._where is not None:
            mask = self._where.run([delta.batch.column(i) for i in self._where.columns])[0]
            if isinstance(mask, pa.Scalar):
                mask = as_array(mask, rows)
            rows = mask.true_count
            if rows == 0:
                return None
            if rows < delta.rows:
                columns = _filter(columns, mask, rows)
                if delta.weights is not None or delta.closed is not None:
                    passed = mask.fill_null(False).to_numpy(zero_copy_only=False)
        arrays = [as_array(result, rows) for result in items.run(columns)]
        return _beside(pa.RecordBatch.from_arrays(arrays, schema=self.schema), delta, passed)


_array_filter = pc.get_function("array_filter")


def _filter(columns: list[pa.Array], mask: pa.Array, rows: int) -> list[pa.Array]:
    """The `rows` rows of `columns` where `mask` is true."""
    if len(columns) < 3 or len(mask) < 256 or rows > 0.9 * len(mask):
        return [_array_filter.call([column, mask]) for column in columns]
    # Beyond that it pays to find the row numbers once, as the filter of a whole batch does.
    return pa.RecordBatch.from_arrays(columns, names=[""] * len(columns)).filter(mask).columns  # type: ignore[no-any-return]


def _beside(batch: pa.RecordBatch, delta: Delta, rows: npt.NDArray[np.bool_ | np.int64] | None) -> Delta:
    """`batch` with the weights and closing times of those `rows` of `delta` it was computed from; None: of all."""
    weights, closed = delta.weights, delta.closed
    if rows is not None:
        weights = None if weights is None else weights[rows]
        closed = None if closed is None else closed[rows]
    return Delta(batch, weights, closed)
