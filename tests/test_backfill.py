"""A view that is made while the database runs goes through history between the epochs of the others."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

import headrace
from tests.holding import Held

MINUTE = 60_000_000
ROWS = 20_000  # of history: five stretches


@pytest.fixture
def con() -> Iterator[headrace.Connection]:
    with headrace.connect(rows_per_epoch=4096) as connection:
        connection.execute("CREATE STREAM s (k BIGINT, x BIGINT)")
        connection.execute("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM s")
        connection.append("s", pa.table({"k": [n % 10 for n in range(ROWS)], "x": list(range(ROWS))}))
        connection.flush()  # else a view is level with the others as soon as they are, wherever that is
        connection.execute("SET background_ddl = on")
        yield connection


def status(con: headrace.Connection, name: str) -> tuple[str, int, int]:
    sql = "SELECT status, rows_done, rows_total FROM system.queries WHERE name = ?"
    return con.execute(sql, [name]).fetchone()  # type: ignore[return-value]


def wait_for_rows(con: headrace.Connection, name: str, done: int) -> None:
    for _ in range(2000):
        if con.status().backfills[name][0] >= done:
            return
        con.execute("SELECT 1")
    raise AssertionError("it does not go on")


def test_the_others_go_on_while_a_view_is_built(con: headrace.Connection, held: Held) -> None:
    built = con.execute("CREATE MATERIALIZED VIEW sums AS SELECT k, sum(x) AS x FROM s GROUP BY k")
    assert built.notices == ['"sums" is built in the background: SHOW QUERIES says how far it is']
    held.stretches = 2
    wait_for_rows(con, "sums", 8192)
    assert status(con, "sums") == ("backfilling", 8192, ROWS)
    con.execute("INSERT INTO s VALUES (3, 1), (11, 5)")
    assert con.execute("SELECT n FROM counted").fetchall() == [(ROWS + 2,)]
    assert status(con, "sums") == ("backfilling", 8192, ROWS + 2)
    held.stretches = 1 << 30
    assert con.execute("SELECT x FROM sums WHERE k = 11").fetchall() == [(5,)], "a reader waits until it is there"
    assert status(con, "sums") == ("running", None, None)
    assert con.execute("VERIFY").tag == "VERIFY"


def found(con: headrace.Connection, name: str) -> tuple[int, int]:
    return con.execute(f"SELECT count(*), count(rate) FROM {name}").fetchone()  # type: ignore[return-value]


def test_what_is_looked_up_in_is_read_before_what_looks_it_up() -> None:
    """An epoch takes 4096 rows of each stream: a key that was there before the order is found."""
    query = "SELECT o.n, r.rate FROM orders AS o LEFT JOIN {} FOR SYSTEM_TIME AS OF PROCTIME() AS r ON o.k = r.k"
    keys = pa.array(range(ROWS))
    rates = pa.table({"k": keys, "rate": keys})
    orders = pa.table({"n": keys, "k": keys[::-1]})
    with headrace.connect(rows_per_epoch=4096) as con:
        con.execute("CREATE STREAM orders (n BIGINT, k BIGINT); CREATE STREAM quotes (k BIGINT, rate BIGINT)")
        con.execute("CREATE TABLE rates (k BIGINT PRIMARY KEY, rate BIGINT)")
        con.execute("CREATE MATERIALIZED VIEW best AS SELECT k, max(rate) AS rate FROM quotes GROUP BY k")
        names = ("rates", "quotes", "best")
        for name in names:
            con.execute(f"CREATE MATERIALIZED VIEW live_{name} AS {query.format(name)}")
        for name, rows in (("rates", rates), ("quotes", rates), ("orders", orders)):
            con.append(name, rows)
        con.flush()
        for name in names:
            con.execute(f"CREATE MATERIALIZED VIEW later_{name} AS {query.format(name)}")
        con.execute(f"CREATE STREAM derived AS {query.format('quotes')}")
        made = [f"{when}_{name}" for when in ("live", "later") for name in names]
        assert {name: found(con, name) for name in [*made, "derived"]} == dict.fromkeys(
            [*made, "derived"], (ROWS, ROWS)
        )
        con.append("quotes", pa.table({"k": keys, "rate": keys}))
        con.append("orders", orders)
        con.append("orders", pa.table({"n": [-1], "k": [-1]}))
        assert found(con, "live_best") == (2 * ROWS + 1, 2 * ROWS), "neither waits for ever"


def test_create_waits_unless_it_is_told_not_to(con: headrace.Connection) -> None:
    con.execute("RESET background_ddl")
    con.execute("CREATE MATERIALIZED VIEW sums AS SELECT k, sum(x) AS x FROM s GROUP BY k")
    assert con.status().backfills == {}


def test_a_view_that_is_dropped_is_built_no_further(con: headrace.Connection, held: Held) -> None:
    con.execute("CREATE MATERIALIZED VIEW sums AS SELECT k, sum(x) AS x FROM s GROUP BY k")
    held.stretches = 1
    wait_for_rows(con, "sums", 4096)
    con.execute("DROP MATERIALIZED VIEW sums")
    assert con.status().backfills == {}
    con.execute("INSERT INTO s VALUES (3, 1)")
    assert con.execute("SELECT n FROM counted").fetchall() == [(ROWS + 1,)]


def test_what_comes_while_a_view_is_built_is_history_to_it(held: Held) -> None:
    with headrace.connect(clock=lambda: 100 * MINUTE) as con:
        con.execute("CREATE STREAM e (ts TIMESTAMP, x INT, WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE)")
        con.execute("INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:00:10', 1), (TIMESTAMP '1970-01-01 00:30:00', 2)")
        con.execute("SET background_ddl = on")
        window = "FROM TUMBLE(TABLE e, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start"
        con.execute(f"CREATE MATERIALIZED VIEW w AS SELECT window_start, sum(x) AS x {window}")
        con.execute("INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:00:20', 4)")
        held.stretches = 1 << 30
        assert sorted(x for (x,) in con.execute("SELECT x FROM w").fetchall()) == [2, 5]
        con.execute("INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:00:30', 8)")
        assert sorted(x for (x,) in con.execute("SELECT x FROM w").fetchall()) == [2, 5], "from now on it is late"
        assert con.execute("VERIFY").tag == "VERIFY"


@pytest.mark.parametrize(
    "above", ["SELECT k, x + 1 AS y FROM ({}) AS g WHERE x > 7", "SELECT max(x) AS m FROM ({}) AS g"]
)
def test_what_another_view_has_aggregated_is_taken_from_there(con: headrace.Connection, held: Held, above: str) -> None:
    groups = "SELECT k, sum(x) AS x FROM s GROUP BY k"
    held.stretches = 1 << 30
    con.execute(f"CREATE MATERIALIZED VIEW sums AS {groups}")
    con.execute("SELECT * FROM sums").fetchall()
    held.stretches = 0
    con.execute(f"CREATE MATERIALIZED VIEW higher AS {above.format(groups)}")
    con.execute("INSERT INTO s VALUES (3, 1), (11, 50)")
    held.stretches = 1
    con.flush()
    assert con.status().rows == ROWS + 2
    first = "SELECT rows_in FROM system.operators WHERE view = 'higher' AND operator LIKE 'aggregate%' ORDER BY node"
    assert con.execute(first).fetchone() == (ROWS + 2,), "its rows were read once"
    con.execute("INSERT INTO s VALUES (3, 1000000), (12, 50)")
    con.execute("DROP MATERIALIZED VIEW sums")
    con.execute("INSERT INTO s VALUES (3, 1000000), (13, 50)")
    assert con.execute("VERIFY").fetchall()[1][1] is True


def test_what_it_takes_from_a_view_that_is_dropped_meanwhile_goes_on(con: headrace.Connection, held: Held) -> None:
    groups = "SELECT k, sum(x) AS x FROM s GROUP BY k"
    held.stretches = 1 << 30
    con.execute(f"CREATE MATERIALIZED VIEW sums AS {groups}")
    con.execute("CREATE STREAM names (k BIGINT, name VARCHAR)")
    con.append("names", pa.table({"k": list(range(9000)), "name": ["n"] * 9000}))
    con.flush()
    held.stretches = 0
    con.execute(f"CREATE MATERIALIZED VIEW named AS SELECT name, k, x FROM names JOIN ({groups}) AS g USING (k)")
    held.stretches = 1
    wait_for_rows(con, "named", 4096)
    con.execute("DROP MATERIALIZED VIEW sums")
    con.execute("INSERT INTO s VALUES (3, 1), (8500, 50)")
    assert con.execute("SELECT n FROM counted").fetchall() == [(ROWS + 2,)]
    held.stretches = 1 << 30
    assert con.execute("SELECT x FROM named WHERE k = 8500").fetchall() == [(50,)]
    assert con.execute("VERIFY").tag == "VERIFY"
