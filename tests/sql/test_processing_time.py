"""The time of arrival: a window over it closes though no row comes."""

from __future__ import annotations

import time
from pathlib import Path

import headrace


def closed(con: headrace.Connection, rows: int) -> list[tuple[int]]:
    """What the windows that have closed count, once these are so many."""
    for _ in range(600):
        found: list[tuple[int]] = con.execute("SELECT n FROM told ORDER BY window_start").fetchall()
        if sum(n for (n,) in found) == rows:
            return found
        time.sleep(0.05)
    raise AssertionError(f"of {rows} rows only {found} are in windows that have closed")


def test_a_window_closes_though_no_row_comes(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db", durability="none", idle_timeout_s=0.0) as con:
        con.execute("CREATE STREAM clicks (page VARCHAR, came AS PROCTIME())")
        con.execute(
            "CREATE STREAM told AS SELECT window_start, count(*) AS n "
            "FROM TUMBLE(TABLE clicks, DESCRIPTOR(PROCTIME()), INTERVAL '100' MILLISECOND) GROUP BY window_start"
        )
        con.execute("INSERT INTO clicks VALUES ('a'), ('b')")
        before = closed(con, 2)
        con.execute("INSERT INTO clicks VALUES ('c')")
    with headrace.connect(
        tmp_path / "db", durability="none", idle_timeout_s=0.0
    ) as con:  # each window once, a restart or not
        assert closed(con, 3) == [*before, (1,)]
        assert con.execute("SELECT count(*) FROM system.late_rows").fetchall() == [(0,)]
        assert con.execute("VERIFY").fetchall()[0][1]
