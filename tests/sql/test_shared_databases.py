"""Connections that are collected, and so closed, wherever Python happens to look for garbage."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import headrace


@contextmanager
def closed_by_other_threads(connections: list[headrace.Connection]) -> Iterator[None]:
    """Within the block threads other than this one close one connection each time they look for garbage: always."""
    here = threading.get_ident()

    def close(phase: str, _: dict[str, int]) -> None:
        if phase == "start" and threading.get_ident() != here and connections:
            connections.pop().close()

    before = gc.get_threshold()
    gc.callbacks.append(close)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(close)


def test_a_connection_is_collected_while_the_engine_of_another_starts(tmp_path: Path) -> None:
    for name in ("a", "b"):  # the engine's thread, before it has said that it runs, and after
        others = [headrace.connect(tmp_path / name) for name in ("x", "y", "z")]
        with closed_by_other_threads(others):
            con = headrace.connect(tmp_path / name)
            con.execute("CREATE STREAM s (a INTEGER); INSERT INTO s VALUES (1)")
            assert con.execute("SELECT * FROM s").fetchall() == [(1,)]
        for other in others:
            other.close()
        con.close()
    with headrace.connect(tmp_path / "x") as again:  # waits for whoever closes it
        assert again.execute("SELECT 1").fetchall() == [(1,)]


def test_a_connection_is_collected_by_its_own_engine(tmp_path: Path) -> None:
    closing: list[headrace.Connection] = []
    done = threading.Event()

    def clock() -> int:  # the engine asks for the time
        while closing:
            closing.pop().close()
            done.set()
        return 0

    con = headrace.connect(tmp_path / "db", clock=clock)
    con.execute("CREATE STREAM s (a INTEGER)")
    closing.append(con)
    assert done.wait(60)
    with headrace.connect(tmp_path / "db") as again:
        again.execute("INSERT INTO s VALUES (1)")
        assert again.execute("SELECT * FROM s").fetchall() == [(1,)]


def test_one_folder_opened_by_many_threads_at_once_is_opened_once(tmp_path: Path) -> None:
    found: list[headrace.Connection] = []
    threads = [threading.Thread(target=lambda: found.append(headrace.connect(tmp_path / "db"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found[0].execute("CREATE STREAM s (a INTEGER); INSERT INTO s VALUES (1)")
    assert [con.execute("SELECT count(*) FROM s").fetchall() for con in found] == [[(1,)]] * 4
    for con in found:
        con.close()
