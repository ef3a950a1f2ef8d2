"""OVER as plans: a map that computes what windows look at, an operator per window, a map that finishes the items."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pyarrow as pa
from sqlglot import exp

from ..engine.operators.top_n import Ranking
from ..engine.over_functions import OverCall
from ..engine.sort_keys import SortKey, sortable
from . import plan as p
from .aggregation import Before, finish
from .blocks import Scope, Unplannable, is_aggregate
from .dialect import twin_sql
from .frames import frame_of
from .plan import Plan
from .relations import Column
from .ties import called, called_name
from .trees import as_column, copied, every

_ODD_TYPES = ("ENUM", "BIT", "TIME WITH TIME ZONE", "VARINT", "INTERVAL", "GEOMETRY")  # whose Arrow order is another
_FUNCTIONS = ("row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead")
_RANKINGS: dict[str, Ranking] = {"row_number": "row_number", "rank": "rank", "dense_rank": "dense_rank"}
_VALUES = ("first_value", "last_value", "nth_value")
_AGGREGATES = ("count", "count_star", "sum", "avg", "min", "max")


@dataclass(frozen=True)
class _Window:
    partition: tuple[str, ...]
    order: tuple[SortKey, ...]
    call: OverCall
    column: Column  # of the result


def plan_windows(select: exp.Select, scope: Scope) -> Plan:
    """The plan of a block with OVER but without GROUP BY, its aliases substituted; Unplannable without an operator."""
    items = scope.items(select.expressions)
    qualify = select.args.get("qualify")
    condition = None if qualify is None else scope.resolve(qualify.this)
    parts = [*items, *([condition] if condition is not None else [])]
    before = Before(scope)
    windows: dict[str, _Window] = {}
    for part in parts:
        for node in every(part, exp.Window):
            if twin_sql(node) not in windows:
                windows[twin_sql(node)] = _window(node, f"_over{len(windows)}", before, scope)
    for part in parts:
        for column in every(part, exp.Column):
            before.add(column, "item")
    where = select.args.get("where")
    plan = before.plan(where.this if where is not None else None, None)
    _refuse_unsortable(plan, windows.values())
    for group in _shared(list(windows.values())):
        columns = (*plan.columns, *(window.column for window in group))
        calls = tuple(window.call for window in group)
        plan = p.Over(plan, group[0].partition, group[0].order, calls, columns, said=scope.said)
    after = {f'"{column.name}"': column.name for column in plan.columns}
    after.update({text: window.call.name for text, window in windows.items()})
    finished = Scope(plan, "", scope.binder)
    return finished.map([finish(i, after) for i in items], None if condition is None else finish(condition, after))


def split_aggregates(select: exp.Select) -> exp.Select:
    """A block with both GROUP BY (aliases substituted) and OVER as two: windows over a subquery that aggregates."""
    group = select.args.get("group")
    keys = list(group.expressions) if group is not None else []
    names = {twin_sql(key): f"_k{i}" for i, key in enumerate(keys)}
    inner_items = [exp.alias_(copied(key), f"_k{i}") for i, key in enumerate(keys)]

    def lift(node: exp.Expr) -> exp.Expr:
        text = "" if isinstance(node, exp.Ordered) else twin_sql(node)  # which may read like the key in it
        if text not in names and (isinstance(node, exp.Filter) or is_aggregate(node)):
            names[text] = f"_a{len(names)}"
            inner_items.append(exp.alias_(copied(node), names[text]))
        if text in names:
            return exp.column(names[text])
        node = copied(node)
        for child in list(node.iter_expressions()):
            if isinstance(node, exp.Window) and child is node.this:
                for argument in list(called(node).iter_expressions()):
                    argument.replace(lift(argument))
            else:
                child.replace(lift(child))
        return node

    items = []
    for item in select.expressions:
        lifted = lift(item)
        if not isinstance(item, exp.Alias) and isinstance(item, exp.Column):
            lifted = exp.alias_(lifted, item.name, quoted=True)
        items.append(lifted)
    qualify = select.args.get("qualify")
    outer_qualify = None if qualify is None else exp.Qualify(this=lift(qualify.this))
    inner = copied(select)
    inner.set("expressions", inner_items)
    inner.set("qualify", None)
    outer = exp.select(*items).from_(exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("_g"))))
    outer.set("qualify", outer_qualify)
    return outer


def plan_limit(query: exp.Query, plan_query: Callable[[exp.Expr], Plan]) -> Plan:
    """The plan of ORDER BY ... LIMIT, whose ties are settled: the first rows of all, kept."""
    limit, offset = _number(query, "limit"), _number(query, "offset") if query.args.get("offset") else 0
    inner = copied(query)
    for clause in ("order", "limit", "offset"):
        inner.set(clause, None)
    below = plan_query(inner)
    width = len(below.columns)
    items = query.expressions if isinstance(query, exp.Select) and not query.is_star else []
    texts = [twin_sql(item.unalias()).lower() for item in items]
    plain = not any(isinstance(item, exp.Alias) for item in items)
    places: list[int] = []
    hidden: list[exp.Expr] = []
    keys = query.args["order"].expressions if query.args.get("order") else []
    for key in keys:
        place = _place(key.this, below, texts, plain=plain)
        if place is None:
            if not isinstance(inner, exp.Select) or inner.args.get("distinct"):
                raise Unplannable("ORDER BY ... LIMIT by a value that is not selected")
            hidden.append(exp.alias_(copied(key.this), f"_order{len(hidden)}"))
            place = width + len(hidden) - 1
        places.append(place)
    if hidden:
        assert isinstance(inner, exp.Select)
        inner.set("expressions", [*inner.expressions, *hidden])
        below = plan_query(inner)
    names = [column.name for column in below.columns]
    if len(set(names)) < len(names):
        raise Unplannable("ORDER BY ... LIMIT over columns of one name")
    order: dict[str, SortKey] = {}
    for key, place in zip(keys, places, strict=True):
        refuse_unsortable(below.columns[place])
        sort = SortKey(names[place], bool(key.args.get("desc")), bool(key.args.get("nulls_first")))
        order.setdefault(names[place], sort)
    kept = tuple(order.values())
    top = p.TopN(below, (), kept, "row_number", offset, offset + limit, len(kept), False, below.columns)
    if not hidden:
        return top
    shown = tuple((name, as_column(name)) for name in names[:width])
    return p.Map(top, shown, None, below.columns[:width])


def _number(query: exp.Query, clause: str) -> int:
    node = query.args.get(clause)
    options = [] if node is None else [name for name, value in node.args.items() if value and name != "expression"]
    value = node.expression if node is not None and not options else None
    if isinstance(value, exp.Literal) and value.is_int and int(value.name) > 0:
        return int(value.name)
    raise Unplannable(f"{clause.upper()} that is no positive number")


def _place(target: exp.Expr, below: Plan, texts: list[str], *, plain: bool) -> int | None:
    """Which result column a key of ORDER BY means; a result column's name comes before that of a column below."""
    if isinstance(target, exp.Var | exp.Star):
        raise Unplannable("ORDER BY ALL ... LIMIT")
    if isinstance(target, exp.Literal) and target.is_int:
        return int(target.name) - 1
    names = [column.name.lower() for column in below.columns]
    if isinstance(target, exp.Column) and (plain or not target.table) and target.name.lower() in names:
        return names.index(target.name.lower())
    text = twin_sql(target).lower()
    return texts.index(text) if text in texts else None


def first_of_each(plan: Plan) -> Plan:
    """`plan` with a filter on a row_number(), rank() or dense_rank() below it made part of that operator."""
    if not isinstance(plan, p.Map) or plan.where is None:
        return plan
    for part in plan.where.flatten() if isinstance(plan.where, exp.And) else [plan.where]:
        bound = _bound(part.unnest())
        if bound is None:
            continue
        found = _with_limit(plan.input, bound[0], bound[1])
        if found is None:
            continue
        kept = [other for other in _conjuncts(plan.where) if other is not part]
        where = exp.and_(*[copied(other) for other in kept]) if kept else None
        used = [*(item for _, item in plan.items), *([where] if where is not None else [])]
        if any(column.name == bound[0] for value in used for column in every(value, exp.Column)):
            return replace(plan, input=found(keep=True), where=where)
        return replace(plan, input=found(keep=False), where=where)
    return plan


def _conjuncts(where: exp.Expr) -> list[exp.Expr]:
    return list(where.flatten()) if isinstance(where, exp.And) else [where]


def _bound(condition: exp.Expr) -> tuple[str, int] | None:
    """A column, and the number it must not exceed."""
    if not isinstance(condition, exp.Binary):
        return None
    left, right = condition.left.unnest(), condition.right.unnest()
    if isinstance(right, exp.Column) and isinstance(condition, exp.GT | exp.GTE | exp.EQ):
        flipped = {exp.GT: exp.LT, exp.GTE: exp.LTE, exp.EQ: exp.EQ}
        condition, left, right = flipped[type(condition)](this=right, expression=left), right, left
    if not (isinstance(left, exp.Column) and isinstance(right, exp.Literal) and right.is_int):
        return None
    number = int(right.name)
    match condition:
        case exp.LTE():
            return left.name, number
        case exp.LT():
            return left.name, number - 1
        case exp.EQ() if number == 1:
            return left.name, 1
        case _:
            return None


def _with_limit(plan: Plan, name: str, limit: int) -> Callable[..., Plan] | None:
    """What makes `plan` with only the rows whose rank `name` is at most `limit`; None where `name` is no rank."""
    match plan:
        case p.Map(where=None):
            item = dict(plan.items)[name]
            found = _with_limit(plan.input, item.name, limit) if isinstance(item, exp.Column) else None
            if found is None:
                return None

            def mapped(*, keep: bool) -> Plan:
                kept = [keep or column.name != name for column in plan.columns]
                return replace(
                    plan,
                    input=found(keep=keep),
                    items=tuple(item for item, k in zip(plan.items, kept, strict=True) if k),
                    columns=tuple(column for column, k in zip(plan.columns, kept, strict=True) if k),
                )

            if sum(isinstance(i, exp.Column) and i.name == item.name for _, i in plan.items) > 1:
                return lambda *, keep: mapped(keep=True)  # the rank is there under another name, too
            return mapped
        case p.Over(calls=(call,)) if call.name == name and call.function in _RANKINGS and limit > 0:
            ranking = _RANKINGS[call.function]

            def top(*, keep: bool) -> Plan:
                columns = plan.columns if keep else plan.columns[:-1]
                place = (plan.input, plan.partition, plan.order)
                return p.TopN(*place, ranking, 0, limit, call.peers, keep, columns, said=plan.said)

            return top
        case _:
            return None


def _window(node: exp.Window, name: str, before: Before, scope: Scope) -> _Window:
    if node.args.get("alias"):
        raise Unplannable("OVER a named window")
    column = scope.bind([node])[0]
    function = called_name(node)
    partition = tuple(before.add(key.unnest(), "part") for key in node.args.get("partition_by") or ())
    order: dict[str, SortKey] = {}
    for key in node.args["order"].expressions if node.args.get("order") else ():
        if isinstance(key.this, exp.Var | exp.Star | exp.Literal) or key.args.get("with_fill"):
            raise Unplannable("OVER with ORDER BY ALL or a constant")
        by = before.add(key.this.unnest(), "order")
        if by not in partition:
            order.setdefault(by, SortKey(by, bool(key.args.get("desc")), bool(key.args.get("nulls_first"))))
    call = called(node)
    chosen = node.this if isinstance(node.this, exp.Filter) and function in _AGGREGATES else None
    if (node.this is not call and chosen is None) or call.find(exp.Order, exp.Distinct):
        raise Unplannable(f"{function}() OVER with IGNORE NULLS, DISTINCT or ORDER BY inside")
    keys = [key.this for key in node.args["order"].expressions] if node.args.get("order") else []
    frame = frame_of(node, scope.bind(keys) if keys else (), measured=len(order) == len(keys) == 1)
    if function in ("last_value", "nth_value") and frame.kind == "peers":
        raise Unplannable(f"{function}() OVER the peers of a row")
    if function in _VALUES and frame.kind in ("range", "groups"):
        raise Unplannable(f"{function}() OVER rows of which any may be first")
    arguments = [] if isinstance(call.this, exp.Star) else _arguments(call)
    if chosen is not None:
        value = arguments[0].copy() if arguments else exp.Literal.number(1)
        arguments = [exp.Case().when(chosen.expression.this.copy(), value)]
    if not (function in _FUNCTIONS or function in _VALUES or function in _AGGREGATES):
        raise Unplannable(f"{function}() OVER")
    argument, number, default = None, 1, None
    if function == "ntile":
        number = _integer(arguments, 0)
    elif arguments:
        argument = before.add(arguments[0].unnest(), "arg")
        if function in ("lag", "lead", "nth_value") and len(arguments) > 1:
            number = _integer(arguments, 1)
        if function in ("lag", "lead") and len(arguments) > 2:
            default = before.add(arguments[2], "default")
    if function in _AGGREGATES and argument is not None:
        _check_aggregate(function, arguments[0], scope)
    if function in ("ntile", "nth_value") and number < 1:
        raise Unplannable(f"{function}() of less than one")
    function = "count" if function == "count_star" else function
    made = OverCall(function, argument, number, default, frame, len(order), name, column.arrow)
    return _Window(partition, tuple(order.values()), made, replace(column, name=name))


def _arguments(call: exp.Expr) -> list[exp.Expr]:
    """The arguments in their order, whichever way the node keeps them."""
    if isinstance(call, exp.Anonymous | exp.AnonymousAggFunc):
        return list(call.expressions)
    named = [call.args.get(name) for name in ("this", "offset", "default")]
    return [value for value in named if isinstance(value, exp.Expr)]


def _integer(arguments: list[exp.Expr], place: int) -> int:
    if place < len(arguments) and isinstance(arguments[place], exp.Literal) and arguments[place].is_int:
        return int(arguments[place].name)
    raise Unplannable("OVER with a number that is not constant")


def _check_aggregate(function: str, argument: exp.Expr, scope: Scope) -> None:
    kind = scope.bind([argument])[0].arrow
    if function in ("sum", "avg") and not (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise Unplannable(f"{function}({kind}) OVER")
    if function in ("min", "max") and not sortable(kind):
        raise Unplannable(f"{function}({kind}) OVER")


def _shared(windows: list[_Window]) -> list[list[_Window]]:
    """Windows of one partition, and of orders of which the first's begins with all others', together.

    Small partitions come first, so that what these retract is of larger ones that have had a row as late.
    """
    groups: list[list[_Window]] = []
    for window in sorted(windows, key=lambda window: -len(window.order)):
        for group in groups:
            if group[0].partition == window.partition and group[0].order[: len(window.order)] == window.order:
                group.append(window)
                break
        else:
            groups.append([window])
    return sorted(groups, key=lambda group: -len(group[0].partition))


def _refuse_unsortable(plan: Plan, windows: Iterable[_Window]) -> None:
    types = {column.name: column for column in plan.columns}
    for window in windows:
        for key in window.order:
            refuse_unsortable(types[key.column])


def refuse_unsortable(column: Column) -> None:
    """Raise Unplannable where the operators do not know DuckDB's order of a type."""
    if not sortable(column.arrow) or column.type.startswith(_ODD_TYPES):
        raise Unplannable(f"ORDER BY {column.type}")
