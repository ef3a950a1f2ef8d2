"""Taking rows from a log: what an epoch reads of one stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..storage.errors import CorruptionError, OperationalError
from ..storage.memory import no_memory
from .dataflow import Dataflow, wanted_times
from .delta import Delta, Slice
from .log_slice import read_slice
from .view import Stream, UnreadError


@dataclass(frozen=True)
class Taken:
    """What an epoch takes of a stream. `highest` is the latest event time by the partition, where rows were taken."""

    stream: str
    delta: Delta | None
    rows: int
    positions: list[int]
    highest: dict[int, int | None]


def take(
    stream: Stream, positions: Sequence[int], ends: Sequence[int], dataflows: Sequence[Dataflow], budget: int | None
) -> Taken:
    """The next rows of a stream as one delta, with the columns that `dataflows` need, and where they end.

    Those from `positions` up to `ends`: about `budget` of them, or all. Nothing is read where nobody needs it.
    Raises: UnreadError if they cannot be read now, CorruptionError if they are damaged.
    """
    positions = list(positions)
    for index, partition in enumerate(stream.topic.partitions):  # what was deleted before it was read is skipped
        positions[index] = max(positions[index], min(partition.start_offset, ends[index]))
    highest: dict[int, int | None] = {}
    available = [end - position for end, position in zip(ends, positions, strict=True)]
    total = sum(available)
    if total == 0:
        return Taken(stream.name, None, 0, positions, highest)
    wanted = set().union(*(dataflow.columns_of(stream.name) for dataflow in dataflows))
    recorded = stream.event_time is not None and stream.topic.options.event_time == stream.event_time
    times = wanted_times(dataflows, stream.name) if recorded else None
    if wanted and stream.event_time is not None:
        wanted.add(stream.event_time)  # for the watermark: a frame's header knows of rows that come later, too
    columns = [name for name in stream.topic.schema.names if name in wanted]
    batches: list[pa.RecordBatch] = []
    origin: list[Slice] = []
    taken = 0
    for index, partition in enumerate(stream.topic.partitions):
        rows = available[index]
        if columns and budget is not None and total > budget:  # a fair share, so that partitions advance side by side
            rows = min(rows, max(1, rows * budget // total), budget - taken)
        if rows <= 0:
            continue
        start, end = positions[index], positions[index] + rows
        try:
            read = read_slice(partition, index, start, end, columns, stream.event_time, times)
        except CorruptionError:
            raise
        except OperationalError as error:
            raise UnreadError(error) from error
        except MemoryError as error:
            raise UnreadError(no_memory(f'read "{stream.name}"', error)) from error
        positions[index] = end
        taken += rows
        if stream.event_time is not None:
            highest[index] = read.highest
        batches += read.batches
        origin += read.origin
    if not batches:
        return Taken(stream.name, None, taken, positions, highest)
    batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    return Taken(stream.name, Delta(batch, origin=tuple(origin)), taken, positions, highest)
