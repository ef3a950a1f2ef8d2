"""Joins with the version of a time, whatever becomes of the versions: always what the twin has."""

from __future__ import annotations

import random

import pytest

import headrace

SETTING = """
CREATE STREAM orders (id INTEGER, k INTEGER, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '12' MINUTE);
CREATE STREAM changes (k INTEGER, v INTEGER, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '12' MINUTE);
CREATE TABLE present (k INTEGER PRIMARY KEY, v INTEGER, ts TIMESTAMP, WATERMARK FOR ts AS ts);
CREATE TABLE list (k INTEGER, v INTEGER, ts TIMESTAMP, PRIMARY KEY (k, ts), WATERMARK FOR ts AS ts);
CREATE VIEW latest AS SELECT k, v, ts FROM changes QUALIFY row_number() OVER (PARTITION BY k ORDER BY ts DESC) = 1;
CREATE MATERIALIZED VIEW windows AS
  SELECT k, window_time AS ts, count(*) AS v FROM TUMBLE(TABLE changes, DESCRIPTOR(ts), INTERVAL '3' MINUTE)
  GROUP BY k, window_start, window_end, window_time;
"""
VERSIONS = ("changes", "present", "list", "latest", "windows")


def some_time(chance: random.Random) -> str:
    return "NULL" if chance.random() < 0.05 else f"'2024-01-01 00:{chance.randrange(20):02}:00'"


def some_change(chance: random.Random, number: int) -> str:
    k, time = chance.randrange(3), some_time(chance)
    there = f"'2024-01-01 00:{chance.randrange(20):02}:00'"
    return chance.choice(
        [
            f"INSERT INTO orders VALUES ({number}, {k}, {time}), ({number + 100}, {chance.randrange(3)}, {there})",
            f"INSERT INTO changes VALUES ({k}, {number}, {time})",
            f"INSERT OR REPLACE INTO present VALUES ({k}, {number}, {time})",
            f"UPDATE present SET v = v + 100 WHERE k = {k}",
            f"UPDATE present SET ts = ts - INTERVAL 3 MINUTE WHERE k = {k}",
            f"DELETE FROM present WHERE k = {k}",
            f"INSERT OR REPLACE INTO list VALUES ({k}, {number}, {there})",
            f"UPDATE list SET v = v + 100 WHERE k = {k}",
            f"DELETE FROM list WHERE v % 3 = {k}",
        ]
    )


@pytest.mark.parametrize(("seed", "partitions", "rows_per_epoch"), [(3, 1, 1000), (4, 2, 1)])
def test_versions_come_out_of_order_and_go_again(seed: int, partitions: int, rows_per_epoch: int) -> None:
    chance = random.Random(seed)
    with headrace.connect(default_partitions=partitions, rows_per_epoch=rows_per_epoch) as con:
        con.execute(SETTING)
        for name in VERSIONS:
            con.execute(
                f"CREATE MATERIALIZED VIEW by_{name} AS SELECT o.id, r.v, r.ts FROM orders AS o "
                f"LEFT JOIN {name} FOR SYSTEM_TIME AS OF o.ts AS r ON o.k = r.k"
            )
        for name in ("changes", "present", "list"):
            con.execute(f"INSERT INTO {name} SELECT k, -1, TIMESTAMP '2024-01-01' FROM range(3) AS r(k)")
        con.execute(
            "INSERT INTO orders SELECT -i, i % 3, TIMESTAMP '2024-01-01' + to_minutes(i) FROM range(20) AS r(i)"
        )
        for number in range(20):
            con.execute(some_change(chance, number))
            if number % 5 == 4:
                assert [row for row in con.execute("VERIFY") if not row[1]] == []
        for name in VERSIONS:  # something was found, and at several times
            assert len(con.execute(f"SELECT DISTINCT ts FROM by_{name} WHERE v IS NOT NULL").fetchall()) > 1, name
