"""What a consumer asks for and what it returns: rows in batches, and where each stands."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .errors import OperationalError, ProgrammingError

Offsets = npt.NDArray[np.int64]
Position = int | Literal["earliest", "latest"] | datetime.datetime
Reset = Literal["earliest", "latest", "error"]


class Record(NamedTuple):
    """One row, by column names, and where it stands."""

    topic: str
    partition: int
    offset: int
    row: dict[str, Any]


@dataclass(frozen=True)
class Records:
    """Rows of one partition, in order; `end_offset` is where the next ones begin.

    Shape: `offsets` has one int64 for each row of `batch`. They need not be consecutive: a filter or compaction may
    have left rows out.
    """

    topic: str
    partition: int
    batch: pa.RecordBatch
    offsets: Offsets
    end_offset: int

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def __iter__(self) -> Iterator[Record]:
        for offset, row in zip(self.offsets.tolist(), self.batch.to_pylist(), strict=True):
            yield Record(self.topic, self.partition, offset, row)


@dataclass(frozen=True)
class Wanted:
    """What of a topic's rows is read: these columns, None for all; and what `choose` leaves and makes of them."""

    columns: tuple[str, ...] | None = None
    choose: Callable[[pa.RecordBatch, Offsets], tuple[pa.RecordBatch, Offsets]] | None = None

    def check(self, stream: str, before: pa.Schema, now: pa.Schema) -> None:
        """Raises: OperationalError if a column that is read is gone, or has another type than the condition is for."""
        for name in self.columns or ():
            if name not in now.names or (self.choose and now.field(name).type != before.field(name).type):
                raise OperationalError(
                    f'stream "{stream}" was altered',
                    detail=f'The consumer reads column "{name}", which is not what it was.',
                    hint="Make a new consumer.",
                )


def check_options(group: str | None, reset: Reset, max_rows: int) -> None:
    """Raises: ProgrammingError for what a consumer cannot be told."""
    if group is not None and (not isinstance(group, str) or not group):
        raise ProgrammingError(f"cannot consume as group {group!r}", hint='A group has a name, such as "mailer".')
    if reset not in get_args(Reset):
        raise ProgrammingError(f'cannot reset to "{reset}"', hint="Say 'earliest', 'latest' or 'error'.")
    if not isinstance(max_rows, int) or max_rows < 1:
        raise ProgrammingError(f"cannot return {max_rows} rows at a time", hint="max_rows is a whole number from 1 on.")
