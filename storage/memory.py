"""Memory for what queries keep: up to a limit as usual, beyond it in mapped files, that the system can write out."""

from __future__ import annotations

import itertools
import mmap
import resource
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc as ipc

from .errors import OperationalError
from .files import File, make_folder, remove_file, remove_folder
from .limits import JOINED_BYTES_MAX, JOINED_BYTES_MAX_UNLIMITED, SPILLED_BYTES_MIN, SPILLED_FILES
from .private_maps import Room, room_of

Array = npt.NDArray[Any]

NO_MEMORY = "53200"  # the sqlstate of errors that more memory would mend


class Holder(Protocol):
    """Who holds large arrays, and can let them move."""

    @property
    def bytes(self) -> int: ...

    def move(self) -> None:
        """Ask for each of them again: it may lie elsewhere now."""


class Loan:
    """Room for what waits to be written; it is given back when nobody holds it any more."""


class _Mapping(mmap.mmap):
    """A mapped file without a name; it is gone when nobody holds an array over it any more."""

    file: File


class Memory:
    """How much memory the large arrays and batches of a database may take together, and where the others lie.

    What is asked for beyond `limit` bytes (None: any number) lies in a file in `folder`: one a piece, of its full size
    from the start, so that a full disk is an error then and not later; its name is removed at once, so that nothing is
    left after a crash. The system keeps in memory of it what is in use, and writes out the rest when others need the
    room.
    What has fewer than `smallest` bytes is not asked about.
    State: what it has given out and somebody still holds, counted.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None, smallest: int = SPILLED_BYTES_MIN) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self.smallest = smallest
        self._lock = threading.RLock()  # what nobody holds is collected, and counted, anywhere
        self._holders: weakref.WeakSet[Holder] = weakref.WeakSet()
        self.limit = limit
        self.resident = 0  # bytes of large arrays in memory
        self.spilled = 0  # and of those in files
        self._lent = 0  # bytes beside these, a quarter of the limit at most
        if folder is not None:
            remove_folder(folder)  # an earlier process may have been killed between two calls

    @property
    def short(self) -> bool:
        """Whether some of it lies in files."""
        return self.spilled > 0

    def array(self, size: int, dtype: npt.DTypeLike, start: object = 0) -> Array:
        """An array of `size` values `start`. Raises: OperationalError if the disk has no room for it."""
        kind = np.dtype(dtype)
        bytes = size * kind.itemsize
        if bytes < self.smallest:
            return np.zeros(size, kind) if start == 0 else np.full(size, start, kind)
        if self._fits(bytes):
            found = np.zeros(size, kind) if start == 0 else np.full(size, start, kind)
            self._count(found, bytes, spilled=False)
            return found
        array = self._mapped(self._file(bytes), size, kind)
        if start != 0:
            array.fill(start)
        return array

    def grown(self, values: Array, size: int, start: object = 0) -> Array:
        """`values`, which nobody may use any more, and then `start` up to a length of at least `size`."""
        room = len(values)
        longer = values.base.longer(values, size, start) if isinstance(values.base, Room) else None
        if longer is not None:
            return longer
        size = max(size, 2 * room)
        if isinstance(values.base, _Mapping):
            file = values.base.file
            file.allocate(values.nbytes, size * values.itemsize)
            array = self._mapped(file, size, values.dtype)
            if start != 0:
                array[room:] = start
            return array
        array = self.array(size, values.dtype, start)
        array[:room] = values
        return array

    def adopted(self, values: Array, *, grows: bool) -> Array | None:
        """The same values to write to, which nobody else sees: the very pages of the file that they lie in.

        With `grows` there is room for as many behind them, if there is so much memory.
        None where they are too few for that, or in no such file, or there is no memory for them.
        """
        size = len(values) * (2 if grows and self._fits(2 * values.nbytes) else 1)
        room = room_of(values, size) if self._fits(size * values.itemsize) else None
        if room is None:
            return None
        self._count(room, room.bytes, spilled=False)
        return room.array(len(values), values.dtype)

    def moved(self, values: Array) -> Array:
        """The same values, which nobody may use any more, in a file where there are too many in memory."""
        if self.limit is None or self.resident <= self.limit or values.nbytes < self.smallest or is_mapped(values):
            return values
        array = self._mapped(self._file(values.nbytes), len(values), values.dtype)
        array[:] = values
        return array

    def held(self, values: Array) -> Array:
        """The same values, which do not change any more, where there is room for them."""
        if values.nbytes < self.smallest or is_mapped(values):
            return values
        if self._fits(values.nbytes):
            self._count(values, values.nbytes, spilled=False)
            return values
        array = self._mapped(self._file(values.nbytes), len(values), values.dtype)
        array[:] = values
        return array

    def copied(self, values: Array) -> Array:
        """A copy of `values`, where there is room for it."""
        copy = self.array(len(values), values.dtype)
        copy[:] = values
        return copy

    def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The same rows, where there is room for them."""
        if batch.nbytes < self.smallest:
            return batch
        if self._fits(int(batch.nbytes)):
            self._count(batch, int(batch.nbytes), spilled=False)
            return batch
        moved = ipc.open_stream(self.stream(batch.schema, [batch])).read_next_batch()
        _batches_in_files[id(moved)] = moved
        return moved

    def moved_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The same rows, in a file where there are too many in memory."""
        if self.limit is None or self.resident <= self.limit or lies_in_file(batch):
            return batch
        return self.batch(batch)

    def lend(self, bytes: int) -> Loan | None:
        """Room beside all arrays for as many bytes; None where there is none."""
        if self.limit is not None and self._lent + bytes > self.limit // 4:
            return None
        loan = Loan()
        self._borrow(bytes)
        weakref.finalize(loan, self._borrow, -bytes).atexit = False
        return loan

    def stream(self, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> pa.Buffer:
        """An Arrow stream of these batches."""
        measured = pa.MockOutputStream()
        _write(measured, schema, batches)
        array = self.array(measured.size(), np.uint8)
        with pa.FixedSizeBufferWriter(pa.py_buffer(array)) as sink:
            _write(sink, schema, batches)
        return pa.py_buffer(array)

    def joins(self, bytes: int) -> bool:
        """Whether runs that together have so many bytes may become one: while they do, both are in memory."""
        return bytes <= (JOINED_BYTES_MAX_UNLIMITED if self.limit is None else JOINED_BYTES_MAX)

    def watch(self, holder: Holder) -> None:
        """Let `holder` move what it holds when there is less room."""
        if holder.bytes >= self.smallest and not _current.apart:
            self._holders.add(holder)

    def set_limit(self, limit: int | None) -> None:
        """Another limit, from now on: where there is too much in memory the largest holders let it move."""
        self.limit = limit
        for holder in sorted(self._holders, key=lambda holder: holder.bytes, reverse=True):
            if limit is None or self.resident <= limit:
                break
            holder.move()

    def close(self) -> None:
        """Let go of the folder."""
        if self._folder is not None:
            remove_folder(self._folder)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within the block it is the memory of this thread."""
        before = use(self)
        try:
            yield
        finally:
            use(before)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """The same for what this thread makes for itself: it is not asked to move, as another thread would ask."""
        with self.used():
            _current.apart = True
            try:
                yield
            finally:
                _current.apart = False

    def _fits(self, bytes: int) -> bool:
        return self.limit is None or self._folder is None or self.resident + bytes <= self.limit

    def _count(self, held: object, bytes: int, *, spilled: bool) -> None:
        """Count what somebody holds until nobody does."""
        self._add(bytes, spilled)
        weakref.finalize(held, self._add, -bytes, spilled).atexit = False

    def _add(self, bytes: int, spilled: bool) -> None:
        with self._lock:
            if spilled:
                self.spilled += bytes
            else:
                self.resident += bytes

    def _borrow(self, bytes: int) -> None:
        with self._lock:
            self._lent += bytes

    def _file(self, bytes: int) -> File:
        """A new file of so many zeros, without a name."""
        assert self._folder is not None
        if not self.spilled:
            _allow_files()
        make_folder(self._folder, durable=False)
        path = self._folder / str(next(self._numbers))
        file = File(path, create=True)
        remove_file(path)
        file.allocate(0, bytes)
        return file

    def _mapped(self, file: File, size: int, dtype: np.dtype[Any]) -> Array:
        mapping = _Mapping(file.descriptor, size * dtype.itemsize)
        mapping.file = file
        array: Array = np.ndarray(size, dtype, buffer=mapping)
        self._count(mapping, size * dtype.itemsize, spilled=True)
        return array


_batches_in_files: weakref.WeakValueDictionary[int, pa.RecordBatch] = weakref.WeakValueDictionary()


def lies_in_file(batch: pa.RecordBatch) -> bool:
    """Whether `Memory.batch` has put these rows into a file."""
    return _batches_in_files.get(id(batch)) is batch


def is_mapped(values: Array) -> bool:
    """Whether these values lie in a file."""
    base = values.base
    while isinstance(base, np.ndarray):  # they are some of others
        base = base.base
    return isinstance(base, _Mapping)


def _write(sink: pa.NativeFile, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> None:
    with ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _allow_files() -> None:
    """Each array in a file takes two descriptors: ask for as many as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SPILLED_FILES if hard == resource.RLIM_INFINITY else min(SPILLED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def no_memory(wish: str, error: MemoryError) -> OperationalError:
    """What to say where the system gives no more memory."""
    return OperationalError(
        f"cannot {wish}: there is not enough memory",
        detail=f"{type(error).__name__}: {error}.",
        hint="SET memory_limit: state beyond it lies in files. If there is one, take a lower or a higher one.",
        sqlstate=NO_MEMORY,
    )


class _Current(threading.local):
    memory: Memory
    apart = False

    def __init__(self) -> None:
        self.memory = _UNLIMITED


_UNLIMITED = Memory()
_current = _Current()


def current() -> Memory:
    """The memory that this thread works in: of the database whose turn it has, or else one without a limit."""
    return _current.memory


def use(memory: Memory) -> Memory:
    """Work in `memory` from here on; what it was before."""
    before, _current.memory = _current.memory, memory
    return before
