"""The command line as a program that other programs call: its forms, exit codes, clean output."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from pyarrow import parquet

from headrace.repl.interrupts import TimedOut, arrive, kept_apart

from .conftest import Headrace, process

TABLE = "CREATE STREAM s (k VARCHAR, n INTEGER); INSERT INTO s VALUES ('a', 1), ('b', 2), ('a', 3);"
VIEW = "CREATE MATERIALIZED VIEW v AS SELECT k, sum(n) AS total FROM s GROUP BY k;"


def test_a_statement_prints_its_result_and_nothing_else(headrace: Headrace) -> None:
    done = headrace("-c", f"{TABLE} {VIEW} SELECT * FROM v ORDER BY k")
    assert done.returncode == 0
    assert done.stdout.splitlines()[4:] == [
        "│ a       │       4 │",
        "│ b       │       2 │",
        "└─────────┴─────────┘",
        "  2 rows",
    ]
    assert "CREATE STREAM\nINSERT 0 3\n" in done.stderr


def test_a_folder_keeps_everything(headrace: Headrace, tmp_path: Path) -> None:
    assert headrace("db", "-c", TABLE, "-c", VIEW).returncode == 0
    done = headrace("db", "-c", "SELECT k, total FROM v ORDER BY k", "--format", "csv")
    assert (done.returncode, done.stdout, done.stderr) == (0, "k,total\na,4\nb,2\n", "")
    subscribed = headrace("db", "-c", "SUBSCRIBE v", "--limit", "2")
    assert subscribed.returncode == 0
    assert [json.loads(line)["op"] for line in subscribed.stdout.splitlines()] == ["+I", "+I"]


def test_statements_come_from_standard_input_too(headrace: Headrace) -> None:
    done = headrace("--format", "jsonl", stdin="SELECT 1 AS a; SELECT 'x' AS b")
    assert (done.returncode, done.stdout) == (0, '{"a":1}\n{"b":"x"}\n')


def test_the_name_of_the_output_chooses_the_format(headrace: Headrace, tmp_path: Path) -> None:
    assert headrace("-c", f"{TABLE} SELECT * FROM s", "-o", "s.parquet").returncode == 0
    assert parquet.read_table(tmp_path / "s.parquet")["n"].to_pylist() == [1, 2, 3]
    twice = headrace("-c", "SELECT 1 AS a; SELECT 2 AS a", "-o", "s.arrow")
    assert twice.returncode == 2
    assert "holds one result" in twice.stderr


def test_an_error_points_at_its_place_and_stops_the_script(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "script.sql").write_text("SELECT 1 AS one;\nSELECT nothing\n  FROM nowhere;\nSELECT 3 AS three;\n")
    done = headrace("run", "script.sql", "--format", "csv")
    assert (done.returncode, done.stdout) == (1, "one\n1\n")
    assert "script.sql:3:   FROM nowhere;\n" in done.stderr
    caret = next(line for line in done.stderr.splitlines() if line.strip(" ^") == "")
    assert caret.index("^") == len("script.sql:3:   FROM ")


def test_a_script_that_cannot_be_parsed_runs_nothing(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "script.sql").write_text("SELECT 1 AS one;\nSELEKT 2;\n")
    done = headrace("run", "script.sql")
    assert (done.returncode, done.stdout) == (1, "")
    assert "script.sql:2: SELEKT 2" in done.stderr


def test_until_idle_ends_live_queries_when_all_is_processed(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "script.sql").write_text(f"{TABLE} {VIEW} SUBSCRIBE v; SELECT count(*) AS n FROM v;")
    done = headrace("run", "script.sql", "--until-idle", "--format", "jsonl")
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
def test_usage_is_exit_code_2(headrace: Headrace, arguments: list[str], said: str, tmp_path: Path) -> None:
    done = headrace(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_version_and_help(headrace: Headrace) -> None:
    assert headrace("--help").stdout.startswith("usage: headrace [FOLDER]")
    assert "exit codes:" in headrace("--help").stdout
    assert "--until-idle" in headrace("run", "--help").stdout
    assert "--speed" in headrace("demo", "--help").stdout


def test_a_folder_in_use_is_exit_code_2_and_ctrl_c_is_130(tmp_path: Path) -> None:
    with process("db", "-c", f"{TABLE} SUBSCRIBE s", folder=tmp_path) as owner:
        assert owner.stdout is not None
        assert json.loads(owner.stdout.readline())["op"] == "+I"  # it has the folder
        with process("db", "-c", "SELECT 1", folder=tmp_path) as other:
            assert other.stderr is not None
            assert "Error: " in other.stderr.read()
            assert other.wait(timeout=30) == 2
        owner.send_signal(signal.SIGINT)
        assert owner.wait(timeout=30) == 130


def interrupted_query() -> None:
    """A library that is interrupted, and tells it as an error of its own."""
    try:
        arrive(signal.SIGALRM, None)
    except KeyboardInterrupt:
        raise RuntimeError("Query interrupted") from None


def test_an_interruption_stays_one_whatever_a_library_makes_of_it() -> None:
    with pytest.raises(TimedOut), kept_apart():
        interrupted_query()
    with pytest.raises(RuntimeError), kept_apart():
        raise RuntimeError("this one is a mistake")


def test_a_timeout_is_exit_code_4(tmp_path: Path) -> None:
    with process("-c", "CREATE STREAM s (a INTEGER); SUBSCRIBE s", "--timeout", "0.2", folder=tmp_path) as run:
        stdout, stderr = run.communicate(timeout=60)
    assert (run.returncode, stdout) == (4, "")
    assert stderr.endswith("Stopped after 0.2 s.\n")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    with process("-c", "SELECT * FROM range(3000000)", "--format", "csv", folder=tmp_path) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "range\n"
        run.stdout.close()
        assert run.wait(timeout=60) == 141
        assert run.stderr is not None
        assert run.stderr.read() == ""


def test_watch_runs_until_it_is_told_to_end(tmp_path: Path, headrace: Headrace) -> None:
    (tmp_path / "script.sql").write_text(f"{TABLE} {VIEW}")
    with process("run", "script.sql", "db", "--watch", folder=tmp_path) as run:
        assert run.stderr is not None
        assert any("rows/s" in line for line in run.stderr)
        run.send_signal(signal.SIGTERM)
        assert run.wait(timeout=30) == 143
    assert headrace("db", "-c", "SELECT total FROM v WHERE k = 'a'", "--format", "csv").stdout == "total\n4\n"


def test_ctrl_c_ends_a_long_query_without_a_traceback(tmp_path: Path) -> None:
    long = "SELECT 1 AS a; SELECT count(*) AS n FROM range(1000000000000) AS t(i) WHERE i % 7 = 3"
    with process("-c", long, "--format", "csv", folder=tmp_path) as run:
        assert run.stdout is not None
        assert [run.stdout.readline(), run.stdout.readline()] == ["a\n", "1\n"]
        time.sleep(0.5)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=30) == 130
        assert run.stderr is not None
        assert run.stderr.read() == ""
