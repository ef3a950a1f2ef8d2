"""Repair: exactly the rows of intact frames are there afterwards, at their offsets, and the folder is whole again."""

from __future__ import annotations

import errno
import os
import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from headrace.storage.errors import CorruptionError, FolderLockedError, OperationalError, ProgrammingError
from headrace.storage.files import faults
from headrace.storage.folder import Folder
from headrace.storage.manifest import load_manifest
from headrace.storage.partition import Partition
from headrace.storage.repair import Plan, carry_out, owned, plan_repair
from headrace.storage.scanning import scan
from headrace.storage.schema import OFFSET_COLUMN
from headrace.storage.tail import TailFolder
from headrace.storage.topic import TopicOptions
from headrace.storage.verification import verify_folder

from .damages import copied, damage, extents, flip, make
from .logs import SCHEMA, make_log, numbered


def repaired(root: Path, topic: str = "log") -> Plan:
    """The folder after repair; what was done."""
    with owned(root) as path:
        plan = plan_repair(path, topic)
        carry_out(plan)
    return plan


def lost_in(plan: Plan) -> set[int]:
    return {offset for lost in plan.lost for offset in range(lost.start, lost.end)}


def places(partition: Partition) -> dict[int, int]:
    """The number in each row, by its offset."""
    found: dict[int, int] = {}
    for batch in partition.read(partition.start_offset, partition.end_offset, [OFFSET_COLUMN, "number"]):
        found.update(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True))
    return found


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def check_whole(root: Path, expected: set[int], end: int) -> None:
    """The folder is verified, opens, has these rows at their offsets, reads over the holes and takes more rows."""
    assert verify_folder(root).findings == []
    with closing(TailFolder(root)) as reader:
        assert reader.topics["log"].partitions[0].end_offset == end
    with closing(Folder.open(root)) as folder:
        assert folder.notices == ()
        topic = folder.topic("log")
        (partition,) = topic.partitions
        assert places(partition) == {offset: offset for offset in expected}
        for start in range(partition.start_offset, end + 1, 3):
            for stop in (start, start + 1, min(start + 5, end)):
                if start <= stop <= end:
                    read = [n for batch in partition.read(start, stop) for n in batch.column("number").to_pylist()]
                    assert read == sorted(expected & set(range(start, stop)))
        scanned = [n for batch in scan(partition, 0, end, ["number"]) for n in batch.column(0).to_pylist()]
        assert scanned == sorted(expected)
        assert topic.append(numbered(end, end + 4))[0].start == end
        assert folder.maintain() == ()
        assert places(partition) == {offset: offset for offset in expected | set(range(end, end + 4))}
    assert verify_folder(root).findings == []


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("seed", range(60))
def test_all_rows_of_intact_frames_are_saved(tmp_path: Path, seed: int, sparse: bool) -> None:
    make(tmp_path / "good", sparse=sparse)
    chance = random.Random(seed)
    root = tmp_path / "damaged"
    partition = copied(tmp_path / "good", root)
    known = extents(partition)
    there = frozenset().union(*(extent.offsets for extent in known))
    end = max(there) + 1
    lost: frozenset[int] = frozenset()
    what = []
    rounds = chance.choice([1, 1, 2, 4])
    for _ in range(rounds):
        if not list(partition.glob("*.arrow")):
            break
        done = damage(partition, chance, known if rounds > 1 else None)
        lost |= done.lost
        what.append(done.what)
    before = snapshot(root)
    with owned(root) as path:
        plan = plan_repair(path, "log")
        after = snapshot(root)
        assert {name: after[name] for name in after if name != "LOCK"} == {n: before[n] for n in before if n != "LOCK"}
        assert plan.steps, what
        carry_out(plan)
    if any(word in what for word in ("ctl", "manifest", "CURRENT")):  # then nobody knows of all that is gone
        assert lost_in(plan) & there <= lost, what
        with closing(Folder.open(root)) as folder:
            end = folder.topic("log").partitions[0].end_offset
    else:
        assert lost_in(plan) & there == lost, what
    check_whole(root, set(there - lost), end)
    aside = [path.name for path in (partition / "quarantine").glob("*")]
    damaged = {step.split(": ")[1] for step in plan.steps if "what is intact" in step}
    assert set(aside) >= damaged


def test_what_is_damaged_again_is_repaired_again(tmp_path: Path) -> None:
    partition = make(tmp_path)
    there = set(range(37))
    chance = random.Random(1)
    for _ in range(6):
        extent = chance.choice(extents(partition))
        flip(extent.path, extent.end_position - 1)
        plan = repaired(tmp_path)
        assert lost_in(plan) & there == extent.offsets
        there -= extent.offsets
        assert verify_folder(tmp_path).findings == []
    check_whole(tmp_path, there, 37)
    assert len(list((partition / "quarantine").glob("*.arrow*"))) == 6


def test_a_whole_topic_needs_no_repair(tmp_path: Path) -> None:
    make(tmp_path, sparse=True)
    before = snapshot(tmp_path)
    plan = repaired(tmp_path)
    assert (plan.steps, plan.lost) == ([], [])
    after = snapshot(tmp_path)
    assert {name: after[name] for name in after if name != "LOCK"} == {n: before[n] for n in before if n != "LOCK"}


def test_named_writers_go_on_after_a_repair(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        topic = folder.create_topic("log", SCHEMA)
        mark = folder.writers.open("loader")
        for sequence in (1, 2, 3):
            topic.append(numbered(4 * sequence - 4, 4 * sequence), mark=mark._replace(sequence=sequence))
    partition = tmp_path / "topics" / "log" / "p-0000"
    known = extents(partition)
    flip(known[1].path, known[1].end_position - 1)
    repaired(tmp_path)
    with closing(Folder.open(tmp_path)) as folder:
        assert folder.topic("log").partitions[0].writers == {mark.writer: 3}


def test_atomic_appends_count_when_nobody_can_say_which_were_committed(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        left, right = folder.create_topic("log", SCHEMA), folder.create_topic("right", SCHEMA)
        for start in range(0, 30, 10):
            folder.append_atomic([(left, numbered(start, start + 10), None), (right, numbered(0, 5), None)])
    flip(tmp_path / "transactions", 9)
    with pytest.raises(CorruptionError):
        Folder.open(tmp_path)
    plan = repaired(tmp_path)
    assert (len(plan.steps), plan.lost) == (1, [])
    check_whole(tmp_path, set(range(30)), 30)
    with closing(Folder.open(tmp_path)) as folder:
        assert folder.topic("right").partitions[0].end_offset == 15
        folder.append_atomic([(folder.topic("log"), numbered(34, 35), None)])


def test_other_topics_are_left_alone(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        for name in ("log", "other"):
            topic = folder.create_topic(name, SCHEMA, partitions=2, key=["number"])
            topic.append(numbered(0, 100))
    for name in ("log", "other"):
        (path,) = (tmp_path / "topics" / name / "p-0001").glob("*.arrow")
        flip(path, path.stat().st_size - 1)
    before = snapshot(tmp_path / "topics" / "other") | snapshot(tmp_path / "topics" / "log" / "p-0000")
    (lost,) = repaired(tmp_path).lost
    assert lost.partition == 1
    assert snapshot(tmp_path / "topics" / "other") | snapshot(tmp_path / "topics" / "log" / "p-0000") == before
    assert {finding.topic for finding in verify_folder(tmp_path).findings} == {"other"}


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_a_fault_at_any_call_leaves_it_as_it_was_or_repaired(tmp_path: Path, error: int) -> None:
    partition = make(tmp_path / "good")
    known = extents(partition)
    for number in (0, len(known) - 1):
        flip(known[number].path, known[number].end_position - 1)
    there = set(range(37)) - known[0].offsets - known[-1].offsets
    root = tmp_path / "again"
    for call in range(1000):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(tmp_path / "good", root)
        calls: list[str] = []

        def fault(operation: str, path: Path, calls: list[str] = calls, call: int = call) -> None:
            calls.append(operation)
            if len(calls) == call + 1:
                raise OSError(error, os.strerror(error))

        with owned(root) as path:
            plan = plan_repair(path, "log")
            try:
                with faults(fault):
                    carry_out(plan)
            except OperationalError:
                pass
        if len(calls) <= call:
            break
        repaired(root)
        check_whole(root, there, 37)
        names = {path.name.split(".arrow")[0] for path in (root / "topics" / "log" / "p-0000" / "quarantine").iterdir()}
        assert names >= {known[0].path.stem, known[-1].path.stem}
    assert call > 30


def test_what_cannot_be_repaired_is_said(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="there is no database"), owned(tmp_path / "nowhere"):
        pass
    make(tmp_path / "db")
    with owned(tmp_path / "db") as root:
        with pytest.raises(ProgrammingError, match='there is no topic "logs"'):
            plan_repair(root, "logs")
        with pytest.raises(FolderLockedError):
            Folder.open(root)
        flip(root / "topics" / "log" / "topic.json", 100)
        with pytest.raises(CorruptionError, match=r"topic\.json"):
            plan_repair(root, "log")


def test_a_compressed_topic_with_rows_deleted_is_repaired(tmp_path: Path) -> None:
    options = TopicOptions(segment_bytes=1500, event_time="at", compression="zstd")
    partition = make_log(tmp_path, [4] * 12, schema=SCHEMA, options=options)
    with closing(Folder.open(tmp_path)) as folder:
        folder.topic("log").delete_before(0, 10)
    known = extents(partition)
    flip(known[2].path, known[2].end_position - 3)
    there = set(range(10, 48)) - known[2].offsets
    assert lost_in(repaired(tmp_path)) == known[2].offsets
    manifest = load_manifest(partition)
    assert manifest is not None
    assert manifest.start_offset == 10
    check_whole(tmp_path, there, 48)
