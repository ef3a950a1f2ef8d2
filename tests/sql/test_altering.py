"""ALTER STREAM and DELETE: rows are read by the new columns, and nobody's work is lost or left half done."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import headrace
from headrace.storage.errors import (
    DataError,
    Error,
    NotSupportedError,
    OffsetOutOfRangeError,
    OperationalError,
    ProgrammingError,
)
from headrace.storage.files import faults


@pytest.fixture
def con(tmp_path: Path) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path / "db") as con:
        con.execute(
            "CREATE STREAM s (k INTEGER NOT NULL, b VARCHAR DEFAULT 'x', t TIMESTAMP, "
            "WATERMARK FOR t AS t - INTERVAL 5 SECOND) PARTITIONED BY (k) INTO 2 PARTITIONS"
        )
        con.execute("INSERT INTO s VALUES (1, 'one', NULL), (2, 'two', NULL)")
        yield con


def rows(con: headrace.Connection, sql: str) -> list[tuple[object, ...]]:
    return con.execute(sql).fetchall()


def test_rows_from_before_are_read_by_the_new_columns(con: headrace.Connection, tmp_path: Path) -> None:
    con.execute("ALTER STREAM s ADD COLUMN c DECIMAL(6, 2) NOT NULL DEFAULT 1.5")
    con.execute("ALTER STREAM s ADD COLUMN IF NOT EXISTS c VARCHAR")
    con.execute("INSERT INTO s (k, c) VALUES (3, 9)")
    con.execute("ALTER STREAM s RENAME COLUMN b TO Bee")
    con.execute("ALTER STREAM s RENAME k TO id")
    con.execute("ALTER STREAM s ALTER COLUMN id SET DATA TYPE BIGINT")
    con.execute("ALTER STREAM s ALTER COLUMN c TYPE DECIMAL(12, 4)")
    con.execute("ALTER STREAM s DROP COLUMN IF EXISTS nothing")
    con.execute("INSERT INTO s (id, bee) VALUES (5000000000, 'big')")
    expected = [
        (1, "one", "1.5000"),
        (2, "two", "1.5000"),
        (3, "x", "9.0000"),
        (5000000000, "big", "1.5000"),
    ]
    query = "SELECT id, bee, c::VARCHAR FROM s ORDER BY id"
    assert rows(con, query) == expected
    con.execute("CREATE MATERIALIZED VIEW m AS SELECT id, sum(c)::VARCHAR AS total FROM s GROUP BY id")
    con.close()
    with headrace.connect(tmp_path / "db") as con:
        assert rows(con, query) == expected
        assert rows(con, "SELECT * FROM m ORDER BY id") == [(n, c) for n, _, c in expected]
        assert rows(con, "VERIFY VIEW m")[0][1] is True
        ((_, text),) = rows(con, "SHOW CREATE s")
        con.execute("DROP STREAM s CASCADE")
        con.execute(str(text))
        assert rows(con, "SHOW CREATE s") == [("s", text)]
        con.execute("ALTER STREAM s DROP COLUMN c")
        assert [name for name, *_ in rows(con, "DESCRIBE s")] == ["id", "Bee", "t"]


@pytest.mark.parametrize(
    ("change", "kind", "headline"),
    [
        ("DROP COLUMN k", ProgrammingError, 'cannot drop column "k"'),
        ("DROP COLUMN t", NotSupportedError, 'cannot drop column "t"'),
        ("RENAME COLUMN t TO u", NotSupportedError, 'cannot rename column "t"'),
        ("RENAME COLUMN b TO K", ProgrammingError, "exists already"),
        ("ADD COLUMN B INTEGER", ProgrammingError, "exists already"),
        ("ADD COLUMN n INTEGER NOT NULL", ProgrammingError, "NOT NULL without a default"),
        ("ADD COLUMN n INTEGER DEFAULT 'many'", Error, "many"),
        ("ADD COLUMN n NONSENSE", ProgrammingError, "NONSENSE"),
        ("ALTER COLUMN k TYPE SMALLINT", ProgrammingError, "cannot change column"),
        ("ALTER COLUMN k TYPE DOUBLE", ProgrammingError, "cannot change column"),
        ("ALTER COLUMN missing TYPE DOUBLE", ProgrammingError, 'no column "missing"'),
        ("SET (retention = 'long')", ProgrammingError, "cannot set retention"),
        ("SET (retentoin = '1 day')", ProgrammingError, "no option"),
        ("RESET (retentoin)", ProgrammingError, "no option"),
        ("ADD COLUMN n INTEGER, DROP COLUMN b", ProgrammingError, "unexpected"),
        ("RENAME TO other", NotSupportedError, "keeps its name"),
        ("FROBNICATE", ProgrammingError, "not a change"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(
    con: headrace.Connection, change: str, kind: type[Error], headline: str
) -> None:
    before = rows(con, "DESCRIBE s"), rows(con, "SHOW CREATE s")
    with pytest.raises(kind, match=headline) as caught:
        con.execute(f"ALTER STREAM s {change}")
    assert caught.value.position is not None
    assert caught.value.position.column > 10
    assert (rows(con, "DESCRIBE s"), rows(con, "SHOW CREATE s")) == before
    con.execute("INSERT INTO s (k) VALUES (3)")


def test_views_keep_their_columns_or_the_change_is_refused(con: headrace.Connection) -> None:
    con.execute("CREATE VIEW twos AS SELECT k, b FROM s WHERE k % 2 = 0")
    con.execute("CREATE MATERIALIZED VIEW counts AS SELECT b, count(*) AS n FROM twos GROUP BY b")
    con.execute("CREATE MATERIALIZED VIEW totals AS SELECT sum(n) AS total FROM counts")
    for change in ("DROP COLUMN b", "RENAME COLUMN b TO c", "RENAME COLUMN k TO c", "ALTER k TYPE BIGINT"):
        with pytest.raises(NotSupportedError, match='cannot alter "s" while "twos" reads it'):
            con.execute(f"ALTER STREAM s {change}")
    con.execute("ALTER STREAM s ADD COLUMN extra INTEGER DEFAULT 7")
    con.execute("INSERT INTO s (k, b) VALUES (4, 'two')")
    assert rows(con, "SELECT * FROM totals") == [(2,)]
    con.execute("CREATE MATERIALIZED VIEW everything AS SELECT * FROM s")
    with pytest.raises(NotSupportedError, match="everything") as caught:
        con.execute("ALTER STREAM s ADD COLUMN more INTEGER")
    assert "selects *" in str(caught.value.detail)
    con.execute("DROP MATERIALIZED VIEW everything")
    con.execute("ALTER STREAM s ALTER COLUMN extra TYPE BIGINT")
    con.execute("ALTER STREAM s DROP COLUMN extra")
    assert rows(con, "SELECT * FROM counts") == [("two", 2)]
    assert [row[1] for row in rows(con, "VERIFY VIEWS")] == [True, True]
    with pytest.raises(ProgrammingError, match='cannot alter "counts"'):
        con.execute("ALTER STREAM counts DROP COLUMN n")


def test_a_live_query_of_what_changes_ends(con: headrace.Connection) -> None:
    reads, other = con.execute("SUBSCRIBE TO SELECT k, b FROM s"), con.execute("SUBSCRIBE TO SELECT k FROM s")
    con.execute("ALTER STREAM s RENAME COLUMN b TO c")
    con.execute("INSERT INTO s (k) VALUES (3)")
    with pytest.raises(OperationalError, match="has stopped") as caught:
        list(reads)
    assert caught.value.detail == 'Stream "s" was altered.'
    found = [row[-1] for row in itertools.islice(other, 3)]
    assert sorted(found) == [1, 2, 3]
    other.close()


def test_producers_and_rows_made_before_go_on(con: headrace.Connection) -> None:
    stopped = threading.Event()
    failures: list[Exception] = []
    sent = [0, 0, 0]

    def send() -> None:
        try:
            with con.producer("s", linger_s=0) as producer:
                while not stopped.is_set():
                    producer.send({"k": sent[0] + 100}).result()
                    sent[0] += 1
        except Exception as error:
            failures.append(error)

    def insert(number: int) -> None:
        try:
            while not stopped.is_set():
                if number == 1:
                    con.execute("INSERT INTO s (k) VALUES (7)")
                else:
                    con.append("s", pa.table({"k": pa.array([8], pa.int32())}))
                sent[number] += 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=send), *(threading.Thread(target=insert, args=(n,)) for n in (1, 2))]
    for thread in threads:
        thread.start()
    for number in range(8):
        con.execute(f"ALTER STREAM s ADD COLUMN c{number} INTEGER DEFAULT {number}")
    for number in range(0, 8, 2):
        con.execute(f"ALTER STREAM s RENAME COLUMN c{number} TO d{number}")
    con.execute("ALTER STREAM s DROP COLUMN c1")
    stopped.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(sent)
    assert rows(con, "SELECT count(*), min(d0), max(d0), min(c7) FROM s") == [(2 + sum(sent), 0, 0, 7)]


def test_a_fault_at_any_step_leaves_the_stream_as_it_was_or_as_it_should_be(
    con: headrace.Connection, tmp_path: Path
) -> None:
    con.execute("CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM s GROUP BY k")
    con.close()
    outcomes = set()
    for step in range(40):
        copy = tmp_path / f"copy{step}"
        shutil.copytree(tmp_path / "db", copy)
        con, calls, failed = headrace.connect(copy), 0, False

        def fault(operation: str, path: Path, step: int = step) -> None:
            nonlocal calls
            if operation not in ("map", "stat", "read", "list"):
                calls += 1
                if calls > step:
                    raise OSError(5, "input/output error")

        with faults(fault):
            try:
                con.execute("ALTER STREAM s RENAME COLUMN b TO c")
            except Error:
                failed = True
            try:
                con.close()
            except Error:
                failed = True
        with headrace.connect(copy) as con:
            name = rows(con, "DESCRIBE s")[1][0]
            assert name in (("b", "c") if failed else ("c",))
            con.execute(f"INSERT INTO s (k, {name}) VALUES (1, 'again')")
            found = rows(con, f"SELECT {name} FROM s ORDER BY ALL")
            assert found == [("again",), ("one",), ("two",)]
            assert rows(con, "SELECT * FROM v ORDER BY k") == [(1, 2), (2, 1)]
            outcomes.add((failed, name))
        if not failed:
            break
    assert outcomes == {(True, "b"), (True, "c"), (False, "c")}


def test_readers_in_other_processes_follow(con: headrace.Connection, tmp_path: Path) -> None:
    con.execute("CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM s GROUP BY k")
    with headrace.connect(tmp_path / "db", read_only=True) as reader:
        assert len(rows(reader, "SELECT k, b FROM s")) == 2
        con.execute("ALTER STREAM s RENAME COLUMN b TO c")
        con.execute("ALTER STREAM s ADD COLUMN d INTEGER DEFAULT 3")
        con.execute("ALTER STREAM s SET (compression = 'zstd')")
        con.execute("INSERT INTO s (k) VALUES (3)")
        assert rows(reader, "SELECT k, c, d FROM s ORDER BY k") == [(1, "one", 3), (2, "two", 3), (3, "x", 3)]
        assert rows(reader, "SELECT * FROM v ORDER BY k") == [(1, 1), (2, 1), (3, 1)]
        assert rows(reader, "SHOW CREATE s") == rows(con, "SHOW CREATE s")
        with pytest.raises(OperationalError, match="reading only"):
            reader.execute("ALTER STREAM s DROP COLUMN c")
        with pytest.raises(OperationalError, match="reading only"):
            reader.execute("DELETE FROM s BEFORE TIMESTAMP '2030-01-01'")


def test_options_are_in_force_and_told(con: headrace.Connection, tmp_path: Path) -> None:
    con.execute("ALTER STREAM s SET (retention = '36 hours', retention_bytes = '2 GB', durability = 'each')")
    assert "WITH (durability = 'each', retention = '36 hours', retention_bytes = 2000000000)" in str(
        rows(con, "SHOW CREATE s")
    )
    topic = con._database.folder.topic("s")
    assert (topic.options.retention_ms, topic.durability) == (36 * 3_600_000, "each")
    con.execute("ALTER STREAM s RESET (retention, durability)")
    assert topic.options.retention_ms is None
    text = rows(con, "SHOW CREATE s")
    con.close()
    with headrace.connect(tmp_path / "db") as con:
        assert rows(con, "SHOW CREATE s") == text
        assert con._database.folder.topic("s").options.retention_bytes == 2_000_000_000
        assert con.execute("ALTER STREAM IF EXISTS nobody DROP COLUMN x").notices


def test_delete_before(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM one (n BIGINT)")
        con.append("one", pa.table({"n": range(100)}))
        assert con.execute("DELETE FROM one BEFORE OFFSET 30").rowcount == 30
        assert con.execute("DELETE FROM one BEFORE OFFSET 10").rowcount == 0
        assert rows(con, "SELECT min(n), count(*) FROM one") == [(30, 70)]
        con.execute("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM one")
        assert rows(con, "VERIFY VIEW total")[0][1] is True
        told = con.execute("DELETE FROM one BEFORE OFFSET 50 PARTITION 0")
        assert told.rowcount == 20
        assert "still counts" in told.notices[0]
        assert rows(con, "SELECT n FROM total") == [(70,)]
        verdict = con.execute("VERIFY VIEW total")
        assert verdict.fetchall()[0][1] is None
        assert "cannot be compared" in verdict.notices[0]
        for sql, kind in (
            ("DELETE FROM one BEFORE OFFSET 101", ProgrammingError),
            ("DELETE FROM one BEFORE OFFSET -1", ProgrammingError),
            ("DELETE FROM one BEFORE OFFSET 1 PARTITION 1", ProgrammingError),
            ("DELETE FROM one BEFORE TIMESTAMP 'then'", DataError),
            ("DELETE FROM one", NotSupportedError),
            ("DELETE FROM one WHERE n = 1", NotSupportedError),
            ("DELETE FROM total BEFORE OFFSET 1", ProgrammingError),
        ):
            with pytest.raises(kind):
                con.execute(sql)
        assert rows(con, "SELECT count(*) FROM one") == [(50,)]
        with pytest.raises(OffsetOutOfRangeError, match="begins at 50"):
            con._database.log.topic("one").partitions[0].read(0, 100)
    with headrace.connect(tmp_path / "db") as con:
        assert rows(con, "SELECT n FROM total") == [(70,)], "what was counted stays counted: a checkpoint has it"
    shutil.rmtree(tmp_path / "db" / "checkpoints")
    with headrace.connect(tmp_path / "db") as con:
        first = con.execute("SELECT n FROM total")
        assert "50 rows were deleted" in first.notices[0]
        assert first.fetchall() == [(50,)]
        assert con.execute("DELETE FROM one BEFORE TIMESTAMP '2020-01-01 00:00:00+00'").rowcount == 0
        assert con.execute("DELETE FROM one BEFORE TIMESTAMP '2100-01-01'").rowcount == 50
        con.append("one", pa.table({"n": [7]}))
        assert rows(con, "SELECT n FROM one") == [(7,)]


def test_headers_are_a_column(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM s (n BIGINT, h MAP(VARCHAR, BLOB) METADATA FROM 'headers')")
        with con.producer("s") as producer:
            producer.send({"n": 1}, headers={"trace": b"abc"})
            producer.send({"n": 2})
        assert rows(con, "SELECT n, h['trace'] FROM s ORDER BY n") == [(1, b"abc"), (2, None)]
        assert "METADATA FROM 'headers'" in str(rows(con, "SHOW CREATE s"))
        con.execute("ALTER STREAM s RENAME COLUMN h TO headers")
        with con.producer("s") as producer:
            producer.send({"n": 3}, headers={"trace": b"d"})
        assert rows(con, "SELECT headers['trace'] FROM s WHERE n = 3") == [(b"d",)]
        assert "headers MAP(VARCHAR, BLOB) METADATA FROM 'headers'" in str(rows(con, "SHOW CREATE s"))
        with pytest.raises(ProgrammingError, match="cannot drop"):
            con.execute("ALTER STREAM s DROP COLUMN headers")
        with pytest.raises(ProgrammingError, match="MAP"):
            con.execute("CREATE STREAM x (h VARCHAR METADATA FROM 'headers')")
        with pytest.raises(NotSupportedError, match="offset"):
            con.execute("CREATE STREAM x (o BIGINT METADATA FROM 'offset')")
