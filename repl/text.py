"""Values as text: whole Arrow columns to the text that SQL, JSON and CSV write for them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_MARKS = re.compile(r"""['"\\,:=(){}\[\]]""")  # what means something to who reads a list, a struct or a map


def sql_text(column: pa.Array) -> pa.Array:
    """Each value as SQL prints it: `2013-01-01 05:15:00`, `1.0`, `true`, `[1, NULL]`. NULL stays NULL."""
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pc.cast(column, pa.string())
    if pa.types.is_dictionary(kind):
        return sql_text(column.dictionary_decode())
    if pa.types.is_timestamp(kind):
        return timestamp_text(column)
    if pa.types.is_time(kind):
        return without_zeros(pc.cast(column, pa.string()))
    if pa.types.is_floating(kind):
        return float_text(column)
    if is_plain(kind):
        return pc.cast(column, pa.string())
    return by_value(column, value_text)


def json_text(column: pa.Array) -> pa.Array:
    """Each value as JSON writes it; NULL is `null`. What JSON has no number for (nan, inf) is a string."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_boolean(kind):
        text = pc.cast(column, pa.string())
    elif pa.types.is_floating(kind):
        text = pc.if_else(pc.is_finite(column), float_text(column), quoted(float_text(column)))
    elif pa.types.is_nested(kind):
        text = by_value(column, lambda value, kind: json.dumps(json_value(value, kind), ensure_ascii=False))
    else:
        text = json_string(sql_text(column))
    return pc.fill_null(text, "null")


def csv_text(column: pa.Array) -> pa.Array:
    """Each value as a CSV field, quoted only where it must be; NULL is empty, and the empty string is `""`."""
    text = sql_text(column)
    if not may_need_quotes(column.type):
        return pc.fill_null(text, "")
    needed = pc.match_substring_regex(text, r'[",\r\n]|^$')
    return pc.fill_null(pc.if_else(needed, quoted(pc.replace_substring(text, '"', '""')), text), "")


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column of this type lines up on the right."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_plain(kind: pa.DataType) -> bool:
    """Whether Arrow's own cast to text is what SQL prints."""
    return bool(is_numeric(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind) or pa.types.is_null(kind))


def may_need_quotes(kind: pa.DataType) -> bool:
    """Whether a comma, a quote or a line break can be in the text of this type."""
    return not (is_plain(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind))


def quoted(text: pa.Array) -> pa.Array:
    """The text between double quotes."""
    return pc.binary_join_element_wise('"', text, '"', "")


def json_string(text: pa.Array) -> pa.Array:
    """The text as JSON strings; only the few that hold something to escape are looked at one by one."""
    special = pc.match_substring_regex(text, r'["\\\x00-\x1f\x7f]')
    if not pc.any(special).as_py():
        return quoted(text)
    escaped = [json.dumps(value, ensure_ascii=False) for value in text.filter(special).to_pylist()]
    return pc.replace_with_mask(quoted(text), pc.fill_null(special, fill_value=False), pa.array(escaped, pa.string()))


def float_text(column: pa.Array) -> pa.Array:
    """Shortest text that reads back as the same number, with a point or an exponent in it: `100.0`, `1e+16`."""
    text = pc.cast(column, pa.string())
    return pc.replace_substring_regex(text, r"^(-?\d+)$", r"\1.0")


def timestamp_text(column: pa.Array) -> pa.Array:
    """`2013-01-01 05:15:00.25`; with a zone, its wall clock and `+01` or `+05:30` behind."""
    if column.type.tz in ("UTC", "Etc/UTC"):  # needs no time zone database, which a small system may lack
        naive = pc.cast(column, pa.timestamp(column.type.unit))
        return pc.binary_join_element_wise(without_zeros(pc.cast(naive, pa.string())), "+00", "")
    text = without_zeros(pc.cast(column, pa.string()))
    if column.type.tz is None:
        return text
    text = pc.replace_substring_regex(text, r"([+-]\d\d)00$", r"\1")
    return pc.replace_substring_regex(text, r"([+-]\d\d)(\d\d)$", r"\1:\2")


def without_zeros(text: pa.Array) -> pa.Array:
    """Times without the zeros that end their fraction."""
    shorter = pc.replace_substring_regex(text, r"(\.\d*?)0+([+-]|$)", r"\1\2")
    return pc.replace_substring_regex(shorter, r"\.([+-]|$)", r"\1")


def by_value(column: pa.Array, write: Callable[[Any, pa.DataType], str]) -> pa.Array:
    """The slow path, for types that no kernel prints: nested values, intervals, binary."""
    values = column.to_pylist()
    return pa.array([None if value is None else write(value, column.type) for value in values], pa.string())


def value_text(value: Any, kind: pa.DataType) -> str:
    """One Python value of Arrow type `kind`, as SQL prints it."""
    if value is None:
        return "NULL"
    if pa.types.is_struct(kind):
        fields = [f"{inner_quoted(field.name)}: {inner_text(value[field.name], field.type)}" for field in kind]
        return "{" + ", ".join(fields) + "}"
    if pa.types.is_map(kind):
        pairs = [f"{inner_text(key, kind.key_type)}={inner_text(item, kind.item_type)}" for key, item in value]
        return "{" + ", ".join(pairs) + "}"
    if pa.types.is_nested(kind):
        return "[" + ", ".join(inner_text(item, kind.value_type) for item in value) + "]"
    if isinstance(value, bytes):
        return "".join(chr(byte) if 32 <= byte < 127 and byte not in b"'\"\\" else f"\\x{byte:02X}" for byte in value)
    if isinstance(value, pa.MonthDayNano):
        return interval_text(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def inner_text(value: Any, kind: pa.DataType) -> str:
    """A value inside of another, between quotes if it could be taken for something else."""
    text = value_text(value, kind)
    if value is None or pa.types.is_nested(kind):
        return text
    plain = text and text.upper() != "NULL" and text == text.strip() and not _MARKS.search(text)
    return text if plain else inner_quoted(text)


def inner_quoted(text: str) -> str:
    """The text between quotes, as it stands in a list, a struct or a map."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def interval_text(interval: pa.MonthDayNano) -> str:
    """`1 year 2 months 3 days 04:05:06.7`, without the parts that are zero."""
    years, months = divmod(abs(interval.months), 12)
    sign = "-" if interval.months < 0 else ""
    parts = [
        f"{sign if unit != 'day' else ''}{count} {unit}{'' if abs(count) == 1 else 's'}"
        for count, unit in ((years, "year"), (months, "month"), (interval.days, "day"))
        if count
    ]
    if interval.nanoseconds or not parts:
        seconds, fraction = divmod(abs(interval.nanoseconds), 10**9)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        rest = f".{fraction:09}".rstrip("0").rstrip(".")
        parts.append(("-" if interval.nanoseconds < 0 else "") + clock + rest)
    return " ".join(parts)


def json_value(value: Any, kind: pa.DataType) -> Any:
    """A nested Python value of Arrow type `kind`, with only what JSON knows in it."""
    if pa.types.is_struct(kind) and value is not None:
        return {field.name: json_value(value[field.name], field.type) for field in kind}
    if pa.types.is_map(kind) and value is not None:
        return {value_text(key, kind.key_type): json_value(item, kind.item_type) for key, item in value}
    if pa.types.is_nested(kind) and value is not None:
        return [json_value(item, kind.value_type) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    return value if value is None or isinstance(value, bool | int) else value_text(value, kind)
