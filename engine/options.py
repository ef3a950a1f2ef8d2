"""How an engine runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..storage import limits


def wall_clock() -> int:
    """The present time, in microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass(frozen=True)
class Options:
    """How the engine runs. Units: seconds; `clock` gives microseconds since 1970."""

    rows_per_epoch: int = limits.ROWS_PER_EPOCH
    idle_timeout_s: float = limits.IDLE_TIMEOUT_S
    future_guard_s: float = limits.FUTURE_GUARD_S
    clock: Callable[[], int] = wall_clock
    epoch_digests: bool = False  # the journal has one of what each epoch changed in each view
