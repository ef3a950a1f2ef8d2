"""A delta as people read it: one row per change, with the epoch and what happened to the row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ..storage.hashing import hash_columns
from .arrangement import consolidate
from .delta import Delta

OPERATIONS = np.array(["-D", "-U", "+U", "+I"])


def changelog(epoch: int, delta: Delta, key: Sequence[str] | None) -> pa.RecordBatch:
    """Columns `epoch`, `op`, then the delta's; a weight of n is n rows, retractions before insertions.

    `op` is +I or -D; where `key` is known and its row both leaves and comes in the epoch, -U and +U.
    """
    if delta.weights is not None:
        delta = consolidate(delta)
    weights = delta.weight_array()
    inserted = weights > 0
    updated = np.zeros(len(weights), dtype=np.bool_)
    if key is not None and not inserted.all() and inserted.any():
        hashes = hash_columns([delta.batch.column(name) for name in key]) if key else np.zeros(len(weights), np.uint64)
        updated = np.isin(hashes, np.intersect1d(hashes[inserted], hashes[~inserted]))
    codes = np.where(inserted, np.where(updated, 2, 3), np.where(updated, 1, 0))
    if key is not None and updated.any():
        order = np.lexsort((inserted, hashes))  # an update's two rows side by side
    else:
        order = np.argsort(inserted, kind="stable")
    order = np.repeat(order, np.abs(weights)[order])
    batch = delta.batch.take(pa.array(order))
    columns = [
        pa.array(np.full(len(order), epoch, dtype=np.int64)),
        pa.array(OPERATIONS[codes[order]].astype(object), pa.string()),
    ]
    return pa.RecordBatch.from_arrays([*columns, *batch.columns], names=["epoch", "op", *batch.schema.names])
