"""Internal consistency: money moves between accounts, and nobody who reads or listens ever sees any made or lost.

The workload is that of Jamie Brandon, "Internal consistency in streaming systems" (2021): each transfer is a debit and
a credit, so that all balances together are zero at every moment; and an outer join of the transfers with themselves
has a partner for each row at every moment.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import headrace

TRANSFERS = """
CREATE STREAM transfers (id BIGINT, source INTEGER, target INTEGER, cents BIGINT, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '15' SECOND) PARTITIONED BY (id) INTO 3 PARTITIONS;
CREATE MATERIALIZED VIEW credits AS SELECT target AS account, sum(cents) AS cents FROM transfers GROUP BY target;
CREATE MATERIALIZED VIEW debits AS SELECT source AS account, sum(cents) AS cents FROM transfers GROUP BY source;
CREATE MATERIALIZED VIEW balances AS
  SELECT coalesce(c.account, d.account) AS account, coalesce(c.cents, 0) - coalesce(d.cents, 0) AS balance
  FROM credits AS c FULL JOIN debits AS d ON c.account = d.account;
CREATE MATERIALIZED VIEW total AS SELECT sum(balance) AS total FROM balances;
CREATE MATERIALIZED VIEW total_at_once AS
  SELECT sum(cents) AS total FROM (
    SELECT target AS account, cents FROM transfers UNION ALL SELECT source, -cents FROM transfers);
CREATE MATERIALIZED VIEW partners AS
  SELECT a.id, b.id AS partner FROM transfers AS a LEFT JOIN transfers AS b ON a.id = b.id AND a.ts = b.ts;
CREATE MATERIALIZED VIEW alone AS SELECT count(*) AS n FROM partners WHERE partner IS NULL;
CREATE MATERIALIZED VIEW per_window AS
  SELECT window_start, sum(cents) AS cents FROM TUMBLE(TABLE transfers, DESCRIPTOR(ts), INTERVAL '10' SECOND)
  GROUP BY window_start, window_end;
"""


def transfers(chance: random.Random, count: int) -> Iterator[list[tuple[object, ...]]]:
    """Batches of transfers whose times are up to eight seconds out of order."""
    number = 0
    while number < count:
        size = chance.randrange(1, 40)
        rows = []
        for i in range(number, number + size):
            second = max(0, i // 10 - chance.randrange(0, 4))
            time = f"2024-01-01 00:{second // 60:02}:{second % 60:02}"
            rows.append((i, chance.randrange(8), chance.randrange(8), chance.randrange(1, 1000), time))
        chance.shuffle(rows)
        yield rows
        number += size


class Readers:
    """Threads that read the same sums over and over; `seen` has every different answer."""

    def __init__(self, path: Path, queries: dict[str, str]) -> None:
        self.seen: dict[str, set[object]] = {name: set() for name in queries}
        self.reads = 0
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, args=(path, name, query)) for name, query in queries.items()
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, path: Path, name: str, query: str) -> None:
        with headrace.connect(path, rows_per_epoch=7) as con:
            while not self._done.is_set():
                self.seen[name].add(con.execute(query).fetchall()[0])
                self.reads += 1

    def end(self) -> None:
        """Let the threads end."""
        self._done.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("seed", [1, 2])
def test_no_one_ever_sees_money_made_or_lost(tmp_path: Path, seed: int) -> None:
    con = headrace.connect(tmp_path / "bank", rows_per_epoch=7)
    con.execute(TRANSFERS)
    listeners = {name: con.execute(f"SUBSCRIBE {name}") for name in ("total", "total_at_once", "alone", "partners")}
    readers = Readers(
        tmp_path / "bank",
        {
            "balances": "SELECT sum(balance) FROM balances",
            "two views": "SELECT (SELECT sum(cents) FROM credits) - (SELECT sum(cents) FROM debits)",
            "views and log": "SELECT (SELECT sum(cents) FROM credits) - (SELECT sum(cents) FROM transfers)",
            "window and log": "SELECT (SELECT sum(cents) FROM per_window) - (SELECT sum(cents) FROM transfers)",
            "alone": "SELECT count(*) FROM partners WHERE partner IS NULL",
        },
    )
    try:
        for rows in transfers(random.Random(seed), 900):
            con.executemany("INSERT INTO transfers VALUES (?, ?, ?, ?, ?)", rows)
        con.flush()
    finally:
        readers.end()
    assert readers.reads > 20
    for name, seen in readers.seen.items():
        assert seen <= {(None,), (0,)}, name
        assert (0,) in seen, name
    for name, listener in listeners.items():
        epochs = 0
        while (changes := listener.next_changes(timeout_s=0.0)) is not None:
            epochs += 1
            if name == "partners":
                assert changes["partner"].null_count == 0
            else:
                assert set(changes[changes.schema.names[-1]].to_pylist()) <= {None, 0}, name
        assert epochs > 0, name
    verdicts = con.execute("VERIFY").fetchall()
    assert [verdict for verdict in verdicts if verdict[1] is not True] == []
    con.close()


def test_two_streams_appended_atomically_are_seen_together(tmp_path: Path) -> None:
    con = headrace.connect(tmp_path / "bank", rows_per_epoch=1 << 16)
    con.execute(
        """
        CREATE STREAM paid (account INTEGER, cents BIGINT) PARTITIONED BY (account) INTO 2 PARTITIONS;
        CREATE STREAM got (account INTEGER, cents BIGINT) PARTITIONED BY (account) INTO 2 PARTITIONS;
        CREATE MATERIALIZED VIEW difference AS
          SELECT sum(cents) AS cents FROM (SELECT cents FROM got UNION ALL SELECT -cents FROM paid);
        """
    )
    listener = con.execute("SUBSCRIBE difference")
    readers = Readers(tmp_path / "bank", {"difference": "SELECT cents FROM difference"})
    chance = random.Random(3)
    try:
        for _ in range(150):
            moves = [(chance.randrange(9), chance.randrange(1, 100)) for _ in range(chance.randrange(1, 9))]
            accounts, cents = (pa.array(column) for column in zip(*moves, strict=True))
            with con.atomic() as append:
                append("paid", pa.table({"account": accounts.cast(pa.int32()), "cents": cents}))
                append("got", pa.table({"account": accounts.cast(pa.int32()), "cents": cents}))
        con.flush()
    finally:
        readers.end()
    assert readers.seen["difference"] <= {(None,), (0,)}
    while (changes := listener.next_changes(timeout_s=0.0)) is not None:
        assert set(changes["cents"].to_pylist()) <= {None, 0}
    assert con.execute("SELECT cents FROM difference").fetchall() == [(0,)]
    con.close()
