"""system.late_rows: each row that came after its window had closed, kept as a topic of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..engine.operator import END_OF_TIME
from ..engine.operators.late import LateRows
from .lower import KnownLate
from .reported_rows import ReportedRows

_PLACE = ("stream", "partition", "offset")


class LateLog(ReportedRows):
    """Which rows were late for which view; it knows what was reported before."""

    NAME = "system.late_rows"
    SCHEMA = pa.schema(
        [
            ("view", pa.string()),
            ("view_id", pa.int64()),
            ("stream", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("reason", pa.string()),
            ("watermark", pa.timestamp("us")),
            ("row", pa.string()),
        ]
    )

    KEY = ("view_id", *_PLACE)

    def known(self, view_id: int) -> KnownLate:
        """Per stream the (partition, offset, closed) of rows that were late for the view of that id."""
        if not self.any:
            return {}
        rows = self.rows([*_PLACE, "view_id", "watermark"])
        rows = rows.filter(pc.equal(rows.column("view_id"), view_id))
        marks = rows.column("watermark").cast(pa.int64()).fill_null(END_OF_TIME).to_pylist()
        places = (rows.column(name).to_pylist() for name in _PLACE)
        found: dict[str, list[tuple[int, int, int]]] = {}
        for stream, partition, offset, closed in zip(*places, marks, strict=True):
            found.setdefault(stream, []).append((partition, offset, closed))
        return found

    def reporter(self, view: str, view_id: int, target: str) -> Callable[[str, LateRows], None]:
        """What a view's operators call with the late rows they meet; those in no open window go to `target` too."""

        def report(stream: str, late: LateRows) -> None:
            count = len(late.offsets)
            null_time = late.closed == END_OF_TIME
            watermark = pa.array(late.closed, pa.int64(), mask=null_time).cast(pa.timestamp("us"))
            behind = "behind the watermark" if late.moments else "its window had closed"
            reason = np.where(null_time, "event time is NULL", behind).astype(object)
            reason[late.counted] = "behind the watermark, counted where a window was still open"
            rows, _ = self._whole_rows(stream, late.partitions, late.offsets)
            columns = [
                pa.array([self._renamed.get(view_id, view)] * count, pa.string()),
                pa.array([view_id] * count, pa.int64()),
                pa.array([stream] * count, pa.string()),
                pa.array(late.partitions, pa.int32()),
                pa.array(late.offsets, pa.int64()),
                pa.array(reason, pa.string()),
                watermark,
                self._json(rows),
            ]
            batch = pa.RecordBatch.from_arrays(columns, schema=self.SCHEMA)
            self._report(batch, target, rows.filter(pa.array(~late.counted)))

        return report
