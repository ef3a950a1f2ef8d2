"""The control file: how far a partition is durable, for recovery after a crash and for readers in other processes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import google_crc32c

from .files import File, exists, read_file

_MAGIC = b"SLC2"
_PREFIX = struct.Struct("<4sI")  # magic, crc32c of the rest
_RECORD = struct.Struct("<qqqqqq")
_OLD_MAGIC = b"SLC1"
_OLD_RECORD = struct.Struct("<qqqq")  # sequence, base offset, position, offset


CONTROL_BYTES = _PREFIX.size + _RECORD.size


class Durable(NamedTuple):
    """All frames before byte `position` of the active segment, and all rows before `offset`, are on the medium.

    `visible` is the offset up to which anyone may read; without durability it is ahead of `offset`.
    """

    sequence: int  # counts the updates
    manifest: int  # the number of the manifest in force
    base_offset: int  # of the active segment
    position: int
    offset: int
    visible: int


def decode_control(content: bytes) -> Durable | None:
    """What the bytes of a control file say; None if they are damaged, or half of an update."""
    if len(content) < _PREFIX.size:
        return None
    magic, checksum = _PREFIX.unpack_from(content)
    if checksum != google_crc32c.value(content[_PREFIX.size :]):
        return None
    if magic == _MAGIC and len(content) == _PREFIX.size + _RECORD.size:
        return Durable(*_RECORD.unpack_from(content, _PREFIX.size))
    if magic == _OLD_MAGIC and len(content) == _PREFIX.size + _OLD_RECORD.size:
        sequence, base_offset, position, offset = _OLD_RECORD.unpack_from(content, _PREFIX.size)
        return Durable(sequence, 0, base_offset, position, offset, offset)
    return None


class Control:
    """The file's writer. Never synced: what it says may be old, but is true."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: File | None = None
        self._sequence = 0

    def load(self) -> Durable | None:
        """What the last writer said; None if there was none, or the file is damaged."""
        durable = decode_control(read_file(self._path) if exists(self._path) else b"")
        if durable is not None:
            self._sequence = durable.sequence
        return durable

    def save(self, *, manifest: int, base_offset: int, position: int, offset: int, visible: int) -> None:
        if self._file is None:
            self._file = File(self._path, create=not exists(self._path))
        self._sequence += 1
        record = _RECORD.pack(self._sequence, manifest, base_offset, position, offset, visible)
        content = _PREFIX.pack(_MAGIC, google_crc32c.value(record)) + record
        self._file.write([content], len(content), 0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
