"""Which partition a producer puts a row into, where it is not the topic's own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
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
        _check_free(topic)
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


def partitions_by(partitioner: Partitioner, batch: pa.RecordBatch, count: int) -> npt.NDArray[np.uint16]:
    """The partition of each row, as the partitioner says. Raises: ProgrammingError if it does not say that."""
    try:
        numbers = np.asarray(partitioner(batch, count))
    except Exception as error:
        raise ProgrammingError("the partitioner failed", detail=f"{type(error).__name__}: {error}.") from error
    if batch.num_rows == 0:
        return np.zeros(0, np.uint16)
    whole = numbers.dtype.kind in "iub" and numbers.shape == (batch.num_rows,)
    if not whole or not 0 <= numbers.min() <= numbers.max() < count:
        what = f"values from {numbers.min()} to {numbers.max()}" if whole else f"an array of {numbers.dtype}"
        raise ProgrammingError(
            f"a partitioner must give each row a whole number from 0 to {count - 1}",
            detail=f"It was given {batch.num_rows} rows, and gave {what} of shape {list(numbers.shape)}.",
        )
    return numbers.astype(np.uint16)


def check_partition(partition: int, topic: Topic) -> None:
    """Raises: ProgrammingError if rows cannot be sent to this partition of the topic."""
    count = len(topic.partitions)
    if not isinstance(partition, Integral) or isinstance(partition, bool) or not 0 <= partition < count:
        raise ProgrammingError(
            f'stream "{topic.name}" has no partition {partition!r}', hint=f"It has {count}, counted from 0."
        )
    _check_free(topic)


def _check_free(topic: Topic) -> None:
    if "compact" in topic.options.cleanup:
        raise ProgrammingError(
            f'cannot choose partitions of "{topic.name}": it is compacted',
            detail="All rows of a key must be in one partition, for the last of them to replace the others.",
        )


class _RoundRobin:
    """Row by row to each partition in turn."""

    def __init__(self) -> None:
        self._start = 0

    def __call__(self, batch: pa.RecordBatch, count: int) -> npt.NDArray[np.int64]:
        numbers = (self._start + np.arange(batch.num_rows)) % count
        self._start = (self._start + batch.num_rows) % count
        return numbers
