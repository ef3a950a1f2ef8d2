"""Folders that earlier versions of headrace wrote are opened by this one, and have what they had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import headrace
from tests.formats.make import HERE, RELATIONS, content, feed

FOLDERS = sorted(path for path in HERE.iterdir() if (path / "content.json").exists())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("checkpoints", [True, False])
def test_an_old_folder_has_what_it_had_and_goes_on(folder: Path, checkpoints: bool, tmp_path: Path) -> None:
    database = shutil.copytree(folder / "db", tmp_path / "db")
    if not checkpoints:
        shutil.rmtree(database / "checkpoints")
    before = json.loads((folder / "content.json").read_text())
    for start in (120, 150):
        with headrace.connect(database, idle_timeout_s=0.0) as con:
            if start == 120:
                assert content(con) == before
                assert con.execute("SELECT count(*) > 0 FROM system.late_rows").fetchall() == [(True,)]
                assert con.execute("SELECT comment FROM system.relations WHERE name = 'bids'").fetchall() == [
                    ("what is offered",)
                ]
            feed(con, start, start + 30)
            after = content(con)
            assert con.execute("VERIFY").tag == "VERIFY"
            assert {name for name in RELATIONS if len(after[name]) > len(before[name])} >= {"bids", "closed", "even"}
            con.execute("CHECKPOINT")


def test_there_is_a_folder_of_the_present_format() -> None:
    assert FOLDERS, "python -m tests.formats.make VERSION"
