"""Digests: a few bytes that tell whether a change is what it was."""

from __future__ import annotations

from typing import NamedTuple

import google_crc32c
import numpy as np

from ..storage.hashing import hash_columns
from .delta import Delta


class Digest(NamedTuple):
    """Of a change in one epoch: how many rows it has, and a `text` of the rows and weights, then of their order."""

    rows: int
    text: str

    @property
    def content(self) -> str:
        """What does not depend on the order of the rows."""
        return self.text[:16]


def digest(delta: Delta) -> Digest:
    """Of rows as the values that they have, however Arrow has them in memory."""
    columns = delta.batch.columns or [np.zeros(delta.rows)]
    hashes, weights = hash_columns(columns), delta.weight_array()
    content = int(np.add.reduce(hashes * weights.view(np.uint64))) & (1 << 64) - 1
    return Digest(delta.rows, f"{content:016x}{google_crc32c.value(hashes.tobytes() + weights.tobytes()):08x}")
