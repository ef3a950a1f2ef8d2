"""Outputs: what a continuous query appends to a stream or a table, each row once whatever happens between."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from ..engine.arrangement import consolidate
from ..engine.delta import Delta
from ..engine.key_index import KeyIndex
from ..engine.output import Output, Progress
from ..storage import limits
from ..storage.folder import Folder
from ..storage.last_rows import WEIGHT_COLUMN
from ..storage.readable import ReadableFolder
from ..storage.topic import Topic, TopicOptions
from .relations import Relation
from .row_checks import check_nulls

PROGRESS = "system.progress"
_SCHEMA = pa.schema(
    [("query_id", pa.int64()), ("clock", pa.int64()), ("positions", pa.string()), ("watermarks", pa.string())]
)


class TopicOutput(Output):
    """Appends the changes to the topic of `target`, in one atomic append with the progress of the query.

    Late rows are on disk before (`settle`): what was late for a query stays late when it reads its streams again.
    From: Kafka Streams' exactly-once, whose offsets and outputs are one transaction.
    """

    def __init__(
        self, folder: Folder, target: Relation, query_id: int, done: Progress | None, settle: Callable[[], None]
    ) -> None:
        super().__init__(target.name, done)
        self._folder = folder
        self._relation = target
        self._query_id = query_id
        self._settle = settle

    def write(self, change: Delta, progress: Progress) -> None:
        topic = self._folder.topic(self.target)
        logged = _changes(self._relation, change) if self._relation.kind == "TABLE" else _rows(change)
        if not logged.num_rows:
            return
        if self._relation.kind == "STREAM":
            check_nulls(self._relation, pa.Table.from_batches([logged]))
        logged = pa.RecordBatch.from_arrays(logged.columns, schema=topic.schema)
        pieces = range(0, logged.num_rows, limits.ROWS_PER_FRAME)
        self._settle()
        self._folder.append_atomic(
            [
                *((topic, logged.slice(start, limits.ROWS_PER_FRAME), None) for start in pieces),
                (_progress_topic(self._folder), self._row(progress), None),
            ]
        )
        self.ends = [partition.end_offset for partition in topic.partitions]

    def _row(self, progress: Progress) -> pa.RecordBatch:
        values = [self._query_id, progress.clock, json.dumps(progress.positions), json.dumps(progress.watermarks)]
        return pa.RecordBatch.from_arrays([pa.array([value]) for value in values], schema=_SCHEMA)


def written_progress(log: ReadableFolder) -> dict[int, Progress]:
    """How far each query was when it wrote last, by its id; never farther than its streams are now."""
    if PROGRESS not in log.topics:
        return {}
    found: dict[int, Progress] = {}
    for partition in log.topic(PROGRESS).partitions:
        for batch in partition.read_all(partition.end_offset):
            for row in batch.to_pylist():
                positions = {
                    name: [
                        min(end, part.end_offset) for end, part in zip(ends, log.topic(name).partitions, strict=True)
                    ]
                    for name, ends in json.loads(row["positions"]).items()
                    if name in log.topics and len(ends) == len(log.topic(name).partitions)
                }
                found[row["query_id"]] = Progress(positions, json.loads(row["watermarks"]), row["clock"])
    return found


def _progress_topic(folder: Folder) -> Topic:
    if PROGRESS not in folder.topics:
        durability = "none" if folder.temporary else "group"
        options = TopicOptions(durability=durability, cleanup="compact", segment_bytes=1 << 20)  # type: ignore[arg-type]
        folder.create_topic(PROGRESS, _SCHEMA, key=["query_id"], options=options)
    return folder.topic(PROGRESS)


def _rows(change: Delta) -> pa.RecordBatch:
    """The rows that a stream gets."""
    if change.weights is None:
        return change.batch
    change = consolidate(change)
    weights = change.weight_array()
    assert (weights > 0).all(), "a stream was to take a row back"
    return change.batch.take(pa.array(np.repeat(np.arange(change.rows), weights)))


def _changes(table: Relation, change: Delta) -> pa.RecordBatch:
    """What the log of a table gets: first what goes, then what comes."""
    if change.weights is not None:
        change = consolidate(change)
    weights = change.weight_array()
    came, went = np.flatnonzero(weights > 0), np.flatnonzero(weights < 0)
    columns = list(change.batch.columns)
    if not table.key:
        came, went = np.repeat(came, weights[came]), np.repeat(went, -weights[went])
        gone = change.batch.take(pa.array(went)).columns
    else:
        keys = change.batch.select(list(table.key))
        index = KeyIndex(keys.schema)
        index.lookup_or_insert(keys.take(pa.array(came)))
        went = went[index.lookup(keys.take(pa.array(went))) < 0]  # the others are replaced
        gone = [
            column.take(pa.array(went)) if name in table.key else pa.nulls(len(went), column.type)
            for name, column in zip(change.batch.schema.names, columns, strict=True)
        ]
    arrays = [pa.concat_arrays([left, column.take(pa.array(came))]) for left, column in zip(gone, columns, strict=True)]
    signs = np.repeat(np.array([-1, 1], np.int8), [len(went), len(came)])
    return pa.RecordBatch.from_arrays([*arrays, pa.array(signs)], names=[*change.batch.schema.names, WEIGHT_COLUMN])


_WRITES = " (query)"


def engine_name(name: str) -> str:
    """What the engine calls the query that writes: a table of that name is there by itself."""
    return f"{name}{_WRITES}"


def shown_name(name: str) -> str:
    """What people call what the engine calls so."""
    return name.removesuffix(_WRITES)
