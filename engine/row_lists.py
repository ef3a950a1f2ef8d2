"""Row ids by slot: a list per slot, appended to and read for whole arrays of slots at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .operator import Snapshot
from .slot_array import Mask, SlotArray, Slots

RowIds = npt.NDArray[np.int64]

_WASTED_MIN = 1024
_BY_SLOT = ("start", "count", "room")  # columns of a snapshot


class RowLists:
    """Per slot a list of row ids, in the order they were added.

    A list lies in one piece of a common array; one that outgrows its piece moves to the end, into one twice as large.
    State: 12 bytes a slot and 4 to 12 bytes a row id.
    Holds: row ids are below 2**31.
    From: compressed sparse rows with slack, as of dynamic graphs (Sha et al., "Accelerating Dynamic Graph Analytics
    on GPUs", VLDB 2017), without the order among lists.
    """

    def __init__(self) -> None:
        self._starts = SlotArray(np.int32)
        self._counts = SlotArray(np.int32)
        self._rooms = SlotArray(np.int32)
        self._ids = SlotArray(np.int32)
        self._end = 0  # of the common array in use
        self._room = 0  # of all pieces together; what is more than that is left behind by lists that moved

    def reserve(self, slots: int) -> None:
        """Make room for slots below `slots`; their lists are empty."""
        for array in self._by_slot:
            array.reserve(slots)

    def counts(self, slots: Slots) -> npt.NDArray[np.int32]:
        """How long the list of each of `slots` is."""
        counts: npt.NDArray[np.int32] = self._counts.values[slots]
        return counts

    def add(self, slots: Slots, rows: RowIds) -> None:
        """Append `rows[i]` to the list of `slots[i]`, for each i in turn."""
        if not len(slots):
            return
        order = None
        if (slots[1:] < slots[:-1]).any():
            packed = np.sort(slots << 32 | np.arange(len(slots)))  # a stable sort at the speed of a plain one
            slots, order = packed >> 32, packed & 0xFFFFFFFF
        first = np.empty(len(slots), np.bool_)
        first[0] = True
        np.not_equal(slots[1:], slots[:-1], out=first[1:])
        places = first.nonzero()[0]
        touched = slots[places]
        added = np.diff(places, append=len(slots))
        counts = self._counts.values[touched].astype(np.int64)
        self._widen(touched, counts, counts + added)
        targets = expanded(self._starts.values[touched] + counts, added)
        self._ids[targets] = rows if order is None else rows[order]
        self._counts[touched] = counts + added

    def find(self, slots: Slots) -> tuple[RowIds, RowIds]:
        """Every pair of a place in `slots` and a row id in that slot's list; below slot 0 there are none."""
        counts = self._counts.values[slots].astype(np.int64)
        if len(slots) and slots.min() < 0:
            counts[slots < 0] = 0
        queries = np.repeat(np.arange(len(slots)), counts)
        return queries, self._ids.values[expanded(self._starts.values[slots], counts)].astype(np.int64)

    def keep(self, slots: Slots, kept: Mask) -> None:
        """Shorten the lists of `slots`, which are named once each: of what `find(slots)` says, leave what is `kept`."""
        queries, rows = self.find(slots)
        counts = np.bincount(queries[kept], minlength=len(slots))
        self._ids[expanded(self._starts.values[slots], counts)] = rows[kept]
        self._counts[slots] = counts

    def snapshot(self, slots: int) -> Snapshot:
        """The lists of the slots below `slots`, which are all that have one."""
        lists = {name: array.copied(slots) for name, array in zip(_BY_SLOT, self._by_slot, strict=True)}
        known = {"room": str(self._room)}
        return {"lists": pa.table(lists), "ids": pa.table({"id": self._ids.copied(self._end)}, metadata=known)}

    def restore(self, snapshot: Snapshot) -> None:
        """Become the lists that `snapshot` was taken of."""
        lists, ids = snapshot["lists"], snapshot["ids"]
        for name, array in zip(_BY_SLOT, self._by_slot, strict=True):
            array.load(lists[name].to_numpy())
        self._ids.load(ids["id"].to_numpy())
        self._end, self._room = ids.num_rows, int(ids.schema.metadata[b"room"])

    def fits(self, owners: npt.NDArray[np.int32], some: RowIds) -> bool:
        """Whether it has as many ids as `owners`, a slot for each, and the lists of the owners of `some` are theirs."""
        if int(self._counts.values.sum(dtype=np.int64)) != len(owners):
            return False
        slots = owners[some]
        inside = slots < len(self._starts.values)
        firsts = self._starts.values[slots[inside]]
        if not inside.all() or (firsts >= self._end).any():
            return False
        ids = self._ids.values[firsts]
        return bool((ids < len(owners)).all() and (owners[ids] == slots).all())

    @property
    def _by_slot(self) -> tuple[SlotArray, SlotArray, SlotArray]:
        return self._starts, self._counts, self._rooms

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._starts.bytes + self._counts.bytes + self._rooms.bytes + self._ids.bytes

    def _widen(self, slots: Slots, counts: RowIds, needed: RowIds) -> None:
        """Give each of `slots`, whose lists are `counts` long, room for `needed` ids."""
        rooms = self._rooms.values[slots]
        full = (needed > rooms).nonzero()[0]
        if not len(full):
            return
        movers, lengths, old = slots[full], counts[full], self._starts.values[slots[full]]
        room = np.where(rooms[full] == 0, needed[full], np.maximum(needed[full], 2 * rooms[full]))
        if self._end + int(room.sum()) > 2 * self._room + _WASTED_MIN:
            self._pack()
            old = self._starts.values[movers]
        new = self._end + np.cumsum(room) - room
        self._end += int(room.sum())
        self._room += int((room - rooms[full]).sum())
        assert self._end < 1 << 31, "more rows than a list of 32-bit ids can hold"
        self._ids.reserve(self._end)
        if lengths.any():
            self._ids[expanded(new, lengths)] = self._ids.values[expanded(old, lengths)]
        self._starts[movers] = new
        self._rooms[movers] = room

    def _pack(self) -> None:
        """Close the gaps that moved lists left; each keeps its room."""
        slots = self._rooms.values.nonzero()[0]
        rooms = self._rooms.values[slots].astype(np.int64)
        counts = self._counts.values[slots].astype(np.int64)
        new = np.cumsum(rooms) - rooms
        ids = SlotArray(np.int32)
        ids.reserve(self._room)
        ids[expanded(new, counts)] = self._ids.values[expanded(self._starts.values[slots], counts)]
        self._starts[slots] = new
        self._ids, self._end = ids, self._room


def expanded(starts: npt.NDArray[np.signedinteger], counts: npt.NDArray[np.signedinteger]) -> RowIds:
    """starts[0], starts[0] + 1, ... `counts[0]` of them, then the same for 1, 2, ..."""
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if total == len(counts) and (counts == 1).all():
        return starts.astype(np.int64)
    numbers = np.repeat(starts - ends + counts, counts)
    numbers += np.arange(total)
    return numbers
