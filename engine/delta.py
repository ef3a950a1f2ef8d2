"""A change: rows of an Arrow batch, each with a weight. The one currency between operators (a Z-set)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PIECE_ROWS = 1 << 16  # so many rows, and what is made of them on the way, stay in a processor's cache
Weights = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Slice:
    """Where consecutive rows of a source delta came from: `rows` rows of `partition` from `offset` on."""

    partition: int
    offset: int
    rows: int


@dataclass(frozen=True)
class Delta:
    """Rows and how often each is inserted (+) or retracted (-).

    Shape: `weights` has one int64 per row, or is None where every weight is +1 (append-only: the fast path).
    `closed` has one int64 per row, or is None where no row is late: windows that end at or before `closed[i]`
    (microseconds since 1970) no longer take row i; see `operators/late.py`.
    `origin` names the log slices of a delta that comes straight from a topic, in row order; None elsewhere.
    From: Budiu et al., "DBSP: Automatic Incremental View Maintenance" (VLDB 2023), section 2.
    """

    batch: pa.RecordBatch
    weights: Weights | None = None
    closed: npt.NDArray[np.int64] | None = None
    origin: tuple[Slice, ...] | None = None

    @property
    def rows(self) -> int:
        """How many physical rows; not the sum of the weights."""
        return int(self.batch.num_rows)

    def weight_array(self) -> Weights:
        """The weights, made explicit."""
        return np.ones(self.rows, dtype=np.int64) if self.weights is None else self.weights

    def pieces(self) -> Iterator[Delta]:
        """The same rows in deltas that a processor's cache holds, without origin; with weights it stays whole.

        With weights what comes and what goes may belong together.
        """
        if self.weights is not None or self.rows <= 2 * PIECE_ROWS:
            yield self
            return
        for start in range(0, self.rows, PIECE_ROWS):
            closed = None if self.closed is None else self.closed[start : start + PIECE_ROWS]
            yield Delta(self.batch.slice(start, PIECE_ROWS), closed=closed)

    def take(self, indices: npt.NDArray[np.int64]) -> Delta:
        """The rows at `indices`, in that order; the origin is lost."""
        return Delta(
            self.batch.take(pa.array(indices)),
            None if self.weights is None else self.weights[indices],
            None if self.closed is None else self.closed[indices],
        )

    def keep(self, rows: npt.NDArray[np.bool_]) -> Delta:
        """The rows where `rows` is true, with their origin."""
        kept = self.take(np.flatnonzero(rows))
        return kept if self.origin is None else replace(kept, origin=_kept(self.origin, rows))


def concat(deltas: Sequence[Delta]) -> Delta:
    """All rows of `deltas`, one after the other; none is merged. Needs at least one delta, all of one schema."""
    if len(deltas) == 1:
        return deltas[0]
    weights = None
    if any(delta.weights is not None for delta in deltas):
        weights = np.concatenate([delta.weight_array() for delta in deltas])
    closed = None
    if any(delta.closed is not None for delta in deltas):
        closed = np.concatenate(
            [np.full(d.rows, np.iinfo(np.int64).min) if d.closed is None else d.closed for d in deltas]
        )
    origin: tuple[Slice, ...] | None = ()
    for delta in deltas:
        origin = None if origin is None or delta.origin is None else origin + delta.origin
    return Delta(pa.concat_batches([delta.batch for delta in deltas]), weights, closed, origin)


def places(delta: Delta) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Partition and offset of every row of a delta that comes straight from the log."""
    assert delta.origin is not None, "rows can only be told apart where they enter"
    partitions = np.concatenate([np.full(part.rows, part.partition, dtype=np.int64) for part in delta.origin])
    offsets = np.concatenate([np.arange(part.offset, part.offset + part.rows, dtype=np.int64) for part in delta.origin])
    return partitions, offsets


def _kept(origin: tuple[Slice, ...], rows: npt.NDArray[np.bool_]) -> tuple[Slice, ...]:
    """Where the rows come from that are kept: a slice for each run of them."""
    slices, start = [], 0
    for part in origin:
        mine = np.concatenate(([False], rows[start : start + part.rows], [False]))
        edges = np.flatnonzero(mine[1:] != mine[:-1]).reshape(-1, 2).tolist()
        slices += [Slice(part.partition, part.offset + first, end - first) for first, end in edges]
        start += part.rows
    return tuple(slices)
