"""Many views over the same random rows (NULLs, duplicates, out of order, late): each equals its twin, always."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import headrace

STREAMS = """
CREATE STREAM bids (auction BIGINT, bidder INTEGER, price DECIMAL(12,2), score DOUBLE, channel VARCHAR, flag BOOLEAN,
  ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '20' SECOND) PARTITIONED BY (auction);
CREATE STREAM people (bidder INTEGER, name VARCHAR, since DATE);
"""
TUMBLE = "TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)"
HOP = "HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '12' SECOND)"
VIEWS = {
    "filtered": (
        "SELECT auction, price * 2 AS double_price, upper(channel) AS channel FROM bids WHERE price > 20 AND flag"
    ),
    "everything": "SELECT * FROM bids",
    "totals": (
        "SELECT auction, count(*) AS n, count(price) AS priced, sum(price) AS total, avg(price) AS mean, "
        "min(price) AS low, max(price) AS high FROM bids GROUP BY auction"
    ),
    "scores": (
        "SELECT channel, sum(score) AS s, avg(score) AS a, min(score) AS lo, max(channel) AS hi FROM bids "
        "GROUP BY channel"
    ),
    "whole": "SELECT count(*) AS n, sum(bidder) AS s, max(ts) AS latest, min(flag) AS f FROM bids",
    "partly": (
        "SELECT channel, flag, count(*) FILTER (WHERE price > 50) AS dear, sum(bidder) FILTER (WHERE flag) AS "
        "s FROM bids GROUP BY ALL HAVING count(*) > 1"
    ),
    "computed": (
        "SELECT auction % 3 AS m, length(channel) AS l, sum(price * bidder) AS s FROM bids WHERE ts IS NOT "
        "NULL GROUP BY 1, 2"
    ),
    "kinds": "SELECT DISTINCT channel, flag FROM bids",
    "per_window": (
        "SELECT window_start, window_end, auction, count(*) AS n, sum(price) AS total, max(score) AS top FROM "
        f"{TUMBLE} GROUP BY window_start, window_end, auction"
    ),
    "per_hop": (
        f"SELECT window_start, channel, count(*) AS n, avg(score) AS a FROM {HOP} WHERE price > 10 GROUP BY "
        "window_start, window_end, channel"
    ),
    "closed": (
        f"SELECT window_end, auction, sum(bidder) AS s FROM {TUMBLE} GROUP BY window_start, window_end, "
        "auction EMIT FINAL"
    ),
    "closed_hops": (
        f"SELECT window_start, count(*) AS n, min(price) AS low FROM {HOP} GROUP BY window_start, window_end EMIT FINAL"
    ),
    "sessions": (
        "SELECT window_start, window_end, auction, count(*) AS n, max(price) AS top FROM SESSION(TABLE bids "
        "PARTITION BY auction, DESCRIPTOR(ts), INTERVAL '4' SECOND) GROUP BY window_start, window_end, auction"
    ),
    "closed_sessions": (
        "SELECT window_end, flag, sum(bidder) AS s FROM SESSION(TABLE (SELECT * FROM bids WHERE price > 10) "
        "PARTITION BY flag, channel, DESCRIPTOR(ts), INTERVAL '7' SECOND) GROUP BY window_start, window_end, flag "
        "EMIT FINAL"
    ),
    "rows_in_sessions": (
        "SELECT window_start, auction, price FROM SESSION(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' SECOND) WHERE flag"
    ),
    "legacy_sessions": (
        "SELECT SESSION_START(ts, INTERVAL '3' SECOND) AS since, channel, count(*) AS n FROM bids WHERE flag GROUP BY "
        "SESSION(ts, INTERVAL '3' SECOND), channel"
    ),
    "cumulated": (
        "SELECT window_end, channel, count(*) AS n FROM CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, "
        "INTERVAL '20' SECOND) GROUP BY window_start, window_end, channel EMIT FINAL"
    ),
    "sessions_of_closed": (
        "SELECT window_start, sum(s) AS s FROM SESSION(TABLE (SELECT window_time AS wt, sum(bidder) AS s FROM "
        f"{TUMBLE} GROUP BY window_start, window_end, window_time), DESCRIPTOR(wt), INTERVAL '15' SECOND) "
        "GROUP BY window_start, window_end"
    ),
    "windows_of_sessions": (
        "SELECT window_start, window_end, max(n) AS longest FROM sessions GROUP BY window_start, window_end"
    ),
    "rows_in_windows": f"SELECT window_start, auction, price FROM {HOP} WHERE flag",
    "legacy": (
        "SELECT TUMBLE_START(ts, INTERVAL '1' MINUTE) AS minute, count(*) AS n FROM bids GROUP BY TUMBLE(ts, "
        "INTERVAL '1' MINUTE)"
    ),
    "of_filtered": "SELECT channel, count(*) AS n, sum(double_price) AS s FROM filtered GROUP BY channel",
    "of_totals": (
        "SELECT n, count(*) AS auctions, max(total) AS top, min(low) AS low, avg(mean) AS m FROM totals GROUP BY n"
    ),
    "of_windows": "SELECT window_start, max(n) AS busiest, sum(total) AS total FROM per_window GROUP BY window_start",
    "window_of_closed": (
        "SELECT window_start, sum(s) AS s FROM TUMBLE(TABLE (SELECT window_time AS wt, sum(bidder) AS s "
        f"FROM {TUMBLE} GROUP BY window_start, window_end, window_time), DESCRIPTOR(wt), INTERVAL '1' MINUTE) "
        "GROUP BY window_start, window_end"
    ),
    "window_of_filter": (
        "SELECT window_start, count(*) AS n FROM TUMBLE(TABLE everything, DESCRIPTOR(ts), INTERVAL '30' "
        "SECOND) GROUP BY window_start, window_end"
    ),
    "joined": (
        "SELECT b.auction, b.price, p.name FROM bids AS b JOIN people AS p ON p.bidder = b.bidder WHERE b.price > 30"
    ),
    "left_joined": "SELECT p.name, b.auction FROM people AS p LEFT JOIN bids AS b ON p.bidder = b.bidder AND b.flag",
    "full_joined": "SELECT t.auction, t.total, p.name FROM totals AS t FULL JOIN people AS p ON t.auction = p.bidder",
    "join_grouped": (
        "SELECT p.name, count(*) AS n, sum(b.price) AS s FROM bids AS b JOIN people AS p USING (bidder) GROUP BY p.name"
    ),
    "self_joined": (
        "SELECT a.auction, count(*) AS pairs FROM bids AS a JOIN bids AS b ON a.auction = b.auction AND "
        "a.price < b.price GROUP BY a.auction"
    ),
    "top": "SELECT auction, total FROM totals ORDER BY total DESC LIMIT 3",
    "top_of_group": "SELECT channel, count(*) AS n FROM bids GROUP BY channel ORDER BY n DESC, channel LIMIT 2",
    "best": (
        "SELECT auction, price, row_number() OVER (PARTITION BY auction ORDER BY price DESC, ts, bidder, "
        "score, channel, flag) AS place FROM bids QUALIFY place <= 2"
    ),
    "running": "SELECT bidder, ts, sum(price) OVER (PARTITION BY bidder ORDER BY ts, price) AS so_far FROM bids",
    "distinct_count": (
        "SELECT channel, count(DISTINCT auction) AS auctions, string_agg(DISTINCT channel) AS c FROM bids "
        "GROUP BY channel"
    ),
    "united": "SELECT auction AS x FROM bids UNION SELECT bidder FROM people",
    "united_all": "SELECT auction AS x FROM bids UNION ALL SELECT n FROM totals",
    "united_by_name": (
        "SELECT bidder, channel FROM bids UNION ALL BY NAME SELECT name, bidder::VARCHAR AS bidder FROM people"
    ),
    "intersected": "SELECT bidder FROM people INTERSECT SELECT bidder FROM bids WHERE flag",
    "intersected_all": "SELECT bidder FROM people INTERSECT ALL SELECT n FROM totals",
    "excepted_all": "SELECT bidder, flag FROM bids EXCEPT ALL SELECT n, true FROM totals",
    "used_twice": (
        "WITH c AS (SELECT channel, count(*) AS n FROM bids GROUP BY channel) "
        "SELECT n FROM c UNION ALL SELECT max(n) FROM c EXCEPT SELECT range FROM range(3)"
    ),
    "excepted": "SELECT bidder FROM people EXCEPT SELECT bidder FROM bids",
    "in_subquery": "SELECT auction, price FROM bids WHERE bidder IN (SELECT bidder FROM people)",
    "above_mean": "SELECT auction, price FROM bids WHERE price > (SELECT avg(price) FROM bids)",
    "with_cte": (
        "WITH c AS (SELECT channel, sum(price) AS s FROM bids GROUP BY channel) SELECT channel, s FROM c WHERE s > 50"
    ),
    "derived": (
        "SELECT x.m, count(*) AS n FROM (SELECT auction, max(price) AS m FROM bids GROUP BY auction) AS x GROUP BY x.m"
    ),
    "rolled_up": "SELECT channel, flag, count(*) AS n FROM bids GROUP BY ROLLUP (channel, flag)",
    "renamed(a, b)": "SELECT auction, count(*) FROM bids GROUP BY auction",
    "of_renamed": "SELECT sum(b) AS s, max(a) AS a FROM renamed",
}


def rows(chance: random.Random, count: int, second: int) -> list[tuple[object, ...]]:
    """Bids around `second`, some without a time or long ago."""

    def bid() -> tuple[object, ...]:
        at = second + chance.randrange(-15, 15) - (300 if chance.random() < 0.03 else 0)
        time = None if chance.random() < 0.03 else f"2024-01-01 {10 + at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}"
        return (
            chance.choice([None, 1, 2, 3, 4, 5, 6]),
            chance.choice([None, 1, 2, 3, 9]),
            chance.choice([None, 10, 20.5, 33.33, 50, 99.99]),
            chance.choice([None, 0.1, 0.2, -1.5, 1e9, float("inf") if chance.random() < 0.05 else 7.25]),
            chance.choice([None, "web", "app", "", "größe"]),
            chance.choice([None, True, False]),
            time,
        )

    return [bid() for _ in range(count)]


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (1, {}),
        (2, {"rows_per_epoch": 7}),
        (3, {"default_partitions": 4, "rows_per_epoch": 20}),
    ],
)
def test_every_view_equals_its_twin(tmp_path: Path, seed: int, options: dict[str, int]) -> None:
    chance = random.Random(seed)
    con = headrace.connect(tmp_path / "db", idle_timeout_s=0.0, **options)
    con.execute(STREAMS)
    names = list(VIEWS)
    for name in names[: len(names) // 2]:
        con.execute(f"CREATE MATERIALIZED VIEW {name} AS {VIEWS[name]}")
    second = 600
    for step in range(6):
        con.executemany("INSERT INTO bids VALUES (?, ?, ?, ?, ?, ?, ?)", rows(chance, chance.randrange(1, 40), second))
        people = [
            (chance.choice([1, 2, 3, 4, None]), f"name {step}", "2020-01-01") for _ in range(chance.randrange(1, 3))
        ]
        con.executemany("INSERT INTO people VALUES (?, ?, ?)", people)
        con.flush()
        second += chance.randrange(0, 60)
        if step == 2:  # the other half meets history
            for name in names[len(names) // 2 :]:
                con.execute(f"CREATE MATERIALIZED VIEW {name} AS {VIEWS[name]}")
        if step == 4:
            con.close()
            con = headrace.connect(tmp_path / "db", idle_timeout_s=0.0, **options)
        if step in (1, 3, 4, 5):
            verdicts = con.execute("VERIFY").fetchall()
            assert [verdict for verdict in verdicts if not verdict[1]] == []
    assert len(verdicts) == len(VIEWS)
    assert con.execute("SELECT count(*) FROM system.late_rows").fetchall()[0][0] > 0
    con.close()
