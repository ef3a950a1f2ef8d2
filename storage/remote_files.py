"""Files elsewhere, on any file system that Arrow knows: written, read and removed by their URIs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import fs

from .errors import OperationalError, ProgrammingError
from .files import File, sync_folder
from .limits import REMOTE_PIECE_BYTES

_SCHEMES = frozenset({"file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs"})
_SECRETS = frozenset({"access_key", "secret_key", "session_token", "account_key", "sas_token", "access_token"})
_DEPTH = 3  # topic, partition and name: the part of a URI that is ours


class RemoteFiles:
    """What Arrow opens by URI, and the `filesystems` given, each by the scheme of its URIs.

    Shape: a URI is `<base>/<topic>/<partition>/<name>`, and the base's query if it has one.
    Raises: OperationalError naming the file and the operation, for whatever the file system refuses.
    """

    def __init__(self, filesystems: Mapping[str, fs.FileSystem] | None = None) -> None:
        self._given = dict(filesystems or {})
        self._opened: dict[str, tuple[fs.FileSystem, str]] = {}
        self._opening = threading.Lock()

    def check(self, base: str) -> None:
        """Raises: ProgrammingError if files cannot be kept there, or the URI has a secret, which would be on disk."""
        parts = urlsplit(base)
        if parts.scheme not in _SCHEMES | self._given.keys() or not (parts.netloc or parts.path.startswith("/")):
            known = ", ".join(sorted(_SCHEMES | self._given.keys()))
            raise ProgrammingError(
                f'cannot keep segments at "{base}"',
                detail=f"That is no URI of a file system that is known: {known}.",
                hint="Give one such as 's3://bucket/prefix' or 'file:///mnt/cold'.",
            )
        if ("@" in parts.netloc and parts.scheme not in ("abfs", "abfss")) or ":" in parts.netloc.rpartition("@")[0]:
            secret = True
        else:
            secret = any(name.lower() in _SECRETS for name, _ in parse_qsl(parts.query, keep_blank_values=True))
        if secret:
            raise ProgrammingError(
                "cannot keep a secret in the options of a topic",
                detail="They are on disk, for everybody who may read the folder.",
                hint="Give credentials in the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            )

    def write(self, uri: str, content: pa.Buffer, breathe: Callable[[], None]) -> None:
        """The file is there, all of it; on a local disk it is synced too. `breathe` is called now and then."""
        with _remote("write", uri):
            filesystem, path = self._at(uri)
            try:
                stream = filesystem.open_output_stream(path, compression=None)
            except FileNotFoundError:
                filesystem.create_dir(path.rpartition("/")[0], recursive=True)
                stream = filesystem.open_output_stream(path, compression=None)
            with stream:
                for start in range(0, content.size, REMOTE_PIECE_BYTES):
                    breathe()
                    stream.write(content.slice(start, min(REMOTE_PIECE_BYTES, content.size - start)))
        local = _local(filesystem, path)
        if local is not None:
            file = File(local)
            try:
                file.sync()
            finally:
                file.close()
            for folder in local.parents[:_DEPTH]:
                sync_folder(folder)

    def read(self, uri: str) -> Iterator[bytes]:
        """The file's bytes, in pieces."""
        with _remote("read", uri):
            filesystem, path = self._at(uri)
            stream = filesystem.open_input_stream(path, compression=None)
        with stream:
            while True:
                with _remote("read", uri):
                    piece = stream.read(REMOTE_PIECE_BYTES)
                if not piece:
                    return
                yield piece

    def remove(self, uri: str) -> None:
        """The file is gone, also if it never was there."""
        with _remote("remove", uri), suppress(FileNotFoundError):
            filesystem, path = self._at(uri)
            filesystem.delete_file(path)

    def _at(self, uri: str) -> tuple[fs.FileSystem, str]:
        """The file system of a URI, opened once for each base, and the path in it."""
        path, mark, query = uri.partition("?")
        *base_parts, topic, partition, name = path.split("/")
        base = "/".join(base_parts) + mark + query
        with self._opening:
            if base not in self._opened:
                self._opened[base] = self._open(base)
            filesystem, folder = self._opened[base]
        return filesystem, "/".join((folder.rstrip("/"), topic, partition, name)).lstrip("/" if not folder else "")

    def _open(self, base: str) -> tuple[fs.FileSystem, str]:
        parts = urlsplit(base)
        if parts.scheme in self._given:
            return self._given[parts.scheme], (parts.netloc + parts.path).rstrip("/")
        filesystem, folder = fs.FileSystem.from_uri(base if parts.netloc or parts.path else f"{base}/")
        return filesystem, folder


def uri_below(base: str, topic: str, partition: str, name: str) -> str:
    """The URI of a file below `base`. Shape: nothing in the part below means anything else in a URI."""
    path, mark, query = base.partition("?")
    return "/".join((path.removesuffix("/"), topic.replace("%", "~"), partition, name)) + mark + query


def uri_name(uri: str) -> str:
    """The last part of its path."""
    return uri.partition("?")[0].rpartition("/")[2]


def uri_shown(uri: str) -> str:
    """Without the query, for messages."""
    return uri.partition("?")[0]


def _local(filesystem: fs.FileSystem, path: str) -> Path | None:
    """Where the file is on a local disk, if it is on one."""
    while isinstance(filesystem, fs.SubTreeFileSystem):
        path = f"{filesystem.base_path.rstrip('/')}/{path.lstrip('/')}"
        filesystem = filesystem.base_fs
    return Path(path) if isinstance(filesystem, fs.LocalFileSystem) else None


@contextmanager
def _remote(operation: str, uri: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = re.sub(r"^\[Errno \d+\] ", "", (str(error) or type(error).__name__).splitlines()[0]).rstrip(". ")
        raise OperationalError(f'could not {operation} "{uri_shown(uri)}": {reason}', sqlstate="58030") from error
