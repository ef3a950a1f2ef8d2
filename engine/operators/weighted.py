"""Weighted: the present rows of a table without a key, from its changelog."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ...storage.last_rows import WEIGHT_COLUMN
from ..delta import Delta
from ..operator import Operator


class Weighted(Operator):
    """The rows of a log, inserted or retracted as its column `_weight` says of each.

    Shape: the columns of the input are those of `schema` and `_weight`.
    State: none; whoever reads the table keeps its rows.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        assert delta.weights is None, "the log of a table only grows"
        weights = delta.batch.column(WEIGHT_COLUMN).to_numpy(zero_copy_only=False).astype(np.int64)
        return Delta(delta.batch.select(self.schema.names), None if (weights == 1).all() else weights)
