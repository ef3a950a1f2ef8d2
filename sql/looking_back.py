"""Statements about epochs that are over."""

from __future__ import annotations

from dataclasses import dataclass

from .as_of import AsOf
from .statements import Statement


@dataclass(frozen=True, kw_only=True)
class Replay(Statement):
    """REPLAY VIEW `name` FROM EPOCH `first` TO EPOCH `last`."""

    name: str
    first: AsOf
    last: AsOf
