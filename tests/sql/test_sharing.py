"""Operators that run for several views: who listens, who fails, what was deleted, and what a restart finds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import headrace

COUNTS = "SELECT item, count(*) AS n FROM sales GROUP BY item"
STREAM = "CREATE STREAM sales (item VARCHAR, cents BIGINT)"


def shared(con: headrace.Connection, view: str) -> list[str]:
    """Whom `view` shares operators with, as EXPLAIN says."""
    said = [str(row[0]) for row in con.execute(f"EXPLAIN {view}").fetchall()]
    return [line.partition("shared with ")[2] for line in said if "shared with " in line]


def rows(con: headrace.Connection, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in con.execute(query).fetchall()]


def test_a_listener_of_one_view_hears_what_the_other_needs_too() -> None:
    with headrace.connect() as con:
        con.execute(f"{STREAM}; INSERT INTO sales VALUES ('pen', 1); CREATE MATERIALIZED VIEW counts AS {COUNTS}")
        con.execute(f"CREATE MATERIALIZED VIEW total AS SELECT sum(n) AS n FROM ({COUNTS})")
        con.flush()
        assert shared(con, "counts") == ["total"]
        listener = con.execute("SUBSCRIBE counts EMIT CHANGELOG WITH (snapshot = false)")
        con.execute("INSERT INTO sales VALUES ('pen', 1), ('ink', 2)")
        con.flush()
        heard = sorted(tuple(row[1:]) for row in listener.fetchmany(3))
        assert heard == [(-1, "pen", 1), (1, "ink", 1), (1, "pen", 2)]
        listener.close()
        con.execute("INSERT INTO sales VALUES ('pen', 1)")
        con.execute("DROP MATERIALIZED VIEW total")
        con.execute("INSERT INTO sales VALUES ('pen', 1)")
        assert rows(con, "SELECT * FROM counts ORDER BY n") == [("ink", 1), ("pen", 4)]
        con.execute(f"CREATE MATERIALIZED VIEW total AS SELECT sum(n) AS n FROM ({COUNTS})")
        con.execute("INSERT INTO sales VALUES ('ink', 1)")
        con.execute("DROP MATERIALIZED VIEW counts")
        con.execute("INSERT INTO sales VALUES ('ink', 1)")
        assert rows(con, "SELECT * FROM total") == [(7,)]
        assert all(row[1] for row in rows(con, "VERIFY"))


def test_a_view_that_fails_alone_leaves_the_other_on() -> None:
    with headrace.connect() as con:
        con.execute(STREAM)
        con.execute(f"CREATE MATERIALIZED VIEW numbers AS SELECT sum(CAST(item AS INTEGER)) AS total FROM ({COUNTS})")
        con.execute(f"CREATE MATERIALIZED VIEW counts AS {COUNTS}")
        con.execute("INSERT INTO sales VALUES ('1', 1)")
        con.flush()
        assert shared(con, "counts") == ["numbers"]
        con.execute("INSERT INTO sales VALUES ('one', 1), ('1', 1)")
        with pytest.raises(headrace.OperationalError, match='view "numbers" has stopped'):
            rows(con, "SELECT * FROM numbers")
        con.execute("INSERT INTO sales VALUES ('1', 1)")
        assert rows(con, "SELECT * FROM counts ORDER BY n") == [("one", 1), ("1", 3)]
        con.execute("CREATE MATERIALIZED VIEW later AS SELECT max(n) AS most FROM (" + COUNTS + ")")
        assert rows(con, "SELECT * FROM later") == [(3,)]


def test_what_fails_for_both_stops_both() -> None:
    with headrace.connect() as con:
        inner = "SELECT item::INTEGER AS number, count(*) AS n FROM sales GROUP BY item::INTEGER"
        con.execute(f"{STREAM}; CREATE MATERIALIZED VIEW a AS {inner}")
        con.execute(f"CREATE MATERIALIZED VIEW b AS SELECT n FROM ({inner}); CREATE MATERIALIZED VIEW c AS {COUNTS}")
        con.flush()
        assert shared(con, "a") == ["b"]
        con.execute("INSERT INTO sales VALUES ('one', 1)")
        for view in ("a", "b"):
            with pytest.raises(headrace.OperationalError, match=f'view "{view}" has stopped'):
                rows(con, f"SELECT * FROM {view}")
        assert rows(con, "SELECT * FROM c") == [("one", 1)]


def test_a_view_that_saw_rows_which_are_gone_shares_with_none_that_did_not(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute(f"{STREAM} WITH (segment_bytes = '1 KB')")
        for _ in range(20):
            con.execute("INSERT INTO sales SELECT 'pen', i FROM range(100) AS t(i)")
        con.execute(f"CREATE MATERIALIZED VIEW before AS {COUNTS}")
        assert rows(con, "SELECT n FROM before") == [(2000,)]
        gone = con.execute("DELETE FROM sales BEFORE OFFSET 1000").rowcount
        assert gone > 0
        con.execute(f"CREATE MATERIALIZED VIEW after AS {COUNTS}")
        con.flush()
        assert shared(con, "after") == []
        con.execute("INSERT INTO sales VALUES ('pen', 1)")
        assert rows(con, "SELECT n FROM after") == [(2001 - gone,)]
        assert rows(con, "SELECT n FROM before") == [(2001,)]
    with headrace.connect(tmp_path / "db") as con:  # the one goes on from the checkpoint that DELETE took
        assert shared(con, "after") == []
        assert rows(con, "SELECT n FROM before") == [(2001,)]
    shutil.rmtree(tmp_path / "db" / "checkpoints")
    with headrace.connect(tmp_path / "db") as con:  # both begin with what is left
        assert shared(con, "after") == ["before"]
        assert rows(con, "SELECT n FROM before UNION ALL SELECT n FROM after") == [(2001 - gone,)] * 2


def test_a_constant_comes_once() -> None:
    with headrace.connect() as con:
        con.execute(f"{STREAM}; INSERT INTO sales VALUES ('pen', 1)")
        both = "SELECT item FROM sales UNION ALL SELECT 'none'"
        con.execute(f"CREATE MATERIALIZED VIEW a AS SELECT item, count(*) AS n FROM ({both}) GROUP BY item")
        con.execute(f"CREATE MATERIALIZED VIEW b AS SELECT count(*) AS n FROM ({both})")
        con.execute("INSERT INTO sales VALUES ('ink', 1)")
        assert rows(con, "SELECT * FROM b") == [(3,)]
        assert rows(con, "SELECT sum(n) FROM a") == [(3,)]
        assert all(row[1] for row in rows(con, "VERIFY"))
