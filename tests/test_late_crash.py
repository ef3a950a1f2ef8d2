"""kill -9 while rows are late, and others fail: each is told exactly once, or counts in its window."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import headrace

WRITER = """
import sys
import headrace

con = headrace.connect(sys.argv[1], idle_timeout_s=0.0)
con.execute('''
CREATE STREAM IF NOT EXISTS clicks (n BIGINT, ts TIMESTAMP, word VARCHAR, WATERMARK FOR ts AS ts) INTO 2 PARTITIONS;
CREATE STREAM IF NOT EXISTS too_late (n BIGINT, ts TIMESTAMP);
CREATE MATERIALIZED VIEW IF NOT EXISTS windows AS
  SELECT window_start, count(*) AS n FROM TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND)
  GROUP BY window_start EMIT CHANGES LATE TO too_late;
CREATE STREAM IF NOT EXISTS parsed WITH (on_error = 'skip') AS SELECT n, CAST(word AS BIGINT) AS number FROM clicks;
''')
start = con.execute('SELECT coalesce(max(n) + 1, 0) FROM clicks').fetchone()[0]
print('ready', start, flush=True)
while True:
    rows = []
    for n in range(start, start + 10):
        at = 36_000 + n - (60 if n % 5 == 0 else 0)
        time = f'2024-01-{1 + at // 86_400:02} {at // 3600 % 24:02}:{at // 60 % 60:02}:{at % 60:02}'
        rows.append((n, time, 'no' if n % 7 == 0 else str(n)))
    con.executemany('INSERT INTO clicks VALUES (?, ?, ?)', rows)
    start += 10
    print(start, flush=True)
"""


def test_killed_while_rows_are_late(tmp_path: Path) -> None:
    folder, script = tmp_path / "db", tmp_path / "writer.py"
    script.write_text(WRITER)
    chance = random.Random(5)
    for _ in range(5):
        process = subprocess.Popen([sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready")
        for _ in range(chance.randrange(5, 25)):
            process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
    for _ in range(2):  # a clean restart repeats nothing either
        with headrace.connect(folder, idle_timeout_s=0.0) as con:
            (stored,) = con.execute("SELECT count(*) FROM clicks").fetchall()[0]
            late = [n for (n,) in con.execute("SELECT n FROM too_late ORDER BY n").fetchall()]
            assert len(late) > 10, "nothing was late"
            assert len(set(late)) == len(late), "a late row came twice"
            recorded = con.execute("SELECT CAST(row->>'$.n' AS BIGINT) FROM system.late_rows ORDER BY 1").fetchall()
            assert [n for (n,) in recorded] == late, "what is recorded as late and what was sent differ"
            (counted,) = con.execute("SELECT sum(n) FROM windows").fetchall()[0]
            assert counted + len(late) == stored, "a row neither counts nor is late, or both"
            failed = con.execute(
                "SELECT CAST(row->>'$.n' AS BIGINT) FROM system.failed_rows WHERE view = 'parsed' ORDER BY 1"
            ).fetchall()
            bad = con.execute("SELECT n FROM clicks WHERE word = 'no' ORDER BY n").fetchall()
            assert failed == bad, "a row that fails was told twice, or not at all"
            assert failed, "nothing failed"
            good = con.execute("SELECT n, CAST(word AS BIGINT) FROM clicks WHERE word <> 'no' ORDER BY n").fetchall()
            assert con.execute("SELECT n, number FROM parsed ORDER BY n").fetchall() == good
            assert [verdict for verdict in con.execute("VERIFY").fetchall() if verdict[1] is not True] == []
