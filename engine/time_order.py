"""Numbers in the order of their slot and time, in which the neighbours of any time are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.memory import current
from .row_lists import RowIds, expanded
from .slot_array import Mask, Slots
from .windows import Times

_LOW_BITS = 52  # of a time, in the imaginary part; the others are below the slot, in the real part
_LOW = (1 << _LOW_BITS) - 1
_HIGH_BITS = 64 - _LOW_BITS
_HALF = 1 << (_HIGH_BITS - 1)
_STEPS = 4096  # from one number to the next, before it is asked of all which are there; one more for each _PER_STEP
_PER_STEP = 16
_PASS = 256  # steps that cost as much as it does to begin with them

_Places = npt.NDArray[np.complex128]


class TimeOrder:
    """Numbers, of rows or the like, each in a slot at a time.

    A number is looked for among those that are `there`, an array by number in which the others are negative.
    State: 24 bytes a number, in sorted runs of which each is at most half as long as the one before.
    Holds: slots are below 2**31. NumPy compares complex numbers by their real parts, then the imaginary ones, and so a
    slot and a time are one value that it can sort and search; both parts are whole and below 2**53, so exact.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[_Places, RowIds]] = []

    def add(self, slots: Slots, times: Times, numbers: RowIds) -> None:
        """Put `numbers[i]` into `slots[i]` at `times[i]`."""
        if not len(numbers):
            return
        places = _places(slots, times)
        memory = current()
        while self._runs and len(self._runs[-1][0]) < 2 * len(places):
            if not memory.joins(24 * (len(self._runs[-1][0]) + len(places))):
                break
            last_places, last_numbers = self._runs.pop()
            places, numbers = np.concatenate([last_places, places]), np.concatenate([last_numbers, numbers])
        order = np.argsort(places, kind="stable")
        self._runs.append((memory.held(places[order]), memory.held(numbers[order])))
        memory.watch(self)

    def last(self, slots: Slots, times: Times, there: npt.NDArray[Any]) -> RowIds:
        """Per slot and time the number that is there at that time or else latest before it; -1 for none."""
        return self._nearest(slots, times, there, step=-1)[0]

    def next_times(self, slots: Slots, times: Times, there: npt.NDArray[Any]) -> tuple[Times, Mask]:
        """Per slot and time the earliest time after it at which a number is there, and whether there is one."""
        found, after = self._nearest(slots, times, there, step=1)
        return after, found >= 0

    def between(self, slots: Slots, starts: Times, ends: Times, endless: Mask) -> RowIds:
        """All numbers in these slots from `starts` on and before `ends`; where `endless`, to the slot's end."""
        first, last = (
            _places(slots, starts),
            np.where(endless, _places(slots + 1, np.full(len(ends), _LEAST)), _places(slots, ends)),
        )
        found = [np.zeros(0, np.int64)]
        for places, numbers in self._runs:
            start, end = np.searchsorted(places, first), np.searchsorted(places, last)
            found.append(numbers[expanded(start, np.maximum(end - start, 0))])
        return np.concatenate(found)

    def move(self) -> None:
        """Lie where there is room now."""
        memory = current()
        self._runs = [(memory.moved(places), memory.moved(numbers)) for places, numbers in self._runs]

    def clear(self) -> None:
        """Take out all."""
        self._runs = []

    def table(self) -> pa.Table:
        """All there is, which was added at once, for `adopt`: places as pairs of doubles. Does not change."""
        assert len(self._runs) == 1, "several runs are no order"
        ((places, numbers),) = self._runs
        pairs = pa.FixedSizeListArray.from_arrays(pa.array(places.view(np.float64)), 2)
        return pa.table({"place": pairs, "number": numbers})

    def adopt(self, table: pa.Table) -> None:
        """Become what `table` was taken of; it stays where it lies."""
        pairs = table["place"].combine_chunks()
        self._runs = [(pairs.flatten().to_numpy().view(np.complex128), table["number"].to_numpy())]

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return sum(places.nbytes + numbers.nbytes for places, numbers in self._runs)

    def _nearest(self, slots: Slots, times: Times, there: npt.NDArray[Any], *, step: int) -> tuple[RowIds, Times]:
        """From a time back (step -1), or from just after it on (1): the first number that is there, and its time."""
        best, at = np.full(len(slots), -1, np.int64), np.zeros(len(slots), np.int64)
        wanted = _places(slots, times)
        real = slots.astype(np.int64)
        for places, numbers in self._runs:
            position = np.searchsorted(places, wanted, side="right") - (step < 0)
            looking = np.arange(len(slots))
            steps = _STEPS + len(places) // _PER_STEP
            while True:
                inside = (position[looking] >= 0) & (position[looking] < len(places))
                looking = looking[inside]
                inside = _slots(places[position[looking]]) == real[looking]
                looking = looking[inside]
                hit = there[numbers[position[looking]]] >= 0
                found = looking[hit]
                moment = _times(places[position[found]])
                nearer = (best[found] < 0) | ((moment > at[found]) if step < 0 else (moment < at[found]))
                best[found[nearer]] = numbers[position[found[nearer]]]
                at[found[nearer]] = moment[nearer]
                looking = looking[~hit]
                if not len(looking):
                    break
                position[looking] += step
                steps -= _PASS + len(looking)
                if steps < 0:
                    position[looking] = _next_there(position[looking], numbers, there, step)
        return best, at


def _next_there(positions: RowIds, numbers: RowIds, there: npt.NDArray[Any], step: int) -> RowIds:
    """The first position from each of these on, or back, whose number is there; -1 or one too many for none."""
    found = np.concatenate([[-1], (there[numbers] >= 0).nonzero()[0], [len(numbers)]])
    if step < 0:
        return found[np.searchsorted(found, positions, side="right") - 1]
    return found[np.searchsorted(found, positions)]


_LEAST = int(np.iinfo(np.int64).min)


def _places(slots: Slots, times: Times) -> _Places:
    places = np.empty(len(slots), np.complex128)
    places.real = (slots << _HIGH_BITS) + (times >> _LOW_BITS) + _HALF
    places.imag = times & _LOW
    return places


def _slots(places: _Places) -> Slots:
    slots: Slots = places.real.astype(np.int64) >> _HIGH_BITS
    return slots


def _times(places: _Places) -> Times:
    high = (places.real.astype(np.int64) & ((1 << _HIGH_BITS) - 1)) - _HALF
    times: Times = (high << _LOW_BITS) | places.imag.astype(np.int64)
    return times
