"""The table of aggregate functions that run incrementally, and a call in SQL as the engine's.

What has no row here, or is called in another way, is recomputed. To add one add a row, and its state in
`engine/aggregates.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Protocol

from sqlglot import exp

from ..engine.aggregates import AggregateCall, OrderKey
from .blocks import Scope, Unplannable, function_name
from .dialect import twin_sql
from .kinds import MOMENT, NUMBER, Argument, matches
from .relations import Column
from .types import connect


@dataclass(frozen=True)
class AggregateFunction:
    """One function of SQL, as `function` of the engine.

    `takes` has the kinds of each argument, and `cast` the type they are brought to, if to any; then come so many
    `constants`, those left out being `defaults`. With `unordered` a call says ORDER BY, or else is recomputed.
    DISTINCT changes nothing where `idempotent`.
    """

    function: str
    takes: tuple[str, ...]
    cast: str | None = None
    constants: int = 0
    defaults: tuple[object, ...] = ()
    needs_order: bool = False
    idempotent: bool = False


_KEPT = f"boolean|{NUMBER}|text|blob|date|time|{MOMENT}"  # types whose values are kept and compared
_ORDERED = f"boolean|{NUMBER}|text|date|{MOMENT}"
_HALF = (0.5,)


def _number(name: str) -> AggregateFunction:
    return AggregateFunction(name, (NUMBER,), cast="DOUBLE")


def _pair(name: str) -> AggregateFunction:
    return AggregateFunction(name, (NUMBER, NUMBER), cast="DOUBLE")


_LIST = AggregateFunction("list", (f"{_KEPT}|struct",), needs_order=True)
_TEXT = AggregateFunction("string_agg", ("text",), constants=1, defaults=(",",), needs_order=True)
_FIRST = AggregateFunction("first", (_KEPT,), needs_order=True)
_LEAST = AggregateFunction("arg_min", (_KEPT, _ORDERED), idempotent=True)
_GREATEST = AggregateFunction("arg_max", (_KEPT, _ORDERED), idempotent=True)
_ALL = AggregateFunction("min", ("boolean",), idempotent=True)
_ANY = AggregateFunction("max", ("boolean",), idempotent=True)
_SHARE = AggregateFunction("quantile_disc", (_ORDERED,), constants=1)
_BETWEEN = "float|decimal"

# A name with several rows takes the first that fits the types of its arguments.
AGGREGATE_FUNCTIONS: Final[Mapping[str, Sequence[AggregateFunction]]] = {
    "count": [AggregateFunction("count", ("any",))],
    "sum": [AggregateFunction("sum", (NUMBER,)), AggregateFunction("sum", ("boolean",), cast="INTEGER")],
    "count_if": [AggregateFunction("sum", ("boolean",), cast="INTEGER")],  # NULL for no rows, as DuckDB has it
    "countif": [AggregateFunction("sum", ("boolean",), cast="INTEGER")],
    "avg": [AggregateFunction("avg", (NUMBER,))],
    "mean": [AggregateFunction("avg", (NUMBER,))],
    "min": [AggregateFunction("min", (_ORDERED,), idempotent=True)],
    "max": [AggregateFunction("max", (_ORDERED,), idempotent=True)],
    "any_value": [AggregateFunction("any_value", (_KEPT,), needs_order=True)],
    "bool_and": [_ALL],
    "bool_or": [_ANY],
    "bit_and": [AggregateFunction("bit_and", ("integer",), idempotent=True)],
    "bit_or": [AggregateFunction("bit_or", ("integer",), idempotent=True)],
    "bit_xor": [AggregateFunction("bit_xor", ("integer",))],
    "stddev": [_number("stddev_samp")],
    "stddev_samp": [_number("stddev_samp")],
    "stddev_pop": [_number("stddev_pop")],
    "variance": [_number("var_samp")],
    "var_samp": [_number("var_samp")],
    "var_pop": [_number("var_pop")],
    "sem": [_number("sem")],
    "covar_pop": [_pair("covar_pop")],
    "covar_samp": [_pair("covar_samp")],
    "corr": [_pair("corr")],
    "regr_avgx": [_pair("regr_avgx")],
    "regr_avgy": [_pair("regr_avgy")],
    "regr_count": [_pair("count")],
    "regr_intercept": [_pair("regr_intercept")],
    "regr_r2": [_pair("regr_r2")],
    "regr_slope": [_pair("regr_slope")],
    "regr_sxx": [_pair("regr_sxx")],
    "regr_sxy": [_pair("regr_sxy")],
    "regr_syy": [_pair("regr_syy")],
    "product": [_number("product")],
    "entropy": [AggregateFunction("entropy", (_ORDERED,))],
    "first": [_FIRST],
    "arbitrary": [_FIRST],
    "last": [replace(_FIRST, function="last")],
    "arg_min": [_LEAST],
    "argmin": [_LEAST],
    "min_by": [_LEAST],
    "arg_max": [_GREATEST],
    "argmax": [_GREATEST],
    "max_by": [_GREATEST],
    "list": [_LIST],
    "array_agg": [_LIST],
    "string_agg": [_TEXT],
    "listagg": [_TEXT],
    "group_concat": [_TEXT],
    "mode": [AggregateFunction("mode", (_ORDERED,))],
    "histogram": [AggregateFunction("histogram", (_ORDERED,))],
    "median": [
        AggregateFunction("quantile_cont", (_BETWEEN,), defaults=_HALF),
        AggregateFunction("quantile_cont", ("integer|huge",), cast="DOUBLE", defaults=_HALF),
        AggregateFunction("quantile_disc", ("text",), defaults=_HALF),
    ],
    "quantile_cont": [
        AggregateFunction("quantile_cont", (_BETWEEN,), constants=1),
        AggregateFunction("quantile_cont", ("integer|huge",), cast="DOUBLE", constants=1),
    ],
    "quantile_disc": [_SHARE],
    "quantile": [_SHARE],
}


class Before(Protocol):
    """The map below an aggregate, to which a call adds what it needs."""

    def add(self, value: exp.Expr, prefix: str) -> str:
        """The name under which the aggregate finds `value`."""


def aggregate_call(node: exp.Expr, column: Column, before: Before, source: Scope) -> AggregateCall:
    """The call `node`, whose result is `column`, over `source`. Raises: Unplannable where it is to be recomputed."""
    condition: exp.Expr | None = None
    if isinstance(node, exp.Filter):
        condition, node = node.expression.this, node.this
        if source.bind([condition])[0].type != "BOOLEAN":  # of a number, whether it is not 0
            condition = exp.cast(condition, "BOOLEAN", dialect="duckdb")
    if isinstance(node, exp.WithinGroup):
        node = _ordered_set(node)
    if not isinstance(node, exp.Func):
        raise Unplannable(type(node).__name__)
    name = function_name(node)
    arguments, order, distinct = _parts(node)
    filter_name = None if condition is None else before.add(condition, "filter")
    if name == "count" and (not arguments or isinstance(arguments[0], exp.Star)) and not distinct:
        return AggregateCall("count_star", None, filter_name, column.name, column.arrow)
    row, types = _row(name, arguments, source)
    columns = [
        before.add(value if row.cast in (None, type) else exp.cast(value, row.cast or "", dialect="duckdb"), "arg")
        for value, type in zip(arguments, types, strict=False)
    ]
    if row in (_LEAST, _GREATEST) and columns[0] == columns[1]:  # a value that is its own order
        best = "min" if row is _LEAST else "max"
        return AggregateCall(best, columns[0], filter_name, column.name, column.arrow)
    constants = row.defaults
    if len(arguments) > len(columns):
        constants = tuple(_constant(value, name) for value in arguments[len(columns) :])
    _check_constants(row, constants, name)
    if row.needs_order and not order:
        raise Unplannable(f"{name} without ORDER BY")
    keys = tuple(_order_key(key, before, source) for key in order) if row.needs_order else ()
    return AggregateCall(
        row.function,
        columns[0],
        filter_name,
        column.name,
        column.arrow,
        others=tuple(columns[1:]),
        distinct=distinct and not row.idempotent,
        order=keys,
        constants=constants,
    )


def _ordered_set(node: exp.WithinGroup) -> exp.Expr:
    """percentile_cont(share) WITHIN GROUP (ORDER BY value) as quantile_cont(value, share)."""
    names = {exp.PercentileCont: "quantile_cont", exp.PercentileDisc: "quantile_disc"}
    keys = node.expression.expressions
    if type(node.this) not in names or len(keys) != 1 or keys[0].args.get("desc"):
        raise Unplannable("WITHIN GROUP")
    return exp.AnonymousAggFunc(this=names[type(node.this)], expressions=[keys[0].this, node.this.this])


def _parts(node: exp.Func) -> tuple[list[exp.Expr], list[exp.Ordered], bool]:
    """The arguments of a call, its ORDER BY, and whether it says DISTINCT."""
    if node.args.get("count"):
        raise Unplannable(f"{function_name(node)} with a number of values")
    own = [] if isinstance(node, exp.AnonymousAggFunc | exp.Anonymous) else [node.args.get("this")]
    arguments = [argument for argument in (*own, *node.expressions) if argument is not None]
    order: list[exp.Ordered] = []
    distinct = False
    if arguments and isinstance(arguments[-1], exp.Order):
        order = list(arguments[-1].expressions)
        arguments[-1] = arguments[-1].this
    if len(arguments) == 1 and isinstance(arguments[0], exp.Distinct):
        distinct = True
        arguments = list(arguments[0].expressions)
    return arguments, order, distinct


def _row(name: str, arguments: Sequence[exp.Expr], source: Scope) -> tuple[AggregateFunction, list[str]]:
    """The row of the table that fits a call, and the types of its arguments that vary."""
    rows = AGGREGATE_FUNCTIONS.get(name, ())
    if not rows:
        raise Unplannable(f"{name}()")
    width = len(rows[0].takes)
    if len(arguments) not in (width if rows[0].defaults else width + rows[0].constants, width + rows[0].constants):
        raise Unplannable(f"{name} of {len(arguments)} arguments")
    bound = source.bind([exp.alias_(value, f"a{i}") for i, value in enumerate(arguments[:width])])
    types = [column.type for column in bound]
    for row in rows:
        fits = (kind == "any" or matches(Argument(type), kind) for type, kind in zip(types, row.takes, strict=True))
        if all(fits):
            return row, types
    raise Unplannable(f"{name} of {', '.join(types)}")


def _constant(value: exp.Expr, name: str) -> object:
    if value.find(exp.Column, exp.Query) is not None:
        raise Unplannable(f"{name} with an argument that varies")
    found: object = connect().sql(f"SELECT {twin_sql(value)}").to_arrow_table().column(0)[0].as_py()
    return tuple(found) if isinstance(found, list) else found  # plans are hashed


def _check_constants(row: AggregateFunction, constants: tuple[object, ...], name: str) -> None:
    for constant in constants:
        if row.function == "string_agg":
            if not isinstance(constant, str):
                raise Unplannable(f"{name} with a separator that is no text")
            continue
        shares = constant if isinstance(constant, tuple) else (constant,)
        if not all(isinstance(share, int | float | Decimal) and 0 <= share <= 1 for share in shares):
            raise Unplannable(f"{name} with a share below 0")


def _order_key(key: exp.Ordered, before: Before, source: Scope) -> OrderKey:
    type = source.bind([key.this])[0].type
    if not matches(Argument(type), _ORDERED):
        raise Unplannable(f"ORDER BY {type} in an aggregate")
    nulls_first = bool(key.args.get("nulls_first"))
    return OrderKey(before.add(key.this, "order"), bool(key.args.get("desc")), nulls_first)
