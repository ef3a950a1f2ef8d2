"""The past: SELECT, VERIFY and SUBSCRIBE as of an epoch that is over, whatever came between."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import headrace
from tests.test_checkpoints import GRAPH, insert
from tests.test_epochs import crashed

KEPT = ("totals", "windows", "named", "dear", "auctions")
STREAMS = ("bids",)


def rows(con: headrace.Connection, name: str, tail: str = "") -> list[tuple[Any, ...]]:
    return con.execute(f"SELECT * FROM {name} ORDER BY ALL {tail}").fetchall()


def life(con: headrace.Connection, start: int, steps: int) -> dict[int, dict[str, list[tuple[Any, ...]]]]:
    """What everything was after some epochs."""
    seen = {}
    for step in range(steps):
        insert(con, start + 20 * step, 20)
        if step % 2:
            con.execute(f"DELETE FROM auctions WHERE auction = {step % 5}")
        con.flush()
        seen[con.status().epoch] = {name: rows(con, name) for name in (*KEPT, *STREAMS)}
    return seen


def test_everything_is_what_it_was(tmp_path: Path) -> None:
    """From the log, from a checkpoint and after a crash; and each view equals its twin then."""
    with headrace.connect(tmp_path / "db") as con:
        con.execute(GRAPH)
        seen = life(con, 0, 2)
        con.execute("CHECKPOINT")
        seen |= life(con, 60, 2)
        con.execute("CHECKPOINT")
        seen |= life(con, 100, 1)
        killed = crashed(tmp_path / "db", tmp_path / "killed")
        for epoch, state in seen.items():
            for name, wanted in state.items():
                assert rows(con, name, f"AS OF EPOCH {epoch}") == wanted, (epoch, name)
            for name in (*KEPT[:4], "closed", "last"):
                assert con.execute(f"VERIFY VIEW {name} AS OF EPOCH {epoch}").fetchall()[0][1] is True
    shutil.rmtree(killed / "checkpoints")
    with headrace.connect(killed) as con:
        insert(con, 200, 20)
        con.flush()
        for epoch, state in list(seen.items())[::2]:
            for name, wanted in state.items():
                assert rows(con, name, f"AS OF EPOCH {epoch}") == wanted, (epoch, name)
    with headrace.connect(killed, read_only=True) as con:
        epoch, state = next(iter(seen.items()))
        assert rows(con, "totals", f"AS OF EPOCH {epoch}") == state["totals"]


def test_a_time_of_the_past() -> None:
    now = [1_700_000_000_000_000]
    with headrace.connect(clock=lambda: now[0]) as con:
        con.execute("CREATE STREAM s (n BIGINT); CREATE MATERIALIZED VIEW v AS SELECT sum(n) AS n FROM s")
        for n in range(3):
            con.execute(f"INSERT INTO s VALUES ({n + 1})")
            con.flush()
            now[0] += 60_000_000
        sql = "SELECT n, now() FROM v AS OF TIMESTAMP '2023-11-14 22:14:30+00'"
        ((n, at),) = con.execute(sql).fetchall()
        assert (n, at.timestamp()) == (3, 1_700_000_060)
        for time in ("2023-11-14 22:13:00+00", "2023-11-14 23:00:00+00"):
            with pytest.raises(headrace.ProgrammingError, match="is not in the journal of epochs"):
                con.execute(f"SELECT n FROM v AS OF TIMESTAMP '{time}'")
        with pytest.raises(headrace.ProgrammingError, match="epoch 77 is not in the journal"):
            con.execute("SELECT n FROM v AS OF EPOCH 77")
        with pytest.raises(headrace.NotSupportedError, match=r"system\.epochs"):
            con.execute("SELECT * FROM system.epochs AS OF EPOCH 1")


def told(cursor: headrace.Cursor) -> list[tuple[Any, ...]]:
    """What a cursor with weights has to tell by now."""
    found = []
    while (changes := cursor.next_changes(0.0)) is not None:
        found += [tuple(row.values()) for row in changes.to_pylist()]
    return found


def test_a_subscriber_that_is_killed_again_and_again_is_told_each_change_once(tmp_path: Path) -> None:
    """It notes the last epoch that it has been told, and goes on from there."""
    names = ("totals", "windows", "named", "dear", "auctions", "(SELECT n, price FROM bids WHERE n % 3 = 0)")
    chance = random.Random(4)
    sums: dict[str, Counter[tuple[Any, ...]]] = {name: Counter() for name in names}
    noted: dict[str, int] = {}
    folder = tmp_path / "db"
    for turn in range(4):
        with headrace.connect(folder) as con:
            if turn == 0:
                con.execute(GRAPH)
                con.flush()
            cursors = {}
            for name in names:
                since = f"AS OF EPOCH {noted[name]} WITH (snapshot = false)" if name in noted else ""
                cursors[name] = con.execute(f"SUBSCRIBE {name} EMIT CHANGELOG {since}")
                noted.setdefault(name, con.status().epoch)
            for step in range(3):
                insert(con, turn * 100 + step * 20, 20)
                con.flush()
                if chance.random() < 0.2:
                    con.execute("CHECKPOINT")
                for name in names:
                    if chance.random() < 0.5:
                        for epoch, weight, *row in told(cursors[name]):
                            sums[name][tuple(row)] += weight
                            noted[name] = epoch
            killed = crashed(folder, tmp_path / f"killed{turn}")
        folder = killed
    with headrace.connect(folder) as con:
        for name in names:
            for epoch, weight, *row in told(
                con.execute(f"SUBSCRIBE {name} EMIT CHANGELOG AS OF EPOCH {noted[name]} WITH (snapshot = false)")
            ):
                assert epoch > noted[name]
                sums[name][tuple(row)] += weight
            wanted = Counter(con.execute(f"SELECT * FROM {name}").fetchall())
            assert {row: count for row, count in sums[name].items() if count} == wanted, name


def test_the_rows_of_then_come_first() -> None:
    with headrace.connect() as con:
        con.execute(
            "CREATE STREAM s (k BIGINT); CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM s GROUP BY k"
        )
        epochs = []
        for _ in range(3):
            con.execute("INSERT INTO s VALUES (1)")
            con.flush()
            epochs.append(con.status().epoch)
        cursor = con.execute(f"SUBSCRIBE v AS OF EPOCH {epochs[0]}")
        con.execute("INSERT INTO s VALUES (2)")
        con.flush()
        assert cursor.fetchmany(9, timeout=0) == [
            (epochs[0], "+I", 1, 1),
            (epochs[1], "-U", 1, 1),
            (epochs[1], "+U", 1, 2),
            (epochs[2], "-U", 1, 2),
            (epochs[2], "+U", 1, 3),
            (con.status().epoch, "+I", 2, 1),
        ]
        con.execute("CREATE MATERIALIZED VIEW later AS SELECT count(*) AS n FROM s; INSERT INTO s VALUES (3)")
        con.flush()
        with pytest.raises(headrace.NotSupportedError, match='cannot subscribe to "later" as of') as raised:
            con.execute(f"SUBSCRIBE later AS OF EPOCH {epochs[0]}")
        assert "was made, or replaced, after epoch" in str(raised.value.detail)


def test_why_the_past_cannot_be_read(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute(
            """CREATE STREAM s (k BIGINT, n BIGINT); CREATE TABLE t (k BIGINT PRIMARY KEY, n BIGINT);
            CREATE MATERIALIZED VIEW v AS SELECT k, sum(n) AS n FROM s GROUP BY k;
            CREATE MATERIALIZED VIEW looked AS SELECT s.k, t.n FROM s
            JOIN t FOR SYSTEM_TIME AS OF PROCTIME() AS t ON s.k = t.k"""
        )
        epochs = []
        for n in range(4):
            con.execute(f"INSERT OR REPLACE INTO t VALUES (1, {n})")
            con.flush()
            con.execute("INSERT INTO s VALUES (1, 1)")
            con.flush()
            epochs.append(con.status().epoch)
            if n == 1:
                con.execute("CHECKPOINT")
        assert rows(con, "looked", f"AS OF EPOCH {epochs[2]}") == [(1, 0), (1, 1), (1, 2)]
        assert rows(con, "looked", f"AS OF EPOCH {epochs[0]}") == [(1, 0)]
        con.execute("DELETE FROM s BEFORE OFFSET 1")
        assert rows(con, "v", f"AS OF EPOCH {epochs[2]}") == [(1, 3)]
        with pytest.raises(headrace.OperationalError, match=f'cannot read "s" as of epoch {epochs[0]}') as raised:
            rows(con, "v", f"AS OF EPOCH {epochs[0]}")
        assert "were deleted since" in str(raised.value.detail)
        left = con.execute(f"SELECT count(*) FROM s AS OF EPOCH {epochs[2]}")
        assert left.fetchall() == [(2,)]
        (notice,) = left.notices
        assert notice.startswith(f'1 rows that "s" had got by epoch {epochs[2]} are missing: they were deleted')
        assert con.execute(f"SELECT count(*) FROM t AS OF EPOCH {epochs[2]}").notices == []
