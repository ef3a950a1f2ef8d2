"""WindowAggregate: one row per pane and group, once at its end or updated until then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..aggregates import AggregateCall
from ..delta import Delta
from ..groups import Change, Groups, change
from ..operator import NO_WATERMARK, ResultHolder, Snapshot, Time
from ..slot_array import Slots
from ..windows import Window

_WINDOW_TIME_BEFORE_END = 1000  # microseconds: window_time is the last millisecond of the pane


class WindowAggregate(ResultHolder):
    """For each pane of `window` and each group of rows in it with equal keys, one row.

    With `final` it comes out once, when the watermark has reached the pane's end; else whenever it changes, the old row
    retracted. Either way a pane is dropped when the watermark has reached its end; if `watermarked` is False none ever
    comes. Rows without a time are in no pane; rows with `closed` are not in those that end at or before it.

    Shape: the columns of `output_schema` are keys, calls and any of window_start, window_end and window_time.
    State: per open pane and group as Aggregate; with `keeps_result` also all rows of closed panes, in Arrow batches.
    """

    def __init__(
        self,
        window: Window,
        time: str,
        keys: Sequence[str],
        calls: Sequence[AggregateCall],
        input_schema: pa.Schema,
        output_schema: pa.Schema,
        append_only: bool,
        final: bool,
        watermarked: bool,
        keeps_result: bool,
    ) -> None:
        self.schema = output_schema
        self._window = window
        self._time = time
        self._keys = list(keys)
        self._final = final
        self._watermarked = watermarked
        self._keeps_result = keeps_result
        self._time_type = input_schema.field(time).type
        key_types = [pa.int64(), *(input_schema.field(name).type for name in keys)]
        key_schema = pa.schema([(str(place), kind) for place, kind in enumerate(key_types)])
        self._groups = Groups(key_schema, calls, input_schema, append_only=append_only)
        names = [*keys, *(call.name for call in calls), "window_start", "window_end", "window_time"]
        self._order = [names.index(name) for name in output_schema.names]
        self._watermark = NO_WATERMARK
        self._runs: list[tuple[npt.NDArray[np.int64], Slots]] = []  # (pane start, slot), ordered by the first
        self._closed: list[pa.RecordBatch] = []

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        if self._groups.wasteful:
            self._compact()
        groups = self._groups
        rows, starts = self._assign(delta)
        if not len(starts):
            return None
        batch, weights = delta.batch, delta.weights
        if rows is not None:
            weights = None if weights is None else weights[rows]
        columns = {}
        for name in {*self._keys, *groups.columns}:
            columns[name] = batch.column(name) if rows is None else batch.column(name).take(pa.array(rows))
        known = groups.slots
        slots = groups.find([pa.array(starts), *(columns[name] for name in self._keys)], len(starts))
        self._add_run(np.arange(known, groups.slots))
        if self._final or not self.emits:
            groups.update(slots, columns, weights)
            if weights is not None:
                groups.bury(np.unique(slots))
            return None
        touched, before, after = groups.update_and_read(slots, columns, weights)
        output = self._output(change(touched, before, after))
        if weights is not None:
            groups.bury(touched)
        return output

    def _assign(self, delta: Delta) -> tuple[npt.NDArray[np.int64] | None, npt.NDArray[np.int64]]:
        """Row and pane start of each assignment of a row to a pane; for the rows None where they are 0, 1, 2, ..."""
        column = delta.batch.column(self._time)
        timed = None
        if column.null_count:
            timed = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
            column = column.take(pa.array(timed))
        times = column.view(pa.int64()).to_numpy()
        if timed is None and delta.closed is None and self._window.kind == "tumble":
            return None, self._window.last_start(times)
        rows, starts = self._window.panes(times)
        if timed is not None:
            rows = timed[rows]
        if delta.closed is not None:
            in_time = np.flatnonzero(starts + self._window.size > delta.closed[rows])
            rows, starts = rows[in_time], starts[in_time]
        return rows, starts

    def advance(self, time: Time) -> Delta | None:
        if not self._watermarked or time.watermark <= self._watermark:
            return None
        self._watermark = time.watermark
        slots = self._groups.present(self._cut_runs())
        if not len(slots):
            return None
        output = None
        if self._final or self._keeps_result:
            output = self._output(Change(slots, self._groups.read(slots), None))
            if output is not None and self._keeps_result:
                self._closed.append(output.batch)
        self._groups.remove(slots)
        return output if self._final and self.emits else None

    def rows(self) -> pa.Table:
        batches = list(self._closed)
        if not self._final:
            slots = self._groups.live()
            output = self._output(Change(slots, self._groups.read(slots), None))
            if output is not None:
                batches.append(output.batch)
        return pa.Table.from_batches(batches, schema=self.schema)

    def snapshot(self) -> Snapshot:
        self._compact()
        closed = pa.Table.from_batches(self._closed, schema=self.schema)
        return {**self._groups.snapshot(), "closed": closed, "time": pa.table({"watermark": [self._watermark]})}

    def restore(self, snapshot: Snapshot) -> None:
        self._groups.restore(snapshot)
        self._add_run(np.arange(self._groups.slots))
        self._closed = snapshot["closed"].to_batches()
        self._watermark = snapshot["time"]["watermark"][0].as_py()

    @property
    def bytes(self) -> int:
        """Memory in use, closed panes included. Units: bytes."""
        runs = sum(starts.nbytes + slots.nbytes for starts, slots in self._runs)
        return self._groups.bytes + runs + sum(int(batch.nbytes) for batch in self._closed)

    def _add_run(self, slots: Slots) -> None:
        """Note the panes of new groups, in runs ordered by pane, each at most half as long as the one before."""
        if not len(slots) or not self._watermarked:
            return
        starts = self._groups.key_columns(slots)[0].to_numpy()
        while self._runs and len(self._runs[-1][0]) < 2 * len(starts):
            last_starts, last_slots = self._runs.pop()
            starts, slots = np.concatenate([last_starts, starts]), np.concatenate([last_slots, slots])
        order = np.argsort(starts, kind="stable")
        self._runs.append((starts[order], slots[order]))

    def _cut_runs(self) -> Slots:
        """Take out the groups whose panes have ended."""
        last_start = max(self._watermark - self._window.size, NO_WATERMARK)
        ended = []
        for place, (starts, slots) in enumerate(self._runs):
            end = int(np.searchsorted(starts, last_start, side="right"))
            ended.append(slots[:end])
            self._runs[place] = (starts[end:], slots[end:])
        self._runs = [run for run in self._runs if len(run[0])]
        return np.concatenate([np.zeros(0, np.int64), *ended])

    def _compact(self) -> None:
        self._groups.compact()
        self._runs = []
        self._add_run(np.arange(self._groups.slots))

    def _output(self, change: Change | None) -> Delta | None:
        if change is None or not len(change.slots):
            return None
        starts, *keys = self._groups.key_columns(change.slots)
        ends = starts.to_numpy() + self._window.size
        columns = [*keys, *self._groups.value_columns(change.reading)]
        columns += [self._times(starts.to_numpy()), self._times(ends), self._times(ends - _WINDOW_TIME_BEFORE_END)]
        ordered = [columns[place] for place in self._order]
        return Delta(pa.RecordBatch.from_arrays(ordered, schema=self.schema), change.weights)

    def _times(self, microseconds: npt.NDArray[np.int64]) -> pa.Array:
        return pa.array(microseconds).view(self._time_type)
