"""The rows of the benchmark: 100 bytes each, of four columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

TEXT_BYTES = 72
ROW_BYTES = 100  # three numbers of 8, the place of the text in 4, and the text
COLUMNS = "id BIGINT, ts TIMESTAMP, price DOUBLE, text VARCHAR"
SCHEMA = pa.schema([("id", pa.int64()), ("ts", pa.timestamp("us")), ("price", pa.float64()), ("text", pa.string())])


def batch(rows: int, first: int = 0) -> pa.RecordBatch:
    """Rows with the ids from `first` on, one a microsecond, each with a text that does not repeat soon."""
    random = np.random.default_rng(first)
    ids = np.arange(first, first + rows)
    letters = random.integers(ord("a"), ord("z") + 1, rows * TEXT_BYTES, dtype=np.uint8)
    offsets = np.arange(0, (rows + 1) * TEXT_BYTES, TEXT_BYTES, dtype=np.int32)
    text = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(letters))
    columns = [pa.array(ids), pa.array(ids).cast(pa.timestamp("us")), pa.array(random.random(rows)), text]
    return pa.record_batch(columns, schema=SCHEMA)
