"""Compaction against a model of it, and against crashes, faults and damage: no last row of a key is ever lost."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.storage import compaction
from headrace.storage.errors import OperationalError
from headrace.storage.files import faults
from headrace.storage.folder import Folder
from headrace.storage.topic import Partition, Topic, TopicOptions
from headrace.storage.verification import verify_folder

from .logs import files_of, rows_at

SCHEMA = pa.schema([("name", pa.string()), ("number", pa.int32()), ("value", pa.int64()), ("text", pa.string())])
OPTIONS = TopicOptions(cleanup="compact", segment_bytes=1 << 30)
TWO_DAYS_US = 2 * 86_400_000_000
Row = tuple[Any, ...]

ROWS = st.tuples(
    st.sampled_from([None, "", "a", "b", "long " * 9]),
    st.sampled_from([None, 0, 1]),
    st.sampled_from([None, 1, 2, 3]),
    st.sampled_from([None, "x"]),
)
STEPS = st.lists(
    st.one_of(
        st.lists(ROWS, min_size=1, max_size=12),
        st.sampled_from(["seal", "seal", "maintain", "maintain later", "reopen"]),
    ),
    max_size=24,
)


class Model:
    """All rows ever appended to a partition, and which of them compaction may and must have removed."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.sealed = 0
        self.compacted = 0  # sealed rows before it have been compared with each other
        self.gone: set[int] = set()  # tombstones whose time was over

    def lasts(self, end: int) -> dict[Row, int]:
        return {row[:2]: offset for offset, row in enumerate(self.rows[:end])}

    def maintain(self, *, later: bool) -> None:
        if self.sealed:
            self.compacted = self.sealed
        if later:
            lasts = self.lasts(len(self.rows))
            self.gone |= {o for key, o in lasts.items() if o < self.sealed and self.rows[o][2:] == (None, None)}

    def check(self, partition: Partition) -> None:
        found = rows_at(partition)
        assert (partition.start_offset, partition.end_offset) == (0, len(self.rows))
        for offset, row in found.items():
            assert row == self.rows[offset]
        assert set(found) >= set(self.lasts(len(self.rows)).values()) - self.gone
        assert set(found) >= set(range(self.sealed, len(self.rows)))
        known = set(self.lasts(self.compacted).values()) - self.gone
        assert {offset for offset in found if offset < self.compacted} <= known


def append(topic: Topic, rows: list[Row]) -> None:
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
    topic.append(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))


@settings(max_examples=120, deadline=None)
@given(STEPS)
def test_compaction_does_what_its_model_does(steps: list[Any]) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as path:
        patch.setattr(compaction, "COMPACTED_SHARE_MIN", 0.0)  # so that all goes that may go
        folder = Folder.open(Path(path), durability="none")
        topic = folder.create_topic("log", SCHEMA, key=("name", "number"), options=OPTIONS)
        model = Model()
        for step in steps:
            match step:
                case "seal":
                    topic.partitions[0].seal()
                    model.sealed = len(model.rows)
                case "reopen":
                    folder.close()
                    folder = Folder.open(Path(path), durability="none")
                    topic = folder.topic("log")
                case "maintain" | "maintain later":
                    later = step == "maintain later"
                    assert folder.maintain(time.time_ns() // 1000 + (TWO_DAYS_US if later else 0)) == ()
                    model.maintain(later=later)
                case rows:
                    append(topic, rows)
                    model.rows += rows
            model.check(topic.partitions[0])
            assert topic.partitions[0].count() == len(rows_at(topic.partitions[0]))
        folder.close()
        assert verify_folder(Path(path)).findings == []


def filled(path: Path) -> tuple[Folder, Topic, dict[Row, Row]]:
    """Some segments that have something to lose, one that has nothing left then; and the last row of each key."""
    folder = Folder.open(path)
    topic = folder.create_topic("log", SCHEMA, key=("name", "number"), options=OPTIONS)
    last: dict[Row, Row] = {}
    for segment in range(4):
        rows = [(f"{n % 5}", n % 2, 100 * segment + n, "text") for n in range(20)]
        rows += [("gone", 0, None, None) if segment == 2 else ("gone", 0, segment, "there")] * (segment < 3)
        rows += [("only", segment, segment, None)] * (segment != 1)
        append(topic, rows)
        last.update({row[:2]: row for row in rows})
        if segment < 3:
            topic.partitions[0].seal()
    return folder, topic, last


def last_of(partition: Partition) -> dict[Row, Row]:
    return {row[:2]: row for row in rows_at(partition).values()}


def later() -> int:
    return time.time_ns() // 1000 + TWO_DAYS_US


def test_a_crash_at_every_call_loses_nothing(tmp_path: Path) -> None:
    """The folder is copied at each call of two rounds; each copy has the last rows, and can be compacted."""
    copies = 0

    def copy(operation: str, path: Path) -> None:
        nonlocal copies
        copies += 1
        shutil.copytree(tmp_path / "db", tmp_path / f"copy-{copies}")

    folder, topic, last = filled(tmp_path / "db")
    (partition,) = topic.partitions
    before = rows_at(partition)
    with closing(folder), faults(copy):
        assert folder.maintain() == ()
        assert folder.maintain(later()) == ()
    after = rows_at(partition)
    assert len(partition.segments) < 4
    deleted = last.pop(("gone", 0))
    assert last_of(partition) == last
    assert copies > 30
    for number in range(1, copies + 1):
        with closing(Folder.open(tmp_path / f"copy-{number}")) as folder:
            topic = folder.topic("log")
            (partition,) = topic.partitions
            assert folder.notices == ()
            found = rows_at(partition)
            assert after.items() <= found.items() <= before.items()
            if any(row[:2] == ("gone", 0) for row in found.values()):
                assert last_of(partition)["gone", 0] == deleted
            assert files_of(partition) == {segment.path.name for segment in partition.segments}
            append(topic, [("new", 1, 1, None)])
            assert folder.maintain(later()) == ()
            assert rows_at(partition) == {**after, partition.end_offset - 1: ("new", 1, 1, None)}
        assert verify_folder(tmp_path / f"copy-{number}").findings == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_fault_at_every_call_is_told_and_loses_nothing(tmp_path: Path, code: int) -> None:
    call = 0
    struck = True
    while struck:
        call += 1
        struck = False
        calls = 0

        def fault(operation: str, path: Path) -> None:
            nonlocal calls, struck
            calls += 1
            if calls == call:  # noqa: B023 - it is called within this round
                struck = True
                raise OSError(code, os.strerror(code))

        path = tmp_path / str(call)
        folder, topic, last = filled(path)
        (partition,) = topic.partitions
        with closing(folder):
            with faults(fault):
                notices = folder.maintain()
            assert last_of(partition) == last
            assert partition.end_offset == 86
            if notices:
                assert struck
                assert notices[0].startswith('could not tend "log": could not ')
            try:
                append(topic, [("new", 1, 1, None)])
                last["new", 1] = ("new", 1, 1, None)
            except OperationalError:
                assert struck
        with closing(Folder.open(path)) as folder:
            (partition,) = folder.topic("log").partitions
            assert last_of(partition) == last
            assert folder.maintain() == ()
            assert last_of(partition) == last
            assert len(rows_at(partition)) < 86 - 3 * 10
    assert call > 15


def damage(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_segment_stays_and_replaces_nothing(tmp_path: Path, number: int) -> None:
    folder, topic, _ = filled(tmp_path)
    with closing(folder):
        (partition,) = topic.partitions
        segments = partition.segments
        hurt = segments[number]
        damage(hurt.path, hurt.index.positions[0] + 700)
        for _ in range(2):
            (notice,) = folder.maintain(later())
            assert notice == f'could not tend "log": cannot read "{hurt.path}": acknowledged rows are damaged'
            assert hurt in partition.segments
            assert hurt.path.name in files_of(partition)
            others = [one for one in partition.segments[:-1] if one is not hurt]
            assert all(one.sparse for one in others)
            assert sum(one.rows for one in others) < 10
        keep = {row[:2]: row for one in others for row in rows_in(one)}
        if number == 0:
            assert keep["gone", 0] == ("gone", 0, None, None)  # a row that it deletes may be in the damaged one
        if number == 2:
            assert keep["gone", 0] == ("gone", 0, 1, "there")  # as if the damaged one were not there
            assert keep["only", 0] == ("only", 0, 0, None)


def rows_in(segment: Any) -> list[Row]:
    batches = [batch for batch, _ in segment.read(segment.base_offset, segment.end_offset)]
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


def test_damage_that_comes_between_looking_and_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, topic, _ = filled(tmp_path)
    find = compaction.find_last_rows
    (partition,) = topic.partitions
    hurt = partition.segments[1]

    def then_damaged(*arguments: Any, **named: Any) -> Any:
        found = find(*arguments, **named)
        damage(hurt.path, hurt.index.positions[0] + 700)
        return found

    monkeypatch.setattr(compaction, "find_last_rows", then_damaged)
    with closing(folder):
        (notice,) = folder.maintain()
        assert str(hurt.path) in notice
        assert hurt in partition.segments
        assert all(one.sparse for one in partition.segments[:-1] if one is not hurt)
        assert files_of(partition) == {segment.path.name for segment in partition.segments}
