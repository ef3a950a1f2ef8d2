"""A continuous COPY: files that are there whole, each row in one of them, whatever fails or dies in between."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import headrace
from headrace.sql.file_formats import write_table
from headrace.sql.file_sink import FileSink, FileTarget
from headrace.sql.relations import Column
from headrace.sql.statements import CopyTo
from headrace.storage import limits
from headrace.storage.errors import Error
from headrace.storage.files import faults
from headrace.storage.folder import Folder
from headrace.storage.topic import TopicOptions
from tests.test_epochs import crashed

READ = {
    "parquet": "read_parquet('{}/**/*.parquet', hive_partitioning = true)",
    "csv": "read_csv('{}/**/*.csv.gz', hive_partitioning = true)",
    "json": "read_json('{}/**/*.json', hive_partitioning = true)",
}
BIDS = "CREATE STREAM bids (n BIGINT, channel VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts)"


def rows_in(folder: Path, columns: str = "n", format: str = "parquet") -> list[tuple[Any, ...]]:
    """What the files of a folder hold; nothing while there is none."""
    if not any(path.suffix in (".parquet", ".gz", ".json") for path in folder.rglob("part-*")):
        return []
    with duckdb.connect() as connection:
        return sorted(connection.sql(f"SELECT {columns} FROM {READ[format].format(folder)}").fetchall(), key=repr)


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not met():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


@pytest.mark.parametrize("format", READ)
def test_files_hold_what_the_query_says(tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    compression = ", COMPRESSION gzip" if format == "csv" else ""
    with headrace.connect(tmp_path / "db") as con:
        con.execute(BIDS)
        con.execute(
            f"COPY (SELECT n, channel FROM bids WHERE n % 2 = 0) TO '{out}' "
            f"(FORMAT {format}, PARTITION_BY (channel), ROLLOVER_INTERVAL '1 ms'{compression}) EMIT CHANGES"
        )
        values = ", ".join(f"({n}, {['NULL', repr('a/b =c'), repr('web')][n % 3]}, NULL)" for n in range(60))
        con.execute(f"INSERT INTO bids VALUES {values}")
        until(lambda: len(rows_in(out, format=format)) == 30)
        expected = con.execute("SELECT n, channel FROM bids WHERE n % 2 = 0").fetchall()
    assert rows_in(out, "n, channel", format) == sorted(expected, key=repr)
    assert not list(out.rglob("*.part"))
    assert {path.name for path in out.iterdir()} == {
        "channel=web",
        "channel=a%2Fb %3Dc",
        "channel=__HIVE_DEFAULT_PARTITION__",
    }


def test_a_window_is_written_once_when_it_closes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with headrace.connect(tmp_path / "db") as con:
        con.execute(BIDS)
        con.execute(
            "COPY (SELECT window_end, count(*) AS n FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND) "
            f"GROUP BY window_start, window_end) TO '{out}' (ROLLOVER_INTERVAL '1 ms') EMIT FINAL"
        )
        con.execute("INSERT INTO bids VALUES (1, 'a', '2026-01-01 00:00:01'), (2, 'a', '2026-01-01 00:00:09')")
        con.execute("INSERT INTO bids VALUES (3, 'a', '2026-01-01 00:00:25')")
        until(lambda: len(rows_in(out)) == 1)
        with pytest.raises(headrace.NotSupportedError, match="changes later"):
            con.execute(f"COPY (SELECT channel, count(*) AS n FROM bids GROUP BY channel) TO '{out}' EMIT CHANGES")
    assert rows_in(out) == [(2,)]


def test_dropping_the_query_finishes_its_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with headrace.connect(tmp_path / "db") as con:
        con.execute(BIDS)
        con.execute(f"COPY bids TO '{out}' EMIT CHANGES")
        con.execute("INSERT INTO bids SELECT i, 'a', NULL FROM range(10) AS r(i)")
        con.flush()
        assert not rows_in(out)
        con.execute("DROP QUERY copy_to_out_1")
        con.execute("INSERT INTO bids VALUES (10, 'a', NULL)")
        con.flush()
    assert [n for (n,) in rows_in(out)] == list(range(10))
    assert sorted(path.name for path in (tmp_path / "db" / "topics").iterdir()) == ["bids", "system.progress"]
    assert not list((tmp_path / "db" / "copies").iterdir())


def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FILES_RETRY_S", 0.05)
    out = tmp_path / "out"
    with headrace.connect(tmp_path / "db") as con:
        con.execute(BIDS)
        con.execute(f"COPY bids TO '{out}' (ROLLOVER_INTERVAL '1 ms') EMIT CHANGES")
        out.rmdir()
        out.write_text("in the way")
        con.execute("INSERT INTO bids VALUES (1, 'a', NULL)")
        state = "SELECT status, reason FROM system.queries WHERE name = 'copy_to_out_1'"
        until(lambda: con.execute(state).fetchone() != ("running", None))
        status, reason = con.execute(state).fetchone() or ("", "")
        assert status == "running"
        assert str(out) in reason
        ((what, why, hint),) = con.execute("SELECT what, reason, hint FROM system.problems").fetchall()
        assert (what, str(out) in why, "rows wait" in hint) == ('no files can be made of "copy_to_out_1"', True, True)
        out.unlink()
        until(lambda: con.execute(state).fetchone() == ("running", None))
        until(lambda: rows_in(out) == [(1,)])


def test_whatever_a_writer_raises_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FILES_RETRY_S", 0.05)
    out, broken = tmp_path / "out", True

    def write(*arguments: Any) -> None:
        if broken:
            raise ValueError("nobody thought of that")
        write_table(*arguments)

    monkeypatch.setattr("headrace.sql.copying.write_table", write)
    with headrace.connect(tmp_path / "db") as con:
        con.execute(BIDS)
        con.execute(f"COPY bids TO '{out}' (ROLLOVER_INTERVAL '1 ms') EMIT CHANGES")
        con.execute("INSERT INTO bids VALUES (1, 'a', NULL)")
        problems = "SELECT reason FROM system.problems"
        until(lambda: con.execute(problems).fetchall() != [])
        assert "ValueError: nobody thought of that" in con.execute(problems).fetchall()[0][0]
        broken = False
        until(lambda: rows_in(out) == [(1,)])


def test_dropping_a_query_that_cannot_write_says_what_is_in_no_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with headrace.connect(tmp_path / "db") as con:
        con.execute(BIDS)
        con.execute(f"COPY bids TO '{out}' EMIT CHANGES")
        out.rmdir()
        out.write_text("in the way")
        con.execute("INSERT INTO bids SELECT i, 'a', NULL FROM range(10) AS r(i)")
        con.flush()
        (notice,) = con.execute("DROP QUERY copy_to_out_1").notices
        assert notice.startswith('10 rows that "copy_to_out_1" had still to write are in no file'), notice
        assert con.execute("SELECT * FROM system.problems").fetchall() == []


def test_a_process_that_dies_within_drop_leaves_nothing_and_the_files_are_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    died = False

    def dies(operation: str, path: Path) -> None:
        nonlocal died
        died = died or (operation == "remove" and "copies" in path.parts)
        if died:
            raise OSError(5, "the process is dead")

    con = headrace.connect(tmp_path / "db")
    con.execute(BIDS)
    con.execute(f"COPY bids TO '{out}' EMIT CHANGES")
    con.execute("INSERT INTO bids SELECT i, 'a', NULL FROM range(10) AS r(i)")
    con.flush()
    with faults(dies), pytest.raises(headrace.OperationalError):
        con.execute("DROP QUERY copy_to_out_1")
    left = crashed(tmp_path / "db", tmp_path / "left")
    con.close()
    assert list((left / "copies").iterdir())
    assert [n for (n,) in rows_in(out)] == list(range(10))
    with headrace.connect(left) as con:
        assert con.execute("SHOW QUERIES").fetchall() == []
        assert not list((left / "copies").iterdir())
    assert sorted(path.name for path in (left / "topics").iterdir()) == ["bids", "system.progress"]


def sink_of(folder: Folder, out: Path) -> FileSink:
    topic = folder.topic("rows")
    columns = tuple(
        Column(field.name, type, field.type) for field, type in zip(topic.schema, ("BIGINT", "VARCHAR"), strict=True)
    )
    statement = CopyTo.__new__(CopyTo)

    def write(path: Path, inside: list[Column], rows: Any) -> None:
        write_table(rows, inside, path, "parquet", {}, statement)

    target = FileTarget(out, "part-1", "parquet", columns, write, ("channel",), 400, 60.0)
    return FileSink(topic, target, folder.path / "copy.json", durable=True)


def test_a_crash_at_any_call_to_the_disk_loses_and_doubles_nothing(tmp_path: Path) -> None:
    crashes = 0
    for stop in range(0, 200, 3):
        place = tmp_path / str(stop)
        folder = Folder.open(place / "db", durability="none")
        out = place / "out"
        out.mkdir()
        schema = pa.schema([("n", pa.int64()), ("channel", pa.string())])
        folder.create_topic("rows", schema, options=TopicOptions(durability="none"))
        for start in range(0, 60, 20):
            numbers = list(range(start, start + 20))
            folder.topic("rows").append(pa.record_batch([numbers, [f"c{n % 2}" for n in numbers]], schema=schema))
        calls = 0

        def fault(operation: str, path: Path, stop: int = stop) -> None:
            nonlocal calls
            calls += 1
            if calls > stop:
                raise OSError(5, "the process is gone")

        with faults(fault):
            sink_of(folder, out).stop()
        crashed = calls > stop
        crashes += crashed
        sink_of(folder, out).stop()
        folder.close()
        assert Counter(rows_in(out)) == Counter((n,) for n in range(60)), f"stopped at call {stop}"
        assert not list(out.rglob("*.part"))
        if not crashed:
            break
    assert crashes > 10


WRITER = """
import sys
import headrace

con = headrace.connect(sys.argv[1], checkpoint_interval_s=0.2)
con.execute("CREATE STREAM IF NOT EXISTS bids (n BIGINT, channel VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts)")
if not con.execute("SELECT * FROM system.queries").fetchall():
    con.execute(f"COPY (SELECT n, channel FROM bids) TO '{sys.argv[2]}' "
                "(PARTITION_BY (channel), FILE_SIZE_BYTES 2000, ROLLOVER_INTERVAL '5 ms') EMIT CHANGES")
start = con.execute('SELECT coalesce(max(n) + 1, 0) FROM bids').fetchone()[0]
while True:
    rows = [(n, f'c{n % 3}') for n in range(start, start + 50)]
    con.executemany('INSERT INTO bids (n, channel) VALUES (?, ?)', rows)
    start += 50
    print(start, flush=True)
"""


def test_killed_while_files_are_written(tmp_path: Path) -> None:
    folder, out, script = tmp_path / "db", tmp_path / "out", tmp_path / "writer.py"
    script.write_text(WRITER)
    chance = random.Random(5)
    acknowledged = 0
    for _ in range(3):
        command = [sys.executable, str(script), str(folder), str(out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(chance.randrange(5, 40)):
            acknowledged = int(process.stdout.readline())
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.communicate()
    with headrace.connect(folder) as con:
        (kept,) = con.execute("SELECT count(*) FROM bids").fetchone() or (0,)
        con.flush()
    assert kept >= acknowledged
    counts = Counter(rows_in(out))
    assert counts == Counter((n,) for n in range(kept))


def test_what_cannot_be_copied_says_why(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute(BIDS)
        for options, message in {
            "'{0}/x.parquet' EMIT CHANGES": "is not a folder",
            "'{0}/x' (PARTITION_BY (nobody)) EMIT CHANGES": "nobody",
            "'{0}/x' (PARTITION_BY (n, channel, ts)) EMIT CHANGES": "no column is left",
            "'{0}/x' (ROLLOVER_INTERVAL 'soon') EMIT CHANGES": "cannot be 'soon'",
            "'{0}/x' (FILE_SIZE_BYTES 0) EMIT CHANGES": "cannot be 0",
            "'{0}/x' (FORMAT csv, ROW_GROUP_SIZE 5) EMIT CHANGES": "no option",
            "'{0}/db/x' EMIT CHANGES": "inside of the database",
        }.items():
            with pytest.raises(Error, match=message):
                con.execute(f"COPY bids TO {options.format(tmp_path)}")
        assert con.execute("SELECT * FROM system.queries").fetchall() == []
    assert not (tmp_path / "x").exists()
