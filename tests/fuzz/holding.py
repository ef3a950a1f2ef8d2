"""A checkpoint that is held up between its moment and the snapshots it consists of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from unittest.mock import patch

import pyarrow as pa

import headrace
from headrace.engine import slot_array
from headrace.engine.checkpoint import Capture


class Held:
    """A checkpoint of the moment when this is made; its tables are made from `end` on."""

    def __init__(self, connection: headrace.Connection) -> None:
        self._captured, self._free = threading.Event(), threading.Event()
        tables = Capture.tables

        def later(capture: Capture) -> Iterator[tuple[str, pa.Buffer]]:
            self._captured.set()
            self._free.wait()
            return tables(capture)

        self._patches = [patch.object(Capture, "tables", later), patch.object(slot_array, "_COPIED_AT_ONCE", 0)]
        for each in self._patches:
            each.start()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._take, args=[connection])
        self._thread.start()
        self._captured.wait()

    def _take(self, connection: headrace.Connection) -> None:
        try:
            connection._database.checkpointer.take("fuzz")
        except Exception as error:
            self._error = error
        finally:
            self._captured.set()  # or there was nothing to capture

    def end(self) -> None:
        """Let it be written. Raises: what it raised."""
        self._free.set()
        self._thread.join()
        for each in self._patches:
            each.stop()
        if self._error is not None:
            raise self._error
