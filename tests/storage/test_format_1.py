"""Folders that an earlier headrace wrote open as they are, and go on."""

from __future__ import annotations

import tarfile
from contextlib import closing
from pathlib import Path

import pytest

import headrace
from headrace.storage.folder import Folder

from .logs import numbered, numbers_of


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(Path(__file__).parent / "format_1.tar.gz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        archive.extractall(tmp_path)
    return tmp_path


def test_a_database_of_format_1_opens_and_goes_on(old: Path) -> None:
    for rows in (50, 51):
        with headrace.connect(old / "format_1") as con:
            totals = con.execute("SELECT sum(n), sum(total) FROM totals").fetchone()
            assert totals == (rows, 0.5 * sum(range(50)) + (rows - 50) * 7)
            assert con.execute("VERIFY VIEW totals").fetchone() is not None
            con.execute("INSERT INTO bids VALUES (1, 7.0, 'x', TIMESTAMP '2026-01-02')")


def test_a_log_of_format_1_opens_and_goes_on(old: Path) -> None:
    for end in (30, 33, 36):
        with closing(Folder.open(old / "format_1_log")) as folder:
            topic = folder.topic("log")
            assert numbers_of(topic.partitions[0]) == list(range(end))
            assert topic.partitions[0].event_times(0, 3) == (0, 2000)
            assert topic.partitions[0].start_offset == 0
            topic.append(numbered(end, end + 3))
