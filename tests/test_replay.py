"""REPLAY: every epoch of every view, run again, is what it was; and a difference is found."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import headrace
from headrace.engine.delta import Delta
from headrace.engine.operators.map import Map
from tests.fuzz.scenario import Check, Failure, Figures, Run
from tests.fuzz.shrinking import story
from tests.fuzz.writing import scenario
from tests.test_checkpoints import GRAPH, insert


class Replaying(Run):
    """A scenario at whose end all views are replayed from the epoch on in which they began."""

    replayed, _left = 0, 0

    def _check(self) -> Failure | None:
        failure = super()._check()
        self._left -= 1
        con = self._connection
        for name in self._views if failure is None and not self._left else ():
            with suppress(headrace.NotSupportedError):  # of a view that has just begun
                cursor = con.execute(f"REPLAY VIEW {name} FROM EPOCH 1 TO EPOCH {con.status().epoch}")
                if cursor.tag != "REPLAY":
                    return Failure("not what it was", name, f"{cursor.notices}\n{cursor.fetchall()}")
                self.replayed += sum(row[4] is True for row in cursor.fetchall())
        return failure


@pytest.mark.parametrize("seed", [301, 303])
def test_every_epoch_is_what_it_was(seed: int, tmp_path: Path) -> None:
    made = scenario(seed, views=4, depth=1)
    made = replace(made, options={**made.options, "epoch_digests": True})
    run = Replaying(made, tmp_path, Figures())
    run._left = sum(isinstance(step, Check) for step in made.steps)
    failure = run.go()
    assert failure is None, f"{failure}\n{story(made)}"
    assert run.replayed > 0


def test_from_a_checkpoint_and_after_a_restart(tmp_path: Path) -> None:
    with headrace.connect(tmp_path / "db", epoch_digests=True) as con:
        con.execute(GRAPH)
        for start in range(0, 100, 20):
            insert(con, start, 20)
            con.flush()
            if start == 40:
                con.execute("CHECKPOINT")
        last = con.status().epoch
    with headrace.connect(tmp_path / "db", epoch_digests=True) as con:
        insert(con, 100, 20)
        con.flush()
        for first, end in ((1, last), (last - 1, con.status().epoch)):
            for name in ("totals", "windows", "named", "dear", "closed", "last", "auctions"):
                cursor = con.execute(f"REPLAY VIEW {name} FROM EPOCH {first} TO EPOCH {end}")
                (verdict,) = cursor.notices
                assert cursor.tag == "REPLAY"
                assert "is what it was, row for row, in the same order" in verdict, verdict
                assert all(row[4] and row[5] for row in cursor.fetchall())


def test_a_difference_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with headrace.connect(epoch_digests=True) as con:
        con.execute("CREATE STREAM s (n BIGINT); CREATE MATERIALIZED VIEW v AS SELECT n + 1 AS m FROM s WHERE n > 0")
        epochs = []
        for n in range(3):
            con.append("s", pa.table({"n": [n + 1, n + 2, -1]}))
            con.flush()
            epochs.append(con.status().epoch)
        right = Map.process

        def wrong(self: Map, delta: Delta, port: int = 0) -> Delta | None:
            """Turns the rows round in the second epoch, and loses one in the third."""
            made = right(self, delta, port)
            first = made.batch.column(0)[0].as_py() if made is not None else None
            return made.take([[0, 1], [1, 0], [0]][first - 2]) if made is not None else None  # type: ignore[arg-type]

        monkeypatch.setattr(Map, "process", wrong)
        cursor = con.execute(f"REPLAY VIEW v FROM EPOCH {epochs[0]} TO EPOCH {epochs[2]}")
        assert cursor.tag == "REPLAY FAILED"
        assert [(row[0], row[1], row[4], row[5]) for row in cursor.fetchall()] == [
            (epochs[0], 2, True, True),
            (epochs[1], 2, True, False),
            (epochs[2], 1, False, False),
        ]
        assert f"not as in epoch {epochs[2]}" in cursor.notices[0]
        cursor = con.execute(f"REPLAY VIEW v FROM EPOCH {epochs[0]} TO EPOCH {epochs[1]}")
        assert "though in 1 epochs in another order" in cursor.notices[0]


def test_without_digests_nobody_can_tell() -> None:
    with headrace.connect() as con:
        con.execute(
            "CREATE STREAM s (n BIGINT); CREATE MATERIALIZED VIEW v AS SELECT n FROM s; INSERT INTO s VALUES (1)"
        )
        con.flush()
        cursor = con.execute(f"REPLAY VIEW v FROM EPOCH 1 TO EPOCH {con.status().epoch}")
        assert [row[4] for row in cursor.fetchall()] == [None]
        assert "cannot be compared" in cursor.notices[0]
        with pytest.raises(headrace.ProgrammingError, match='cannot replay "s"'):
            con.execute("REPLAY STREAM s FROM EPOCH 1 TO EPOCH 1")


def test_a_version_that_was_not_there_cannot_be_replayed(tmp_path: Path) -> None:
    with headrace.connect(tmp_path) as con:
        con.execute("CREATE STREAM s (n BIGINT)")
        con.execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c FROM s")
        con.execute("INSERT INTO s VALUES (1)")
        con.flush()
        before = con.status().epoch
        con.execute("CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT count(*) AS c, sum(n) AS t FROM s")
        con.execute("INSERT INTO s VALUES (2)")
        con.flush()
        with pytest.raises(headrace.OperationalError) as error:
            con.execute(f"REPLAY VIEW v FROM EPOCH 1 TO EPOCH {before}")
        assert "it is there from epoch" in (error.value.detail or "")
