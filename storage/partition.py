"""A partition: rows at consecutive offsets, appended at the end, readable as soon as they are durable."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa

from .control import Control
from .errors import InterfaceError, OperationalError
from .files import make_folder, remove_folder
from .frame import Times
from .frame_index import SuffixMinimum
from .limits import UNFLUSHED_BYTES_MAX
from .manifest import Manifest, SegmentEntry, load_manifest, save_manifest
from .recovery import recover
from .segment import Segment, SegmentSchema, damaged

Durability = Literal["none", "group", "each"]


class Partition:
    """One log. Any thread may append or read; readers never wait for writers.

    Shape: rows at offsets [start_offset, end_offset) are readable: the durable ones, or with durability 'none' all.
    Holds: after a sync that went wrong nothing more is appended or acknowledged; opening the folder again recovers.
    The folder on disk is made by the first append, so that an empty partition costs nothing.
    """

    def __init__(
        self,
        folder: Path,
        schemas: Sequence[SegmentSchema],
        *,
        durability: Durability,
        segment_bytes: int,
        durable_folder: bool,
        grown: Callable[[], None],
    ) -> None:
        self.notice: str | None = None
        self._folder = folder
        self._schemas = schemas
        self._durability = durability
        self._segment_bytes = segment_bytes
        self._durable_folder = durable_folder  # False: not even the folder's own files are synced
        self._grown = grown  # called without the lock, after `end_offset` has grown
        self._changed = threading.Condition(threading.Lock())
        self._segments: tuple[Segment, ...] = ()
        self._manifest = Manifest(0, ())
        self._control = Control(folder / "ctl")
        self._earliest = SuffixMinimum()
        self._appended = self._durable = self._readable = 0
        self._durable_position = 0
        self._syncing = False
        self._failure: OperationalError | None = None
        self._closed = False
        self._recover()

    @property
    def start_offset(self) -> int:
        return self._segments[0].base_offset if self._segments else 0

    @property
    def end_offset(self) -> int:
        return self._readable

    def append(self, batch: pa.RecordBatch, times: Times) -> tuple[int, int]:
        """The offsets [start, end) that the rows have from now on; `commit(end)` waits until they are durable."""
        if self._durability == "group" and self._unflushed() > UNFLUSHED_BYTES_MAX:
            self.commit(self._appended)
        with self._changed:
            self._check_writable()
            readable = self._readable
            segment = self._writable_segment()
            start = self._appended
            segment.append(batch, times, durable_offset=self._durable)
            end = start + batch.num_rows
            self._earliest.add(end, times.minimum)
            self._appended = end
            if self._durability == "none":
                self._readable = end
            elif self._durability == "each":
                self._sync_now(segment)
            grown = self._readable > readable
        if grown:
            self._grown()
        return start, end

    def commit(self, end: int | None = None) -> None:
        """Returns when all rows before offset `end`, or all appended so far, are durable.

        One thread syncs for all that arrived meanwhile; with durability 'none' nobody waits.
        """
        if self._durability == "none":
            return
        end = self._appended if end is None else end
        while True:
            with self._changed:
                while self._syncing and self._durable < end:
                    self._changed.wait()
                if self._durable >= end:
                    return
                self._check_writable()
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
                self._acknowledge(segment, appended, position)
            self._grown()

    def read(self, start: int, end: int, columns: Sequence[str] | None = None) -> list[pa.RecordBatch]:
        """Exactly the rows [start, end), in order, as memory-mapped batches; `columns` in the order given."""
        assert self.start_offset <= start <= end <= self._readable, "a range outside of the partition"
        batches: list[pa.RecordBatch] = []
        for segment in self._segments_of(start, end):
            batches += segment.read(max(start, segment.base_offset), min(end, segment.end_offset), columns)
        return batches

    def event_times(self, start: int, end: int) -> tuple[int, int] | None:
        """The least and the greatest event time (microseconds) of the frames that hold rows of [start, end).

        None if none of them has any. Nothing but the frame index is read.
        """
        found = [segment.index.event_times(start, end) for segment in self._segments_of(start, end)]
        times = [pair for pair in found if pair is not None]
        if not times:
            return None
        return min(minimum for minimum, _ in times), max(maximum for _, maximum in times)

    def earliest_after(self, offset: int) -> int | None:
        """The least event time (microseconds) of the frames that hold rows at `offset` or after it, if any.

        Rows that are appended but not readable yet count.
        """
        return self._earliest.at(offset)

    def close(self, *, keep: bool = True) -> None:
        """Nothing is appended again. All rows are durable, except in a temporary folder or where `keep` is false."""
        with self._changed:
            while self._syncing:
                self._changed.wait()
            if self._closed:
                return
            self._closed = True
            try:
                if keep and self._segments and self._failure is None:
                    self._segments[-1].trim()
                    if self._durable_folder:
                        self._sync_now(self._segments[-1])
            finally:
                self._control.close()
                for segment in self._segments:
                    segment.close()
                self._changed.notify_all()

    def _recover(self) -> None:
        manifest = load_manifest(self._folder)
        control = self._control.load()
        if manifest is None:
            if control is not None and control.offset > 0:
                raise damaged(self._folder / "CURRENT", f"The file is gone; {control.offset} rows were acknowledged.")
            remove_folder(self._folder)
            return
        recovered = recover(self._folder, manifest, self._schemas, control, durable=self._durable_folder)
        self._manifest, self._segments, self.notice = manifest, recovered.segments, recovered.notice
        active = self._segments[-1]
        for segment in self._segments:
            self._earliest.extend(segment.index)
        self._appended = self._readable = active.end_offset
        self._durable, self._durable_position = active.end_offset, active.size
        if self._durable_folder and (control is None or control.offset != active.end_offset):
            self._acknowledge(active, active.end_offset, active.size)

    def _check_writable(self) -> None:
        if self._failure is not None:
            raise OperationalError(
                f'could not append to "{self._folder}": an earlier sync went wrong',
                detail=f"It was: {self._failure.headline}. Rows that were not acknowledged then may be lost.",
                hint="Close the database and open it again.",
                sqlstate=self._failure.sqlstate,
            ) from self._failure
        if self._closed:
            raise InterfaceError(f'cannot append to "{self._folder}": it is closed')

    def _unflushed(self) -> int:
        return self._segments[-1].size - self._durable_position if self._segments else 0

    def _writable_segment(self) -> Segment:
        """The active segment; a new one if there is none yet, or it is full."""
        if self._segments and (self._segments[-1].empty or self._segments[-1].size < self._segment_bytes):
            return self._segments[-1]
        while self._syncing:
            self._changed.wait()
        self._check_writable()
        entries = self._manifest.segments
        if self._segments:
            active = self._segments[-1]
            size = active.seal()
            if self._durable_folder:
                self._sync_now(active)
            old = entries[-1]
            entries = (*entries[:-1], SegmentEntry(old.file, old.schema_id, old.base_offset, self._appended, size))
        else:
            make_folder(self._folder, durable=self._durable_folder)
        segment = self._new_segment()
        entry = SegmentEntry(segment.path.name, segment.schema.id, segment.base_offset)
        manifest = Manifest(self._manifest.number + 1, (*entries, entry))
        try:
            save_manifest(self._folder, manifest, durable=self._durable_folder)
        except OperationalError as error:  # nobody knows which of the two manifests is on the medium
            self._failure = error
            raise
        if self._segments:
            self._segments[-1].close()
        self._manifest = manifest
        self._segments = (*self._segments, segment)
        self._durable_position = segment.size
        self._changed.notify_all()
        return segment

    def _new_segment(self) -> Segment:
        path = self._folder / f"{self._appended:020d}.arrow"
        return Segment.create(path, self._schemas[-1], base_offset=self._appended, durable=self._durable_folder)

    def _sync_now(self, segment: Segment) -> None:
        """Syncs while the lock is held, so that nothing is written meanwhile."""
        try:
            segment.sync()
        except OperationalError as error:
            self._failure = error
            raise
        self._acknowledge(segment, self._appended, segment.size)

    def _acknowledge(self, segment: Segment, offset: int, position: int) -> None:
        try:
            self._control.save(base_offset=segment.base_offset, position=position, offset=offset)
        except OperationalError as error:
            self._failure = error
            raise
        self._durable, self._durable_position = offset, position
        self._readable = max(self._readable, offset)

    def _segments_of(self, start: int, end: int) -> tuple[Segment, ...]:
        segments = self._segments
        if start >= end or not segments:
            return ()
        first = bisect_right(segments, start, key=lambda segment: segment.base_offset) - 1
        last = bisect_right(segments, end - 1, key=lambda segment: segment.base_offset)
        return segments[first:last]
