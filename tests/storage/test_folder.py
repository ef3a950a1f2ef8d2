"""The folder: one owner, topics by any name, nothing left of what was temporary or dropped."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.storage.catalog import CatalogEntry
from headrace.storage.errors import FolderLockedError, OperationalError, ProgrammingError
from headrace.storage.files import faults
from headrace.storage.folder import Folder
from headrace.storage.naming import folder_name, original_name
from headrace.storage.topic import TopicOptions

from .logs import SCHEMA, numbered, rows_of


def test_everything_comes_back(tmp_path: Path) -> None:
    options = TopicOptions(durability="each", event_time="at", segment_bytes=5000)
    with closing(Folder.open(tmp_path / "new" / "database")) as folder:
        folder.catalog.put(CatalogEntry("Bids", "STREAM", "CREATE STREAM ..."))
        topic = folder.create_topic("Bids", SCHEMA, partitions=3, key=["text"], options=options)
        topic.append(numbered(0, 100))
    with closing(Folder.open(tmp_path / "new" / "database")) as folder:
        topic = folder.topic("Bids")
        assert (topic.name, topic.schema, topic.key, topic.options) == ("Bids", SCHEMA, ("text",), options)
        assert rows_of(topic) == list(range(100))
        assert list(folder.catalog.entries) == ["Bids"]
        assert (folder.path, folder.temporary) == (tmp_path / "new" / "database", False)


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)), pytest.raises(FolderLockedError, match="another connection owns it") as caught:
        Folder.open(tmp_path)
    assert "Process" in str(caught.value.detail)
    Folder.open(tmp_path).close()


def test_closing_twice_is_harmless_and_temporary_folders_go() -> None:
    folder = Folder.open(None)
    topic = folder.create_topic("log", SCHEMA)
    topic.append(numbered(0, 10))
    assert folder.path.exists()
    assert folder.temporary
    folder.close()
    folder.close()
    assert not folder.path.exists()


def test_a_process_that_never_closes_ends_in_peace(tmp_path: Path) -> None:
    script = f"""
import pyarrow as pa
from pathlib import Path
from headrace.storage.folder import Folder
kept, temporary = Folder.open(Path({str(tmp_path)!r})), Folder.open(None)
for folder in (kept, temporary):
    topic = folder.create_topic("log", pa.schema([("n", pa.int32())]))
    for n in range(100):
        topic.append(pa.record_batch([pa.array([n], pa.int32())], names=["n"]), wait=n == 50)
print(temporary.path)
"""
    command = [sys.executable, "-W", "error", "-c", script]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert not Path(done.stdout.strip()).exists()
    with closing(Folder.open(tmp_path)) as folder:
        assert rows_of(folder.topic("log")) == list(range(100))


def test_a_hundred_topics_have_one_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with closing(Folder.open(tmp_path)) as folder:
        for number in range(100):
            folder.create_topic(f"t{number}", pa.schema([("n", pa.int32())]), partitions=8)
        for topic in list(folder.topics.values())[:20]:
            topic.append(pa.record_batch([pa.array([1], pa.int32())], names=["n"]), wait=False)
        assert threading.active_count() <= before + 1
        for topic in folder.topics.values():
            topic.sync()
    assert threading.active_count() == before
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size < 200_000


@settings(max_examples=60)
@given(names=st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=6))
def test_each_name_has_a_safe_folder_of_its_own(names: list[str]) -> None:
    folders = [folder_name(name) for name in names]
    assert len({folder.casefold() for folder in folders}) == len(names)
    assert [original_name(folder) for folder in folders] == names
    for folder in folders:
        assert set(folder) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-%")
        assert folder[0] != "."


def test_unusual_names_work_and_long_ones_are_refused(tmp_path: Path) -> None:
    names = ["a", "A", "..", ".", "a/b", "ü", "système", "a b", 'say "x"', "%41", "x" * 240]
    with closing(Folder.open(tmp_path)) as folder:
        for name in names:
            folder.create_topic(name, SCHEMA).append(numbered(0, 1))
        with pytest.raises(ProgrammingError, match="it is too long"):
            folder.create_topic("x" * 241, SCHEMA)
    with closing(Folder.open(tmp_path)) as folder:
        assert set(folder.topics) == set(names)


def test_dropping_removes_the_folder_and_the_name_is_free(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        folder.create_topic("log", SCHEMA).append(numbered(0, 10))
        folder.drop_topic("log")
        assert list((tmp_path / "topics").iterdir()) == []
        folder.create_topic("log", SCHEMA).append(numbered(5, 6))
    with closing(Folder.open(tmp_path)) as folder:
        assert rows_of(folder.topic("log")) == [5]


@pytest.mark.parametrize("step", range(1, 12))
def test_making_and_dropping_a_topic_is_all_or_nothing(tmp_path: Path, step: int) -> None:
    calls = 0

    def fault(operation: str, path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls >= step:
            raise OSError(5, "Input/output error")

    folder = Folder.open(tmp_path)
    folder.create_topic("old", SCHEMA).append(numbered(0, 10))

    def change() -> None:
        if step % 2:
            folder.create_topic("new", SCHEMA)
            folder.create_topic("newer", SCHEMA)
        folder.drop_topic("old")
        folder.create_topic("newest", SCHEMA)
        folder.create_topic("last", SCHEMA)

    with faults(fault), pytest.raises(OperationalError):
        change()
    with pytest.raises(FolderLockedError):
        Folder.open(tmp_path)
    try:
        folder.close()
    finally:
        with closing(Folder.open(tmp_path)) as again:
            assert set(folder.topics) <= set(again.topics) | {"old"}
            if "old" in again.topics:
                assert rows_of(again.topic("old")) == list(range(10))
