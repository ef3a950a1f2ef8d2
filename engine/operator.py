"""What every operator is: four methods over deltas, and for some a fifth that shows the result they hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .delta import Delta

NO_WATERMARK = int(np.iinfo(np.int64).min)  # nothing has been seen yet
END_OF_TIME = int(np.iinfo(np.int64).max)  # nothing more can come

Snapshot = Mapping[str, pa.Table]


@dataclass(frozen=True)
class Time:
    """What an operator may know of time. Units: microseconds since 1970-01-01 UTC; `epoch` counts from 1."""

    epoch: int
    clock: int
    watermark: int = NO_WATERMARK


class Operator(ABC):
    """A function of (state, deltas, time). Reads no clock, no file, no random number.

    In each epoch that concerns it, the dataflow calls `expire` if it is time for that, `process` once per port that has
    news and then `advance` once; what they return together is the operator's output of the epoch.
    `emits` is False while nobody needs the changelog (a view that is only read): such an operator keeps its state
    and may return None; the dataflow sets it True between two epochs, never within one.
    `journalled` says that its state depends on nothing but what went in, and that nothing outside learns what it does:
    so what went in may stand for the state. It does not depend on how rows were cut into epochs either, unless it is
    `dated`: it does not forget when rows came, by the clock of their epochs.
    `shows_cuts` says that what it puts out, all together, does depend on how rows were cut into epochs.
    `oldest` is the time of what is due to go next, or a moment before: an event time, or the clock at which it was
    touched last where it goes by that; None where nothing does.
    `wake` is when, on the engine's clock, `advance` has something to do though no row comes; None if it has not.
    """

    schema: pa.Schema
    emits: bool = True
    wake: int | None = None
    journalled: bool = True
    dated: bool = False
    shows_cuts: bool = False

    def expire(self, time: Time) -> Delta | None:
        """At the start of an epoch, if `wake` has come: the change of the output as what was idle for too long goes."""
        return None

    @abstractmethod
    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        """The change of the output, given a change of the input at `port`."""

    def advance(self, time: Time) -> Delta | None:
        """The change of the output now that all input of the epoch is in and event time has come to `time`."""
        return None

    def snapshot(self) -> Snapshot:
        """All state as named Arrow tables, which do not change later; empty for a stateless operator."""
        return {}

    def restore(self, snapshot: Snapshot) -> None:
        """Become the operator that `snapshot` was taken of."""
        assert not snapshot, "a stateless operator has nothing to restore"

    @property
    def kept(self) -> int | None:
        """How many rows or groups the state has; None where it is about something else, or nothing."""
        return None

    @property
    def oldest(self) -> int | None:
        return None

    @property
    def bytes(self) -> int:
        """Memory that the state takes. Units: bytes."""
        return 0


class ResultHolder(Operator):
    """An operator whose state already is its result, so that a view above it need not keep the rows again.

    `whole` says that it always has all of them, not only where a view is read from it.
    """

    whole: bool = True

    @abstractmethod
    def rows(self) -> pa.Table:
        """All rows of the result at the end of the last epoch, each as often as it occurs. Does not change later."""
