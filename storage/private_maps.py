"""Columns of files as arrays of their own, that may be written to and grow: mapped, not copied, and no file changes."""

from __future__ import annotations

import mmap
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .errors import OperationalError
from .files import Identity, identity, map_file, map_over
from .limits import ADOPTED_BYTES_MIN, ADOPTED_STRETCH

Array = npt.NDArray[Any]


class MappedFile:
    """A file whose bytes are in memory, as long as anybody holds some of them."""

    def __init__(self, path: Path, buffer: pa.Buffer, known: Identity) -> None:
        self.path = path
        self.identity = known
        self.address = int(buffer.address)
        self.size = int(buffer.size)
        self._buffer = buffer

    def place(self, values: Array) -> int | None:
        """Where in the file these values are; None if they are not in it."""
        position = int(values.ctypes.data) - self.address
        return position if position >= 0 and position + values.nbytes <= self.size else None


class Room(mmap.mmap):
    """Memory for an array that begins somewhere in the first page; it is given back when nobody holds the array."""

    start = 0
    bytes = 0  # from there on
    given = 0  # of these, to whoever has the longest array

    def array(self, size: int, dtype: np.dtype[Any]) -> Array:
        """The array, as far as so many values."""
        self.given = size * dtype.itemsize
        found: Array = np.ndarray(size, dtype, buffer=self, offset=self.start)
        return found

    def longer(self, values: Array, size: int, start: object) -> Array | None:
        """The array as far as at least `size` values, `start` behind `values`; None if there is no room for them.

        Nor where `values` are not all of it: then what is behind them is somebody else's.
        """
        if values.nbytes != self.given or size * values.itemsize > self.bytes:
            return None
        most = self.bytes // values.itemsize
        array = self.array(most if start == 0 else min(most, size + ADOPTED_STRETCH), values.dtype)
        if start != 0:
            array[len(values) :] = start
        return array


_files: weakref.WeakSet[MappedFile] = weakref.WeakSet()
_lock = threading.Lock()


def map_to_adopt(path: Path, size: int) -> pa.Buffer:
    """As `map_file`, of a file that nobody writes to any more: of what lies in it, `room_of` may make arrays."""
    known = identity(path)
    buffer = map_file(path, size)
    if size < ADOPTED_BYTES_MIN:
        return buffer
    file = MappedFile(path, buffer, known)
    with _lock:
        _files.add(file)
    return pa.foreign_buffer(file.address, file.size, base=file)  # which whoever holds a slice of it holds as well


def room_of(values: Array, size: int) -> Room | None:
    """Room for `size` values, of which the first are `values`, a column of a file; the others are zero.

    None where there are few of them, or they lie in no such file, or the system does not do it.
    Units: pages are copied when they are first written to.
    """
    if values.nbytes < ADOPTED_BYTES_MIN or not values.flags.c_contiguous:
        return None
    with _lock:
        places = [(file, place) for file in _files if (place := file.place(values)) is not None]
    for file, place in places:
        start = place % mmap.PAGESIZE
        pages = _pages(start + values.nbytes)
        room = Room(-1, max(pages, _pages(start + size * values.itemsize)), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        room.start, room.bytes = start, size * values.itemsize
        address = np.frombuffer(room, np.uint8).ctypes.data
        try:
            if map_over(address, pages, file.path, place - start, file.identity):
                room[start + values.nbytes : pages] = bytes(pages - start - values.nbytes)
                return room
        except OperationalError:  # such as that the file is gone, which is no reason to do without what was read
            continue
    return None


def _pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
