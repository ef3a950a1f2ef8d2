"""The disk: the only code that touches it, so that a fault can be injected at every call, here and once."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from .errors import FolderLockedError, OperationalError

DISK_FULL = "53100"  # the sqlstate of errors that more room would mend

Identity = tuple[int, int, int]  # a file's device, its number there, and its size
Fault = Callable[[str, Path], None]  # told the operation and the file before each call; raises OSError to make it fail

_MAP_FIXED = 0x10  # on Linux; Python has no name for it

_fault: Fault | None = None


@contextmanager
def faults(fault: Fault) -> Iterator[None]:
    """Within the block, every disk operation of this process asks `fault` first."""
    global _fault
    _fault = fault
    try:
        yield
    finally:
        _fault = None


class File:
    """An open file. Its descriptor is closed when nobody holds the object any more, or by `close()`.

    Raises: OperationalError naming the file and the operation, for whatever the system refuses.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self._descriptor = -1
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_TRUNC if create else 0)
        with _disk("create" if create else "open", path):
            self._descriptor = os.open(path, flags, 0o644)

    def write(self, pieces: Sequence[bytes | pa.Buffer], size: int, position: int) -> None:
        """All of `pieces`, `size` bytes together, written one after the other at `position`."""
        try:
            if _fault is not None:
                _fault("write", self.path)
            written = os.pwritev(self._descriptor, pieces, position)
            if written < size:
                rest = memoryview(b"".join(bytes(piece) for piece in pieces))
                while written < size:
                    written += os.pwrite(self._descriptor, rest[written:], position + written)
        except OSError as error:
            raise _could_not("write", self.path, error) from error

    def sync(self) -> None:
        """Returns when all bytes written so far are on the medium."""
        try:
            if _fault is not None:
                _fault("sync", self.path)
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise _could_not("sync", self.path, error) from error

    def allocate(self, start: int, end: int) -> None:
        """Bytes [start, end) exist and read as zeros; the disk has promised to have room for them."""
        with _disk("allocate", self.path):
            os.posix_fallocate(self._descriptor, start, end - start)

    def truncate(self, size: int) -> None:
        with _disk("truncate", self.path):
            os.ftruncate(self._descriptor, size)

    @property
    def descriptor(self) -> int:
        """To map it by."""
        return self._descriptor

    def size(self) -> int:
        with _disk("stat", self.path):
            return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def map_file(path: Path, size: int) -> pa.Buffer:
    """The first `size` bytes of a file, without reading or copying them; shows later writes to these bytes.

    Holds: the memory stays readable while the buffer or a slice of it lives, even when the file has been removed.
    """
    if size == 0:
        return pa.py_buffer(b"")
    with _disk("map", path), pa.memory_map(str(path)) as file:
        return file.read_buffer(size)


def identity(path: Path) -> Identity:
    """Another one for every file there ever is, as long as somebody holds the first."""
    with _disk("stat", path):
        return _identity(path.stat())


def map_over(address: int, size: int, path: Path, position: int, known: Identity) -> bool:
    """Let `size` bytes of memory be those of a file from `position` on; what is written there stays there.

    False where the system cannot, or the file is not the one that was `known`: the memory is of no use then.
    Holds: whole pages, that are the caller's; `position` is a multiple of their size.
    """
    if not sys.platform.startswith("linux"):
        return False
    with _disk("map", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _identity(os.fstat(descriptor)) != known:
                return False
            rights, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | _MAP_FIXED
            return _system_mmap()(address, size, rights, kind, descriptor, position) == address
        finally:
            os.close(descriptor)


@functools.cache
def _system_mmap() -> Callable[..., int | None]:
    """The call itself: Python's own does not say where to."""
    call = ctypes.CDLL(None).mmap
    call.restype = ctypes.c_void_p
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
    return call


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size


def read_file(path: Path) -> bytes:
    with _disk("read", path):
        return path.read_bytes()


def file_size(path: Path) -> int:
    with _disk("stat", path):
        return path.stat().st_size


def signature(path: Path) -> tuple[int, int, int] | None:
    """Another one whenever the file has been written or replaced; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def save_file(path: Path, content: bytes, *, durable: bool) -> None:
    """Replaces the whole file or, when anything goes wrong, nothing of it."""
    draft = path.with_name(path.name + ".tmp")
    file = File(draft, create=True)
    try:
        file.write([content], len(content), 0)
        if durable:
            file.sync()
    finally:
        file.close()
    rename_file(draft, path)
    if durable:
        sync_folder(path.parent)


def rename_file(draft: Path, path: Path) -> None:
    """The file has another name, in the same folder; what had that name is gone."""
    with _disk("rename", path):
        os.replace(draft, path)


def make_folder(path: Path, *, durable: bool) -> None:
    """The folder exists, and so do those above it."""
    if not path.is_dir():
        make_folder(path.parent, durable=durable)
        with _disk("make folder", path):
            path.mkdir(exist_ok=True)
        if durable:
            sync_folder(path.parent)


def make_temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="headrace-"))


def sync_folder(path: Path) -> None:
    """Returns when the names in the folder are on the medium."""
    with _disk("sync folder", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def list_folder(path: Path) -> list[str]:
    """The names in a folder, sorted; none if there is no such folder."""
    if not path.is_dir():
        return []
    with _disk("list", path):
        return sorted(os.listdir(path))


def exists(path: Path) -> bool:
    return path.exists()


def link_file(path: Path, other: Path) -> None:
    """The file has a second name."""
    with _disk("link", other):
        os.link(path, other)


def remove_file(path: Path) -> None:
    """The file is gone, also if it never was there."""
    with _disk("remove", path):
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """The folder and all in it are gone, also if it never was there."""
    if path.is_dir():
        with _disk("remove", path):
            shutil.rmtree(path)


def lock_file(path: Path) -> File:
    """Holds the lock until it is closed; the file names the process that has it.

    Raises: FolderLockedError if any process, this one included, has it already.
    """
    with _disk("open", path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
    file = File(path)
    try:
        fcntl.flock(file._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = read_file(path).decode(errors="replace").strip() or "unknown"
        file.close()
        raise FolderLockedError(
            f'could not open "{path.parent}": another connection owns it',
            detail=f"Process {owner} holds {path}.",
            hint="Close the other connection, or end that process; or open the folder for reading only.",
        ) from None
    try:
        sign(file, f"{os.getpid()}\n")
    except OperationalError:
        file.close()  # or else whoever keeps the error would keep the lock
        raise
    return file


def sign(lock: File, name: str) -> None:
    """The file of a lock says who has it."""
    content = name.encode()
    lock.truncate(0)
    lock.write([content], len(content), 0)


def try_lock(path: Path) -> File | None:
    """The lock of a file that is there, until it is closed; None if another holds it, or there is no file."""
    try:
        file = File(path)
    except OperationalError:
        if path.exists():
            raise
        return None
    try:
        fcntl.flock(file._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def wait_for_lock(path: Path) -> File:
    """The lock of a file, made if need be, once all who hold it have let go; until it is closed."""
    with _disk("open", path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
    file = File(path)
    with _disk("lock", path):
        fcntl.flock(file._descriptor, fcntl.LOCK_EX)
    return file


@contextmanager
def _disk(operation: str, path: Path) -> Iterator[None]:
    try:
        if _fault is not None:
            _fault(operation, path)
        yield
    except OSError as error:
        raise _could_not(operation, path, error) from error


def _could_not(operation: str, path: Path, error: OSError) -> OperationalError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    reason = (error.strerror or str(error)).lower()
    return OperationalError(
        f'could not {operation} "{path}": {reason}',
        hint="Free some space on the disk and try again." if full else None,
        sqlstate=DISK_FULL if full else "58030",
    )
