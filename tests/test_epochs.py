"""The journal of epochs: after a crash they are run again as they were, and without it all is still right."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

import headrace
from headrace.storage import limits
from headrace.storage.files import faults
from tests.test_checkpoints import GRAPH, insert


def crashed(folder: Path, copy: Path) -> Path:
    """The folder as a process that is killed at this moment leaves it."""
    shutil.rmtree(copy, ignore_errors=True)
    return Path(shutil.copytree(folder, copy))


def journal(folder: Path) -> list[Path]:
    return sorted((folder / "journal" / "topics").rglob("*.arrow"))


def test_what_was_looked_up_stays_what_it_was(tmp_path: Path) -> None:
    """No rows say which version was there when another came: that is known of the epochs alone."""
    with headrace.connect(tmp_path / "db") as con:
        con.execute(
            """CREATE STREAM orders (n BIGINT, k BIGINT); CREATE TABLE rates (k BIGINT PRIMARY KEY, rate BIGINT);
            CREATE MATERIALIZED VIEW v AS SELECT o.n, r.rate FROM orders AS o
            JOIN rates FOR SYSTEM_TIME AS OF PROCTIME() AS r ON o.k = r.k"""
        )
        for n in range(5):
            con.execute(f"INSERT OR REPLACE INTO rates VALUES (1, {n})")
            con.flush()
            con.execute(f"INSERT INTO orders VALUES ({n}, 1)")
            con.flush()
            if n == 2:
                con.execute("CHECKPOINT")
        wanted = [(n, n) for n in range(5)]
        assert con.execute("SELECT * FROM v ORDER BY n").fetchall() == wanted
        killed, epoch = crashed(tmp_path / "db", tmp_path / "killed"), con.status().epoch
    for folder in (tmp_path / "db", killed):
        for lost in ((), ("checkpoints",)):
            for name in lost:
                shutil.rmtree(folder / name)
            with headrace.connect(folder) as con:
                assert con.execute("SELECT * FROM v WHERE n < 9 ORDER BY n").fetchall() == wanted
                assert con.execute("SELECT 1").notices == []
                con.execute("INSERT INTO orders VALUES (9, 1)")
                assert con.execute("SELECT max(rate) FROM v WHERE n = 9").fetchall() == [(4,)]
                assert con.status().epoch > epoch


def test_what_history_looked_up_when_a_view_was_made_or_replaced_stays_what_it_was(tmp_path: Path) -> None:
    """That is in no epoch and in no log: a checkpoint has it before the statement returns."""
    query = "FROM orders AS o JOIN rates FOR SYSTEM_TIME AS OF PROCTIME() AS r ON o.k = r.k"

    def rate(con: headrace.Connection, rate: int) -> None:
        con.execute(f"INSERT OR REPLACE INTO rates VALUES (1, {rate})")
        con.flush()

    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM orders (n BIGINT, k BIGINT); CREATE TABLE rates (k BIGINT PRIMARY KEY, rate BIGINT)")
        con.execute("CREATE MATERIALIZED VIEW plain AS SELECT count(*) AS n FROM orders")
        con.execute("INSERT INTO orders SELECT n, 1 FROM range(10) AS t (n)")
        rate(con, 1)
        con.execute(f"CREATE MATERIALIZED VIEW made AS SELECT o.n, r.rate {query}")
        con.execute(f"CREATE MATERIALIZED VIEW replaced AS SELECT o.n, r.rate {query}")
        con.execute("SET background_ddl = on")
        con.execute(f"CREATE MATERIALIZED VIEW later AS SELECT o.n, r.rate {query}")
        con.execute("SET background_ddl = off")
        con.execute("SELECT * FROM later")
        assert len(con.execute("SELECT * FROM system.checkpoints WHERE reason = 'new view'").fetchall()) >= 2
        con.execute("SET background_ddl = on")
        con.execute(f"CREATE MATERIALIZED VIEW gone AS SELECT o.n, r.rate {query}")
        con.execute("DROP MATERIALIZED VIEW gone")
        con.execute("SET background_ddl = off")
        rate(con, 2)
        con.execute(f"CREATE OR REPLACE MATERIALIZED VIEW replaced AS SELECT o.n, r.rate * 10 AS rate {query}")
        assert con._database.engine.recorder.wanted == set()
        rate(con, 3)
        con.execute("INSERT INTO orders VALUES (10, 1)")
        rate(con, 4)
        made = con.execute("SELECT rate, count(*) FROM made GROUP BY rate ORDER BY rate").fetchall()
        replaced = con.execute("SELECT rate, count(*) FROM replaced GROUP BY rate ORDER BY rate").fetchall()
        assert (made, replaced) == ([(1, 10), (3, 1)], [(20, 10), (30, 1)])
        killed, epoch = crashed(tmp_path / "db", tmp_path / "killed"), con.status().epoch
        assert con.execute(f"SELECT count(*) FROM made WHERE rate = 3 AS OF EPOCH {epoch}").fetchall() == [(1,)]
        for more in (5, 6):
            rate(con, more)
            con.execute("CHECKPOINT")
        with pytest.raises(headrace.NotSupportedError, match=f"cannot tell what .* had by epoch {epoch}"):
            con.execute(f"SELECT * FROM made AS OF EPOCH {epoch}")  # no checkpoint has it, and it had a history
    with headrace.connect(killed) as con:
        for name, known in (("made", made), ("later", made), ("replaced", replaced)):
            assert con.execute(f"SELECT rate, count(*) FROM {name} GROUP BY rate ORDER BY rate").fetchall() == known


def test_no_epoch_has_the_number_of_another(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db") as con:
        con.execute(GRAPH)
        insert(con, 0, 10)
        con.flush()
        seen = con.status().epoch
        killed = crashed(tmp_path / "db", tmp_path / "killed")
    for folder, skipped in ((tmp_path / "db", 0), (killed, limits.EPOCHS_SKIPPED)):
        with headrace.connect(folder) as con:
            con.flush()
            assert con.status().epoch == seen
            insert(con, 10, 10)
            con.flush()
            assert con.status().epoch > seen + skipped


def test_a_window_that_silence_has_closed_is_written_once(tmp_path: Path) -> None:
    """What is written when no row has come is not in the positions of a checkpoint, only in its time."""
    now = [1_700_000_000_000_000]
    with headrace.connect(tmp_path / "db", clock=lambda: now[0]) as con:
        con.execute(
            """CREATE STREAM s (n BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts) INTO 2 PARTITIONS;
            CREATE STREAM ticks (n INT);
            CREATE STREAM closed AS SELECT window_start, count(*) AS n
            FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end"""
        )
        con.append("s", con.execute("SELECT 1::BIGINT AS n, TIMESTAMP '2023-11-14 22:00:00' AS ts").fetch_arrow_table())
        con.append("s", con.execute("SELECT 2::BIGINT AS n, TIMESTAMP '2023-11-14 22:01:00' AS ts").fetch_arrow_table())
        con.execute("CHECKPOINT")
        now[0] += 20_000_000
        con.execute("INSERT INTO ticks VALUES (1)")
        wanted = con.execute("SELECT * FROM closed").fetchall()
        assert len(wanted) == 1
    for lost in ((), ("journal",), ("journal", "checkpoints")):
        for name in lost:
            shutil.rmtree(tmp_path / "db" / name, ignore_errors=True)
        with headrace.connect(tmp_path / "db", clock=lambda: now[0]) as con:
            now[0] += 20_000_000
            con.execute("INSERT INTO ticks VALUES (1)")
            con.flush()
            assert con.execute("SELECT * FROM closed").fetchall() == wanted


SMALL = """
CREATE STREAM s (n BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND);
CREATE MATERIALIZED VIEW v AS SELECT n % 3 AS k, count(*) AS n FROM s GROUP BY k;
CREATE STREAM closed AS SELECT window_start, count(*) AS n
  FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end;
"""


def fill(con: headrace.Connection, start: int) -> None:
    con.execute(
        f"INSERT INTO s SELECT n, TIMESTAMP '2024-01-01' + to_seconds(n) FROM range({start}, {start + 7}) AS t (n)"
    )
    con.flush()


def test_a_torn_or_damaged_journal_is_told_and_done_without(tmp_path: Path) -> None:
    queries = ("SELECT * FROM v ORDER BY k", "SELECT * FROM closed")
    with headrace.connect(tmp_path / "db") as con:
        con.execute(SMALL)
        for start in range(0, 70, 7):
            fill(con, start)
            if start == 28:
                con.execute("CHECKPOINT")
        wanted, seen = [con.execute(query).fetchall() for query in queries], con.status().epoch
        killed = crashed(tmp_path / "db", tmp_path / "killed")
    chance, told = random.Random(5), 0
    (segment,) = journal(killed)
    whole = segment.read_bytes()
    used = len(whole.rstrip(b"\0"))
    cuts = [whole[:place] for place in (used - 1, used - 100, used // 2, 0)]
    flips = [whole[:place] + bytes([whole[place] ^ 85]) + whole[place + 1 :] for place in chance.sample(range(used), 4)]
    for damaged in (*cuts, *flips):
        folder = crashed(killed, tmp_path / "damaged")
        journal(folder)[0].write_bytes(damaged)
        with headrace.connect(folder) as con:
            told += any("journal" in notice for notice in con.execute("SELECT 1").notices)
            assert [con.execute(query).fetchall() for query in queries] == wanted
            fill(con, 70)
            assert con.status().epoch > seen
            assert [row[1] for row in con.execute("VERIFY").fetchall()] == [True] * 2
        with headrace.connect(folder) as con:
            assert not any("journal" in notice for notice in con.execute("SELECT 1").notices)
    assert told >= 4


def test_what_no_checkpoint_needs_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EPOCHS_KEPT_S", 0.0)
    monkeypatch.setattr(limits, "EPOCHS_PRUNED", 1)
    monkeypatch.setattr(limits, "EPOCHS_WHOLE", 1)
    with headrace.connect(tmp_path / "db") as con:
        con.execute("CREATE STREAM s (n BIGINT); CREATE MATERIALIZED VIEW v AS SELECT sum(n) AS n FROM s")
        marks = []
        for n in range(4):
            con.execute(f"INSERT INTO s VALUES ({n})")
            con.execute("CHECKPOINT")
            marks.append(con.status().epoch)
        (first,) = con.execute("SELECT min(epoch) FROM system.epochs").fetchall()
        assert first == (marks[2] + 1,)
        con.execute("INSERT INTO s VALUES (10)")
        con.flush()
        killed, epoch = crashed(tmp_path / "db", tmp_path / "killed"), con.status().epoch
    newest = max((killed / "checkpoints").glob("*.arrow"))
    newest.write_bytes(newest.read_bytes()[:-1])
    with headrace.connect(killed) as con:
        assert con.execute("SELECT n FROM v").fetchall() == [(16,)]
        assert con.status().epoch == epoch


def test_where_the_disk_refuses_epochs_go_on_and_it_is_told(tmp_path: Path) -> None:
    full = False

    def fault(operation: str, path: Path) -> None:
        if full and "journal" in path.parts and operation in ("write", "sync", "allocate"):
            raise OSError(28, "no space left on device")

    queries = ("SELECT * FROM v ORDER BY k", "SELECT * FROM closed")
    with faults(fault):
        with headrace.connect(tmp_path / "db") as con:
            con.execute(SMALL)
            fill(con, 0)
            full = True
            fill(con, 7)
            assert con.execute("SELECT what FROM system.problems").fetchall() == [("epochs are not recorded any more",)]
            con.execute("CHECKPOINT")
            fill(con, 14)
            wanted, epoch = [con.execute(query).fetchall() for query in queries], con.status().epoch
            with pytest.raises(headrace.ProgrammingError, match="is not in the journal"):
                con.execute(f"SELECT * FROM v AS OF EPOCH {epoch}")
        full = False
        with headrace.connect(tmp_path / "db") as con:
            assert [con.execute(query).fetchall() for query in queries] == wanted
            fill(con, 21)
            assert con.status().epoch > epoch
            assert con.execute(f"SELECT count(*) FROM s AS OF EPOCH {con.status().epoch}").fetchall() == [(28,)]
