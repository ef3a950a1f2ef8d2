"""Named writers: who may number what it appends, so that a retry after a crash is not appended twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .document import load_document, save_document
from .errors import OperationalError, ProgrammingError
from .files import exists
from .frame import Mark
from .limits import WRITERS_MAX


class Writers:
    """The folder's names, each with a number and an epoch that rises whenever somebody takes up the name."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}  # of each name, held while it appends or is taken up
        self._known: dict[str, tuple[int, int]] = {}
        if exists(path):
            self._known = {name: (entry[0], entry[1]) for name, entry in load_document(path)["writers"].items()}

    def open(self, name: str) -> Mark:
        """The mark of this name from now on; whoever had it before can append no more, and is not about to."""
        with self._turn(name), self._lock:
            if name not in self._known and len(self._known) >= WRITERS_MAX:
                raise ProgrammingError(
                    f'cannot name a producer "{name}": the database has {WRITERS_MAX} already',
                    detail="Each name is remembered for ever, so that its retries are known.",
                    hint="Use one of the names that are there, or a producer without a name.",
                )
            number, epoch = self._known.get(name, (1 + max((entry[0] for entry in self._known.values()), default=0), 0))
            known = {**self._known, name: (number, epoch + 1)}
            content = {"writers": {name: list(entry) for name, entry in known.items()}}
            save_document(self._path, content, durable=self._durable)
            self._known = known
            return Mark(writer=number, epoch=epoch + 1)

    @contextmanager
    def appending(self, name: str, mark: Mark) -> Iterator[None]:
        """Within the block nobody else takes up the name.

        Raises: OperationalError if somebody has.
        """
        with self._turn(name):
            if self._known.get(name) != (mark.writer, mark.epoch):
                raise OperationalError(
                    f'could not append as "{name}": another producer has taken this name',
                    detail="Of the producers of one name only the latest may append, so that none appends twice.",
                    hint="Give each producer that runs at the same time a name of its own.",
                    sqlstate="55P03",
                )
            yield

    def _turn(self, name: str) -> threading.Lock:
        return self._turns.setdefault(name, threading.Lock())
