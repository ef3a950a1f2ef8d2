"""`headrace debug`: epochs one by one, each operator with what went in, came out and changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace
from headrace.repl.__main__ import command
from headrace.repl.debug_command import walk
from headrace.sql.stepping import stepping


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM s (k VARCHAR, n BIGINT)")
        con.execute("CREATE MATERIALIZED VIEW v AS SELECT k, sum(n) AS total FROM s WHERE n > 0 GROUP BY k")
        con.execute("CREATE TABLE last AS SELECT k, max(n) AS n FROM s GROUP BY k")
        for values in ("('a', 1), ('b', -2)", "('a', 5)"):
            con.execute(f"INSERT INTO s VALUES {values}")
            con.flush()
    return tmp_path / "db"


def lines(text: str) -> list[str]:
    """Without boxes: the words of each line."""
    return [" ".join(line.replace("│", " ").split()) for line in text.splitlines()]


def test_an_epoch_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path for path in folder.rglob("*"))
    with headrace.connect(folder, read_only=True) as con:
        epochs = con.execute("SELECT DISTINCT epoch FROM system.epochs WHERE stream = 's' AND rows > 0").fetchall()
    second = max(epoch for (epoch,) in epochs)
    assert command(["debug", str(folder), "--view", "v", "--epoch", str(second)]) == 0
    text = lines(capsys.readouterr().out)
    assert text[0].startswith(f"═══ epoch {second} ·")
    for expected in ("s 0: [2, 3)", "─── v", "1 a 5", "-1 a 1", "1 a 6"):
        assert expected in text, text
    assert any(line.startswith("aggregate") for line in text)
    assert any(line.startswith("state ") for line in text)
    assert sorted(path for path in folder.rglob("*")) == before, "it left something behind"


def test_keys_go_there_and_back(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with stepping(folder, None) as stepper:
        epochs = stepper.epochs

        def told(*keys: str) -> Iterator[str]:
            written: list[str] = []
            waiting = iter([*keys, "q"])
            walk(stepper, None, lambda _: next(waiting), written.append)
            return (text.split(" ·")[0].strip("═ \n") for text in written)

        first, second, third = (f"epoch {epoch}" for epoch in epochs[:3])
        assert list(told("n", "n", "b", str(epochs[0]))) == [first, second, third, second, first]
        assert list(told("b")) == [first, f"there is none before {first}"]
        assert list(told("p")) == [first, f"epoch-{epochs[0]}.txt has it"]
        forwards = stepper.step(epochs[2])
        for epoch in epochs[:3]:
            again = stepper.step(epoch)
        assert repr(again) == repr(forwards), "it depends on where one comes from"
    assert os.path.exists(f"epoch-{epochs[0]}.txt")


def test_what_it_cannot_do(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["debug", str(folder)]) == 2
    assert "say which epoch" in capsys.readouterr().err
    assert command(["debug", str(tmp_path / "none"), "--epoch", "1"]) == 2
    assert command(["debug", str(folder), "--view", "s", "--epoch", "1"]) == 2
    assert "has no operators" in capsys.readouterr().err
