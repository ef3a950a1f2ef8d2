"""A partition: rows at consecutive offsets, appended at the end, readable as soon as they are acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import pyarrow as pa

from .errors import OperationalError
from .frame import NO_MARK, Mark, Times
from .limits import UNFLUSHED_BYTES_MAX
from .owned_log import Durability, OwnedLog
from .schema import SegmentSchema, project
from .segment import Segment

__all__ = ["Durability", "Frames", "Partition", "Written"]

Frames = Sequence[tuple[pa.RecordBatch, Times]]


class Written(NamedTuple):
    """How far a partition was before frames were written that may be taken back."""

    offset: int
    position: int
    frames: int
    sequence: int | None  # of the writer whose frames they are


class Partition(OwnedLog):
    """One log of a topic. Any thread may append or read; readers never wait for writers."""

    # -- appending ------------------------------------------------------------------------------------------------

    def append(self, frames: Frames, schema: SegmentSchema, mark: Mark = NO_MARK) -> tuple[int, int]:
        """The offsets [start, end) that the rows have from now on; `commit(end)` waits until they are durable.

        Shape: batches of the version `schema`, a frame each. On an error in writing none of them is there.
        """
        if self.durability == "group" and self._unflushed() > UNFLUSHED_BYTES_MAX:
            self.commit(self._appended)
        with self._changed:
            self.check_writable()
            readable = self._readable
            segment = self._writable_segment()
            before = self._write_all(segment, frames, schema, mark)
            start, end = before.offset, self._note_times(before)
            if self.durability == "each":
                self._sync_now(segment)
            self._acknowledge()
            grown = self._readable > readable
        if grown:
            self._grown()
        if self.durability == "each":
            self.commit(end)
        return start, end

    def commit(self, end: int | None = None) -> None:
        """Returns when all rows before offset `end`, or all appended so far, are durable and readable.

        One thread syncs for all that arrived meanwhile; with durability 'none' nobody waits.
        """
        if self.durability != "none":
            self.settle(end)

    def settle(self, end: int | None = None) -> None:
        """The same with any durability."""
        end = self._appended if end is None else end
        self.flush(end)
        with self._changed:
            while self._readable < end:  # a transaction before them is being decided
                self.check_writable()
                self._changed.wait()

    def flush(self, end: int) -> None:
        """Returns when all rows before offset `end` are on the medium, with any durability; at once in memory."""
        if not self.durable_folder:
            return
        while True:
            with self._changed:
                while self._syncing and self._synced < end:
                    self._changed.wait()
                if self._synced >= end:
                    return
                self.check_writable()
                self._syncing = True
                segment, appended, position = self._segments[-1], self._appended, self._segments[-1].size
            failure: OperationalError | None = None
            try:
                segment.sync()
            except OperationalError as error:
                failure = error
            with self._changed:
                self._syncing = False
                self._changed.notify_all()
                if failure is not None:
                    self._failure = failure
                    raise failure
                self._synced, self._synced_position = appended, position
                self._acknowledge()
            self._grown()

    # -- transactions: see transactions.py --------------------------------------------------------------------------

    def prepare(self) -> None:
        """There is an active segment with room, so that `write` need not wait for anything."""
        with self._changed:
            self.check_writable()
            self._writable_segment()

    @property
    def prepared(self) -> bool:
        """Whether the active segment has the present schema. The lock is held."""
        return self._segments[-1].schema.id == self._schemas[-1].id

    def held(self) -> AbstractContextManager[object]:
        """The partition's lock: while it is held nobody else appends."""
        return self._changed

    def write(self, frames: Frames, schema: SegmentSchema, mark: Mark) -> Written:
        """The frames are appended, to be taken back or held and decided: what these need.

        The lock is held. On an error nothing has changed.
        """
        self.check_writable()
        return self._write_all(self._segments[-1], frames, schema, mark)

    def take_back(self, before: Written, mark: Mark) -> None:
        """What was written since `before` never was. The lock is held, as it was since then."""
        segment = self._segments[-1]
        segment.take_back(
            len(segment.index.offsets) - before.frames, end_offset=before.offset, end_position=before.position
        )
        self._appended = before.offset
        if before.sequence is not None:
            self.writers[mark.writer] = before.sequence
        elif mark.writer:
            self.writers.pop(mark.writer, None)

    def hold(self, before: Written) -> int:
        """Nobody reads what was written after `before` until that is decided; the end of it. The lock is held."""
        self._undecided.append(before.offset)
        return self._note_times(before)

    def decide(self, before: Written) -> None:
        """The transaction that wrote after `before` is committed; its rows are readable, if none before it is open."""
        with self._changed:
            self._undecided.remove(before.offset)
            self._acknowledge()
            self._changed.notify_all()

    def announce(self) -> None:
        """Wakes who waits for rows."""
        self._grown()

    def fail(self, error: OperationalError) -> None:
        """Nothing more is appended: nobody knows whether a transaction was committed."""
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def _write_all(self, segment: Segment, frames: Frames, schema: SegmentSchema, mark: Mark) -> Written:
        before = Written(self._appended, segment.size, len(segment.index.offsets), self.writers.get(mark.writer))
        acknowledged = min(self._synced, self._readable)
        try:
            for batch, times in frames:
                segment.append(
                    project(batch, schema, segment.schema),
                    times,
                    durable_offset=acknowledged,
                    mark=mark,
                    compression=self.compression,
                )
        except BaseException:
            self.take_back(before, mark)
            raise
        self._appended = segment.end_offset
        if mark.writer:
            self.writers[mark.writer] = mark.sequence
        return before

    def _note_times(self, before: Written) -> int:
        """Remembers the event times of the frames written after `before`; the end of them."""
        index = self._segments[-1].index
        for frame in range(before.frames, len(index.offsets)):
            _, end, _, _ = index.place(frame)
            self._earliest.add(end, index.minimums[frame])
        return self._appended
