"""The system relations: what they say is what is on disk, any SELECT reads them, and no view is kept over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace.sql.system import SYSTEM

DECLARED = """
CREATE STREAM bids (auction BIGINT, price DECIMAL(9,2), ts TIMESTAMP, WATERMARK FOR ts AS ts)
  PARTITIONED BY (auction, price) INTO 3 PARTITIONS WITH (retention = '1 day');
CREATE STREAM small (n BIGINT) WITH (segment_bytes = 1, durability = 'each');
CREATE STREAM empty (n BIGINT);
"""


@pytest.fixture
def con(tmp_path: Path) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path / "db") as connection:
        connection.execute(DECLARED)
        connection.execute(
            "INSERT INTO bids SELECT i, i / 4, '2026-01-01'::TIMESTAMP + INTERVAL (i) SECOND FROM range(100) t(i)"
        )
        for n in range(5):
            connection.execute("INSERT INTO small VALUES (?)", [n])
        yield connection


def rows(con: headrace.Connection, sql: str) -> list[tuple[Any, ...]]:
    return con.execute(sql).fetchall()


def test_topics(con: headrace.Connection) -> None:
    assert rows(con, "SELECT name, partitions, key, rows, event_time, durability FROM system.topics ORDER BY name") == [
        ("bids", 3, ["auction", "price"], 100, "ts", "group"),
        ("empty", 1, [], 0, None, "group"),
        ("small", 1, [], 5, None, "each"),
    ]
    (kept,) = rows(con, "SELECT retention_ms, cleanup, schema_version, compression FROM system.topics WHERE rows = 100")
    assert kept == (86_400_000, "delete", 0, None)
    assert rows(con, "SELECT bool_and(created BETWEEN now() - INTERVAL 1 HOUR AND now()) FROM system.topics") == [
        (True,)
    ]


def test_partitions_and_segments_agree_with_the_rows_and_the_files(con: headrace.Connection, tmp_path: Path) -> None:
    assert rows(
        con, "SELECT sum(end_offset - start_offset), sum(rows) FROM system.partitions WHERE topic = 'bids'"
    ) == [(100, 100)]
    found = rows(
        con, "SELECT file, base_offset, end_offset, rows, frames, sealed FROM system.segments WHERE topic = 'small'"
    )
    assert found == [(f"{n:020d}.arrow", n, n + 1, 1, 1, n < 4) for n in range(5)]
    sizes = dict(rows(con, "SELECT file, bytes FROM system.segments WHERE topic = 'small' AND sealed"))
    folder = tmp_path / "db" / "topics" / "small" / "p-0000"
    assert sizes == {name: (folder / name).stat().st_size for name in sizes}
    assert rows(
        con,
        """SELECT t.name, p.partition FROM system.topics t JOIN system.partitions p ON p.topic = t.name
        LEFT JOIN (SELECT topic, partition, sum(rows) AS rows, count(*) AS segments, sum(bytes) AS bytes,
                     min(first_append_time) AS first, max(last_append_time) AS last
                   FROM system.segments GROUP BY ALL) s USING (topic, partition)
        WHERE (s.rows, s.segments, s.bytes, s.first, s.last) IS DISTINCT FROM
              (p.rows, p.segments, p.bytes, p.first_append_time, p.last_append_time)""",
    ) == [("empty", 0)]
    bounds = "SELECT min(least_event_time), max(greatest_event_time) FROM system.segments WHERE topic = 'bids'"
    assert rows(con, bounds) == rows(con, "SELECT min(ts), max(ts) FROM bids")


def test_what_was_deleted_and_thinned_out_does_not_count(con: headrace.Connection, tmp_path: Path) -> None:
    con._database.folder.topic("small").delete_before(0, 2)
    assert rows(con, "SELECT start_offset, rows, segments FROM system.partitions WHERE topic = 'small'") == [(2, 3, 3)]


def test_a_reader_in_another_process_sees_the_same(con: headrace.Connection, tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db", read_only=True) as reader:
        for name in SYSTEM:
            seen, there = rows(reader, f"SELECT * FROM {name}"), rows(con, f"SELECT * FROM {name}")
            if name == "system.epochs":  # others see what is on the medium, which nobody waits for
                there = there[: len(seen)]
            assert seen == there


def test_every_system_relation_is_described_and_joins_streams(con: headrace.Connection) -> None:
    for name, system in SYSTEM.items():
        described = [column for column, *_ in rows(con, f"DESCRIBE {name}")]
        assert described == system.schema.names
        con.execute(f"CREATE VIEW seen AS SELECT * FROM {name}")
        con.execute("SELECT * FROM seen, bids LIMIT 1")
        con.execute("INSERT INTO empty SELECT count(*) FROM seen")
        con.execute("DROP VIEW seen")


@pytest.mark.parametrize("name", SYSTEM)
def test_no_view_is_kept_over_them(con: headrace.Connection, name: str) -> None:
    con.execute(f"CREATE VIEW seen AS SELECT * FROM {name}")
    con.execute("CREATE VIEW seen_again AS SELECT count(*) AS n FROM seen")
    for source in (name, "seen", "seen_again"):
        for sql in (
            f"CREATE MATERIALIZED VIEW kept AS SELECT * FROM {source}",
            f"SUBSCRIBE (SELECT count(*) AS n FROM {source})",
            f"SELECT * FROM bids, {source} EMIT CHANGES",
        ):
            with pytest.raises(headrace.NotSupportedError, match=f'over "{name}"') as error:
                con.execute(sql)
            assert "without a row being appended" in str(error.value.detail)
            assert error.value.position is not None
    for sql in (f"INSERT INTO {name} VALUES (1)", f"DROP STREAM {name}"):
        with pytest.raises(headrace.ProgrammingError) as refused:
            con.execute(sql)
        assert refused.value.hint is None


def test_a_query_that_has_stopped_says_why(con: headrace.Connection) -> None:
    con.execute(
        "CREATE MATERIALIZED VIEW halves AS SELECT n // (n - 7) AS half, (n + 9223372036854775800) AS sum FROM small"
    )
    con.execute("INSERT INTO small VALUES (8)")
    ((status, runs, reason),) = rows(con, "SELECT status, runs, reason FROM system.queries WHERE name = 'halves'")
    assert (status, runs) == ("stopped", "incremental")
    assert "verflow" in str(reason)
    assert rows(con, "EXPLAIN WHY NO OUTPUT halves")[0][0].startswith('"halves" has stopped')
