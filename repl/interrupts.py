"""Interruptions: Ctrl-C, the end of --timeout and the system's wish to end, each kept apart from errors."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TimedOut(KeyboardInterrupt):
    """The time given by --timeout is over."""


class Terminated(KeyboardInterrupt):
    """The system asks the process to end."""


SIGNALS: dict[int, type[KeyboardInterrupt]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGALRM: TimedOut,
}
arrived: list[KeyboardInterrupt] = []


def listen() -> None:
    """From now on the process's signals arrive as exceptions, in the main thread."""
    for number in SIGNALS:
        signal.signal(number, arrive)


def arrive(number: int, frame: FrameType | None) -> None:
    """Handles a signal."""
    interruption = SIGNALS[number]()
    arrived.append(interruption)
    raise interruption


@contextmanager
def kept_apart() -> Iterator[None]:
    """Lets an interruption that arrived in the body out as itself, whatever a library under it made of it.

    DuckDB turns what arrives inside one of its calls into an error of its own, sometimes with another meaning.
    """
    arrived.clear()
    try:
        yield
    except Exception as error:
        if arrived:
            raise arrived[-1] from error
        raise
