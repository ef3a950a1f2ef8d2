"""Atomic appends: rows for several partitions that count together or not at all, whatever happens."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from .errors import CorruptionError, OperationalError
from .files import File, exists, file_size, list_folder, map_file, read_file, save_file
from .frame import Mark, find_frames
from .limits import TRANSACTION_RECORDS_MAX
from .partition import Frames, Partition, Written
from .schema import SegmentSchema
from .showing import Showing

_MAGIC = b"SLT1"
_HEADER = struct.Struct("<4sIq")  # magic, crc32c of the floor, floor
_RECORD = struct.Struct("<qII")  # number, crc32c of it, 0
_RECORDS = np.dtype([("number", "<i8"), ("checksum", "<u4"), ("zero", "<u4")])
_ALLOCATION_BYTES = 1 << 12
Committed = Callable[[int], bool]


def read_transactions(content: bytes) -> tuple[int | None, set[int], int | None]:
    """What the file says: its floor, the numbers in it, and the position of a damaged one that others follow.

    The floor is None if it is damaged itself. A damaged number at the end is one whose writing was interrupted.
    """
    magic, checksum, floor = _HEADER.unpack_from(content.ljust(_HEADER.size, b"\0"))
    if magic != _MAGIC or checksum != google_crc32c.value(content[8:16]):
        return None, set(), None
    count = (len(content) - _HEADER.size) // _RECORD.size
    records = np.frombuffer(content, _RECORDS, count=count, offset=_HEADER.size)
    records = records[: len(np.trim_zeros(records["checksum"] | (records["number"] != 0), "b"))]
    intact = np.array(
        [google_crc32c.value(record["number"].tobytes()) == record["checksum"] for record in records], bool
    )
    last = int(np.flatnonzero(intact)[-1]) if intact.any() else 0
    damaged = np.flatnonzero(~intact[:last])
    numbers = {int(number) for number in records["number"][intact] if number != 0}
    return floor, numbers, _HEADER.size + _RECORD.size * int(damaged[0]) if len(damaged) else None


def read_committed(path: Path) -> Committed | None:
    """Which atomic appends count; None if the file is damaged, so that nobody can say."""
    if not exists(path):
        return lambda number: False
    floor, numbers, damaged = read_transactions(read_file(path))
    if floor is None or damaged is not None:
        return None
    return lambda number: number < floor or number in numbers


def count_all(root: Path) -> None:
    """The file of a folder whose own is damaged: every transaction that left a frame counts."""
    last = 0
    for topic in list_folder(root / "topics"):
        for partition in list_folder(root / "topics" / topic):
            folder = root / "topics" / topic / partition
            for name in list_folder(folder):
                if name.endswith(".arrow"):
                    buffer = map_file(folder / name, file_size(folder / name))
                    last = max([last, *(frame.mark.transaction for frame in find_frames(buffer, 16))])
    save_file(root / "transactions", _content(last + 1, []), durable=True)


def _content(floor: int, numbers: Sequence[int]) -> bytes:
    records = (_RECORD.pack(n, google_crc32c.value(struct.pack("<q", n)), 0) for n in numbers)
    return b"".join((_HEADER.pack(_MAGIC, google_crc32c.value(struct.pack("<q", floor)), floor), *records))


@dataclass(frozen=True)
class Placed:
    """Where the rows of a part are: at the offsets [start, end) of its partition."""

    partition: Partition
    start: int
    end: int


@dataclass(frozen=True)
class Part:
    """What an atomic append gives one partition: batches of the version `schema`, a frame each."""

    partition: Partition
    schema: SegmentSchema
    frames: Frames


class Transactions:
    """The folder's file of committed transactions, and how one comes about.

    An atomic append writes its frames, marked with a number, to all partitions while it holds their locks; syncs these;
    writes the number to the file and syncs that; and then lets readers see the frames. A partition shows nothing behind
    a frame that is not decided, and acknowledges nothing there, so that recovery may cut it off at the first frame
    whose number is not in the file. All numbers below the file's `floor` count as committed.
    From: two-phase commit with the coordinator's log, and Kafka's last stable offset.
    """

    def __init__(self, path: Path, *, durable: bool, published: bool) -> None:
        self.visibility = threading.RLock()  # held while rows of one transaction become readable, or ends are read
        self._path = path
        self._durable = durable
        self._published = published
        self._changed = threading.Condition()
        self._file: File | None = None
        self._floor = self._next = 1
        self._committed: set[int] = set()
        self._open: set[int] = set()  # begun, not committed; one that failed stays
        self._allocated = self._end = 0
        self._written = self._synced = 0
        self._syncing = False
        self._failure: OperationalError | None = None
        self._showing = Showing(path.with_name("ctl")) if published else None
        self._load()

    def committed(self, number: int) -> bool:
        """Whether the frames of this transaction count."""
        return number < self._floor or number in self._committed

    def recovered(self) -> None:
        """All partitions are open, and hold only frames that count: what comes now is newer than any of them."""
        if self._committed:
            self._save(max(self._committed) + 1)
        self._next = self._floor

    def append(self, parts: Sequence[Part], mark: Mark) -> list[Placed]:
        """Where each part is, once all of them are durable and readable, in one moment for all.

        Raises: OperationalError; either nothing has changed, or it is open what a restart will find: all or nothing.
        """
        parts = sorted(parts, key=lambda part: part.partition.folder)
        assert len({part.partition.folder for part in parts}) == len(parts), "a partition given twice"
        number = self._begin()
        mark = mark._replace(transaction=number)
        written = self._write(parts, mark)
        while written is None:
            written = self._write(parts, mark)
        try:
            for part, (_, end) in zip(parts, written, strict=True):
                part.partition.flush(end)
            self._commit(number)
            with self.visibility:
                self._show()
                with ExitStack() as decisions:  # each is taken, also when another could not be told to the disk
                    for part, (before, _) in zip(parts, written, strict=True):
                        decisions.callback(part.partition.decide, before)
                self._show()
        except OperationalError as error:
            for part in parts:
                part.partition.fail(error)
            raise
        for part in parts:
            part.partition.announce()
        return [Placed(part.partition, before.offset, end) for part, (before, end) in zip(parts, written, strict=True)]

    def close(self) -> None:
        """No more transactions."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._showing is not None:
            self._showing.close()

    def _write(self, parts: Sequence[Part], mark: Mark) -> list[tuple[Written, int]] | None:
        """All frames are written and held back, or none; None if a schema changed meanwhile, so that it begins anew."""
        for part in parts:
            part.partition.prepare()
        with ExitStack() as locks:
            for part in parts:
                locks.enter_context(part.partition.held())
            if not all(part.partition.prepared for part in parts):
                return None
            written: list[Written] = []
            try:
                for part in parts:
                    written.append(part.partition.write(part.frames, part.schema, mark))
            except BaseException:
                for part, before in zip(parts, written, strict=False):
                    part.partition.take_back(before, mark)
                raise
            return [(before, part.partition.hold(before)) for part, before in zip(parts, written, strict=True)]

    def _load(self) -> None:
        if not exists(self._path):
            return
        floor, committed, _ = read_transactions(read_file(self._path))
        if floor is None:
            raise CorruptionError(
                f'cannot read "{self._path}": its checksum does not match',
                detail="It says which atomic appends were committed.",
                hint="Restore it from a copy of the folder.",
            )
        self._floor, self._committed = floor, committed
        self._next = max(self._committed, default=floor - 1) + 1

    def _begin(self) -> int:
        """The number of a new transaction, for whose record there is room on the disk."""
        with self._changed:
            if self._failure is not None:
                raise OperationalError(
                    f'could not append: an earlier write to "{self._path}" went wrong',
                    detail=f"It was: {self._failure.headline}.",
                    hint="Close the database and open it again.",
                    sqlstate=self._failure.sqlstate,
                )
            if self._file is None or len(self._committed) >= TRANSACTION_RECORDS_MAX:
                while self._syncing:
                    self._changed.wait()
                self._save(min(self._open, default=self._next))
            assert self._file is not None
            needed = self._end + _RECORD.size * (len(self._open) + 1)
            if needed > self._allocated:
                self._file.allocate(self._allocated, needed + _ALLOCATION_BYTES)
                self._allocated = needed + _ALLOCATION_BYTES
            number = self._next
            self._next += 1
            self._open.add(number)
            return number

    def _commit(self, number: int) -> None:
        """The transaction counts from now on; one thread syncs for all that arrived meanwhile."""
        with self._changed:
            self._check()
            record = _RECORD.pack(number, google_crc32c.value(struct.pack("<q", number)), 0)
            try:
                assert self._file is not None
                self._file.write([record], len(record), self._end)
            except OperationalError as error:
                self._failure = error
                raise
            self._end += len(record)
            self._committed.add(number)
            self._open.discard(number)
            self._written += 1
            mine = self._written
        while self._durable:
            with self._changed:
                while self._syncing and self._synced < mine:
                    self._changed.wait()
                if self._synced >= mine:
                    return
                self._check()
                self._syncing = True
                written, file = self._written, self._file
            failure = None
            try:
                assert file is not None
                file.sync()
            except OperationalError as error:
                failure = error
            with self._changed:
                self._syncing = False
                self._changed.notify_all()
                if failure is not None:
                    self._failure = failure
                    raise failure
                self._synced = max(self._synced, written)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _save(self, floor: int) -> None:
        """The file anew: all transactions below `floor` that left frames are committed, and those listed."""
        kept = sorted(number for number in self._committed if number >= floor)
        content = _content(floor, kept)
        save_file(self._path, content, durable=self._durable)
        if self._file is not None:
            self._file.close()
        self._file = File(self._path)
        self._floor, self._committed = floor, set(kept)
        self._end = self._allocated = len(content)

    def _show(self) -> None:
        if self._showing is not None:
            self._showing.step()
