"""Which versions of keys go after a time: those that a later one has replaced, and all of keys that nothing came to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from .deadlines import earliest
from .idle import Idle
from .operator import Snapshot
from .slot_array import Mask, SlotArray, Slots
from .versions import VersionChange, Versions
from .windows import Times

_LEAST = int(np.iinfo(np.int64).min)


class VersionExpiry:
    """Versions go when a later one of their key came `ttl_us` ago; none comes any more that is before that one.

    With `idle_us` all versions of a key go when no row came to it for so long, and it begins anew. All by the clock of
    the epochs. The caller refuses what `comes` says does not come, and says what it inserted and which keys had rows.
    State: 24 bytes a version, and 32 a key.
    """

    def __init__(self, versions: Versions, ttl_us: int, idle_us: int | None) -> None:
        self._versions = versions
        self._came = Idle(ttl_us)  # versions, since they came; those that have gone too, until their time
        self._keys = None if idle_us is None else Idle(idle_us)
        self._starts = SlotArray(np.int64, start=_LEAST)  # by key: the time of its first version that stays

    def comes(self, slots: Slots, times: Times) -> Mask:
        """Whether a version at each of these times would stay; the keys `slots` have a row now."""
        self.touch(slots)
        self._starts.reserve(self._versions.slots_end)
        mask: Mask = times >= self._starts.values[slots]
        return mask

    def touch(self, slots: Slots) -> None:
        """A row came to these keys."""
        if self._keys is not None:
            self._keys.touch(slots)

    def inserted(self, change: VersionChange) -> None:
        """This changed the versions in this epoch."""
        self._came.touch(change.versions[change.before < 0])

    def stamp(self, clock: int) -> None:
        """At the end of an epoch: all that was said in it was at `clock`."""
        self._came.stamp(clock)
        if self._keys is not None:
            self._keys.stamp(clock)

    def expire(self, clock: int) -> None:
        """At the start of an epoch: let go what is due."""
        versions = self._versions
        self._starts.reserve(versions.slots_end)
        came = versions.present(self._came.expire(clock))
        slots, times = versions.places(came)
        order = np.lexsort((times, slots))
        slots, times = slots[order], times[order]
        last = np.append(slots[1:] != slots[:-1], True)[: len(slots)]
        slots, times = slots[last], times[last]
        before = self._starts.values[slots]
        after = np.maximum(before, times)
        self._starts[slots] = after
        versions.remove(versions.between(slots, before, after))
        if self._keys is not None and len(idle := self._keys.expire(clock)):
            versions.remove(versions.of_keys(idle))
            self._starts[idle] = _LEAST

    def moved(self, versions: Slots, keys: Slots) -> None:
        """Version `versions[i]` is version i from now on, and key `keys[i]` key i; all others are gone."""
        self._came.keep(versions)
        if self._keys is not None:
            self._keys.keep(keys)
        self._starts.reserve(int(keys.max(initial=-1)) + 1)
        self._starts.keep(keys)

    @property
    def wake(self) -> int | None:
        """When, on the epochs' clock, something may be due."""
        return earliest(each.wake for each in (self._came, self._keys) if each is not None)

    @property
    def oldest(self) -> int | None:
        """The clock at which that came which is due next, or a moment before; None if there is none."""
        return earliest(each.oldest for each in (self._came, self._keys) if each is not None)

    def snapshot(self, keys: Slots) -> Snapshot:
        """All state, by the rows of the versions, and by the keys of what there is, some perhaps repeatedly."""
        self._starts.reserve(self._versions.slots_end)
        table = pa.table({"start": self._starts.values[keys]})
        if self._keys is not None:
            table = table.append_column("last", self._keys.times(keys)["last"])
        return {"came": self._came.times(self._versions.by_row()), "keys": table}

    def restore(self, snapshot: Snapshot, keys: Slots) -> None:
        """Become what `snapshot` was taken of, given the same rows and keys in the same order."""
        self._came.load(self._versions.by_row(), snapshot["came"])
        self._starts.reserve(self._versions.slots_end)
        self._starts[keys] = snapshot["keys"]["start"].to_numpy()
        if self._keys is not None:
            self._keys.load(keys, snapshot["keys"])

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._came.bytes + self._starts.bytes + (0 if self._keys is None else self._keys.bytes)
