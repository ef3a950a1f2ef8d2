"""Which rows the value of OVER is made of: frames that count rows, peers, or how far values are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.hashing import fixed_values
from .slot_array import Mask, where
from .sort_keys import SortKey
from .value_order import LEAST, MOST, float_order, measured

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """Which rows of its partition a row's value is made of.

    'peers': all from the start of the partition to the last row that is equal in the order's leading keys. The others
    have a `start` and an `end`, of which None is the partition's end on that side. 'rows' counts from the row itself:
    -2 is two before it. 'groups' counts peers: 0 is those of the row. 'range' is by the order's one key: rows whose
    value comes at most so much after the row's own, or before it where negative; 0 is the row's peers.
    """

    kind: str = "peers"
    start: int | float | None = None
    end: int | float | None = None


class Sorted:
    """Rows in the order of their partitions and, in these, of a window; and where partitions and peers begin."""

    def __init__(self, batch: pa.RecordBatch, first: Mask, peers: dict[int, Mask], order: Sequence[SortKey]) -> None:
        self.batch = batch
        self.rows = int(batch.num_rows)
        self.first = first
        self.peers = peers  # by the number of keys that make peers, where stretches of them begin
        self._order = order

    @cached_property
    def start(self) -> Places:
        """Where each row's partition begins."""
        return starts_of(self.first)

    @cached_property
    def end(self) -> Places:
        """Where it ends."""
        return ends_of(self.first)

    @cached_property
    def here(self) -> Places:
        return np.arange(self.rows)

    def frame(self, frame: Frame, peers: int) -> tuple[Places, Places]:
        """Where the frame of each row begins and ends."""
        match frame.kind:
            case "peers":
                return self.start, ends_of(self.peers[peers])
            case "rows":
                low = self.start if frame.start is None else np.clip(self.here + int(frame.start), self.start, self.end)
                high = self.end if frame.end is None else np.clip(self.here + int(frame.end) + 1, self.start, self.end)
            case "groups":
                low, high = self._groups(frame, self.peers[peers])
            case _:
                low, high = self._range(frame, self.peers[peers])
        return low, np.maximum(low, high)

    def _groups(self, frame: Frame, begins: Mask) -> tuple[Places, Places]:
        places = np.append(where(begins), self.rows)  # where each group begins, and the end of the last one
        group = np.cumsum(begins) - 1
        first, beyond = group[self.start], group[self.end - 1] + 1
        low, high = self.start, self.end
        if frame.start is not None:
            low = places[np.clip(group + int(frame.start), first, beyond)]
        if frame.end is not None:
            high = places[np.clip(group + int(frame.end) + 1, first, beyond)]
        return low, high

    def _range(self, frame: Frame, begins: Mask) -> tuple[Places, Places]:
        low = self.start if frame.start is None else starts_of(begins)
        high = self.end if frame.end is None else ends_of(begins)
        if frame.start:
            low = self._reached(frame.start, low, after=False)
        if frame.end:
            high = self._reached(frame.end, high, after=True)
        return low, high

    def _reached(self, distance: int | float, peers: Places, *, after: bool) -> Places:
        """The first row whose value is `distance` from each row's own, or the first beyond that; a NULL's own peers."""
        key = self._order[0]
        column = self.batch.column(key.column)
        values, wanted = _apart(column, -distance if key.descending else distance)
        if key.descending:
            values, wanted = ~values, ~wanted
        valid: Mask = column.is_valid().to_numpy(zero_copy_only=False)
        values = np.where(valid, values, LEAST if key.nulls_first else MOST)
        partition: Places = np.cumsum(self.first, dtype=np.int64)
        found = np.searchsorted(
            _places(partition, values), _places(partition, wanted), side="right" if after else "left"
        )
        counts = np.concatenate([[0], np.cumsum(valid)])
        nulls = self.end - self.start - (counts[self.end] - counts[self.start])  # of each row's partition
        low = self.start + nulls if key.nulls_first else self.start
        high = self.end if key.nulls_first else self.end - nulls
        return np.where(valid, np.clip(found, low, high), peers)


def _apart(column: pa.Array, distance: int | float) -> tuple[Places, Places]:
    """The values of a column, and the values that far from them, as integers in the same order."""
    if pa.types.is_floating(column.type):
        return measured(column), float_order(fixed_values(column, np.float64) + distance)
    values = measured(column)
    wanted = values + np.int64(distance)
    over = (wanted < values) if distance > 0 else (wanted > values)
    return values, np.where(over, MOST if distance > 0 else LEAST, wanted)


def _places(partition: Places, values: Places) -> npt.NDArray[Any]:
    """Partition and value as one: complex numbers, which NumPy compares part by part, each whole and below 2**53."""
    places = np.empty(len(values), np.complex128)
    places.real = (partition << 12) + (values >> 52) + 2048
    places.imag = values & ((1 << 52) - 1)
    return places


def starts_of(begins: Mask) -> Places:
    """For each row where the stretch that it is in begins, given where stretches do."""
    places = where(begins)
    return np.repeat(places, np.diff(places, append=len(begins)))


def ends_of(begins: Mask) -> Places:
    """For each row where that stretch ends."""
    places = where(begins)
    lengths = np.diff(places, append=len(begins))
    return np.repeat(places + lengths, lengths)
