"""The table of casts that Arrow kernels compute exactly as DuckDB's CAST, or else decline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from ..engine import number_kernels as n
from ..engine import time_kernels as t
from ..engine.expression import Kernel
from ..engine.kernels import cast, chain
from .kinds import Argument, matches

INTEGER_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}  # enough for all values of that many bits


@dataclass(frozen=True)
class Cast:
    """One way to cast from a kind to a kind; `build` returns None where it has no kernel for these two types."""

    source: str
    target: str
    build: Callable[[pa.DataType, pa.DataType], Kernel | None]


def _integer_to_decimal(source: pa.DataType, target: pa.DataType) -> Kernel | None:
    digits = INTEGER_DIGITS[source.bit_width] + target.scale
    return chain(cast(pa.decimal128(digits, target.scale)), cast(target)) if digits <= 38 else None


def _decimal_to_decimal(source: pa.DataType, target: pa.DataType) -> Kernel | None:
    return cast(target) if source.scale <= target.scale else n.round_decimal(source, target.scale, target)


def _decimal_to_integer(source: pa.DataType, target: pa.DataType) -> Kernel | None:
    return n.round_decimal(source, 0, target)


def _float_to_float(source: pa.DataType, target: pa.DataType) -> Kernel:
    return cast(target) if source.bit_width < target.bit_width else n.finite_cast(target)


def _safely(source: pa.DataType, target: pa.DataType) -> Kernel:
    return cast(target)


def _moment_to_date(source: pa.DataType, target: pa.DataType) -> Kernel:
    return chain(t.finite(t.naive), cast(target, safe=False))


CASTS: tuple[Cast, ...] = (
    Cast("integer", "integer", _safely),
    Cast("integer", "float", lambda source, target: cast(target, safe=False)),
    Cast("integer", "decimal", _integer_to_decimal),
    Cast("integer|boolean|decimal", "text", _safely),
    Cast("integer", "boolean", _safely),
    Cast("boolean", "integer", _safely),
    Cast("float", "float", _float_to_float),
    Cast("float", "integer", lambda source, target: n.round_half_even_to(target)),
    Cast("decimal", "decimal", _decimal_to_decimal),
    Cast("decimal", "integer", _decimal_to_integer),
    Cast("decimal", "float", n.decimal_to_float),
    Cast("integer", "huge", _safely),
    Cast("huge", "integer", lambda source, target: chain(n.units_of, cast(target))),
    Cast("huge", "float", lambda source, target: n.huge_to_float(target)),
    Cast("huge", "text", _safely),
    Cast("text", "boolean|integer|float|date", _safely),
    Cast("text", "timestamp", lambda source, target: t.text_to_timestamp),
    Cast("date", "timestamp", lambda source, target: t.finite(cast(target))),
    Cast("date", "instant", lambda source, target: t.finite(cast(target))),
    Cast("date", "text", lambda source, target: chain(t.common_era, cast(target))),
    Cast("timestamp", "text", lambda source, target: t.timestamp_to_text()),
    Cast("timestamp|instant", "date", _moment_to_date),
    Cast("instant", "timestamp", lambda source, target: t.naive),
    Cast("timestamp", "instant", lambda source, target: t.relabelled(target)),
)


def conversion(source: Argument, target: Argument) -> Kernel | None:
    """The kernel that casts from one type to another, if there is one."""
    for row in CASTS:
        if matches(source, row.source) and matches(target, row.target):
            return row.build(source.type, target.type)
    return None
