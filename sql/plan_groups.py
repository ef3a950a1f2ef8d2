"""The plan's nodes whose rows fall into groups: aggregates of all kinds, and what multiplies rows for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..engine.aggregates import AggregateCall
from ..engine.windows import Window
from .relations import Column
from .time_to_live import Said

if TYPE_CHECKING:
    from .plan import Plan


@dataclass(frozen=True)
class WindowAggregate:
    """Per window and group, the aggregates of its rows; final: once, when the watermark closes the window.

    Where `window` is Given the rows come with their window, `time` is the column that says its end, and one of `keys`.
    """

    input: Plan
    window: Window
    time: str
    keys: tuple[str, ...]
    calls: tuple[AggregateCall, ...]
    columns: tuple[Column, ...]
    final: bool
    lateness: int


@dataclass(frozen=True)
class Expand:
    """Each row once per grouping set: its columns, the `keys` where NULL is what the set has not, the set's number."""

    input: Plan
    keys: tuple[str, ...]
    sets: tuple[frozenset[int], ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Aggregate:
    """Per group, the aggregates of its rows so far, updated as rows come and go.

    With `ttl_us` a group goes when it has been idle for so long, as a hint `said` or the query does; `silent`: it is
    forgotten, and not retracted.
    """

    input: Plan
    keys: tuple[str, ...]
    calls: tuple[AggregateCall, ...]
    columns: tuple[Column, ...]
    ttl_us: int | None = None
    silent: bool = False
    said: Said | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class GroupingSets:
    """An aggregate for each of the `sets` of columns `by` of the input, which they name by place.

    A group's `keys` are these, NULL where they are not in the set, then the set's number. The group of a set without
    columns is there even without rows. With `ttl_us` any other goes as in Aggregate.
    """

    input: Plan
    by: tuple[str, ...]
    sets: tuple[frozenset[int], ...]
    keys: tuple[str, ...]
    calls: tuple[AggregateCall, ...]
    columns: tuple[Column, ...]
    ttl_us: int | None = None
    said: Said | None = field(default=None, compare=False, repr=False)
