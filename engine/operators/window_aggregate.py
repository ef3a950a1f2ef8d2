"""WindowAggregate: one row per pane and group, once at its end or updated until then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...storage.memory import current
from ..aggregates import AggregateCall
from ..arrangement import Arrangement
from ..deadlines import Deadlines
from ..delta import Delta
from ..groups import Change, Groups, Partials, Rows
from ..operator import NO_WATERMARK, ResultHolder, Snapshot, Time
from ..slot_array import Slots, where
from ..unseen import Unseen
from ..windows import WINDOW_TIME_US, Given, Numbers, Times, Window

_SLICED_ROWS_MIN = 1024  # fewer rows are put into each of their panes one by one


class WindowAggregate(ResultHolder):
    """For each pane of `window` and each group of rows in it with equal keys, one row.

    With `final` it comes out once, when the watermark has reached the pane's end; else whenever it changes, the old row
    retracted. Either way a pane is dropped when the watermark has reached its end, or has passed it by `lateness`; if
    `watermarked` is False none ever comes. Rows without a time are in no pane; rows with `closed` are not in those that
    end at or before it.

    Shape: the columns of `output_schema` are keys, calls and any of window_start, window_end and window_time; of the
    latter none where `window` is Given, since the rows have them among their keys.
    State: per open pane and group as Aggregate; with `keeps_result` also all rows of closed panes, in Arrow batches.
    From: Li et al., "No pane, no gain" (SIGMOD Record 2005): rows are aggregated by slice, slices by pane.
    """

    whole = False

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
        lateness: int = 0,
    ) -> None:
        assert not (final and lateness), "what may still be corrected is not final"
        self.schema = output_schema
        self._window = window
        self._time = time
        self._keys = list(keys)
        self._append_only = append_only
        self._final = final
        self._watermarked = watermarked
        self._keeps_result = keeps_result
        self._lateness = lateness
        self._time_type = input_schema.field(time).type
        key_types = [
            pa.int64(),
            *(input_schema.field(name).type for name in keys),
        ]  # the number of the pane comes first
        self._key_schema = pa.schema([(str(place), kind) for place, kind in enumerate(key_types)])
        self._calls = list(calls)
        self._input_schema = input_schema
        self._groups = self._new_groups()
        self._unseen = Unseen({time, *keys, *self._groups.columns})
        names = [*keys, *(call.name for call in calls), "window_start", "window_end", "window_time"]
        self._order = [names.index(name) for name in output_schema.names]
        self._watermark = NO_WATERMARK  # less the lateness
        self._open = Deadlines()  # slots by the number of their pane
        self._closed = Arrangement(output_schema)

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        if not delta.rows:
            return None
        if self._final or not self.emits:
            if self._unseen.add(delta):
                self._catch_up()
            return None
        self._catch_up()
        found = self._find(delta)
        if found is None:
            return None
        change = self._groups.change(*found)
        return None if change is None else self._output(change)

    def advance(self, time: Time) -> Delta | None:
        watermark = max(time.watermark - self._lateness, NO_WATERMARK)
        if not self._watermarked or watermark <= self._watermark:
            return None
        if self._window.ended(watermark) > self._window.ended(max(self._watermark, -(1 << 62))):
            self._catch_up()
        self._watermark = watermark
        slots = self._groups.there(self._open.cut(max(self._window.ended(self._watermark), NO_WATERMARK)))
        if not len(slots):
            return None
        output = None
        if self._final or self._keeps_result:
            output = self._output(self._groups.result(slots))
            if self._keeps_result:
                self._closed.insert(output)
        self._groups.remove(slots)
        return output if self._final and self.emits else None

    def rows(self) -> pa.Table:
        batches = self._closed.rows().to_batches()
        if not self._final:
            self._catch_up()
            for slots in self._groups.pieces():
                if len(slots):
                    batches.append(current().batch(self._output(self._groups.result(slots)).batch))
        return pa.Table.from_batches(batches, schema=self.schema)

    def snapshot(self) -> Snapshot:
        self._catch_up()
        self._compact()
        closed = self._closed.rows()
        return {**self._groups.snapshot(), "closed": closed, "time": pa.table({"watermark": [self._watermark]})}

    def restore(self, snapshot: Snapshot) -> None:
        self._groups.restore(snapshot)
        self._note(np.arange(self._groups.slots))
        self._closed.restore({"rows": snapshot["closed"]})
        self._watermark = snapshot["time"]["watermark"][0].as_py()

    @property
    def kept(self) -> int | None:
        return self._groups.size

    @property
    def oldest(self) -> int | None:
        first = self._open.first
        return None if first is None else int(self._window.ends(np.array([first]))[0])

    @property
    def bytes(self) -> int:
        """Memory in use, closed panes included. Units: bytes."""
        return self._groups.bytes + self._unseen.bytes + self._open.bytes + self._closed.bytes

    def _new_groups(self) -> Groups:
        return Groups(self._key_schema, self._calls, self._input_schema, append_only=self._append_only, merges=True)

    def _catch_up(self) -> None:
        """Take in what came while nobody looked."""
        delta = self._unseen.take()
        for piece in delta.pieces() if delta is not None else ():
            found = self._find(piece)
            if found is not None:
                self._groups.update(*found)

    def _find(self, delta: Delta) -> tuple[Slots, Rows | Partials] | None:
        """What `delta` brings to which groups; None if nothing to any."""
        if self._groups.wasteful:
            self._compact()
        delta, times = self._timed(delta)
        if not delta.rows:
            return None
        if not self._window.overlaps and delta.closed is None:
            return self._find_rows(delta, None, self._window.last_numbers(times))
        sliced = self._append_only and delta.weights is None and delta.rows >= _SLICED_ROWS_MIN
        if sliced and (delta.closed is None or not self._window.overtaken(times, int(delta.closed.max())).any()):
            return self._find_partials(delta, times)
        rows, numbers = self._window.pane_numbers(times)
        if delta.closed is not None:
            in_time = where(self._window.ends(numbers) > delta.closed[rows])
            rows, numbers = rows[in_time], numbers[in_time]
        return self._find_rows(delta, rows, numbers) if len(rows) else None

    def _timed(self, delta: Delta) -> tuple[Delta, Times]:
        """The rows that have a time, and their times."""
        column = delta.batch.column(self._time)
        if column.null_count:
            delta = delta.take(where(column.is_valid().to_numpy(zero_copy_only=False)))
            column = delta.batch.column(self._time)
        return delta, column.view(pa.int64()).to_numpy()

    def _find_rows(self, delta: Delta, rows: npt.NDArray[np.int64] | None, numbers: Numbers) -> tuple[Slots, Rows]:
        """The groups of `rows` (of all, without `rows`) in the panes `numbers`, and these rows."""
        columns = {}
        for name in {*self._keys, *self._groups.columns}:
            column = delta.batch.column(name)
            columns[name] = column if rows is None else column.take(pa.array(rows))
        weights = delta.weights if rows is None or delta.weights is None else delta.weights[rows]
        return self._find_groups([pa.array(numbers), *(columns[name] for name in self._keys)]), Rows(columns, weights)

    def _find_partials(self, delta: Delta, times: Times) -> tuple[Slots, Partials]:
        """The same after the rows of each slice were aggregated, once for all panes that share it."""
        partials = self._new_groups()
        columns = {name: delta.batch.column(name) for name in {*self._keys, *partials.columns}}
        keys = [pa.array(self._window.slices(times)), *(columns[name] for name in self._keys)]
        partials.update(partials.find(keys, delta.rows), Rows(columns, None))
        starts, *keys = partials.key_columns(np.arange(partials.slots))
        sources, numbers = self._window.pane_numbers(starts.to_numpy())
        slots = self._find_groups([pa.array(numbers), *(key.take(pa.array(sources)) for key in keys)])
        return slots, Partials(partials, sources)

    def _find_groups(self, keys: list[pa.Array]) -> Slots:
        known = self._groups.slots
        slots = self._groups.find(keys, len(keys[0]))
        self._note(np.arange(known, self._groups.slots))
        return slots

    def _note(self, slots: Slots) -> None:
        """Note when the panes of new groups end."""
        if len(slots) and self._watermarked:
            self._open.add(self._groups.key_columns(slots)[0].to_numpy(), slots)

    def _compact(self) -> None:
        self._groups.compact()
        self._open.clear()
        self._note(np.arange(self._groups.slots))

    def _output(self, change: Change) -> Delta:
        numbers, *columns = self._groups.result_columns(change)
        if not isinstance(self._window, Given):
            starts, ends = self._window.starts(numbers.to_numpy()), self._window.ends(numbers.to_numpy())
            columns += [pa.array(time).view(self._time_type) for time in (starts, ends, ends - WINDOW_TIME_US)]
        ordered = [columns[place] for place in self._order]
        return Delta(pa.RecordBatch.from_arrays(ordered, schema=self.schema), change.weights)
