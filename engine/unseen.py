"""Deltas that nobody needs the effect of yet: kept as they came, to be taken in together."""

from __future__ import annotations

from collections.abc import Iterable

from .delta import Delta, concat

_ROWS_MAX = 1 << 16
_DELTAS_MAX = 256


class Unseen:
    """What came since the last `take`: ten rows cost as much to take in as a thousand do.

    State: the columns `names` of up to 65,536 rows, and one delta more.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._deltas: list[Delta] = []
        self._rows = 0

    def add(self, delta: Delta) -> bool:
        """Keep `delta`; True when it is time for `take`."""
        names = [name for name in delta.batch.schema.names if name in self._names]
        batch = delta.batch.select(names or delta.batch.schema.names[:1])  # without a column there are no rows
        self._deltas.append(Delta(batch, delta.weights, delta.closed))
        self._rows += delta.rows
        return self._rows >= _ROWS_MAX or len(self._deltas) >= _DELTAS_MAX

    def take(self) -> Delta | None:
        """All deltas as one, forgotten here; None if there are none."""
        if not self._deltas:
            return None
        deltas, self._deltas, self._rows = self._deltas, [], 0
        return concat(deltas)

    @property
    def bytes(self) -> int:
        """Memory kept alive, as if nobody else held it. Units: bytes."""
        return sum(int(delta.batch.nbytes) for delta in self._deltas)
