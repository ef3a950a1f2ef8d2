"""`headrace topic`: the log looked at, verified, repaired, exported and imported from the command line."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from headrace import Connection
from headrace import connect as headrace_connect

from .conftest import Done, Headrace, process

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
        (["ls", "nowhere"], "there is no database"),
        (["cat", "db", "t"], "There are s."),
        (["cat", "db", "s", "--columns", "k,x"], 'topic "s" has no column "x"'),
        (["cat", "db", "s", "--columns", "k,k"], 'column "k" is named twice'),
        (["cat", "db", "s", "--partition", "1"], 'topic "s" has no partition 1'),
        (["cat", "db", "s", "--from", "yesterday"], "neither an offset nor a time"),
        (["cat", "db", "s", "--limit", "x"], "not a whole number"),
        (["tail", "db", "s", "-f", "--format", "table"], "a table cannot grow"),
        (["export", "db", "s", "rows.txt"], "cannot tell the format"),
        (["export", "db", "s", "nowhere/rows.csv"], "could not write nowhere/rows.csv"),
        (["import", "db", "s", "nowhere.csv"], 'there is no file "nowhere.csv"'),
    ],
)
@pytest.mark.usefixtures("db")
def test_usage_is_exit_code_2(headrace: Headrace, words: list[str], said: str) -> None:
    done = headrace("topic", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_repair_says_what_is_lost_and_asks(
    headrace: Headrace, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert headrace("topic", "repair", "db", "s").stdout == "nothing to repair\n"
    headrace("db", "-c", "INSERT INTO s VALUES ('d', 4)")
    break_rows(db)  # the second frame
    before = {path: path.read_bytes() for path in db.rglob("*") if path.is_file() and path.name != "LOCK"}
    done = headrace("topic", "repair", "db", "s")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"partition 0: {0:020d}.arrow: what is intact goes to a new file",
        "lost: partition 0, offsets [3, 4)",
        "1 offsets are lost",
        "Nothing was changed; --yes does it.",
    ]
    assert {path: path.read_bytes() for path in before} == before
    done = headrace("topic", "repair", "db", "s", "--yes")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "Repaired. 1 partition, 2 segments, 3 rows: no damage"
    assert headrace("topic", "verify", "db").returncode == 0
    headrace("db", "-c", "INSERT INTO s VALUES ('e', 5)")
    found = headrace("topic", "cat", "db", "s", "--columns", "_offset,n", "--format", "csv").stdout
    assert found == "_offset,n\n0,1\n1,2\n2,3\n4,5\n"
    counted = headrace("db", "-c", "SELECT sum(n) AS n FROM s", "--format", "csv").stdout
    assert counted == "n\n11\n"


def test_repair_needs_the_folder_for_itself(headrace: Headrace, db: Path) -> None:
    with headrace_connect(db):
        done = headrace("topic", "repair", "db", "s", "--yes")
    assert done.returncode == 2
    assert "another connection owns it" in done.stderr
    assert headrace("topic", "repair", "db", "t").returncode == 2


def test_help(headrace: Headrace) -> None:
    assert "verify" in headrace("topic", "--help").stdout
    assert "exit codes:" in headrace("topic", "verify", "--help").stdout


MANY = """
CREATE STREAM m (n BIGINT, text VARCHAR, price DECIMAL(9,2), ts TIMESTAMP, WATERMARK FOR ts AS ts)
  PARTITIONED BY (n) INTO 3 PARTITIONS;
INSERT INTO m SELECT i, CASE WHEN i % 5 = 0 THEN NULL WHEN i % 5 = 1 THEN '' ELSE 'text, "' || i || '"' END, i * 1.25,
  '2026-01-01'::TIMESTAMP + INTERVAL (i) SECOND FROM range(1000) t(i);
"""


def lines(done: Done) -> list[dict[str, object]]:
    """What a run printed as JSON lines."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_ls_and_describe(headrace: Headrace, db: Path) -> None:
    headrace("db", "-c", MANY)
    many, small = lines(headrace("topic", "ls", "db", "--format", "jsonl"))
    assert (small["name"], small["partitions"], small["rows"], small["offsets"]) == ("s", 1, 3, "[0, 3)")
    assert (many["name"], many["partitions"], many["rows"]) == ("m", 3, 1000)
    assert many["first_append_time"] <= many["last_append_time"]
    sizes = [path.stat().st_size for path in (db / "topics" / "m").rglob("*.arrow")]
    assert many["bytes"] == sum(sizes)
    shown = headrace("topic", "describe", "db", "m", "--segments").stdout
    for expected in ("│ key            │ n ", "│ event_time     │ ts", "decimal128(9, 2)", f"{0:020d}.arrow"):
        assert expected in shown
    assert "arrow" not in headrace("topic", "describe", "db", "m").stdout


def test_cat_shows_what_is_asked_for(headrace: Headrace, db: Path) -> None:
    assert headrace("topic", "cat", "db", "s").stdout.splitlines()[4:] == [
        "│          0 │       0 │ a      │     1 │",
        "│          0 │       1 │ b      │     2 │",
        "│          0 │       2 │ a      │     3 │",
        "└────────────┴─────────┴────────┴───────┘",
        "  3 rows",
    ]
    csv = ["--format", "csv"]
    assert headrace("topic", "cat", "db", "s", "--columns", "n,_offset", "--from", "1", *csv).stdout == (
        "n,_offset\n2,1\n3,2\n"
    )
    assert headrace("topic", "cat", "db", "s", "--from", "-1", "--columns", "_partition", *csv).stdout == (
        "_partition\n0\n"
    )
    assert headrace("topic", "cat", "db", "s", "--limit", "2", "--columns", "k", *csv).stdout == "k\na\nb\n"
    assert headrace("topic", "cat", "db", "s", "--from", "2100-01-01", *csv).stdout == "_partition,_offset,k,n\n"
    assert headrace("topic", "cat", "db", "s", "--from", "2020-01-01T00:00+02:00", *csv).stdout.count("\n") == 4
    headrace("db", "-c", MANY)
    found = lines(headrace("topic", "cat", "db", "m", "--format", "jsonl"))
    assert sorted(row["n"] for row in found) == list(range(1000))
    assert [row["_partition"] for row in found] == sorted(row["_partition"] for row in found)
    second = [row for row in found if row["_partition"] == 1]
    assert lines(headrace("topic", "cat", "db", "m", "--partition", "1", "--format", "jsonl")) == second


def test_names_are_compared_without_case(headrace: Headrace, db: Path) -> None:
    assert headrace("topic", "cat", "db", "S", "--columns", "N", "--limit", "1", "--format", "csv").stdout == "n\n1\n"
    assert headrace("topic", "tail", "db", "S", "-n", "1", "--columns", "K", "--format", "csv").stdout == "k\na\n"


def test_a_stream_of_no_partitions_is_not_made(headrace: Headrace, db: Path) -> None:
    (db / "x.csv").write_text("a\n1\n")
    done = headrace("topic", "import", "db", "made", "db/x.csv", "--partitions", "0")
    assert done.returncode == 2
    assert "there is at least 1" in done.stderr
    assert "made" not in headrace("topic", "ls", "db", "--format", "csv").stdout


def test_tail_shows_the_last_rows(headrace: Headrace, db: Path) -> None:
    headrace("db", "-c", "INSERT INTO s VALUES ('c', 4)", "-c", "INSERT INTO s VALUES ('c', 5)")
    assert [row["n"] for row in lines(headrace("topic", "tail", "db", "s", "-n", "3", "--format", "jsonl"))] == [
        3,
        4,
        5,
    ]
    headrace("db", "-c", MANY)
    headrace("db", "-c", "INSERT INTO m (n) VALUES (5000)", "-c", "INSERT INTO m (n) VALUES (6000), (7000)")
    last = lines(headrace("topic", "tail", "db", "m", "-n", "3", "--columns", "n", "--format", "jsonl"))
    assert [last[0], *sorted(last[1:], key=str)] == [{"n": 5000}, {"n": 6000}, {"n": 7000}]
    assert len(lines(headrace("topic", "tail", "db", "m", "-n", "5000", "--format", "jsonl"))) == 1003


def test_tail_follows_another_process_and_ends_on_ctrl_c(tmp_path: Path, db: Path) -> None:
    with headrace_connect(db) as owner, process("topic", "tail", "-f", "-n", "1", "db", "s", folder=tmp_path) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        assert json.loads(tail.stdout.readline()) == {"_partition": 0, "_offset": 2, "k": "a", "n": 3}
        for n in range(3):
            owner.execute("INSERT INTO s VALUES ('live', ?)", [n])
            assert json.loads(tail.stdout.readline()) == {"_partition": 0, "_offset": 3 + n, "k": "live", "n": n}
        tail.send_signal(signal.SIGINT)
        assert tail.wait(timeout=30) == 130
        assert (tail.stdout.read(), tail.stderr.read()) == ("", "")


def test_tail_ends_when_nobody_reads_or_the_topic_goes(tmp_path: Path, db: Path) -> None:
    with process("topic", "tail", "-f", "db", "s", folder=tmp_path) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        tail.stdout.readline()
        tail.stdout.close()
        assert tail.wait(timeout=30) == 141  # although no row came
        assert tail.stderr.read() == ""
    with headrace_connect(db) as owner, process("topic", "tail", "-f", "db", "s", folder=tmp_path) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        tail.stdout.readline()
        owner.execute("DROP STREAM s")
        assert tail.wait(timeout=30) == 0
        assert tail.stderr.read() == 'The topic "s" was dropped.\n'


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "jsonl"])
def test_what_is_exported_can_be_imported(headrace: Headrace, db: Path, tmp_path: Path, suffix: str) -> None:
    headrace("db", "-c", MANY)
    done = headrace("topic", "export", "db", "m", f"m.{suffix}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "1,000 rows exported\n")
    headrace("db", "-c", MANY[: MANY.index("INSERT")].replace(" m ", " declared "))
    for stream in ("declared", "made"):
        done = headrace("topic", "import", "db", stream, f"m.{suffix}", "--partitions", "2")
        assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "1,000 rows imported")
    for sql in (
        "(FROM m EXCEPT FROM declared) UNION ALL (FROM declared EXCEPT FROM m)",
        "FROM m FULL JOIN made USING (n) WHERE m.text IS DISTINCT FROM made.text OR m.price <> made.price"
        " OR m.ts <> made.ts::TIMESTAMP",
    ):
        assert headrace("db", "-c", f"SELECT count(*) AS n FROM ({sql})", "--format", "csv").stdout == "n\n0\n"
    made = headrace("db", "-c", "SHOW PARTITIONS OF made", "-c", "DESCRIBE made", "--format", "csv").stdout
    assert "made,1," in made
    assert "ts,TIMESTAMP," in made


def test_files_are_read_and_written_piece_by_piece(
    headrace: Headrace, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece is at most ROWS_PER_FRAME rows, whatever the file or the log is cut into."""
    headrace("db", "-c", "CREATE STREAM long (n BIGINT); INSERT INTO long SELECT i FROM range(300000) t(i)")
    assert headrace("topic", "export", "db", "long", "long.parquet").returncode == 0
    groups = parquet.ParquetFile(tmp_path / "long.parquet").metadata
    assert 5 <= groups.num_row_groups <= 6
    sizes: list[int] = []
    append = Connection.append

    def counted(self: Connection, stream: str, rows: pa.RecordBatch, *, wait: bool = True) -> int:
        sizes.append(rows.num_rows)
        return append(self, stream, rows, wait=wait)

    monkeypatch.setattr(Connection, "append", counted)
    assert headrace("topic", "import", "db", "long", "long.parquet", "long.parquet").returncode == 0
    assert (sum(sizes), max(sizes)) == (600_000, 1 << 16)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", "k,n\na,1\nb,many\n", ['column "n" of "x.csv" does not fit', "many"]),
        ("x.csv", "k,m\na,1\n", ['"x.csv" has a column "m" that stream "s" has not', "k, n"]),
        ("x.jsonl", '{"k": "a", "n": 99999999999}\n', ["x.jsonl", "99999999999"]),
        ("x.jsonl", "nothing of the kind", ['could not read "x.jsonl" as jsonl']),
        ("x.parquet", "k,n\n", ['could not read "x.parquet" as parquet']),
        ("x.arrow", "k,n\n", ['could not read "x.arrow" as arrow']),
        ("x.txt", "k,n\n", ["cannot tell the format of x.txt"]),
    ],
)
@pytest.mark.usefixtures("db")
def test_a_file_that_does_not_fit_is_named_and_why(
    headrace: Headrace, tmp_path: Path, name: str, content: str, said: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    done = headrace("topic", "import", "db", "s", name)
    assert done.returncode == 2
    for part in said:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert headrace("db", "-c", "SELECT count(*) AS n FROM s", "--format", "csv").stdout == "n\n3\n"


@pytest.mark.usefixtures("db")
def test_values_that_would_change_are_refused(headrace: Headrace, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"K": ["x"], "n": [1.0]}), tmp_path / "good.parquet")
    parquet.write_table(pa.table({"k": ["x"], "n": [1.5]}), tmp_path / "half.parquet")
    done = headrace("topic", "import", "db", "s", "good.parquet", "half.parquet")
    assert done.returncode == 2
    assert 'column "n" of "half.parquet" does not fit: double into int32' in done.stderr
    assert "The 1 rows before were imported, and stay." in done.stderr


def test_what_cannot_be_read_is_said_and_exit_code_1(headrace: Headrace, db: Path) -> None:
    break_rows(db)
    done = headrace("topic", "cat", "db", "s", "--format", "csv")
    assert (done.returncode, done.stdout) == (1, "_partition,_offset,k,n\n")
    assert "does not match its checksum" in done.stderr
    assert "headrace topic verify" in done.stderr
    assert headrace("topic", "export", "db", "s", "s.csv").returncode == 1
    assert headrace("topic", "ls", "db").returncode == 1


VALUES = {
    "BIGINT": ["9223372036854775807", "-1"],
    "UBIGINT": ["18446744073709551615", "0"],
    "HUGEINT": ["12345678901234567890123456789012345678", "-1"],
    "DOUBLE": ["'nan'", "'-inf'", "1e300", "0.1", "5"],
    "FLOAT": ["1.5", "'inf'"],
    "DECIMAL(38,10)": ["1234567890123456789012345678.0123456789", "-0.0000000001"],
    "VARCHAR": ["'a,\"b\" ''c''\nd\\e'", "''", "'NULL'", "'é'"],
    "BLOB": ["'\\x00\\xFF'", "''", "'it''s \"q\" \\x5Cx41'"],
    "BOOLEAN": ["true", "false"],
    "DATE": ["'1969-12-31'", "'2020-02-29'"],
    "TIME": ["'12:34:56.789012'", "'00:00:00'"],
    "TIMESTAMP": ["'1900-01-01'", "'2020-01-01 01:02:03.456789'"],
    "TIMESTAMP_NS": ["'2020-01-01 01:02:03.456789123'"],
    "TIMESTAMPTZ": ["'2020-01-01 01:02:03.456789+02'"],
    "UUID": ["'550e8400-e29b-41d4-a716-446655440000'"],
    "INTEGER[]": ["[1, NULL, 3]", "[]"],
    "VARCHAR[][]": ["[['a, b', 'NULL', '', NULL, ' x''y\"z\\ '], []]", "[NULL]"],
    'STRUCT(a INTEGER, "b c" VARCHAR[])': ["{'a': 1, 'b c': ['x=y', '{}']}", "{'a': NULL, 'b c': NULL}"],
    "MAP(VARCHAR, INTEGER)": ["MAP {'k': 1, 'l, m': NULL}", "MAP {}"],
    "MAP(VARCHAR, BLOB)": ["MAP {'trace': '\\x00\\xFF,'::BLOB}"],
    "STRUCT(x DOUBLE, y DATE, z DECIMAL(38,10))[]": [
        "[{'x': 'nan', 'y': '2020-01-01', 'z': 1234567890123456789012345678.0123456789}]"
    ],
    "INTEGER[3]": ["[1, NULL, 3]"],
    "INTERVAL": ["'1 month 2 days 3 seconds'", "'-1 day'", "'-14 months'"],
}


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "jsonl"])
def test_every_type_comes_back_as_it_was(headrace: Headrace, tmp_path: Path, suffix: str) -> None:
    types = {f"c{n}": kind for n, kind in enumerate(VALUES) if not (suffix == "parquet" and kind == "INTERVAL")}
    columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
    with headrace_connect(tmp_path / "db") as con:
        for stream in ("s", "t"):
            con.execute(f"CREATE STREAM {stream} (id INTEGER, {columns})")
        for n in range(6):
            row = [(VALUES[kind] + ["NULL"] * 6)[n] for kind in types.values()]
            con.execute(f"INSERT INTO s VALUES ({n}, {', '.join(row)})")
    assert headrace("topic", "export", "db", "s", f"s.{suffix}").stderr == "6 rows exported\n"
    assert headrace("topic", "import", "db", "t", f"s.{suffix}").stderr == "6 rows imported\n"
    with headrace_connect(tmp_path / "db") as con:
        before, after = (con.execute(f"SELECT * FROM {name} ORDER BY id").fetchall() for name in ("s", "t"))
    assert repr(after) == repr(before)  # as text, in which nan is nan
    assert headrace("topic", "verify", "db").returncode == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"d": "2020-01-01"}\n{"d": "someday"}\n', ['column "d"', "someday"]),
        ('{"l": ["many"]}\n', ['column "l"', "many"]),
        ('{"d": "2020-01-01", "n": 1}\n[5]\n', ["x.jsonl"]),
        ('{"d": "2020-01-01"}\n5\n', ["from object to number"]),
        ('{"d": "2020-01-01"}\n{"d": ', ['could not read "x.jsonl"']),
        ('{"d": null}\n' * 20_000 + '{"e": 1}\n', ['a column "e" that its first lines have not']),
    ],
)
def test_json_lines_that_do_not_fit(headrace: Headrace, tmp_path: Path, content: str, said: list[str]) -> None:
    headrace("db", "-c", "CREATE STREAM s (n INTEGER, d DATE, l INTEGER[])")
    (tmp_path / "x.jsonl").write_text(content)
    done = headrace("topic", "import", "db", "s", "x.jsonl")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    for part in said:
        assert part in done.stderr
