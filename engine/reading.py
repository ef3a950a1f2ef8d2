"""A reading: what all views and streams were at one committed epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Reading:
    """Views and streams as of one committed epoch: rows per view, end offsets per stream, watermarks of both.

    Units: `clock` is the epoch's, in microseconds since 1970.
    """

    epoch: int
    clock: int
    views: Mapping[str, pa.Table]
    streams: Mapping[str, list[int]]
    watermarks: Mapping[str, int]
