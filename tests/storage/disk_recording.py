"""A disk that can lose its power: what each call changed, what is on the medium, and what a crash may leave of it."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PAGE_BYTES = 4096  # what a kernel writes back at once
SECTOR_BYTES = 512  # what a disk writes at once
Image = dict[str, bytes | None]  # the content of each file by its path, None for a folder


class Loss(NamedTuple):
    """A power failure: of what was not synced, pieces of `piece_bytes` and names stay with the probability `kept`.

    What does not stay is as it was at some moment since the last sync; with 0 all is as it was then.
    """

    kept: float
    piece_bytes: int = PAGE_BYTES

    def pick(self, versions: Sequence[Any], chance: random.Random) -> Any:
        """What is left of something that has been all of these since it was synced."""
        if self.kept == 0 or len(versions) == 1:
            return versions[0]
        return versions[-1] if chance.random() < self.kept else chance.choice(versions)


class RecordedFile:
    """All contents that a file has had since it was last synced; the first is on the medium."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """It has just been made."""
        self.versions = [b""]

    def after(self, loss: Loss, chance: random.Random) -> bytes:
        """What the medium holds after a power failure."""
        if len(self.versions) == 1:
            return self.versions[0]
        size = len(loss.pick(self.versions, chance))
        pieces = []
        for start in range(0, size, loss.piece_bytes):
            length = min(loss.piece_bytes, size - start)
            pieces.append(loss.pick(self.versions, chance)[start : start + length].ljust(length, b"\0"))
        return b"".join(pieces)


class RecordedFolder:
    """What each name has stood for since the folder was last synced, None for nothing; the first is on the medium."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """It has just been made."""
        self.names: dict[str, list[RecordedFile | RecordedFolder | None]] = {}

    def put(self, name: str, node: RecordedFile | RecordedFolder | None) -> None:
        self.names.setdefault(name, [None]).append(node)

    def sync(self) -> None:
        self.names = {name: known[-1:] for name, known in self.names.items() if known[-1] is not None}

    def after(self, loss: Loss, chance: random.Random) -> Image:
        """All that is in the folder after a power failure."""
        image: Image = {}
        for name, known in self.names.items():
            node = loss.pick(known, chance)
            if isinstance(node, RecordedFile):
                image[name] = node.after(loss, chance)
            elif node is not None:
                image[name] = None
                image |= {f"{name}/{path}": content for path, content in node.after(loss, chance).items()}
        return image


Change = tuple[RecordedFile, bytes | None] | tuple[RecordedFolder, str, RecordedFile | RecordedFolder | None, bool]


class Recording:
    """Given to `faults`, it notes after each call how the folder `root` differs; one thread calls at a time.

    `calls` counts them. `replay` goes through the states again, one per call.
    """

    def __init__(self, root: Path) -> None:
        self.calls = 0
        self.operations: list[str] = []
        self._root = root
        self._top = RecordedFolder()
        self._lock = threading.Lock()
        self._last: tuple[str, Path] | None = None
        self._changes: list[list[Change]] = [[]]
        self._names: dict[RecordedFolder, dict[str, RecordedFile | RecordedFolder]] = {self._top: {}}
        self._nodes: dict[int, RecordedFile | RecordedFolder] = {}
        self._stamps: dict[RecordedFile, tuple[int, int]] = {}
        self._contents: dict[RecordedFile, bytes] = {}

    def __call__(self, operation: str, path: Path) -> None:
        with self._lock:
            self._note()
            self.calls += 1
            self.operations.append(operation)
            self._changes.append([])
            self._last = operation, path

    def finish(self) -> None:
        """The last call has returned."""
        with self._lock:
            self._note()
            self._last = None

    def replay(self) -> Iterator[tuple[int, RecordedFolder]]:
        """After each call that changed the disk its number and the disk, which goes on when the next is asked for."""
        for node in {change[0] for changes in self._changes for change in changes}:
            node.reset()
        for call, changes in enumerate(self._changes):
            for change in changes:
                _apply(change)
            if changes:
                yield call, self._top

    def _note(self) -> None:
        if self._last is None:
            return
        operation, path = self._last
        touched = {path.stat().st_ino} if path.exists() else set()
        seen: set[int] = set()
        self._look(self._root, self._top, touched, seen)
        self._nodes = {number: node for number, node in self._nodes.items() if number in seen}
        changes = self._changes[-1]
        if operation == "sync":
            node = self._nodes.get(next(iter(touched), -1))
            if isinstance(node, RecordedFile):
                changes.append((node, None))
        elif operation == "sync folder":
            folder = self._top if path == self._root else self._nodes.get(next(iter(touched), -1))
            assert isinstance(folder, RecordedFolder)
            changes.append((folder, "", None, True))

    def _look(self, path: Path, folder: RecordedFolder, touched: set[int], seen: set[int]) -> None:
        known = self._names[folder]
        present: dict[str, RecordedFile | RecordedFolder] = {}
        changes = self._changes[-1]
        with os.scandir(path) as entries:
            for entry in entries:
                number = entry.inode()
                seen.add(number)
                node = self._nodes.get(number)
                if node is None:
                    node = self._nodes[number] = RecordedFolder() if entry.is_dir() else RecordedFile()
                present[entry.name] = node
                if isinstance(node, RecordedFolder):
                    if node not in self._names:
                        self._names[node] = {}
                    self._look(Path(entry.path), node, touched, seen)
                else:
                    status = entry.stat()
                    stamp = (status.st_size, status.st_mtime_ns)
                    if number in touched or self._stamps.get(node) != stamp:
                        self._stamps[node] = stamp
                        content = Path(entry.path).read_bytes()
                        if content != self._contents.get(node, b""):
                            self._contents[node] = content
                            changes.append((node, content))
        for name in known.keys() | present.keys():
            if known.get(name) is not present.get(name):
                if name not in present:
                    self._forget(known[name])
                changes.append((folder, name, present.get(name), False))
        self._names[folder] = present

    def _forget(self, node: RecordedFile | RecordedFolder) -> None:
        """A folder that is gone lost its names first."""
        if isinstance(node, RecordedFolder):
            for name, child in self._names[node].items():
                self._forget(child)
                self._changes[-1].append((node, name, None, False))
            self._names[node] = {}


def _apply(change: Change) -> None:
    match change:
        case (RecordedFile() as file, None):
            file.versions = file.versions[-1:]
        case (RecordedFile() as file, content):
            file.versions.append(content)
        case (RecordedFolder() as folder, name, node, False):
            folder.put(name, node)
        case (RecordedFolder() as folder, _, _, _):
            folder.sync()


def write_image(image: Image, target: Path) -> None:
    """The folder `target` holds the image and nothing else; pages of zeros take no time."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, content in image.items():
        path = target / name
        if content is None:
            path.mkdir()
            continue
        written = content.rstrip(b"\0")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, written)
            os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)


def read_image(source: Path) -> Image:
    """All that is in a folder."""
    return {
        path.relative_to(source).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in sorted(source.rglob("*"))
    }
