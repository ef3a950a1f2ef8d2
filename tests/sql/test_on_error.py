"""on_error: a query stops at the first row it fails on, or goes on without such rows, each of which is told once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace

VIEWS = {
    "sums": "SELECT k, sum(CAST(v AS INTEGER)) AS total, count(*) AS n FROM s WHERE CAST(v AS DOUBLE) > -5 GROUP BY k",
    "days": "SELECT DISTINCT CAST(v AS INTEGER) % 3 AS m FROM s",
    "pairs": "SELECT s.k, t.w FROM s LEFT JOIN t ON s.k = t.k AND CAST(s.v AS INTEGER) < CAST(t.w AS INTEGER)",
    "of_table": "SELECT CAST(w AS INTEGER) % 2 AS odd, count(*) AS n FROM t GROUP BY odd",
    "tens": "SELECT window_start, max(CAST(v AS INTEGER)) AS most"
    " FROM TUMBLE(s, ts, INTERVAL '10 seconds') GROUP BY window_start",
    "either": "SELECT CAST(v AS INTEGER) AS x FROM s UNION ALL SELECT CAST(w AS INTEGER) FROM t",
}
TEXTS = ["1", "2", "17", "-9", "x", "", "1e3", None]


@pytest.fixture
def con(tmp_path: Path) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path / "db", checkpoint_interval_s=0) as connection:
        connection.execute(
            "CREATE STREAM s (k BIGINT, v VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts) INTO 2 PARTITIONS"
        )
        connection.execute("CREATE TABLE t (k BIGINT PRIMARY KEY, w VARCHAR)")
        yield connection


def rows(con: headrace.Connection, query: str) -> list[Any]:
    return con.execute(query).fetchall()


def told(con: headrace.Connection) -> Counter[tuple[Any, ...]]:
    query = 'SELECT view, source, partition, "offset", CASE WHEN "offset" IS NULL THEN row END FROM system.failed_rows'
    return Counter(rows(con, query))


@pytest.mark.parametrize("seed", range(2))
def test_views_equal_their_twins_and_each_row_is_told_once(tmp_path: Path, seed: int) -> None:
    """Over epochs of any size, restarts with and without a checkpoint, and a view that is made in between."""
    chance, number = random.Random(seed), 0
    waiting = list(VIEWS.items())
    for life in range(4):
        with headrace.connect(tmp_path / "db", checkpoint_interval_s=0) as con:
            if life == 0:
                con.execute(
                    "CREATE STREAM s (k BIGINT, v VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts) INTO 2 PARTITIONS"
                )
                con.execute("CREATE TABLE t (k BIGINT PRIMARY KEY, w VARCHAR)")
                con.execute("CREATE STREAM parsed WITH (on_error = 'skip') AS SELECT k, CAST(v AS INTEGER) AS v FROM s")
            for name, query in [waiting.pop() for _ in range(min(len(waiting), 2 + life))]:
                con.execute(f"CREATE MATERIALIZED VIEW {name} WITH (on_error = 'skip') AS {query}")
            for _ in range(6):
                if chance.random() < 0.6:
                    for _ in range(chance.randint(1, 5)):
                        number += 1
                        at = f"2024-01-01 00:{number // 60:02}:{number % 60:02}"
                        con.execute("INSERT INTO s VALUES (?, ?, ?)", [number % 3, chance.choice(TEXTS), at])
                else:
                    key, text = chance.randint(0, 3), chance.choice(TEXTS)
                    con.execute("INSERT INTO t VALUES (?, ?) ON CONFLICT DO UPDATE SET w = excluded.w", [key, text])
            assert [verdict for verdict in rows(con, "VERIFY") if verdict[1] is not True] == []
            assert [status for (status,) in rows(con, "SELECT status FROM system.queries")] == ["running"] * (
                len(VIEWS) - len(waiting) + 1
            )
            if chance.random() < 0.5:
                con.execute("CHECKPOINT")
            failed = told(con)
            assert failed
            assert max(failed.values()) == 1, [each for each in failed.items() if each[1] > 1]
            fails = "TRY_CAST(v AS INTEGER) IS NULL AND v IS NOT NULL"
            (bad,) = rows(con, f"SELECT count(*) FROM s WHERE {fails}")[0]
            assert sum(view == "parsed" for view, *_ in failed) == bad > 0
            assert rows(con, "SELECT count(*) FROM parsed") == rows(con, f"SELECT count(*) FROM s WHERE NOT ({fails})")
    assert not waiting


def test_without_it_a_query_stops_and_with_it_another_text_mends_it(con: headrace.Connection) -> None:
    con.execute(f"CREATE MATERIALIZED VIEW sums AS {VIEWS['sums']}")
    con.execute("CREATE MATERIALIZED VIEW above AS SELECT sum(total) AS total FROM sums")
    con.execute("INSERT INTO s (k, v) VALUES (1, '5'), (1, 'x'), (2, '7')")
    with pytest.raises(headrace.OperationalError) as caught:
        rows(con, "FROM sums")
    assert "WITH (on_error = 'skip')" in (caught.value.hint or "")
    assert told(con) == Counter()
    con.execute(f"ALTER MATERIALIZED VIEW sums WITH (on_error = 'skip') AS {VIEWS['sums']}")
    assert sorted(rows(con, "FROM sums")) == [(1, 5, 1), (2, 7, 1)]
    assert rows(con, "FROM above") == [(12,)]
    assert len(told(con)) == 1
    con.execute("INSERT INTO s (k, v) VALUES (2, 'y')")
    assert len(told(con)) == 2
    con.execute(f"ALTER MATERIALIZED VIEW sums WITH (on_error = 'skip') AS {VIEWS['sums'].replace('-5', '-6')}")
    assert sum(told(con).values()) == 4, "another version tells of them again"
    problems = rows(con, "SELECT what FROM system.problems")
    assert problems == [('"sums" goes on without rows on which it fails',)]
    con.execute("DROP MATERIALIZED VIEW sums CASCADE")
    assert rows(con, "FROM system.problems") == []


def test_a_row_that_a_comparison_leaves_out_does_not_fail(con: headrace.Connection) -> None:
    con.execute(
        "CREATE MATERIALIZED VIEW v WITH (on_error = 'skip') AS SELECT CAST(v AS INTEGER) AS n FROM s"
        " WHERE CAST(v AS INTEGER) < 10 AND k = 1"
    )
    con.execute("INSERT INTO s (k, v) VALUES (1, '5'), (2, 'x'), (1, '11'), (NULL, 'y'), (2, '6')")
    assert rows(con, "FROM v") == [(5,)]
    assert told(con) == Counter()
    con.execute("INSERT INTO s (k, v) VALUES (1, 'z'), (2, 'x'), (1, '7')")
    assert sorted(rows(con, "FROM v")) == [(5,), (7,)]
    assert sum(told(con).values()) == 1
    assert rows(con, "VERIFY VIEW v")[0][1] is True


def test_who_reads_such_a_view_reads_its_rows(con: headrace.Connection) -> None:
    """Also where it keeps nothing, and others are planned as if its text stood in theirs; and where two are alike."""
    for name in ("numbers", "same"):
        con.execute(
            f"CREATE MATERIALIZED VIEW {name} WITH (on_error = 'skip') AS SELECT CAST(v AS INTEGER) AS n FROM s"
        )
    con.execute("CREATE MATERIALIZED VIEW total AS SELECT sum(n) AS n FROM numbers WHERE n > 1")
    con.execute("INSERT INTO s (k, v) VALUES (1, '5'), (2, 'x'), (1, '2'), (NULL, NULL)")
    assert rows(con, "FROM total") == [(7,)]
    assert rows(con, "SELECT view FROM system.failed_rows ORDER BY view") == [("numbers",), ("same",)]
    assert all(verdict[1] is True for verdict in rows(con, "VERIFY"))


def test_the_past_is_told_of_once_too(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db", epoch_digests=True) as con:
        con.execute("CREATE STREAM s (k BIGINT, v VARCHAR)")
        con.execute("CREATE MATERIALIZED VIEW v WITH (on_error = 'skip') AS SELECT k, CAST(v AS INTEGER) AS v FROM s")
        epochs = []
        for text in ("1", "x", "2", "y"):
            con.execute("INSERT INTO s VALUES (1, ?)", [text])
            con.flush()
            epochs.append(rows(con, "SELECT max(epoch) FROM system.epochs")[0][0])
        assert rows(con, f"SELECT v FROM v AS OF EPOCH {epochs[1]}") == [(1,)]
        (verdict,) = rows(con, f"VERIFY VIEW v AS OF EPOCH {epochs[2]}")
        assert verdict[1:4] == (True, 2, 2)
        replayed = rows(con, f"REPLAY VIEW v FROM EPOCH {epochs[0]} TO EPOCH {epochs[3]}")
        assert replayed
        assert all(True in each for each in replayed)
        assert sorted(told(con).values()) == [1, 1]


def test_what_fails_over_groups_is_still_an_error(con: headrace.Connection) -> None:
    con.execute(
        "CREATE MATERIALIZED VIEW small WITH (on_error = 'skip') AS"
        " SELECT k, CAST(sum(CAST(v AS INTEGER)) AS TINYINT) AS n FROM s GROUP BY k"
    )
    con.execute("INSERT INTO s (k, v) VALUES (1, '100'), (1, 'x')")
    assert rows(con, "FROM small") == [(1, 100)]
    con.execute("INSERT INTO s (k, v) VALUES (1, '100')")
    with pytest.raises(headrace.DataError, match="out of range"):
        rows(con, "FROM small")


def test_recompute_heeds_it_in_what_it_is_over(con: headrace.Connection) -> None:
    notices = con.execute(
        "CREATE MATERIALIZED VIEW firsts WITH (on_error = 'skip') AS"
        " SELECT k, first(CAST(v AS INTEGER)) AS n FROM s GROUP BY k"
    ).notices
    assert any("on_error says nothing of recompute" in notice for notice in notices)


def test_what_is_selected_of_pairs_fails_on_the_rows_of_each_side(con: headrace.Connection) -> None:
    """Two tables of the text are two tables, each with rows of its own that fail, also in what is selected of pairs."""
    con.execute(
        "CREATE MATERIALIZED VIEW twice WITH (on_error = 'skip') AS"
        " SELECT a.k, CAST(a.v AS INTEGER) AS n, CAST(b.v AS DATE) AS d FROM s AS a JOIN s AS b ON a.k = b.k"
    )
    con.execute("INSERT INTO s (k, v) VALUES (1, '5'), (1, '2024-01-01'), (2, 'x')")
    con.flush()
    state = rows(con, "SELECT status, reason FROM system.queries")
    assert state == [("running", None)], state
    (verdict,) = rows(con, "VERIFY VIEW twice")
    assert verdict[1] is True
