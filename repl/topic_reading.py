"""`headrace topic ls`, `describe`, `cat` and `tail`: what a folder's log holds, while another process may own it."""

from __future__ import annotations

import argparse
import datetime
import select
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from ..storage.errors import ProgrammingError
from ..storage.figures import partition_figures, segment_figures, topic_figures, topics_of
from ..storage.limits import FOLLOW_S, SHOWN_ROWS
from ..storage.scanning import scan, scan_back
from ..storage.schema import OFFSET_COLUMN
from ..storage.tail import TailFolder
from .console import Console, Settings, UsageError

if TYPE_CHECKING:
    from ..storage.log import Log
    from ..storage.readable import ReadableTopic

OK, DAMAGED = 0, 1
PARTITION_COLUMN = "_partition"
MICROSECOND = datetime.timedelta(microseconds=1)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@contextmanager
def reading(path: Path) -> Iterator[TailFolder]:
    """The folder, to read."""
    folder = TailFolder(path)
    try:
        yield folder
    finally:
        folder.close()


def topic_in(folder: TailFolder, name: str) -> ReadableTopic:
    """The topic of that name, in which case does not matter. Raises: ProgrammingError if there is none."""
    topics = topics_of(folder)
    found = next((topic for topic in topics if topic.name == name), None)
    found = found or next((topic for topic in topics if topic.name.lower() == name.lower()), None)
    if found is None:
        known = ", ".join(topic.name for topic in topics)
        raise ProgrammingError(f'there is no topic "{name}"', hint=f"There are {known or 'none'}.")
    return found


def console_for(arguments: argparse.Namespace, otherwise: str = "table") -> Console:
    """Where rows go, in the format asked for."""
    format = arguments.format or otherwise
    return Console(Settings(format=None if format == "table" else format))


def say_notices(folder: TailFolder, console: Console) -> int:
    """What could not be read is said; the exit code that this makes."""
    for notice in folder.notices:
        console.say(f"{notice}\nHint: headrace topic verify says which rows are damaged.")
    return DAMAGED if folder.notices else OK


# -- ls and describe ------------------------------------------------------------------------------------------------


def run_ls(arguments: argparse.Namespace) -> int:
    """A row per topic."""
    console = console_for(arguments)
    with reading(arguments.folder) as folder:
        topics = topics_of(folder)
        figures = topic_figures(topics).select(["name", "partitions", "rows", "bytes"])
        parts = partition_figures(topics)
        bounds = parts.group_by("topic").aggregate([("first_append_time", "min"), ("last_append_time", "max")])
        rows = {row["topic"]: row for row in bounds.to_pylist()}
        figures = figures.append_column("offsets", pa.array([offsets(topic) for topic in topics], pa.string()))
        for name, kind in (("first_append_time", "min"), ("last_append_time", "max")):
            values = [rows[topic.name][f"{name}_{kind}"] for topic in topics]
            figures = figures.append_column(name, pa.array(values, pa.timestamp("us")))
        show(console, figures)
        return say_notices(folder, console)


def offsets(topic: ReadableTopic) -> str:
    """`[0, 120)` for each partition, as far as that is short."""
    ranges = [f"[{log.start_offset}, {log.end_offset})" for log in topic.partitions]
    return " ".join(ranges) if len(ranges) <= 4 else f"{' '.join(ranges[:3])} ..."


def run_describe(arguments: argparse.Namespace) -> int:
    """The options, columns, partitions and segments of one topic."""
    console = Console()
    with reading(arguments.folder) as folder:
        topic = topic_in(folder, arguments.topic)
        (figures,) = topic_figures([topic]).to_pylist()
        known = {name: value for name, value in figures.items() if value is not None and value != []}
        settings = {name: ", ".join(value) if name == "key" else str(value) for name, value in known.items()}
        show(console, pa.table({"what": list(settings), "value": list(settings.values())}))
        version = topic.version
        columns = {
            "column": version.schema.names,
            "type": [str(field.type) for field in version.schema],
            "default": [str(version.defaults[n]) if n in version.defaults else None for n in version.fields],
        }
        show(console, pa.table(columns, pa.schema([(name, pa.string()) for name in columns])))
        show(console, partition_figures([topic]).drop_columns(["topic"]))
        if arguments.segments:
            show(console, segment_figures([topic]).drop_columns(["topic"]))
        return say_notices(folder, console)


# -- cat and tail ---------------------------------------------------------------------------------------------------


def run_cat(arguments: argparse.Namespace) -> int:
    """The rows of a topic from one place on, partition after partition."""
    console = console_for(arguments)
    with reading(arguments.folder) as folder:
        topic = topic_in(folder, arguments.topic)
        schema = shown_schema(topic, arguments.columns)
        whole = arguments.limit is not None or console.settings.format is not None
        limit = arguments.limit if whole else SHOWN_ROWS
        batches = selected(topic, schema, arguments, limit, console)
        show_batches(console, schema, batches)
        if not whole and sum(log.end_offset - log.start_offset for log in topic.partitions) > SHOWN_ROWS:
            console.say(f"Up to {SHOWN_ROWS:,} rows are shown; --limit N or --format csv show more.")
        return say_notices(folder, console)


def selected(
    topic: ReadableTopic, schema: pa.Schema, arguments: argparse.Namespace, limit: int | None, console: Console
) -> Iterator[pa.RecordBatch]:
    """The rows that --from, --partition, --columns and `limit` leave, partition after partition."""
    for number, log in chosen(topic, arguments.partition):
        start = first_offset(log, arguments.start)
        if start < log.start_offset:
            console.say(f"Partition {number} begins at offset {log.start_offset}: the rows before are deleted.")
        for batch in scan(log, max(start, log.start_offset), log.end_offset, read_columns(schema)):
            rows = batch if limit is None else batch.slice(0, limit)
            yield shown(rows, number, schema)
            if limit is not None:
                limit -= rows.num_rows
                if limit == 0:
                    return


def run_tail(arguments: argparse.Namespace) -> int:
    """The last rows of a topic; with -f also those that come, until Ctrl-C or until nobody reads any more."""
    console = console_for(arguments, "jsonl" if arguments.follow else "table")
    if arguments.follow and arguments.format == "table":
        raise UsageError("a table cannot grow: with -f choose jsonl or csv")
    with reading(arguments.folder) as folder:
        topic = topic_in(folder, arguments.topic)
        schema = shown_schema(topic, arguments.columns)
        logs = chosen(topic, arguments.partition)
        if not arguments.follow:
            show_batches(console, schema, last_rows(logs, schema, arguments.rows))
            return say_notices(folder, console)
        more = threading.Event()
        topic.listen(more.set)
        ends = {number: log.end_offset for number, log in logs}
        if console.settings.format == "csv":
            write_header(console, schema)
        write_lines(console, last_rows(logs, schema, arguments.rows))
        while folder.topics.get(topic.name) is topic and not folder.notices:
            for number, log in logs:
                end = log.end_offset
                write_lines(
                    console, (shown(b, number, schema) for b in scan(log, ends[number], end, read_columns(schema)))
                )
                ends[number] = max(end, ends[number])
            if not more.wait(FOLLOW_S) and abandoned():
                raise BrokenPipeError
            more.clear()
        if not folder.notices:
            console.say(f'The topic "{topic.name}" was dropped.')
        return say_notices(folder, console)


def last_rows(logs: Sequence[tuple[int, Log]], schema: pa.Schema, count: int) -> list[pa.RecordBatch]:
    """The last rows of all partitions together, in the order of their frames' append times."""
    if count == 0:
        return []
    names = [name for name in read_columns(schema) if name != OFFSET_COLUMN]
    tables, times = [], []
    wide = pa.schema([pa.field(PARTITION_COLUMN, pa.int64()), pa.field(OFFSET_COLUMN, pa.int64())])
    for field in schema:
        if field.name in names:
            wide = wide.append(field)
    for number, log in logs:
        for batch in scan_back(log, count, [OFFSET_COLUMN, *names]):
            rows = shown(batch, number, wide)
            tables.append(rows)
            times.append(append_times(log, rows.column(OFFSET_COLUMN)))
    table = pa.Table.from_batches(tables, wide)
    if len(logs) > 1:
        table = table.append_column("_time", pa.chunked_array(times, pa.int64()))
        by = [("_time", "ascending"), (PARTITION_COLUMN, "ascending"), (OFFSET_COLUMN, "ascending")]
        table = table.sort_by(by)
    table = table.slice(max(0, table.num_rows - count)).select(schema.names)
    return list(table.combine_chunks().to_batches())


def append_times(log: Log, offsets: pa.Array) -> pa.Array:
    """When the frame of each offset was appended."""
    starts, times = [-1], [0]
    for segment in log.segments:
        if segment.end_offset > offsets[0].as_py():
            starts += segment.index.offsets
            times += segment.index.append_times[: len(segment.index.offsets)]
    places = pa.array(starts).to_numpy().searchsorted(offsets.to_numpy(), side="right") - 1
    return pa.array(times, pa.int64()).take(pa.array(places))


def chosen(topic: ReadableTopic, partition: int | None) -> list[tuple[int, Log]]:
    """The partitions to read. Raises: ProgrammingError if there is no such partition."""
    logs = list(enumerate(topic.partitions))
    if partition is None:
        return logs
    if partition >= len(logs):
        raise ProgrammingError(
            f'topic "{topic.name}" has no partition {partition}', hint=f"It has 0 to {len(logs) - 1}."
        )
    return [logs[partition]]


def first_offset(log: Log, start: int | datetime.datetime | None) -> int:
    """The offset to begin at: one that was given, or that of the first row appended at a time or after it."""
    if start is None:
        return log.start_offset
    if isinstance(start, datetime.datetime):
        return log.offset_at((start - EPOCH) // MICROSECOND)
    return start if start >= 0 else max(log.start_offset, log.end_offset + start)


def shown_schema(topic: ReadableTopic, columns: Sequence[str] | None, *, numbered: bool = True) -> pa.Schema:
    """The columns asked for, which may be `_partition` and `_offset`, too; else all.

    Raises: ProgrammingError for a column that there is not.
    """
    places = [pa.field(PARTITION_COLUMN, pa.int64()), pa.field(OFFSET_COLUMN, pa.int64())]
    known = {field.name: field for field in (*places, *topic.schema)}
    if columns is None:
        return pa.schema([*places, *topic.schema] if numbered else topic.schema)
    spelled = {name.lower(): name for name in known}
    columns = [spelled.get(name.lower(), name) for name in columns]
    for name in columns:
        if columns.count(name) > 1:
            raise ProgrammingError(f'column "{name}" is named twice')
        if name not in known:
            hint = f"Its columns are {', '.join(topic.schema.names)}; and {PARTITION_COLUMN}, {OFFSET_COLUMN}."
            raise ProgrammingError(f'topic "{topic.name}" has no column "{name}"', hint=hint)
    return pa.schema([known[name] for name in columns])


def read_columns(schema: pa.Schema) -> list[str]:
    """What is read of the log for these columns."""
    return [name for name in schema.names if name != PARTITION_COLUMN] or [OFFSET_COLUMN]


def shown(batch: pa.RecordBatch, partition: int, schema: pa.Schema) -> pa.RecordBatch:
    """Rows of a partition with the columns asked for."""
    arrays = [
        pa.repeat(pa.scalar(partition, pa.int64()), batch.num_rows)
        if name == PARTITION_COLUMN
        else batch.column(batch.schema.get_field_index(name))
        for name in schema.names
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


# -- output ---------------------------------------------------------------------------------------------------------


def show(console: Console, table: pa.Table) -> None:
    """A table, in the format set."""
    show_batches(console, table.schema, table.to_batches())


def show_batches(console: Console, schema: pa.Schema, batches: Iterator[pa.RecordBatch] | list[pa.RecordBatch]) -> None:
    """Rows, in the format set."""
    if console.settings.format is None:
        types = [str(field.type).removesuffix("[us]") for field in schema]
        console.show_table(pa.Table.from_batches(batches, schema), types)
        return
    from .formats import write_result

    write_result(pa.RecordBatchReader.from_batches(schema, batches), console.settings.format, console.out)
    console.out.flush()


def write_header(console: Console, schema: pa.Schema) -> None:
    """The line of names that CSV begins with."""
    from .formats import csv_header

    console.write(csv_header(schema))


def write_lines(console: Console, batches: Iterator[pa.RecordBatch] | list[pa.RecordBatch]) -> None:
    """Rows that come one after the other."""
    from .formats import csv_lines, json_lines

    lines = csv_lines if console.settings.format == "csv" else json_lines
    for batch in batches:
        console.write(lines(batch))


def abandoned() -> bool:
    """Whether whoever read standard output has gone."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
