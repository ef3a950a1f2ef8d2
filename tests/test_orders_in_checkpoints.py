"""Joins go on in the orders that a checkpoint has of their rows, and make them anew only where these do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headrace
from headrace.engine import key_index
from headrace.engine.checkpoint import Found
from headrace.engine.join_side import JoinSide
from headrace.engine.operators.asof_join import AsofJoin
from headrace.engine.versions import Versions

GRAPH = """
CREATE STREAM a (k BIGINT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1' HOUR);
CREATE STREAM b (k BIGINT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1' HOUR);
CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT);
CREATE MATERIALIZED VIEW latest AS SELECT a.k, a.v, b.v AS w FROM a ASOF LEFT JOIN b ON a.k = b.k AND a.ts >= b.ts;
CREATE MATERIALIZED VIEW of_all AS SELECT a.v, b.v AS w FROM a ASOF JOIN b ON a.ts > b.ts;
CREATE MATERIALIZED VIEW near AS SELECT a.k, a.v, b.v AS w FROM a LEFT JOIN b
    ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '20 minutes' AND a.ts + INTERVAL '20 minutes';
CREATE MATERIALIZED VIEW between_two AS SELECT a.v, b.v AS w FROM a JOIN b ON a.v BETWEEN b.v AND b.v + 3;
CREATE MATERIALIZED VIEW beside AS SELECT a.v, t.v AS w FROM a LEFT JOIN t ON a.k = t.k;
"""


def rows(random: np.random.Generator, hour: int) -> pa.Table:
    """Two hundred of one hour, some of them late by less than an hour."""
    times = (hour * 3600 + random.integers(-1800, 3600, 200)) * 1_000_000
    values = random.integers(0, 5000, 200)
    return pa.table({"k": values % 20, "v": values, "ts": pa.array(times).cast(pa.timestamp("us"))})


def fill(con: headrace.Connection, random: np.random.Generator, hours: range) -> None:
    for hour in hours:
        con.append("a", rows(random, hour))
        con.append("b", rows(random, hour))
        con.execute("INSERT OR REPLACE INTO t VALUES (?, ?), (?, ?)", (hour % 20, hour, (hour + 7) % 20, -hour))
        con.execute("DELETE FROM t WHERE k = ?", ((hour + 3) % 20,))
        con.flush()


def verified(con: headrace.Connection) -> None:
    assert [row for row in con.execute("VERIFY").fetchall() if row[1] is not True] == []


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database that was closed with all orders in its checkpoint."""
    monkeypatch.setattr(key_index, "STORED_KEYS", 1)
    with headrace.connect(tmp_path / "db", checkpoint_interval_s=0) as con:
        con.execute(GRAPH)
        fill(con, np.random.default_rng(1), range(4, 10))
        con.execute("CHECKPOINT")
    return tmp_path / "db"


def counted(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, calls: list[str]) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    def call(*arguments: Any) -> Any:
        calls.append(f"{owner.__name__}.{name}")
        return original(*arguments)

    monkeypatch.setattr(owner, name, call)


MADE_ANEW = ((JoinSide, "_note_all"), (AsofJoin, "_place_left"), (Versions, "_number"))


def test_nothing_is_sorted_again_and_all_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    with monkeypatch.context() as patch:
        for owner, name in MADE_ANEW:
            counted(patch, owner, name, calls)
        with headrace.connect(path, checkpoint_interval_s=0) as con:
            con.flush()
            assert con.status().rows == 0, "it did not begin with the checkpoint"
            assert calls == []
    with headrace.connect(path, checkpoint_interval_s=0) as con:
        verified(con)
        fill(con, np.random.default_rng(2), range(9, 13))
        verified(con)
        con.execute("CHECKPOINT")
    with headrace.connect(path, checkpoint_interval_s=0) as con:
        fill(con, np.random.default_rng(3), range(12, 15))
        verified(con)


CHANGED = {"due": "due", "order": "value", "versions": "time"}  # a table, and a column in it


@pytest.mark.parametrize("what", [*CHANGED, "left order"])
def test_orders_that_do_not_go_with_the_rows_are_made_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    found: list[str] = []
    tables_of = Found._tables

    def other(self: Found, number: int, entry: str = "") -> Any:
        tables = dict(tables_of(self, number, entry))
        for name in [name for name in tables if name.rpartition("/")[2] == what]:
            if what not in CHANGED:
                tables[name] = tables[name].slice(1)
            elif (column := CHANGED[what]) in tables[name].column_names:
                place = tables[name].column_names.index(column)
                changed = pa.array(tables[name][column].to_numpy() + 1)
                tables[name] = tables[name].set_column(place, column, changed)
            else:
                continue
            found.append(name)
        return tables

    monkeypatch.setattr(Found, "_tables", other)
    calls: list[str] = []
    for owner, name in MADE_ANEW:
        counted(monkeypatch, owner, name, calls)
    with headrace.connect(path, checkpoint_interval_s=0) as con:
        con.flush()
        assert found, "there is no such table"
        assert calls, "what does not go with the rows was taken"
        fill(con, np.random.default_rng(2), range(9, 13))
        verified(con)
