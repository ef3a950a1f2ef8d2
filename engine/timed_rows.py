"""Rows that wait for a time: taken out, from the front, when it has come."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.memory import current
from .arrangement import consolidate
from .delta import Delta, concat
from .operator import Snapshot
from .windows import Times


class TimedRows:
    """Rows with weights, each with a time.

    State: the rows, 16 bytes more for each, in sorted runs of which each is at most half as long as the one before.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._runs: list[tuple[Times, Delta]] = []

    def add(self, times: Times, delta: Delta) -> None:
        """Let row i of `delta` wait for `times[i]`."""
        if not delta.rows:
            return
        memory = current()
        while self._runs and len(self._runs[-1][0]) < 2 * len(times):
            if not memory.joins(self._runs[-1][1].batch.nbytes + delta.batch.nbytes):
                break
            last_times, last = self._runs.pop()
            times, delta = _together(np.concatenate([last_times, times]), concat([last, delta]))
        if not delta.rows:
            return
        if (times[1:] < times[:-1]).any():
            order = np.argsort(times, kind="stable")
            times, delta = times[order], delta.take(order)
        self._runs.append((memory.held(times), Delta(memory.batch(delta.batch), delta.weights)))

    def cut(self, last: int) -> tuple[Times, Delta] | None:
        """Take out the rows whose time is `last` or earlier; None if there are none."""
        times: list[Times] = []
        deltas: list[Delta] = []
        for place, (waiting, delta) in enumerate(self._runs):
            if waiting[0] <= last:
                end = int(np.searchsorted(waiting, last, side="right"))
                times.append(waiting[:end])
                deltas.append(_slice(delta, 0, end))
                self._runs[place] = (waiting[end:], _slice(delta, end, delta.rows))
        if not deltas:
            return None
        self._runs = [run for run in self._runs if len(run[0])]
        return np.concatenate(times), concat(deltas)

    @property
    def first(self) -> int | None:
        """The earliest time that a row waits for."""
        return min((int(times[0]) for times, _ in self._runs), default=None)

    def snapshot(self) -> Snapshot:
        """All rows, their times and weights."""
        times = np.concatenate([np.zeros(0, np.int64), *(times for times, _ in self._runs)])
        weights = np.concatenate([np.zeros(0, np.int64), *(delta.weight_array() for _, delta in self._runs)])
        rows = pa.Table.from_batches([delta.batch for _, delta in self._runs], schema=self._schema)
        return {"rows": rows, "times": pa.table({"time": times, "weight": weights})}

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
        return sum(int(times.nbytes + delta.batch.nbytes) + 8 * delta.rows for times, delta in self._runs)


def _together(times: Times, delta: Delta) -> tuple[Times, Delta]:
    """The same, equal rows of one time once where some are retracted: what comes and goes meanwhile is forgotten."""
    if delta.weights is None:
        return times, delta
    timed = consolidate(Delta(delta.batch.append_column("+time", pa.array(times)), delta.weights))
    columns = timed.batch.num_columns - 1
    return timed.batch.column(columns).to_numpy(), Delta(timed.batch.select(list(range(columns))), timed.weights)


def _slice(delta: Delta, start: int, end: int) -> Delta:
    return Delta(delta.batch.slice(start, end - start), None if delta.weights is None else delta.weights[start:end])
