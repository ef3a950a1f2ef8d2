"""A group's place that is damaged, or behind the end: rows are delivered again, none is left out, and it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headrace.storage.consumer import Consumer, Wanted
from headrace.storage.consumer_group import groups_in
from headrace.storage.errors import CorruptionError
from headrace.storage.folder import Folder
from headrace.storage.group_offsets import RECORD_BYTES, SLOT_BYTES
from headrace.storage.topic import TopicOptions
from headrace.storage.verification import verify_folder

from .damages import flip
from .ledger import SCHEMA, rows

WHERE = 'group "mailer" in partition 0 of "log"'


def make(path: Path, commits: int = 3) -> Path:
    """Ten rows, of which a group has committed three at a time; its file."""
    with closing(Folder.open(path)) as folder:
        folder.create_topic("log", SCHEMA).append(rows(list(range(10))))
        with closing(mailer(folder)) as consumer:
            for _ in range(commits):
                consumer.poll(0)
                consumer.commit()
    return path / "consumers" / "mailer" / "offsets" / "log-0000"


def mailer(folder: Folder, **options: str) -> Consumer:
    return Consumer(folder, {"log": Wanted()}, group="mailer", auto_commit=False, max_rows=3, **options)  # type: ignore[arg-type]


def drained(consumer: Consumer) -> list[int]:
    def numbers() -> Iterator[int]:
        while (records := consumer.poll(0)) is not None:
            yield from records.batch.column("number").to_pylist()

    return list(numbers())


@pytest.mark.parametrize(("slot", "goes_on"), [(1, 6), (0, 9)], ids=["the newer", "the older"])
def test_every_flipped_bit_of_a_record_is_told(tmp_path: Path, slot: int, goes_on: int) -> None:
    file = make(tmp_path)  # its records, at 4096 and at 0, are of the third commit and of the second
    for bit in range(0, 8 * RECORD_BYTES, 7):
        position = slot * SLOT_BYTES + bit // 8
        flip(file, position, bit % 8)
        (finding,) = verify_folder(tmp_path).findings
        assert (finding.file, finding.position) == ("consumers/mailer/offsets/log-0000", slot * SLOT_BYTES)
        assert finding.what == f"a record does not match its checksum; by the other its group is at offset {goes_on}"
        flip(file, position, bit % 8)
    assert verify_folder(tmp_path).findings == []
    flip(file, position)
    with closing(Folder.open(tmp_path)) as folder:
        assert folder.notices == (f"a place of {WHERE} was damaged: it goes on at offset {goes_on}",)
        assert verify_folder(tmp_path).findings == []
        with closing(mailer(folder)) as consumer:
            assert drained(consumer) == list(range(goes_on, 10))
            consumer.commit()
    with closing(Folder.open(tmp_path)) as folder:
        assert folder.notices == ()
        assert [place.committed for place in groups_in(folder)] == [10]


@pytest.mark.parametrize("commits", [1, 3])
def test_a_place_that_nobody_can_tell_is_an_error(tmp_path: Path, commits: int) -> None:
    """Or else `reset` would decide, and 'latest' leave rows out."""
    file = make(tmp_path, commits)
    for position in (8, SLOT_BYTES + 8):
        flip(file, position)
    assert [finding.what for finding in verify_folder(tmp_path).findings] == [
        "a record does not match its checksum; no other is left"
    ] * 2
    for _ in range(2):
        with closing(Folder.open(tmp_path)) as folder:
            assert folder.notices == (f"nobody can tell how far {WHERE} is: its records are damaged",)
            assert groups_in(folder) == []
            with pytest.raises(CorruptionError, match=r"log-0000\": no record in it matches its checksum"):
                mailer(folder, reset="latest")
    file.unlink()
    with closing(Folder.open(tmp_path)) as folder, closing(mailer(folder)) as consumer:
        assert drained(consumer) == list(range(10))


def test_a_group_ahead_of_the_log_gets_the_rows_that_come(tmp_path: Path) -> None:
    """With durability 'none' a power failure takes back rows that a group had done; others get their offsets."""
    options = TopicOptions(durability="none")
    with closing(Folder.open(tmp_path)) as folder:
        topic = folder.create_topic("log", SCHEMA, options=options)
        topic.append(rows([0, 1, 2, 3]))
        kept = (topic.partitions[0].segments[-1].path, topic.partitions[0].segments[-1].size)
        topic.append(rows([4, 5, 6]))
        with closing(mailer(folder)) as consumer:
            assert drained(consumer) == list(range(7))
            consumer.commit()
    with kept[0].open("r+b") as file:
        file.truncate(kept[1])
    (tmp_path / "topics" / "log" / "p-0000" / "ctl").unlink()  # never synced
    with closing(Folder.open(tmp_path)) as folder:
        assert folder.notices == ()
        assert [place.committed for place in groups_in(folder)] == [4]
        folder.topic("log").append(rows([7, 8, 9, 10]))
        with closing(mailer(folder)) as consumer:
            assert drained(consumer) == [7, 8, 9, 10]


def test_a_member_that_lives_keeps_its_place(tmp_path: Path) -> None:
    """Whoever opens the folder takes nothing for damaged that a consumer is writing."""
    file = make(tmp_path)
    with closing(Folder.open(tmp_path)) as folder:
        consumer = mailer(folder)
        folder.close()
        flip(file, 8)
        before = file.read_bytes()
        with closing(Folder.open(tmp_path)) as again:
            assert again.notices == ()
            assert file.read_bytes() == before
        consumer.close()
    with closing(Folder.open(tmp_path)) as folder:
        assert len(folder.notices) == 1
