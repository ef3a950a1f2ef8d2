"""kill -9 while queries write streams and tables: each row is there exactly once, whatever came between."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import headrace
from headrace.storage.folder import Folder

DERIVED = ("even", "windows", "totals", "bag", "named")  # and "fourth", whose rows came from another query's log

WRITER = """
import sys
import headrace
from headrace.storage import limits

limits.CHECKPOINT_ROWS = 1
limits.CHECKPOINT_SHARE = 1e9
con = headrace.connect(sys.argv[1], idle_timeout_s=0.0, checkpoint_interval_s=0.1)
con.execute('''
CREATE STREAM IF NOT EXISTS bids
  (n BIGINT, auction BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  PARTITIONED BY (auction) INTO 2 PARTITIONS;
CREATE TABLE IF NOT EXISTS names (auction BIGINT PRIMARY KEY, name VARCHAR);
CREATE STREAM IF NOT EXISTS even AS SELECT n, auction, ts FROM bids WHERE n % 2 = 0;
CREATE STREAM IF NOT EXISTS fourth AS SELECT n FROM even WHERE n % 4 = 0;
CREATE STREAM IF NOT EXISTS windows AS SELECT window_start AS began, auction, count(*) AS n
  FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end, auction;
CREATE TABLE IF NOT EXISTS totals AS SELECT auction, count(*) AS n, sum(n) AS total FROM bids GROUP BY auction;
CREATE TABLE IF NOT EXISTS bag AS SELECT max(n) AS n FROM bids GROUP BY auction % 3;
CREATE TABLE IF NOT EXISTS named AS SELECT name, count(*) AS n FROM names GROUP BY name;
''')
start = con.execute('SELECT coalesce(max(n) + 1, 0) FROM bids').fetchone()[0]
print('ready', start, flush=True)
while True:
    numbers = range(start, start + 20)
    times = {n: f'2024-01-01 {n // 36000 % 24:02}:{n // 600 % 60:02}:{n // 10 % 60:02}' for n in numbers}
    rows = [(n, n % 7, time) for n, time in times.items()]
    con.executemany('INSERT INTO bids VALUES (?, ?, ?)', rows)
    con.execute('INSERT OR REPLACE INTO names VALUES (?, ?)', (start // 20 % 9, f'name {start // 20 % 4}'))
    start += 20
    print(start, flush=True)
"""


def test_killed_while_queries_write(tmp_path: Path) -> None:
    folder, script = tmp_path / "db", tmp_path / "writer.py"
    script.write_text(WRITER)
    chance = random.Random(3)
    acknowledged = 0
    for _ in range(5):
        process = subprocess.Popen([sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        assert ready[0] == "ready", process.stdout.read()
        assert int(ready[1]) >= acknowledged, "acknowledged rows are gone"
        for _ in range(chance.randrange(3, 25)):
            acknowledged = int(process.stdout.readline())
        process.kill()
        process.wait()
        process.stdout.close()
    for _ in range(2):  # a clean restart repeats nothing either
        with headrace.connect(folder, idle_timeout_s=0.0) as con:
            stored = con.execute("SELECT count(*) FROM bids").fetchall()[0][0]
            assert stored >= acknowledged
            assert con.execute("SELECT n FROM even ORDER BY n").fetchall() == [(n,) for n in range(0, stored, 2)]
            assert con.execute("SELECT n FROM fourth ORDER BY n").fetchall() == [(n,) for n in range(0, stored, 4)]
            twice = con.execute("SELECT began, auction FROM windows GROUP BY ALL HAVING count(*) > 1").fetchall()
            assert twice == [], "a window came out twice"
            assert con.execute("SELECT sum(n) FROM totals").fetchall() == [(stored,)]
            verdicts = con.execute("VERIFY").fetchall()
            assert len(verdicts) == 7
            assert [verdict for verdict in verdicts if verdict[1] is not True] == []
            late = con.execute("SELECT count(*) FROM system.late_rows").fetchall()
            assert late == [(0,)], "rows in order are never late"
    assert written(folder) == written(never_stopped(folder, tmp_path / "again"))


def never_stopped(folder: Path, again: Path) -> Path:
    """The same database, whose queries have written all of it in one run with the same epochs."""
    shutil.copytree(folder, again)
    shutil.rmtree(again / "checkpoints", ignore_errors=True)
    for name in (*DERIVED, "fourth", "system.progress"):
        shutil.rmtree(again / "topics" / name)
    with headrace.connect(again, idle_timeout_s=0.0) as con:
        con.flush()
        assert con.execute("SELECT 1").notices == []
    return again


def written(folder: Path) -> dict[str, list[list[dict[str, object]]]]:
    """The rows that queries have written, by partition in their order."""
    with closing(Folder.open(folder)) as opened:
        return {
            name: [
                [row for batch in partition.read_all(partition.end_offset) for row in batch.to_pylist()]
                for partition in opened.topic(name).partitions
            ]
            for name in DERIVED
        }
