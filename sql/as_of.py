"""AS OF: an epoch that is over, or the last one by a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..storage.errors import Position


@dataclass(frozen=True)
class AsOf:
    """AS OF EPOCH `epoch`, or AS OF TIMESTAMP `time`, as written."""

    position: Position = field(compare=False)
    epoch: int | None = None
    time: str | None = None
