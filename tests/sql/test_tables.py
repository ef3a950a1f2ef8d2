"""Tables from Python: every way in, two who change the same rows, restarts, compaction, and readers elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import headrace


@pytest.fixture
def con(tmp_path: Path) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path / "db") as connection:
        yield connection


def in_threads(count: int, work: object) -> list[BaseException]:
    """Runs `work(number)` in that many threads at once; what they raised."""
    raised: list[BaseException] = []
    ready = threading.Barrier(count)

    def run(number: int) -> None:
        ready.wait()
        try:
            work(number)  # type: ignore[operator]
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_every_way_in_keeps_the_key(con: headrace.Connection, tmp_path: Path) -> None:
    con.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v VARCHAR DEFAULT 'd')")
    assert con.executemany("INSERT INTO t VALUES (?, ?)", [(1, "a"), (2, "b")]).rowcount == 2
    with pytest.raises(headrace.IntegrityError, match='duplicate key in "t"') as caught:
        con.executemany("INSERT INTO t VALUES (?, ?)", [(3, "c"), (2, "b")])
    assert caught.value.detail == "There is a row with k = 2 already; nothing was changed."
    assert caught.value.sqlstate == "23505"
    assert con.executemany("INSERT OR IGNORE INTO t VALUES (?, ?)", [(2, "z"), (3, "c")]).rowcount == 1
    assert con.append("t", pa.table({"k": pa.array([4, 5], pa.int32())})) == 2
    with pytest.raises(headrace.IntegrityError):
        con.append("t", pa.table({"k": pa.array([6, 5], pa.int32())}))
    (tmp_path / "rows.csv").write_text("k,v\n6,f\n7,g\n")
    assert con.execute(f"COPY t FROM '{tmp_path}/rows.csv'").rowcount == 2
    with pytest.raises(headrace.IntegrityError):
        con.execute(f"COPY t FROM '{tmp_path}/rows.csv'")
    assert con.execute("UPDATE t SET v = ? WHERE k = ?", ["new", 7]).rowcount == 1
    assert con.execute("UPDATE t SET v = v || $tail WHERE k > $least", {"tail": "!", "least": 6}).rowcount == 1
    assert con.execute("DELETE FROM t WHERE k = ?", [1]).rowcount == 1
    rows = [(2, "b"), (3, "c"), (4, "d"), (5, "d"), (6, "f"), (7, "new!")]
    assert con.execute("SELECT * FROM t ORDER BY k").fetchall() == rows
    for act in (
        lambda: con.producer("t"),
        lambda: con.consumer("t"),
        lambda: con.execute("ALTER STREAM t RESET (tier)"),
    ):
        with pytest.raises(headrace.ProgrammingError, match='"t"'):
            act()


def test_a_stream_and_a_table_are_written_in_one_moment(con: headrace.Connection) -> None:
    con.execute("CREATE STREAM moves (k INTEGER, n INTEGER); CREATE TABLE last (k INTEGER PRIMARY KEY, n INTEGER)")
    rows = pa.table({"k": pa.array([1, 2], pa.int32()), "n": pa.array([10, 20], pa.int32())})

    def move() -> None:
        with con.atomic() as append:
            append("moves", rows)
            append("last", rows)

    move()
    with pytest.raises(headrace.IntegrityError):
        move()
    assert con.execute("SELECT count(*) FROM moves").fetchone() == (2,)
    assert con.execute("SELECT count(*) FROM last").fetchone() == (2,)


def test_of_those_who_insert_one_key_at_once_one_wins(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    with headrace.connect(folder) as con:
        con.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, who INTEGER) INTO 3 PARTITIONS")
        refused: list[int] = []

        def insert(who: int) -> None:
            with headrace.connect(folder) as mine:
                for key in range(20):
                    try:
                        mine.execute("INSERT INTO t VALUES (?, ?)", [key, who])
                    except headrace.IntegrityError:
                        refused.append(key)

        assert in_threads(3, insert) == []
        con.flush()
        assert con.execute("SELECT count(*), count(DISTINCT k) FROM t").fetchone() == (20, 20)
        assert sorted(refused) == sorted([*range(20), *range(20)])
        assert con.execute("VERIFY").fetchall() == [("t", True, 20, 20, 0, 0)]


def test_no_update_of_two_who_change_a_row_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    with headrace.connect(folder) as con:
        con.execute("CREATE TABLE counters (name VARCHAR PRIMARY KEY, n BIGINT); CREATE TABLE hits (n BIGINT)")
        con.execute("INSERT INTO counters VALUES ('a', 0), ('b', 0); INSERT INTO hits VALUES (0)")

        def count(number: int) -> None:
            with headrace.connect(folder) as mine:
                for _ in range(15):
                    mine.execute("UPDATE counters SET n = n + 1 WHERE name = 'a'")
                    mine.execute("INSERT INTO counters VALUES ('b', 1) ON CONFLICT DO UPDATE SET n = n + excluded.n")
                    mine.execute("UPDATE hits SET n = n + 1")

        assert in_threads(3, count) == []
        con.flush()
        assert con.execute("SELECT name, n FROM counters ORDER BY name").fetchall() == [("a", 45), ("b", 45)]
        assert con.execute("SELECT n FROM hits").fetchall() == [(45,)]


def test_nobody_sees_half_a_statement(con: headrace.Connection) -> None:
    con.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, euros BIGINT) INTO 4 PARTITIONS")
    con.executemany("INSERT INTO accounts VALUES (?, ?)", [(number, 100) for number in range(10)])
    con.execute("CREATE MATERIALIZED VIEW total AS SELECT sum(euros) AS euros FROM accounts")
    changes = con.execute("SUBSCRIBE total")
    for amount in range(30):
        source, target = amount % 10, (amount * 7 + 3) % 10
        con.execute(
            "UPDATE accounts SET euros = euros + CASE id WHEN $source THEN -$amount WHEN $target THEN $amount "
            "ELSE 0 END WHERE id IN ($source, $target)",
            {"source": source, "target": target, "amount": amount if source != target else 0},
        )
        assert con.execute("SELECT * FROM total").fetchone() == (1000,)
    con.flush()
    told = changes.fetchmany(100, timeout=0.0)
    assert {row[2] for row in told} == {1000}


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""])
def test_after_a_restart_and_compaction_the_rows_are_the_same(tmp_path: Path, key: str) -> None:
    folder = tmp_path / "db"
    with headrace.connect(folder) as con:
        con.execute(f"CREATE TABLE t (k INTEGER {key}, v VARCHAR)")
        con.execute("CREATE MATERIALIZED VIEW per_v AS SELECT v, count(*) AS n FROM t GROUP BY v")
        con.executemany("INSERT INTO t VALUES (?, ?)", [(number, f"v{number % 3}") for number in range(30)])
        for number in range(5):
            con.execute("UPDATE t SET v = 'x' WHERE k % 5 = ?", [number])
            con.execute("DELETE FROM t WHERE k % 7 = ?", [number])
        rows = con.execute("SELECT * FROM t ORDER BY ALL").fetchall()
        assert rows
        assert all(v == "x" for _, v in rows)
        topic = con._database.folder.topic("t")
        for partition in topic.partitions:
            partition.seal()
        assert con._database.folder.maintain() == ()
        sizes = {log.count() < log.end_offset for log in topic.partitions}
        assert sizes == {bool(key)}, "what has a key is compacted"
        assert con.execute("SELECT * FROM t ORDER BY ALL").fetchall() == rows
    with headrace.connect(folder) as con:
        assert con.execute("SELECT * FROM t ORDER BY ALL").fetchall() == rows
        assert con.execute("SELECT * FROM per_v").fetchall() == [("x", len(rows))]
        assert [row[1] for row in con.execute("VERIFY").fetchall()] == [True, True]


def test_a_process_that_only_reads_follows_a_table(con: headrace.Connection, tmp_path: Path) -> None:
    con.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v VARCHAR)")
    con.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    with headrace.connect(tmp_path / "db", read_only=True) as reader:
        assert reader.execute("SELECT * FROM t ORDER BY k").fetchall() == [(1, "a"), (2, "b")]
        con.execute("UPDATE t SET v = 'c' WHERE k = 1; DELETE FROM t WHERE k = 2")
        assert reader.execute("SELECT * FROM t ORDER BY k").fetchall() == [(1, "c")]
        con.execute("CREATE TABLE u (k INTEGER)")
        con.execute("INSERT INTO u VALUES (7)")
        assert reader.execute("SELECT * FROM u").fetchall() == [(7,)]
        with pytest.raises(headrace.OperationalError, match="open for reading only"):
            reader.execute("UPDATE t SET v = 'd'")
        con.execute("DROP TABLE u")
        with pytest.raises(headrace.ProgrammingError, match="no stream or view"):
            reader.execute("SELECT * FROM u")


def test_a_view_made_over_a_table_begins_with_its_rows(con: headrace.Connection) -> None:
    con.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER)")
    con.execute("INSERT INTO t SELECT range, range FROM range(1000)")
    con.execute("UPDATE t SET v = v + 1; DELETE FROM t WHERE k % 2 = 0")
    con.execute("CREATE MATERIALIZED VIEW later AS SELECT count(*) AS n, sum(v) AS v FROM t")
    assert con.execute("SELECT * FROM later").fetchone() == (500, sum(k + 1 for k in range(1, 1000, 2)))
    con.execute("TRUNCATE t")
    assert con.execute("SELECT * FROM later").fetchone() == (0, None)
