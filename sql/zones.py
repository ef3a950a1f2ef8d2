"""Time zones, asked of DuckDB: what its functions say about clocks, the windows of the engine say too."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from ..engine.calendar import CYCLE_US, DAY_US, Zone
from ..storage.errors import Position, ProgrammingError
from .types import connect

_FIRST_DAY = -47_482  # 1840-01-01, before the first zone; until then it is as it was then
_END = 193_588 * DAY_US  # 2500-01-16: later than any change that is not by a rule
Numbers = npt.NDArray[np.int64]


def zone(name: str, position: Position | None = None) -> Zone:
    """The time zone of that name, such as Europe/Berlin.

    Raises: ProgrammingError if there is none.
    """
    known = _names().get(name.lower())
    if known is None:
        near = [other for other in _names().values() if name.lower() in other.lower()]
        raise ProgrammingError(
            f"there is no time zone '{name}'",
            hint=f"Do you mean '{min(near, key=len)}'?" if near and name else "Write it as 'Europe/Berlin'.",
            position=position,
        )
    return _zone(known)


@cache
def _names() -> dict[str, str]:
    rows = connect().sql("SELECT name FROM pg_timezone_names()").fetchall()
    return {str(name).lower(): str(name) for (name,) in rows}


@cache
def _zone(name: str) -> Zone:
    """Which days the clocks are changed on, and then the microsecond, by halving."""
    assert _END > CYCLE_US
    days = np.arange(_FIRST_DAY, _END // DAY_US + 1) * DAY_US
    offsets = _offsets(name, days)
    changed = np.flatnonzero(np.diff(offsets))
    before, after = days[changed], days[changed + 1]
    old = offsets[changed]
    while np.any(after - before > 1):
        middle = (before + after) // 2
        same = _offsets(name, middle) == old
        before, after = np.where(same, middle, before), np.where(same, after, middle)
    starts = np.concatenate([np.array([-(1 << 62)]), after])
    return Zone(name, starts, np.concatenate([offsets[:1], _offsets(name, after)]), _END)


def _offsets(name: str, times: Numbers) -> Numbers:
    """How far the clocks are ahead of UTC at each time. Units: microseconds."""
    connection = connect()
    connection.register("moments", {"moment": times})
    local = "epoch_us(timezone($zone, make_timestamptz(moment)))"
    found = connection.execute(f"SELECT {local} - moment AS ahead FROM moments", {"zone": name}).fetchnumpy()
    return np.asarray(found["ahead"], np.int64)
