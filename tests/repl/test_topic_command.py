"""`headrace topic`: the log looked at, verified, repaired, exported and imported from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Headrace

ROWS = "CREATE STREAM s (k VARCHAR, n INTEGER); INSERT INTO s VALUES ('a', 1), ('b', 2), ('a', 3);"


@pytest.fixture
def db(headrace: Headrace, tmp_path: Path) -> Path:
    """A folder with the stream s."""
    assert headrace("db", "-c", ROWS).returncode == 0
    return tmp_path / "db"


def break_rows(db: Path) -> None:
    """The rows of s are damaged."""
    path = db / "topics" / "s" / "p-0000" / f"{0:020d}.arrow"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


def test_verify_says_which_rows_are_damaged(headrace: Headrace, db: Path) -> None:
    done = headrace("topic", "verify", "db")
    assert (done.returncode, done.stdout) == (0, "1 partition, 1 segment, 3 rows: no damage\n")
    break_rows(db)
    done = headrace("topic", "verify", "db", "s")
    assert done.returncode == 1
    first, place, *_, total, hint = done.stdout.splitlines()
    assert first == "s, partition 0, offsets [0, 3): a frame does not match its checksum"
    assert place.startswith(f"  topics/s/p-0000/{0:020d}.arrow, byte ")
    assert total == "1 partition, 1 segment, 0 rows intact; 1 finding, 3 offsets affected"
    assert hint == "Hint: headrace topic repair db s"
    lines = headrace("topic", "verify", "db", "--format", "jsonl").stdout.splitlines()
    assert [(line["start"], line["end"]) for line in map(json.loads, lines)] == [(0, 3)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify", "nowhere"], "there is no database"),
        (["verify", "db", "t"], 'there is no topic "t"'),
        (["verify"], "FOLDER"),
        ([], "ACTION"),
        (["verifi", "db"], "invalid choice"),
    ],
)
@pytest.mark.usefixtures("db")
def test_usage_is_exit_code_2(headrace: Headrace, words: list[str], said: str) -> None:
    done = headrace("topic", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_help(headrace: Headrace) -> None:
    assert "verify" in headrace("topic", "--help").stdout
    assert "exit codes:" in headrace("topic", "verify", "--help").stdout
