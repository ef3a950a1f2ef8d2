"""ALTER TABLE and other names for views, while others look on and processes die."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace
from headrace.storage.errors import Error, OperationalError
from headrace.storage.files import faults


@pytest.fixture
def con(tmp_path: Path) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, b VARCHAR) INTO 2 PARTITIONS")
        con.execute("INSERT INTO t VALUES (1, 'one'), (2, 'two')")
        yield con


def rows(con: headrace.Connection, sql: str) -> list[tuple[object, ...]]:
    return con.execute(sql).fetchall()


def test_a_fault_at_any_step_leaves_the_table_as_it_was_or_as_it_should_be(
    con: headrace.Connection, tmp_path: Path
) -> None:
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
                con.execute("ALTER TABLE t RENAME COLUMN k TO key")
            except Error:
                failed = True
            try:
                con.close()
            except Error:
                failed = True
        with headrace.connect(copy) as con:
            name = rows(con, "DESCRIBE t")[0][0]
            assert name in (("k", "key") if failed else ("key",))
            con.execute(f"INSERT OR REPLACE INTO t ({name}, b) VALUES (1, 'again')")
            assert rows(con, f"SELECT {name}, b FROM t ORDER BY ALL") == [(1, "again"), (2, "two")]
            outcomes.add((failed, name))
        if not failed:
            break
    assert outcomes == {(True, "k"), (True, "key"), (False, "key")}


def test_live_queries_end_and_inserts_go_on(con: headrace.Connection) -> None:
    whole, own = con.execute("SUBSCRIBE t"), con.execute("SELECT count(*) AS n FROM t EMIT CHANGES")
    assert len(whole.fetchmany(9, timeout=0)) == 2
    failures: list[Exception] = []
    stopped, count = threading.Event(), 0

    def insert() -> None:
        nonlocal count
        try:
            while not stopped.is_set():
                con.execute(f"INSERT INTO t (k) VALUES ({100 + count})")
                count += 1
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=insert)
    thread.start()
    for number in range(5):
        con.execute(f"ALTER TABLE t ADD COLUMN c{number} INTEGER DEFAULT {number}")
    con.execute("ALTER TABLE t DROP COLUMN c0")
    stopped.set()
    thread.join()
    assert failures == []
    assert rows(con, "SELECT count(*), min(c4), max(c4) FROM t") == [(2 + count, 4, 4)]
    for cursor in (whole, own):
        with pytest.raises(OperationalError, match=r"altered|stopped"):
            list(cursor)
        cursor.close()
    con.execute("INSERT INTO t (k) VALUES (3)")
    assert [row[-1] for row in rows(con, "VERIFY")] == [0]


def test_readers_in_other_processes_follow(con: headrace.Connection, tmp_path: Path) -> None:
    con.execute("CREATE STREAM s (n INTEGER); CREATE MATERIALIZED VIEW v AS SELECT sum(n) AS n FROM s")
    con.execute("INSERT INTO s VALUES (1)")
    with headrace.connect(tmp_path / "db", read_only=True) as reader:
        assert rows(reader, "SELECT * FROM t ORDER BY k") == [(1, "one"), (2, "two")]
        con.execute("ALTER TABLE t ADD COLUMN d INTEGER DEFAULT 3")
        con.execute("INSERT INTO t VALUES (3, 'three', 4)")
        con.execute("COMMENT ON TABLE t IS 'numbers'; ALTER MATERIALIZED VIEW v RENAME TO w")
        con.execute("INSERT INTO s VALUES (2)")
        assert rows(reader, "SELECT * FROM t ORDER BY k") == [(1, "one", 3), (2, "two", 3), (3, "three", 4)]
        assert rows(reader, "SELECT comment FROM system.relations WHERE name = 't'") == [("numbers",)]
        assert rows(reader, "SELECT n FROM w") == [(3,)]


def test_a_view_keeps_what_it_has_counted_under_another_name(con: headrace.Connection, tmp_path: Path) -> None:
    con.execute("CREATE STREAM s (n INTEGER); CREATE MATERIALIZED VIEW v AS SELECT sum(n) AS n FROM s")
    con.execute("INSERT INTO s VALUES (1), (2)")
    live = con.execute("SELECT n FROM v WHERE n > 0 EMIT CHANGES")
    con.execute("DELETE FROM s BEFORE OFFSET 2; ALTER MATERIALIZED VIEW v RENAME TO w; INSERT INTO s VALUES (4)")
    assert rows(con, "SELECT n FROM w") == [(7,)]
    with pytest.raises(OperationalError, match="stopped"):
        list(live)
    live.close()
    con.execute("CREATE MATERIALIZED VIEW v AS SELECT n FROM w WHERE n > 5")
    con.execute("CHECKPOINT")
    con.close()
    with headrace.connect(tmp_path / "db") as con:
        con.execute("INSERT INTO s VALUES (1)")
        assert rows(con, "SELECT n FROM w") == rows(con, "SELECT n FROM v") == [(8,)]
