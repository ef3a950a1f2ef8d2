"""What goes wrong in one place stays there: others go on, somebody is told, and it is taken up again."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import headrace
from headrace.storage import limits
from headrace.storage.files import faults

MINUTE = 60_000_000


@contextmanager
def full_disk(*names: str) -> Iterator[None]:
    """No room for anything in a folder whose name has one of these in it."""

    def fault(operation: str, path: Path) -> None:
        if operation in ("write", "allocate", "create") and any(name in part for part in path.parts for name in names):
            raise OSError(errno.ENOSPC, "No space left on device")

    with faults(fault):
        yield


def rows(con: headrace.Connection, sql: str) -> list[tuple[object, ...]]:
    return con.execute(sql).fetchall()  # type: ignore[no-any-return]


def stopped(con: headrace.Connection) -> dict[object, object]:
    return dict(rows(con, "SELECT name, reason FROM system.queries WHERE status = 'stopped'"))  # type: ignore[arg-type]


def test_a_row_that_a_view_cannot_take_stops_that_view_until_it_is_resumed(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM s (k BIGINT, t VARCHAR)")
        con.execute("CREATE MATERIALIZED VIEW numbers AS SELECT k, CAST(t AS BIGINT) AS x FROM s")
        con.execute("CREATE MATERIALIZED VIEW sums AS SELECT sum(x) AS x FROM numbers")
        con.execute("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM s")
        con.execute("INSERT INTO s VALUES (1, '10')")
        con.execute("INSERT INTO s VALUES (2, 'ten')")
        con.execute("INSERT INTO s VALUES (3, '30')")
        assert rows(con, "SELECT n FROM counted") == [(3,)]
        assert "numbers" in stopped(con)
        with pytest.raises(headrace.OperationalError, match='"numbers" is what it was'):
            con.execute("ALTER MATERIALIZED VIEW numbers RESUME")
        con.execute("DELETE FROM s BEFORE OFFSET 2")
        with pytest.raises(headrace.NotSupportedError, match="from all of its history"):
            con.execute("ALTER MATERIALIZED VIEW numbers RESUME")
        con.execute("SET allow_partial_history = on")
        con.execute("ALTER MATERIALIZED VIEW numbers RESUME")
        con.execute("ALTER MATERIALIZED VIEW sums RESUME")
        con.execute("INSERT INTO s VALUES (4, '40')")
        assert rows(con, "SELECT x FROM sums") == [(70,)]
        assert stopped(con) == {}
        assert con.execute("ALTER MATERIALIZED VIEW sums RESUME").notices == [
            '"sums" has not stopped; nothing was done'
        ]


def test_a_query_that_handles_such_rows_takes_the_place_of_one_that_stopped() -> None:
    with headrace.connect() as con:
        con.execute("CREATE STREAM s (t VARCHAR)")
        con.execute("CREATE MATERIALIZED VIEW numbers AS SELECT CAST(t AS BIGINT) AS x FROM s WHERE t <> ''")
        con.execute("CREATE MATERIALIZED VIEW sums AS SELECT count(*) AS n, sum(x) AS x FROM numbers GROUP BY x % 2")
        con.execute("INSERT INTO s VALUES ('1'), ('two')")
        con.flush()
        assert set(stopped(con)) == {"numbers", "sums"}
        con.execute("ALTER MATERIALIZED VIEW numbers AS SELECT TRY_CAST(t AS BIGINT) AS x FROM s")
        assert stopped(con) == {}
        assert rows(con, "SELECT n FROM sums ORDER BY x") == [(1,), (1,)]


def test_damaged_rows_stop_the_views_that_read_them_and_no_others(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db", checkpoint_interval_s=0) as con:
        for name in ("good", "bad"):
            con.execute(f"CREATE STREAM {name} (x BIGINT) WITH (segment_bytes = 65536)")
            for _ in range(3):
                con.execute(f"INSERT INTO {name} SELECT 1 FROM range(10000)")
            con.execute(f"CREATE MATERIALIZED VIEW {name}_sum AS SELECT sum(x) AS x FROM {name}")
    segment = min((tmp_path / "db" / "topics" / "bad").rglob("*.arrow"))
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    with headrace.connect(tmp_path / "db", checkpoint_interval_s=0) as con:
        con.execute("INSERT INTO good VALUES (4)")
        assert rows(con, "SELECT x FROM good_sum") == [(30004,)]
        assert "Cannot read" in str(stopped(con)["bad_sum"])
        con.execute("INSERT INTO bad VALUES (1)")
        con.execute("CREATE MATERIALIZED VIEW bad_count AS SELECT count(x) AS n FROM bad")
        con.execute("CREATE MATERIALIZED VIEW good_count AS SELECT count(x) AS n FROM good")
        assert rows(con, "SELECT n FROM good_count") == [(30001,)]
        assert set(stopped(con)) == {"bad_sum", "bad_count"}


def test_a_full_disk_stops_what_a_query_writes_and_it_goes_on_where_it_was(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM s (x BIGINT)")
        con.execute("CREATE STREAM big AS SELECT x FROM s WHERE x > 1")
        con.execute("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM s")
        con.execute("INSERT INTO s VALUES (1), (2)")
        con.flush()
        with full_disk("big"):
            con.execute("INSERT INTO s VALUES (3)")
            assert rows(con, "SELECT n FROM counted") == [(3,)]
            con.flush()
            assert "no space left on device" in str(stopped(con)["big"])
        con.execute("INSERT INTO s VALUES (4)")
        con.execute("ALTER STREAM big RESUME")
        assert stopped(con) == {}
        con.execute("INSERT INTO s VALUES (5)")
        con.flush()
        assert rows(con, "SELECT x FROM big ORDER BY x") == [(2,), (3,), (4,), (5,)]
        assert con.execute("VERIFY").tag == "VERIFY"


def test_what_fails_in_the_background_is_told_once_and_is_a_row_while_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_REST_S", 0.0)
    with headrace.connect(tmp_path / "db", checkpoint_interval_s=0.01) as con:
        con.execute("CREATE STREAM s (x BIGINT)")
        con.execute("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM s")
        told: list[str] = []
        with full_disk("checkpoints"):
            while not told:
                told = con.execute("INSERT INTO s VALUES (1)").notices
                con.flush()
            assert "no checkpoint could be taken" in told[0]
            assert con.execute("SELECT 1").notices == []
            assert rows(con, "SELECT what FROM system.problems") == [("no checkpoint could be taken",)]
        while rows(con, "SELECT what FROM system.problems"):
            con.execute("INSERT INTO s VALUES (1)")
            con.flush()
        assert rows(con, "SELECT count(*) > 0 FROM system.checkpoints") == [(True,)]


def test_late_rows_that_cannot_be_written_down_wait_in_memory(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db", clock=lambda: 100 * MINUTE) as con:
        con.execute("CREATE STREAM e (ts TIMESTAMP, x INT, WATERMARK FOR ts AS ts)")
        window = "FROM TUMBLE(TABLE e, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start"
        con.execute(f"CREATE MATERIALIZED VIEW w AS SELECT window_start, sum(x) AS x {window}")
        con.execute("INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:30:00', 2)")
        con.flush()
        with full_disk("system.late"):
            con.execute("INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:00:20', 4)")
            assert rows(con, "SELECT x FROM w") == [(2,)]
            assert rows(con, "SELECT what FROM system.problems") == [("late rows could not be written down",)]
            assert rows(con, "SELECT count(*) FROM system.late_rows") == [(1,)]
        con.execute("INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:30:20', 4)")
        con.flush()
        assert rows(con, "SELECT what FROM system.problems") == []
    with headrace.connect(tmp_path / "db") as con:
        assert rows(con, "SELECT count(*) FROM system.late_rows") == [(1,)]
        assert con.execute("VERIFY").tag == "VERIFY"


@pytest.mark.parametrize("jump", [-600 * MINUTE, 600 * MINUTE])
def test_a_clock_that_jumps(jump: int) -> None:
    now = [1000 * MINUTE]
    clock: Callable[[], int] = lambda: now[0]  # noqa: E731
    with headrace.connect(clock=clock) as con:
        con.execute("CREATE STREAM e (ts TIMESTAMP, x INT, WATERMARK FOR ts AS ts) INTO 2 PARTITIONS")
        con.execute("CREATE STREAM p (ts TIMESTAMP)")
        window = "FROM TUMBLE(TABLE e, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start"
        con.execute(f"CREATE MATERIALIZED VIEW w AS SELECT window_start, sum(x) AS x {window}")
        con.execute("CREATE MATERIALIZED VIEW fresh AS SELECT ts FROM p WHERE ts > now() - INTERVAL '1' HOUR")
        for number, minute in enumerate((1, 2, 3)):
            con.execute(f"INSERT INTO e VALUES (TIMESTAMP '1970-01-01 00:0{minute}:00', {number})")
            con.execute("INSERT INTO p VALUES (TIMESTAMP '1970-01-01 16:40:00')")
            con.flush()
            (mark,) = rows(con, "SELECT watermark FROM system.operators WHERE view = 'w' LIMIT 1")
            if number == 1:
                before = mark
                now[0] += jump
        assert before[0] is None or mark[0] >= before[0], "time went back"  # type: ignore[operator]
        assert rows(con, "SELECT sum(x) FROM w") == [(3,)]
        assert rows(con, "SELECT count(*) FROM fresh") == [(3 if jump < 0 else 0,)]
        assert con.execute("VERIFY").tag == "VERIFY"


def test_of_two_hundred_subscribers_the_slow_one_ends_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SUBSCRIPTION_EPOCHS_MAX", 8)
    with headrace.connect() as con:
        con.execute("CREATE STREAM s (x BIGINT)")
        con.execute("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM s")
        lives = [con.execute("SUBSCRIBE counted WITH (snapshot = false)") for _ in range(200)]
        for number in range(1, 13):
            con.execute("INSERT INTO s VALUES (1)")
            con.flush()
            for live in lives[1:]:
                table = live.next_changes(timeout_s=10)
                assert table.column("n").to_pylist()[-1] == number
        for _ in range(8):
            assert lives[0].next_changes(timeout_s=10) is not None, "what was in its queue can be read"
        with pytest.raises(headrace.OperationalError, match="fell too far behind"):
            lives[0].next_changes(timeout_s=10)


def test_a_source_that_is_faster_than_the_views_fills_the_log_and_no_memory() -> None:
    with headrace.connect(rows_per_epoch=100) as con:
        con.execute("CREATE STREAM s (x BIGINT)")
        con.execute("CREATE MATERIALIZED VIEW sums AS SELECT sum(x) AS x FROM s")
        live = con.execute("SELECT x FROM s WHERE x >= 0 EMIT CHANGES")
        con.execute("INSERT INTO s SELECT range FROM range(5000)")
        seen, largest = 0, 0
        while seen < 5000:
            table = live.next_changes(timeout_s=10)
            seen, largest = seen + table.num_rows, max(largest, table.num_rows)
        assert largest <= 100, "an epoch takes no more, however many are there"
        assert rows(con, "SELECT x FROM sums") == [(5000 * 4999 // 2,)]
