"""How a live query is told: as it changes or at intervals, from an epoch on, and up to one or to a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..engine.arrangement import consolidate
from ..engine.delta import Delta, concat
from ..engine.subscription import Subscription
from .as_of import AsOf

_LOOK_S = 0.05  # so often it looks whether the end has come, where no change comes

Change = tuple[int, Delta]  # the epoch, and what changes in it


@dataclass(frozen=True)
class Pace:
    """`every_us`: at most so often; `as_of`: from then on; before `until_epoch` or `until_us`: no change after.

    Units: microseconds since 1970 but for `every_us`, which is a length of time.
    """

    every_us: int | None = None
    as_of: AsOf | None = None
    until_epoch: int | None = None
    until_us: int | None = None

    @property
    def ends(self) -> bool:
        """Whether it ends by itself."""
        return self.until_epoch is not None or self.until_us is not None


@dataclass
class Paced:
    """The changes of a subscription, at a pace. `now` gives the last epoch that is done, and the engine's clock.

    With an interval what has changed by each multiple of it is told as one change, in its last epoch; the rows that a
    subscription begins with are told at once.
    """

    subscription: Subscription
    pace: Pace
    now: Callable[[], tuple[int, int]]
    _held: list[Change] = field(default_factory=list)
    _due: int = 0  # when what is held is told, on the engine's clock
    _begun: bool = False

    def begin(self) -> None:
        """What waits already are the rows to begin with; a change that comes when the end has come is not told."""
        self._begun = not self.subscription.waiting
        if self.pace.ends:
            self.subscription.stop = self._after

    def next(self, timeout_s: float | None) -> Change | None:
        """The next change to tell; None after the timeout, or at the end."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            change = self.subscription.get(self._pause(left))
            if change is not None and not self._past(change):
                if self.pace.every_us is None or not self._begun:
                    self._begun = True
                    return change
                self._hold(change)
                continue
            over = self.subscription.closed or self._over()
            told = self._told() if self._held and (over or self.now()[1] >= self._due) else None
            if told is not None or over or left == 0.0:
                return told

    def rest(self) -> Change | None:
        """What is held, before it is due; None where that is nothing."""
        return self.next(0.0) or (self._told() if self._held else None)

    def _hold(self, change: Change) -> None:
        assert self.pace.every_us is not None
        if not self._held:
            self._due = (self.now()[1] // self.pace.every_us + 1) * self.pace.every_us
        self._held.append(change)

    def _told(self) -> Change | None:
        """What is held as one change; None where nothing of it is left."""
        epoch, delta = self._held[-1][0], consolidate(concat([delta for _, delta in self._held]))
        self._held = []
        return (epoch, delta) if delta.rows else None

    def _pause(self, left: float | None) -> float | None:
        """How long to wait for a change, of the time that is left."""
        pauses = [] if left is None else [left]
        if self.pace.ends:
            pauses.append(_LOOK_S)
        if self._held:
            pauses.append(max(0.001, (self._due - self.now()[1]) / 1e6))
        return min(pauses, default=None)

    def _past(self, change: Change) -> bool:
        return self.pace.until_epoch is not None and change[0] >= self.pace.until_epoch

    def _after(self, epoch: int) -> bool:
        """Whether a change of `epoch`, which comes now, comes too late to be told."""
        pace = self.pace
        if pace.until_epoch is not None and epoch >= pace.until_epoch:
            return True
        return pace.until_us is not None and self.now()[1] >= pace.until_us

    def _over(self) -> bool:
        """Whether no change can come any more that is told."""
        if self.pace.ends and self._after(self.now()[0] + 1):
            self.subscription.close()
        return self.subscription.closed
