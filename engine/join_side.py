"""One side of a join: its rows by the slot of their key, how many partners each has, and how long it is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .deadlines import Deadlines
from .delta import Delta
from .idle import Idle
from .key_index import worth_storing
from .operator import Snapshot
from .row_lists import RowIds
from .slot_array import SlotArray, distinct, where
from .slotted_rows import SlottedRows
from .timed_rows import TimedRows
from .value_order import OneSideInOrder, measured
from .windows import Times

_ROWS_TRIED = 256


@dataclass(frozen=True)
class JoinInput:
    """One input: its rows, which columns must be equal to the other's, and which come out.

    `null_safe` says per key whether NULL equals NULL; a row with a NULL in another key has no partner.
    """

    schema: pa.Schema
    keys: tuple[str, ...]
    null_safe: tuple[bool, ...]
    output: tuple[str, ...]


class JoinSide:
    """What one input has brought, and whether its rows come out on their own.

    With a `time` rows are needed until the watermark is `needed` after it (None: always), and a row without one has no
    partner.
    State: the rows, as SlottedRows; 8 bytes a row for the count of its partners, where that is asked for; 16 bytes a
    row for the order in which they expire. Rows that wait, as TimedRows. Rows in the order of a column, as ValueOrder.
    """

    def __init__(
        self,
        input: JoinInput,
        *,
        alone: bool,
        matched: bool,
        counts: bool,
        time: str | None = None,
        needed: int | None = None,
        in_order: OneSideInOrder | None = None,
        ttl_us: int | None = None,
    ) -> None:
        self.input = input
        self.alone = alone
        self.matched = matched
        self.time = time
        self.rows = SlottedRows(input.schema)
        self.in_order = in_order
        self.matches = SlotArray(np.int64) if counts and (alone or matched) else None  # by row: its partners
        self._needed = needed
        self._due = Deadlines()
        self.idle = None if ttl_us is None else Idle(ttl_us)
        self._waiting = TimedRows(input.schema)

    def split(self, delta: Delta) -> tuple[Delta, Delta | None]:
        """The rows of `delta` that can have partners, and those that cannot."""
        null: npt.NDArray[np.bool_] | None = None
        keys = list(zip(self.input.keys, self.input.null_safe, strict=True))
        for name, safe in keys if self.time is None else [*keys, (self.time, False)]:
            column = delta.batch.column(name)
            if column.null_count and not safe:
                mask = column.is_null().to_numpy(zero_copy_only=False)
                null = mask if null is None else null | mask
        if null is None:
            return delta, None
        return delta.take(where(~null)), delta.take(where(null))

    def times(self, batch: pa.RecordBatch) -> Times:
        """The times of rows that have one. Units: microseconds since 1970-01-01 UTC."""
        times: Times = batch.column(self.time).view(pa.int64()).to_numpy()
        return times

    def times_of(self, rows: RowIds) -> Times:
        """The times of rows that are there, or were a moment ago. Units: microseconds since 1970-01-01 UTC."""
        assert self.time is not None
        return self.times(self.rows.take(rows, [self.time]))

    def note(self, rows: RowIds) -> None:
        """Note until when `rows`, which are new, are needed, and their place in the order."""
        if self.in_order is not None and len(rows):
            self.in_order.add(self.rows.columns(rows, self.in_order.columns), rows)
        if self._needed is not None and len(rows):
            self._due.add(self.times_of(rows) + self._needed, rows)
        if self.idle is not None:
            self.idle.touch(rows)

    def expired(self, watermark: int) -> RowIds:
        """The rows that are no longer needed at `watermark`, each once."""
        if self._needed is None:
            return np.zeros(0, np.int64)
        due = self._due.cut(watermark)
        return self.rows.present(distinct(due, self.rows.end)) if len(due) else due

    def forget_idle(self, clock: int) -> None:
        """Forget rows that came too long before `clock`."""
        if self.idle is not None and len(expired := self.idle.expire(clock)):
            self.rows.remove(self.rows.present(expired))

    def wait(self, lonely: Delta) -> None:
        """Keep rows that can have no partner until partners could not come any more."""
        assert self.time is not None
        assert self._needed is not None
        self._waiting.add(self.times(lonely.batch) + self._needed, lonely)

    def waited(self, watermark: int) -> Delta | None:
        """Those that have waited long enough."""
        found = self._waiting.cut(watermark)
        return None if found is None else found[1]

    def moved(self, old: RowIds | None) -> None:
        """Take note that row `old[i]` is now row i."""
        if old is None:
            return
        if self.matches is not None:
            self.matches.reserve(int(old.max(initial=-1)) + 1)
            self.matches.keep(old)
        if self.idle is not None:
            self.idle.keep(old)
        self._note_all()

    @property
    def oldest(self) -> int | None:
        """The time of the row that is due to go next, or one before it: its own, or when it came if it goes by that."""
        if self.idle is not None:
            return self.idle.oldest
        first = self._due.first
        return None if first is None or self._needed is None else first - self._needed

    def snapshot(self) -> Snapshot:
        """The rows, and how many partners each has. Renumbers the rows, if they are not numbered from 0 on."""
        tables = dict(self.rows.snapshot())
        tables |= {f"waiting/{name}": table for name, table in self._waiting.snapshot().items()}
        if self.idle is not None:
            tables["idle"] = self.idle.times(np.arange(self.rows.end))
        if self.matches is not None:
            tables["matches"] = pa.table({"matches": self.matches.copied(self.rows.end)})
        if worth_storing(self.rows.end):
            self._note_all()
            if self._needed is not None:
                tables["due"] = self._due.table()
            if self.in_order is not None:
                tables["order"] = self.in_order.order.table()
        return tables

    def restore(self, snapshot: Snapshot) -> None:
        """Become what `snapshot` was taken of, with the same ids."""
        self.rows.restore(snapshot)
        waiting = {n.removeprefix("waiting/"): t for n, t in snapshot.items() if n.startswith("waiting/")}
        self._waiting.restore(waiting)
        if self.matches is not None:
            self.matches.load(snapshot["matches"]["matches"].to_numpy())
        if self.idle is not None:
            self.idle.load(np.arange(self.rows.end), snapshot["idle"])
        if not self._adopted(snapshot.get("due"), snapshot.get("order")):
            self._note_all()

    def _adopted(self, due: pa.Table | None, order: pa.Table | None) -> bool:
        """Whether the rows go on in these orders; not if there are none that go with the rows."""
        if self._needed is not None:
            if due is None or due.num_rows != self.rows.end:
                return False
            some = due.take(np.linspace(0, self.rows.end - 1, _ROWS_TRIED).astype(np.int64))
            if (self.times_of(some["slot"].to_numpy()) + self._needed != some["due"].to_numpy()).any():
                return False
        if self.in_order is not None:
            if order is None or order.num_rows > self.rows.end:
                return False
            some = order.take(np.linspace(0, max(order.num_rows - 1, 0), min(_ROWS_TRIED, order.num_rows)).astype(int))
            values = self.rows.columns(some["number"].to_numpy(), self.in_order.columns[:1])[0]
            if values.null_count or (measured(values) != some["value"].to_numpy()).any():
                return False
        if due is not None:
            self._due.adopt(due)
        if order is not None and self.in_order is not None:
            self.in_order.order.adopt(order)
        return True

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return (
            self.rows.bytes
            + self._due.bytes
            + self._waiting.bytes
            + (0 if self.matches is None else self.matches.bytes)
            + (0 if self.idle is None else self.idle.bytes)
            + (0 if self.in_order is None else self.in_order.order.bytes)
        )

    def _note_all(self) -> None:
        self._due.clear()
        if self.in_order is not None:
            self.in_order.order.clear()
        rows, idle = self.rows.rows(), self.idle
        self.idle = None  # which has been told already
        self.note(rows)
        self.idle = idle
