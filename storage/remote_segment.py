"""A segment that is kept elsewhere: what is known of it without its file, and its rows once that is fetched."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from .files import remove_file
from .frame import NO_TIME, Times
from .frame_index import FrameIndex
from .manifest import SegmentEntry
from .schema import SegmentSchema
from .segment import Offsets, Segment, load_index, scan_sealed
from .segment_cache import SegmentCache


class RemoteSegment(Segment):
    """A sealed segment that is fetched whenever rows of it are read and the cache has it no more.

    `index` is the frame index, which stays in the folder. Where that is missing it is one frame as long as the
    segment, with the times that the manifest has, until the file is fetched for the first time.
    """

    def __init__(
        self, path: Path, schema: SegmentSchema, entry: SegmentEntry, cache: SegmentCache, *, save_index: bool
    ) -> None:
        found = load_index(path, entry)
        super().__init__(path, schema, _outline(entry) if found is None else found, base_offset=entry.base_offset)
        self.entry: SegmentEntry = entry
        self._cache = cache
        self._outlined = found is None
        self._save_index = save_index

    def mapped(self, end_position: int) -> pa.Buffer:
        """The whole file's bytes, from the cache. Raises: OperationalError if it cannot be fetched."""
        buffer = self._cache.fetch(self.entry)
        if self._outlined:
            self.index = scan_sealed(self.path, buffer, self.schema, self.entry)
            self._outlined = False
            if self._save_index:
                self.index.save(self.path.with_suffix(".idx"), durable=False)
        return buffer

    def read(self, start: int, end: int) -> list[tuple[pa.RecordBatch, Offsets]]:
        if self._outlined:
            self.mapped(0)
        return super().read(start, end)

    def sync(self) -> None:
        """It was synced before it was moved."""

    def remove(self, *, keep_index: bool = False) -> None:
        """Nothing is left of it here; where it is kept it is somebody else's to remove."""
        assert self.entry.remote is not None
        assert not keep_index
        self._cache.forget(self.entry.remote)
        remove_file(self.path.with_suffix(".idx"))


def open_sealed(
    path: Path, schema: SegmentSchema, entry: SegmentEntry, cache: SegmentCache, *, save_index: bool = True
) -> Segment:
    """The segment of a manifest's entry, wherever its file is."""
    if entry.remote is not None:
        return RemoteSegment(path, schema, entry, cache, save_index=save_index)
    return Segment.sealed(path, schema, entry, save_index=save_index)


def remote_uris(segments: Iterable[Segment]) -> list[str]:
    """Where the files of those are that are kept elsewhere."""
    entries = (segment.entry for segment in segments)
    return [entry.remote for entry in entries if entry is not None and entry.remote is not None]


def _outline(entry: SegmentEntry) -> FrameIndex:
    assert entry.end_offset is not None
    assert entry.size_bytes is not None
    assert entry.append_times is not None
    index = FrameIndex(entry.base_offset, 0)
    least, greatest = entry.event_times or (NO_TIME, NO_TIME)
    index.add(entry.end_offset - entry.base_offset, entry.size_bytes, Times(entry.append_times[1], least, greatest))
    return index
