"""Random expressions: of a wanted kind, over given columns, never overflowing and never depending on row order."""

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
}
KEYS = ("int", "str", "bool", "dec", "ts")  # kinds whose values are equal or not, whatever computed them
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
        case _:
            at = 36_000 + second + chance.randrange(-15, 15) - (200 if chance.random() < 0.04 else 0)
            return f"TIMESTAMP '2024-01-01 {at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}'"


def expression(chance: Random, kind: Kind, columns: Sequence[Column], depth: int = 1) -> str:
    """An expression of `kind`."""
    mine = [column.text for column in columns if column.kind == kind]

    def again(wanted: Kind = kind) -> str:
        return expression(chance, wanted, columns, depth - 1)

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
            ]
        case "dec":
            forms = [lambda: f"coalesce({again()}, 1.25)::DECIMAL(12,2)", lambda: f"abs({again()})"]
        case "dbl":
            forms = [
                lambda: f"({again()} * 2)",
                lambda: f"coalesce({again()}, 0.5::DOUBLE)",
                lambda: f"{again('int')}::DOUBLE",
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
            ]
        case "bool":
            forms = [lambda: condition(chance, columns, depth)]
        case _:
            forms = [
                lambda: f"({again()} + INTERVAL '{chance.randrange(1, 90)}' SECOND)",
                lambda: f"date_trunc('minute', {again()})",
            ]
    return chance.choice(forms)()


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
        case "dec":
            forms += [(f"sum({argument})", "huge"), (f"avg({argument})", "approx")]
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
