"""Results as programs read them: CSV, JSON, JSON lines, Parquet and Arrow, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from ..storage.errors import InterfaceError
from .text import csv_text, json_string, json_text


@dataclass(frozen=True)
class Format:
    """What a format can do: `binary` is not for a terminal, `live` can be written change by change, for ever."""

    suffixes: tuple[str, ...]
    binary: bool = False
    live: bool = False
    shown: bool = False  # drawn by render.py, for people


FORMATS: Mapping[str, Format] = {
    "table": Format((".txt",), shown=True),
    "markdown": Format((".md",), shown=True),
    "csv": Format((".csv",), live=True),
    "json": Format((".json",)),
    "jsonl": Format((".jsonl", ".ndjson"), live=True),
    "parquet": Format((".parquet",), binary=True),
    "arrow": Format((".arrow", ".feather"), binary=True),
}


def format_of(path: Path) -> str | None:
    """The format that the name of a file asks for."""
    return next((name for name, kind in FORMATS.items() if path.suffix.lower() in kind.suffixes), None)


def write_result(reader: pa.RecordBatchReader, name: str, file: BinaryIO) -> int:
    """All rows of `reader` to `file` in one of the formats for programs; how many there were."""
    counted = Counted(reader)
    match name:
        case "csv":
            file.write(csv_header(reader.schema))
            file.writelines(csv_lines(batch) for batch in counted)
        case "jsonl":
            file.writelines(json_lines(batch) for batch in counted)
        case "json":
            file.writelines(json_array(counted))
        case "parquet":
            write_parquet(reader.schema, counted, file)
        case "arrow":
            with pa.ipc.new_file(file, reader.schema) as writer:
                for batch in counted:
                    writer.write_batch(batch)
        case _:
            raise AssertionError(name)
    return counted.rows


def csv_header(schema: pa.Schema) -> bytes:
    """The line of names."""
    return memory(joined([csv_text(pa.array([name])) for name in schema.names], ","))


def csv_lines(batch: pa.RecordBatch) -> bytes:
    """A line of CSV for each row."""
    return memory(joined([csv_text(column) for column in batch.columns], ","))


def json_lines(batch: pa.RecordBatch) -> bytes:
    """A JSON object for each row, each on its own line."""
    return memory(json_objects(batch, end="}\n"))


def json_array(batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """One JSON array of all rows as objects, one a line."""
    start = b"[\n"
    for batch in batches:
        if batch.num_rows:
            yield start + memory(json_objects(batch, end="},\n"))[:-2]
            start = b",\n"
    yield b"[]\n" if start == b"[\n" else b"\n]\n"


class Counted:
    """The batches of a reader, and how many rows have gone by."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self.reader = reader
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self.reader:
            self.rows += batch.num_rows
            yield batch


def json_objects(batch: pa.RecordBatch, end: str) -> pa.Array:
    """Each row as a JSON object that ends in `end`."""
    names = json_string(pa.array(batch.schema.names, pa.string())).to_pylist()
    starts = ["{" if index == 0 else "," for index in range(len(names))]
    parts: list[pa.Array | str] = []
    for start, name, column in zip(starts, names, batch.columns, strict=True):
        parts += [start + name + ":", json_text(column)]
    return pc.binary_join_element_wise(*parts, end, "")


def joined(columns: list[pa.Array], separator: str) -> pa.Array:
    """The columns' texts with a separator between, a line break at the end."""
    lines = columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, separator)
    return pc.binary_join_element_wise(lines, "\n", "")


def memory(text: pa.Array) -> bytes:
    """All texts of an Arrow column, one after the other: the very buffer it holds."""
    offsets = text.buffers()[1]
    if len(text) == 0 or offsets is None:
        return b""
    bounds = pa.Array.from_buffers(pa.int32(), len(text) + 1, [None, offsets], offset=text.offset)
    start, end = bounds[0].as_py(), bounds[len(text)].as_py()
    return bytes(text.buffers()[2].slice(start, end - start))


def write_parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], file: BinaryIO) -> None:
    """A Parquet file. Raises: InterfaceError for a type that Parquet has no room for."""
    from pyarrow import parquet

    try:
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
    except pa.ArrowNotImplementedError as error:
        raise InterfaceError(
            "cannot write this result as parquet",
            detail=str(error),
            hint="Leave the column out, cast it, or choose --format arrow.",
        ) from error
