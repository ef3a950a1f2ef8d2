"""Journals: what went into an operator since its state was written, for a checkpoint to have instead of the state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..storage import limits
from ..storage.memory import Loan, current
from .delta import Delta, concat
from .operator import Operator, Time

_WEIGHT, _CLOSED = "+weight", "+closed"  # beside the columns of a delta
_TIME = "time"  # the table of when the epochs were

Change = tuple[int, Delta]  # a port, and what went in there


@dataclass(frozen=True)
class Turn:
    """What went into an operator at once: the changes of the ports in their order, and the time that came then."""

    changes: Sequence[Change]
    time: Time | None


@dataclass(frozen=True)
class Entry:
    """What went in between two checkpoints, in turns.

    An operator whose state does not depend on how rows were cut into epochs takes all of it in one turn. One that is
    `dated` has a turn for each epoch.
    """

    turns: Sequence[Turn]

    def tables(self) -> dict[str, pa.Table]:
        """As a checkpoint keeps it: a table for each port, and one for the times, with the ends of their turns."""
        times = [turn.time for turn in self.turns if turn.time is not None]
        columns: dict[str, list[int]] = {name: [vars(time)[name] for time in times] for name in Time.__annotations__}
        tables = {}
        for port in sorted({port for turn in self.turns for port, _ in turn.changes}):
            changes = [[delta for to, delta in turn.changes if to == port] for turn in self.turns]
            tables[f"port{port}"] = _table(concat([delta for of_turn in changes for delta in of_turn]))
            if len(self.turns) > 1:
                columns[f"port{port}"] = np.cumsum([sum(d.rows for d in of_turn) for of_turn in changes]).tolist()
        if times:
            tables[_TIME] = pa.table(columns)
        return tables


def enter(operator: Operator, tables: Mapping[str, pa.Table]) -> None:
    """Let the operator take in what `Entry.tables` says."""
    for turn in _turns(tables):
        if turn.time is not None and operator.wake is not None and operator.wake <= turn.time.clock:
            operator.expire(turn.time)
        for port, delta in turn.changes:
            operator.process(delta, port)
        if turn.time is not None:
            operator.advance(turn.time)


def _turns(tables: Mapping[str, pa.Table]) -> Iterator[Turn]:
    ports = [(int(name.removeprefix("port")), delta_of(tables[name])) for name in sorted(tables) if name != _TIME]
    times = tables[_TIME].to_pylist() if _TIME in tables else []
    if len(times) < 2:
        yield Turn(ports, Time(**times[0]) if times else None)
        return
    starts = dict.fromkeys((port for port, _ in ports), 0)
    for row in times:
        changes = []
        for port, delta in ports:
            start, end = starts[port], row.pop(f"port{port}")
            starts[port] = end
            if start < end:
                changes.append((port, _part(delta, start, end)))
        yield Turn(changes, Time(**row))


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
        self._dated = False
        self._turns: list[Turn] = []  # where it is dated
        self._epochs = 0  # that it may still take then
        self._changes: list[Change] = []  # of no turn so far
        self._time: Time | None = None
        self.entries = 0  # cut since the start

    @property
    def whole(self) -> bool:
        """Whether it has all that went in since the start."""
        return self._left > 0

    def start(
        self, state_bytes: int, entered_bytes: int = 0, entries: int = 0, *, dated: bool = False, epochs: int = 0
    ) -> None:
        """The state is written, and took so many bytes, as did `entries` since; keep what comes if it is worth it.

        With `dated` it is kept by epochs, of which those entries have so many.
        """
        self.stop()
        self._dated, self._epochs = dated, limits.JOURNAL_EPOCHS - epochs
        if state_bytes >= limits.JOURNAL_STATE_BYTES and entries < limits.JOURNAL_ENTRIES:
            most = min(int(state_bytes * limits.JOURNAL_SHARE), limits.JOURNAL_BYTES_MAX)
            self._left = max(0, most - entered_bytes)
            memory = current()
            if memory.limit is not None:
                self._left = min(self._left, memory.limit // 16)
                self._loan = memory.lend(self._left)
                self._left = 0 if self._loan is None else self._left
            self.entries = entries

    def stop(self) -> None:
        """It is not worth it any more."""
        self._left, self._loan, self._time, self.entries = 0, None, None, 0
        self._turns, self._changes = [], []

    def take(self, port: int, delta: Delta) -> None:
        """A change goes in."""
        if not self._left:
            return
        self._left = max(0, self._left - int(delta.batch.nbytes) - 8 * delta.rows)
        if not self._left:
            self.stop()
            return
        self._changes.append((port, Delta(delta.batch, delta.weights, delta.closed)))

    def pass_time(self, time: Time) -> None:
        """An epoch ends."""
        if not self._left:
            return
        self._time = time
        if self._dated:
            self._turns.append(Turn(self._changes, time))
            self._changes = []
            self._epochs -= 1
            if self._epochs <= 0:
                self.stop()

    def cut(self) -> Entry:
        """What went in since the last cut."""
        entry = Entry(self._turns if self._dated else [Turn(self._changes, self._time)])
        self._turns, self._changes, self._time = [], [], None
        self.entries += 1
        if self.entries >= limits.JOURNAL_ENTRIES:
            self._left = 0
        return entry


def _part(delta: Delta, start: int, end: int) -> Delta:
    weights = None if delta.weights is None else delta.weights[start:end]
    closed = None if delta.closed is None else delta.closed[start:end]
    return Delta(delta.batch.slice(start, end - start), weights, closed)


def _table(delta: Delta) -> pa.Table:
    none = pa.nulls(delta.rows, pa.int64())
    columns = [
        *delta.batch.columns,
        none if delta.weights is None else pa.array(delta.weights),
        none if delta.closed is None else pa.array(delta.closed),
    ]
    return pa.Table.from_arrays(columns, names=[*delta.batch.schema.names, _WEIGHT, _CLOSED])
