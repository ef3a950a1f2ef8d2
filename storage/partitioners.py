"""Which partition a producer puts a row into, where it is not the topic's own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .errors import ProgrammingError
from .hashing import hash_columns
from .partitioning import has_bytes, murmured, partition_numbers
from .topic import Topic

Partitioner = Callable[[pa.RecordBatch, int], Any]  # rows, number of partitions -> for each row its partition

_NAMES = ("key", "murmur2", "hash", "round_robin")


def partitioner_of(chosen: str | Partitioner | None, key: Sequence[str], topics: Sequence[Topic]) -> Partitioner | None:
    """The function for one of the names, over the columns `key` or else the topic's; None for the topic's own way.

    Raises: ProgrammingError for another name, columns that are not there, or a topic that needs its own way.
    """
    if chosen is None and not key:
        return None
    for topic in topics:
        if "compact" in topic.options.cleanup:
            raise ProgrammingError(
                f'cannot choose partitions of "{topic.name}": it is compacted',
                detail="All rows of a key must be in one partition, for the last of them to replace the others.",
            )
        for name in key:
            if name not in topic.schema.names:
                raise ProgrammingError(f'stream "{topic.name}" has no column "{name}"', sqlstate="42703")
    if callable(chosen):
        return chosen
    keys = list(key) or list(topics[0].key)
    if chosen == "round_robin":
        return _RoundRobin()
    if chosen not in (None, *_NAMES):
        raise ProgrammingError(
            f'"{chosen}" is not a partitioner', hint=f"There are {', '.join(_NAMES)}, and functions."
        )
    if not keys:
        raise ProgrammingError(f'cannot partition by "{chosen}" without a key', hint="Give key=[column, ...].")
    if chosen == "murmur2":
        kind = topics[0].schema.field(keys[0]).type
        if len(keys) != 1 or not has_bytes(kind):
            raise ProgrammingError(
                "cannot partition by murmur2 as Kafka does",
                detail="Kafka hashes the bytes of one key; of other types it is for the client to say which they are.",
                hint="Give key=[column] of type VARCHAR or BLOB, or use 'hash'.",
            )
        return lambda batch, count: murmured(batch.column(keys[0]), count)
    if chosen == "hash":
        return lambda batch, count: hash_columns([batch.column(name) for name in keys]) % np.uint64(count)
    return lambda batch, count: partition_numbers([batch.column(name) for name in keys], count)


class _RoundRobin:
    """Row by row to each partition in turn."""

    def __init__(self) -> None:
        self._start = 0

    def __call__(self, batch: pa.RecordBatch, count: int) -> npt.NDArray[np.int64]:
        numbers = (self._start + np.arange(batch.num_rows)) % count
        self._start = (self._start + batch.num_rows) % count
        return numbers
