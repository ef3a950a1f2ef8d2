"""The shell's settings from a file, and the words of its commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.repl.commands import quoted_file
from headrace.repl.config import config_path, configure
from headrace.repl.console import Settings, UsageError


def configured(tmp_path: Path, text: str, settings: Settings | None = None) -> Settings:
    settings = settings or Settings()
    (tmp_path / "config.toml").write_text(text)
    configure(settings, tmp_path / "config.toml")
    return settings


def test_what_the_file_says_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = configured(tmp_path, 'format = "csv"\nexpanded = "off"\ntiming = true\npager = true\nkeys = "vi"\n')
    assert said == Settings(format="csv", expanded="off", timing=True, pager=True, keys="vi")
    assert configured(tmp_path, 'format = "csv"', Settings(format="json")).format == "json"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    configure(said, config_path())  # there is none
    assert config_path() == tmp_path / "headrace" / "config.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("size = 3", 'sets "size", which is no setting'),
        ('timing = "on"', "sets timing to 'on': choose true, false"),
        ("timing = 1", "sets timing to 1: choose true, false"),
        ('format = "xml"', "sets format to 'xml': choose table"),
        ("timing = ", "could not read"),
    ],
)
def test_what_it_does_not_understand_it_says(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=r"config\.toml") as refused:
        configured(tmp_path, text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("bids from bids.csv", "bids from 'bids.csv'"),
        ("bids (a, b) TO b.txt (FORMAT csv)", "bids (a, b) TO 'b.txt' (FORMAT csv)"),
        ("(SELECT 'to x' FROM t) to it's.csv", "(SELECT 'to x' FROM t) to 'it''s.csv'"),
        ("bids FROM 'a b.csv'", "bids FROM 'a b.csv'"),
        ('"from" to x.csv', "\"from\" to 'x.csv'"),
        ("bids", "bids"),
    ],
)
def test_copy_needs_no_quotes(typed: str, meant: str) -> None:
    assert quoted_file(typed) == meant
