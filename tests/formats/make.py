"""Makes the folder of the present format that the tests keep: `python -m tests.formats.make 0.1`, once a release.

Beside the folder there is what each of its relations had, as JSON lines. What a folder once was is never changed.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import headrace

HERE = Path(__file__).parent
RELATIONS = ("bids", "names", "plain", "totals", "windows", "closed", "even", "latest", "named", "kept", "compacted")
GRAPH = """
CREATE STREAM bids (n BIGINT NOT NULL, auction BIGINT, price DOUBLE DEFAULT 1.5, note VARCHAR, tags VARCHAR[],
  ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) PARTITIONED BY (auction) INTO 2 PARTITIONS;
CREATE TABLE names (auction BIGINT PRIMARY KEY, name VARCHAR);
CREATE STREAM kept (k BIGINT, v STRUCT(a BIGINT, b VARCHAR)) WITH (segment_bytes = 65536);
CREATE STREAM compacted (k BIGINT, v BIGINT) PARTITIONED BY (k) WITH (cleanup = 'compact');
CREATE VIEW plain AS SELECT auction, price FROM bids WHERE price > 2;
CREATE MATERIALIZED VIEW totals AS
  SELECT auction, count(*) AS n, sum(price) AS price, max(n) AS last, list(note ORDER BY n) AS notes
  FROM bids GROUP BY auction;
CREATE MATERIALIZED VIEW windows AS SELECT window_start, auction, count(*) AS n
  FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, auction;
CREATE STREAM closed AS SELECT window_start AS began, auction, count(*) AS n
  FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end, auction;
CREATE STREAM even AS SELECT n, auction FROM bids WHERE n % 2 = 0;
CREATE MATERIALIZED VIEW named AS SELECT b.n, a.name FROM bids AS b JOIN names AS a ON a.auction = b.auction;
CREATE TABLE latest AS SELECT auction, max(n) AS n FROM bids GROUP BY auction;
COMMENT ON STREAM bids IS 'what is offered';
"""


def feed(con: headrace.Connection, start: int, end: int) -> None:
    """Rows `start` to `end` of each stream, some late, and changes of the table."""
    con.execute(
        f"""INSERT INTO bids SELECT n, n % 4, n / 8, 'note ' || n, ['a', NULL], TIMESTAMP '2024-01-01' + to_seconds(n)
        FROM range({start}, {end}) AS t (n)"""
    )
    con.execute(f"INSERT INTO bids (n, auction, ts) VALUES ({end}, 1, TIMESTAMP '2023-12-31')")
    con.execute(f"INSERT OR REPLACE INTO names VALUES ({start % 4}, 'name {start}'), (7, 'gone')")
    con.execute("DELETE FROM names WHERE auction = 7")
    con.execute(f"INSERT INTO kept (k, v) VALUES ({start}, {{'a': {start}, 'b': NULL}})")
    con.execute(f"INSERT INTO compacted VALUES (1, {start}), (2, {end})")


def content(con: headrace.Connection) -> dict[str, list[str]]:
    """The rows of each relation, each as JSON, in order; of streams in the order in which they came."""
    con.flush()
    return {
        name: sorted(row for (row,) in con.execute(f"SELECT to_json(r)::VARCHAR FROM {name} AS r").fetchall())
        for name in RELATIONS
    }


def make(folder: Path) -> None:
    """The folder, and beside it what is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    database = folder / "db"
    with headrace.connect(database, checkpoint_interval_s=0, idle_timeout_s=0.0) as con:
        con.execute(GRAPH)
        for start in range(0, 90, 30):
            feed(con, start, start + 30)
            con.flush()
            con.execute("CHECKPOINT")
        con.execute("ALTER STREAM kept ADD COLUMN more VARCHAR DEFAULT 'none'")
        con.execute("ALTER MATERIALIZED VIEW totals RENAME TO sums")
        con.execute("ALTER MATERIALIZED VIEW sums RENAME TO totals")
    with headrace.connect(database, checkpoint_interval_s=0, idle_timeout_s=0.0) as con:
        feed(con, 90, 120)
        text = json.dumps(content(con), indent=0)
    for lock in database.rglob("LOCK"):
        lock.unlink()
    (folder / "content.json").write_text(text + "\n")


if __name__ == "__main__":
    make(HERE / sys.argv[1])
