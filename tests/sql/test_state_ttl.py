"""State with a time to live: what is idle goes by the clock of the epochs, also over restarts, and it is said so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace.storage import limits

HOUR = 3_600_000_000


class Clock:
    """Stands still until it is moved. Units: hours."""

    def __init__(self) -> None:
        self.hours = 0.0

    def __call__(self) -> int:
        return int(self.hours * HOUR)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def con(tmp_path: Path, clock: Clock) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path / "db", clock=clock, checkpoint_interval_s=0) as connection:
        connection.execute("CREATE STREAM s (k VARCHAR, n INTEGER)")
        connection.execute("CREATE STREAM r (k VARCHAR, m INTEGER)")
        yield connection


def rows(con: headrace.Connection, query: str) -> list[Any]:
    return sorted(con.execute(query).fetchall())


def insert(con: headrace.Connection, sql: str) -> None:
    """At this hour."""
    con.execute(sql)
    con.flush()


def test_a_group_goes_when_no_row_came_for_so_long_and_begins_anew(con: headrace.Connection, clock: Clock) -> None:
    con.execute(
        "CREATE MATERIALIZED VIEW sums WITH (state_ttl = '1 hour') AS"
        " SELECT k, count(*) AS n, max(n) AS m FROM s GROUP BY k"
    )
    con.execute("CREATE MATERIALIZED VIEW above AS SELECT sum(n) AS n FROM sums")
    insert(con, "INSERT INTO s VALUES ('a', 1), ('b', 2)")
    clock.hours = 0.9
    insert(con, "INSERT INTO s VALUES ('a', 3)")
    assert rows(con, "FROM sums") == [("a", 2, 3), ("b", 1, 2)]
    clock.hours = 0.999
    assert len(rows(con, "FROM sums")) == 2
    clock.hours = 1.0  # and nothing else happens
    assert rows(con, "FROM sums") == [("a", 2, 3)]
    assert rows(con, "FROM above") == [(2,)]
    insert(con, "INSERT INTO s VALUES ('b', 1)")
    assert rows(con, "FROM sums") == [("a", 2, 3), ("b", 1, 1)]
    clock.hours = 1.95
    assert rows(con, "FROM sums") == [("b", 1, 1)]
    clock.hours = 9
    assert rows(con, "FROM sums") == []
    assert rows(con, "FROM above") == [(None,)]


def test_verify_says_that_it_cannot_compare_once_something_went(con: headrace.Connection, clock: Clock) -> None:
    con.execute(
        "CREATE MATERIALIZED VIEW sums WITH (state_ttl = '1 hour') AS SELECT k, count(*) AS n FROM s GROUP BY k"
    )
    insert(con, "INSERT INTO s VALUES ('a', 1)")
    assert con.execute("VERIFY VIEW sums").fetchall()[0][1] is True
    clock.hours = 2
    cursor = con.execute("VERIFY VIEW sums")
    assert cursor.fetchall() == [("sums", None, 0, 1, 1, 0)]
    assert cursor.notices == [
        '"sums" cannot be compared: by its state_ttl it forgets what is idle, which its twin does not'
    ]


def test_subscribers_see_what_goes_as_retracted(con: headrace.Connection, clock: Clock) -> None:
    con.execute(
        "CREATE MATERIALIZED VIEW last WITH (state_ttl = '1 hour') AS SELECT * FROM (SELECT *, row_number() OVER"
        " (PARTITION BY k ORDER BY n DESC) AS place FROM s) WHERE place <= 2"
    )
    insert(con, "INSERT INTO s VALUES ('a', 1), ('a', 3), ('a', 2), ('b', 5)")
    live = con.execute("SUBSCRIBE last EMIT CHANGES")
    assert sorted(row[1:] for row in live.fetchmany(3)) == [("+I", "a", 2, 2), ("+I", "a", 3, 1), ("+I", "b", 5, 1)]
    clock.hours = 0.5
    insert(con, "INSERT INTO s VALUES ('b', 1)")
    live.fetchmany(1)
    clock.hours = 1
    assert rows(con, "SELECT k, n FROM last") == [("b", 1), ("b", 5)]
    assert sorted(row[1:] for row in live.fetchmany(2)) == [("-D", "a", 2, 2), ("-D", "a", 3, 1)]


def test_rows_of_a_join_find_no_partner_after_their_time(con: headrace.Connection, clock: Clock) -> None:
    con.execute("CREATE MATERIALIZED VIEW pairs WITH (state_ttl = '1 hour') AS SELECT n, m FROM s JOIN r ON s.k = r.k")
    insert(con, "INSERT INTO s VALUES ('a', 1)")
    insert(con, "INSERT INTO r VALUES ('a', 10)")
    clock.hours = 0.75
    insert(con, "INSERT INTO s VALUES ('a', 2)")
    clock.hours = 1
    insert(con, "INSERT INTO r VALUES ('a', 20)")  # n = 1 went before
    clock.hours = 1.5
    insert(con, "INSERT INTO r VALUES ('a', 30)")
    clock.hours = 1.8
    insert(con, "INSERT INTO r VALUES ('a', 40)")
    insert(con, "INSERT INTO s VALUES ('a', 3)")
    assert rows(con, "FROM pairs") == [(1, 10), (2, 10), (2, 20), (2, 30), (3, 20), (3, 30), (3, 40)]
    clock.hours = 99
    con.flush()
    kept = "SELECT count(*) FROM system.operators WHERE view = 'pairs' AND operator LIKE 'join%' AND oldest IS NULL"
    assert rows(con, kept) == [(1,)]


def test_a_hint_gives_each_side_of_a_join_a_time_of_its_own(con: headrace.Connection, clock: Clock) -> None:
    con.execute(
        "CREATE MATERIALIZED VIEW pairs WITH (state_ttl = '3 hours') AS"
        " SELECT /*+ STATE_TTL('s' = '1h', 'x' = 'none') */ n, m FROM s JOIN r AS x ON s.k = x.k"
    )
    insert(con, "INSERT INTO s VALUES ('a', 1)")
    insert(con, "INSERT INTO r VALUES ('a', 10)")
    clock.hours = 1
    insert(con, "INSERT INTO r VALUES ('a', 20)")
    clock.hours = 99
    insert(con, "INSERT INTO s VALUES ('a', 2)")
    assert rows(con, "FROM pairs") == [(1, 10), (2, 10), (2, 20)]


def test_what_an_outer_join_has_forgotten_stays_as_it_was(con: headrace.Connection, clock: Clock) -> None:
    con.execute("SET state_ttl = '1 hour'")
    for kind in ("LEFT", "RIGHT", "FULL"):
        con.execute(f"CREATE MATERIALIZED VIEW {kind}_view AS SELECT n, m FROM s {kind} JOIN r ON s.k = r.k")
    for kind in ("SEMI", "ANTI"):
        con.execute(f"CREATE MATERIALIZED VIEW {kind}_view AS SELECT n FROM s {kind} JOIN r ON s.k = r.k")
    insert(con, "INSERT INTO s VALUES ('a', 1), ('b', 2)")
    clock.hours = 0.5
    insert(con, "INSERT INTO r VALUES ('a', 10), ('c', 30)")
    clock.hours = 1  # s has forgotten its rows
    insert(con, "INSERT INTO r VALUES ('a', 11), ('b', 20)")
    insert(con, "INSERT INTO s VALUES ('a', 3)")
    clock.hours = 1.5  # r has forgotten 10 and 30
    insert(con, "INSERT INTO s VALUES ('c', 4), ('a', 5)")
    paired = {(1, 10), (3, 10), (3, 11), (5, 11)}
    left, right = {(2, None), (4, None)}, {(None, 20), (None, 30)}
    assert set(con.execute("FROM left_view").fetchall()) == paired | left
    assert set(con.execute("FROM right_view").fetchall()) == paired | right
    assert set(con.execute("FROM full_view").fetchall()) == paired | left | right
    assert rows(con, "FROM semi_view") == [(1,), (3,), (5,)]
    assert rows(con, "FROM anti_view") == [(2,), (4,)]


def test_rows_of_a_stream_go_while_the_table_beside_them_changes(con: headrace.Connection, clock: Clock) -> None:
    con.execute("CREATE TABLE names (k VARCHAR PRIMARY KEY, name VARCHAR)")
    con.execute("INSERT INTO names VALUES ('a', 'ann')")
    con.execute(
        "CREATE MATERIALIZED VIEW named WITH (state_ttl = '1 hour') AS SELECT n, name FROM s LEFT JOIN names USING (k)"
    )
    insert(con, "INSERT INTO s VALUES ('a', 1), ('b', 2)")
    clock.hours = 0.5
    insert(con, "INSERT INTO s VALUES ('a', 3), ('b', 4)")
    clock.hours = 1
    con.execute("UPDATE names SET name = 'Ann' WHERE k = 'a'")
    con.execute("INSERT INTO names VALUES ('b', 'bob')")
    insert(con, "INSERT INTO s VALUES ('a', 5)")
    assert set(con.execute("FROM named").fetchall()) == {(1, "ann"), (2, None), (3, "Ann"), (4, "bob"), (5, "Ann")}
    con.execute("DELETE FROM names")
    con.flush()
    assert set(con.execute("FROM named").fetchall()) == {(1, "ann"), (2, None), (3, None), (4, None), (5, None)}
    clock.hours = 99
    con.execute("INSERT INTO names VALUES ('a', 'anna')")
    insert(con, "INSERT INTO s VALUES ('a', 6)")
    assert (3, None) in con.execute("FROM named").fetchall()
    assert (6, "anna") in con.execute("FROM named").fetchall()


def test_a_hint_is_about_its_own_select(con: headrace.Connection, clock: Clock) -> None:
    con.execute("CREATE VIEW seen AS SELECT /*+ STATE_TTL('s' = '1h') */ DISTINCT k FROM s")
    con.execute(
        "CREATE MATERIALIZED VIEW sums AS SELECT /*+ STATE_TTL('j' = '3h') */ k, count(*) AS n FROM"
        " (SELECT /*+ STATE_TTL('s' = '1h', 'seen' = '2h') */ s.k FROM s JOIN seen ON s.k = seen.k) AS j GROUP BY k"
    )
    found = con.execute("SELECT operator, oldest FROM system.operators WHERE view = 'sums' AND oldest IS NOT NULL")
    assert found.fetchall() == []
    insert(con, "INSERT INTO s VALUES ('a', 1)")
    assert rows(con, "FROM sums") == [("a", 1)]
    clock.hours = 1
    insert(con, "INSERT INTO s VALUES ('a', 2)")  # a row, and once more a different one, which finds only that row
    assert rows(con, "FROM sums") == [("a", 3)]
    clock.hours = 3.9
    assert rows(con, "FROM sums") == [("a", 3)]
    clock.hours = 4
    assert rows(con, "FROM sums") == []


@pytest.mark.parametrize("way", ["said", "set"])
def test_what_goes_on_inserting_forgets_also_over_a_restart(tmp_path: Path, clock: Clock, way: str) -> None:
    path, said = tmp_path / "db", " WITH (state_ttl = '1 hour')" if way == "said" else ""
    with headrace.connect(path, clock=clock, checkpoint_interval_s=0) as con:
        con.execute("CREATE STREAM s (k VARCHAR); CREATE STREAM once (k VARCHAR)")
        con.execute("SET state_ttl = '1 hour'" if way == "set" else "RESET state_ttl")
        con.execute(f"INSERT INTO once SELECT DISTINCT k FROM s EMIT CHANGES{said}")
        insert(con, "INSERT INTO s VALUES ('a'), ('b')")
        con.execute("CHECKPOINT")
        clock.hours = 0.5
        insert(con, "INSERT INTO s VALUES ('b'), ('c')")
    clock.hours = 1
    with headrace.connect(path, clock=clock, checkpoint_interval_s=0) as con:
        con.flush()
        insert(con, "INSERT INTO s VALUES ('a'), ('b'), ('c')")
        con.flush()
        assert rows(con, "FROM once") == [("a",), ("a",), ("b",), ("c",)]
        stated = con.execute("SHOW CREATE insert_into_once_1").fetchall()[0][1]
        assert stated == "INSERT INTO once SELECT DISTINCT k FROM s EMIT CHANGES WITH (state_ttl = '1 hour')"


@pytest.mark.parametrize(
    "live",
    [
        "SUBSCRIBE (SELECT k, count(*) AS n FROM s GROUP BY k) WITH (state_ttl = '1 hour')",
        "SELECT k, count(*) AS n FROM s GROUP BY k EMIT CHANGES WITH (state_ttl = '1 hour')",
        "SUBSCRIBE (SELECT /*+ STATE_TTL('s' = '1h') */ k, count(*) AS n FROM s GROUP BY k)",
        "SET state_ttl = '1 hour'; SUBSCRIBE (SELECT k, count(*) AS n FROM s GROUP BY k)",
    ],
)
def test_a_live_query_forgets(con: headrace.Connection, clock: Clock, live: str) -> None:
    cursor = con.execute(live)
    assert [note.split(":")[0] for note in cursor.notices] == ["aggregate by k forgets what was idle for 1 hour"]
    insert(con, "INSERT INTO s VALUES ('a', 1)")
    assert [row[1:] for row in cursor.fetchmany(1)] == [("+I", "a", 1)]
    clock.hours = 1
    con.flush()
    assert [row[1:] for row in cursor.fetchmany(1)] == [("-D", "a", 1)]


def test_a_derived_stream_has_a_row_of_distinct_again_after_its_time(con: headrace.Connection, clock: Clock) -> None:
    con.execute("CREATE STREAM once WITH (state_ttl = '1 hour', retention = '7 days') AS SELECT DISTINCT k FROM s")
    for clock.hours in (0.0, 0.5, 1.0, 2.0, 2.5):
        insert(con, "INSERT INTO s VALUES ('a', 1)")
        con.flush()
    assert rows(con, "SELECT count(*) FROM once") == [(2,)]


def test_an_asof_join_forgets_left_rows_and_replaced_versions(con: headrace.Connection, clock: Clock) -> None:
    con.execute(
        "CREATE MATERIALIZED VIEW x WITH (state_ttl = '1 hour') AS SELECT n, m FROM s ASOF LEFT JOIN r ON n >= m"
    )
    insert(con, "INSERT INTO s VALUES ('', 15), ('', 25)")
    insert(con, "INSERT INTO r VALUES ('', 10), ('', 20)")
    assert rows(con, "FROM x") == [(15, 10), (25, 20)]
    clock.hours = 0.75
    insert(con, "INSERT INTO s VALUES ('', 16)")
    insert(con, "INSERT INTO r VALUES ('', 14)")
    assert rows(con, "FROM x") == [(15, 14), (16, 14), (25, 20)]
    clock.hours = 1  # 15 and 25 went, and all before 20, which has been the last for an hour
    insert(con, "INSERT INTO r VALUES ('', 13), ('', 24)")
    insert(con, "INSERT INTO s VALUES ('', 18), ('', 24), ('', 23)")
    assert rows(con, "FROM x ORDER BY ALL") == [(15, 14), (16, 14), (18, None), (23, 20), (24, 24), (25, 20)]
    clock.hours = 99
    con.flush()
    kept = "SELECT count(*) FROM system.operators WHERE view = 'x' AND operator LIKE 'asof%' AND oldest IS NULL"
    assert rows(con, kept) == [(1,)]


def test_a_partition_is_forgotten_and_what_was_told_of_it_stays(con: headrace.Connection, clock: Clock) -> None:
    con.execute(
        "CREATE MATERIALIZED VIEW x WITH (state_ttl = '1 hour') AS"
        " SELECT k, n, row_number() OVER (PARTITION BY k ORDER BY n DESC) AS place FROM s"
    )
    con.execute("CREATE MATERIALIZED VIEW places AS SELECT place, count(*) AS c FROM x GROUP BY place")
    insert(con, "INSERT INTO s VALUES ('a', 1), ('b', 1)")
    clock.hours = 0.5
    insert(con, "INSERT INTO s VALUES ('a', 2)")
    clock.hours = 1  # b is forgotten, while a has had a row
    insert(con, "INSERT INTO s VALUES ('a', 3), ('b', 2)")
    assert rows(con, "FROM x") == [("a", 1, 3), ("a", 2, 2), ("a", 3, 1), ("b", 1, 1), ("b", 2, 1)]
    assert con.execute("VERIFY VIEW x").notices == [
        '"x" cannot be compared: by its state_ttl it forgets what is idle, which its twin does not'
    ]
    live = con.execute("SUBSCRIBE x EMIT CHANGES")
    live.fetchmany(5)
    clock.hours = 2
    con.flush()
    kept = "SELECT kept, oldest FROM system.operators WHERE view = 'x' AND operator LIKE 'over%'"
    assert rows(con, kept) == [(0, None)]
    insert(con, "INSERT INTO s VALUES ('a', 1)")
    assert [row[1:] for row in live.fetchmany(1)] == [("+I", "a", 1, 1)]  # and it is the only one
    assert rows(con, "FROM places") == [(1, 4), (2, 1), (3, 1)]
    assert rows(con, "SELECT n, place FROM x WHERE k = 'a'") == [(1, 1), (1, 3), (2, 2), (3, 1)]


@pytest.mark.parametrize("how", ["checkpoint", "log"])
def test_over_a_restart(tmp_path: Path, clock: Clock, how: str) -> None:
    path = tmp_path / "db"
    with headrace.connect(path, clock=clock, checkpoint_interval_s=0) as con:
        con.execute(
            "CREATE STREAM s (k VARCHAR, n INTEGER); CREATE STREAM r (k VARCHAR, m INTEGER); SET state_ttl = '1 hour'"
        )
        con.execute("CREATE MATERIALIZED VIEW sums AS SELECT k, sum(n) AS n FROM s GROUP BY k")
        con.execute("CREATE MATERIALIZED VIEW pairs AS SELECT n, m FROM s JOIN r USING (k)")
        con.execute("CREATE MATERIALIZED VIEW every AS SELECT n, m FROM s FULL JOIN r USING (k)")
        con.execute(
            "CREATE MATERIALIZED VIEW last AS SELECT k, n FROM s"
            " QUALIFY row_number() OVER (PARTITION BY k ORDER BY n) = 1"
        )
        insert(con, "INSERT INTO s VALUES ('a', 1)")
        con.flush()
        clock.hours = 0.5
        insert(con, "INSERT INTO s VALUES ('b', 2)")
        con.flush()
        if how == "checkpoint":
            con.execute("CHECKPOINT")
        clock.hours = 0.75
        insert(con, "INSERT INTO s VALUES ('c', 3)")
        con.flush()
    clock.hours = 1.0
    with headrace.connect(path, clock=clock, checkpoint_interval_s=0) as con:
        con.flush()
        kept = [("b", 2), ("c", 3)]
        assert rows(con, "SELECT k, n::INTEGER FROM sums") == kept
        assert rows(con, "SELECT k, n FROM last") == kept
        insert(con, "INSERT INTO r VALUES ('a', 7), ('b', 7), ('c', 7)")
        assert rows(con, "SELECT n FROM pairs") == [(n,) for _, n in kept]
        assert set(con.execute("FROM every").fetchall()) == {(1, None), (2, 7), (3, 7), (None, 7)}
        clock.hours = 1.6
        con.flush()
        assert rows(con, "SELECT k FROM sums") == [("c",)]
        clock.hours = 2.0
        assert rows(con, "SELECT k FROM sums") == []
        assert "WITH (state_ttl = '1 hour') AS SELECT" in con.execute("SHOW CREATE sums").fetchall()[0][1]


DATED = """
CREATE STREAM s (k VARCHAR, n INTEGER); CREATE STREAM r (k VARCHAR, m INTEGER); SET state_ttl = '3 hours';
CREATE MATERIALIZED VIEW sums AS SELECT k, sum(n) AS n, max(n) AS most FROM s GROUP BY k;
CREATE MATERIALIZED VIEW pairs AS SELECT n, m FROM s JOIN r USING (k);
CREATE MATERIALIZED VIEW every AS SELECT n, m FROM s FULL JOIN r USING (k);
CREATE MATERIALIZED VIEW alone AS SELECT n FROM s WHERE k NOT IN (SELECT k FROM r);
CREATE MATERIALIZED VIEW last AS SELECT k, n FROM s QUALIFY row_number() OVER (PARTITION BY k ORDER BY n) = 1;
CREATE MATERIALIZED VIEW rolled AS SELECT k, n % 2 AS odd, count(*) AS c FROM s GROUP BY ROLLUP (k, n % 2);
CREATE MATERIALIZED VIEW less AS SELECT k, n % 2 AS odd FROM s EXCEPT SELECT k, m % 2 FROM r;
CREATE MATERIALIZED VIEW nearest AS SELECT s.k, s.n, r.m FROM s ASOF LEFT JOIN r ON s.k = r.k AND s.n >= r.m;
CREATE MATERIALIZED VIEW after AS SELECT s.k, s.n, r.m FROM s ASOF JOIN r ON s.k = r.k AND s.n <= r.m;
CREATE MATERIALIZED VIEW waits AS SELECT k, n, n - lag(n) OVER (PARTITION BY k ORDER BY n) AS more,
    row_number() OVER (PARTITION BY k, n % 2 ORDER BY n DESC) AS place, count(*) OVER () AS c FROM s;
CREATE STREAM once AS SELECT DISTINCT k, n % 3 AS n FROM s;
"""


def test_what_went_in_by_epochs_stands_for_the_state_in_a_checkpoint(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever goes on from checkpoints of it has what another has who never stopped."""
    monkeypatch.setattr(limits, "JOURNAL_STATE_BYTES", 1)
    monkeypatch.setattr(limits, "JOURNAL_SHARE", 1e6)
    monkeypatch.setattr(limits, "JOURNAL_EPOCHS", 25)
    random = np.random.default_rng(1)

    def opened(name: str) -> headrace.Connection:
        return headrace.connect(tmp_path / name, clock=clock, checkpoint_interval_s=0)

    steady, again = opened("steady"), opened("again")
    for con in (steady, again):
        con.execute(DATED)
    entered, whole = 0, 0
    for step in range(42):
        clock.hours += float(random.choice([0.0, 0.0, 0.5, 1.0, 4.0], p=[0.3, 0.2, 0.3, 0.15, 0.05]))
        stream, keys = random.choice(["s", "r"]), random.integers(0, 8, int(random.integers(0, 4)))
        for con in (steady, again):
            con.flush()
            if len(keys):
                insert(con, f"INSERT INTO {stream} VALUES " + ", ".join(f"('k{key}', {step})" for key in keys))
        if step % 4 == 3:
            again.execute("CHECKPOINT")
            document = max((tmp_path / "again" / "checkpoints").glob("*.json")).read_text()
            entered += len(re.findall(r'"\d+\+\d+.port', document))
            whole += len(re.findall(r'"\d+[.]', document))
        if step % 7 == 6:
            again.close()
            again = opened("again")
            again.flush()
        views = ("sums", "pairs", "every", "alone", "last", "rolled", "less", "waits", "once")
        for name in views if step % 3 == 2 else ():
            query = f"SELECT * FROM {name} ORDER BY ALL"
            assert again.execute(query).fetchall() == steady.execute(query).fetchall(), f"{name} after step {step}"
    assert min(entered, whole) > 30
    steady.close()
    again.close()
