"""A checkpoint is of its epoch, for all kinds of operators, however much they go on while it is written."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headrace
from headrace.engine import copying, slot_array
from headrace.engine.checkpoint import Capture
from tests.test_memory_limit import KINDS

CHANGING = """
CREATE MATERIALIZED VIEW per_text AS
    SELECT s, count(*) AS n, sum(v) AS total, min(v) AS least, max(v) AS most, median(v) AS m, any_value(k) IS NULL AS o
    FROM t GROUP BY s;
CREATE MATERIALIZED VIEW per_key AS SELECT k % 97 AS r, stddev(v) AS d, sum(v / 7) AS f, list(s ORDER BY s) AS all_s
    FROM t GROUP BY k % 97;
CREATE MATERIALIZED VIEW once AS SELECT DISTINCT v % 500 AS v, s FROM t;
CREATE MATERIALIZED VIEW best AS SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY s ORDER BY v DESC, k) AS r FROM t) WHERE r <= 2;
CREATE MATERIALIZED VIEW few AS SELECT k, v FROM t ORDER BY v DESC, k LIMIT 20;
CREATE MATERIALIZED VIEW in_both AS SELECT t.k, t.v, a.v AS w FROM t JOIN a ON t.k = a.k;
CREATE MATERIALIZED VIEW none_there AS SELECT k FROM a WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.k = a.k);
CREATE MATERIALIZED VIEW sides AS SELECT t.k, b.v FROM t FULL JOIN b ON t.k = b.k AND t.v < b.v;
CREATE MATERIALIZED VIEW less AS SELECT k, v FROM t EXCEPT SELECT k, v FROM a;
CREATE MATERIALIZED VIEW rolled AS SELECT s, k % 5 AS r, count(*) AS n FROM t GROUP BY ROLLUP (s, k % 5);
CREATE MATERIALIZED VIEW running AS SELECT k, sum(v) OVER (PARTITION BY s ORDER BY v, k) AS total FROM t;
CREATE MATERIALIZED VIEW sessions AS SELECT k % 50 AS r, window_start, count(*) AS n
    FROM SESSION(TABLE a PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY k % 50, window_start;
CREATE MATERIALIZED VIEW middle AS SELECT k % 7 AS r, kurtosis(v) AS x FROM t GROUP BY k % 7;
"""


def rows(keys: np.ndarray, start: int) -> pa.Table:
    places = np.arange(3 * len(keys))
    lists = pa.ListArray.from_arrays([*places[::3], len(places)], np.repeat(keys, 3) + places % 3)
    values = np.arange(start, start + len(keys))
    times = pa.array(values * 10_000_000, pa.int64()).cast(pa.timestamp("us"))
    return pa.table({"k": keys, "v": values, "s": [f"u{key % 400}" for key in keys], "l": lists, "ts": times})


@pytest.mark.parametrize("goes_on", ["while it is copied", "while it is written"])
def test_a_checkpoint_is_of_its_epoch_for_all_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes_on: str
) -> None:
    monkeypatch.setattr(slot_array, "_COPIED_AT_ONCE", 0)
    captured, free = threading.Event(), threading.Event()
    tables = Capture.tables

    def later(capture: Capture) -> Iterator[tuple[str, pa.Buffer]]:
        if goes_on == "while it is copied":
            captured.set()
            assert free.wait(20)
        for place, table in enumerate(list(tables(capture))):
            if place == 0:
                captured.set()
                assert free.wait(20)
            yield table

    monkeypatch.setattr(Capture, "tables", later)
    monkeypatch.setattr(copying, "_PIECE_BYTES", 256)
    keys = np.random.default_rng(1).permutation(3000)
    with headrace.connect(tmp_path / "db", checkpoint_interval_s=0) as con:
        con.execute(KINDS + CHANGING)
        for name in ("a", "b", "t"):
            added = rows(keys, 0)
            con.append(name, added if name != "t" else added.drop_columns("ts"))
        con.execute("DELETE FROM t WHERE v % 5 = 0")
        con.flush()
        writing = threading.Thread(target=lambda: con._database.checkpointer.take("test"))
        writing.start()
        assert captured.wait(20)
        con.append("a", rows(keys[::3], 3000))
        con.append("b", rows(keys[1::3], 3000))
        con.execute("DELETE FROM t WHERE v % 3 = 1")
        con.append("t", rows(np.arange(3000, 4000), 1).drop_columns("ts"))
        con.flush()
        con.append("a", rows(keys[2::3], 4000))
        con.execute("DELETE FROM t WHERE v % 7 = 1")
        con.flush()
        free.set()
        writing.join()
        assert [row for row in con.execute("VERIFY").fetchall() if row[1] is not True] == []
        (taken,) = con.execute("SELECT epoch FROM system.checkpoints").fetchall()
        shutil.copytree(tmp_path / "db", tmp_path / "copy")
    with headrace.connect(tmp_path / "copy", checkpoint_interval_s=0) as con:
        con.flush()
        assert taken is not None
        assert 0 < con.status().rows < 12_000, "it began from the log"
        assert [row for row in con.execute("VERIFY").fetchall() if row[1] is not True] == []
