"""ALTER STREAM ... ADVANCE WATERMARK TO: event time comes on though no row says so."""

from __future__ import annotations

from dataclasses import replace

from ..engine.watermark import Advance
from ..storage.errors import DataError, Position, ProgrammingError
from .alterations import AdvanceWatermark
from .database import Database
from .relations import Relation
from .types import connect


def advance_watermark(database: Database, stream: Relation, change: AdvanceWatermark) -> list[str]:
    """No row before the time is waited for any more in a partition of the stream, or in all; notices, none so far.

    Rows that are in the log by now are not late by it, after a restart neither.
    """
    if stream.event_time is None:
        raise ProgrammingError(
            f'stream "{stream.name}" has no watermark',
            detail="Without one nothing says which column is its time.",
            hint="Create it with WATERMARK FOR column AS column.",
            position=change.position,
        )
    topic, time = database.folder.topic(stream.name), moment(change.time, change.time_position)
    count = len(topic.partitions)
    if change.partition is not None and not 0 <= change.partition < count:
        raise ProgrammingError(
            f'stream "{stream.name}" has no partition {change.partition}',
            detail=f"It has {count}, from 0 on.",
            position=change.position,
        )
    entry = database.folder.catalog.entries[stream.name]
    known = Advance.of(entry.properties)
    before = (None,) * count if known is None else known.times
    times = tuple(
        time if change.partition in (None, number) and (last is None or last < time) else last
        for number, last in enumerate(before)
    )
    advance = Advance(times, tuple(partition.end_offset for partition in topic.partitions))
    database.folder.catalog.put(replace(entry, properties={**entry.properties, **advance.properties}))
    database.engine.advance_watermark(stream.name, advance)
    return []


def moment(text: str, position: Position | None) -> int:
    """A time that is spelled out, UTC where it names no time zone. Units: microseconds since 1970."""
    connection = connect()
    try:
        (row,) = connection.execute("SELECT epoch_us(try_cast(? AS TIMESTAMPTZ))", [text]).fetchall()
    finally:
        connection.close()
    if row[0] is None:
        raise DataError(f"'{text}' is not a time", hint="Write it as in '2026-11-23 08:00:00+00'.", position=position)
    return int(row[0])
