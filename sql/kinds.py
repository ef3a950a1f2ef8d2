"""Kinds of DuckDB types: what the tables of functions and casts tell apart, and how Arrow carries each."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

from .types import arrow_type

_TYPES: dict[str, tuple[str, pa.DataType]] = {
    "BOOLEAN": ("boolean", pa.bool_()),
    "TINYINT": ("integer", pa.int8()),
    "SMALLINT": ("integer", pa.int16()),
    "INTEGER": ("integer", pa.int32()),
    "BIGINT": ("integer", pa.int64()),
    "UTINYINT": ("integer", pa.uint8()),
    "USMALLINT": ("integer", pa.uint16()),
    "UINTEGER": ("integer", pa.uint32()),
    "UBIGINT": ("integer", pa.uint64()),
    "HUGEINT": ("huge", pa.decimal128(38, 0)),
    "FLOAT": ("float", pa.float32()),
    "DOUBLE": ("float", pa.float64()),
    "VARCHAR": ("text", pa.string()),
    "BLOB": ("blob", pa.binary()),
    "DATE": ("date", pa.date32()),
    "TIME": ("time", pa.time64("us")),
    "TIMESTAMP": ("timestamp", pa.timestamp("us")),
    "TIMESTAMP WITH TIME ZONE": ("instant", pa.timestamp("us", "UTC")),
    "INTERVAL": ("interval", pa.month_day_nano_interval()),
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_NESTED = {"STRUCT(": "struct", "MAP(": "map"}  # by how the type begins, unless it ends as a list does

# Unions of kinds, for the tables.
NUMBER = "integer|huge|float|decimal"
MOMENT = "timestamp|instant"
DISCRETE = f"boolean|integer|huge|decimal|text|blob|date|time|{MOMENT}"  # all that compare without NaN
VALUE = f"{DISCRETE}|float"
NESTED = "list|struct|map"
ANY = f"{VALUE}|{NESTED}|interval|other"


@dataclass(frozen=True)
class Argument:
    """What is known of an argument when its kernel is chosen. `constant` is set if it depends on no column."""

    sql_type: str
    constant: pa.Scalar | None = None

    @property
    def kind(self) -> str:
        """Its type's kind; "other" for types without kernels."""
        if self.sql_type in _TYPES:
            return _TYPES[self.sql_type][0]
        if self.sql_type.endswith("[]"):
            return "list"
        if _DECIMAL.fullmatch(self.sql_type):
            return "decimal"
        return next((kind for start, kind in _NESTED.items() if self._begins(start)), "other")

    @property
    def type(self) -> pa.DataType:
        """Its type in Arrow; null for types without kernels."""
        if self.sql_type in _TYPES:
            return _TYPES[self.sql_type][1]
        decimal = _DECIMAL.fullmatch(self.sql_type)
        if decimal is not None:
            return pa.decimal128(int(decimal[1]), int(decimal[2]))
        return arrow_type(self.sql_type) if self.kind in NESTED.split("|") else pa.null()

    def _begins(self, start: str) -> bool:
        return self.sql_type.startswith(start) and self.sql_type.endswith(")")


def matches(argument: Argument, kinds: str) -> bool:
    """Whether the argument is of one of `kinds`, which `|` separates."""
    return argument.kind in kinds.split("|")
