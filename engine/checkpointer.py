"""The checkpointer: a thread that takes checkpoints now and then, and writes them while epochs go on."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..storage import limits
from ..storage.checkpoints import Checkpoint, Checkpoints
from ..storage.errors import Error
from ..storage.memory import no_memory
from .checkpoint import Found, reads_of
from .epochs import Epochs
from .runtime import Engine


@dataclass(frozen=True)
class Taken:
    """One checkpoint. Units: bytes and seconds; `at` microseconds since 1970; epochs waited for `pause_s`."""

    epoch: int
    at: int
    bytes_written: int
    bytes_total: int
    duration_s: float
    pause_s: float
    reason: str


class Checkpointer:
    """Takes a checkpoint every `interval_s` while rows come fast, less often while they do not, and at the end.

    `settle` returns once all that the epochs so far have written beside the log is durable; `found` is there already.
    State: what is known of the last `_REMEMBERED` checkpoints.
    """

    _REMEMBERED = 1000

    def __init__(
        self,
        engine: Engine,
        store: Checkpoints,
        epochs: Epochs,
        settle: Callable[[], None],
        interval_s: float,
        found: Found | None,
    ) -> None:
        self._engine = engine
        self._store = store
        self._epochs = epochs
        self._settle = settle
        self._interval_s = interval_s
        self._one = threading.Lock()  # at a time
        self._end = threading.Event()
        self._rows, self._epoch = engine.rows, engine.epoch  # at the last checkpoint
        self._content: Mapping[str, Any] | None = None
        self._reads = deque[dict[str, list[int]]](maxlen=limits.CHECKPOINTS_KEPT)  # how far they had read
        if found is not None:
            self._reads.append(found.read)
        self._due_s = 0.0  # when the next may come, on the monotonic clock
        self._at_s = time.monotonic()
        self.taken: list[Taken] = []
        self.failure: Error | None = None  # of the last attempt
        self._thread = threading.Thread(target=self._run, name="headrace-checkpoints", daemon=True)

    def start(self) -> None:
        """From now on; with an interval of 0 only when somebody asks."""
        if self._interval_s > 0:
            self._thread.start()

    def take(self, reason: str) -> Taken | None:
        """A checkpoint now; None if nothing has happened since the last one.

        Raises: OperationalError where the disk refuses; queries go on, and the checkpoints before stay.
        """
        with self._one, self._engine.memory.apart():
            begun = time.monotonic()
            capture = self._engine.capture()
            if capture is None:
                return None
            pause_s = time.monotonic() - begun
            rows, epoch = self._engine.rows, int(capture.content["epoch"])
            if capture.content == self._content:
                return None
            self._settle()
            self._epochs.settle()
            checkpoint = self._store.save(capture.content, capture.tables(), capture.same)
            with self._engine.still():
                self._engine.recorder.saved(capture, checkpoint)
            self._content, self._rows, self._epoch = capture.content, rows, epoch
            self._reads.append(reads_of(capture.content))
            self._epochs.checkpointed(time.time_ns() // 1000)
            return self._took(checkpoint, epoch, begun, pause_s, reason)

    def keep(self) -> None:
        """A checkpoint now if a view has what a log alone would not give again; not if none come by themselves."""
        if self._interval_s > 0 and self._engine.recorder.wanted:
            self._try("new view")

    def needed(self, stream: str) -> list[int]:
        """By partition, from where on the rows of a stream have to stay, to go on and to begin again.

        Those stay that no epoch has taken, and while checkpoints are taken by themselves, those since the oldest of the
        ones that are kept. Where none can be taken, for want of room perhaps, nothing waits for the next.
        Raises: KeyError, or an Error, where the engine does not run over that stream.
        """
        positions = self._engine.read([], [stream]).streams[stream]
        if self._interval_s <= 0 or self.failure is not None:
            return positions
        for read in list(self._reads) or [{}]:
            known = read.get(stream, [0] * len(positions))
            positions = [min(at, other) for at, other in zip(positions, known, strict=True)]
        return positions

    def secure(self) -> None:
        """A checkpoint now, before rows are deleted that the last one would need; not if none come by themselves."""
        if self._interval_s > 0:
            self._try("deletion")

    def close(self) -> None:
        """Stop, and take a last one where to open the database again would take long without."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        rows, epochs = self._engine.rows - self._rows, self._engine.epoch - self._epoch
        if self._interval_s > 0 and (rows >= limits.CLOSING_ROWS or epochs >= limits.CLOSING_EPOCHS):
            self._try("closing")

    def _took(self, checkpoint: Checkpoint, epoch: int, begun: float, pause_s: float, reason: str) -> Taken:
        now = time.monotonic()
        duration_s = now - begun
        at = time.time_ns() // 1000
        taken = Taken(epoch, at, checkpoint.written, checkpoint.bytes, duration_s, pause_s, reason)
        self.taken = [*self.taken[1 - self._REMEMBERED :], taken]
        self._at_s, self._due_s = now, now + max(self._interval_s, duration_s / limits.CHECKPOINT_SHARE)
        return taken

    def _run(self) -> None:
        while not self._end.wait(min(1.0, self._interval_s)):
            rows, epoch, now = self._engine.rows, self._engine.epoch, time.monotonic()
            waited = now - self._at_s >= limits.CHECKPOINT_REST_S and epoch > self._epoch
            many = rows - self._rows >= limits.CHECKPOINT_ROWS or epoch - self._epoch >= limits.CHECKPOINT_EPOCHS
            if now >= self._due_s and (waited or many):
                self._try("interval")
            elif now - self._at_s >= min(1.0, self._interval_s):
                self.keep()

    def _try(self, reason: str) -> None:
        try:
            self.take(reason)
            self.failure = None
        except (Error, MemoryError) as error:
            self.failure = error if isinstance(error, Error) else no_memory("take a checkpoint", error)
            self._due_s = time.monotonic() + limits.CHECKPOINT_REST_S
