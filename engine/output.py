"""An output: where the changes of a continuous query go that writes instead of keeping, and how far it has come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from .delta import Delta, concat
from .operator import NO_WATERMARK


@dataclass(frozen=True)
class Progress:
    """What a query had taken in when it wrote last: end offsets and watermark by stream, and the clock of that epoch.

    Units: microseconds since 1970.
    """

    positions: Mapping[str, list[int]]
    watermarks: Mapping[str, int]
    clock: int

    def covers(self, other: Progress) -> bool:
        """Whether the query had come as far as `other` by then."""
        return (
            other.clock <= self.clock
            and all(mark <= self.watermarks.get(name, NO_WATERMARK) for name, mark in other.watermarks.items())
            and all(
                end <= reached
                for name, ends in other.positions.items()
                for end, reached in zip(ends, self.positions.get(name, [0] * len(ends)), strict=True)
            )
        )


class Output(ABC):
    """Takes the changes of a view and writes them after each epoch, together with the progress they stand for.

    After a restart the view reads its streams from their start again. Up to `done`, the progress that was written
    last, its changes are those that are written already, and nothing is put here.
    State: the changes of one epoch.
    """

    def __init__(self, target: str, done: Progress | None) -> None:
        self.target = target
        self.done = done
        self.ends: list[int] = []  # of the target's partitions, once something was written
        self._pending: list[Delta] = []

    def put(self, change: Delta) -> None:
        """Take a change of this epoch."""
        if self.done is None:
            self._pending.append(change)

    def go_beyond(self, progress: Progress) -> None:
        """From here on what is put is new, if this is further than what was written."""
        if self.done is not None and not self.done.covers(progress):
            self.done = None

    def flush(self, progress: Progress) -> None:
        """Write what was put, if there is anything; all of it and the progress, or nothing."""
        if self._pending:
            pending, self._pending = self._pending, []
            self.write(concat([Delta(change.batch, change.weights) for change in pending]), progress)

    @abstractmethod
    def write(self, change: Delta, progress: Progress) -> None:
        """Append the change and the progress in one step, and remember `ends`."""
