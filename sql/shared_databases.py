"""The databases this process has open: connections to one folder share one, and the last to go closes it.

A connection may be collected, and so closed, at any allocation of any thread, among them the engine's own while it
starts. So nobody waits for anything while `_lock` is held, and a thread of ours leaves the closing to another.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .database import Database

Place = tuple[Path, bool]  # a folder, and whether it is open to read only


@dataclass(eq=False)
class Shared:
    """An open database and who uses it; in a temporary folder, which nobody else finds, its place is None."""

    database: Database
    place: Place | None
    users: set[object] = field(default_factory=set)


_lock = threading.RLock()  # reentrant: a connection may be collected while it is held
_open: dict[Place, Shared] = {}
_busy: dict[Place, threading.Event] = {}  # places that are being opened or closed, until they are not
_all: set[Shared] = set()


def acquire(place: Place | None, user: object, make: Callable[[], Database]) -> Shared:
    """The database in `place`, for `user`; made if this process has none open there."""
    if place is None:
        shared = Shared(make(), None, {user})
        _all.add(shared)
        return shared
    while True:
        with _lock:
            busy, found = _busy.get(place), _open.get(place)
            if found is not None:
                found.users.add(user)
                if _open.get(place) is found:  # and has not been closed since, by a connection collected here
                    return found
            elif busy is None:
                done = _busy[place] = threading.Event()
                break
        if busy is not None:
            busy.wait()
    try:
        shared = Shared(make(), place, {user})
        _all.add(shared)
        _open[place] = shared
        return shared
    finally:
        del _busy[place]
        done.set()


def release(shared: Shared, user: object) -> None:
    """`user` needs the database no more; the last one waits until it is closed, unless that is one of our threads."""
    done = threading.Event()
    with _lock:
        shared.users.discard(user)
        if shared.users or shared not in _all:
            return
        _all.remove(shared)
        if shared.place is not None:
            _busy[shared.place] = done
            del _open[shared.place]
    if threading.current_thread().name.startswith("headrace-"):
        threading.Thread(target=_close, args=(shared, done), name="headrace-closing").start()
    else:
        _close(shared, done)


def _close(shared: Shared, done: threading.Event) -> None:
    try:
        shared.database.close()
    finally:
        if shared.place is not None:
            del _busy[shared.place]
        done.set()


@atexit.register
def _close_all() -> None:
    """Close what a program forgot to close, so that its last rows are on disk and temporary folders gone."""
    for shared in list(_all):
        shared.database.close()
