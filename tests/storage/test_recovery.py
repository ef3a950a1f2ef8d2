"""Recovery: whatever happens to the bytes, acknowledged rows come back, or the damage is named."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from headrace.storage.control import Control
from headrace.storage.errors import CorruptionError, Error
from headrace.storage.files import faults
from headrace.storage.folder import Folder
from headrace.storage.frame import scan_frames
from headrace.storage.manifest import load_manifest
from headrace.storage.recovery import recover
from headrace.storage.schema import SegmentSchema
from headrace.storage.segment import Segment
from headrace.storage.topic import TopicOptions

from .logs import FRAME_SEGMENTS, SMALL_SCHEMA, make_log, numbered, numbers_of, read_log

SEGMENT_SCHEMA = SegmentSchema.first(SMALL_SCHEMA)
FIRST_FRAME = len(SEGMENT_SCHEMA.file_start)
FIRST_SEGMENT = "00000000000000000000.arrow"


def put(file: Path, content: bytes) -> None:
    """The file has this content; written in place, which is ten times quicker than anew."""
    with file.open("r+b") as opened:
        opened.write(content)
        opened.truncate()


class Log:
    """The files of a small closed log, to be damaged and recovered."""

    def __init__(self, path: Path, sizes: list[int], options: TopicOptions | None = None) -> None:
        self.path = path
        self.folder = make_log(path, sizes, options=options)
        self.rows = list(range(sum(sizes)))
        self.files = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
        self.segment = self.folder / FIRST_SEGMENT
        self.content = self.files[self.segment]
        manifest = load_manifest(self.folder)
        assert manifest is not None
        self.manifest = manifest
        self.control = Control(self.folder / "ctl").load()

    def frame_ends(self) -> list[tuple[int, int]]:
        """For each frame of the first segment, and before them: the position and the offset where it ends."""
        ends = [(FIRST_FRAME, 0)]
        for frame in scan_frames(pa.py_buffer(self.content), FIRST_FRAME, 0):
            ends.append((frame.position + frame.size, frame.base_offset + frame.rows))
        return ends

    def recovered(self, content: bytes, *, control: bool = True) -> list[int] | CorruptionError:
        """The rows that recovery finds with this content of the first segment, or what it has to say."""
        put(self.segment, content)
        try:
            known = self.control if control else None
            segments = recover(
                self.folder,
                self.manifest,
                lambda entry: Segment.sealed(self.folder / entry.file, SEGMENT_SCHEMA, entry),
                [SEGMENT_SCHEMA],
                known,
                lambda transaction: False,
                durable=False,
            ).segments
            batches = [batch for part in segments for batch, _ in part.read(part.base_offset, part.end_offset)]
        except CorruptionError as error:
            assert FIRST_SEGMENT in str(error)  # noqa: PT017 - both outcomes are right
            return error
        return [number for batch in batches for number in batch.column(0).to_pylist()]

    def reopened(self, name: str, content: bytes) -> list[int] | Error:
        """The rows of the folder, all put back but one file, or what opening it has to say."""
        for file, right in self.files.items():
            put(file, content if file.name == name else right)
        try:
            return read_log(self.path)
        except Error as error:
            return error


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path, [3, 1, 2])


def flips(content: bytes, *, step: int = 1) -> Iterator[bytes]:
    for bit in range(0, 8 * len(content), step):
        yield content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]


def test_truncation_at_every_byte(log: Log) -> None:
    ends = log.frame_ends()
    assert log.recovered(log.content) == log.rows
    for size in range(len(log.content)):
        torn = log.content[:size]
        whole = max([offset for position, offset in ends if position <= size], default=0)
        assert log.recovered(torn, control=False) == log.rows[:whole]  # no sign that it ever was longer
        assert log.segment.stat().st_size == max(position for position, offset in ends if offset <= whole)
        assert isinstance(log.recovered(torn), CorruptionError)
        assert log.segment.read_bytes() == torn


def test_every_single_bit_flip(log: Log) -> None:
    """Nothing acknowledged is lost silently: all rows come back, or an error names the file."""
    noticed = 0
    for content in flips(log.content):
        rows = log.recovered(content)
        assert isinstance(rows, CorruptionError) or rows == log.rows
        noticed += isinstance(rows, CorruptionError)
    assert noticed == 8 * (len(log.content) - FIRST_FRAME)  # what stands before the first frame is put right


def test_every_single_bit_flip_without_the_control_file(log: Log) -> None:
    """Later frames say what was durable; only the last one can pass for torn, as in a crash."""
    last_start = log.frame_ends()[-2][1]
    for content in flips(log.content, step=5):
        rows = log.recovered(content, control=False)
        if not isinstance(rows, CorruptionError):
            assert rows == log.rows[: len(rows)]
            assert len(rows) >= last_start


@pytest.mark.parametrize("name", ["ctl", "CURRENT", "MANIFEST-1.json", "topic.json"])
def test_bit_flips_of_the_other_files(log: Log, name: str) -> None:
    (file,) = (file for file in log.files if file.name == name)
    for content in flips(log.files[file], step=5 if name in ("ctl", "CURRENT") else 29):
        rows = log.reopened(name, content)
        assert rows == log.rows or (isinstance(rows, Error) and str(file.parent) in str(rows))


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST-1.json", FIRST_SEGMENT])
def test_a_missing_file_is_noticed(log: Log, name: str) -> None:
    (log.folder / name).unlink()
    with pytest.raises(CorruptionError, match="CURRENT" if name.startswith("MANIFEST") else name):
        read_log(log.path)


def test_sealed_segments_are_verified_when_they_are_read(tmp_path: Path) -> None:
    log = Log(tmp_path, [3, 2], FRAME_SEGMENTS)
    index = log.segment.with_suffix(".idx")
    for content in flips(log.content):
        rows = log.recovered(content)
        assert isinstance(rows, CorruptionError) or rows == log.rows
    assert isinstance(log.recovered(log.content + b"\0"), CorruptionError)
    for content in (b"", *flips(log.files[index], step=3)):
        put(index, content)
        assert log.recovered(log.content) == log.rows
    index.unlink()
    assert log.recovered(log.content) == log.rows
    assert index.exists()


def frame_of_another_log(path: Path) -> bytes:
    content = (make_log(path, [5, 5, 5]) / FIRST_SEGMENT).read_bytes()
    return content[FIRST_FRAME:]


TAILS: dict[str, Callable[[Log, int], bytes]] = {
    "zeros": lambda log, size: bytes(size),
    "ones": lambda log, size: b"\xff" * size,
    "noise": lambda log, size: random.Random(size).randbytes(size),
    "old start": lambda log, size: log.content[:size],
    "old frames": lambda log, size: (log.content[FIRST_FRAME:] * 9)[:size],
    "half a frame": lambda log, size: log.content[FIRST_FRAME : FIRST_FRAME + min(size, 100)],
    "continuations": lambda log, size: (b"\xff\xff\xff\xff\x78\0\0\0" * size)[:size],
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS.keys())
def test_what_stands_behind_the_last_frame_is_cut_off(log: Log, tail: Callable[[Log, int], bytes]) -> None:
    for size in (1, 7, 8, 100, 4096, 70_000):
        assert log.reopened(FIRST_SEGMENT, log.content + tail(log, size)) == log.rows
        assert log.segment.read_bytes() == log.content
    with closing(Folder.open(log.path)) as folder:
        topic = folder.topic("log")
        topic.append(numbered(6, 8, SMALL_SCHEMA))
        assert numbers_of(topic.partitions[0]) == list(range(8))


def test_rows_that_hold_the_bytes_of_a_log_are_no_frames(tmp_path: Path) -> None:
    """A torn frame whose values are frames of another log, with offsets and evidence of their own."""
    schema = pa.schema([("bytes", pa.binary())])
    embedded = bytes(8) * 3 + frame_of_another_log(tmp_path / "other")
    folder = Folder.open(tmp_path / "log")
    topic = folder.create_topic("log", schema)
    topic.append(pa.record_batch([pa.array([embedded])], schema=schema))
    folder.close()
    partition = tmp_path / "log" / "topics" / "log" / "p-0000"
    (partition / "ctl").unlink()
    segment = partition / FIRST_SEGMENT
    content = segment.read_bytes()
    segment.write_bytes(content[:-9] + bytes(9))
    with closing(Folder.open(tmp_path / "log")) as folder:
        assert folder.topic("log").partitions[0].end_offset == 0
        assert "not written to its end" in folder.notices[0]


@pytest.mark.parametrize("seed", range(20))
def test_power_loss_keeps_what_was_acknowledged(tmp_path: Path, seed: int) -> None:
    """After a sync, the medium holds what was synced and any of the pages written since; here pages have 32 bytes."""
    chance = random.Random(seed)
    synced: dict[Path, bytes] = {}

    def remember(operation: str, path: Path) -> None:
        if operation == "sync":
            synced[path] = path.read_bytes()

    with faults(remember):
        folder = Folder.open(tmp_path / "log")
        topic = folder.create_topic("log", SMALL_SCHEMA, options=TopicOptions(segment_bytes=2000))
        end = acknowledged = 0
        for _ in range(chance.randrange(1, 25)):
            size = chance.randrange(1, 9)
            batch = numbered(end, end + size, SMALL_SCHEMA)
            end += size
            if chance.random() < 0.3:
                topic.append(batch)
                acknowledged = end
            else:
                topic.partitions[0].append([(batch, topic._times_of(batch, topic.version, 0))], topic.version)
    before = dict(synced)
    shutil.copytree(tmp_path / "log", tmp_path / "crashed")
    folder.close()
    for path in (tmp_path / "crashed").rglob("*.arrow"):
        present = path.read_bytes()
        medium = bytearray(before[tmp_path / "log" / path.relative_to(tmp_path / "crashed")].ljust(len(present), b"\0"))
        for start in range(0, len(present), 32):
            if chance.random() < 0.7:
                medium[start : start + 32] = present[start : start + 32]
        path.write_bytes(medium)
    with closing(Folder.open(tmp_path / "crashed")) as folder:
        rows = numbers_of(folder.topic("log").partitions[0])
    assert rows == list(range(len(rows)))
    assert len(rows) >= acknowledged


@pytest.mark.parametrize("seed", range(20))
def test_a_lost_page_of_acknowledged_rows_is_named(tmp_path: Path, seed: int) -> None:
    log = Log(tmp_path, [5, 1, 9, 30, 2, 2, 60])
    chance = random.Random(seed)
    start = chance.randrange(FIRST_FRAME, len(log.content) - 64)
    lost = log.content[:start] + b"\0" * 64 + log.content[start + 64 :]
    assert lost != log.content
    error = log.recovered(lost)
    assert isinstance(error, CorruptionError)
    assert "to 109 were acknowledged" in str(error.detail)
    assert log.segment.read_bytes() == lost


def test_a_footer_torn_at_every_byte(tmp_path: Path) -> None:
    """The crash comes while a segment is sealed: its manifest still calls it active."""
    sealed = Log(tmp_path / "sealed", [3, 2], FRAME_SEGMENTS).content
    active = Log(tmp_path / "active", [3])
    footer = sealed[len(active.content) :]
    for size in range(len(footer) + 1):
        assert active.recovered(active.content + footer[:size]) == active.rows
        assert active.segment.read_bytes() == active.content


def test_leftovers_of_a_crash_are_removed(log: Log) -> None:
    leftovers = ["00000000000000000010.arrow", "MANIFEST-2.json", "MANIFEST-2.json.tmp", "CURRENT.tmp"]
    for name in leftovers:
        (log.folder / name).write_bytes(b"left")
    (log.path / "topics" / "half").mkdir()
    assert read_log(log.path) == log.rows
    assert not any((log.folder / name).exists() for name in leftovers)
    assert not (log.path / "topics" / "half").exists()


def test_many_rows_after_a_torn_one_are_not_dropped_silently(tmp_path: Path) -> None:
    """With durability 'none' nothing was promised; what recovery drops is said all the same."""
    folder = make_log(tmp_path, [1] * 10, durability="none")
    (folder / "ctl").unlink()
    segment = folder / FIRST_SEGMENT
    content = bytearray(segment.read_bytes())
    content[FIRST_FRAME + 8] ^= 1
    segment.write_bytes(content)
    with closing(Folder.open(tmp_path)) as opened:
        assert opened.topic("log").partitions[0].end_offset == 0
        assert "dropped 9 unacknowledged frames after offset 0" in opened.notices[0]
