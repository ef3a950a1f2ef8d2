"""GROUP BY as plans: a map that computes keys and arguments, an aggregate, a map that finishes the items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pyarrow as pa
from sqlglot import exp

from ..engine.aggregates import AggregateCall
from ..engine.windows import Cumulate, Given
from . import plan as p
from .aggregate_functions import aggregate_call
from .blocks import Scope, Unplannable, has_aggregate, is_aggregate
from .dialect import twin_sql
from .grouping_sets import distinct_keys, grouping_sets, spell_groupings
from .lateness import when_closed, with_late
from .plan import Plan
from .relations import Column
from .trees import as_column, copied, every
from .window_checks import WINDOW_COLUMNS


def plan_aggregation(select: exp.Select, scope: Scope, *, final: bool, lateness: int) -> Plan:
    """The plan of an aggregating block whose aliases are substituted; Unplannable without an operator."""
    group = select.args.get("group")
    sets = [tuple(scope.resolve(key) for key in chosen) for chosen in grouping_sets(group.expressions if group else ())]
    keys, chosen = distinct_keys(sets)
    if any(has_aggregate(key) for key in keys):
        raise Unplannable("aggregate in GROUP BY")
    items = scope.items(select.expressions)
    having = select.args.get("having")
    condition = None if having is None else scope.resolve(having.this)
    where = select.args.get("where")

    assign = scope.below if isinstance(scope.below, p.AssignWindow) else None
    windowed = [key.name for key in keys if isinstance(key, exp.Column) and key.name in WINDOW_COLUMNS]
    plain = [key for key in keys if not (isinstance(key, exp.Column) and key.name in WINDOW_COLUMNS)]
    calls_in = [call for part in (*items, condition) if part is not None for call in aggregate_calls(part)]
    inputs = [*plain, *calls_in, *([scope.resolve(where.this)] if where is not None else [])]
    if (
        assign is not None
        and windowed
        and (assign.window.starts_differ or {"window_end", "window_time"} & set(windowed))
        and all(key in plain or place in frozenset.intersection(*chosen) for place, key in enumerate(keys))
        and not any(c.name in WINDOW_COLUMNS for part in inputs for c in every(part, exp.Column))
    ):
        source = Scope(assign.input, scope.alias, scope.binder)
    else:
        assign, plain, windowed, source = None, keys, [], scope

    before = Before(source)
    key_names = [before.add(key, "key") for key in plain]
    calls: dict[str, AggregateCall] = {}
    call_columns: list[Column] = []
    for call in calls_in:
        if twin_sql(call) not in calls:
            column = source.bind([call])[0]
            taken = {*key_names, *(known.name for known in call_columns)}
            column = replace(column, name=next(n for n in _spellings(column.name) if n not in taken))
            calls[twin_sql(call)] = aggregate_call(call, column, before, source)
            call_columns.append(column)
    below = before.plan(where.this if where is not None else None, None if assign is None else assign.time)
    closes = assign is not None and assign.time in p.time_columns(assign.input)
    if assign is not None and closes:
        below = with_late(below, lateness, assign.window)
    number, by, unexpanded = None, tuple(key_names), below
    if len(sets) > 1:
        places = [keys.index(key) for key in plain]
        below = _expanded(below, key_names, [frozenset(map(places.index, some & set(places))) for some in chosen])
        *key_names, number = [column.name for column in below.columns[-len(plain) - 1 :]]
    key_columns = [
        next(c for c in below.columns if c.name == name)
        for name in dict.fromkeys([*key_names, *(() if number is None else (number,))])
    ]

    result: Plan
    if assign is not None:
        bounds = [c for c in assign.columns if c.name in windowed and c in assign.columns[-3:]]
        columns = (*bounds, *key_columns, *call_columns)
        windows = p.WindowAggregate(
            below,
            assign.window,
            assign.time,
            tuple(c.name for c in key_columns),
            tuple(calls.values()),
            columns,
            final and closes and not lateness,
            lateness,
        )
        late_end = min(p.closing(windows), default=None) if final and closes and lateness else None
        result = windows if late_end is None else when_closed(windows, late_end)
    elif number is None and (given := _given(with_late(below, lateness), key_columns, final=final)):
        below, time, before_end = given
        columns = (*key_columns, *call_columns)
        names = tuple(c.name for c in key_columns)
        told = final and not any(isinstance(node, p.ViewScan) for node in p.walk(below))
        result = p.WindowAggregate(
            below,
            Given(before_end - lateness),
            time,
            names,
            tuple(calls.values()),
            columns,
            told and not lateness,
            lateness,
        )
    else:
        columns = (*key_columns, *call_columns)
        names = tuple(c.name for c in key_columns)
        if isinstance(below, p.Expand) and number is not None:
            made = tuple(calls.values())
            result = p.GroupingSets(unexpanded, by, below.sets, names, made, columns, said=scope.said)
        else:
            result = p.Aggregate(below, names, tuple(calls.values()), columns, said=scope.said)
    after = {twin_sql(key): name for key, name in zip(plain, key_names, strict=True)}
    after.update({f'"{name}"': name for name in windowed})
    after.update({text: call.name for text, call in calls.items()})
    if number is not None:
        after[twin_sql(as_column(number))] = number
    finished = Scope(result, "", scope.binder)
    items = [finish(spell_groupings(item, keys, chosen, number), after) for item in items]
    if condition is not None:
        condition = finish(spell_groupings(condition, keys, chosen, number), after)
    return finished.map(items, condition)


def _expanded(below: Plan, key_names: list[str], sets: list[frozenset[int]]) -> Plan:
    """`below` once per grouping set, with a column for each key and for the set's number after its own."""
    columns = list(below.columns)
    for name in (*key_names, None):
        column = Column("set", "INTEGER", pa.int32()) if name is None else _named(below, name)
        taken = {known.name.lower() for known in columns}
        named = "_set" if name is None else f"_group_{name}"
        columns.append(replace(column, name=next(n for n in _spellings(named) if n.lower() not in taken)))
    return p.Expand(below, tuple(key_names), tuple(sets), tuple(columns))


def _named(plan: Plan, name: str) -> Column:
    return next(column for column in plan.columns if column.name == name)


class Before:
    """The map below the aggregate: its items so far, each value once."""

    def __init__(self, source: Scope) -> None:
        self._source = source
        self._items: dict[str, exp.Expr] = {}

    def add(self, value: exp.Expr, prefix: str) -> str:
        """The name under which the aggregate finds `value`; a plain column keeps its own."""
        if isinstance(value, exp.Column):
            self._items.setdefault(value.name, value)
            return value.name
        text = twin_sql(value)
        for name, item in self._items.items():
            if twin_sql(item) == text:
                return name
        name = f"_{prefix}{len(self._items)}"
        self._items[name] = value
        return name

    def plan(self, where: exp.Expr | None, time: str | None) -> Plan:
        if time is not None:
            self._items.setdefault(time, as_column(time))
        if not self._items:  # count(*) alone: any one column carries the rows
            name = self._source.below.columns[0].name
            self._items[name] = as_column(name)
        return self._source.map([exp.alias_(item, name, quoted=True) for name, item in self._items.items()], where)


def aggregate_calls(node: exp.Expr) -> list[exp.Expr]:
    """The outermost aggregate calls in `node`, each with its FILTER."""
    if isinstance(node, exp.Filter | exp.WithinGroup) or is_aggregate(node):
        return [node]
    return [call for child in node.iter_expressions() for call in aggregate_calls(child)]


def _spellings(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name} {i}" for i in count(2))


def finish(item: exp.Expr, after: dict[str, str]) -> exp.Expr:
    """`item` with keys and aggregate calls replaced by the columns that hold them."""
    name = after.get(twin_sql(item))
    if name is not None:
        return as_column(name)
    if isinstance(item, exp.Alias):
        return exp.alias_(finish(item.this, after), item.alias, quoted=True)
    if isinstance(item, exp.Column):
        raise Unplannable(f'"{item.name}" beside aggregates')
    item = copied(item)
    for child in list(item.iter_expressions()):
        child.replace(finish(child, after))
    return item


def _given(below: Plan, keys: list[Column], *, final: bool) -> tuple[Plan, str, int] | None:
    """`below`, the key that says when a group is complete, and how long before that; None if no key does.

    With `final` the start of windows of CUMULATE says nothing: each window of the group ends, and is told, by itself.
    """
    closing = p.closing(below)
    said = [(closing[key.name], key.name) for key in keys if key.name in closing]
    steps = [node.window for node in p.walk(below) if isinstance(node, p.AssignWindow)] if final else []
    ends_differ = {window.size for window in steps if isinstance(window, Cumulate)}
    said = [(before_end, name) for before_end, name in said if before_end not in ends_differ]
    if not said:
        return None
    before_end, name = min(said)
    return below, name, before_end
