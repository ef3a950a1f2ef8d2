"""State that is larger than memory: results stay what they are, and a full disk stops a view and nothing else."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headrace
from headrace.storage import limits
from headrace.storage.files import faults
from headrace.storage.memory import Memory

ROWS = 70_000
PLENTY = np.arange(ROWS) * 7_919 % 1_000_003


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of 128 MiB leaves nothing for state; arrays from 64 KiB on lie in files."""
    monkeypatch.setattr(limits, "MEMORY_STATE_SHARE", 0.0)
    monkeypatch.setattr(Memory.__init__, "__defaults__", (None, None, 1 << 16))


def append(con: headrace.Connection, stream: str, keys: np.ndarray) -> None:
    texts = [f"u{key}" for key in keys % 5000]
    con.append(stream, pa.table({"k": keys * 1_000_003, "v": np.arange(len(keys)), "s": texts}))


GRAPH = """
CREATE STREAM a (k BIGINT, v BIGINT, s VARCHAR);
CREATE STREAM b (k BIGINT, v BIGINT, s VARCHAR);
CREATE MATERIALIZED VIEW sums AS SELECT k, count(*) AS n, sum(v) AS total, max(s) AS last FROM a GROUP BY k;
CREATE MATERIALIZED VIEW texts AS SELECT s, count(DISTINCT k) AS n FROM a GROUP BY s;
CREATE MATERIALIZED VIEW pairs AS SELECT a.k, a.v, b.v AS w FROM a LEFT JOIN b ON a.k = b.k;
CREATE MATERIALIZED VIEW first AS SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY k % 1000 ORDER BY v DESC) AS r FROM a) WHERE r <= 2;
"""


@pytest.mark.usefixtures("little")
def test_views_whose_state_lies_in_files_equal_their_twins_also_after_a_restart(tmp_path: Path) -> None:
    for life in range(2):
        with headrace.connect(tmp_path / "db", memory_limit="128MiB") as con:
            if life == 0:
                con.execute(GRAPH)
                append(con, "a", PLENTY)
                append(con, "b", PLENTY[::2])
            append(con, "a", PLENTY[life::3])
            append(con, "b", PLENTY[:5000])
            con.flush()
            con.execute("CHECKPOINT")
            memory = con._database.engine.memory
            assert memory.spilled > 2 << 20
            assert memory.resident == 0
            assert [v[:2] for v in con.execute("VERIFY").fetchall()] == [
                ("sums", True),
                ("texts", True),
                ("pairs", True),
                ("first", True),
            ]
        assert not (tmp_path / "db" / "spill").exists()


KINDS = """
CREATE STREAM a (k BIGINT, v BIGINT, s VARCHAR, l BIGINT[], ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1' HOUR);
CREATE STREAM b (k BIGINT, v BIGINT, s VARCHAR, l BIGINT[], ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1' HOUR);
CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT, s VARCHAR, l BIGINT[]);
CREATE MATERIALIZED VIEW deviations AS SELECT k, stddev(v / 3) AS d, corr(v, k) AS c FROM a GROUP BY k;
CREATE MATERIALIZED VIEW doubles AS
    SELECT n, sum(v / 7) AS d FROM (SELECT k, max(v) AS v, count(*) AS n FROM a GROUP BY k) GROUP BY n;
CREATE MATERIALIZED VIEW greatest AS SELECT k, max(s) AS s, max_by(s, v) AS last FROM a GROUP BY k;
CREATE MATERIALIZED VIEW by_list AS SELECT l, count(*) AS n, list(v ORDER BY v) AS vs FROM a GROUP BY l;
CREATE MATERIALIZED VIEW lists AS SELECT a.k, a.l, b.l AS m FROM a JOIN b ON a.k = b.k;
CREATE MATERIALIZED VIEW different AS SELECT s, count(DISTINCT l) AS n, median(v) AS m FROM a GROUP BY s;
CREATE MATERIALIZED VIEW records AS SELECT k, l, {'s': s, 'v': v} AS r FROM a;
CREATE MATERIALIZED VIEW kept AS SELECT k, l FROM a WHERE k IN (SELECT k FROM b WHERE v >= 0);
CREATE MATERIALIZED VIEW panes AS SELECT k, list(v) AS vs FROM a
    GROUP BY TUMBLE(ts, INTERVAL '1' DAY), k;
CREATE MATERIALIZED VIEW over_all AS SELECT k, v, s, lag(v) OVER (PARTITION BY k % 1000 ORDER BY v, k) AS before FROM a;
CREATE MATERIALIZED VIEW least AS SELECT s, min(l) AS l FROM a GROUP BY s;
CREATE MATERIALIZED VIEW near AS SELECT a.k, a.l, b.s FROM a LEFT JOIN b
    ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '1' HOUR AND a.ts + INTERVAL '1' HOUR;
CREATE MATERIALIZED VIEW latest AS SELECT a.k, a.l, b.v FROM a ASOF LEFT JOIN b ON a.k = b.k AND a.ts >= b.ts;
CREATE MATERIALIZED VIEW shared AS SELECT k, l FROM a INTERSECT SELECT k, l FROM b;
"""


@pytest.mark.usefixtures("little")
def test_no_operator_keeps_more_than_small_arrays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory.__init__, "__defaults__", (None, None, 1 << 13))
    keys = PLENTY[:16_000]

    def rows(keys: np.ndarray) -> pa.Table:
        places = np.arange(3 * len(keys))
        lists = pa.ListArray.from_arrays([*places[::3], len(places)], np.repeat(keys, 3) + places % 3)
        values = np.arange(len(keys))
        texts = [f"u{key}" for key in keys % 5000]
        times = pa.array(values * 10_000_000, pa.int64()).cast(pa.timestamp("us"))
        return pa.table({"k": keys, "v": values, "s": texts, "l": lists, "ts": times})

    with headrace.connect(tmp_path / "db", memory_limit="128MiB") as con:
        con.execute(KINDS)
        con.append("a", rows(keys))
        con.append("b", rows(keys[::2]))
        con.append("t", rows(keys).drop_columns("ts"))
        con.execute("DELETE FROM t WHERE v % 3 = 0")
        for (view,) in con.execute("SELECT DISTINCT view FROM system.operators").fetchall():
            con.execute(f"SELECT * FROM {view}").fetch_arrow_table()
        kept = con.execute("SELECT view, state_bytes, spilled_bytes FROM system.operators WHERE state_bytes > 800_000")
        memory = {view: (state, state - spilled) for view, state, spilled in kept.fetchall()}
        assert len(memory) > 10, memory
        assert {view: bytes for view, bytes in memory.items() if bytes[1] > 100_000} == {}
        con.execute("CHECKPOINT")
    with headrace.connect(tmp_path / "db", memory_limit="128MiB") as con:
        con.append("a", rows(keys[::3]))
        con.execute("DELETE FROM t WHERE v % 3 = 1")
        assert {row for row in con.execute("VERIFY").fetchall() if row[1] is not True} == set()


def test_state_moves_into_files_when_a_limit_is_set_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMORY_STATE_SHARE", 0.005)
    with headrace.connect() as con:
        con.execute("CREATE STREAM a (k BIGINT, v BIGINT, s VARCHAR)")
        con.execute("CREATE MATERIALIZED VIEW sums AS SELECT k, count(*) AS n FROM a GROUP BY k")
        append(con, "a", PLENTY)
        con.flush()
        memory = con._database.engine.memory
        before = memory.resident
        assert memory.spilled == 0
        con.execute("SET memory_limit = '128MiB'")
        assert memory.resident <= (128 << 20) // 200 < before
        append(con, "a", PLENTY)
        assert con.execute("SELECT count(*), sum(n) FROM sums").fetchall() == [(ROWS, 2 * ROWS)]
        con.execute("RESET memory_limit")
        append(con, "a", PLENTY)
        assert con.execute("VERIFY VIEW sums").fetchall()[0][1] is True


@pytest.mark.usefixtures("little")
def test_a_full_disk_stops_the_view_that_needs_it_and_a_restart_goes_on(tmp_path: Path) -> None:
    def full(operation: str, path: Path) -> None:
        if operation == "allocate" and "spill" in path.parts:
            raise OSError(errno.ENOSPC, "No space left on device")

    with headrace.connect(tmp_path / "db", memory_limit="128MiB") as con:
        con.execute("CREATE STREAM a (k BIGINT, v BIGINT, s VARCHAR)")
        con.execute("CREATE MATERIALIZED VIEW sums AS SELECT k, count(*) AS n FROM a GROUP BY k")
        con.execute("CREATE MATERIALIZED VIEW whole AS SELECT count(*) AS n FROM a")
        with faults(full):
            append(con, "a", PLENTY)
            assert con.execute("SELECT n FROM whole").fetchall() == [(ROWS,)]
            ((status, reason),) = con.execute(
                "SELECT status, reason FROM system.queries WHERE name = 'sums'"
            ).fetchall()
            assert (status, "no space left on device" in reason) == ("stopped", True), (status, reason)
            with pytest.raises(headrace.OperationalError, match='view "sums" has stopped'):
                con.execute("SELECT * FROM sums")
    with headrace.connect(tmp_path / "db", memory_limit="128MiB") as con:
        assert con.execute("SELECT count(*), sum(n) FROM sums").fetchall() == [(ROWS, ROWS)]


def test_a_limit_that_python_alone_exceeds_is_refused() -> None:
    with pytest.raises(headrace.ProgrammingError, match="cannot set memory_limit to '1MB'"):
        headrace.connect(memory_limit="1MB")
