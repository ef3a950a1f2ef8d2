"""kill -9 while a graph of views is fed: no acknowledged row is lost, and views equal their twins again."""

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
CREATE STREAM IF NOT EXISTS bids
  (auction BIGINT, price BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND)
  PARTITIONED BY (auction) INTO 2 PARTITIONS;
CREATE STREAM IF NOT EXISTS auctions (auction BIGINT, title VARCHAR);
CREATE MATERIALIZED VIEW IF NOT EXISTS totals AS SELECT auction, count(*) AS n, sum(price) AS total, max(price) AS top
  FROM bids GROUP BY auction;
CREATE MATERIALIZED VIEW IF NOT EXISTS windows AS SELECT window_start, window_end, auction, count(*) AS n
  FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end, auction;
CREATE MATERIALIZED VIEW IF NOT EXISTS rolling AS SELECT window_start, sum(price) AS total
  FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '15' SECOND) GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW IF NOT EXISTS closed AS SELECT window_start, count(*) AS n
  FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end EMIT FINAL;
CREATE MATERIALIZED VIEW IF NOT EXISTS best AS SELECT auction, total FROM totals ORDER BY total DESC LIMIT 5;
CREATE MATERIALIZED VIEW IF NOT EXISTS titled AS SELECT b.auction, a.title, b.price
  FROM bids b JOIN auctions a ON a.auction = b.auction;
''')
start = con.execute('SELECT count(*) FROM bids').fetchone()[0]
print('ready', start, flush=True)
step = start
while True:
    def bid(n):
        return n * 7 % 50, n % 1000, f'2024-01-01 00:{n // 600 % 60:02}:{n // 10 % 60:02}'
    rows = [bid(n) for n in range(step, step + 20)]
    # Every so often a row that is long late.
    rows[0] = (rows[0][0], rows[0][1], '2023-12-31 23:59:00') if step % 100 == 0 else rows[0]
    con.executemany('INSERT INTO bids VALUES (?, ?, ?)', rows)
    con.execute('INSERT INTO auctions VALUES (?, ?)', (step // 20, 'auction'))
    step += 20
    print(step, flush=True)
"""


def test_killed_while_it_runs_it_comes_back_whole(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    chance = random.Random(1)
    acknowledged = 0
    for _ in range(5):
        process = subprocess.Popen([sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        assert ready[0] == "ready", process.stdout.read()
        assert int(ready[1]) >= acknowledged, "acknowledged rows are gone"
        for _ in range(chance.randrange(5, 30)):
            acknowledged = int(process.stdout.readline())
        process.kill()
        process.wait()
        process.stdout.close()
    with headrace.connect(folder, idle_timeout_s=0.0) as con:
        stored = con.execute("SELECT count(*) FROM bids").fetchall()[0][0]
        assert acknowledged <= stored <= acknowledged + 20
        verdicts = con.execute("VERIFY").fetchall()
        assert len(verdicts) == 6
        assert [verdict for verdict in verdicts if verdict[1] is not True] == []
        assert con.execute("SELECT count(*) FROM system.late_rows").fetchall()[0][0] > 0
