"""Screening: which rows of a batch an expression fails on, so that the others can go on without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage import limits
from ..storage.errors import Error, OperationalError
from .delta import Delta, places
from .expression import Projection


@dataclass(frozen=True)
class FailedRows:
    """Rows on which an expression failed. Shape: one value per row in each array and in `reasons`.

    `partitions` and `offsets` say where they are in the log; None where they come from no log, but from a view or a
    table: then `batch` has what the query reads of them.
    """

    partitions: npt.NDArray[np.int64] | None
    offsets: npt.NDArray[np.int64] | None
    batch: pa.RecordBatch
    reasons: list[str]


@dataclass(frozen=True)
class Screen:
    """Lets pass the rows of a delta on which nothing fails, and reports the others.

    `sound` gives, of the rows that are asked about, whether no expression fails on them, and `whole` what is computed
    of those. Whether a row passes depends on it alone: when it is retracted it is stopped again, and so never missed.
    `likely` (None: there is no such thing) is what `sound` mostly is, told much faster. `others`, if there, picks the
    rows on which nothing fails that is computed of them elsewhere; then it is asked before anything is computed.
    State: none.
    """

    likely: Projection | None
    sound: Projection
    whole: Projection
    report: Callable[[FailedRows], None]
    others: Projection | None = None

    def first(self, delta: Delta) -> Delta:
        """What is left of the delta where something else may fail on its rows, too."""
        if self.others is None:
            return delta
        sound, rows = _told(self.sound, delta.batch)
        if not sound.all():
            self._tell(delta, np.sort(rows[~sound]))
        passing = np.zeros(delta.rows, dtype=np.bool_)
        passing[rows[sound]] = True
        _, others = _told(self.others, delta.batch)
        passing[np.setdiff1d(np.arange(delta.rows), others)] = False
        return delta.keep(passing)

    def passing(self, delta: Delta, error: Exception, *, thorough: bool = False) -> Delta:
        """What is left of the delta: all on which nothing fails but what is likely sound, and if `thorough` nothing.

        Raises: `error`, which it failed with, if that is no fault of a row.
        """
        if not isinstance(error, Error) or isinstance(error, OperationalError):
            raise error
        thorough = thorough or self.likely is None
        passing = np.zeros(delta.rows, dtype=np.bool_)
        suspects = np.arange(delta.rows)
        if self.likely is not None and not thorough:
            try:
                likely, rows = _told(self.likely, delta.batch)
            except Error:  # what is cast fails itself
                return self.passing(delta, error, thorough=True)
            passing[rows[likely]] = True
            suspects = np.sort(rows[~likely])
        sound, rows = _told(self.sound, delta.batch.take(pa.array(suspects)))
        passing[suspects[rows[sound]]] = True
        if passing.all():
            if thorough:
                raise error
            return self.passing(delta, error, thorough=True)
        if not sound.all():
            self._tell(delta, np.sort(suspects[rows[~sound]]))
        return delta.keep(passing)

    def _tell(self, delta: Delta, failed: npt.NDArray[np.int64]) -> None:
        partitions, offsets = (None, None) if delta.origin is None else places(delta)
        if partitions is not None and offsets is not None:
            partitions, offsets = partitions[failed], offsets[failed]
        elif delta.weights is not None:
            failed = failed[delta.weights[failed] > 0]  # what goes has been told of when it came
        batch = delta.batch.take(pa.array(failed))
        reasons = [self._reason(batch.slice(place, 1)) for place in range(min(len(failed), limits.FAILURES_EXPLAINED))]
        reasons += ["an expression fails on it"] * (len(failed) - len(reasons))
        self.report(FailedRows(partitions, offsets, batch, reasons))

    def _reason(self, row: pa.RecordBatch) -> str:
        """What the computation says to a row on its own."""
        try:
            self.whole.run(row)
        except Error as error:
            return error.headline
        return "an expression fails on it"


def _told(projection: Projection, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """What a projection to one truth value says, of which rows."""
    told, rows = projection.run(batch)
    return told.column(0).to_numpy(zero_copy_only=False), rows
