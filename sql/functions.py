"""The table of scalar functions that Arrow kernels compute exactly as DuckDB does, or else decline.

What has no row here runs in DuckDB. To add a function add a row: `tests/sql/test_functions.py` then compares its
examples with DuckDB over adversarial values, for all types of the kinds that the row takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from ..engine import kernels as k
from ..engine import text_kernels as text
from ..engine import time_kernels as t
from ..engine.kernels import arrow, chain
from . import function_kernels as f
from . import nested_function_kernels as fn
from . import text_function_kernels as ft
from .kinds import ANY, DISCRETE, MOMENT, NESTED, NUMBER, VALUE

# How arguments are brought to one type before `takes` is looked at; any other word is a DuckDB type to cast to.
AS_IS = "as is"
RESULT = "the result's type"
COMMON = "the type DuckDB compares them in"
ELEMENT = "the type of the result's elements"


@dataclass(frozen=True)
class Function:
    """One way to compute one function. `takes` (kinds) and `align` are per argument, the last one repeated.

    `build` makes the kernel for aligned arguments and the result's type, or says None: not for these.
    `examples` are SQL over {0}, {1}, ...: columns of the kinds that `takes` allows at that place.
    """

    name: str
    takes: tuple[str, ...]
    align: tuple[str, ...]
    build: f.Build
    examples: tuple[str, ...]


_TEXT2 = ("text", "text")
_INTEGER2 = ("integer", "integer")
_WHOLE2 = ("integer|huge",) * 2
_FLOAT = ("float",)
_MOMENT = (f"date|{MOMENT}",)

_ARITHMETIC = (
    Function("+", (NUMBER, NUMBER), (RESULT,), f.arithmetic("add"), ("{0} + {1}", "{0} + 1", "1.5 + {0}")),
    Function("-", (NUMBER, NUMBER), (RESULT,), f.arithmetic("subtract"), ("{0} - {1}", "1 - {0}", "{0} - 1.5")),
    Function("*", ("integer|huge|float",) * 2, (RESULT,), f.arithmetic("multiply"), ("{0} * {1}", "{0} * 2")),
    Function("*", ("integer|decimal",) * 2, (AS_IS,), f.multiply_decimals, ("{0} * {1}", "{0} * 0.908", "2 * {0}")),
    Function(
        "/", ("float", "float"), (RESULT,), f.always(arrow("divide")), ("{0} / {1}", "{0} / 3", "1 / {0}", "{0} / 0")
    ),
    Function("//", _WHOLE2, (RESULT,), f.arithmetic("divide"), ("{0} // {1}", "{0} // 7")),
    Function("%", _WHOLE2, (RESULT,), f.arithmetic("remainder"), ("{0} % {1}", "{0} % 7")),
    Function("%", ("float", "float"), (RESULT,), f.always(arrow("remainder")), ("{0} % {1}", "{0} % 7")),
    Function("negate", ("integer|huge",), (RESULT,), f.arithmetic("negate"), ("-{0}",)),
    Function("negate", ("float|decimal",), (RESULT,), f.always(arrow("negate")), ("-{0}",)),
    Function("&", _INTEGER2, (RESULT,), f.always(arrow("bit_wise_and")), ("{0} & {1}", "{0} & 3")),
    Function("|", _INTEGER2, (RESULT,), f.always(arrow("bit_wise_or")), ("{0} | {1}",)),
    Function("abs", ("integer|huge",), (RESULT,), f.arithmetic("abs"), ("abs({0})",)),
    Function("abs", ("float|decimal",), (RESULT,), f.always(arrow("abs")), ("abs({0})",)),
    Function("sign", ("integer",), (AS_IS,), f.always(arrow("sign")), ("sign({0})",)),
    Function("round", ("float",), (RESULT,), f.round_float, ("round({0})",)),
    Function("round", ("float", "integer"), (RESULT, AS_IS), f.round_float, ("round({0}, 0)", "round({0}, 2)")),
    Function("round", ("decimal",), (AS_IS,), f.round_decimal, ("round({0})",)),
    Function("round", ("decimal", "integer"), (AS_IS,), f.round_decimal, ("round({0}, 1)",)),
    Function("floor", _FLOAT, (RESULT,), f.always(arrow("floor")), ("floor({0})",)),
    Function("ceil", _FLOAT, (RESULT,), f.always(arrow("ceil")), ("ceil({0})",)),
    Function("trunc", _FLOAT, (RESULT,), f.always(arrow("trunc")), ("trunc({0})",)),
    Function("sqrt", _FLOAT, ("DOUBLE",), f.always(arrow("sqrt")), ("sqrt({0})",)),
    Function("ln", _FLOAT, ("DOUBLE",), f.always(arrow("ln")), ("ln({0})",)),
    Function("exp", _FLOAT, ("DOUBLE",), f.always(arrow("exp")), ("exp({0})",)),
    Function("power", ("float", "float"), ("DOUBLE",), f.always(arrow("power")), ("power({0}, 2)", "pow({0}, {1})")),
    Function("power", (NUMBER, NUMBER), ("DOUBLE",), f.always(arrow("power")), ("{0} ** 2",)),
    Function("log10", _FLOAT, ("DOUBLE",), f.always(arrow("log10")), ("log10({0})", "log({0})")),
    Function("log2", _FLOAT, ("DOUBLE",), f.always(arrow("log2")), ("log2({0})",)),
    Function("sin", _FLOAT, ("DOUBLE",), f.always(arrow("sin_checked")), ("sin({0})",)),
    Function("cos", _FLOAT, ("DOUBLE",), f.always(arrow("cos_checked")), ("cos({0})",)),
    Function("tan", _FLOAT, ("DOUBLE",), f.always(arrow("tan_checked")), ("tan({0})",)),
    Function("atan", _FLOAT, ("DOUBLE",), f.always(arrow("atan")), ("atan({0})",)),
    Function("atan2", ("float", "float"), ("DOUBLE",), f.always(arrow("atan2")), ("atan2({0}, {1})",)),
    Function("asin", _FLOAT, ("DOUBLE",), f.always(arrow("asin_checked")), ("asin({0})",)),
    Function("acos", _FLOAT, ("DOUBLE",), f.always(arrow("acos_checked")), ("acos({0})",)),
    Function("degrees", _FLOAT, ("DOUBLE",), f.degrees, ("degrees({0})",)),
    Function("radians", _FLOAT, ("DOUBLE",), f.radians, ("radians({0})",)),
    Function("floor", ("decimal",), (AS_IS,), f.whole_decimal("floor"), ("floor({0})",)),
    Function("ceil", ("decimal",), (AS_IS,), f.whole_decimal("ceil"), ("ceil({0})", "ceiling({0})")),
    Function("xor", _INTEGER2, (RESULT,), f.always(arrow("bit_wise_xor")), ("xor({0}, {1})",)),
    Function("~", ("integer",), (RESULT,), f.always(arrow("bit_wise_not")), ("~{0}",)),
    Function("isfinite", _FLOAT, (AS_IS,), f.always(arrow("is_finite")), ("isfinite({0})",)),
    Function("isnan", _FLOAT, (AS_IS,), f.always(arrow("is_nan")), ("isnan({0})",)),
    Function("isinf", _FLOAT, (AS_IS,), f.always(arrow("is_inf")), ("isinf({0})",)),
)

_COMPARISON = (
    Function("=", (VALUE, VALUE), (COMMON,), f.for_floats(k.float_equal, arrow("equal")), ("{0} = {1}", "{0} = 1")),
    Function("<>", (VALUE, VALUE), (COMMON,), f.for_floats(k.float_not_equal, arrow("not_equal")), ("{0} <> {1}",)),
    Function("<", (VALUE, VALUE), (COMMON,), f.for_floats(k.float_less, arrow("less")), ("{0} < {1}", "{0} < 1.5")),
    Function("<=", (VALUE, VALUE), (COMMON,), f.for_floats(k.float_less_equal, arrow("less_equal")), ("{0} <= {1}",)),
    Function(">", (VALUE, VALUE), (COMMON,), f.for_floats(k.float_greater, arrow("greater")), ("{0} > {1}", "{0} > 1")),
    Function(
        ">=", (VALUE, VALUE), (COMMON,), f.for_floats(k.float_greater_equal, arrow("greater_equal")), ("{0} >= {1}",)
    ),
    Function(
        "is distinct from",
        (VALUE, VALUE),
        (COMMON,),
        f.for_floats(k.distinct(k.float_equal), k.distinct(arrow("equal"))),
        ("{0} IS DISTINCT FROM {1}",),
    ),
    Function(
        "is not distinct from",
        (VALUE, VALUE),
        (COMMON,),
        f.for_floats(
            chain(k.distinct(k.float_equal), arrow("invert")), chain(k.distinct(arrow("equal")), arrow("invert"))
        ),
        ("{0} IS NOT DISTINCT FROM {1}",),
    ),
    Function(
        "in",
        (DISCRETE, DISCRETE),
        (COMMON,),
        f.among,
        ("{0} IN (1, 1.25, NULL)", "{0} IN ('a')", "{0} IN (DATE '2020-02-29')"),
    ),
    Function("greatest", (DISCRETE, DISCRETE), (RESULT,), f.greatest, ("greatest({0}, {1})",)),
    Function(
        "greatest", ("float", "float"), (RESULT,), f.always(k.float_extreme(k.float_less)), ("greatest({0}, {1})",)
    ),
    Function("least", (DISCRETE, DISCRETE), (RESULT,), f.least, ("least({0}, {1})",)),
    Function("least", ("float", "float"), (RESULT,), f.always(k.float_extreme(k.float_greater)), ("least({0}, {1})",)),
)

_LOGIC = (
    Function(
        "and", ("boolean",), ("BOOLEAN",), f.always(arrow("and_kleene")), ("{0} AND {1}", "{0} BETWEEN {1} AND {1}")
    ),
    Function("or", ("boolean",), ("BOOLEAN",), f.always(arrow("or_kleene")), ("{0} OR {1}",)),
    Function("not", ("boolean",), ("BOOLEAN",), f.always(arrow("invert")), ("NOT {0}",)),
    Function("is null", (ANY,), (AS_IS,), f.always(arrow("is_null")), ("{0} IS NULL", "{0} IS NOT NULL")),
    Function("is true", ("boolean",), ("BOOLEAN",), f.always(k.is_true), ("{0} IS TRUE", "{0} IS NOT TRUE")),
    Function("is false", ("boolean",), ("BOOLEAN",), f.always(k.is_false), ("{0} IS FALSE",)),
    Function(
        "if",
        ("boolean", VALUE, VALUE),
        ("BOOLEAN", RESULT),
        f.always(k.choose),
        ("CASE WHEN {0} THEN {1} ELSE {2} END", "CASE WHEN {0} THEN {1} END", "if({0}, {1}, NULL)"),
    ),
    Function("coalesce", (VALUE,), (RESULT,), f.always(arrow("coalesce")), ("coalesce({0}, {0})", "ifnull({0}, NULL)")),
)

_TEXT = (
    Function("||", _TEXT2, ("VARCHAR",), ft.join, ("{0} || {1}", "{0} || '-'")),
    Function("concat", ("text",), ("VARCHAR",), ft.concat, ("concat({0}, {0}, 'x')",)),
    Function("lower", ("text",), (AS_IS,), f.always(text.settled_case("utf8_lower")), ("lower({0})",)),
    Function("upper", ("text",), (AS_IS,), f.always(text.settled_case("utf8_upper")), ("upper({0})",)),
    Function(
        "length", ("text",), (AS_IS,), f.always(chain(arrow("utf8_length"), k.cast(pa.int64()))), ("length({0})",)
    ),
    Function("substring", ("text", "integer"), (AS_IS,), ft.substring, ("substr({0}, 2, 3)", "substr({0}, -2)")),
    Function("left", ("text", "integer"), (AS_IS,), ft.left, ("left({0}, 2)", "left({0}, -1)", "left({0}, 0)")),
    Function("right", ("text", "integer"), (AS_IS,), ft.right, ("right({0}, 2)", "right({0}, -1)", "right({0}, 0)")),
    Function("trim", ("text",), (AS_IS,), ft.trim("utf8_trim"), ("trim({0})", "trim({0}, 'ax')")),
    Function("ltrim", ("text",), (AS_IS,), ft.trim("utf8_ltrim"), ("ltrim({0})",)),
    Function("rtrim", ("text",), (AS_IS,), ft.trim("utf8_rtrim"), ("rtrim({0}, 'é')",)),
    Function("like", _TEXT2, (AS_IS,), ft.like, ("{0} LIKE 'a%'", "{0} NOT LIKE '%b'", "{0} LIKE '_%'", "{0} LIKE ''")),
    Function("contains", _TEXT2, (AS_IS,), ft.match("match_substring"), ("contains({0}, 'a')", "contains({0}, '')")),
    Function("list_slice", ("text", "integer", "integer"), (AS_IS,), ft.between, ("{0}[2:3]", "{0}[-2:]", "{0}[:1]")),
    Function("subscript", ("text", "integer"), (AS_IS,), ft.character, ("{0}[2]", "{0}[-1]")),
    Function("regexp_extract", ("text", "text|integer"), (AS_IS,), ft.extract, ft.EXTRACTS),
    Function("starts_with", _TEXT2, (AS_IS,), ft.match("starts_with"), ("starts_with({0}, 'a')",)),
    Function("prefix", _TEXT2, (AS_IS,), ft.match("starts_with"), ("prefix({0}, '')",)),
    Function("suffix", _TEXT2, (AS_IS,), ft.match("ends_with"), ("suffix({0}, 'b')",)),
    Function("regexp_matches", _TEXT2, (AS_IS,), ft.match("match_substring_regex"), ("regexp_matches({0}, '^a.*b$')",)),
    Function("replace", ("text",) * 3, (AS_IS,), ft.replace, ("replace({0}, 'a', 'é')", "replace({0}, 'aa', '')")),
    Function("ilike", _TEXT2, (AS_IS,), ft.ilike, ("{0} ILIKE 'a%B'", "{0} NOT ILIKE '%x%'")),
    Function(
        "strlen", ("text",), (AS_IS,), f.always(chain(arrow("binary_length"), k.cast(pa.int64()))), ("strlen({0})",)
    ),
    Function("strpos", _TEXT2, (AS_IS,), ft.position, ("strpos({0}, 'b')", "instr({0}, 'xa')", "position('a' IN {0})")),
    Function(
        "lpad", ("text", "integer", "text"), (AS_IS,), ft.pad("utf8_lpad"), ("lpad({0}, 3, '*')", "lpad({0}, 0, 'x')")
    ),
    Function("rpad", ("text", "integer", "text"), (AS_IS,), ft.pad("utf8_rpad"), ("rpad({0}, 4, 'é')",)),
    Function("repeat", ("text", "integer"), (AS_IS,), ft.repeat, ("repeat({0}, 3)", "repeat({0}, 0)")),
    Function("reverse", ("text",), (AS_IS,), f.always(arrow("ascii_reverse")), ("reverse({0})",)),
    Function("concat_ws", ("text",), ("VARCHAR",), ft.concat_with_separator, ("concat_ws('-', {0}, {1})",)),
    Function("regexp_full_match", _TEXT2, (AS_IS,), ft.full_match, ("regexp_full_match({0}, 'a.*|b')",)),
    Function(
        "regexp_replace",
        ("text",),
        (AS_IS,),
        ft.replace_pattern,
        (
            "regexp_replace({0}, 'a', 'x')",
            "regexp_replace({0}, '(a|b)', '<\\1>', 'g')",
            "regexp_replace({0}, '^$', '-')",
        ),
    ),
    Function("split_part", ("text", "text", "integer"), (AS_IS,), ft.split_part, ("split_part({0}, 'b', 2)",)),
)

_TIME = (
    Function("+", (MOMENT, "interval"), (AS_IS,), f.shift(+1), ("{0} + INTERVAL '90' MINUTE", "{0} + INTERVAL 1 DAY")),
    Function("+", ("interval", MOMENT), (AS_IS,), f.shift(+1), ("INTERVAL '1' SECOND + {1}",)),
    Function("+", ("timestamp", "interval"), ("TIMESTAMP", AS_IS), f.shift(+1), ("{0} + INTERVAL '90' MINUTE",)),
    Function("-", (MOMENT, "interval"), (AS_IS,), f.shift(-1), ("{0} - INTERVAL '5' SECOND",)),
    Function("-", ("timestamp", "interval"), ("TIMESTAMP", AS_IS), f.shift(-1), ("{0} - INTERVAL '1' DAY",)),
    Function("+", ("date", "integer"), (AS_IS,), f.move_date(+1), ("{0} + {1}", "{0} + 1")),
    Function("-", ("date", "integer"), (AS_IS,), f.move_date(-1), ("{0} - 1",)),
    Function("-", ("date", "date"), (AS_IS,), f.always(t.days_between), ("{0} - {1}",)),
    Function(
        "date_trunc", ("text", MOMENT), (AS_IS,), f.truncate, tuple(f"date_trunc('{unit}', {{1}})" for unit in f.SPANS)
    ),
    Function("date_trunc", ("text", "timestamp"), (AS_IS, "TIMESTAMP"), f.truncate, ("date_trunc('month', {1})",)),
    Function(
        "date_part", ("text", *_MOMENT), (AS_IS,), f.part, tuple(f"date_part('{unit}', {{1}})" for unit in f.PARTS)
    ),
    *(Function(part, _MOMENT, (AS_IS,), f.named_part(part), (f"{part}({{0}})",)) for part in f.PARTS),
    Function("epoch_ms", (MOMENT,), (AS_IS,), f.always(t.epoch_ms), ("epoch_ms({0})",)),
    Function("epoch_us", (MOMENT,), (AS_IS,), f.always(t.epoch_us), ("epoch_us({0})",)),
    Function("last_day", ("date",), (AS_IS,), f.always(t.month_end), ("last_day({0})",)),
    Function("time_bucket", ("interval", MOMENT), (AS_IS,), f.bucket, ("time_bucket(INTERVAL '5' MINUTE, {1})",)),
    Function(
        "date_diff",
        ("text", "timestamp", "timestamp"),
        (AS_IS, "TIMESTAMP"),
        f.difference,
        ("date_diff('hour', {1}, {2})",),
    ),
    Function("strftime", ("timestamp", "text"), ("TIMESTAMP", AS_IS), f.format_time, ("strftime({0}, '%d.%m.%Y')",)),
    Function("dayname", _MOMENT, (AS_IS,), f.name_of("dayofweek", f.DAYS), ("dayname({0})",)),
    Function("monthname", _MOMENT, (AS_IS,), f.name_of("month", f.MONTHS), ("monthname({0})",)),
    Function("strftime", (MOMENT, "text"), (AS_IS,), f.format_time, ("strftime({0}, '%Y-%m-%d %H:%M:%S.%f|%j %y%%')",)),
)

_HELD = f"{VALUE}|{NESTED}"
_NESTED = (
    Function("length", ("list",), (AS_IS,), fn.length, ("length({0})", "array_length({0})")),
    Function("cardinality", ("list|map",), (AS_IS,), fn.length, ("cardinality({0})",)),
    Function(
        "subscript",
        ("list", "integer"),
        (AS_IS,),
        fn.element,
        ("{0}[1]", "coalesce({0}[0], {0}[1])", "{0}[-2]", "{0}[{1}]"),
    ),
    Function("subscript", ("map", VALUE), (AS_IS,), fn.lookup, ("{0}[{1}]", "map_extract_value({0}, 'a')")),
    Function("subscript", ("struct", "text"), (AS_IS,), fn.field, ("{0}['a']", "struct_extract({0}, 'B')")),
    Function("list_contains", ("list", VALUE), (AS_IS,), fn.contains, ("list_contains({0}, {1})", "{1} IN {0}")),
    Function("contains", ("list", VALUE), (AS_IS,), fn.contains, ("contains({0}, {1})",)),
    Function(
        "list_position", ("list", VALUE), (AS_IS,), fn.position, ("list_position({0}, 1)", "list_indexof({0}, 'a')")
    ),
    Function("list_value", (_HELD,), (ELEMENT,), fn.listing, ("[{0}, {0}]", "list_value({0}, NULL)")),
    Function("array_to_string", ("list", "text"), (AS_IS,), fn.joined, ("array_to_string({0}, '-')",)),
    Function("string_split", ("text", "text"), (AS_IS,), fn.split, ("string_split({0}, 'b')",)),
    Function("map_keys", ("map",), (AS_IS,), fn.halves("keys"), ("map_keys({0})",)),
    Function("map_values", ("map",), (AS_IS,), fn.halves("items"), ("map_values({0})",)),
    Function("map_contains", ("map", VALUE), (AS_IS,), fn.has_key, ("map_contains({0}, {1})",)),
    Function("struct_pack", (_HELD,), (AS_IS,), fn.packed, ("{{'x': {0}, 'y': {0}}}", "struct_pack(x := {0})")),
)

FUNCTIONS: tuple[Function, ...] = (*_ARITHMETIC, *_COMPARISON, *_LOGIC, *_TEXT, *_TIME, *_NESTED)
