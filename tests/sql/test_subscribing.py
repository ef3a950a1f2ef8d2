"""The pace of live queries: at intervals, from an epoch on, and up to an epoch or a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import headrace

START = 1_700_000_000_000_000


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def con(clock: Clock) -> Iterator[headrace.Connection]:
    with headrace.connect(clock=clock) as con:
        con.execute("CREATE STREAM s (k VARCHAR, n INTEGER)")
        con.execute("CREATE MATERIALIZED VIEW v AS SELECT k, sum(n) AS n FROM s GROUP BY k")
        insert(con, "('a', 1)")
        yield con


def insert(con: headrace.Connection, values: str) -> None:
    con.execute(f"INSERT INTO s VALUES {values}")
    con.flush()


def test_changes_are_told_together_at_the_end_of_an_interval(con: headrace.Connection, clock: Clock) -> None:
    cursor = con.execute("SUBSCRIBE v EMIT EVERY INTERVAL '10' SECOND")
    assert [row[1:] for row in cursor.fetchmany(9, timeout=0)] == [("+I", "a", 1)]
    insert(con, "('a', 1)")
    insert(con, "('a', 5), ('b', 2), ('c', 1)")
    insert(con, "('b', 3)")
    clock.now += 9_999_999
    assert cursor.fetchmany(9, timeout=0) == []
    clock.now += 1
    told = cursor.fetchmany(9, timeout=0)
    assert sorted(row[1:] for row in told) == [("+I", "b", 5), ("+I", "c", 1), ("+U", "a", 7), ("-U", "a", 1)]
    assert len({row[0] for row in told}) == 1
    clock.now += 20_000_000
    assert cursor.fetchmany(9, timeout=0) == []


def test_what_came_and_went_within_an_interval_is_not_told(con: headrace.Connection, clock: Clock) -> None:
    con.execute("CREATE MATERIALIZED VIEW large AS SELECT k, n FROM v WHERE n > 10")
    cursor = con.execute("SELECT * FROM large EMIT EVERY INTERVAL '10' SECOND")
    insert(con, "('a', 50)")  # there were no rows to begin with: this one waits, too
    assert cursor.fetchmany(9, timeout=0) == []
    insert(con, "('a', -50)")
    clock.now += 10_000_000
    assert cursor.fetchmany(9, timeout=0) == []
    insert(con, "('a', 60)")
    assert cursor.rest_of_changes().num_rows == 1
    assert cursor.rest_of_changes() is None


def test_it_ends_before_an_epoch(con: headrace.Connection) -> None:
    epoch = con.status().epoch
    cursor = con.execute(f"SUBSCRIBE v AS OF EPOCH {epoch} UP TO EPOCH {epoch + 3} WITH (snapshot = false)")
    for _ in range(4):
        insert(con, "('a', 1)")
    assert [row for row in cursor.fetchall() if row[1] == "+U"] == [
        (epoch + 1, "+U", "a", 2),
        (epoch + 2, "+U", "a", 3),
    ]
    assert cursor.ended
    again = con.execute(f"SUBSCRIBE v AS OF EPOCH {epoch} UP TO EPOCH {epoch + 2}").fetchall()
    assert again == [(epoch, "+I", "a", 1), (epoch + 1, "-U", "a", 1), (epoch + 1, "+U", "a", 2)]
    with pytest.raises(headrace.ProgrammingError, match=f"epoch {epoch + 99} is not in the journal"):
        con.execute(f"SUBSCRIBE v AS OF EPOCH {epoch + 99}")
    assert con.execute("SUBSCRIBE v UP TO EPOCH 1").fetchall() == []


def test_it_ends_though_nothing_changes(con: headrace.Connection, clock: Clock) -> None:
    cursor = con.execute("SUBSCRIBE v UP TO TIMESTAMP '2023-11-14 22:14:00+00'")
    clock.now += 39_999_999
    insert(con, "('a', 1)")
    assert not cursor.ended
    clock.now += 1
    assert [row[1:] for row in cursor.fetchall()] == [("+I", "a", 1), ("-U", "a", 1), ("+U", "a", 2)]
    assert cursor.ended


def test_what_is_held_is_told_at_the_end(con: headrace.Connection) -> None:
    epoch = con.status().epoch
    cursor = con.execute(f"SUBSCRIBE v EMIT EVERY INTERVAL '1' DAY UP TO EPOCH {epoch + 3}")
    for _ in range(3):
        insert(con, "('a', 1)")
    assert [row[1:] for row in cursor.fetchall()] == [("+I", "a", 1), ("-U", "a", 1), ("+U", "a", 3)]


@pytest.mark.parametrize("statement", ["CREATE MATERIALIZED VIEW w AS", "CREATE TABLE w AS", "INSERT INTO s"])
def test_only_live_queries_are_told_at_intervals(con: headrace.Connection, statement: str) -> None:
    with pytest.raises(headrace.NotSupportedError, match="EMIT EVERY is for live queries"):
        con.execute(f"{statement} SELECT k, n FROM s EMIT EVERY INTERVAL '1' SECOND")
