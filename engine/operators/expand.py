"""Expand: each row once for every grouping set, for one aggregate to group by all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ..delta import Delta
from ..operator import Operator


class Expand(Operator):
    """Each row once per grouping set, its weight with it: after its own columns the keys, and the number of the set.

    A key that is not in the set is NULL.
    Shape: `keys` name columns of the input, `sets` say for each set which of these, by place, it has. The output has
    the input's columns, then a column per key, then the set's number, counted from 0, as INTEGER.
    State: none.
    From: Gray et al., "Data Cube" (Data Mining and Knowledge Discovery 1, 1997), section 3.
    """

    def __init__(self, keys: Sequence[str], sets: Sequence[frozenset[int]], schema: pa.Schema) -> None:
        self.schema = schema
        self._keys = list(keys)
        self._sets = list(sets)

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        rows, count = delta.rows, len(self._sets)
        if not rows:
            return None
        columns = [pa.concat_arrays([column] * count) for column in delta.batch.columns]
        for place, name in enumerate(self._keys):
            key = delta.batch.column(name)
            nulls = pa.nulls(rows, key.type)
            columns.append(pa.concat_arrays([key if place in chosen else nulls for chosen in self._sets]))
        columns.append(pa.array(np.repeat(np.arange(count, dtype=np.int32), rows)))
        return Delta(
            pa.RecordBatch.from_arrays(columns, schema=self.schema),
            None if delta.weights is None else np.tile(delta.weights, count),
            None if delta.closed is None else np.tile(delta.closed, count),
        )
