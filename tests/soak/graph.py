"""What the soak runs: streams whose rows follow from their numbers, and queries whose results can be told from them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

import headrace

KEYS, TOP, WINDOW, REACH = 97, 3, 10_000, 1000  # a row is a millisecond after the one before it
OUT_OF_ORDER = 20_000  # rows, which are more than an epoch has
START_US = 1_767_225_600_000_000
DERIVED = ("closed", "matched", "turnover", "tenths")

STREAMS = """
CREATE STREAM events (n BIGINT, k BIGINT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  PARTITIONED BY (k) INTO 2 PARTITIONS{0};
CREATE STREAM marks (n BIGINT, k BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND){0};
"""
QUERIES = """
CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS c, sum(v) AS s, max(n) AS last FROM events GROUP BY k;
CREATE MATERIALIZED VIEW spread AS SELECT k % 5 AS g, stddev(v) AS d, count(DISTINCT v) AS different FROM events
  GROUP BY g;
CREATE MATERIALIZED VIEW latest AS
  SELECT k, n FROM events QUALIFY row_number() OVER (PARTITION BY k ORDER BY n DESC) <= 3;
CREATE MATERIALIZED VIEW paired AS
  SELECT t.k, t.c, l.n FROM totals AS t JOIN (SELECT k, max(n) AS n FROM latest GROUP BY k) AS l ON t.k = l.k;
CREATE MATERIALIZED VIEW windows AS
  SELECT window_start AS began, k % 3 AS g, count(*) AS c
  FROM TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND)
  GROUP BY window_start, window_end, g EMIT FINAL;
CREATE STREAM closed{0} AS
  SELECT window_start AS began, k % 3 AS g, count(*) AS c
  FROM TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND)
  GROUP BY window_start, window_end, g;
CREATE STREAM matched{0} AS
  SELECT m.n AS mark, e.n AS n FROM marks AS m JOIN events AS e ON m.k = e.k
  AND e.ts BETWEEN m.ts AND m.ts + INTERVAL '1' SECOND;
CREATE TABLE turnover{1} AS SELECT k % 7 AS g, count(*) AS c, sum(v) AS s FROM events
  GROUP BY g;
CREATE STREAM tenths{0} AS SELECT n, v FROM events WHERE n % 10 = 0;
"""
COMPARED = """
CREATE STREAM bands (low BIGINT, high BIGINT);
INSERT INTO bands SELECT n * 5000, n * 7000 + 9000 FROM range(40) AS b(n);
CREATE MATERIALIZED VIEW banded AS
  SELECT b.low, count(*) AS c, sum(m.n) AS s FROM marks AS m JOIN bands AS b ON m.n BETWEEN b.low AND b.high
  GROUP BY b.low;
CREATE MATERIALIZED VIEW nearest AS
  SELECT m.k % 5 AS g, count(*) AS c, count(e.n) AS found, sum(m.n - e.n) AS away
  FROM marks AS m ASOF LEFT JOIN events AS e ON m.k % 5 = e.k AND m.n > e.n GROUP BY g;
CREATE MATERIALIZED VIEW following AS
  SELECT m.n, e.n AS next FROM marks AS m ASOF JOIN tenths AS e ON m.n < e.n WHERE m.k = 3;
CREATE MATERIALIZED VIEW running AS
  SELECT n, sum(n) OVER w AS s, lag(n) OVER w AS before, row_number() OVER w AS place FROM marks WHERE k < 20
  WINDOW w AS (PARTITION BY k ORDER BY n);
CREATE MATERIALIZED VIEW lonely AS
  SELECT m.k % 5 AS g, count(*) AS c, count(t.n) AS found, sum(t.v) AS s
  FROM marks AS m LEFT JOIN tenths AS t ON m.n = t.n + 50 GROUP BY g;
CREATE MATERIALIZED VIEW unmatched AS SELECT n FROM tenths WHERE n NOT IN (SELECT n + 30 FROM marks WHERE k > 5);
CREATE MATERIALIZED VIEW rolled AS
  SELECT k % 3 AS g, v % 2 AS odd, count(*) AS c, median(v) AS middle FROM events GROUP BY ROLLUP (g, odd);
CREATE MATERIALIZED VIEW others AS SELECT n % 5000 AS n FROM tenths EXCEPT SELECT n + 7 FROM marks WHERE n % 3 = 0;
CREATE MATERIALIZED VIEW sides AS
  SELECT t.g, t.c, m.last FROM turnover AS t
  LEFT JOIN (SELECT k % 7 AS g, max(n) AS last FROM marks GROUP BY g) AS m USING (g)
"""
Numbers = npt.NDArray[np.int64]


def create(con: headrace.Connection, out: Path, *, bounded: bool) -> None:
    """The streams and all that reads them; `bounded`: streams keep what came lately, and windows only go to streams.

    What is only COMPARED with twins is there where these can be told, so if it is not bounded.
    """
    options = " WITH (retention_bytes = '4 MB', segment_bytes = '1 MB')" if bounded else ""
    con.execute(STREAMS.format(options))
    table = " WITH (segment_bytes = '1 MB')" if bounded else ""  # it is compacted from then on, and not at 64 MB
    queries = QUERIES.format(options, table) + ("" if bounded else COMPARED)
    for statement in queries.split(";\n"):
        name = " ".join(statement.split()[:4])
        if statement.strip() and not (bounded and name.startswith("CREATE MATERIALIZED VIEW windows")):
            con.execute(statement)
    con.execute(f"COPY (SELECT n FROM events WHERE n % 100 = 0) TO '{out}' (ROLLOVER_INTERVAL '1 second') EMIT CHANGES")


def append(con: headrace.Connection, start: int, rows: int) -> None:
    """The next rows of both streams and all partitions, which are there together once this returns, or not at all."""
    n = np.arange(start, start + rows)
    marks = n[n % 10 == 0]
    with con.atomic() as append:
        append("marks", pa.table({"n": marks, "k": marks % KEYS, "ts": times(marks)}))
        append("events", pa.table({"n": n, "k": n % KEYS, "v": n % 1000, "ts": times(n)}))


def times(n: Numbers) -> pa.Array:
    """When the rows of these numbers happened."""
    return pa.array(START_US + n * 1000).cast(pa.timestamp("us"))


def written(con: headrace.Connection) -> int:
    """How many events there were so far, those that retention has deleted among them."""
    found = con.execute("SELECT max(n) + 1 FROM events").fetchone()
    return int((found or (0,))[0] or 0)


def check_all(con: headrace.Connection, out: Path) -> int:
    """Compare everything with what follows from the number of rows; that number."""
    con.flush()
    rows = written(con)
    n = np.arange(rows)
    fetch = lambda sql: con.execute(sql).fetchall()  # noqa: E731
    expect(
        "totals",
        fetch("SELECT k, c, s, last FROM totals"),
        [
            (k, len(own), int((own % 1000).sum()), int(own.max()))
            for k in range(min(KEYS, rows))
            for own in [n[k::KEYS]]
        ],
    )
    last = [(k, int(m)) for k in range(min(KEYS, rows)) for m in n[k::KEYS][-TOP:]]
    expect("latest", fetch("SELECT k, n FROM latest"), last)
    expect(
        "paired",
        fetch("SELECT k, c, n FROM paired"),
        [(k, len(own), int(own.max())) for k in range(min(KEYS, rows)) for own in [n[k::KEYS]]],
    )
    g = n % KEYS % 7
    expect(
        "turnover",
        fetch("SELECT g, c, s FROM turnover"),
        [(x, int((g == x).sum()), int((n[g == x] % 1000).sum())) for x in sorted(set(g.tolist()))],
    )
    check_windows(fetch("SELECT epoch_us(began), g, c FROM closed"), rows)
    check_pairs(con, rows)
    check_stretch("tenths", [x for (x,) in fetch("SELECT n FROM tenths")], 10, rows, whole=False)
    check_stretch("files", files(out), 100, rows, whole=True)
    return rows


def check_windows(found: list[tuple[int, int, int]], rows: int) -> None:
    """Each closed window is there once for each of its groups, from the first that is kept on."""
    firsts = sorted({(began - START_US) // 1000 for began, _, _ in found})
    assert firsts == list(range(firsts[0], firsts[-1] + 1, WINDOW)) if firsts else True, f"closed: a gap in {firsts}"
    expected = []
    for first in firsts:
        groups = Counter((np.arange(first, first + WINDOW) % KEYS % 3).tolist())
        expected += [(START_US + first * 1000, g, c) for g, c in groups.items()]
    first_kept = START_US + firsts[0] * 1000 if firsts else 0
    whole = [row for row in expected if row[0] > first_kept]
    expect("closed", [row for row in found if row[0] > first_kept], whole)
    due = (rows - 1 - 2 * REACH) // WINDOW * WINDOW - WINDOW
    assert not firsts or firsts[-1] >= due, f"closed: the last window is {firsts[-1]}, and {due} is over"
    assert due < 0 or firsts, "closed: no window"


def check_pairs(con: headrace.Connection, rows: int) -> None:
    """Each mark beside the events of its key in the second after it, each pair once."""
    found = con.execute(
        "SELECT mark, count(*), count(DISTINCT n), min(n), max(n) FROM matched GROUP BY mark"
    ).fetchall()
    if not found:
        assert rows < 10, "matched: nothing"
        return
    first, steps = min(mark for mark, *_ in found), REACH // KEYS
    settled = range(first + 2 * REACH + 10, rows - 2 * REACH, 10)
    expected = [(m, steps + 1, steps + 1, m, m + steps * KEYS) for m in settled]
    expect("matched", [row for row in found if row[0] in settled], expected)
    assert all(every == different for _, every, different, *_ in found), "matched: a pair twice"


def files(out: Path) -> list[int]:
    """The numbers that files hold."""
    if not list(out.rglob("part-*.parquet")):
        return []
    with duckdb.connect() as connection:
        return [n for (n,) in connection.sql(f"SELECT n FROM read_parquet('{out}/**/*.parquet')").fetchall()]


def check_stretch(name: str, found: list[int], step: int, rows: int, *, whole: bool) -> None:
    """Every `step`th number once: from 0 on, as far as files are, if `whole`, else from the first that is kept on.

    Rows of one epoch come in any order, so that of the last ones some may not be in a file yet.
    """
    numbers = sorted(found)
    assert whole or rows < step or numbers, f"{name}: nothing"
    if not numbers:
        return
    end = numbers[-1] - OUT_OF_ORDER if whole else rows
    expect(name, [(n,) for n in numbers if n < end], [(n,) for n in range(0 if whole else numbers[0], end, step)])
    assert len(set(numbers)) == len(numbers), f"{name}: a number twice"


def expect(name: str, found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    """Raise AssertionError unless both are the same rows, each as often."""
    more, less = Counter(found) - Counter(expected), Counter(expected) - Counter(found)
    if more or less:
        raise AssertionError(f"{name}: too much {list(more.items())[:3]}, too little {list(less.items())[:3]}")
