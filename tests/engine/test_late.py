"""Late: which rows it marks, what it reports, and that what it once reported is late again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from headrace.engine.delta import Delta, Slice
from headrace.engine.operator import NO_WATERMARK, Time
from headrace.engine.operators.late import Late, LateRows
from headrace.engine.windows import Hop, tumble

SCHEMA = pa.schema([("ts", pa.timestamp("us"))])
FOREVER = int(np.iinfo(np.int64).max)


def rows(times: list[int | None], offset: int = 0, partition: int = 0) -> Delta:
    batch = pa.RecordBatch.from_arrays([pa.array(times, pa.timestamp("us"))], schema=SCHEMA)
    return Delta(batch, origin=(Slice(partition, offset, len(times)),))


def late(window: Hop) -> tuple[Late, list[LateRows]]:
    reports: list[LateRows] = []
    return Late(window, "ts", SCHEMA, reports.append), reports


def closed(delta: Delta | None) -> list[int] | None:
    assert delta is not None
    return None if delta.closed is None else delta.closed.tolist()


def test_a_row_is_late_when_its_window_has_closed() -> None:
    operator, reports = late(tumble(10))
    assert closed(operator.process(rows([5, 25]))) is None
    operator.advance(Time(1, 0, watermark=20))
    assert closed(operator.process(rows([19, 20, 3], offset=2))) == [20, NO_WATERMARK, 20]
    assert [(r.partitions.tolist(), r.offsets.tolist(), r.closed.tolist()) for r in reports] == [
        ([0, 0], [2, 4], [20, 20])
    ]
    # Behind the watermark, but in a window that is still open: not late.
    operator.advance(Time(2, 0, watermark=25))
    assert closed(operator.process(rows([21], offset=5))) is None


def test_a_hop_row_is_late_for_its_first_windows_only() -> None:
    operator, reports = late(Hop(10, 5))
    operator.advance(Time(1, 0, watermark=12))
    assert closed(operator.process(rows([8]))) == [12]  # in [0, 10), closed, and in [5, 15), open
    assert len(reports) == 1


def test_a_row_without_time_is_reported() -> None:
    operator, reports = late(tumble(10))
    assert closed(operator.process(rows([None, 4]))) == [FOREVER, NO_WATERMARK]
    assert reports[0].offsets.tolist() == [0]


def test_what_is_not_asked_for_is_not_late() -> None:
    reports: list[LateRows] = []
    operator = Late(tumble(10), "ts", SCHEMA, reports.append, times=(10, 19))
    operator.advance(Time(1, 0, watermark=30))
    assert closed(operator.process(rows([5, 10, None, 19, 20]))) == [
        NO_WATERMARK,
        30,
        NO_WATERMARK,
        30,
        NO_WATERMARK,
    ]
    assert [report.offsets.tolist() for report in reports] == [[1, 3]]


def test_what_was_late_before_a_restart_is_late_again_and_not_reported_twice() -> None:
    operator, reports = late(tumble(10))
    operator.know([(0, 7, 30), (1, 7, 40)])
    assert closed(operator.process(rows([1, 2, 3], offset=6))) == [NO_WATERMARK, 30, NO_WATERMARK]
    assert closed(operator.process(rows([1, 2], offset=6, partition=1))) == [NO_WATERMARK, 40]
    assert reports == []


def test_snapshot_keeps_the_watermark() -> None:
    operator, _ = late(tumble(10))
    operator.advance(Time(1, 0, watermark=20))
    again, reports = late(tumble(10))
    again.restore(operator.snapshot())
    assert closed(again.process(rows([5]))) == [20]
    assert len(reports) == 1
