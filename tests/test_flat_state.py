"""What the watermark or a state_ttl lets go leaves no state behind, however long it goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

import headrace
from headrace.sql.queries import engine_name

ROUNDS, ROWS = 48, 1_000
GRAPH = """
CREATE STREAM a (k BIGINT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts);
CREATE STREAM b (k BIGINT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts);
CREATE STREAM windowed AS SELECT window_start, window_end, k, count(*) AS n, list(v) AS every
    FROM TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '1' SECOND) GROUP BY window_start, window_end, k;
CREATE STREAM joined AS SELECT a.k, a.v, b.v AS w FROM a JOIN b
    ON a.k = b.k AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' SECOND;
CREATE STREAM sessions AS SELECT window_start, window_end, k, count(*) AS n
    FROM SESSION(TABLE b PARTITION BY k, DESCRIPTOR(ts), INTERVAL '9' MILLISECOND) GROUP BY window_start, window_end, k;
CREATE MATERIALIZED VIEW seen WITH (state_ttl = '1 second') AS SELECT v, count(*) AS n FROM a GROUP BY v;
CREATE MATERIALIZED VIEW latest WITH (state_ttl = '1 second') AS
    SELECT v, ts FROM a QUALIFY row_number() OVER (PARTITION BY v ORDER BY ts) = 1;
CREATE MATERIALIZED VIEW lonely WITH (state_ttl = '1 second') AS
    SELECT count(*) AS n, count(b.v) AS met FROM a FULL JOIN b ON a.v = b.v + 1;
CREATE MATERIALIZED VIEW rolled WITH (state_ttl = '1 second') AS
    SELECT k, v, count(*) AS n FROM a GROUP BY ROLLUP (k, v);
CREATE MATERIALIZED VIEW shared WITH (state_ttl = '1 second') AS SELECT v FROM a INTERSECT SELECT v FROM b;
CREATE MATERIALIZED VIEW alone WITH (state_ttl = '1 second') AS SELECT v FROM a EXCEPT ALL SELECT v + 7 FROM b;
CREATE MATERIALIZED VIEW nearest WITH (state_ttl = '1 second') AS
    SELECT count(*) AS n, sum(b.v) AS v FROM a ASOF JOIN b ON a.v = b.v AND a.ts >= b.ts;
CREATE MATERIALIZED VIEW priced WITH (state_ttl = '1 second') AS
    SELECT count(*) AS n, sum(b.v) AS v FROM a ASOF LEFT JOIN b ON a.k = b.k AND a.ts > b.ts;
CREATE MATERIALIZED VIEW numbered WITH (state_ttl = '1 second') AS
    SELECT sum(place) AS place, sum(n) AS n FROM (SELECT row_number() OVER (PARTITION BY v // 3 ORDER BY ts) AS place,
    count(*) OVER (PARTITION BY v // 3, k ORDER BY ts DESC) AS n FROM a);
CREATE STREAM names (v BIGINT, name VARCHAR);
INSERT INTO names VALUES (0, 'zero'), (1, 'one');
CREATE MATERIALIZED VIEW named AS SELECT /*+ STATE_TTL('a' = '1 second') */ count(*) AS n FROM a JOIN names USING (v);
CREATE MATERIALIZED VIEW met WITH (state_ttl = '1 second') AS SELECT count(*) AS n FROM a JOIN b ON a.v = b.v;
"""
WRITTEN = ("windowed", "joined", "sessions")
VIEWS = ("seen", "latest", "lonely", "rolled", "shared", "alone", "nearest", "priced", "numbered", "named", "met")


def test_state_is_as_large_after_a_long_time_as_after_a_short_one(tmp_path: Path) -> None:
    clock = 0
    with headrace.connect(tmp_path / "db", clock=lambda: clock) as con:
        con.execute(GRAPH)
        engine = con._database.engine
        kept: dict[str, list[int]] = {}
        for turn in range(ROUNDS):
            clock += 500_000  # half a second, in which each stream gets ROWS rows
            number = np.arange(turn * ROWS, (turn + 1) * ROWS)
            times = pa.array(number * 500_000 // ROWS, pa.timestamp("us"))
            for stream in ("a", "b"):
                con.append(stream, pa.table({"k": number % 400, "v": number, "ts": times}))
            con.flush()
            for name in (*map(engine_name, WRITTEN), *VIEWS):
                kept.setdefault(name, []).append(sum(node.state_bytes for node in engine.state(name).nodes))
        for name, sizes in kept.items():
            early, late = max(sizes[: ROUNDS // 4]), max(sizes[-ROUNDS // 4 :])
            assert late <= 2 * early, (name, sizes)  # arrays double; a leak would be four times as much
            assert max(sizes) > 0
