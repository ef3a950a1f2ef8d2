"""The command line as a program that other programs call: its forms, exit codes, clean output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyarrow import parquet

TABLE = "CREATE STREAM s (k VARCHAR, n INTEGER); INSERT INTO s VALUES ('a', 1), ('b', 2), ('a', 3);"
VIEW = "CREATE MATERIALIZED VIEW v AS SELECT k, sum(n) AS total FROM s GROUP BY k;"


def headrace(*arguments: str, stdin: str | None = None, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """One run of the command, away from any terminal."""
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """This process's, with the package found from anywhere."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}


def test_a_statement_prints_its_result_and_nothing_else() -> None:
    done = headrace("-c", f"{TABLE} {VIEW} SELECT * FROM v ORDER BY k")
    assert done.returncode == 0
    assert done.stdout.splitlines()[4:] == [
        "│ a       │      4 │",
        "│ b       │      2 │",
        "└─────────┴────────┘",
        "  2 rows",
    ]
    assert "CREATE STREAM\nINSERT 0 3\n" in done.stderr


def test_a_folder_keeps_everything(tmp_path: Path) -> None:
    assert headrace("db", "-c", TABLE, "-c", VIEW, folder=tmp_path).returncode == 0
    done = headrace("db", "-c", "SELECT k, total FROM v ORDER BY k", "--format", "csv", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "k,total\na,4\nb,2\n", "")
    subscribed = headrace("db", "-c", "SUBSCRIBE v", "--limit", "2", folder=tmp_path)
    assert subscribed.returncode == 0
    assert [json.loads(line)["op"] for line in subscribed.stdout.splitlines()] == ["+I", "+I"]


def test_statements_come_from_standard_input_too() -> None:
    done = headrace("--format", "jsonl", stdin="SELECT 1 AS a; SELECT 'x' AS b")
    assert (done.returncode, done.stdout) == (0, '{"a":1}\n{"b":"x"}\n')


def test_the_name_of_the_output_chooses_the_format(tmp_path: Path) -> None:
    assert headrace("-c", f"{TABLE} SELECT * FROM s", "-o", "s.parquet", folder=tmp_path).returncode == 0
    assert parquet.read_table(tmp_path / "s.parquet")["n"].to_pylist() == [1, 2, 3]
    twice = headrace("-c", "SELECT 1 AS a; SELECT 2 AS a", "-o", "s.arrow", folder=tmp_path)
    assert twice.returncode == 2
    assert "holds one result" in twice.stderr


def test_an_error_points_at_its_place_and_stops_the_script(tmp_path: Path) -> None:
    (tmp_path / "script.sql").write_text("SELECT 1 AS one;\nSELECT nothing\n  FROM nowhere;\nSELECT 3 AS three;\n")
    done = headrace("run", "script.sql", "--format", "csv", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "one\n1\n")
    assert "script.sql:3:   FROM nowhere;\n" in done.stderr
    caret = next(line for line in done.stderr.splitlines() if line.strip(" ^") == "")
    assert caret.index("^") == len("script.sql:3:   FROM ")


def test_a_script_that_cannot_be_parsed_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "script.sql").write_text("SELECT 1 AS one;\nSELEKT 2;\n")
    done = headrace("run", "script.sql", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "script.sql:2: SELEKT 2" in done.stderr


def test_until_idle_ends_live_queries_when_all_is_processed(tmp_path: Path) -> None:
    (tmp_path / "script.sql").write_text(f"{TABLE} {VIEW} SUBSCRIBE v; SELECT count(*) AS n FROM v;")
    done = headrace("run", "script.sql", "--until-idle", "--format", "jsonl", folder=tmp_path)
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted((line["k"], line["total"]) for line in lines[:-1] if line["op"] in ("+I", "+U"))[-2:] == [
        ("a", 4),
        ("b", 2),
    ]
    assert lines[-1] == {"n": 2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "xml"], "invalid choice"),
        (["--limit", "0", "-c", "SELECT 1"], "not a whole number above 0"),
        (["run"], "FILE"),
        (["run", "nowhere.sql"], "could not read nowhere.sql: No such file or directory"),
        (["run", "nowhere.sql", "--watch", "--until-idle"], "not allowed with"),
        (["-c", "SELECT 1", "-o", "nowhere/x.csv"], "could not write nowhere/x.csv"),
        (["/dev/null/x", "-c", "SELECT 1"], "Error: "),
        (["-c", "CREATE STREAM s (a INTEGER); SUBSCRIBE s", "--format", "parquet"], "change by change"),
    ],
)
def test_usage_is_exit_code_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = headrace(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_folder_in_use_is_exit_code_2(tmp_path: Path) -> None:
    with started("db", "-c", "CREATE STREAM s (a INTEGER); SUBSCRIBE s", folder=tmp_path) as owner:
        wait_for(
            lambda: (tmp_path / "db").exists() and headrace("db", "-c", "SELECT 1", folder=tmp_path).returncode == 2
        )
        owner.send_signal(signal.SIGINT)
        assert owner.wait(timeout=30) == 130


def test_a_timeout_is_exit_code_4() -> None:
    done = headrace("-c", "CREATE STREAM s (a INTEGER); SUBSCRIBE s", "--timeout", "0.2")
    assert done.returncode == 4
    assert done.stderr.endswith("Stopped after 0.2 s.\n")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    statement = "SELECT * FROM range(3000000)"
    command = f"{sys.executable} -m headrace -c '{statement}' --format csv | head -2; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, env=environment(), cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "range\n0\n", "")


def test_watch_runs_until_it_is_told_to_end(tmp_path: Path) -> None:
    (tmp_path / "script.sql").write_text(f"{TABLE} {VIEW}")
    with started("run", "script.sql", "db", "--watch", folder=tmp_path) as process:
        assert process.stderr is not None
        assert any("rows/s" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
    assert (
        headrace("db", "-c", "SELECT total FROM v WHERE k = 'a'", "--format", "csv", folder=tmp_path).stdout
        == "total\n4\n"
    )


def test_version_and_help() -> None:
    assert headrace("--help").stdout.startswith("usage: headrace [FOLDER]")
    assert "--until-idle" in headrace("run", "--help").stdout
    assert "exit codes:" in headrace("--help").stdout


def started(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    """A run of the command that goes on beside the test."""
    command = [sys.executable, "-m", "headrace", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=folder, env=environment())


def wait_for(condition: object, timeout_s: float = 30) -> None:
    """Returns when `condition()` is true."""
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
