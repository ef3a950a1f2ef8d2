"""GROUPING SETS, ROLLUP and CUBE as the sets of keys they stand for, and GROUPING() as a function of the set."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations, product

from sqlglot import exp

from ..storage import limits
from .blocks import Unplannable, function_name
from .dialect import twin_sql
from .trees import as_column

Set = tuple[exp.Expr, ...]


def grouping_sets(expressions: Sequence[exp.Expr]) -> list[Set]:
    """The sets of keys that a GROUP BY stands for; without GROUPING SETS and the like one, of all keys."""
    sets: list[Set] = []
    for parts in product(*[_sets_of(expression) for expression in expressions]):
        sets.append(tuple(chain.from_iterable(parts)))
        if len(sets) > limits.GROUPING_SETS_MAX:
            raise Unplannable(f"more than {limits.GROUPING_SETS_MAX} grouping sets")
    return sets


def _sets_of(expression: exp.Expr) -> list[Set]:
    parts = [_keys_of(part) for part in expression.expressions]
    match expression:
        case exp.Rollup():
            return [tuple(chain.from_iterable(parts[:count])) for count in range(len(parts), -1, -1)]
        case exp.Cube():
            if 1 << len(parts) > limits.GROUPING_SETS_MAX:
                raise Unplannable(f"more than {limits.GROUPING_SETS_MAX} grouping sets")
            chosen = chain.from_iterable(combinations(parts, count) for count in range(len(parts), -1, -1))
            return [tuple(chain.from_iterable(some)) for some in chosen]
        case exp.GroupingSets():
            return list(chain.from_iterable(_sets_of(part) for part in expression.expressions))
        case _:
            return [_keys_of(expression)]


def _keys_of(part: exp.Expr) -> Set:
    """The keys that stand in parentheses, or the one that stands alone."""
    return tuple(part.expressions) if isinstance(part, exp.Tuple) else (part.unnest(),)


def spell_groupings(
    node: exp.Expr, keys: Sequence[exp.Expr], sets: Sequence[frozenset[int]], number: str | None
) -> exp.Expr:
    """`node` with each GROUPING(keys) as what it is in the set whose number is in the column `number`.

    It is a number with a bit for each key, the first key's the highest: 1 where the key is not in the set.
    """
    places = {twin_sql(key): place for place, key in enumerate(keys)}

    def spell(call: exp.Expr) -> exp.Expr:
        if not isinstance(call, exp.Anonymous) or function_name(call) not in ("grouping", "grouping_id"):
            return call
        named = [places.get(twin_sql(argument)) for argument in call.expressions]
        if number is None:
            return exp.cast(exp.Literal.number(0), "BIGINT", dialect="duckdb")
        case = exp.Case(this=as_column(number))
        for index, chosen in enumerate(sets):
            bits = sum((place not in chosen) << (len(named) - 1 - bit) for bit, place in enumerate(named))
            case = case.when(exp.Literal.number(index), exp.Literal.number(bits))
        return exp.cast(case, "BIGINT", dialect="duckdb")

    return node.transform(spell)


def distinct_keys(sets: Sequence[Set]) -> tuple[list[exp.Expr], list[frozenset[int]]]:
    """All different keys of the sets, and each set as places among them."""
    keys: dict[str, exp.Expr] = {}
    for key in chain.from_iterable(sets):
        keys.setdefault(twin_sql(key), key)
    places = {text: place for place, text in enumerate(keys)}
    return list(keys.values()), [frozenset(places[twin_sql(key)] for key in chosen) for chosen in sets]
