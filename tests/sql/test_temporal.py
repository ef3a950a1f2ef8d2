"""Temporal filters end to end: a view follows a clock that is moved by hand, and always equals its twin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import headrace


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0
        self.set("12:00:00")

    def __call__(self) -> int:
        return self.now

    def set(self, time: str) -> None:
        self.now = int(np.datetime64(f"2024-01-01T{time}", "us").astype(np.int64))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def con(tmp_path: Path, clock: Clock) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path / "db", clock=clock) as connection:
        connection.execute("CREATE STREAM s (k VARCHAR, n INTEGER, ts TIMESTAMP, tz TIMESTAMPTZ, d DATE)")
        yield connection


ROWS = """INSERT INTO s SELECT 'a', i, t, t, t::DATE FROM (VALUES (1, TIMESTAMP '2024-01-01 11:00:00'),
(2, TIMESTAMP '2024-01-01 11:00:01'), (3, TIMESTAMP '2024-01-01 11:30:00'), (4, TIMESTAMP '2024-01-01 12:10:00'),
(5, NULL)) AS v(i, t)"""

VIEWS = [
    "SELECT n FROM s WHERE ts > now() - INTERVAL '1' HOUR AND n <> 3",
    "SELECT n FROM s WHERE ts >= now() - INTERVAL '1' HOUR",
    "SELECT n FROM s WHERE now() - INTERVAL '1' HOUR < tz",
    "SELECT n FROM s WHERE now() <= ts + INTERVAL '1' HOUR",
    "SELECT n FROM s WHERE tz < current_timestamp",
    "SELECT n FROM s WHERE ts <= now()::TIMESTAMP",
    "SELECT n FROM s WHERE now() - tz < INTERVAL '90' MINUTE",
    "SELECT n FROM s WHERE now() BETWEEN ts AND ts + INTERVAL '1' HOUR",
    "SELECT n FROM s WHERE ts BETWEEN now() - INTERVAL '1' HOUR AND now() + INTERVAL '5' MINUTE",
    "SELECT n FROM s WHERE d > PROCTIME() - INTERVAL '13' HOUR",
    "SELECT k, count(*) AS c, sum(n) AS s FROM s WHERE ts > now() - INTERVAL '1' HOUR GROUP BY k",
    "SELECT k, max(ts) AS m FROM s GROUP BY k HAVING max(n) < 9 AND max(ts) > now() - INTERVAL '1' HOUR",
    "SELECT min(n) AS m FROM (SELECT n FROM s WHERE ts > now() - INTERVAL '1' HOUR) AS x",
    "SELECT a.n FROM s AS a JOIN s AS b ON a.n = b.n WHERE a.ts > now() - INTERVAL '1' HOUR AND b.ts <= now()",
    "SELECT a.n, b.k FROM s AS a LEFT JOIN s AS b ON a.n = b.n AND b.n > 2 WHERE a.ts > now() - INTERVAL '1' HOUR",
    "SELECT n FROM s WHERE ts > now() - INTERVAL '1' HOUR UNION ALL SELECT n FROM s WHERE n = 1",
    "SELECT window_start, count(*) AS c FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' HOUR) "
    "WHERE ts > now() - INTERVAL '1' HOUR GROUP BY window_start",
]
TIMES = ["12:00:00", "12:00:00.000001", "12:00:01", "12:05:00", "12:10:00", "12:30:00", "12:30:00.000001", "13:10:00"]


@pytest.mark.parametrize("query", VIEWS)
def test_a_view_equals_its_twin_at_every_place_of_the_clock(con: headrace.Connection, clock: Clock, query: str) -> None:
    con.execute(f"CREATE MATERIALIZED VIEW v AS {query}")
    con.execute(ROWS)
    seen = set()
    for time in [*TIMES, "14:00:00", "23:59:59"]:
        clock.set(time)
        verdict = con.execute("VERIFY VIEW v").fetchall()[0]
        assert verdict[1], (time, verdict)
        seen.add(str(con.execute("SELECT * FROM v ORDER BY ALL").fetchall()))
    assert len(seen) > 1, "the clock made no difference"


def test_a_time_without_end_stays_and_the_engine_does_not_wait_for_it(con: headrace.Connection, clock: Clock) -> None:
    con.execute("CREATE MATERIALIZED VIEW v AS SELECT n FROM s WHERE ts > now() - INTERVAL '1' HOUR")
    con.execute("INSERT INTO s (n, ts) VALUES (1, 'infinity'), (2, '-infinity')")
    clock.set("23:00:00")
    assert con.execute("SELECT n FROM v").fetchall() == [(1,)]
    assert con.execute("VERIFY VIEW v").fetchall()[0][1]


def test_a_subscriber_is_told_when_a_row_leaves_and_a_view_above_follows(
    con: headrace.Connection, clock: Clock
) -> None:
    con.execute("CREATE MATERIALIZED VIEW recent AS SELECT k, n FROM s WHERE ts > now() - INTERVAL '1' HOUR")
    con.execute("CREATE MATERIALIZED VIEW top AS SELECT max(n) AS n FROM recent")
    con.execute(ROWS)
    told = con.execute("SUBSCRIBE recent WITH (snapshot = false)")
    clock.set("12:00:01")
    con.flush()
    assert told.fetchone()[1:] == ("-D", "a", 2)
    clock.set("13:10:00")
    assert con.execute("SELECT n FROM top").fetchall() == [(None,)]


def test_after_a_restart_the_clock_has_moved(tmp_path: Path, clock: Clock) -> None:
    with headrace.connect(tmp_path / "db", clock=clock) as con:
        con.execute("CREATE STREAM s (k VARCHAR, n INTEGER, ts TIMESTAMP, tz TIMESTAMPTZ, d DATE)")
        con.execute("CREATE MATERIALIZED VIEW recent AS SELECT n FROM s WHERE ts > now() - INTERVAL '1' HOUR")
        con.execute(ROWS)
        assert con.execute("SELECT count(*) FROM recent").fetchall() == [(3,)]
    clock.set("12:45:00")
    with headrace.connect(tmp_path / "db", clock=clock) as con:
        assert con.execute("SELECT n FROM recent ORDER BY n").fetchall() == [(4,)]


def test_without_a_hand_the_engine_wakes_by_itself(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM s (n INTEGER, ts TIMESTAMP)")
        con.execute("CREATE MATERIALIZED VIEW v AS SELECT n FROM s WHERE ts > now() - INTERVAL '200' MILLISECOND")
        told = con.execute("SUBSCRIBE v WITH (snapshot = false)")
        con.execute("INSERT INTO s SELECT 1, now()::TIMESTAMP")
        assert [told.fetchone()[1:], told.fetchone()[1:]] == [("+I", 1), ("-D", 1)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT now() AS t FROM s",
        "SELECT n FROM s WHERE ts = now()",
        "SELECT n FROM s WHERE ts > now() - INTERVAL '1' MONTH",
        "SELECT n FROM s WHERE ts > now() OR n = 1",
        "SELECT n FROM s WHERE extract(hour FROM now()) = 1",
        "SELECT n FROM s WHERE now() < now() + INTERVAL '1' HOUR",
        "SELECT a.n FROM s AS a JOIN s AS b ON a.n = b.n AND a.ts > now()",
        "SELECT n FROM s UNION ALL SELECT 1 WHERE now() < TIMESTAMP '2024-01-01 12:30:00'",
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_place(con: headrace.Connection, query: str) -> None:
    with pytest.raises(headrace.NotSupportedError, match=r"present time|in a continuous query") as caught:
        con.execute(f"CREATE MATERIALIZED VIEW v AS {query}")
    assert caught.value.position is not None
