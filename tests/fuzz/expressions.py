"""Random expressions: of a wanted kind, over given columns, never overflowing and never depending on row order.

Over a column of raw text some fail on some of its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .tree import Column, Kind

TYPES = {
    "int": "BIGINT",
    "dec": "DECIMAL(12,2)",
    "dbl": "DOUBLE",
    "str": "VARCHAR",
    "bool": "BOOLEAN",
    "ts": "TIMESTAMP",
    "raw": "VARCHAR",
}
KEYS = ("int", "str", "bool", "dec", "ts")  # kinds whose values are equal or not, whatever computed them
_RAW = ("'1'", "'2'", "'3'", "'40'", "'-7'", "'1.50'", "'x'", "''", "' 7 '", "'1e400'", "'99999999999999999999'")
_RAW += ("'2024-01-01'", "'2024-13-01'", "'true'", "'('", "'1,2'", "'a'", "'300'")
_WORDS = ("'a'", "'b'", "'ab'", "''", "'größe'", "'A b'")


def value(chance: Random, kind: Kind, *, second: int = 0, nulls: float = 0.15) -> str:
    """A literal to insert; times lie around `second` of a day."""
    if chance.random() < nulls:
        return "NULL"
    match kind:
        case "int":
            return str(chance.choice([0, 1, 1, 2, 3, 4, 5, -7, 40]))
        case "dec":
            return chance.choice(["0.00", "1.50", "20.25", "-3.10", "99.99", "33.33"])
        case "dbl":
            return chance.choice(["0.0", "-0.0", "1.5", "2.5", "-1.25", "1e6", "0.1"])
        case "str":
            return chance.choice(_WORDS)
        case "bool":
            return chance.choice(["true", "false"])
        case "raw":
            return chance.choice(_RAW)
        case _:
            at = 36_000 + second + chance.randrange(-15, 15) - (200 if chance.random() < 0.04 else 0)
            return f"TIMESTAMP '2024-01-01 {at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}'"


def expression(chance: Random, kind: Kind, columns: Sequence[Column], depth: int = 1) -> str:
    """An expression of `kind`."""
    mine = [column.text for column in columns if column.kind == kind]

    def again(wanted: Kind = kind) -> str:
        return expression(chance, wanted, columns, depth - 1)

    raw = [column.text for column in columns if column.kind == "raw"]
    if kind == "raw":
        return chance.choice(mine) if mine and chance.random() < 0.85 else literal(chance, kind)
    if raw and chance.random() < 0.3:
        return failing(chance, kind, chance.choice(raw), expression(chance, "int", columns, 0))
    if depth <= 0 or chance.random() < 0.35:
        return chance.choice(mine) if mine and chance.random() < 0.85 else literal(chance, kind)
    match kind:
        case "int":
            forms = [
                lambda: f"({again()} + {chance.randrange(-2, 9)})",
                lambda: f"({again()} % {chance.randrange(2, 5)})",
                lambda: f"(-{again()})",
                lambda: f"abs({again()})",
                lambda: f"length({again('str')})",
                lambda: f"CASE WHEN {again('bool')} THEN {again()} ELSE {again()} END",
                lambda: f"coalesce({again()}, {again()})",
                lambda: f"greatest({again()}, {again()})",
                lambda: f"nullif({again()}, {again()})",
                lambda: f"extract(second FROM {again('ts')})",
                lambda: f"(({again()} * {again()}) % 1000)",
                lambda: f"(({again()} - {again()}) // {chance.randrange(1, 4)})",
                lambda: f"({again()} & {chance.choice([1, 3, 6])})",
                lambda: f"CASE {again()} WHEN 1 THEN {again()} WHEN 2 THEN 7 END",
                lambda: f"sign({again()})::BIGINT",
                lambda: f"strpos({again('str')}, 'b')",
                lambda: f"len([{again()}, {again()}])",
                lambda: f"[{again()}, {again()}, 5][{chance.choice([1, 2, -1, 4])}]",
                lambda: f"{{'a': {again()}, 'b': {again('str')}}}.a",
                lambda: f"list_sum([{again()}, 1])::BIGINT % 1000",
                lambda: f"TRY_CAST({again('str')} AS BIGINT)",
                lambda: f"minute({again('ts')})",
                lambda: f"date_diff('minute', {again('ts')}, {again('ts')})",
                lambda: f"least({again()}, {again()}, 3)",
                lambda: f"if({again('bool')}, {again()}, 1)",
                lambda: f"({again('bool')})::BIGINT",
            ]
        case "dec":
            forms = [lambda: f"coalesce({again()}, 1.25)::DECIMAL(12,2)", lambda: f"abs({again()})"]
            forms += [
                lambda: f"round({again()}, 1)::DECIMAL(12,2)",
                lambda: f"greatest({again()}, 2.5)::DECIMAL(12,2)",
                lambda: f"CASE WHEN {again('bool')} THEN {again()} END",
                lambda: f"(({again()} + 1.1) % 50)::DECIMAL(12,2)",
                lambda: f"({again('int')} % 100)::DECIMAL(12,2)",
            ]
        case "dbl":
            forms = [
                lambda: f"({again()} * 2)",
                lambda: f"coalesce({again()}, 0.5::DOUBLE)",
                lambda: f"{again('int')}::DOUBLE",
                lambda: f"sqrt(abs({again()}))",
                lambda: f"round({again()}, 1)",
                lambda: f"floor({again()} / 3)",
                lambda: f"({again('int')} / 4)",
                lambda: f"{again('dec')}::DOUBLE",
            ]
        case "str":
            forms = [
                lambda: f"upper({again()})",
                lambda: f"({again()} || {chance.choice(_WORDS)})",
                lambda: f"substring({again()}, 1, {chance.randrange(1, 3)})",
                lambda: f"coalesce({again()}, 'none')",
                lambda: f"{again('int')}::VARCHAR",
                lambda: f"CASE WHEN {again('bool')} THEN {again()} END",
                lambda: f"trim(replace({again()}, 'a', 'x'))",
                lambda: f"lower({again()})",
                lambda: f"left({again()}, 2)",
                lambda: f"reverse({again()})",
                lambda: f"lpad({again()}, 3, '*')",
                lambda: f"split_part({again()}, ' ', {chance.randrange(1, 3)})",
                lambda: f"regexp_replace({again()}, '[ab]', '<>')",
                lambda: f"regexp_extract({again()}, '([a-z])b?', 1)",
                lambda: f"concat({again()}, '-', {again('int')})",
                lambda: f"strftime({again('ts')}, '%H:%M')",
                lambda: f"[{again()}, 'z'][1]",
                lambda: f"nullif({again()}, '')",
                lambda: f"{again('dec')}::VARCHAR",
                lambda: f"CASE {again()} WHEN 'a' THEN 'A' ELSE {again()} END",
            ]
        case "bool":
            forms = [lambda: condition(chance, columns, depth)]
        case _:
            forms = [
                lambda: f"({again()} + INTERVAL '{chance.randrange(1, 90)}' SECOND)",
                lambda: f"date_trunc('minute', {again()})",
                lambda: f"date_trunc('{chance.choice(['hour', 'day', 'month'])}', {again()})",
                lambda: f"time_bucket(INTERVAL '15' SECOND, {again()})",
                lambda: f"({again()} - INTERVAL '1' MINUTE)",
                lambda: f"coalesce({again()}, TIMESTAMP '2024-01-01 10:00:00')",
                lambda: f"CAST(CAST({again()} AS DATE) AS TIMESTAMP)",
            ]
    return chance.choice(forms)()


def failing(chance: Random, kind: Kind, raw: str, number: str) -> str:
    """An expression of `kind` that fails on some values of the text `raw`, or of the `number`."""
    text = chance.choice([raw, raw, f"trim({raw})", f"split_part({raw}, ',', 1)", f"nullif({raw}, 'x')"])
    match kind:
        case "int":
            forms = [f"CAST({text} AS {type})::BIGINT" for type in ("INTEGER", "BIGINT", "TINYINT", "DOUBLE")]
            forms += [f"CAST({number} AS UTINYINT)::BIGINT", f"CAST({number} AS TINYINT) * 100::TINYINT::BIGINT"]
            forms += [f"CASE WHEN {number} > 1 THEN CAST({raw} AS INTEGER) END::BIGINT", f"TRY_CAST({raw} AS BIGINT)"]
            forms += [f"coalesce(TRY_CAST({raw} AS BIGINT), CAST({raw} AS DATE) - DATE '2024-01-01')"]
            forms += [
                f"(CAST(string_split({raw}, ',')[1] AS INTEGER) + {number})",
                f"CAST({raw} AS INTEGER) // {number}",
            ]
        case "dec":
            forms = [f"CAST({text} AS DECIMAL(12,2))", f"CAST(CAST({text} AS DECIMAL(4,1)) AS DECIMAL(12,2))"]
        case "dbl":
            forms = [f"CAST({text} AS DOUBLE)", f"ln({number})", f"sqrt({number})"]
        case "str":
            forms = [f"CAST(CAST({text} AS INTEGER) AS VARCHAR)", f"regexp_extract('a(1b', {raw})"]
            forms += [
                f"strftime(strptime({raw}, '%Y-%m-%d'), '%d')",
                f"CASE WHEN {raw} <> '' THEN {raw}::DATE::VARCHAR END",
            ]
        case "bool":
            forms = [f"CAST({raw} AS BOOLEAN)", f"CAST({text} AS INTEGER) > {number}", f"regexp_matches('a1', {raw})"]
            forms += [f"CAST({raw} AS BIGINT) IN (1, {number})"]
        case _:
            forms = [f"CAST({text} AS TIMESTAMP)", f"strptime({raw}, '%Y-%m-%d')"]
    return f"({chance.choice(forms)})"


def condition(chance: Random, columns: Sequence[Column], depth: int = 1) -> str:
    """A predicate."""
    known = [kind for kind in (*KEYS, "dbl") if any(column.kind == kind for column in columns)]
    kind = chance.choice(known or ["int"])
    left = expression(chance, kind, columns, depth - 1)
    if chance.random() < 0.2:
        return f"{left} IS {chance.choice(['', 'NOT '])}NULL"
    if depth > 0 and chance.random() < 0.25:
        other = condition(chance, columns, depth - 1)
        return chance.choice([f"({condition(chance, columns, depth - 1)} OR {other})", f"NOT ({other})"])
    match kind:
        case "bool":
            return left
        case "str" if chance.random() < 0.15:
            return chance.choice([f"regexp_matches({left}, '^a|b$')", f"contains({left}, 'b')", f"{left} ^@ 'a'"])
        case "int" if chance.random() < 0.15:
            return f"{left} BETWEEN {literal(chance, kind)} AND {expression(chance, kind, columns, depth - 1)}"
        case "str" if chance.random() < 0.3:
            pattern = chance.choice(["'a%'", "'%b'", "'_'"])
            return f"{left} {chance.choice(['LIKE', 'NOT LIKE', 'ILIKE'])} {pattern}"
        case "int" | "str" if chance.random() < 0.3:
            values = ", ".join(literal(chance, kind) for _ in range(chance.randrange(1, 4)))
            return f"{left} {chance.choice(['', 'NOT '])}IN ({values})"
        case _:
            right = expression(chance, kind, columns, depth - 1)
            return f"{left} {chance.choice(['=', '<>', '<', '<=', '>', '>=', 'IS DISTINCT FROM'])} {right}"


def literal(chance: Random, kind: Kind) -> str:
    """A literal with its type, for use in an expression."""
    text = value(chance, kind, nulls=0.05)
    return f"CAST({text} AS {TYPES[kind]})" if text == "NULL" or kind in ("dec", "dbl") else text


def aggregate(chance: Random, columns: Sequence[Column]) -> tuple[str, Kind]:
    """An aggregate call that does not depend on the order of rows, and its kind."""
    kinds = [kind for kind in TYPES if any(column.kind == kind for column in columns)]
    kind = chance.choice(kinds) if kinds else "int"
    argument = expression(chance, kind, columns)
    distinct = "DISTINCT " if chance.random() < 0.2 else ""
    forms: list[tuple[str, Kind]] = [("count(*)", "int"), (f"count({distinct}{argument})", "int")]
    forms += [(f"{name}({argument})", kind) for name in ("min", "max")]
    match kind:
        case "int":
            forms += [(f"sum({distinct}{argument})", "huge"), (f"avg({distinct}{argument})", "approx")]
            forms += [(f"{name}({argument})", "int") for name in ("bit_and", "bit_or", "bit_xor")]
            forms += [(f"{name}({argument})", "approx") for name in ("stddev_samp", "var_pop", "median")]
            forms += [(f"quantile_disc({argument}, 0.5)", "int"), (f"list({argument} ORDER BY {argument})", "list")]
            forms += [(f"count_if({argument} > 1)", "int"), (f"histogram({argument})", "map")]
            forms += [
                (f"list(DISTINCT {argument} ORDER BY {argument} DESC)", "list"),
                (f"kurtosis({argument})", "approx"),
            ]
            forms += [(f"sum(CASE WHEN {condition(chance, columns)} THEN 1 ELSE 0 END)", "huge")]
        case "dec":
            forms += [(f"sum({argument})", "huge"), (f"avg({argument})", "approx")]
            forms += [(f"quantile_disc({argument}, 0.75)", "dec")]
        case "dbl":
            forms += [
                (f"sum({argument})", "approx"),
                (f"avg({argument})", "approx"),
                (f"var_samp({argument})", "approx"),
            ]
        case "bool":
            forms += [(f"bool_and({argument})", "bool"), (f"bool_or({argument})", "bool")]
        case "str":
            forms += [(f"string_agg({argument}, ',' ORDER BY {argument})", "str")]
            forms += [(f"arg_max({argument}, {argument})", "str"), (f"quantile_disc({argument}, 0.25)", "str")]
    text, result = chance.choice(forms)
    if chance.random() < 0.15:
        text += f" FILTER (WHERE {condition(chance, columns)})"
    return text, result
