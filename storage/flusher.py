"""The flusher: one thread for a whole folder that makes durable what nobody waits for."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from .errors import Error
from .limits import LINGER_S


class Committable(Protocol):
    """What can be made durable."""

    def commit(self) -> None:
        """Returns when everything appended so far is durable."""


class Flusher:
    """Commits what was requested, each partition at most once per linger. The thread starts with the first request."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requested: set[Committable] = set()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def request(self, partition: Committable) -> None:
        """The partition will be durable soon. An error stays with the partition, whose next writer is told."""
        with self._changed:
            self._requested.add(partition)
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="headrace-flusher", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self) -> None:
        """The thread has ended; what was requested last may not have been committed."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._requested and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                requested, self._requested = self._requested, set()
            for partition in requested:
                try:
                    partition.commit()
                except Error:  # the partition keeps it and takes no more rows
                    continue
            time.sleep(LINGER_S)
