"""A whole database dies at any call of the disk: every view equals its twin, and every derived row is there once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import headrace
from headrace.storage import limits
from headrace.storage.files import faults
from tests.storage.disk_recording import SECTOR_BYTES, Loss, Recording, write_image
from tests.storage.sweep import Sweep, quick_folder
from tests.test_checkpoints import GRAPH, insert

SKIPPING = "CREATE STREAM small WITH (on_error = 'skip') AS SELECT n, CAST(n % 11 * 16 AS TINYINT) AS x FROM bids"
LOSSES = (Loss(1.0), Loss(0.0), Loss(0.5), Loss(0.9, SECTOR_BYTES))


def record(root: Path) -> tuple[Recording, list[tuple[int, int]]]:
    """A life of a database with checkpoints and restarts, and how many rows it had acknowledged by which call."""
    recording, acknowledged, rows = Recording(root), [(0, 0)], 0
    with faults(recording):
        for life in range(3):
            con = headrace.connect(root / "db", idle_timeout_s=0.0, checkpoint_interval_s=0)
            if life == 0:
                con.execute(GRAPH + SKIPPING)
            for _ in range(3):
                insert(con, rows, 30)
                rows += 30
                acknowledged.append((recording.calls, rows))
                con.flush()
                con.execute("CHECKPOINT")
                con.execute("DELETE FROM auctions WHERE auction = 2")
            insert(con, rows, 10)
            rows += 10
            acknowledged.append((recording.calls, rows))
            con.close()
    recording.finish()
    return recording, acknowledged


def check(root: Path, least: int) -> None:
    """What must hold of the database whenever it is opened."""
    with headrace.connect(root / "db", idle_timeout_s=0.0, checkpoint_interval_s=0) as con:
        if con.execute("SELECT count(*) FROM system.topics WHERE name = 'small'").fetchall() != [(1,)]:
            assert least == 0, "acknowledged rows are gone"
            return
        con.flush()
        (stored,) = con.execute("SELECT count(*) FROM bids").fetchall()[0]
        assert stored >= least, "acknowledged rows are gone"
        numbers = con.execute("SELECT n FROM bids ORDER BY n").fetchall()
        assert numbers == [(n,) for n in range(stored)], "a row is missing or twice"
        verdicts = con.execute("VERIFY").fetchall()
        assert [verdict for verdict in verdicts if verdict[1] is not True] == []
        twice = con.execute("SELECT began, auction FROM closed GROUP BY ALL HAVING count(*) > 1").fetchall()
        assert twice == [], "a window came out twice"
        small = con.execute("SELECT n FROM small ORDER BY n").fetchall()
        assert small == [(n,) for n in range(stored) if n % 11 < 8], "a row is not there, or twice"
        failed = con.execute("SELECT CAST(row->>'$.n' AS BIGINT) FROM system.failed_rows ORDER BY 1").fetchall()
        assert failed == [(n,) for n in range(stored) if n % 11 >= 8], "a row that fails was told twice, or not at all"


def test_the_process_or_the_power_is_gone_after_any_call(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JOURNAL_STATE_BYTES", 1)
    monkeypatch.setattr(limits, "CHECKPOINT_TABLE_BYTES", 400)
    every, number, tried = sweep.every(211), 0, 0
    with quick_folder() as root, quick_folder() as image:
        recording, acknowledged = record(root)
        for call, disk in recording.replay():
            least = max(rows for calls, rows in acknowledged if calls <= call)
            for loss in LOSSES:
                number += 1
                if number % every:
                    continue
                write_image(disk.after(loss, random.Random(call)), image)
                try:
                    check(image, least)
                except BaseException as error:
                    error.add_note(f"after call {call}, {recording.operations[call - 1]}, with {loss}")
                    raise
                tried += 1
    sweep.count("images of a whole database, after a crash or a power failure", tried, least=10)
