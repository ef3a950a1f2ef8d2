"""Rows that wait for a time: taken out, from the front, when it has come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.memory import current
from .arrangement import consolidate
from .delta import Delta, concat
from .delta_store import kept, kept_bytes, moved
from .operator import Snapshot
from .windows import Times


@dataclass
class _Run:
    """Rows in the order of their times; those before `start` have been taken out."""

    times: Times
    delta: Delta
    start: int = 0

    @property
    def left(self) -> tuple[Times, Delta]:
        """Those that were not."""
        return self.times[self.start :], _slice(self.delta, self.start, self.delta.rows)

    def cut(self, last: int) -> tuple[Times, Delta]:
        """Take out the rows whose time is `last` or earlier."""
        start, self.start = self.start, int(np.searchsorted(self.times, last, side="right"))
        return self.times[start : self.start], _slice(self.delta, start, self.start)


class TimedRows:
    """Rows with weights, each with a time.

    State: the rows, 16 bytes more for each, in sorted runs of which each is at most half as long as the one before; of
    a run that is half taken out the rest is copied.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._runs: list[_Run] = []

    def add(self, times: Times, delta: Delta) -> None:
        """Let row i of `delta` wait for `times[i]`."""
        if not delta.rows:
            return
        memory = current()
        while self._runs and len(self._runs[-1].times) - self._runs[-1].start < 2 * len(times):
            if not memory.joins(self._runs[-1].delta.batch.nbytes + delta.batch.nbytes):
                break
            last_times, last = self._runs.pop().left
            times, delta = _together(np.concatenate([last_times, times]), concat([last, delta]))
        if not delta.rows:
            return
        if (times[1:] < times[:-1]).any():
            order = np.argsort(times, kind="stable")
            times, delta = times[order], delta.take(order)
        self._runs.append(_Run(memory.held(times), kept(delta)))
        memory.watch(self)

    def cut(self, last: int) -> tuple[Times, Delta] | None:
        """Take out the rows whose time is `last` or earlier; None if there are none."""
        found = [run.cut(last) for run in self._runs if run.times[run.start] <= last]
        if not found:
            return None
        runs, self._runs = self._runs, []
        for run in runs:
            if run.start and 2 * run.start >= len(run.times):
                times, delta = run.left
                run = _Run(current().held(times.copy()), kept(delta.take(np.arange(delta.rows))))
            if len(run.times):
                self._runs.append(run)
        return np.concatenate([times for times, _ in found]), concat([delta for _, delta in found])

    def move(self) -> None:
        """Lie where there is room now."""
        self._runs = [_Run(current().moved(run.times), moved(run.delta), run.start) for run in self._runs]

    @property
    def first(self) -> int | None:
        """The earliest time that a row waits for."""
        return min((int(run.times[run.start]) for run in self._runs), default=None)

    def snapshot(self) -> Snapshot:
        """All rows, their times and weights."""
        left = [run.left for run in self._runs]
        times = np.concatenate([np.zeros(0, np.int64), *(times for times, _ in left)])
        weights = np.concatenate([np.zeros(0, np.int64), *(delta.weight_array() for _, delta in left)])
        rows = pa.Table.from_batches([delta.batch for _, delta in left], schema=self._schema)
        memory = current()
        return {"rows": rows, "times": pa.table({"time": memory.held(times), "weight": memory.held(weights)})}

    def restore(self, snapshot: Snapshot) -> None:
        """Become what `snapshot` was taken of; only what is empty can."""
        batches = snapshot["rows"].combine_chunks().to_batches()
        if batches:
            weights: npt.NDArray[np.int64] = snapshot["times"]["weight"].to_numpy()
            delta = Delta(batches[0], None if (weights == 1).all() else weights)
            self.add(snapshot["times"]["time"].to_numpy(), delta)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return sum(int(run.times.nbytes) + kept_bytes(run.delta) for run in self._runs)


def _together(times: Times, delta: Delta) -> tuple[Times, Delta]:
    """The same, equal rows of one time once where some are retracted: what comes and goes meanwhile is forgotten."""
    if delta.weights is None:
        return times, delta
    timed = consolidate(Delta(delta.batch.append_column("+time", pa.array(times)), delta.weights))
    columns = timed.batch.num_columns - 1
    return timed.batch.column(columns).to_numpy(), Delta(timed.batch.select(list(range(columns))), timed.weights)


def _slice(delta: Delta, start: int, end: int) -> Delta:
    return Delta(delta.batch.slice(start, end - start), None if delta.weights is None else delta.weights[start:end])
