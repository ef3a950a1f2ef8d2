"""Verification: a good folder is found good, whoever writes it; damage is found, with exactly the rows it affects."""

from __future__ import annotations

import random
import threading
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from headrace import connect
from headrace.storage.catalog import CatalogEntry
from headrace.storage.errors import OperationalError, ProgrammingError
from headrace.storage.files import faults
from headrace.storage.findings import Finding
from headrace.storage.folder import Folder
from headrace.storage.schema import AddColumn
from headrace.storage.topic import TopicOptions
from headrace.storage.verification import verify_folder

from .damages import copied, damage, extents, flip, make
from .logs import SCHEMA, make_log, numbered


def affected(findings: list[Finding]) -> set[int]:
    """The offsets that some finding names."""
    return {
        offset
        for found in findings
        if found.start is not None and found.end is not None
        for offset in range(found.start, found.end)
    }


def test_a_good_folder_is_found_good_and_nothing_is_written(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        options = TopicOptions(segment_bytes=2000, event_time="at")
        for compression in (None, "zstd"):
            topic = folder.create_topic(
                f"log {compression}", SCHEMA, partitions=2, key=["number"],
                options=TopicOptions(segment_bytes=2000, event_time="at", compression=compression),
            )  # fmt: skip
            for start in range(0, 300, 10):
                topic.append(numbered(start, start + 10))
        lazy = folder.create_topic("lazy", SCHEMA, options=TopicOptions(durability="none"))
        lazy.append(numbered(0, 10))
        folder.create_topic("Empty", SCHEMA, partitions=3, options=options)
        topic.evolve(AddColumn(pa.field("more", pa.string())))
        topic.append(pa.record_batch([*numbered(300, 310).columns, pa.nulls(10, pa.string())], schema=topic.schema))
        folder.append_atomic([(lazy, numbered(10, 20), None)])
        topic.delete_before(0, 40)

        written = []
        with faults(lambda operation, path: written.append(operation)):
            checked = verify_folder(tmp_path)
        assert not {"write", "create", "sync", "rename", "remove", "truncate", "make folder"} & set(written)
        assert checked.findings == []
        assert checked.rows > 300 + 300 + 20 - 60
        assert folder.maintain() == ()
        assert verify_folder(tmp_path).findings == []
    checked = verify_folder(tmp_path)
    assert (checked.findings, checked.partitions) == ([], 2 + 2 + 1 + 3)
    assert verify_folder(tmp_path, ["lazy"]).rows == 20


def test_a_sparse_segment_is_found_good(tmp_path: Path) -> None:
    make(tmp_path, sparse=True)
    assert verify_folder(tmp_path).findings == []


def test_what_is_elsewhere_is_not_fetched_but_its_index_is_verified(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path / "db")) as folder:
        options = TopicOptions(segment_bytes=1500, tier=f"file://{tmp_path / 'elsewhere'}")
        topic = folder.create_topic("log", SCHEMA, options=options)
        for start in range(0, 60, 5):
            topic.append(numbered(start, start + 5))
        assert folder.maintain() == ()
    (tmp_path / "elsewhere").rename(tmp_path / "away")
    assert verify_folder(tmp_path / "db").findings == []
    index = min((tmp_path / "db").rglob("*.idx"))
    flip(index, 30)
    assert [found.file for found in verify_folder(tmp_path / "db").findings] == [f"topics/log/p-0000/{index.name}"]


def test_what_a_crash_leaves_is_no_damage(tmp_path: Path) -> None:
    partition = make(tmp_path)
    active = sorted(partition.glob("*.arrow"))[-1]
    content = active.read_bytes()
    for tail in (bytes(1000), b"\xff" * 100, content[-200:], content[300:]):
        active.write_bytes(content + tail)
        (partition / "MANIFEST-1.json.tmp").write_bytes(b"half")
        assert verify_folder(tmp_path).findings == []


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("seed", range(60))
def test_any_damage_is_found_with_the_rows_it_affects(tmp_path: Path, seed: int, sparse: bool) -> None:
    make(tmp_path / "good", sparse=sparse)
    chance = random.Random(seed)
    partition = copied(tmp_path / "good", tmp_path / "damaged")
    here = frozenset().union(*(extent.offsets for extent in extents(partition)))
    done = damage(partition, chance)
    findings = verify_folder(tmp_path / "damaged").findings
    assert affected(findings) & here == done.lost, done.what
    assert findings, done.what


def test_several_damaged_frames_of_a_file_are_told_apart(tmp_path: Path) -> None:
    partition = make_log(tmp_path, [10] * 20, schema=SCHEMA)
    known = extents(partition)
    for number in (2, 3, 11):
        flip(known[number].path, known[number].position + 500)
    findings = verify_folder(tmp_path).findings
    assert [(found.start, found.end) for found in findings] == [(20, 40), (110, 120)]
    assert [found.position for found in findings] == [known[2].position, known[11].position]
    assert {found.file for found in findings} == {"topics/log/p-0000/00000000000000000000.arrow"}


@pytest.mark.parametrize("name", ["catalog.json", "writers.json", "transactions", "topics/log/topic.json"])
def test_the_files_that_topics_share_are_verified_too(tmp_path: Path, name: str) -> None:
    with closing(Folder.open(tmp_path / "good")) as folder:
        topic = folder.create_topic("log", SCHEMA)
        folder.writers.open("loader")
        folder.append_atomic([(topic, numbered(0, 10), None)])
        folder.catalog.put(CatalogEntry("log", "STREAM", "CREATE STREAM log (number BIGINT)"))
    assert verify_folder(tmp_path / "good").findings == []
    size = (tmp_path / "good" / name).stat().st_size
    for position in range(0, min(size, 400), 7):
        copied(tmp_path / "good", tmp_path / "damaged")
        flip(tmp_path / "damaged" / name, position, position % 8)
        findings = verify_folder(tmp_path / "damaged").findings
        last = name == "transactions" and position >= 16  # the number written last may be torn, if it was not told
        assert findings or last, position
        if not last:
            assert findings[0].file == name


def test_a_topic_without_its_description_is_found_before_opening_removes_it(tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        connection.execute("CREATE STREAM bids (n BIGINT)")
        connection.execute("INSERT INTO bids VALUES (1)")
    (tmp_path / "topics" / "bids" / "topic.json").unlink()
    (finding,) = verify_folder(tmp_path).findings
    assert (finding.topic, finding.file) == ("bids", "topics/bids/topic.json")
    assert "would remove its rows" in finding.what


def test_a_folder_that_is_being_written_is_verified_up_to_what_was_acknowledged(tmp_path: Path) -> None:
    """Segments are sealed, joined and deleted, and rows appended, all the time; no look finds anything."""
    with closing(Folder.open(tmp_path)) as folder:
        options = TopicOptions(segment_bytes=3000, retention_bytes=10_000)
        topic = folder.create_topic("log", SCHEMA, options=options)
        other = folder.create_topic("other", SCHEMA)
        stop = threading.Event()
        found: list[Finding] = []

        def write() -> None:
            start = 0
            while not stop.is_set():
                topic.append(numbered(start, start + 20))
                folder.append_atomic([(topic, numbered(start, start + 3), None), (other, numbered(0, 3), None)])
                start += 20
                if start % 200 == 0:
                    folder.maintain()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            looks = 0
            while looks < 60 or topic.partitions[0].start_offset == 0:  # until rows have been deleted, too
                found += verify_folder(tmp_path).findings
                looks += 1
        finally:
            stop.set()
            writer.join()
        assert found == []


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="there is no database"):
        verify_folder(tmp_path)
    make(tmp_path)
    with pytest.raises(ProgrammingError, match='there is no topic "logs"') as error:
        verify_folder(tmp_path, ["logs"])
    assert error.value.hint == "There are log."


def test_a_crash_in_the_first_append_is_no_damage(tmp_path: Path) -> None:
    """The first manifest is there, and CURRENT does not name it yet."""
    partition = make_log(tmp_path, [3])
    (partition / "CURRENT").unlink()
    assert [found.file for found in verify_folder(tmp_path).findings] == ["topics/log/p-0000/CURRENT"]
    (partition / "ctl").unlink()
    assert [found.file for found in verify_folder(tmp_path).findings] == ["topics/log/p-0000/CURRENT"]
    (segment,) = partition.glob("*.arrow")
    segment.write_bytes(segment.read_bytes()[:200])
    assert verify_folder(tmp_path).findings == []
