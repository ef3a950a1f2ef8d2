"""A topic's schema through time: its versions, what may change between two, old rows read as the present ones are."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from .errors import NotSupportedError, ProgrammingError

OFFSET_COLUMN = "_offset"
_FILE_START = b"ARROW1\0\0"
_INTEGER_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}
_UNITS = ("s", "ms", "us", "ns")


@dataclass(frozen=True)
class SegmentSchema:
    """One version of a topic's schema, and the bytes that each of its segments begins with.

    A column is known by its field id in `fields`, whatever it is called. `defaults` has, by field id, what a column
    reads where rows were written before there was one; NULL where nothing is said.
    """

    id: int
    schema: pa.Schema
    message: bytes
    fields: tuple[int, ...]
    defaults: Mapping[int, pa.Scalar] = field(default_factory=dict)

    @classmethod
    def first(cls, schema: pa.Schema) -> SegmentSchema:
        """The version that a topic begins with."""
        return cls(0, schema, schema.serialize().to_pybytes(), tuple(range(len(schema))))

    @property
    def file_start(self) -> bytes:
        """Everything before the first frame."""
        return _FILE_START + self.message

    def to_json(self) -> dict[str, Any]:
        """As `topic.json` has it."""
        return {
            "id": self.id,
            "message": base64.b64encode(self.message).decode(),
            "fields": list(self.fields),
            "defaults": {str(number): _encode(value) for number, value in self.defaults.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SegmentSchema:
        """What `to_json` made; format 1 had neither field ids nor defaults."""
        message = base64.b64decode(content["message"])
        schema = pa.ipc.read_schema(pa.py_buffer(message))
        fields = tuple(content.get("fields", range(len(schema))))
        defaults = {int(number): _decode(value) for number, value in content.get("defaults", {}).items()}
        return cls(content["id"], schema, message, fields, defaults)

    def sparse(self) -> pa.Schema:
        """What the file of a compacted segment has: the rows' offsets, then the columns."""
        return pa.schema([pa.field(OFFSET_COLUMN, pa.int64(), nullable=False), *self.schema])


@dataclass(frozen=True)
class AddColumn:
    """A column at the end; rows from before read `default`."""

    field: pa.Field
    default: pa.Scalar | None = None


@dataclass(frozen=True)
class DropColumn:
    """The column is not read any more; files keep it."""

    name: str


@dataclass(frozen=True)
class RenameColumn:
    """The column has another name, for rows from before too."""

    old: str
    new: str


@dataclass(frozen=True)
class WidenColumn:
    """The column has a type that holds each value of the one before."""

    name: str
    type: pa.DataType


Change = AddColumn | DropColumn | RenameColumn | WidenColumn


def changed(
    versions: Sequence[SegmentSchema], change: Change, *, kept: Sequence[str], keys: Sequence[str]
) -> SegmentSchema:
    """The version after the last of `versions`.

    Columns in `kept` may not go; the type of those in `keys` may not change how their values hash.
    Raises: ProgrammingError, NotSupportedError if rows written so far could not be read then.
    """
    last = versions[-1]
    fields, numbers, defaults = list(last.schema), list(last.fields), dict(last.defaults)
    match change:
        case AddColumn(new, default):
            if new.name in last.schema.names:
                raise ProgrammingError(f'column "{new.name}" exists already', sqlstate="42701")
            check_column(new)
            if not new.nullable and (default is None or not default.is_valid):
                raise ProgrammingError(
                    f'cannot add column "{new.name}" that is NOT NULL without a default',
                    detail="The rows that are there would have none.",
                    hint="Give it a DEFAULT.",
                )
            number = 1 + max(number for version in versions for number in version.fields)
            fields.append(new)
            numbers.append(number)
            if default is not None and default.is_valid:
                defaults[number] = default
        case DropColumn(name):
            place = _place(last.schema, name)
            if name in kept:
                raise ProgrammingError(
                    f'cannot drop column "{name}"',
                    detail="The topic is partitioned by it, or it is the event time.",
                )
            if len(fields) == 1:
                raise ProgrammingError(f'cannot drop column "{name}": it is the only one', hint="Drop the stream.")
            defaults.pop(numbers[place], None)
            del fields[place], numbers[place]
        case RenameColumn(old, name):
            place = _place(last.schema, old)
            if name in last.schema.names:
                raise ProgrammingError(f'column "{name}" exists already', sqlstate="42701")
            fields[place] = fields[place].with_name(name)
            check_column(fields[place])
        case WidenColumn(name, kind):
            place = _place(last.schema, name)
            _check_widening(name, fields[place].type, kind, key=name in keys)
            if numbers[place] in defaults:
                defaults[numbers[place]] = defaults[numbers[place]].cast(kind)
            fields[place] = fields[place].with_type(kind)
    schema = pa.schema(fields)
    return SegmentSchema(last.id + 1, schema, schema.serialize().to_pybytes(), tuple(numbers), defaults)


def project(
    batch: pa.RecordBatch, written: SegmentSchema, current: SegmentSchema, columns: Sequence[str] | None = None
) -> pa.RecordBatch:
    """Rows of the version `written` as `current` has them; `columns` of it in the order given, or all."""
    if written is current:
        return batch if columns is None else batch.select(columns)
    fields = list(current.schema) if columns is None else [current.schema.field(name) for name in columns]
    arrays = []
    for wanted in fields:
        number = current.fields[current.schema.get_field_index(wanted.name)]
        if number in written.fields:
            array = batch.column(written.fields.index(number))
            arrays.append(array if array.type == wanted.type else array.cast(wanted.type))
        elif number in current.defaults:
            arrays.append(pa.repeat(current.defaults[number], batch.num_rows).cast(wanted.type))
        else:
            arrays.append(pa.nulls(batch.num_rows, wanted.type))
    if not arrays:
        return batch.select([])
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def check_column(column: pa.Field) -> None:
    """Raises: NotSupportedError, ProgrammingError if a segment cannot hold such a column."""
    if not _is_plain(column.type):
        raise NotSupportedError(
            f'cannot store column "{column.name}" of type {column.type}',
            detail="Dictionaries, views and run ends cannot be appended to an Arrow file.",
            hint="Store the plain values, such as VARCHAR instead of ENUM.",
        )
    if column.name == OFFSET_COLUMN:
        raise ProgrammingError(
            f'cannot name a column "{OFFSET_COLUMN}"',
            detail="Compacted segments keep the rows' offsets under this name.",
        )


def _is_plain(kind: pa.DataType) -> bool:
    encoded = (
        pa.types.is_dictionary(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_run_end_encoded(kind)
    )
    return not encoded and all(_is_plain(kind.field(number).type) for number in range(kind.num_fields))


def _place(schema: pa.Schema, name: str) -> int:
    place = int(schema.get_field_index(name))
    if place < 0:
        raise ProgrammingError(f'there is no column "{name}"', sqlstate="42703")
    return place


def _check_widening(name: str, old: pa.DataType, new: pa.DataType, *, key: bool) -> None:
    if not _widens(old, new):
        raise ProgrammingError(
            f'cannot change column "{name}" from {old} to {new}',
            detail="Rows that are there may hold values that the new type does not.",
            hint="Add a column of the new type, and drop this one when nobody reads it any more.",
            sqlstate="42804",
        )
    same_hash = (pa.types.is_integer(old) and pa.types.is_integer(new)) or (
        pa.types.is_floating(old) and pa.types.is_floating(new)
    )
    if key and not same_hash:
        raise ProgrammingError(
            f'cannot change column "{name}" from {old} to {new}',
            detail="The topic is partitioned by it, and equal values would go to other partitions from now on.",
        )


def _widens(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether every value of `old` is one of `new`."""
    t = pa.types
    if t.is_integer(old) and t.is_integer(new):
        if t.is_unsigned_integer(old) == t.is_unsigned_integer(new):
            return bool(old.bit_width < new.bit_width)
        return bool(t.is_unsigned_integer(old) and old.bit_width < new.bit_width)
    if t.is_integer(old) and t.is_float64(new):
        return bool(old.bit_width <= 32)
    if t.is_integer(old) and t.is_float32(new):
        return bool(old.bit_width <= 16)
    if t.is_integer(old) and t.is_decimal(new):
        return bool(new.precision - new.scale >= _INTEGER_DIGITS[old.bit_width] + (str(old) == "uint64"))
    if t.is_floating(old) and t.is_floating(new):
        return bool(old.bit_width < new.bit_width)
    if t.is_decimal(old) and t.is_decimal(new):
        digits = new.precision - new.scale >= old.precision - old.scale
        return bool(digits and new.scale >= old.scale and old != new)
    if t.is_date32(old) and t.is_timestamp(new):
        return new.tz is None and new.unit != "ns"
    if t.is_timestamp(old) and t.is_timestamp(new):
        return bool(old.tz == new.tz and new.unit != "ns" and _UNITS.index(old.unit) < _UNITS.index(new.unit))
    return bool((t.is_string(old) and t.is_large_string(new)) or (t.is_binary(old) and t.is_large_binary(new)))


def _encode(value: pa.Scalar) -> str:
    batch = pa.record_batch({"default": pa.array([value.as_py()], value.type)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return base64.b64encode(sink.getvalue()).decode()


def _decode(text: str) -> pa.Scalar:
    return pa.ipc.open_stream(base64.b64decode(text)).read_next_batch().column(0)[0]
