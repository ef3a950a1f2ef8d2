"""Late: says of each row of a stream which windows have closed before it came."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..delta import Delta, places
from ..operator import END_OF_TIME, NO_WATERMARK, Operator, Snapshot, Time
from ..windows import Moments, Rule


@dataclass(frozen=True)
class LateRows:
    """Rows found late in one epoch, by where they are in the log. Shape: one value per row in each array.

    Units: `closed` in microseconds, the watermark that the row came after; END_OF_TIME where the time is NULL.
    `counted` says which are in other windows that are still open; `moments`, that they were in none but their moment.
    """

    partitions: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    closed: npt.NDArray[np.int64]
    counted: npt.NDArray[np.bool_]
    moments: bool = False


class Late(Operator):
    """The rows of a stream, with `closed` set for those that the watermark has overtaken.

    A row is late when at least one window that holds it, or might have, ended at or before the watermark less
    `lateness`; it then counts only in the windows still open. Rows already found late before a restart (`known`) are
    late again, to the same degree, whatever the watermark says now: what readers saw stays true. Where each moment is
    a window of its own, late rows are left out.
    Rows outside of `times` (first and last, in microseconds) are not asked for, and so never late.
    Holds: nothing but its watermark, less the lateness.
    State: O(1), and the offsets of known late rows until they have been passed again.
    From: Akidau et al., "The Dataflow Model" (VLDB 2015), section 2.3, on watermarks and lateness.
    """

    journalled = False
    shows_cuts = True

    def __init__(
        self,
        window: Rule,
        time: str,
        schema: pa.Schema,
        report: Callable[[LateRows], None],
        lateness: int = 0,
        times: tuple[int | None, int | None] | None = None,
    ) -> None:
        self.schema = schema
        self.watermark = NO_WATERMARK
        self._window = window
        self._time = time
        self._report = report
        self._lateness = lateness
        self._times = times
        self._known: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}  # offsets (sorted), closed

    def know(self, rows: Iterable[tuple[int, int, int]]) -> None:
        """Take over (partition, offset, closed) of rows found late before a restart."""
        table = np.array(sorted(rows), dtype=np.int64).reshape(-1, 3)
        for partition in np.unique(table[:, 0]):
            part = table[table[:, 0] == partition]
            self._known[int(partition)] = (part[:, 1], part[:, 2])

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        times = delta.batch.column(self._time)
        values, low = _microseconds(times)
        fresh_late = low is not None and self.watermark >= low
        if not fresh_late and times.null_count == 0 and not self._known:
            return delta
        closed = np.full(len(values), NO_WATERMARK, dtype=np.int64)
        if fresh_late:
            closed[self._window.overtaken(values, self.watermark)] = self.watermark
        if times.null_count:
            closed[times.is_null().to_numpy(zero_copy_only=False)] = END_OF_TIME
        if self._times is not None:
            closed[self._unasked(values) | times.is_null().to_numpy(zero_copy_only=False)] = NO_WATERMARK
        known = self._recall(delta, closed)
        marked = closed > NO_WATERMARK
        if not marked.any():
            return delta
        moments = isinstance(self._window, Moments)
        fresh = np.flatnonzero(marked & ~known)
        if len(fresh):
            partitions, offsets = places(delta)
            counted = self._window.counted(values[fresh], self.watermark) & (closed[fresh] < END_OF_TIME)
            self._report(LateRows(partitions[fresh], offsets[fresh], closed[fresh], counted, moments))
        if moments:
            return delta.keep(values >= closed)
        return Delta(delta.batch, delta.weights, closed, delta.origin)

    def advance(self, time: Time) -> Delta | None:
        self.watermark = max(self.watermark, time.watermark - self._lateness)
        return None

    def snapshot(self) -> Snapshot:
        return {"late": pa.table({"watermark": pa.array([self.watermark], pa.int64())})}

    def restore(self, snapshot: Snapshot) -> None:
        self.watermark = snapshot["late"].column("watermark")[0].as_py()

    def _unasked(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of these times are outside of those that are asked for."""
        assert self._times is not None
        first, last = self._times
        outside = np.zeros(len(values), np.bool_)
        if first is not None:
            outside |= values < first
        if last is not None:
            outside |= values > last
        return outside

    def _recall(self, delta: Delta, closed: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Set `closed` for known late rows of the delta, forget them, and say which rows they are."""
        found = np.zeros(len(closed), dtype=np.bool_)
        start = 0
        for part in delta.origin or ():
            if part.partition in self._known:
                offsets, marks = self._known[part.partition]
                first, end = np.searchsorted(offsets, [part.offset, part.offset + part.rows])
                places = start + offsets[first:end] - part.offset
                closed[places] = marks[first:end]
                found[places] = True
                self._known[part.partition] = (offsets[end:], marks[end:])
                if end == len(offsets):
                    del self._known[part.partition]
            start += part.rows
        return found


def _microseconds(times: pa.Array) -> tuple[npt.NDArray[np.int64], int | None]:
    """Times as integers, 0 where there is none, and the least of those there are."""
    if not times.null_count and len(times):
        values: npt.NDArray[np.int64] = times.view(pa.int64()).to_numpy()
        return values, int(values.min())
    low = pc.min(times).cast(pa.int64()).as_py() if times.null_count < len(times) else None
    return pc.fill_null(times.cast(pa.int64()), 0).to_numpy(zero_copy_only=False), low
