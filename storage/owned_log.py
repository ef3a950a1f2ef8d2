"""A log's files, as their owner changes them: which segments there are, how far they are durable and visible."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from .control import Control
from .errors import InterfaceError, OperationalError
from .files import exists, make_folder, remove_folder
from .frame import NO_TIME, Compression
from .log import Log
from .manifest import Manifest, SegmentEntry, load_manifest, save_manifest
from .recovery import recover
from .remote_segment import open_sealed, remote_uris
from .schema import SegmentSchema
from .segment import Segment, damaged
from .segment_cache import SegmentCache

Durability = Literal["none", "group", "each"]


class OwnedLog(Log):
    """A log whose one writer this process is.

    Shape: rows become readable when they are acknowledged: durable, or with durability 'none' appended, and behind no
    undecided transaction.
    Holds: after a sync or a manifest that went wrong nothing more is written; opening the folder again recovers.
    The folder on disk is made by the first append, so that an empty partition costs nothing.
    """

    def __init__(
        self,
        folder: Path,
        schemas: Sequence[SegmentSchema],
        *,
        durability: Durability,
        segment_bytes: int,
        compression: Compression | None,
        durable_folder: bool,
        published: bool,
        committed: Callable[[int], bool],
        grown: Callable[[], None],
        sealed: Callable[[], None],
        cache: SegmentCache,
        discard: Callable[[Sequence[str]], None],
    ) -> None:
        super().__init__(schemas)
        self.notice: str | None = None
        self.folder = folder
        self.durability = durability
        self.segment_bytes = segment_bytes
        self.compression = compression
        self.writers: dict[int, int] = {}  # the last sequence of each named writer
        self.durable_folder = durable_folder  # False: nothing is ever synced
        self._published = published  # whether other processes may look
        self._grown = grown  # called without the lock, after `end_offset` has grown
        self._sealed = sealed  # called with the lock, after there is a sealed segment more
        self._cache = cache
        self._discard = discard  # called with the lock, before segments go whose files are at these URIs
        self._changed = threading.Condition(threading.Lock())
        self._manifest = Manifest(0, ())
        self._control = Control(folder / "ctl")
        self._appended = self._synced = 0
        self._synced_position = 0
        self._undecided: list[int] = []  # where each transaction that is not decided yet begins, rising
        self._syncing = False
        self._failure: OperationalError | None = None
        self._closed = False
        self._recover(committed)

    def configure(self, *, durability: Durability, segment_bytes: int, compression: Compression | None) -> None:
        """How it is kept from now on; rows acknowledged before are as durable as the new policy says."""
        with self._changed:
            self.segment_bytes, self.compression = segment_bytes, compression
            raised = self.durability == "none" and durability != "none"
            self.durability = durability
            if raised and self._segments:
                self._sync_now(self._segments[-1])
                self._publish()
                self._acknowledge()

    def seal(self) -> None:
        """The active segment is sealed, unless it is empty, and all rows so far stand in sealed segments."""
        with self._changed:
            self.check_writable()
            if self._segments and not self._segments[-1].empty:
                self._roll()

    def delete_before(self, offset: int) -> None:
        """The log begins at `offset`, or at its end if that is less; files that hold nothing else are gone."""
        with self._changed:
            self.check_writable()
            start = min(offset, self._readable)
            if start <= self._start:
                return
            if self._segments[-1].end_offset <= start and not self._segments[-1].empty:
                self._roll()
            kept = next(
                place for place, segment in enumerate(self._segments) if segment.end_offset > start or segment.empty
            )
            kept = min(kept, len(self._segments) - 1)
            gone, segments = self._segments[:kept], self._segments[kept:]
            self._discard(remote_uris(gone))
            self._install(self._manifest.segments[kept:], segments, start_offset=start)
        for segment in gone:
            segment.remove()

    def replace(self, old: Sequence[Segment], entries: Sequence[SegmentEntry]) -> bool:
        """Sealed segments that follow each other are replaced by others with the same rows, or those worth keeping.

        False, and nothing happens, if the old are not all there any more.
        """
        with self._changed:
            self.check_writable()
            places = [place for place, segment in enumerate(self._segments) if segment in old]
            if len(places) != len(old) or not old:
                return False
            first, last = places[0], places[-1] + 1
            assert last - first == len(old), "segments apart"
            assert last < len(self._segments), "the active segment"
            new = tuple(self._open(entry) for entry in entries)
            segments = (*self._segments[:first], *new, *self._segments[last:])
            known = self._manifest.segments
            self._discard(remote_uris(old))
            self._install((*known[:first], *entries, *known[last:]), segments)
        kept = {segment.path for segment in segments}
        for segment in old:
            if segment.path not in kept:
                segment.remove()
        return True

    def close(self, *, keep: bool = True) -> None:
        """Nothing is appended again. All rows are durable, except in a temporary folder or where `keep` is false."""
        with self._changed:
            while (self._syncing or self._undecided) and self._failure is None:
                self._changed.wait()
            if self._closed:
                return
            self._closed = True
            try:
                if keep and self._segments and self._failure is None:
                    self._segments[-1].trim()
                    if self.durable_folder:
                        self._sync_now(self._segments[-1])
                        self._acknowledge()
            finally:
                self._control.close()
                for segment in self._segments:
                    segment.close()
                self._changed.notify_all()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _recover(self, committed: Callable[[int], bool]) -> None:
        manifest = load_manifest(self.folder)
        control = self._control.load()
        if manifest is None:
            if control is not None and control.offset > 0:
                raise damaged(self.folder / "CURRENT", f"The file is gone; {control.offset} rows were acknowledged.")
            if exists(self.folder):
                remove_folder(self.folder)
            return
        recovered = recover(
            self.folder, manifest, self._open, self._schemas, control, committed, durable=self.durable_folder
        )
        self._manifest, self._segments, self.notice = manifest, recovered.segments, recovered.notice
        self.writers = {**manifest.writers, **recovered.writers}
        active = self._segments[-1]
        for segment in self._segments:
            self._earliest.extend(segment.index)
        self._start = manifest.start_offset
        self._appended = self._readable = active.end_offset
        self._synced = active.end_offset if self.durable_folder else control.offset if control is not None else 0
        self._synced_position = active.size
        if control is None or (control.offset, control.visible) != (self._readable, self._readable):
            self._publish()

    def _open(self, entry: SegmentEntry) -> Segment:
        return open_sealed(self.folder / entry.file, self._schemas[entry.schema_id], entry, self._cache)

    def check_writable(self) -> None:
        """Raises: OperationalError, InterfaceError if nothing can be appended or replaced any more."""
        if self._failure is not None:
            raise OperationalError(
                f'could not append to "{self.folder}": an earlier sync went wrong',
                detail=f"It was: {self._failure.headline}. Rows that were not acknowledged then may be lost.",
                hint="Close the database and open it again.",
                sqlstate=self._failure.sqlstate,
            ) from self._failure
        if self._closed:
            raise InterfaceError(f'cannot append to "{self.folder}": it is closed')

    def _unflushed(self) -> int:
        return self._segments[-1].size - self._synced_position if self._segments else 0

    def _writable_segment(self) -> Segment:
        """The active segment; a new one if there is none yet, it is full, or it has another schema."""
        if self._segments:
            active = self._segments[-1]
            full = active.size >= self.segment_bytes and not active.empty
            if not full and active.schema.id == self._schemas[-1].id:
                return active
        return self._roll()

    def _roll(self) -> Segment:
        """A new active segment; the one before is sealed, or goes if it has no rows."""
        while self._syncing or self._undecided:
            self._changed.wait()
            self.check_writable()
        self.check_writable()
        entries = self._manifest.segments[:-1]
        segments = self._segments[:-1]
        old = self._segments[-1] if self._segments else None
        if old is None:
            make_folder(self.folder, durable=self.durable_folder)
        elif not old.empty:
            size = old.seal()
            if self.durable_folder:
                self._sync_now(old)
            old.entry = _sealed_entry(self._manifest.segments[-1], old, size)
            entries, segments = (*entries, old.entry), (*segments, old)
        segment = self._new_segment(old)
        entry = SegmentEntry(segment.path.name, segment.schema.id, segment.base_offset)
        self._synced_position = segment.size
        self._install((*entries, entry), (*segments, segment))
        if old is not None:
            old.close()
            if old.empty:
                old.remove()
            else:
                self._sealed()
        self._changed.notify_all()
        return segment

    def _new_segment(self, old: Segment | None) -> Segment:
        name = f"{self._appended:020d}.arrow"
        if old is not None and old.path.name == name:  # an empty one with another schema
            name = f"{self._appended:020d}.s{self._schemas[-1].id}.arrow"
        return Segment.create(
            self.folder / name, self._schemas[-1], base_offset=self._appended, durable=self.durable_folder
        )

    def _install(
        self, entries: tuple[SegmentEntry, ...], segments: tuple[Segment, ...], *, start_offset: int | None = None
    ) -> None:
        """From now on the partition has these segments, on disk and for readers."""
        start = self._start if start_offset is None else start_offset
        manifest = Manifest(self._manifest.number + 1, entries, start, dict(self.writers))
        try:
            save_manifest(self.folder, manifest, durable=self.durable_folder)
        except OperationalError as error:  # nobody knows which of the two manifests is on the medium
            self._failure = error
            raise
        self._manifest, self._start, self._segments = manifest, start, segments
        self._publish()

    def _sync_now(self, segment: Segment) -> None:
        """Syncs while the lock is held, so that nothing is written meanwhile."""
        try:
            segment.sync()
        except OperationalError as error:
            self._failure = error
            raise
        self._synced, self._synced_position = self._appended, segment.size

    def _acknowledge(self) -> None:
        """Lets readers see what is due: durable, and behind no undecided transaction."""
        due = self._appended if self.durability == "none" else self._synced
        if self._undecided:
            due = min(due, self._undecided[0])
        if due > self._readable:
            try:
                self._publish(due)  # before anybody can tell that the rows are there
            finally:
                self._readable = due

    def _publish(self, visible: int | None = None) -> None:
        """Tells recovery and other processes how far the partition is."""
        if not self._published or not self._segments:
            return
        visible = self._readable if visible is None else visible
        try:
            self._control.save(
                manifest=self._manifest.number,
                base_offset=self._segments[-1].base_offset,
                position=self._synced_position,
                offset=min(self._synced, visible),
                visible=visible,
            )
        except OperationalError as error:
            self._failure = error
            raise


def _sealed_entry(entry: SegmentEntry, segment: Segment, size: int) -> SegmentEntry:
    """The manifest's entry of a segment that was active until now."""
    index = segment.index
    least, greatest = np.array(index.minimums), np.array(index.maximums)
    recorded = least != NO_TIME
    return replace(
        entry,
        end_offset=segment.end_offset,
        size_bytes=size,
        append_times=(min(index.append_times), max(index.append_times)),
        event_times=(int(least[recorded].min()), int(greatest[recorded].max())) if recorded.any() else None,
    )
