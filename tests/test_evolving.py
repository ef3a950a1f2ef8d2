"""A materialized view becomes another one while it runs: at one epoch, with what reads it, and whole or not at all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace
from headrace.storage.files import faults
from tests.holding import Held
from tests.storage.disk_recording import SECTOR_BYTES, Loss, Recording, write_image
from tests.storage.sweep import Sweep, quick_folder

LOSSES = (Loss(1.0), Loss(0.0), Loss(0.9, SECTOR_BYTES))


@pytest.fixture
def con() -> Iterator[headrace.Connection]:
    with headrace.connect() as connection:
        connection.execute("CREATE STREAM s (k BIGINT, x BIGINT)")
        connection.execute("INSERT INTO s VALUES (1, 1), (1, 2), (2, 5), (3, 7)")
        connection.execute("CREATE MATERIALIZED VIEW v AS SELECT k, max(x) AS x FROM s GROUP BY k")
        yield connection


def rows(con: headrace.Connection, sql: str) -> list[tuple[object, ...]]:
    return con.execute(sql).fetchall()  # type: ignore[no-any-return]


def verified(con: headrace.Connection) -> bool:
    return all(verdict[1] is True for verdict in rows(con, "VERIFY"))


def changes(cursor: headrace.Cursor) -> list[tuple[object, ...]]:
    table = cursor.next_changes(timeout_s=10)
    return [tuple(row.values()) for row in table.to_pylist()]


def test_the_old_one_answers_until_the_new_one_is_there(con: headrace.Connection, held: Held) -> None:
    con.execute("SET background_ddl = on")
    told = con.execute("ALTER MATERIALIZED VIEW v AS SELECT k, min(x) AS x FROM s GROUP BY k").notices
    assert told == ['the new "v" is built in the background: SHOW QUERIES says how far it is']
    con.execute("INSERT INTO s VALUES (3, 2), (4, 9)")
    assert rows(con, "SELECT * FROM v ORDER BY k") == [(1, 2), (2, 5), (3, 7), (4, 9)]
    assert rows(con, "SHOW QUERIES") == [("v", "running", "incremental", "new version: 0 of 6 rows of history")]
    live = con.execute("SELECT * FROM v EMIT CHANGES")
    first = changes(live)
    assert len(first) == 4
    held.stretches = 1 << 30
    (epoch, *_), *_ = difference = changes(live)
    assert sorted(difference) == [(epoch, "+U", 1, 1), (epoch, "+U", 3, 2), (epoch, "-U", 1, 2), (epoch, "-U", 3, 7)]
    con.execute("INSERT INTO s VALUES (4, 8)")
    assert [change[1:] for change in changes(live)] == [("-U", 4, 9), ("+U", 4, 8)]
    assert rows(con, "SHOW CREATE v")[0][1] == "CREATE MATERIALIZED VIEW v AS SELECT k, min(x) AS x FROM s GROUP BY k"
    assert verified(con)


READERS = (
    "SELECT count(*) AS n, sum(x) AS x FROM v",
    "SELECT k, x * 10 AS y FROM v WHERE x > 4",
    "SELECT k, x FROM v ORDER BY x DESC LIMIT 2",
    "SELECT v.k, s.x FROM v JOIN s ON s.k = v.k",
)
VERSIONS = (
    "SELECT k, max(x) AS x FROM s GROUP BY k",
    "SELECT k, min(x) AS x FROM s GROUP BY k",
    "SELECT k, x FROM s WHERE x > 4",
    "SELECT k, max(x) AS x FROM s GROUP BY k HAVING max(x) > 4",
    "SELECT a.k, b.x FROM s AS a JOIN s AS b ON a.k = b.k",
    "SELECT k, x, k + x AS more FROM t",
)


@pytest.mark.parametrize("reader", READERS)
def test_what_reads_a_view_goes_along(con: headrace.Connection, reader: str) -> None:
    con.execute("CREATE STREAM t (k BIGINT, x BIGINT)")
    con.execute("INSERT INTO t VALUES (5, 50)")
    con.execute(f"CREATE MATERIALIZED VIEW r AS {reader}")
    con.execute("CREATE MATERIALIZED VIEW above AS SELECT count(*) AS n FROM r")
    live = con.execute("SELECT * FROM above EMIT CHANGELOG")
    for count, version in enumerate([*VERSIONS, *VERSIONS]):
        con.execute(f"CREATE OR REPLACE MATERIALIZED VIEW v AS {version}")
        assert verified(con), version
        con.execute("INSERT INTO s VALUES (?, ?), (?, ?)", [1, count, count, 2 * count])
        con.execute("INSERT INTO t VALUES (?, ?)", [count, count])
        assert verified(con), version
    told: dict[object, int] = {}
    while (table := live.next_changes(timeout_s=0)) is not None:
        for row in table.to_pylist():
            told[row["n"]] = told.get(row["n"], 0) + row["weight"]
    assert {(n,): weight for n, weight in told.items() if weight} == {rows(con, "SELECT * FROM above")[0]: 1}


def test_the_parts_that_stay_are_not_read_again(con: headrace.Connection) -> None:
    con.execute("DELETE FROM s BEFORE OFFSET 2")
    con.execute("ALTER MATERIALIZED VIEW v AS SELECT k, x + 1 AS x FROM (SELECT k, max(x) AS x FROM s GROUP BY k) AS g")
    assert rows(con, "SELECT * FROM v ORDER BY k") == [(1, 3), (2, 6), (3, 8)]
    con.execute("INSERT INTO s VALUES (2, 9)")
    assert rows(con, "SELECT x FROM v WHERE k = 2") == [(10,)]


def test_windows_and_sums_of_floats_stay_too() -> None:
    with headrace.connect(clock=lambda: 10**9) as con:
        con.execute("CREATE STREAM e (ts TIMESTAMP, x DOUBLE, WATERMARK FOR ts AS ts)")
        con.execute("INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:00:10', 1), (TIMESTAMP '1970-01-01 00:03:00', 2)")
        window = "FROM TUMBLE(TABLE e, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start"
        con.execute(f"CREATE MATERIALIZED VIEW w AS SELECT window_start AS began, sum(x) AS x {window}")
        con.execute("INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:00:20', 4)")
        assert rows(con, "SELECT count(*) FROM system.late_rows") == [(1,)]
        con.execute("DELETE FROM e BEFORE OFFSET 3")
        con.execute(
            f"ALTER MATERIALIZED VIEW w AS SELECT began, x FROM (SELECT window_start AS began, sum(x) AS x {window})"
        )
        assert rows(con, "SELECT x FROM w ORDER BY began") == [(1.0,), (2.0,)]


def test_what_is_late_while_new_windows_are_built_is_in_time_for_them(held: Held) -> None:
    with headrace.connect(clock=lambda: 10**9) as con:
        con.execute("CREATE STREAM e (ts TIMESTAMP, x INT, WATERMARK FOR ts AS ts)")
        window = "FROM TUMBLE(TABLE e, DESCRIPTOR(ts), INTERVAL '{}' MINUTE) GROUP BY window_start"
        held.stretches = 1 << 30
        con.execute(f"CREATE MATERIALIZED VIEW w AS SELECT window_start AS began, sum(x) AS x {window.format(1)}")
        con.execute("INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:00:10', 1), (TIMESTAMP '1970-01-01 00:03:00', 2)")
        con.flush()
        held.stretches = 0
        con.execute("SET background_ddl = on")
        con.execute(f"ALTER MATERIALIZED VIEW w AS SELECT window_start AS began, sum(x) AS x {window.format(2)}")
        con.execute("INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:00:20', 4)")
        assert rows(con, "SELECT x FROM w ORDER BY began") == [(1,), (2,)], "it is late"
        held.stretches = 1 << 30
        while con.status().backfills:
            con.flush()
        assert rows(con, "SELECT x FROM w ORDER BY began") == [(5,), (2,)], "it is history"
        con.execute("INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:00:30', 8)")
        assert rows(con, "SELECT x FROM w ORDER BY began") == [(5,), (2,)], "from now on it is late"
        assert verified(con)


def test_says_first_where_rows_are_gone_that_it_needs(con: headrace.Connection) -> None:
    con.execute("DELETE FROM s BEFORE OFFSET 2")
    with pytest.raises(headrace.NotSupportedError, match="from all of its history"):
        con.execute("ALTER MATERIALIZED VIEW v AS SELECT k, min(x) AS x FROM s GROUP BY k")
    assert rows(con, "SELECT * FROM v ORDER BY k") == [(1, 2), (2, 5), (3, 7)]
    con.execute("SET allow_partial_history = on")
    con.execute("ALTER MATERIALIZED VIEW v AS SELECT k, min(x) AS x FROM s GROUP BY k")
    assert rows(con, "SELECT * FROM v ORDER BY k") == [(2, 5), (3, 7)]


def test_a_version_that_fails_leaves_the_old_one(con: headrace.Connection) -> None:
    live = con.execute("SUBSCRIBE v WITH (snapshot = false)")
    wrong = "ALTER MATERIALIZED VIEW v AS SELECT k, CAST('x' || x AS BIGINT) AS x FROM s"
    with pytest.raises(headrace.OperationalError, match='"v" is what it was'):
        con.execute(wrong)
    con.execute("SET background_ddl = on")
    con.execute(wrong)
    con.flush()
    while "has failed" not in str(rows(con, "SELECT reason FROM system.queries")):
        con.flush()
    con.execute("INSERT INTO s VALUES (3, 9)")
    assert [change[1:] for change in changes(live)] == [("-U", 3, 7), ("+U", 3, 9)]
    assert verified(con)


def test_the_last_one_said_wins_and_a_drop_ends_it(con: headrace.Connection, held: Held) -> None:
    con.execute("SET background_ddl = on")
    con.execute("ALTER MATERIALIZED VIEW v AS SELECT k, min(x) AS x FROM s GROUP BY k")
    con.execute("ALTER MATERIALIZED VIEW v AS SELECT k, sum(x) AS x FROM s GROUP BY k")
    assert len(con.status().backfills) == 1
    held.stretches = 1 << 30
    while con.status().backfills:
        con.flush()
    assert rows(con, "SELECT x FROM v ORDER BY k") == [(3,), (5,), (7,)]
    held.stretches = 0
    con.execute("ALTER MATERIALIZED VIEW v AS SELECT k, min(x) AS x FROM s GROUP BY k")
    con.execute("DROP MATERIALIZED VIEW v")
    assert con.status().backfills == {}


def test_what_is_created_later_can_be_read_and_a_restart_knows_all(tmp_path: Path) -> None:
    for _ in range(2):
        with headrace.connect(tmp_path / "db") as con:
            con.execute("CREATE STREAM IF NOT EXISTS s (k BIGINT, x BIGINT)")
            con.execute("CREATE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT k, max(x) AS x FROM s GROUP BY k")
            con.execute("CREATE VIEW IF NOT EXISTS plain AS SELECT k FROM v")
            con.execute("CREATE MATERIALIZED VIEW IF NOT EXISTS r AS SELECT count(*) AS n FROM plain")
            con.execute("CREATE STREAM IF NOT EXISTS later (k BIGINT, x BIGINT)")
            con.execute("INSERT INTO later VALUES (1, 1), (2, 2), (3, 3)")
            con.execute("ALTER MATERIALIZED VIEW v AS SELECT k, min(x) AS x FROM later GROUP BY k")
            con.execute("CHECKPOINT")
            assert rows(con, "SELECT n FROM r") == [(3,)]
            assert verified(con)


def record(root: Path) -> tuple[Recording, list[tuple[int, int]]]:
    """A life in which a view changes with what reads it, and how many changes were acknowledged by which call."""
    recording, acknowledged = Recording(root), [(0, -1)]
    with faults(recording):
        con = headrace.connect(root / "db", checkpoint_interval_s=0)
        con.execute("CREATE STREAM s (k BIGINT, x BIGINT)")
        con.execute(f"CREATE MATERIALIZED VIEW v AS {VERSIONS[0]}")
        con.execute("CREATE MATERIALIZED VIEW r AS SELECT count(*) AS n, sum(x) AS x FROM v")
        acknowledged.append((recording.calls, 0))
        for number, version in enumerate(VERSIONS[1:5], start=1):
            con.execute("INSERT INTO s VALUES (?, ?), (?, 9)", [number, number, number])
            con.flush()
            con.execute("CHECKPOINT")
            con.execute(f"ALTER MATERIALIZED VIEW v AS {version}")
            acknowledged.append((recording.calls, number))
            con.execute("CHECKPOINT")
        con.close()
    recording.finish()
    return recording, acknowledged


def test_after_a_crash_it_is_the_old_one_or_the_new_one(sweep: Sweep) -> None:
    every, number, tried = sweep.every(17), 0, 0
    with quick_folder() as root, quick_folder() as image:
        recording, acknowledged = record(root)
        for call, disk in recording.replay():
            least = max(version for calls, version in acknowledged if calls <= call)
            most = min((version for calls, version in acknowledged if calls > call), default=4)
            for loss in LOSSES:
                number += 1
                if number % every or least < 0:
                    continue
                write_image(disk.after(loss, random.Random(call)), image)
                with headrace.connect(image / "db", checkpoint_interval_s=0) as con:
                    text = str(rows(con, "SHOW CREATE v")[0][1]).partition(" AS ")[2]
                    assert text in VERSIONS[least : most + 1], f"after call {call} with {loss}"
                    assert verified(con), f"after call {call} with {loss}"
                tried += 1
    sweep.count("images of a database whose views change, after a crash or a power failure", tried, least=10)
