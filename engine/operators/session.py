"""Session: each row with the session that it is in, which grows and merges as rows come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..deadlines import Deadlines
from ..delta import Delta, Weights, concat
from ..keyed_rows import KeyedRows
from ..operator import NO_WATERMARK, Operator, Snapshot, Time
from ..row_lists import RowIds
from ..slot_array import Mask, Slots
from ..windows import WINDOW_TIME_US, Times

_CLOSED = "+closed"  # up to when sessions had ended that the row came too late for


@dataclass(frozen=True)
class _Found:
    """Rows by id, in ascending order, and the session of each. Shape: one value per row in each array."""

    rows: RowIds
    weights: Weights
    starts: Times
    ends: Times
    places: RowIds  # which of the slots asked for the row belongs to

    def where(self, mask: Mask) -> _Found:
        return _Found(self.rows[mask], self.weights[mask], self.starts[mask], self.ends[mask], self.places[mask])


class Session(Operator):
    """The rows that have a time, each with start and end of its session: the rows of equal `keys` without a pause.

    A row at most `gap` after the one before it is in that one's session, which ends `gap` after its last row. When a
    row makes a session longer, or two of them one, their rows are retracted and come anew. With `final` they come once,
    when the watermark reaches the end. Rows with `closed` set are in no session that ended at or before it; one whose
    own time plus the gap is no later is in none at all.

    Shape: the input's columns, then window_start, window_end, window_time of `time`'s type.
    State: the rows of open sessions, and those that ended less than `lateness` before the watermark; all rows if
    `watermarked` is False; 24 bytes more per row, and per key.
    From: Akidau et al., "The Dataflow Model" (VLDB 2015), section 2.2; sessions are found again by sorting the rows of
    the keys that changed, as in a gaps-and-islands query.
    """

    def __init__(
        self,
        gap: int,
        time: str,
        keys: Sequence[str],
        input_schema: pa.Schema,
        schema: pa.Schema,
        final: bool,
        watermarked: bool,
        lateness: int = 0,
    ) -> None:
        assert not (final and lateness), "what may still be corrected is not final"
        self.schema = schema
        self._gap = gap
        self._time = time
        self._names = input_schema.names
        self._final = final
        self._watermarked = watermarked
        self._lateness = lateness
        self._kept = KeyedRows(input_schema.append(pa.field(_CLOSED, pa.int64())), keys)
        self._due = Deadlines()  # keys by the end of their earliest session, or an earlier time
        self._watermark = NO_WATERMARK

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        delta = self._in_time(delta)
        if not delta.rows:
            return None
        if self._kept.wasteful:
            self._compact()
        self._kept.prepare(delta)
        slots = self._kept.touched(delta)
        before = None if self._final else self._sessions(slots)
        self._kept.insert(delta)
        after = self._sessions(slots)
        self._note(slots, after)
        return None if before is None else self._difference(before, after)

    def advance(self, time: Time) -> Delta | None:
        watermark = max(time.watermark - self._lateness, NO_WATERMARK)
        if not self._watermarked or watermark <= self._watermark:
            return None
        self._watermark = watermark
        due = np.unique(self._due.cut(self._watermark))
        if not len(due):
            return None
        found = self._sessions(due)
        over = found.ends <= self._watermark
        ended = found.where(over)
        output = self._output([(ended, 1)]) if self._final and len(ended.rows) else None
        self._kept.remove(ended.rows)
        self._note(due, found.where(~over))
        return output

    def snapshot(self) -> Snapshot:
        kept = self._kept.snapshot()
        self._note_all()  # by the numbers that keys have now
        return {**kept, "time": pa.table({"watermark": pa.array([self._watermark], pa.int64())})}

    def restore(self, snapshot: Snapshot) -> None:
        self._kept.restore({name: table for name, table in snapshot.items() if name != "time"})
        self._watermark = snapshot["time"]["watermark"][0].as_py()
        self._note_all()

    @property
    def kept(self) -> int | None:
        return self._kept.size

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._kept.bytes + self._due.bytes

    def _in_time(self, delta: Delta) -> Delta:
        """The rows that are in a session at all, with `closed` as a column."""
        column = delta.batch.column(self._time)
        wanted = column.is_valid().to_numpy(zero_copy_only=False)
        closed = np.full(delta.rows, NO_WATERMARK) if delta.closed is None else delta.closed
        if delta.closed is not None:
            times = column.view(pa.int64()).fill_null(0).to_numpy()
            wanted &= times + self._gap > closed
        if not wanted.all():
            kept = np.flatnonzero(wanted)
            delta, closed = delta.take(kept), closed[kept]
        return Delta(delta.batch.append_column(_CLOSED, pa.array(closed)), delta.weights)

    def _sessions(self, slots: Slots) -> _Found:
        """The rows of `slots` and their sessions as they stand."""
        places, rows = self._kept.rows_of(slots)
        weights = self._kept.weights(rows)
        by_row = np.argsort(rows)
        places, rows = places[by_row], rows[by_row]
        counts = np.ones(len(rows), np.int64) if weights is None else weights[by_row]
        batch = self._kept.take(rows, [self._time, _CLOSED])
        starts, ends = self._bounds(places, batch.column(0).view(pa.int64()).to_numpy(), batch.column(1).to_numpy())
        return _Found(rows, counts, starts, ends, places)

    def _bounds(self, keys: npt.NDArray[np.int64], times: Times, closed: Times) -> tuple[Times, Times]:
        """Start and end of the session of each row, given the key, time and `closed` of all rows there are."""
        if not len(times):
            return times, times
        order = np.lexsort((closed, times, keys))
        keys, times, closed = keys[order], times[order], closed[order]
        due = times[:-1] + self._gap
        new = np.ones(len(times), np.bool_)
        new[1:] = (keys[1:] != keys[:-1]) | (times[1:] > due) | (due <= closed[1:])
        session = np.cumsum(new) - 1
        first = np.flatnonzero(new)
        last = np.append(first[1:], len(times)) - 1
        starts, ends = np.empty_like(times), np.empty_like(times)
        starts[order] = times[first][session]
        ends[order] = (times[last] + self._gap)[session]
        return starts, ends

    def _note(self, slots: Slots, found: _Found) -> None:
        """Note when the earliest session of each of `slots` ends."""
        if not self._watermarked or not len(found.rows):
            return
        earliest = np.full(len(slots), np.iinfo(np.int64).max)
        np.minimum.at(earliest, found.places, found.ends)
        there = earliest < np.iinfo(np.int64).max
        self._due.add(earliest[there], slots[there])

    def _note_all(self) -> None:
        self._due.clear()
        slots = np.unique(self._kept.by_row())
        self._note(slots, self._sessions(slots))

    def _compact(self) -> None:
        self._kept.compact()
        self._note_all()

    def _difference(self, before: _Found, after: _Found) -> Delta | None:
        """What turns the rows as they were, with their sessions, into the rows as they are."""
        _, was, still = np.intersect1d(before.rows, after.rows, assume_unique=True, return_indices=True)
        same = (
            (before.starts[was] == after.starts[still])
            & (before.ends[was] == after.ends[still])
            & (before.weights[was] == after.weights[still])
        )
        goes, comes = np.ones(len(before.rows), np.bool_), np.ones(len(after.rows), np.bool_)
        goes[was[same]] = False
        comes[still[same]] = False
        return self._output([(before.where(goes), -1), (after.where(comes), 1)])

    def _output(self, parts: Sequence[tuple[_Found, int]]) -> Delta | None:
        """The rows found, with their sessions, as often as they are there, times a sign."""
        deltas = []
        for found, sign in parts:
            if not len(found.rows):
                continue
            batch = self._kept.take(found.rows, self._names)
            kind = self.schema.field("window_end").type
            bounds = (found.starts, found.ends, found.ends - WINDOW_TIME_US)
            columns = [*batch.columns, *(pa.array(values).view(kind) for values in bounds)]
            plain = sign == 1 and (found.weights == 1).all()
            deltas.append(
                Delta(pa.RecordBatch.from_arrays(columns, schema=self.schema), None if plain else found.weights * sign)
            )
        return concat(deltas) if deltas else None
