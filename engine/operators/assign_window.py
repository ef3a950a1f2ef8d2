"""Window: each row once per window that holds it, with the window's bounds beside it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ..delta import Delta
from ..operator import Operator
from ..windows import WINDOW_TIME_US, Window


class AssignWindow(Operator):
    """The rows, each repeated for every window over `time` that holds it; rows without a time are left out.

    Shape: the input's columns, then window_start, window_end, window_time of `time`'s type.
    State: none.
    """

    def __init__(self, window: Window, time: str, schema: pa.Schema) -> None:
        self.schema = schema
        self._window = window
        self._time = time

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        times = delta.batch.column(self._time)
        if times.null_count:
            delta = delta.take(pc.indices_nonzero(times.is_valid()).to_numpy().astype("int64"))
            times = delta.batch.column(self._time)
        if delta.rows == 0:
            return None
        indices, numbers = self._window.pane_numbers(times.cast(pa.int64()).to_numpy())
        delta = delta.take(indices)
        if delta.closed is not None:
            open_ = self._window.ends(numbers) > delta.closed
            delta, numbers = delta.take(open_.nonzero()[0]), numbers[open_]
        starts, ends = self._window.starts(numbers), self._window.ends(numbers)
        bounds = [pa.array(values).cast(times.type) for values in (starts, ends, ends - WINDOW_TIME_US)]
        batch = pa.RecordBatch.from_arrays([*delta.batch.columns, *bounds], schema=self.schema)
        return Delta(batch, delta.weights)
