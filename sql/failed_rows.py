"""system.failed_rows: each row on which a query with on_error = 'skip' failed, kept as a topic of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..engine.screening import FailedRows
from ..storage.folder import Folder
from ..storage.readable import ReadableFolder
from . import plan as p
from .dialect import twin_sql
from .fingerprint import fingerprint
from .plan import Plan
from .reported_rows import ReportedRows
from .skipping import screening

Places = npt.NDArray[np.int64]


def versions_of(view_id: int, plan: Plan) -> dict[str, str]:
    """For each relation that the query skips rows of, another text for each way to fail on them.

    So a query that is altered in other respects tells of no row again.
    """
    ways: dict[str, set[str]] = {}
    for node in p.nodes(plan):
        if isinstance(node, p.SkippingMap):
            late = node.input if isinstance(node.input, p.Late) else None
            behind = "" if late is None else f"{late.window} {late.time} {late.lateness}"
            screen = screening(node)
            asked = "" if screen.asked is None else twin_sql(screen.asked)
            ways.setdefault(node.source, set()).add(f"{asked}\n{twin_sql(screen.sound)}\n{behind}")
    return {source: fingerprint(view_id, [source, *sorted(texts)]) for source, texts in ways.items()}


@dataclass
class _Told:
    """What has been told of a relation for one version: of a log all up to an offset of each partition, and what came
    in this epoch; of rows that are in no log, each different one.
    """

    ends: dict[int, int] = field(default_factory=dict)
    fresh: dict[int, list[Places]] = field(default_factory=dict)
    rows: set[str] = field(default_factory=set)


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

    KEY = ("version", "source", "partition", "offset", "row")

    def __init__(self, log: ReadableFolder, folder: Folder | None) -> None:
        super().__init__(log, folder)
        self.ids: set[int] = set()  # of the queries that had some since the database was opened
        self._told: WeakValueDictionary[str, _Told] = WeakValueDictionary()  # by version

    def reporter(self, view: str, view_id: int, versions: Mapping[str, str]) -> Callable[[str, FailedRows], None]:
        """What a query's operators call with the rows they fail on; `versions` are its `versions_of` relations."""
        known: dict[str, _Told] = {}  # of the query's versions, and kept for as long as it runs

        def report(source: str, failed: FailedRows) -> None:
            version = versions[source]
            if version not in known:
                known[version] = self._told.get(version) or self._known(version)
                self._told[version] = known[version]
            told = known[version]
            if failed.partitions is None or failed.offsets is None:
                rows = self._json(pa.Table.from_batches([failed.batch]))
                new = _first_times(told.rows, rows)
                rows, where = rows.filter(pa.array(new)), [pa.nulls(int(new.sum()), pa.int64())] * 2
            else:
                new = _unknown(told, failed.partitions, failed.offsets)
                places = failed.partitions[new], failed.offsets[new]
                where = [pa.array(place) for place in places]
                rows = self._rows_of(source, places, failed.batch.filter(pa.array(new))) if new.any() else None
            if new.any():
                reasons = pa.array(failed.reasons, pa.string()).filter(pa.array(new))
                names = self._renamed.get(view_id, view), source, version
                who, what, which = (pa.repeat(pa.scalar(name), len(rows)) for name in names)
                columns = [who, what, where[0].cast(pa.int32()), where[1], reasons, rows, which]
                self.ids.add(view_id)
                self._report(pa.RecordBatch.from_arrays(columns, schema=self.SCHEMA))

        return report

    def _rows_of(self, source: str, places: tuple[Places, Places], read: pa.RecordBatch) -> pa.Array:
        """The rows as JSON; of those that were deleted meanwhile what the query has `read`."""
        rows, there = self._whole_rows(source, *places)
        if there.all():
            return self._json(rows)
        return pc.if_else(pa.array(there), self._json(rows), self._json(pa.Table.from_batches([read])))

    def count(self, view: str) -> int:
        """How many rows the view of that name was left without."""
        return int(pc.sum(pc.equal(self.rows(["view"]).column("view"), view)).as_py() or 0) if self.any else 0

    def flush(self) -> None:
        """Append what was reported in this epoch. Rows before the last of them are known from then on."""
        for told in list(self._told.values()):
            for partition, offsets in told.fresh.items():
                ends = [int(part.max()) + 1 for part in offsets if len(part)]
                told.ends[partition] = max([told.ends.get(partition, 0), *ends])
            told.fresh.clear()
        super().flush()

    def _known(self, version: str) -> _Told:
        """What was told of a version before the database was opened."""
        told = _Told()
        if not self.any:
            return told
        rows = self.rows(["version", "partition", "offset", "row"])
        rows = rows.filter(pc.equal(rows.column("version"), version)).drop_columns(["version"])
        placed = rows.filter(pc.is_valid(rows.column("offset")))
        last = placed.group_by("partition").aggregate([("offset", "max")])
        for partition, offset in zip(*(column.to_pylist() for column in last.columns), strict=True):
            told.ends[partition] = offset + 1
        told.rows.update(rows.filter(pc.is_null(rows.column("offset"))).column("row").to_pylist())
        return told


def _unknown(told: _Told, partitions: Places, offsets: Places) -> npt.NDArray[np.bool_]:
    """Which rows are told of for the first time; from now on all of them are known."""
    new = np.zeros(len(offsets), dtype=np.bool_)
    for partition in np.unique(partitions).tolist():
        fresh = told.fresh.setdefault(partition, [])
        mine = (partitions == partition) & (offsets >= told.ends.get(partition, 0))
        if fresh:
            mine &= ~np.isin(offsets, np.concatenate(fresh))
        fresh.append(offsets[mine])
        new |= mine
    return new


def _first_times(known: set[str], rows: pa.Array) -> npt.NDArray[np.bool_]:
    """Which of these rows, in no log, are none of the `known` ones; from now on all of them are."""
    new = np.zeros(len(rows), dtype=np.bool_)
    for place, row in enumerate(rows.to_pylist()):
        new[place] = row not in known
        known.add(row)
    return new
