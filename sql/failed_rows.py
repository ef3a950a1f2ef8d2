"""system.failed_rows: each row on which a query with on_error = 'skip' failed, kept as a topic of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..engine.screening import FailedRows
from ..storage.folder import Folder
from ..storage.readable import ReadableFolder
from .reported_rows import ReportedRows

Places = npt.NDArray[np.int64]
_Place = tuple[str, int]  # relation, partition


@dataclass
class _Told:
    """What has been told of one version of a query: in each log all up to an offset, and what came in this epoch.

    Of rows that are in no log, each different one.
    """

    ends: dict[_Place, int] = field(default_factory=dict)
    fresh: dict[_Place, list[Places]] = field(default_factory=dict)
    rows: set[tuple[str, str]] = field(default_factory=set)


class FailedLog(ReportedRows):
    """Which rows which query was left without; each is told once for a version of the query, also over restarts.

    A query meets the rows of a partition in their order, and fails on the same ones each time. So all are known of up
    to the last that was told, but for others of the same epoch.
    State: an offset per query and partition that had such rows; and all that failed of views and tables.
    """

    NAME = "system.failed_rows"
    SCHEMA = pa.schema(
        [
            ("view", pa.string()),
            ("source", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("reason", pa.string()),
            ("row", pa.string()),
            ("version", pa.string()),
        ]
    )

    def __init__(self, log: ReadableFolder, folder: Folder | None) -> None:
        super().__init__(log, folder)
        self.views: set[str] = set()  # that had some since the database was opened
        self._told: dict[str, _Told] = {}  # by version, of those that had such rows since the database was opened

    def reporter(self, view: str, version: str) -> Callable[[str, FailedRows], None]:
        """What a query's operators call with the rows they fail on; `version` changes with whatever fails otherwise."""

        def report(source: str, failed: FailedRows) -> None:
            told = self._told.get(version) or self._told.setdefault(version, self._known(version))
            if failed.partitions is None or failed.offsets is None:
                rows = self._json(pa.Table.from_batches([failed.batch]))
                new = _first_times(told.rows, source, rows)
                rows, where = rows.filter(pa.array(new)), [pa.nulls(int(new.sum()), pa.int64())] * 2
            else:
                new = _unknown(told, source, failed.partitions, failed.offsets)
                places = failed.partitions[new], failed.offsets[new]
                where = [pa.array(place) for place in places]
                rows = self._json(self._whole_rows(source, *places)) if new.any() else pa.nulls(0, pa.string())
            if new.any():
                reasons = pa.array(failed.reasons, pa.string()).filter(pa.array(new))
                who, what, which = (pa.repeat(pa.scalar(name), len(rows)) for name in (view, source, version))
                columns = [who, what, where[0].cast(pa.int32()), where[1], reasons, rows, which]
                self.views.add(view)
                self._report(pa.RecordBatch.from_arrays(columns, schema=self.SCHEMA))

        return report

    def count(self, view: str) -> int:
        """How many rows the view of that name was left without."""
        return int(pc.sum(pc.equal(self.rows(["view"]).column("view"), view)).as_py() or 0) if self.any else 0

    def flush(self) -> None:
        """Append what was reported in this epoch. Rows before the last of them are known from then on."""
        for told in self._told.values():
            for place, offsets in told.fresh.items():
                ends = [int(part.max()) + 1 for part in offsets if len(part)]
                told.ends[place] = max([told.ends.get(place, 0), *ends])
            told.fresh.clear()
        super().flush()

    def _known(self, version: str) -> _Told:
        """What was told of a version before the database was opened."""
        told = _Told()
        if not self.any:
            return told
        rows = self.rows(["version", "source", "partition", "offset", "row"])
        rows = rows.filter(pc.equal(rows.column("version"), version)).drop_columns(["version"])
        placed = rows.filter(pc.is_valid(rows.column("offset")))
        last = placed.group_by(["source", "partition"]).aggregate([("offset", "max")])
        for source, partition, offset in zip(*(column.to_pylist() for column in last.columns), strict=True):
            told.ends[source, partition] = offset + 1
        others = rows.filter(pc.is_null(rows.column("offset")))
        told.rows.update(zip(others.column("source").to_pylist(), others.column("row").to_pylist(), strict=True))
        return told


def _unknown(told: _Told, source: str, partitions: Places, offsets: Places) -> npt.NDArray[np.bool_]:
    """Which rows are told of for the first time; from now on all of them are known."""
    new = np.zeros(len(offsets), dtype=np.bool_)
    for partition in np.unique(partitions).tolist():
        place, mine = (source, partition), partitions == partition
        fresh = told.fresh.setdefault(place, [])
        mine &= offsets >= told.ends.get(place, 0)
        if fresh:
            mine &= ~np.isin(offsets, np.concatenate(fresh))
        fresh.append(offsets[mine])
        new |= mine
    return new


def _first_times(known: set[tuple[str, str]], source: str, rows: pa.Array) -> npt.NDArray[np.bool_]:
    """Which of these rows, in no log, are none of the `known` ones; from now on all of them are."""
    new = np.zeros(len(rows), dtype=np.bool_)
    for place, row in enumerate(rows.to_pylist()):
        new[place] = (source, row) not in known
        known.add((source, row))
    return new
