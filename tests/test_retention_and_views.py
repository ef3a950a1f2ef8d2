"""Retention leaves what the queries need to begin again, also after a crash: nothing that was counted is forgotten."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headrace
from tests.storage.sweep import quick_folder

OPTIONS = "WITH (segment_bytes = '64 KB', retention_bytes = '128 KB')"
STREAM = f"CREATE STREAM s (k BIGINT, v BIGINT) INTO 2 PARTITIONS {OPTIONS}"


def append(con: headrace.Connection, start: int, rows: int) -> None:
    for first in range(start, start + rows, 1000):
        numbers = np.arange(first, first + 1000)
        con.append("s", pa.table({"k": numbers % 7, "v": numbers}), wait=False)
    con.flush()


def starts(con: headrace.Connection) -> list[int]:
    return [partition.start_offset for partition in con._database.folder.topic("s").partitions]


def after_a_crash(root: Path, image: Path) -> list[tuple[int, int]]:
    """What the view has in a database that is opened as it is on disk now."""
    shutil.rmtree(image, ignore_errors=True)
    shutil.copytree(root, image)
    with headrace.connect(image, checkpoint_interval_s=0) as con:
        con.flush()
        (found,) = con.execute("SELECT n, total FROM v").fetchall()
        copied = con.execute("SELECT count(*), sum(v) FROM copied").fetchall()
    return [found, *copied]


def test_what_was_counted_is_counted_after_a_crash() -> None:
    with quick_folder() as root, headrace.connect(root / "db", checkpoint_interval_s=1e6) as con:
        con.execute(STREAM)
        con.execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(v) AS total FROM s")
        con.execute("CREATE STREAM copied AS SELECT v FROM s WHERE v % 10 = 0")
        rows = 0
        for turn in range(4):
            append(con, rows, 20_000)
            rows += 20_000
            con._database.folder.maintain()
            every = np.arange(rows)
            expected = [(rows, int(every.sum())), (rows // 10, int(every[::10].sum()))]
            assert after_a_crash(root / "db", root / "image") == expected
            con.execute("CHECKPOINT")
            con._database.folder.maintain()
            assert 0 < max(starts(con)) <= (rows - 20_000 * min(turn, 1)) // 2, "they wait for both checkpoints"
            assert after_a_crash(root / "db", root / "image") == expected
        assert min(starts(con)) > 20_000
        append(con, rows, 1000)
        rows += 1000
        (notice,) = con.execute(f"DELETE FROM s BEFORE OFFSET {rows // 2 - 5} PARTITION 0").notices
        assert "still counts what was deleted" in notice
        every = np.arange(rows)
        expected = [(rows, int(every.sum())), (rows // 10, int(every[::10].sum()))]
        assert after_a_crash(root / "db", root / "image") == expected


@pytest.mark.parametrize("reader", ["", "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s"])
def test_without_readers_and_without_checkpoints_rows_go_once_they_are_read(reader: str) -> None:
    with headrace.connect() as con:
        con.execute(STREAM + ";" + reader)
        append(con, 0, 20_000)
        con._database.folder.maintain()
        assert min(starts(con)) > 0
        if reader:
            assert con.execute("FROM v").fetchall() == [(20_000,)]


def test_rows_that_no_view_has_taken_stay() -> None:
    """A source that is faster than the engine loses nothing, though the log becomes larger than it should."""
    with headrace.connect() as con:
        con.execute(STREAM)
        con.execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s")
        with con._database.engine.still():
            for first in range(0, 30_000, 1000):
                con.append("s", pa.table({"k": np.arange(first, first + 1000), "v": np.arange(1000)}), wait=False)
            con._database.folder.topic("s").sync()
            con._database.folder.maintain()
            assert starts(con) == [0, 0]
        con.flush()
        con._database.folder.maintain()
        assert min(starts(con)) > 0
        assert con.execute("FROM v").fetchall() == [(30_000,)]
