"""TemporalFilter: rows that are there for a stretch of time, the clock's or the watermark's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ..deadlines import earliest
from ..delta import Delta, concat
from ..operator import END_OF_TIME, NO_WATERMARK, Operator, Snapshot, Time
from ..slot_array import Mask
from ..timed_rows import TimedRows
from ..windows import Times

_FOREVER_US = 1 << 62  # DuckDB's infinity lies beyond it, and no length of time changes that


class TemporalFilter(Operator):
    """The rows whose time has come and not yet gone.

    A row comes at the latest of its `starts`, and goes at the earliest of its `ends`; one with NULL there never comes.
    The time is the engine's clock, or with `event_time` the watermark: then it has come when the watermark is there.

    The output is a sum over rows, so that a row and its retraction, which come and go at the same times, cancel out.

    Shape: `starts` and `ends` are pairs of a timestamp column and a length to add to it. The first columns of the input
    are those of `schema`; others are left out.
    Units: microseconds.
    State: the changes of rows that are there and will go, and of those that are still to come.
    From: Materialize, "Temporal filters".
    """

    def __init__(
        self,
        starts: Sequence[tuple[str, int]],
        ends: Sequence[tuple[str, int]],
        schema: pa.Schema,
        *,
        event_time: bool = False,
    ) -> None:
        self.schema = schema
        self._event_time = event_time
        self._columns = list(range(len(schema)))
        self._starts = list(starts)
        self._ends = list(ends)
        self._coming = TimedRows(schema.append(pa.field("+end", pa.int64())))
        self._going = TimedRows(schema)
        self._new: list[tuple[Times, Times, Delta]] = []
        self._clock = NO_WATERMARK

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        start, end = np.full(delta.rows, NO_WATERMARK), np.full(delta.rows, END_OF_TIME)
        known = np.ones(delta.rows, np.bool_)
        for name, length in self._starts:
            start = np.maximum(start, _moments(delta, name, length, known))
        for name, length in self._ends:
            end = np.minimum(end, _moments(delta, name, length, known))
        delta = Delta(delta.batch.select(self._columns), delta.weights)
        there = np.flatnonzero(known & (start < end))
        if len(there):
            self._new.append((start[there], end[there], delta if len(there) == delta.rows else delta.take(there)))
        return None

    def advance(self, time: Time) -> Delta | None:
        self._clock = max(self._clock, time.watermark if self._event_time else time.clock)
        new, self._new = self._new, []
        arrived = self._coming.cut(self._clock)
        if arrived is not None:
            starts, delta = arrived
            ends = delta.batch.column(len(self.schema)).to_numpy()
            new.append((starts, ends, Delta(delta.batch.select(self._columns), delta.weights)))
        gone = self._going.cut(self._clock)
        changes = [] if gone is None else [Delta(gone[1].batch, -gone[1].weight_array())]
        for starts, ends, delta in new:
            comes = starts <= self._clock
            self._wait(starts, ends, delta, ~comes)
            here = np.flatnonzero(comes & (ends > self._clock))
            if len(here):
                delta, ends = (delta, ends) if len(here) == delta.rows else (delta.take(here), ends[here])
                changes.append(delta)
                if self._ends:
                    self._going.add(ends, delta)
        self._set_wake()
        return concat(changes) if changes else None

    def snapshot(self) -> Snapshot:
        parts = (("coming", self._coming), ("going", self._going))
        tables = {f"{part}/{name}": table for part, rows in parts for name, table in rows.snapshot().items()}
        return {**tables, "time": pa.table({"clock": pa.array([self._clock], pa.int64())})}

    def restore(self, snapshot: Snapshot) -> None:
        for part, rows in (("coming/", self._coming), ("going/", self._going)):
            rows.restore({name.removeprefix(part): t for name, t in snapshot.items() if name.startswith(part)})
        self._clock = snapshot["time"]["clock"][0].as_py()
        self._set_wake()

    @property
    def bytes(self) -> int:
        return self._coming.bytes + self._going.bytes

    def _set_wake(self) -> None:
        if not self._event_time:
            self.wake = earliest((self._coming.first, self._going.first))

    def _wait(self, starts: Times, ends: Times, delta: Delta, still: Mask) -> None:
        """Keep the rows that are to come."""
        places = np.flatnonzero(still)
        if len(places):
            waiting = delta.take(places)
            batch = waiting.batch.append_column("+end", pa.array(ends[places]))
            self._coming.add(starts[places], Delta(batch, waiting.weights))


def _moments(delta: Delta, name: str, length: int, known: Mask) -> Times:
    """A column plus a length; where it is NULL, `known` becomes False."""
    column = delta.batch.column(name).view(pa.int64())
    if column.null_count:
        known &= column.is_valid().to_numpy(zero_copy_only=False)
        column = column.fill_null(0)
    times = column.to_numpy()
    forever = np.abs(times) >= _FOREVER_US
    moments: Times = times + (np.where(forever, 0, length) if forever.any() else length)
    return moments
