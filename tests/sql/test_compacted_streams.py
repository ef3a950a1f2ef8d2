"""SQL over a stream that is compacted: what is read, counted, verified and built again from the rows that are left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace


@pytest.fixture
def con(tmp_path: Path) -> Iterator[headrace.Connection]:
    with headrace.connect(tmp_path) as connection:
        yield connection


def compact(con: headrace.Connection, stream: str) -> None:
    """All rows so far are in sealed segments, and compacted."""
    for partition in con._database.folder.topic(stream).partitions:
        partition.seal()
    assert con._database.folder.maintain() == ()


def test_a_view_made_before_has_seen_all_and_one_made_later_what_is_left(
    con: headrace.Connection, tmp_path: Path
) -> None:
    con.execute("CREATE STREAM prices (item VARCHAR, cents BIGINT) PARTITIONED BY (item) WITH (cleanup = 'compact')")
    total = "SELECT count(*) AS n, sum(cents) AS cents FROM prices"
    con.execute(f"CREATE MATERIALIZED VIEW before AS {total}")
    con.execute("INSERT INTO prices VALUES ('tea', 1), ('tea', 2), ('jam', 10), ('tea', 4)")
    assert con.execute("SELECT * FROM before").fetchall() == [(4, 17)]
    compact(con, "prices")
    con.execute(f"CREATE MATERIALIZED VIEW later AS {total}")
    assert con.execute("SELECT * FROM prices ORDER BY ALL").fetchall() == [("jam", 10), ("tea", 4)]
    assert con.execute("SELECT * FROM before").fetchall() == [(4, 17)]
    assert con.execute("SELECT * FROM later").fetchall() == [(2, 14)]
    assert con.execute("SHOW STREAMS").fetchall()[0][:3] == ("prices", 1, 2)
    assert con.execute("SHOW PARTITIONS").fetchall() == [("prices", 0, 0, 4)]
    con.execute("INSERT INTO prices VALUES ('jam', 100)")
    assert con.execute("SELECT * FROM before").fetchall() == [(5, 117)]
    assert con.execute("SELECT * FROM later").fetchall() == [(3, 114)]
    con.close()
    with headrace.connect(tmp_path) as again:
        assert again.execute("SELECT * FROM before").fetchall() == [(3, 114)]
        assert again.execute("VERIFY VIEW before").fetchone()[1]


def test_late_rows_are_known_where_rows_before_them_are_gone(con: headrace.Connection) -> None:
    con.execute(
        "CREATE STREAM clicks (page VARCHAR, n BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts) "
        "PARTITIONED BY (page) WITH (cleanup = 'compact')"
    )
    con.execute(
        "CREATE MATERIALIZED VIEW tops AS SELECT window_start, max(n) AS n "
        "FROM TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start"
    )
    first = ", ".join(f"('a', {n}, '2024-05-01 10:00:0{n}')" for n in range(4))
    con.execute(f"INSERT INTO clicks VALUES {first}, ('b', 1, '2024-05-01 10:02:00')")
    con.flush()
    con.execute("INSERT INTO clicks VALUES ('late', 9, '2024-05-01 10:00:30'), ('c', 1, '2024-05-01 10:02:10')")
    con.flush()
    assert con.execute('SELECT "offset" FROM system.late_rows').fetchall() == [(5,)]
    for _ in range(2):
        assert con.execute("VERIFY").fetchall() == [("tops", True, 2, 2, 0, 0)]
        compact(con, "clicks")
    assert con.execute("SELECT count(*) FROM clicks").fetchone() == (4,)


def test_how_a_stream_is_cleaned_is_one_of_three(con: headrace.Connection) -> None:
    with pytest.raises(headrace.ProgrammingError) as caught:
        con.execute("CREATE STREAM s (k INTEGER) PARTITIONED BY (k) WITH (cleanup = 'squeeze')")
    assert "Give 'delete', 'compact' or 'compact,delete'." in str(caught.value.hint)
    con.execute("CREATE STREAM s (k INTEGER) PARTITIONED BY (k) WITH (cleanup = 'Compact,Delete', retention = '1 day')")
    assert con._database.folder.topic("s").options.cleanup == "compact,delete"
    with pytest.raises(headrace.ProgrammingError, match='cannot compact "t": it has no key'):
        con.execute("CREATE STREAM t (k INTEGER) WITH (cleanup = 'compact')")
