"""Event time: how far each partition has come, and so how far they all have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .operator import NO_WATERMARK


@dataclass(frozen=True)
class Advance:
    """How far event time has come by what a person says, by partition, once the log is read up to `ends`.

    Units: microseconds; None where nothing is said of a partition.
    """

    times: tuple[int | None, ...]
    ends: tuple[int, ...]

    @property
    def properties(self) -> dict[str, Any]:
        """As a catalog keeps it."""
        return {"advance": {"times": list(self.times), "ends": list(self.ends)}}

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Advance | None:
        """What a catalog has kept, if it has."""
        kept = properties.get("advance")
        return None if kept is None else cls(tuple(kept["times"]), tuple(kept["ends"]))


@dataclass
class PartitionTime:
    """What is known of one partition's event time. Units: microseconds; `heard` is the engine's clock."""

    highest: int = NO_WATERMARK
    heard: int | None = None
    idle: bool = False


@dataclass
class StreamTime:
    """The watermark of one stream: no row before it is expected any more.

    It is the least over partitions of (highest event time seen - delay). A partition that has been silent for
    `idle_timeout_us` does not count until it speaks again; one that has never spoken counts as silent since the
    stream was first heard. While a partition is replayed, rows still to be read in it hold the watermark back
    (`floor`), so that history is never late. It never goes back.
    From: Begoli et al., "Watermarks in Stream Processing Systems" (VLDB 2021), sections 3 and 4.
    """

    delay_us: int
    idle_timeout_us: int
    future_guard_us: int
    partitions: list[PartitionTime] = field(default_factory=list)
    watermark: int = NO_WATERMARK
    began: int | None = None  # when the first row of any partition came, on the engine's clock
    arrival: bool = False  # the event time is when rows came: silence says how far that is, too
    looked: int = 0  # when it was last asked how far it is, on the engine's clock

    def observe(self, partition: int, highest: int | None, clock: int) -> None:
        """`partition` has delivered rows, the latest of them at event time `highest` (None: no row had a time)."""
        state = self.partitions[partition]
        state.heard = clock
        self.began = clock if self.began is None else self.began
        state.idle = False
        if highest is not None and highest <= clock + self.future_guard_us:
            state.highest = max(state.highest, highest)

    def say(self, times: tuple[int | None, ...], clock: int) -> None:
        """No row before `times[p]` is to come in partition p, as a person says: taken as if a row had shown it."""
        self.began = clock if self.began is None else self.began
        for state, time in zip(self.partitions, times, strict=True):
            if time is not None:
                state.highest = max(state.highest, time + self.delay_us)

    def advance(self, clock: int, floors: list[int | None], ceiling: int | None = None) -> int:
        """The watermark at `clock`; `floors[p]` is the least event time still to be replayed from partition p.

        It stops at `ceiling`, which it had before a restart when as much had been read.
        """
        before, self.looked = self.watermark, clock
        self._advance(clock, floors)
        if ceiling is not None:
            self.watermark = max(before, min(self.watermark, ceiling))
        return self.watermark

    def _advance(self, clock: int, floors: list[int | None]) -> None:
        if self.began is None:
            return
        candidates = []
        for state, floor in zip(self.partitions, floors, strict=True):
            state.idle = clock - (self.began if state.heard is None else state.heard) >= self.idle_timeout_us
            if floor is not None:
                reached = NO_WATERMARK if state.highest == NO_WATERMARK else state.highest - self.delay_us
                candidates.append(min(reached, floor))
            elif not state.idle:
                candidates.append(NO_WATERMARK if state.highest == NO_WATERMARK else state.highest - self.delay_us)
        if candidates:
            self.watermark = max(self.watermark, min(candidates))
        else:
            reached = max((p.highest for p in self.partitions), default=NO_WATERMARK)
            if reached != NO_WATERMARK:
                self.watermark = max(self.watermark, reached - self.delay_us)
                if self.arrival:
                    self.watermark = max(self.watermark, clock - self._silence_us)

    @property
    def _silence_us(self) -> int:
        """For how long no row that has come can be unread: as long as a partition is waited for."""
        return max(self.idle_timeout_us, self.delay_us)

    def next_timeout(self) -> int | None:
        """When the next partition falls silent for too long, on the engine's clock; None if none is awaited."""
        if self.began is None or (len(self.partitions) == 1 and not self.arrival):
            return None
        if self.arrival and all(partition.idle for partition in self.partitions):
            return self.looked + self._silence_us
        waiting = [self.began if p.heard is None else p.heard for p in self.partitions if not p.idle]
        return min(waiting) + self.idle_timeout_us if waiting else None

    def listen_again(self, clock: int) -> None:
        """No partition was silent while nobody listened, which ends at `clock`."""
        for partition in self.partitions:
            if partition.heard is not None and not partition.idle:
                partition.heard = clock

    def go_on(self, other: StreamTime) -> None:
        """Know what `other` knew, of the same partitions of the same stream."""
        self.partitions = [replace(partition) for partition in other.partitions]
        self.began, self.watermark = other.began, other.watermark

    def merge(self, other: StreamTime) -> None:
        """Know what `other`, which went through the same log, knows too."""
        for mine, theirs in zip(self.partitions, other.partitions, strict=True):
            mine.highest = max(mine.highest, theirs.highest)
            mine.heard = mine.heard if theirs.heard is None else max(mine.heard or theirs.heard, theirs.heard)
        self.began = other.began if self.began is None else self.began
        self.watermark = max(self.watermark, other.watermark)
