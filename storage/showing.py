"""The folder's control file: whether rows that belong together are just becoming visible, partition after partition."""

from __future__ import annotations

import struct
from pathlib import Path

import pyarrow as pa

from .files import File, exists, file_size, map_file, read_file

_MAGIC = b"SLV1"
_RECORD = struct.Struct("<4sIq")  # magic, 0, sequence


class Showing:
    """The file's writer. The sequence is odd while rows become visible, and goes up by one before and after.

    Readers in other processes take a sequence before they look at the partitions and the same one after it, an even
    one, as the sign that what they saw belongs together (a seqlock).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: File | None = None
        self._sequence = 0

    def step(self) -> None:
        """The next sequence. The file is made by the first."""
        if self._file is None:
            if exists(self._path):
                self._sequence = sequence_in(read_file(self._path))
                self._sequence += self._sequence % 2  # who wrote it last may have died in the middle
            self._file = File(self._path, create=not exists(self._path))
        self._sequence += 1
        record = _RECORD.pack(_MAGIC, 0, self._sequence)
        self._file.write([record], len(record), 0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Shown:
    """The file's reader."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mapped: pa.Buffer | None = None

    def sequence(self) -> int:
        """The sequence at this moment; 0 while there was no atomic append."""
        if self._mapped is None:
            if not exists(self._path) or file_size(self._path) < _RECORD.size:
                return 0
            self._mapped = map_file(self._path, _RECORD.size)
        return sequence_in(self._mapped.to_pybytes())


def sequence_in(content: bytes) -> int:
    """The sequence that the bytes of the file hold."""
    return int(_RECORD.unpack(content)[2]) if len(content) == _RECORD.size else 0
