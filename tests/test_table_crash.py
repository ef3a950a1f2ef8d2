"""kill -9 while tables are changed: of every statement all of it is there afterwards, or nothing."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import headrace

WRITER = """
import sys
import headrace

con = headrace.connect(sys.argv[1])
con.execute('''
CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, euros BIGINT, step BIGINT) INTO 3 PARTITIONS;
CREATE TABLE IF NOT EXISTS log (step BIGINT, id INTEGER);
CREATE MATERIALIZED VIEW IF NOT EXISTS total AS SELECT count(*) AS n, sum(euros) AS euros FROM accounts;
''')
if not con.execute('SELECT count(*) FROM accounts').fetchone()[0]:
    con.execute('INSERT INTO accounts SELECT range, 100, 0 FROM range(12)')
step = con.execute('SELECT max(step) FROM accounts').fetchone()[0]
print('ready', step, flush=True)
while True:
    step += 1
    a, b = step % 12, (step * 5 + 1) % 12
    con.execute('UPDATE accounts SET step = $s, euros = euros + CASE id WHEN $a THEN -7 WHEN $b THEN 7 ELSE 0 END'
                ' WHERE $a <> $b OR true', {'s': step, 'a': a if a != b else -1, 'b': b if a != b else -1})
    con.execute('DELETE FROM log; INSERT INTO log SELECT step, id FROM accounts')
    print(step, flush=True)
"""


def test_killed_while_tables_change(tmp_path: Path) -> None:
    folder, script = tmp_path / "db", tmp_path / "writer.py"
    script.write_text(WRITER)
    chance = random.Random(2)
    acknowledged = 0
    for _ in range(4):
        process = subprocess.Popen([sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        assert ready[0] == "ready", process.stdout.read()
        assert int(ready[1]) >= acknowledged, "an acknowledged statement is gone"
        for _ in range(chance.randrange(3, 20)):
            acknowledged = int(process.stdout.readline())
        process.kill()
        process.wait()
        process.stdout.close()
        with headrace.connect(folder) as con:
            steps = con.execute("SELECT DISTINCT step FROM accounts").fetchall()
            assert len(steps) == 1, "half of an UPDATE"
            assert acknowledged <= steps[0][0] <= acknowledged + 1
            assert con.execute("SELECT * FROM total").fetchall() == [(12, 1200)]
            assert con.execute("SELECT count(*) FROM log").fetchone()[0] in (0, 12), "half of an INSERT or DELETE"
            assert [row[1] for row in con.execute("VERIFY").fetchall()] == [True, True, True]
