"""A database goes on from its last checkpoint: it reads what came since, and all is what it would have been."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

import headrace

GRAPH = """
CREATE STREAM bids (n BIGINT, auction BIGINT, price DOUBLE, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND)
  INTO 2 PARTITIONS;
CREATE TABLE auctions (auction BIGINT PRIMARY KEY, name VARCHAR);
CREATE MATERIALIZED VIEW totals AS
  SELECT auction, count(*) AS n, sum(price) AS price, max(n) AS last FROM bids GROUP BY auction;
CREATE MATERIALIZED VIEW windows AS SELECT window_start, auction, count(*) AS n
  FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, auction;
CREATE MATERIALIZED VIEW named AS
  SELECT a.name, b.n, b.price FROM bids AS b LEFT JOIN auctions AS a ON a.auction = b.auction;
CREATE MATERIALIZED VIEW dear AS SELECT * FROM totals WHERE n > 3 ORDER BY price DESC LIMIT 3;
CREATE STREAM closed AS SELECT window_start AS began, auction, count(*) AS n
  FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end, auction;
CREATE TABLE last AS SELECT auction, max(n) AS n FROM bids GROUP BY auction;
"""
RELATIONS = ("totals", "windows", "named", "dear", "closed", "last", "auctions")


def insert(con: headrace.Connection, start: int, rows: int) -> None:
    con.execute(
        f"""INSERT INTO bids SELECT n, n % 5, n / 8, TIMESTAMP '2024-01-01' + to_seconds(n // 3 - n % 7)
        FROM range({start}, {start + rows}) AS t (n)"""
    )
    con.execute("INSERT OR REPLACE INTO auctions VALUES (?, ?)", (start % 5, f"name {start}"))


def content(con: headrace.Connection) -> dict[str, list[object]]:
    con.flush()
    assert [verdict for verdict in con.execute("VERIFY").fetchall() if verdict[1] is not True] == []
    return {name: con.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in RELATIONS}


def test_goes_on_where_it_was_and_reads_only_what_came_since(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute(GRAPH)
        insert(con, 0, 100)
        con.execute("CHECKPOINT")
        insert(con, 100, 30)
        before = content(con)
    for _ in range(2):
        with headrace.connect(tmp_path / "db") as con:
            assert content(con) == before
            assert con.status().rows < 2 * (100 + 30), "more was read than what came since"
            assert con.execute("CHECKPOINT").notices == []
    with headrace.connect(tmp_path / "db") as con, headrace.connect() as other:
        assert con.status().rows == 0
        insert(con, 130, 50)
        other.execute(GRAPH)
        for start, rows in ((0, 100), (100, 30), (130, 50)):
            insert(other, start, rows)
        assert content(con) == content(other)


def test_a_query_that_was_not_in_it_is_built_from_the_log(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute(GRAPH)
        insert(con, 0, 100)
        con.execute("CHECKPOINT")
        con.execute(
            """CREATE MATERIALIZED VIEW later AS SELECT auction % 2 AS odd, min(n) AS first FROM bids GROUP BY ALL;
            CREATE MATERIALIZED VIEW on_later AS SELECT odd, first + 1 AS second FROM later;
            CREATE STREAM copied AS SELECT n FROM bids WHERE n > 90;
            DROP MATERIALIZED VIEW named;
            CREATE MATERIALIZED VIEW named AS SELECT n, price, 'x' AS name FROM bids"""
        )
    with headrace.connect(tmp_path / "db") as con:
        insert(con, 100, 10)
        content(con)
        assert con.execute("SELECT * FROM on_later ORDER BY odd").fetchall() == [(0, 1), (1, 2)]
        assert con.execute("SELECT count(*), min(n) FROM copied").fetchall() == [(19, 91)]
        con.execute("CHECKPOINT")
    with headrace.connect(tmp_path / "db") as con:
        content(con)
        assert con.status().rows == 0
        assert con.execute("SELECT count(*) FROM copied").fetchall() == [(19,)]


def test_a_stream_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    sql = "CREATE STREAM s (n BIGINT); CREATE MATERIALIZED VIEW v AS SELECT sum(n) AS n FROM s;"
    with headrace.connect(tmp_path / "db") as con:
        con.execute(f"{sql} INSERT INTO s VALUES (1), (2); CHECKPOINT; DROP STREAM s CASCADE; {sql}")
        con.execute("INSERT INTO s VALUES (10), (20), (30)")
    with headrace.connect(tmp_path / "db") as con:
        assert con.execute("SELECT n FROM v").fetchall() == [(60,)]


def test_rows_that_retention_deleted_are_not_forgotten(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM s (n BIGINT); CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s")
        con.execute("INSERT INTO s SELECT * FROM range(1000)")
        con.execute("CHECKPOINT; DELETE FROM s BEFORE OFFSET 900")
    with headrace.connect(tmp_path / "db") as con:
        assert con.execute("SELECT n FROM v").notices == []
        con.execute("INSERT INTO s SELECT * FROM range(10)")
        assert con.execute("SELECT n FROM v").fetchall() == [(1010,)]


def test_a_damaged_one_is_passed_over_and_the_one_before_is_taken(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute(GRAPH)
        for start in (0, 50, 100):
            insert(con, start, 50)
            con.execute("CHECKPOINT")
        before = content(con)
    kept = sorted((tmp_path / "db" / "checkpoints").glob("*.arrow"))
    assert len(kept) == 2
    for path, rows in ((kept[1], 0), (kept[0], 100)):
        path.write_bytes(path.read_bytes()[:-1])
        with headrace.connect(tmp_path / "db") as con:
            notices = con.execute("SELECT 1").notices
            assert any("was passed over" in notice and "checksum" in notice for notice in notices)
            assert content(con) == before
            assert con.status().rows > rows


def test_whoever_reads_only_goes_on_from_it_too(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute(GRAPH)
        insert(con, 0, 100)
        con.execute("CHECKPOINT")
        with headrace.connect(tmp_path / "db", read_only=True) as reader:
            assert reader.execute("SELECT sum(n) FROM totals").fetchall() == [(100,)]
            assert reader.status().rows == 0
            insert(con, 100, 10)
            reader.flush()
            while reader.execute("SELECT sum(n) FROM totals").fetchall() != [(110,)]:
                pass
            with pytest.raises(headrace.OperationalError, match="reading only"):
                reader.execute("CHECKPOINT")


WRITER = """
import sys
import headrace
from headrace.storage import limits

sys.path.insert(0, sys.argv[2])
from tests.test_checkpoints import GRAPH, insert

limits.CHECKPOINT_ROWS = 1
limits.CHECKPOINT_SHARE = 1e9
con = headrace.connect(sys.argv[1], idle_timeout_s=0.0, checkpoint_interval_s=0.02)
if all(relation.kind == 'SYSTEM' for relation in con.relations()):
    con.execute(GRAPH)
start = con.execute('SELECT coalesce(max(n) + 1, 0) FROM bids').fetchone()[0]
print('ready', start, flush=True)
while True:
    insert(con, start, 40)
    start += 40
    print(start, len(con._database.checkpointer.taken), flush=True)
"""


def test_killed_while_checkpoints_are_taken(tmp_path: Path) -> None:
    """Whatever a crash leaves, rows are counted once; and the outcome is that of a run that never crashed."""
    folder, script = tmp_path / "db", tmp_path / "writer.py"
    script.write_text(WRITER)
    chance = random.Random(11)
    acknowledged = checkpoints = 0
    for _ in range(4):
        command = [sys.executable, str(script), str(folder), str(Path(__file__).parents[1])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready")
        for _ in range(chance.randrange(5, 30)):
            acknowledged, checkpoints = map(int, process.stdout.readline().split())
        process.kill()
        process.wait()
        process.stdout.close()
    assert checkpoints > 0
    with headrace.connect(folder, idle_timeout_s=0.0) as con:
        stored = con.execute("SELECT count(*) FROM bids").fetchall()[0][0]
        assert stored >= acknowledged
        assert con.status().rows < stored, "all of the log was read again"
        content(con)
        twice = con.execute("SELECT began, auction FROM closed GROUP BY ALL HAVING count(*) > 1").fetchall()
        assert twice == [], "a window came out twice"
        assert con.execute("SELECT sum(n) FROM totals").fetchall() == [(stored,)]
