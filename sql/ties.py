"""Ties settled: windows and DISTINCT ON made functions of the rows, in a view and in its twin alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlglot import exp

from .blocks import function_name, has_aggregate, is_aggregate
from .dialect import twin_sql
from .trees import as_column, copied, every, every_node

Names = Callable[[exp.Query], list[str]]  # the columns that a query returns

BY_PLACE = frozenset(["row_number", "ntile", "lag", "lead"])  # values that depend on the order of equal rows, always
BY_FRAME = frozenset(["first_value", "last_value", "nth_value"])  # and where the frame cuts between them


def settle_windows(query: exp.Query, names: Names) -> exp.Query:
    """`query` with WINDOW clauses spelled out, DISTINCT ON said by row_number(), and ties in windows settled.

    All columns that the block reads, or the keys that it groups by, are appended to the ORDER BY of windows whose
    result depends on the order of rows that are equal in it; rank() and the like do not.
    """
    query = copied(query)
    holder = exp.Subquery(this=query)
    for select in every(holder, exp.Select):
        _name_windows(select)
        _distinct_on(select)
        windows = [node for node in own_nodes(select) if isinstance(node, exp.Window)]
        if any(_depends_on_ties(window) for window in windows):
            ties = _ties(select, names)
            for window in windows:
                if _depends_on_ties(window):
                    _settle(window, ties)
    result = holder.this
    assert isinstance(result, exp.Query)
    return result


def own_nodes(select: exp.Select) -> Iterator[exp.Expr]:
    """The nodes of a block, not those of queries within it."""
    for node in select.walk(prune=lambda node: isinstance(node, exp.Query) and node is not select):
        if not isinstance(node, exp.Query):
            yield node


def has_own_window(select: exp.Select) -> bool:
    """Whether an OVER clause stands in the block itself."""
    return any(isinstance(node, exp.Window) for node in own_nodes(select))


def has_own_aggregate(item: exp.Expr) -> bool:
    """Whether an aggregate function is called in an item other than as the function of a window."""
    windowed = {id(called(window)) for window in every(item, exp.Window)}
    return any(is_aggregate(node) and id(node) not in windowed for node in every_node(item))


def called(window: exp.Window) -> exp.Expr:
    """The call that a window is for, without IGNORE NULLS and FILTER."""
    call: exp.Expr = window.this
    while isinstance(call, exp.IgnoreNulls | exp.RespectNulls | exp.Filter):
        call = call.this
    return call


def called_name(window: exp.Window) -> str:
    """The name of that function, lower case."""
    call = called(window)
    return function_name(call) if isinstance(call, exp.Func) else ""


def _name_windows(select: exp.Select) -> None:
    """Put the definitions of the WINDOW clause where its names stand."""
    definitions = {window.this.name.lower(): window for window in select.args.get("windows") or ()}
    if not definitions:
        return

    def define(window: exp.Window) -> None:
        name = window.args.get("alias")
        if name is None or name.name.lower() not in definitions:
            return
        known = definitions[name.name.lower()]
        define(known)
        window.set("alias", None)
        for part in ("partition_by", "order", "spec"):
            if not window.args.get(part) and known.args.get(part):
                value = known.args[part]
                window.set(part, [copied(v) for v in value] if isinstance(value, list) else copied(value))

    for node in own_nodes(select):
        if isinstance(node, exp.Window) and node not in select.args["windows"]:
            define(node)
    select.set("windows", None)


def _distinct_on(select: exp.Select) -> None:
    """DISTINCT ON (a) ... ORDER BY b is row_number() OVER (PARTITION BY a ORDER BY b) = 1."""
    distinct = select.args.get("distinct")
    on = distinct.args.get("on") if distinct is not None else None
    if on is None or select.args.get("qualify"):
        return
    named = {item.alias.lower(): item.this for item in select.expressions if isinstance(item, exp.Alias)}

    def meant(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Literal) and node.is_int and 1 <= int(node.name) <= len(select.expressions):
            node = select.expressions[int(node.name) - 1].unalias()
        elif isinstance(node, exp.Column) and not node.table:
            node = named.get(node.name.lower(), node)
        return copied(node)

    order = select.args.get("order")
    keys = [copied(key) for key in order.expressions] if order is not None else []
    for key in keys:
        key.set("this", meant(key.this))
    window = exp.Window(
        this=exp.Anonymous(this="row_number"),
        partition_by=[meant(node) for node in (on.expressions if isinstance(on, exp.Tuple) else [on])],
        order=exp.Order(expressions=keys) if keys else None,
        over="OVER",
    )
    select.set("distinct", None)
    select.set("qualify", exp.Qualify(this=exp.EQ(this=window, expression=exp.Literal.number(1))))


def _depends_on_ties(window: exp.Window) -> bool:
    name, spec = called_name(window), window.args.get("spec")
    rows = spec is not None and (spec.args.get("kind") or "").upper() == "ROWS"
    if name in BY_FRAME:
        return rows or (spec is None and (name == "first_value" or window.args.get("order") is None))
    return name in BY_PLACE or (rows and is_aggregate(called(window)))


def _settle(window: exp.Window, ties: list[exp.Expr]) -> None:
    order = window.args.get("order")
    keys = list(order.expressions) if order is not None else []
    if keys and isinstance(keys[0].this, exp.Var | exp.Star):  # ORDER BY ALL
        return
    if order is None and called_name(window) in BY_FRAME and window.args.get("spec") is None:
        spec = {"kind": "ROWS", "start": "UNBOUNDED", "start_side": "PRECEDING"}
        window.set("spec", exp.WindowSpec(**spec, end="UNBOUNDED", end_side="FOLLOWING"))
    decided = {twin_sql(key.this) for key in (*keys, *(exp.Ordered(this=p) for p in _partition(window)))}
    for tie in ties:
        if twin_sql(tie) not in decided:
            decided.add(twin_sql(tie))
            keys.append(exp.Ordered(this=copied(tie), nulls_first=False))
    if keys:
        window.set("order", exp.Order(expressions=keys))


def _partition(window: exp.Window) -> list[exp.Expr]:
    return list(window.args.get("partition_by") or ())


def _ties(select: exp.Select, names: Names) -> list[exp.Expr]:
    """Values that tell rows of the block apart as far as the block can see."""
    group = select.args.get("group")
    items = select.expressions
    if group is not None:
        if group.args.get("all"):
            return [i.unalias() for i in items if not has_aggregate(i) and i.find(exp.Window) is None]
        return [
            items[int(key.name) - 1].unalias() if isinstance(key, exp.Literal) and key.is_int else key
            for key in group.expressions
        ]
    source = select.args.get("from_")
    if source is None or any(has_own_aggregate(item) for item in items):
        return []
    star = exp.select(exp.Star())
    for clause in ("from_", "joins", "laterals"):
        value = select.args.get(clause)
        star.set(clause, [copied(v) for v in value] if isinstance(value, list) else value and copied(value))
    known = names(star)
    real = {name.lower() for name in known}
    if any(isinstance(item, exp.Star) or (isinstance(item, exp.Column) and item.is_star) for item in items):
        return [as_column(name) for name in known]
    seen: dict[str, exp.Expr] = {}
    for node in own_nodes(select):
        if isinstance(node, exp.Column) and not node.is_star and node.parts[-1].name.lower() in real:
            seen.setdefault(twin_sql(node), node)
    return list(seen.values())
