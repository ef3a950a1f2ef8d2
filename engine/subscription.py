"""A subscription: the changes of one view, epoch by epoch, to whoever asks for them from any thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from ..storage import limits
from ..storage.errors import Error, OperationalError
from .delta import Delta


class Subscription:
    """A bounded queue of (epoch, delta), oldest first; the first delta is the view's rows when it began."""

    def __init__(self, on_close: Callable[[Subscription], None]) -> None:
        self._first: deque[tuple[int, Delta]] = deque()  # what comes before the queue
        self._queue: deque[tuple[int, Delta]] = deque()
        self._ready = threading.Condition()
        self._on_close = on_close
        self._error: Error | None = None
        self.closed = False
        self.stop: Callable[[int], bool] | None = None  # says of an epoch whether it comes too late to be told

    @property
    def waiting(self) -> int:
        """How many epochs' changes wait to be read."""
        return len(self._first) + len(self._queue)

    def put(self, epoch: int, delta: Delta) -> None:
        """Called by the engine; a subscriber that is too far behind is told so instead of slowing everybody."""
        with self._ready:
            if self.closed or self._error is not None:
                return
            if self.stop is not None and self.stop(epoch):
                self.closed = True
                self._ready.notify_all()
                return
            if len(self._queue) >= limits.SUBSCRIPTION_EPOCHS_MAX:
                self._error = OperationalError(
                    "the subscription fell too far behind",
                    detail=f"{limits.SUBSCRIPTION_EPOCHS_MAX} epochs of changes were waiting to be read.",
                    hint="Read the changes more often, or subscribe again: it begins with the rows as they are then.",
                )
            else:
                self._queue.append((epoch, delta))
            self._ready.notify_all()

    def begin_with(self, changes: Iterable[tuple[int, Delta]]) -> None:
        """These come first, however many; nothing was put so far."""
        with self._ready:
            self._first.extend(changes)
            self._ready.notify_all()

    def fail(self, error: Error) -> None:
        """The view has stopped; what is queued can still be read, then `error` is raised."""
        with self._ready:
            self._error = error
            self._ready.notify_all()

    def get(self, timeout_s: float | None) -> tuple[int, Delta] | None:
        """The next epoch's changes; None after `timeout_s` seconds without any, or once closed."""
        with self._ready:
            self._ready.wait_for(lambda: self.waiting or self.closed or self._error is not None, timeout_s)
            if self.waiting:
                return (self._first or self._queue).popleft()
            if self._error is not None and not self.closed:
                raise self._error
            return None

    def end(self) -> None:
        """Called by the engine as it stops: whoever waits gets None."""
        with self._ready:
            self.closed = True
            self._ready.notify_all()

    def close(self) -> None:
        """End it; from any thread, more than once without harm."""
        if not self.closed:
            self.end()
            self._on_close(self)
