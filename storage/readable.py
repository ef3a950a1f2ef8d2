"""A folder and its topics as far as reading goes: what this process shares with those that only look."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from .catalog import Catalog
from .frame import Compression
from .limits import SEGMENT_BYTES, TOMBSTONE_RETENTION_MS
from .log import Log
from .owned_log import Durability
from .schema import SegmentSchema


@dataclass(frozen=True)
class TopicOptions:
    """How a topic is kept. `event_time` names the timestamp column whose bounds each frame records.

    Rows are deleted, a segment at a time, `retention_ms` after they were appended, and the oldest once all segments
    together pass `retention_bytes`. With `cleanup` 'compact' the last row of each key stays for ever instead, and a
    deletion `tombstone_retention_ms`; with 'compact,delete' the last rows go too, as said above. `headers` names the
    column of each row's headers: map<string, binary>; `append_time` the one that says when each row was appended.

    Sealed segments move to the URI `tier`, if there is one: `tier_after_ms` after their last row was appended, and the
    oldest once those in the folder pass `local_bytes`; at once if neither is given.
    """

    durability: Durability = "group"
    event_time: str | None = None
    segment_bytes: int = SEGMENT_BYTES
    retention_ms: int | None = None
    retention_bytes: int | None = None
    cleanup: Literal["delete", "compact", "compact,delete"] = "delete"
    tombstone_retention_ms: int = TOMBSTONE_RETENTION_MS
    compression: Compression | None = None
    headers: str | None = None
    tier: str | None = None
    tier_after_ms: int | None = None
    local_bytes: int | None = None
    append_time: str | None = None


class ReadableTopic:
    """A named log in partitions. `visibility` is held while rows that belong together become readable."""

    def __init__(
        self,
        folder: Path,
        name: str,
        schemas: Sequence[SegmentSchema],
        key: tuple[str, ...],
        options: TopicOptions,
        visibility: threading.RLock,
    ) -> None:
        self.name = name
        self.folder = folder
        self.key = key
        self.options = options
        self.visibility = visibility
        self.created: int | None = None  # microseconds since 1970; tells apart topics that had one name
        self.partitions: tuple[Log, ...] = ()
        self._schemas = list(schemas)
        self._listening = threading.Lock()
        self._listeners: tuple[Callable[[], None], ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """The present version."""
        return self._schemas[-1].schema

    @property
    def version(self) -> SegmentSchema:
        """The present version of the schema, by which batches are placed."""
        return self._schemas[-1]

    @property
    def versions(self) -> Sequence[SegmentSchema]:
        """All versions the schema has had, by their ids."""
        return self._schemas

    def sync(self) -> None:
        """Returns when all rows appended so far are readable."""

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener`, from any thread, after more rows became readable; the answer ends that.

        The listener returns at once, raises nothing and appends nothing.
        """
        with self._listening:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._listening:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return end

    def notify(self) -> None:
        """Calls all listeners."""
        for listener in self._listeners:
            listener()


class ReadableFolder(ABC):
    """An open database folder, whoever writes it."""

    path: Path
    temporary: bool
    catalog: Catalog
    visibility: threading.RLock

    @property
    @abstractmethod
    def topics(self) -> Mapping[str, ReadableTopic]:
        """By name, in order of their folders' names, then of their making."""

    @property
    @abstractmethod
    def notices(self) -> tuple[str, ...]:
        """What there is to say about how the folder was found, one sentence each."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the folder. Closing twice is harmless."""

    def topic(self, name: str) -> ReadableTopic:
        return self.topics[name]

    def cut(self, names: Iterable[str]) -> dict[str, list[int]]:
        """The end offsets of the partitions of these topics, which never show a part of an atomic append alone."""
        with self.visibility:
            return {name: [partition.end_offset for partition in self.topics[name].partitions] for name in names}
