"""EXPLAIN STATE, EXPLAIN ANALYZE and system.operators: what the operators of a running view have done and keep."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import headrace


@pytest.fixture
def con() -> Iterator[headrace.Connection]:
    with headrace.connect(idle_timeout_s=0.0) as connection:
        connection.execute(
            """
            CREATE STREAM bids (auction BIGINT, price BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts);
            CREATE MATERIALIZED VIEW per_auction AS SELECT auction, count(*) AS n FROM bids GROUP BY auction;
            CREATE MATERIALIZED VIEW per_minute AS SELECT window_start, count(*) AS n
              FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start, window_end;
            CREATE MATERIALIZED VIEW doubled AS SELECT price * 2 AS twice FROM bids WHERE price >= 50;
            INSERT INTO bids SELECT i % 7, i, TIMESTAMP '2024-01-01' + to_seconds(i) FROM range(100) AS t(i);
            """
        )
        connection.flush()
        yield connection


def lines(con: headrace.Connection, statement: str) -> list[str]:
    return [str(row[0]) for row in con.execute(statement).fetchall()]


def test_rows_in_and_out_are_counted(con: headrace.Connection) -> None:
    figures = con.execute("SELECT view, rows_in, rows_out FROM system.operators WHERE operator LIKE 'map%'").fetchall()
    assert ("doubled", 100, 50) in figures
    listener = con.execute("SUBSCRIBE per_auction")
    con.execute("INSERT INTO bids VALUES (1, 1, '2024-01-01 00:02:00'), (99, 1, '2024-01-01 00:02:00')")
    con.flush()
    assert con.execute(
        "SELECT rows_in, rows_out FROM system.operators WHERE view = 'per_auction' AND operator LIKE 'aggregate%'"
    ).fetchall() == [(102, 3)]  # two groups: one of them replaces its old row
    listener.close()


def test_analyze_shows_the_same_figures_and_the_time(con: headrace.Connection) -> None:
    shown = lines(con, "EXPLAIN ANALYZE doubled")
    assert shown[1].strip().startswith("100 rows in, 50 out, ")
    assert shown[1].endswith(" ms")
    assert shown[3].strip() == "100 rows"
    spent = con.execute("SELECT sum(milliseconds) FROM system.operators WHERE view = 'per_auction'").fetchone()
    assert spent is not None
    assert 0 < spent[0] < 60_000


def test_state_grows_with_its_groups(con: headrace.Connection) -> None:
    def kept(view: str) -> int:
        row = con.execute("SELECT sum(state_bytes) FROM system.operators WHERE view = ?", [view]).fetchone()
        assert row is not None
        return int(row[0])

    few = kept("per_auction")
    con.execute("INSERT INTO bids SELECT i, 1, '2024-01-01 00:03:00' FROM range(10000) AS t(i)")
    assert con.execute("SELECT count(*) FROM per_auction").fetchall() == [(10_000,)]
    many = kept("per_auction")
    assert many > few + 10_000 * 16
    shown = lines(con, "EXPLAIN STATE per_auction")
    assert f"; {many:,} bytes now" in "\n".join(shown)
    assert shown[-2:] == [f"in all {many:,} bytes", "bounded by the number of its groups and open windows"]


def test_what_is_read_twice_runs_and_is_told_once(con: headrace.Connection) -> None:
    con.execute(
        "CREATE MATERIALIZED VIEW twice AS WITH n AS (SELECT auction, count(*) AS n FROM bids GROUP BY auction) "
        "SELECT a.auction FROM n AS a JOIN n AS b ON a.n = b.auction UNION ALL SELECT auction FROM bids"
    )
    con.flush()
    for statement in ("EXPLAIN twice", "EXPLAIN STATE twice", "EXPLAIN ANALYZE twice"):
        shown = [line.strip() for line in lines(con, statement)]
        assert shown.count("aggregate: count(*) by auction [append-only input]") == 2
        assert shown.count("the same as above") == 1
    figures = con.execute("SELECT rows_in FROM system.operators WHERE view = 'twice' AND operator LIKE 'aggregate%'")
    assert figures.fetchall() == [(100,)]


def test_frames_without_the_times_that_are_asked_for_are_not_read(con: headrace.Connection) -> None:
    for hour in (1, 2, 3):  # a frame each; the first 100 rows are another
        con.execute(
            f"INSERT INTO bids SELECT {hour}, i, TIMESTAMP '2024-01-01' + to_hours({hour}) FROM range(10) AS t(i)"
        )
    con.execute("INSERT INTO bids VALUES (4, 0, NULL)")  # of this frame nothing is known
    con.flush()

    def read(view: str) -> int:
        figures = "SELECT rows_out FROM system.operators WHERE operator LIKE 'scan%' AND view = ?"
        row = con.execute(figures, [view]).fetchone()
        assert row is not None
        return int(row[0])

    for view, where, rows in (
        ("second", "ts >= '2024-01-01 02:00:00' AND ts < '2024-01-01 03:00:00'", 11),
        ("early", "ts < '2024-01-01 00:01:00'", 101),
        ("every", "ts >= '2024-01-01 02:00:00' OR auction = 1", 131),
        ("windowed", "ts >= '2024-01-01 03:00:00'", 11),
    ):
        source = "TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' MINUTE)" if view == "windowed" else "bids"
        columns = "window_start, count(*) AS n" if view == "windowed" else "auction, price"
        group = "GROUP BY window_start, window_end" if view == "windowed" else ""
        con.execute(f"CREATE MATERIALIZED VIEW {view} AS SELECT {columns} FROM {source} WHERE {where} {group}")
        con.flush()
        assert read(view) == rows
    assert all(row[1] for row in con.execute("VERIFY").fetchall())
    # With readers of other times the frames are shared: what one asks for all are given.
    con.execute("INSERT INTO bids VALUES (5, 0, '2024-01-01 03:30:00')")
    con.flush()
    assert (read("second"), read("windowed")) == (12, 12)
    assert all(row[1] for row in con.execute("VERIFY").fetchall())


def test_state_says_what_is_unbounded(con: headrace.Connection) -> None:
    con.execute(
        "CREATE MATERIALIZED VIEW nested AS WITH RECURSIVE r(n) AS (SELECT max(price) FROM bids UNION ALL "
        "SELECT n - 1 FROM r WHERE n > 95) SELECT n FROM r"
    )
    con.flush()
    assert lines(con, "EXPLAIN STATE nested")[-1].startswith("grows without bound: recompute (recursive CTE) keeps")
    assert lines(con, "EXPLAIN STATE SELECT price FROM bids")[-1].startswith("bounded")


def test_a_watermark_stands_beside_each_operator(con: headrace.Connection) -> None:
    assert con.execute("SELECT DISTINCT watermark::VARCHAR FROM system.operators").fetchall() == [
        ("2024-01-01 00:01:39",)
    ]


def test_analyze_wants_a_view_that_runs(con: headrace.Connection) -> None:
    for statement in ("EXPLAIN ANALYZE SELECT price FROM bids", "EXPLAIN ANALYZE bids"):
        with pytest.raises(headrace.NotSupportedError, match="EXPLAIN ANALYZE takes a materialized view"):
            con.execute(statement)
