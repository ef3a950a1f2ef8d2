"""The table of scalar functions and casts that Arrow kernels compute exactly as DuckDB does.

A row says which function, of which kinds of arguments, how these are first brought to one type, and the kernel. What
has no row runs in DuckDB. To add a function add a row: its examples are then compared with DuckDB over adversarial
values by `tests/sql/test_functions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..engine import kernels
from ..engine.expression import Datum, Kernel
from ..engine.kernels import arrow, cast, chain, swapped

_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
_DAY_US = 86_400_000_000
_UNITS_US = {
    "microsecond": 1,
    "millisecond": 1_000,
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": _DAY_US,
}
_MONDAY_2000_US = 10_959 * _DAY_US  # time_bucket counts from 2000-01-03

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


def describe_type(sql: str) -> tuple[str, pa.DataType | None]:
    """The kind that the table below calls a DuckDB type, and its Arrow form; "other" has no kernels."""
    decimal = _DECIMAL.fullmatch(sql)
    if decimal:
        return "decimal", pa.decimal128(int(decimal[1]), int(decimal[2]))
    return _TYPES.get(sql, ("other", None))


@dataclass(frozen=True)
class Argument:
    """What is known of an argument when the kernel is chosen. `constant` is set if it depends on no column."""

    sql_type: str
    constant: pa.Scalar | None = None

    @property
    def kind(self) -> str:
        return describe_type(self.sql_type)[0]

    @property
    def type(self) -> pa.DataType:
        return describe_type(self.sql_type)[1]


Build = Callable[[Sequence[Argument], pa.DataType], Kernel | None]

# How arguments are brought to one type before `takes` is looked at; any other word is a DuckDB type.
AS_IS = "as is"
RESULT = "the result's type"
COMMON = "the type DuckDB compares them in"


@dataclass(frozen=True)
class Function:
    """One way to compute one function. `takes` and `align` name kinds and policies per argument, the last repeated.

    `build` gives the kernel for the aligned arguments and the result's type, or None if it has none for these.
    `examples` are SQL over {0}, {1}, ...: columns of the kinds that `takes` names.
    """

    name: str
    takes: tuple[str, ...]
    align: tuple[str, ...]
    build: Build
    examples: tuple[str, ...]


def _by_kind(**kernels_by_kind: Kernel) -> Build:
    """The kernel by the kind of the first argument, `other` for kinds not named."""

    def build(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
        return kernels_by_kind.get(arguments[0].kind, kernels_by_kind.get("other"))

    return build


def _always(kernel: Kernel) -> Build:
    return lambda arguments, result: kernel


def _arithmetic(checked: str, unchecked: str) -> Build:
    """Integers overflow with an error, floats to infinity, decimals keep to the precision of the result."""

    def build(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
        if arguments[0].kind == "decimal":
            return chain(arrow(checked), kernels.fits(result))
        return arrow(checked if arguments[0].kind == "integer" else unchecked)

    return build


def _multiply_decimals(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    casts = [None if a.kind == "decimal" else cast(pa.decimal128(_DIGITS[a.type.bit_width], 0)) for a in arguments]
    multiply, fits = arrow("multiply_checked"), kernels.fits(result)

    def run(values: list[Datum]) -> Datum:
        factors = [value if to is None else to([value]) for value, to in zip(values, casts, strict=True)]
        return fits([multiply(factors)])

    return run


NUMBER, REAL = "integer|float|decimal", "float"
ORDERED = "boolean|integer|decimal|text|blob|date|time|timestamp|instant"
VALUE = ORDERED + "|float"
MOMENT = "timestamp|instant"

_equal = _by_kind(float=kernels.float_equal, other=arrow("equal"))
_not_equal = _by_kind(float=kernels.float_not_equal, other=arrow("not_equal"))
_less = _by_kind(float=kernels.float_less, other=arrow("less"))
_less_equal = _by_kind(float=kernels.float_less_equal, other=arrow("less_equal"))
_greater = _by_kind(float=swapped(kernels.float_less), other=arrow("greater"))
_greater_equal = _by_kind(float=swapped(kernels.float_less_equal), other=arrow("greater_equal"))

FUNCTIONS: tuple[Function, ...] = (
    # arithmetic
    Function(
        "+", (NUMBER, NUMBER), (RESULT,), _arithmetic("add_checked", "add"), ("{0} + {1}", "{0} + 1", "{0} + 1.5")
    ),
    Function("-", (NUMBER, NUMBER), (RESULT,), _arithmetic("subtract_checked", "subtract"), ("{0} - {1}", "1 - {0}")),
    Function(
        "*", ("integer|float",) * 2, (RESULT,), _arithmetic("multiply_checked", "multiply"), ("{0} * {1}", "{0} * 2")
    ),
    Function("*", ("integer|decimal",) * 2, (AS_IS,), _multiply_decimals, ("{0} * {1}", "{0} * 0.908", "2 * {0}")),
    Function("/", (REAL, REAL), (RESULT,), _always(arrow("divide")), ("{0} / {1}", "{0} / 3", "{0} / 0")),
    Function("//", ("integer",) * 2, (RESULT,), _always(arrow("divide_checked")), ("{0} // {1}", "{0} // 7")),
    Function("%", ("integer",) * 2, (RESULT,), _always(arrow("remainder_checked")), ("{0} % {1}", "{0} % 7")),
    Function("%", (REAL, REAL), (RESULT,), _always(arrow("remainder")), ("{0} % {1}", "{0} % 7")),
    Function("negate", ("integer",), (RESULT,), _always(arrow("negate_checked")), ("-{0}",)),
    Function("negate", ("float|decimal",), (RESULT,), _always(arrow("negate")), ("-{0}",)),
    # comparison
    Function("=", (VALUE, VALUE), (COMMON,), _equal, ("{0} = {1}",)),
    Function("<>", (VALUE, VALUE), (COMMON,), _not_equal, ("{0} <> {1}",)),
    Function("<", (VALUE, VALUE), (COMMON,), _less, ("{0} < {1}",)),
    Function("<=", (VALUE, VALUE), (COMMON,), _less_equal, ("{0} <= {1}",)),
    Function(">", (VALUE, VALUE), (COMMON,), _greater, ("{0} > {1}",)),
    Function(">=", (VALUE, VALUE), (COMMON,), _greater_equal, ("{0} >= {1}",)),
    # logic
    Function("and", ("boolean",), ("BOOLEAN",), _always(arrow("and_kleene")), ("{0} AND {1}",)),
    Function("or", ("boolean",), ("BOOLEAN",), _always(arrow("or_kleene")), ("{0} OR {1}",)),
    Function("not", ("boolean",), ("BOOLEAN",), _always(arrow("invert")), ("NOT {0}",)),
    Function(
        "is null", (VALUE + "|interval|other",), (AS_IS,), _always(arrow("is_null")), ("{0} IS NULL", "{0} IS NOT NULL")
    ),
)


@dataclass(frozen=True)
class Conversion:
    """One way to cast values of kind `source` to kind `target`, as CAST does and as DuckDB does unasked."""

    source: str
    target: str
    build: Callable[[Argument, Argument], Kernel | None]


CASTS: tuple[Conversion, ...] = (
    Conversion("integer", "integer", lambda source, target: cast(target.type)),
    Conversion("integer", "float", lambda source, target: cast(target.type, safe=False)),
    Conversion("float", "float", lambda source, target: cast(target.type) if target.type.bit_width > 32 else None),
)


def conversion(source: str, target: str) -> Kernel | None:
    """The kernel that casts between two DuckDB types, if there is one."""
    start, end = Argument(source), Argument(target)
    for row in CASTS:
        if start.kind == row.source and end.kind == row.target:
            return row.build(start, end)
    return None


def matches(kinds: tuple[str, ...], arguments: Sequence[Argument]) -> bool:
    """Whether each argument is of a kind its place allows; the last place is repeated."""
    if len(arguments) < len(kinds):
        return False
    places = [*kinds, *[kinds[-1]] * (len(arguments) - len(kinds))]
    return all(argument.kind in place.split("|") for argument, place in zip(arguments, places, strict=True))
