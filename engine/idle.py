"""Idle: which slots, of groups or rows, nothing has touched for a time, by the clock of the epochs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from .deadlines import Deadlines
from .slot_array import SlotArray, Slots, distinct

_NEVER = int(np.iinfo(np.int64).min)


class Idle:
    """When each slot was touched last; after `ttl_us` it is told once as expired, and is then as one never touched.

    What is touched in an epoch counts from the epoch's clock on. What is due by then has expired before it is touched.
    State: 24 bytes a slot.
    From: the idle state retention of Flink, `table.exec.state.ttl`; one entry a slot waits, and is put back if there
    was a touch meanwhile.
    """

    def __init__(self, ttl_us: int) -> None:
        self._ttl_us = ttl_us
        self._last = SlotArray(np.int64, start=_NEVER)  # by slot
        self._due = Deadlines()  # slots by the clock at which they were looked at last, each once
        self._touched: list[Slots] = []  # since the last `stamp`

    def touch(self, slots: Slots) -> None:
        """Something has happened to these slots in this epoch."""
        if len(slots):
            self._touched.append(slots)

    def stamp(self, clock: int) -> None:
        """At the end of an epoch: what was touched in it was touched at `clock`."""
        if not self._touched:
            return
        together = np.concatenate(self._touched)
        end = int(together.max()) + 1
        touched = distinct(together, end)
        self._touched = []
        self._last.reserve(end)
        new = touched[self._last.values[touched] == _NEVER]
        self._last[touched] = clock
        self._due.add(np.full(len(new), clock), new)

    def expire(self, clock: int) -> Slots:
        """At the start of an epoch: the slots that nothing has touched since `ttl_us` before `clock`, each once."""
        looked = self._due.cut(clock - self._ttl_us)
        if not len(looked):
            return looked
        last = self._last.values[looked]
        alive = last > clock - self._ttl_us
        self._due.add(last[alive], looked[alive])
        expired = looked[~alive]
        self._last[expired] = _NEVER
        return expired

    def keep(self, slots: Slots | None) -> None:
        """Slot `slots[i]` is slot i from now on; all others are gone. None: nothing was renumbered."""
        if slots is None:
            return
        end = int(slots.max(initial=-1)) + 1
        if self._touched:
            together = np.concatenate(self._touched)
            numbers = np.full(max(end, int(together.max()) + 1), -1)
            numbers[slots] = np.arange(len(slots))
            self._touched = [numbers[together][numbers[together] >= 0]]
        self._last.reserve(end)
        self._last.keep(slots)
        self._queue(len(slots))

    def _queue(self, size: int) -> None:
        self._due = Deadlines()
        known = np.flatnonzero(self._last.values[:size] != _NEVER)
        self._due.add(self._last.values[known], known)

    @property
    def wake(self) -> int | None:
        """When, on the epochs' clock, a slot may be due."""
        first = self._due.first
        return None if first is None else first + self._ttl_us

    @property
    def oldest(self) -> int | None:
        """The clock at which the slot was touched last that is due next, or a moment before; None if there is none."""
        return self._due.first

    def times(self, slots: Slots) -> pa.Table:
        """When these slots were touched last, in their order, for a snapshot; between two epochs."""
        self._last.reserve(int(slots.max(initial=-1)) + 1)
        return pa.table({"last": self._last.values[slots]})

    def load(self, slots: Slots, times: pa.Table) -> None:
        """Become what `times` was taken of; slot by slot, some perhaps repeatedly. Only what is empty can."""
        size = int(slots.max(initial=-1)) + 1
        self._last.reserve(size)
        self._last[slots] = times["last"].to_numpy()
        self._queue(size)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._last.bytes + self._due.bytes
