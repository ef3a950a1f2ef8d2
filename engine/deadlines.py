"""What is due when: slots by the number at which their time is up, such as that of the pane they belong to."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from ..storage.memory import current
from .slot_array import Slots
from .windows import Numbers


def earliest(times: Iterable[int | None]) -> int | None:
    """The first of these times, of which some may be none; None if all are."""
    return min((time for time in times if time is not None), default=None)


class Deadlines:
    """Slots in the order of their numbers, taken out from the front. One slot may be there several times.

    State: 16 bytes a slot, in sorted runs of which each is at most half as long as the one before.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Numbers, Slots]] = []

    def add(self, numbers: Numbers, slots: Slots) -> None:
        """Each of `slots` is due at its number."""
        if not len(slots):
            return
        memory = current()
        while self._runs and len(self._runs[-1][0]) < 2 * len(numbers):
            if not memory.joins(16 * (len(self._runs[-1][0]) + len(numbers))):
                break
            last_numbers, last_slots = self._runs.pop()
            numbers, slots = np.concatenate([last_numbers, numbers]), np.concatenate([last_slots, slots])
        if (numbers[1:] < numbers[:-1]).any():
            order = np.argsort(numbers, kind="stable")
            numbers, slots = numbers[order], slots[order]
        self._runs.append((memory.held(numbers), memory.held(slots)))
        memory.watch(self)

    def cut(self, last: int) -> Slots:
        """Take out the slots whose numbers are `last` or less: by number, and of one number in ascending order."""
        due: list[tuple[Numbers, Slots]] = []
        for place, (numbers, slots) in enumerate(self._runs):
            if numbers[0] <= last:
                end = int(np.searchsorted(numbers, last, side="right"))
                due.append((numbers[:end], slots[:end]))
                self._runs[place] = (numbers[end:], slots[end:])
        self._runs = [run for run in self._runs if len(run[0])]
        if not due:
            return np.zeros(0, np.int64)
        numbers, slots = (np.concatenate(parts) for parts in zip(*due, strict=True))
        ordered = len(numbers) == 1 or bool((np.diff(numbers) > 0).all())
        return slots if ordered else slots[np.lexsort((slots, numbers))]

    @property
    def first(self) -> int | None:
        """The least number; None if nothing is there."""
        return min((int(numbers[0]) for numbers, _ in self._runs), default=None)

    def move(self) -> None:
        """Lie where there is room now."""
        memory = current()
        self._runs = [(memory.moved(numbers), memory.moved(slots)) for numbers, slots in self._runs]

    def clear(self) -> None:
        """Take out all."""
        self._runs = []

    def table(self) -> pa.Table:
        """All there is, which was added at once, for `adopt`. Does not change."""
        assert len(self._runs) == 1, "several runs are no order"
        ((numbers, slots),) = self._runs
        return pa.table({"due": numbers, "slot": slots})

    def adopt(self, table: pa.Table) -> None:
        """Become what `table` was taken of; it stays where it lies."""
        self._runs = [(table["due"].to_numpy(), table["slot"].to_numpy())]

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return sum(numbers.nbytes + slots.nbytes for numbers, slots in self._runs)
