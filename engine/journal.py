"""Journals: what went into an operator since its state was written, for a checkpoint to have instead of the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from ..storage import limits
from ..storage.memory import Loan, current
from .delta import Delta, concat
from .operator import Operator, Time

_WEIGHT, _CLOSED = "+weight", "+closed"  # beside the columns of a delta


@dataclass(frozen=True)
class Entry:
    """What went in between two checkpoints: the changes of each port in their order, and the time that came last.

    An operator that takes all of it in as if it were of one epoch has the state that it had then: its state does not
    depend on how rows were cut into epochs.
    """

    deltas: Mapping[int, tuple[Delta, ...]]
    time: Time | None

    def tables(self) -> dict[str, pa.Table]:
        """As a checkpoint keeps it: a table for each port, and one for the time."""
        tables = {f"port{port}": _table(concat(deltas)) for port, deltas in self.deltas.items()}
        if self.time is not None:
            tables["time"] = pa.table({name: [value] for name, value in vars(self.time).items()})
        return tables


def enter(operator: Operator, tables: Mapping[str, pa.Table]) -> None:
    """Let the operator take in what `Entry.tables` says."""
    for port, table in sorted((name, table) for name, table in tables.items() if name != "time"):
        operator.process(delta_of(table), int(port.removeprefix("port")))
    if "time" in tables:
        operator.advance(Time(**tables["time"].to_pylist()[0]))


def delta_of(table: pa.Table) -> Delta:
    """The delta that was written as `table`."""
    batch = table.combine_chunks().to_batches(max_chunksize=None)[0]
    weights, closed = batch.column(batch.num_columns - 2), batch.column(batch.num_columns - 1)
    return Delta(
        batch.select(range(batch.num_columns - 2)),
        None if weights.null_count else weights.to_numpy(),
        None if closed.null_count else closed.to_numpy(),
    )


class Journal:
    """Keeps what goes into an operator, while that is less than its state.

    State: references to the changes since the last `cut`, of a share of the bytes that the operator's state had.
    """

    def __init__(self) -> None:
        self._left = 0  # bytes; 0: it keeps nothing, and is of no use before the next `start`
        self._loan: Loan | None = None  # of so many, where memory is limited
        self._deltas: dict[int, list[Delta]] = {}
        self._time: Time | None = None
        self.entries = 0  # cut since the start

    @property
    def whole(self) -> bool:
        """Whether it has all that went in since the start."""
        return self._left > 0

    def start(self, state_bytes: int, entered_bytes: int = 0, entries: int = 0) -> None:
        """The state is written, and took so many bytes, as did `entries` since; keep what comes if it is worth it."""
        self.stop()
        if state_bytes >= limits.JOURNAL_STATE_BYTES and entries < limits.JOURNAL_ENTRIES:
            self._left = max(0, int(state_bytes * limits.JOURNAL_SHARE) - entered_bytes)
            memory = current()
            if memory.limit is not None:
                self._left = min(self._left, memory.limit // 16)
                self._loan = memory.lend(self._left)
                self._left = 0 if self._loan is None else self._left
            self.entries = entries

    def stop(self) -> None:
        """It is not worth it any more."""
        self._left, self._loan, self._deltas, self._time, self.entries = 0, None, {}, None, 0

    def take(self, port: int, delta: Delta) -> None:
        """A change goes in."""
        if not self._left:
            return
        self._left = max(0, self._left - int(delta.batch.nbytes) - 8 * delta.rows)
        if not self._left:
            self.stop()
            return
        self._deltas.setdefault(port, []).append(Delta(delta.batch, delta.weights, delta.closed))

    def pass_time(self, time: Time) -> None:
        """An epoch ends."""
        if self._left:
            self._time = time

    def cut(self) -> Entry:
        """What went in since the last cut."""
        entry = Entry({port: tuple(deltas) for port, deltas in self._deltas.items()}, self._time)
        self._deltas, self._time = {}, None
        self.entries += 1
        if self.entries >= limits.JOURNAL_ENTRIES:
            self._left = 0
        return entry


def _table(delta: Delta) -> pa.Table:
    none = pa.nulls(delta.rows, pa.int64())
    columns = [
        *delta.batch.columns,
        none if delta.weights is None else pa.array(delta.weights),
        none if delta.closed is None else pa.array(delta.closed),
    ]
    return pa.Table.from_arrays(columns, names=[*delta.batch.schema.names, _WEIGHT, _CLOSED])
