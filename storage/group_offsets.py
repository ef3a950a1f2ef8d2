"""How far a consumer group is in a partition: a file of two records that are written in turn, and its recovery."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol

import google_crc32c

from .assignment import TopicPartition
from .errors import CorruptionError
from .files import File, exists, list_folder, read_file, try_lock
from .naming import folder_name, original_name

SLOT_BYTES = 4096  # a record each, so that a torn write never harms the record before
_MAGIC = b"SLG1"
_PREFIX = struct.Struct("<4sI")  # magic, crc32c of the rest
_RECORD = struct.Struct("<qqqq")  # sequence, offset, when the topic was made, when this was committed
RECORD_BYTES = _PREFIX.size + _RECORD.size


class Committed(NamedTuple):
    """All rows before `offset` are done. Units: microseconds; `created` tells topics of one name apart."""

    sequence: int
    offset: int
    created: int
    time: int

    @property
    def position(self) -> int:
        """Where its record goes."""
        return self.sequence % 2 * SLOT_BYTES

    def encode(self) -> bytes:
        record = _RECORD.pack(*self)
        return _PREFIX.pack(_MAGIC, google_crc32c.value(record)) + record


class Offsets(NamedTuple):
    """What a file says: the last intact record, if there is one, and where records are that are not intact."""

    last: Committed | None
    damaged: tuple[int, ...]


class _Log(Protocol):
    @property
    def end_offset(self) -> int: ...


class _Topic(Protocol):
    @property
    def created(self) -> int | None: ...
    @property
    def partitions(self) -> tuple[_Log, ...]: ...


def offsets_file(home: Path, place: TopicPartition) -> Path:
    """The file of the group whose folder is `home`."""
    return home / "offsets" / place_name(place)


def place_name(place: TopicPartition) -> str:
    """What the files of a partition are called in a group's folder."""
    return f"{folder_name(place.topic)}-{place.partition:04d}"


def read_offsets(path: Path) -> Offsets:
    """What the file says; nothing if there is none. A crash leaves no record that is not intact."""
    content = read_file(path) if exists(path) else b""
    intact, damaged = [], []
    for start in (0, SLOT_BYTES):
        piece = content[start : start + RECORD_BYTES]
        if not piece.strip(b"\0"):
            continue
        magic, checksum = _PREFIX.unpack_from(piece.ljust(RECORD_BYTES, b"\0"))
        if len(piece) == RECORD_BYTES and magic == _MAGIC and checksum == google_crc32c.value(piece[_PREFIX.size :]):
            intact.append(Committed(*_RECORD.unpack_from(piece, _PREFIX.size)))
        else:
            damaged.append(start)
    return Offsets(max(intact, default=None), tuple(damaged))


def last_committed(path: Path) -> Committed | None:
    """The last intact record; None if nothing was ever committed.

    Raises: CorruptionError if something was, and no record of it is intact.
    """
    offsets = read_offsets(path)
    if offsets.last is None and offsets.damaged:
        raise CorruptionError(
            f'cannot read "{path}": no record in it matches its checksum',
            detail="It says how far a group of consumers is; the file was damaged after headrace wrote it.",
            hint="Remove the file: the group then has no place there, and begins where `reset` says.",
        )
    return offsets.last


def damaged_offsets(root: Path) -> Iterator[tuple[Path, int, Committed | None]]:
    """Each damaged record of all groups in a folder: file, position, and the record that counts instead."""
    for group in list_folder(root / "consumers"):
        home = root / "consumers" / group / "offsets"
        for name in list_folder(home):
            offsets = read_offsets(home / name)
            for position in offsets.damaged:
                yield home / name, position, offsets.last


def recover_offsets(root: Path, topics: Mapping[str, _Topic], *, durable: bool) -> list[str]:
    """Each place is one that its group had, and not behind the end of its partition; in sentences what was not so.

    A damaged record is replaced by the one before it, so that rows are delivered again and none is left out. Behind the
    end is a group of which a power failure has taken back rows: it goes on with those that come now.
    """
    notices = []
    for group in list_folder(root / "consumers"):
        home = root / "consumers" / group
        written = set(list_folder(home / "offsets"))
        for topic, log in topics.items():
            for number, partition in enumerate(log.partitions):
                place = TopicPartition(topic, number)
                if place_name(place) not in written:
                    continue
                path = offsets_file(home, place)
                last, damaged = read_offsets(path)
                where = f'group "{original_name(group)}" in partition {number} of "{topic}"'
                if last is None:
                    if damaged:
                        notices.append(f"nobody can tell how far {where} is: its records are damaged")
                    continue
                ahead = last.created == (log.created or 0) and last.offset > partition.end_offset
                if not damaged and not ahead:
                    continue
                owner = try_lock(home / "owners" / place_name(place))
                if owner is None and exists(home / "owners" / place_name(place)):
                    continue  # somebody reads it now, and was in the middle of writing
                offset = min(last.offset, partition.end_offset) if ahead else last.offset
                right = last._replace(sequence=last.sequence + 1, offset=offset)
                with closing(File(path)) as file:
                    file.write([right.encode()], RECORD_BYTES, right.position)
                    if durable:
                        file.sync()
                if owner is not None:
                    owner.close()
                if damaged:
                    notices.append(f"a place of {where} was damaged: it goes on at offset {offset}")
    return notices
