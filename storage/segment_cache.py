"""The cache of segments that are kept elsewhere: fetched whole, verified, and kept while there is room."""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import google_crc32c
import pyarrow as pa

from .errors import CorruptionError, OperationalError
from .files import (
    DISK_FULL,
    File,
    file_size,
    list_folder,
    make_folder,
    make_temporary_folder,
    map_file,
    remove_file,
    remove_folder,
    rename_file,
)
from .limits import REMOTE_ATTEMPTS, REMOTE_PAUSE_S
from .manifest import SegmentEntry
from .remote_files import RemoteFiles, uri_name, uri_shown


class SegmentCache:
    """Any thread may fetch; one that wants what another is fetching waits for it.

    Holds: the files have at most `size_max` bytes together, or are one that has more; what was used least recently
    goes first. A file that goes while somebody reads it takes its room until that is over.
    """

    def __init__(self, folder: Path | None, remote: RemoteFiles, size_max: int) -> None:
        """`folder` is made by the first fetch; None is a temporary one, which goes with the cache."""
        self.remote = remote
        self._folder = folder
        self._cleanup: Callable[[], object] = lambda: None
        self._size_max = size_max
        self._changed = threading.Condition()
        self._sizes: OrderedDict[str, int] = OrderedDict()  # the least recently used first
        self._verified: set[str] = set()  # by this process
        self._fetching: set[str] = set()
        for name in [] if folder is None else list_folder(folder):
            assert folder is not None
            if name.endswith(".tmp"):
                remove_file(folder / name)
            else:
                self._sizes[name] = file_size(folder / name)

    def fetch(self, entry: SegmentEntry) -> pa.Buffer:
        """All bytes of a segment's file, mapped, not copied; in memory, and not kept, where the disk has no room.

        Raises: OperationalError if it cannot be fetched, CorruptionError if it is not what was put there; nothing of
        it is kept then.
        """
        assert entry.remote is not None
        assert entry.size_bytes is not None
        name = uri_name(entry.remote)
        with self._changed:
            while name in self._fetching:
                self._changed.wait()
            path = self._place() / name
            if name in self._verified:
                found = _mapped(path, entry.size_bytes)
                if found is not None:
                    self._sizes.move_to_end(name)
                    return found
                self._verified.discard(name)  # somebody has emptied the folder
            self._fetching.add(name)
        try:
            found = _mapped(path, entry.size_bytes) if name in self._sizes else None
            kept = True
            if found is None or google_crc32c.value(found) != entry.crc32c:
                found, kept = self._fetch(path, entry)
            if kept:
                with self._changed:
                    self._sizes[name] = entry.size_bytes
                    self._sizes.move_to_end(name)
                    self._verified.add(name)
            return found
        finally:
            with self._changed:
                self._fetching.discard(name)
                self._changed.notify_all()

    def forget(self, uri: str) -> None:
        """Nobody will ask for it again."""
        with self._changed:
            if uri_name(uri) in self._sizes:
                self._remove(uri_name(uri))

    def close(self) -> None:
        """A temporary folder is gone; what has been read from it stays readable."""
        self._cleanup()

    def _fetch(self, path: Path, entry: SegmentEntry) -> tuple[pa.Buffer, bool]:
        """The bytes, and whether they are in the cache now."""
        assert entry.size_bytes is not None
        self._make_room(path.name, entry.size_bytes)
        full = False
        for attempt in range(REMOTE_ATTEMPTS):
            if attempt and not full:
                time.sleep(REMOTE_PAUSE_S * 4 ** (attempt - 1))
            try:
                if full:
                    return pa.py_buffer(b"".join(self._pieces(entry))), False
                self._download(path, entry)
                return map_file(path, entry.size_bytes), True
            except OperationalError as error:
                failure = error
                full = full or error.sqlstate == DISK_FULL
                with self._changed:
                    self._sizes.pop(path.name, None)
        raise _could_not_fetch(entry, failure) from failure

    def _download(self, path: Path, entry: SegmentEntry) -> None:
        make_folder(path.parent, durable=False)
        draft = path.with_name(path.name + ".tmp")
        file = File(draft, create=True)
        size = 0
        try:
            for piece in self._pieces(entry):
                file.write([piece], len(piece), size)
                size += len(piece)
            rename_file(draft, path)
        except BaseException:
            remove_file(draft)
            raise
        finally:
            file.close()

    def _pieces(self, entry: SegmentEntry) -> Iterator[bytes]:
        """The file as it is elsewhere.

        Raises: CorruptionError behind the last piece if it is not what was put there.
        """
        assert entry.remote is not None
        size = checksum = 0
        for piece in self.remote.read(entry.remote):
            checksum = google_crc32c.extend(checksum, piece)
            size += len(piece)
            yield piece
        if size != entry.size_bytes:
            raise CorruptionError(f"it has {size} bytes where its manifest says {entry.size_bytes}")
        if checksum != entry.crc32c:
            raise CorruptionError("it does not match its checksum")

    def _make_room(self, name: str, size: int) -> None:
        with self._changed:
            self._sizes[name] = size
            for other in list(self._sizes):
                if sum(self._sizes.values()) <= self._size_max:
                    return
                if other not in self._fetching:
                    self._remove(other)

    def _remove(self, name: str) -> None:
        remove_file(self._place() / name)
        del self._sizes[name]
        self._verified.discard(name)

    def _place(self) -> Path:
        if self._folder is None:
            self._folder = make_temporary_folder()
            self._cleanup = weakref.finalize(self, remove_folder, self._folder)
        return self._folder


def _mapped(path: Path, size: int) -> pa.Buffer | None:
    try:
        found = map_file(path, size)
    except OperationalError:
        return None
    return found if found.size == size else None


def _could_not_fetch(entry: SegmentEntry, reason: OperationalError) -> OperationalError:
    assert entry.remote is not None
    lost = f"Offsets {entry.base_offset} to {entry.end_offset} cannot be read."
    shown = uri_shown(entry.remote)
    if isinstance(reason, CorruptionError):
        return CorruptionError(
            f'cannot read "{shown}": acknowledged rows are damaged',
            detail=f"The segment {entry.file} was moved there; {reason.headline}. {lost}",
            hint="Restore the object from a copy.",
        )
    return OperationalError(
        f'could not fetch the segment "{entry.file}": {reason.headline}',
        detail=f"The segment was moved to {shown}, which was tried {REMOTE_ATTEMPTS} times. {lost}",
        hint="See that it can be reached, with the credentials in the environment, and try again.",
        sqlstate=reason.sqlstate,
    )
