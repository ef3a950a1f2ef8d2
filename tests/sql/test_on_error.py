"""on_error: a query stops at the first row it fails on, or goes on without such rows, each of which is told once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headrace
from headrace.engine.screening import FailedRows

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


SHAPES = {  # and how many rows of s and of t each goes on without
    "nested": ("SELECT CAST(u AS INTEGER) AS n FROM (SELECT trim(v) AS u FROM s)", 4),
    "grouped": (
        "WITH c AS (SELECT k, trim(v) AS u FROM s) SELECT k, sum(CAST(u AS INTEGER)) AS n FROM c GROUP BY k",
        4,
    ),
    "guarded": (
        "SELECT CAST(v AS INTEGER) AS n FROM (SELECT v FROM s WHERE regexp_matches(v, '^[0-9]+$'))"
        " WHERE CAST(v AS INTEGER) > 1",
        0,
    ),
    "casts": ("SELECT CAST(CAST(v AS INTEGER) AS BIGINT) AS n FROM s", 4),
    "parsed": ("SELECT CAST(strptime(v, '%Y') AS DATE) AS d FROM s", 4),
    "tumbled": ("SELECT CAST(v AS INTEGER) AS n FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND)", 4),
    "session": (
        "SELECT k, sum(CAST(v AS INTEGER)) AS n FROM SESSION(TABLE s PARTITION BY k, DESCRIPTOR(ts),"
        " INTERVAL '8' SECOND) GROUP BY k, window_start, window_end",
        4,
    ),
    "united": ("SELECT CAST(v AS INTEGER) AS n FROM (SELECT v FROM s UNION ALL SELECT w FROM t)", 6),
    "ranked": ("SELECT CAST(v AS INTEGER) AS n, row_number() OVER (PARTITION BY k ORDER BY ts) AS r FROM s", 4),
    "filled_in": ("SELECT s.k, CAST(t.w AS INTEGER) AS n FROM s LEFT JOIN t ON s.k = t.k", 2),
    "sides": ("SELECT CAST(s.v AS INTEGER) AS n, CAST(t.w AS INTEGER) AS m FROM s FULL JOIN t ON s.k = t.k", 6),
    "nearest": (
        "SELECT CAST(s.v AS INTEGER) AS n, CAST(r.v AS INTEGER) AS m FROM s ASOF JOIN s AS r"
        " ON s.k = r.k AND s.ts >= r.ts",
        4,
    ),
    "exists": (
        "SELECT k FROM s"
        " WHERE EXISTS (SELECT 1 FROM t WHERE t.k = s.k AND CAST(t.w AS INTEGER) > CAST(s.v AS INTEGER))",
        6,
    ),
    "numbered": (
        "SELECT CAST(v AS INTEGER) AS n, row_number() OVER (PARTITION BY k ORDER BY ts) AS r,"
        " sum(k) OVER (PARTITION BY v ORDER BY ts) AS total FROM s",
        4,
    ),
    "recent": ("SELECT CAST(v AS INTEGER) AS n FROM s WHERE ts < now() - INTERVAL '1 day'", 4),
    "different": ("SELECT CAST(v AS INTEGER) AS n FROM (SELECT DISTINCT v FROM s)", 4),
    "of_outer": ("SELECT s.k, l.n FROM s, LATERAL (SELECT CAST(s.v AS INTEGER) AS n) AS l", 4),
    "either": ("SELECT k, v FROM s WHERE k IS NOT NULL OR CAST(v AS INTEGER) > 0", 4),
    "twice": (
        "WITH c AS (SELECT k, CAST(v AS INTEGER) AS n FROM s) SELECT a.k FROM c AS a JOIN c AS b ON a.n = b.n",
        4,
    ),
    "turned": (
        "SELECT * FROM (SELECT k, CAST(v AS TINYINT) AS a, CAST(k AS UTINYINT)::TINYINT AS b FROM s WHERE k < 9)"
        " UNPIVOT (n FOR c IN (a, b))",
        5,
    ),
}


def test_what_is_computed_of_a_row_alone_fails_on_that_row(con: headrace.Connection) -> None:
    """Whatever stands between the row and the expression: other maps, windows, OVER, sets, joins that fill in NULLs.

    Each row comes alone, so that none fails because of another.
    """
    for name, (query, _) in SHAPES.items():
        con.execute(f"CREATE MATERIALIZED VIEW {name} WITH (on_error = 'skip') AS {query}")
    values = [(1, "1"), (2, "x"), (-3, "7"), (1, ""), (None, None), (3, "2024-01"), (1, "("), (2, "19")]
    for second, (k, v) in enumerate(values):
        con.execute("INSERT INTO s VALUES (?, ?, ?)", [k, v, f"2024-01-01 00:00:{second:02}"])
        con.flush()
    con.execute("INSERT INTO s VALUES (2, '5', '2024-01-01 00:10:00')")
    con.execute("INSERT INTO s VALUES (2, '6', '2024-01-01 00:00:01')")  # too late for a window
    con.execute("INSERT INTO t VALUES (1, '1'), (2, 'x'), (3, '')")
    con.flush()
    assert rows(con, "SELECT name, reason FROM system.queries WHERE status <> 'running'") == []
    assert [verdict for verdict in rows(con, "VERIFY") if verdict[1] is not True] == []
    failed = told(con)
    assert max(failed.values()) == 1
    counts = Counter(view for view, *_ in failed)
    assert {name: counts[name] for name in SHAPES} == {name: expected for name, (_, expected) in SHAPES.items()}


def test_a_renamed_view_goes_on_telling_under_its_name(con: headrace.Connection) -> None:
    con.execute("CREATE MATERIALIZED VIEW a WITH (on_error = 'skip') AS SELECT CAST(v AS INTEGER) AS n FROM s")
    con.execute("INSERT INTO s (v) VALUES ('x')")
    con.flush()
    con.execute("ALTER MATERIALIZED VIEW a RENAME TO b")
    con.execute("INSERT INTO s (v) VALUES ('y')")
    con.flush()
    assert rows(con, "SELECT view FROM system.failed_rows") == [("a",), ("b",)]
    assert rows(con, "SELECT what FROM system.problems") == [('"b" goes on without rows on which it fails',)]
    con.execute("DROP MATERIALIZED VIEW b")
    con.execute("CREATE MATERIALIZED VIEW b AS SELECT v FROM s")
    assert rows(con, "FROM system.problems") == []


def test_a_view_that_is_altered_elsewhere_tells_of_no_row_again(tmp_path: Path) -> None:
    """What it keeps may go on as it is, and be made anew from the log after a restart."""
    view = "MATERIALIZED VIEW v WITH (on_error = 'skip') AS SELECT * FROM (SELECT max(CAST(v AS INTEGER)) AS n FROM s)"
    for life in range(2):
        with headrace.connect(tmp_path / "db", checkpoint_interval_s=0, durability="none") as con:
            if life == 0:
                con.execute("CREATE STREAM s (v VARCHAR)")
                con.execute(f"CREATE {view}")
                con.execute("INSERT INTO s VALUES ('x')")
                con.execute(f"ALTER {view} WHERE n > 0")
                con.execute("INSERT INTO s VALUES ('y'), ('3')")
            assert rows(con, "FROM v") == [(3,)]
            assert sorted(told(con).values()) == [1, 1]


def test_who_reads_only_is_told_once_of_what_the_owner_tells_too(con: headrace.Connection, tmp_path: Path) -> None:
    con.execute("CREATE MATERIALIZED VIEW a WITH (on_error = 'skip') AS SELECT CAST(v AS INTEGER) AS n FROM s")
    con.execute("CREATE MATERIALIZED VIEW b WITH (on_error = 'skip') AS SELECT CAST(w AS INTEGER) AS n FROM t")
    with headrace.connect(tmp_path / "db", read_only=True) as reader:
        con.execute("INSERT INTO s (v) VALUES ('x'), ('1')")
        con.execute("INSERT INTO t VALUES (1, 'y')")
        con.flush()
        assert rows(reader, "FROM a") == [(1,)]
        assert rows(reader, "FROM b") == []
        assert rows(reader, "SELECT view FROM system.failed_rows ORDER BY view") == [("a",), ("b",)]
        assert told(reader) == told(con)


def test_explain_says_what_would_be_skipped(con: headrace.Connection) -> None:
    create = "CREATE MATERIALIZED VIEW a WITH (on_error = 'skip') AS SELECT CAST(v AS INTEGER) AS n FROM s"
    assert "rows on which it fails go to system.failed_rows" in str(rows(con, f"EXPLAIN {create}"))
    assert "TRY(ROW(" in str(rows(con, f"EXPLAIN TWIN {create}"))


def test_of_a_row_that_is_deleted_before_it_is_told_of_there_is_what_was_read(con: headrace.Connection) -> None:
    database: Any = con._session.database
    con.execute("CREATE STREAM one (k BIGINT, v VARCHAR) INTO 1 PARTITIONS")
    con.execute("INSERT INTO one VALUES (1, 'x'), (2, 'y'), (3, 'z')")
    report = database.reports.failed.reporter("a", 7, {"one": "7:way"})
    zeros, batch = np.zeros(2, np.int64), pa.record_batch({"v": ["y", "z"]})
    database.log.topic("one").delete_before(0, 2)
    report("one", FailedRows(zeros, np.array([1, 2]), batch, ["no", "no"]))
    database.log.topic("one").delete_before(0, 3)
    again = database.reports.failed.reporter("b", 8, {"one": "8:way"})
    again("one", FailedRows(zeros, np.array([1, 2]), batch, ["no", "no"]))
    database.reports.flush()
    assert rows(con, "SELECT view, row FROM system.failed_rows") == [
        ("a", '{"v":"y"}'),
        ("a", '{"k":3,"v":"z"}'),
        ("b", '{"v":"y"}'),
        ("b", '{"v":"z"}'),
    ]


def test_two_streams_on_which_the_same_fails_each_tell_of_their_rows(con: headrace.Connection) -> None:
    con.execute("CREATE STREAM r (v VARCHAR) INTO 1 PARTITIONS")
    con.execute("CREATE STREAM q (v VARCHAR) INTO 1 PARTITIONS")
    con.execute(
        "CREATE MATERIALIZED VIEW a WITH (on_error = 'skip') AS"
        " SELECT r.v FROM r JOIN q ON CAST(r.v AS INTEGER) = CAST(q.v AS INTEGER)"
    )
    con.execute("INSERT INTO r VALUES ('x')")
    con.execute("INSERT INTO q VALUES ('x')")
    con.flush()
    assert sorted(source for _, source, *_ in told(con)) == ["q", "r"]
