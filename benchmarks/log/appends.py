"""Appends: batches of 10 to 10,000 rows, durable in groups or each by itself, beside the raw disk.

`append` is `topic.append` in one thread; with group commit it does not wait, and the last sync is part of the time.
`producer` is `producer.send` and a flush at the end. With 4 partitions, rows go where the hash of `id` says. The ratio
is to the rate of the raw disk, which is measured before each size and is the median too, as it comes and goes.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

import headrace
from headrace.storage.folder import Folder
from headrace.storage.topic import TopicOptions

from . import disk, rows
from .table import Line

APPENDS = {
    "group": {10: 10_000, 100: 10_000, 1000: 5_000, 10_000: 500},
    "each": {10: 800, 100: 800, 1000: 500, 10_000: 200},
}
DISK_BYTES = 256 << 20
REPEAT = 3
DISTINCT = 8  # batches, which are appended in turn


def run(quick: bool) -> list[Line]:
    """A line for each case, medians of `REPEAT` runs, or of one tenth of one if `quick`."""
    share = 10 if quick else 1
    seconds: dict[tuple[str, int, int, str], list[float]] = defaultdict(list)
    rates, syncs = [], []
    for _ in range(1 if quick else REPEAT):
        for partitions, (durability, sizes) in itertools.product((1, 4), APPENDS.items()):
            syncs.append(disk.sync_seconds(300 // share))
            for size, whole in sizes.items():
                rates.append(disk.write_rate(DISK_BYTES // share))
                times = whole // share
                batches = [rows.batch(size, number * size) for number in range(DISTINCT)]
                for way, measure in (("append", _append), ("producer", _produce)):
                    case = (durability, partitions, size, way)
                    seconds[case].append(measure(batches, times, partitions, durability) / times)
    rate = statistics.median(rates) / rows.ROW_BYTES
    middle = statistics.median(each[len(each) // 2] for each in syncs)
    late = statistics.median(each[len(each) * 99 // 100] for each in syncs)
    lines = [
        Line("raw disk, sequential writing", rate),
        Line("raw disk, fdatasync of 1,000 bytes", time=f"p50 {1e6 * middle:.0f}, p99 {1e6 * late:.0f} us"),
    ]
    for (durability, partitions, size, way), each in seconds.items():
        append_s = statistics.median(each)
        lines.append(
            Line(
                f"{way}, {durability}, {partitions} partition{'s' if partitions > 1 else ''}, {size:,} rows",
                size / append_s,
                f"{1e6 * append_s:,.1f} us an append",
                f"{size / append_s / rate:.2f} of the raw disk",
            )
        )
    return lines


def _append(batches: Sequence[pa.RecordBatch], times: int, partitions: int, durability: str) -> float:
    path = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    folder = Folder.open(path)
    try:
        options = TopicOptions(durability=durability)  # type: ignore[arg-type]
        topic = folder.create_topic("rows", rows.SCHEMA, partitions=partitions, key=["id"], options=options)
        topic.append(batches[0])  # which makes the files
        start = time.perf_counter()
        for batch in itertools.islice(itertools.cycle(batches), times):
            topic.append(batch, wait=False)
        topic.sync()
        return time.perf_counter() - start
    finally:
        folder.close()
        shutil.rmtree(path)


def _produce(batches: Sequence[pa.RecordBatch], times: int, partitions: int, durability: str) -> float:
    path = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        with headrace.connect(path) as con:
            placed = f"PARTITIONED BY (id) INTO {partitions} PARTITIONS"
            con.execute(f"CREATE STREAM rows ({rows.COLUMNS}) {placed} WITH (durability = '{durability}')")
            with con.producer("rows") as producer:
                producer.send(batches[0]).result()
                start = time.perf_counter()
                for batch in itertools.islice(itertools.cycle(batches), times):
                    producer.send(batch)
                producer.flush()
                return time.perf_counter() - start
    finally:
        shutil.rmtree(path)
