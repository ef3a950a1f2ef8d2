"""Aggregates that depend on the order of rows, or on chance, made functions of the rows: a view must equal its twin."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from ..storage.errors import Error
from .blocks import function_name, has_aggregate
from .trees import copied, every

_IN_ORDER = {"list", "array_agg", "string_agg", "listagg", "group_concat", "any_value", "arbitrary", "mode"}
_LISTS = {"list", "array_agg"}
_IN_GIVEN_ORDER = {"first", "last"}  # without ORDER BY the order in which rows came is meant: recomputed as it is
_OF_TIES = {"arg_min", "arg_max", "argmin", "argmax", "min_by", "max_by"}
_EXACTLY = {"approx_count_distinct": "count", "approx_quantile": "quantile_disc"}


def settle_aggregates(query: exp.Query, names: Callable[[exp.Query], list[str]]) -> exp.Query:
    """`query` with an ORDER BY in each aggregate that the order of rows decides, and the approximate ones exact.

    A list or text without ORDER BY is in the order of its values, which also part rows that an ORDER BY leaves equal;
    of several values that are as good (any_value, mode, arg_min) the least is taken. `names` says how DuckDB names the
    columns of a query: an item that has no name keeps the one it had.
    """
    query = copied(query)
    for select in every(query, exp.Select):
        before = None
        for place, item in enumerate(list(select.expressions)):
            settled = _settled(copied(item))
            if settled == item:
                continue
            if not isinstance(item, exp.Alias) and select is not query:
                before = before if before is not None else _names(select, names)
                settled = exp.alias_(settled, before[place], quoted=True) if len(before) > place else settled
            item.replace(settled)
        having = select.args.get("having")
        if having is not None:
            having.set("this", _settled(copied(having.this)))
        order = select.args.get("order")
        if order is not None:
            select.set("order", _settled(copied(order)))
    return query


def _names(select: exp.Select, names: Callable[[exp.Query], list[str]]) -> list[str]:
    """The names of a block's columns; none where it is correlated, and so a value, whose name says nothing."""
    try:
        return names(select)
    except Error:
        return []


def _settled(node: exp.Expr) -> exp.Expr:
    """`node` with all aggregate calls in it settled, those of subqueries and of OVER apart."""
    if isinstance(node, exp.Query | exp.Window):
        return node
    for child in list(node.iter_expressions()):
        settled = _settled(child)
        if settled is not child:
            child.replace(settled)
    if isinstance(node, exp.Anonymous) and node.name.lower() == "array" and len(node.expressions) == 1:
        return _listed(node)
    return _settled_call(node) if isinstance(node, exp.AnonymousAggFunc) else node


def _listed(array: exp.Anonymous) -> exp.Expr:
    """ARRAY(SELECT x ...) as a value: the list of the rows, empty where there are none."""
    select = array.expressions[0]
    while isinstance(select, exp.Subquery) and not select.args.get("joins"):
        select = select.this
    clauses = ("with_", "group", "having", "qualify", "limit", "offset", "windows")
    if not isinstance(select, exp.Select) or len(select.expressions) != 1 or select.is_star:
        return array
    if any(select.args.get(clause) for clause in clauses) or has_aggregate(select.expressions[0]):
        return array
    value, order = select.expressions[0].unalias(), select.args.get("order")
    keys = [] if order is None else order.expressions
    if value.find(exp.Window, exp.Explode) or any(isinstance(key.this, exp.Var | exp.Star) for key in keys):
        return array
    keys = [key.copy() for key in keys]
    for key in keys:
        if isinstance(key.this, exp.Literal):
            key.set("this", value.copy())
    values = exp.Distinct(expressions=[value.copy()]) if select.args.get("distinct") else value.copy()
    parts = [value] if select.args.get("distinct") else _fields(value)
    keys += [exp.Ordered(this=part.copy(), nulls_first=False) for part in parts]
    call = exp.AnonymousAggFunc(this="list", expressions=[exp.Order(this=values, expressions=keys)])
    made = select.copy()
    made.set("distinct", None)
    made.set("order", None)
    made.set("expressions", [exp.Coalesce(this=call, expressions=[exp.Array(expressions=[])])])
    return exp.Subquery(this=made)


def _settled_call(call: exp.AnonymousAggFunc) -> exp.Expr:
    name = function_name(call)
    arguments = list(call.expressions)
    if not arguments:
        return call
    if name in _EXACTLY:
        if name == "approx_count_distinct" and len(arguments) == 1:
            return exp.Count(this=exp.Distinct(expressions=arguments), big_int=True)
        return exp.AnonymousAggFunc(this=_EXACTLY[name], expressions=arguments)
    order = arguments[-1] if isinstance(arguments[-1], exp.Order) else None
    last = order.this if order is not None else arguments[-1]
    value = arguments[0] if len(arguments) > 1 else last
    value = value.expressions[0] if isinstance(value, exp.Distinct) else value
    if name in _IN_GIVEN_ORDER and order is None:
        return call
    if not (name in _IN_ORDER | _IN_GIVEN_ORDER or (name in _OF_TIES and len(arguments) == 2)):
        return call
    keys = [] if order is None else [copied(key) for key in order.expressions]
    if name in _LISTS and not isinstance(last, exp.Distinct):
        keys += [exp.Ordered(this=field.copy(), nulls_first=False) for field in _fields(value)]
    elif name != "mode" or not keys:
        keys.append(exp.Ordered(this=value.copy(), nulls_first=False))
    arguments[-1] = exp.Order(this=last, expressions=keys)
    return exp.AnonymousAggFunc(this=call.this, expressions=arguments)


def _fields(value: exp.Expr) -> list[exp.Expr]:
    """The values in whose order a value is: of a struct that is spelled out those of its fields, else itself."""
    packed = isinstance(value, exp.Anonymous) and value.name.lower() == "struct_pack"
    if not (packed or isinstance(value, exp.Struct)):
        return [value]
    fields = (field.expression if isinstance(field, exp.PropertyEQ) else field for field in value.expressions)
    return [found for field in fields for found in _fields(field)]
