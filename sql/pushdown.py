"""Filters where they leave out most: conditions move down a plan, as far as the log, where they spare whole frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import duckdb
import pyarrow as pa
from sqlglot import exp

from ..engine.operator import END_OF_TIME, NO_WATERMARK
from ..storage import limits
from . import plan as p
from .correlation import own_conjuncts as conjuncts
from .dialect import twin_sql
from .plan import Plan
from .plan_inputs import with_inputs
from .relations import Column
from .trees import as_column, copied, every
from .types import connect

_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.In)
_LOGIC = (exp.And, exp.Or, exp.Not, exp.Paren, exp.Is)
_Renamed = Mapping[str, exp.Expr]


def push_filters(plan: Plan) -> Plan:
    """A plan of the same result whose filters stand as low as they can, and whose maps are as few.

    Only conditions move that no row can make fail, so that rows which were never asked about raise no errors. Nothing
    moves into what a query reads twice and so keeps once.
    """
    return _bounded(_Pushdown(plan).plan(plan))


class _Pushdown:
    def __init__(self, plan: Plan) -> None:
        self._readers = Counter(below for node in p.nodes(plan) for below in p.inputs_of(node))

    def plan(self, plan: Plan) -> Plan:
        """`plan` with the conditions of all its maps moved down."""
        if isinstance(plan, p.Map):
            return self._map(plan)
        return with_inputs(plan, [self.plan(below) for below in p.inputs_of(plan)])

    def _map(self, plan: p.Map) -> Plan:
        below, kept = plan.input, []
        for condition in conjuncts(plan.where):
            if not p.time_columns(plan.input) and _is_false(condition):  # no window waits for rows from here
                return _nothing(plan.columns)
            if condition.find(exp.Column) is None and _is_true(condition):
                continue
            moved = self._moved(below, condition) if is_total(condition, below.columns) else None
            if moved is None:
                kept.append(condition)
            else:
                below = moved
        where = exp.and_(*kept, copy=True) if kept else None
        return _fused(p.Map(self.plan(below), plan.items, where, plan.columns))

    def _moved(self, plan: Plan, condition: exp.Expr) -> Plan | None:
        """Those rows of `plan` that the condition is true for, told apart further down; None where that says more."""
        if self._readers[plan] > 1 and p.inputs_of(plan):
            return None
        names = {column.name for column in every(condition, exp.Column)}
        match plan:
            case p.Map():
                inner = _renamed(condition, dict(plan.items))
                if inner is None:
                    return None
                moved = self._moved(plan.input, inner)
                if moved is not None:
                    return replace(plan, input=moved)
                return replace(plan, where=inner if plan.where is None else exp.and_(plan.where, inner, copy=True))
            case p.TemporalFilter() | p.AssignWindow() | p.Expand() if names <= _names(plan.input):
                return replace(plan, input=self._filtered(plan.input, condition))
            case p.Aggregate() if plan.keys and names <= set(plan.keys):
                return replace(plan, input=self._filtered(plan.input, condition))
            case p.WindowAggregate() | p.Session() if names <= set(plan.keys) & _names(plan.input):
                return replace(plan, input=self._filtered(plan.input, condition))
            case p.Over() | p.TopN() if names <= set(plan.partition):
                return replace(plan, input=self._filtered(plan.input, condition))
            case p.Join() if plan.kind in ("inner", "left", "semi", "anti") and names <= _names(plan.left):
                return replace(plan, left=self._filtered(plan.left, condition))
            case p.Join() if plan.kind in ("inner", "right") and names <= _names(plan.right):
                return replace(plan, right=self._filtered(plan.right, condition))
            case p.UnionAll() | p.SetOperation():
                return replace(plan, inputs=tuple(self._side(plan, below, condition) for below in plan.inputs))
            case _:
                return None

    def _filtered(self, plan: Plan, condition: exp.Expr) -> Plan:
        moved = self._moved(plan, condition)
        if moved is not None:
            return moved
        return p.Map(plan, as_they_are(plan.columns), condition, plan.columns)

    def _side(self, plan: p.UnionAll | p.SetOperation, below: Plan, condition: exp.Expr) -> Plan:
        """The input of a set operation, whose columns go by their place."""
        places = {column.name: as_column(named.name) for column, named in zip(plan.columns, below.columns, strict=True)}
        inner = _renamed(condition, places)
        assert inner is not None
        return self._filtered(below, inner)


def is_total(condition: exp.Expr, columns: Sequence[Column]) -> bool:
    """Whether the condition is a comparison of columns and constants, or made of such, that no value makes fail."""
    types = {column.name: column.arrow for column in columns}
    if isinstance(condition, _LOGIC):
        return all(is_total(part, columns) for part in condition.iter_expressions())
    if isinstance(condition, exp.Column):
        of_null = isinstance(condition.parent, exp.Is) and isinstance(condition.parent.expression, exp.Null)
        return of_null or pa.types.is_boolean(types[condition.name])
    if isinstance(condition, exp.Null | exp.Boolean):
        return True
    if not isinstance(condition, _COMPARISONS) or condition.args.get("query"):
        return False
    parts = list(condition.iter_expressions())
    kinds = {_kind(part, types) for part in parts} - {"any"}
    compared = {types[part.name] for part in parts if isinstance(part, exp.Column)}
    fits = len(compared) < 2 or not any(pa.types.is_decimal(kind) for kind in compared)  # no cast to fewer digits
    return len(kinds) <= 1 and "other" not in kinds and fits


def _kind(value: exp.Expr, types: Mapping[str, pa.DataType]) -> str:
    """What a column or a constant can be compared with without a cast that may fail."""
    if isinstance(value, exp.Column):
        kind = types[value.name]
    elif value.is_string or isinstance(value, exp.Null):
        return "any"  # read as what it stands beside, once
    elif value.find(exp.Column, exp.Query, exp.Anonymous) is None and (known := constant_value(value)) is not None:
        kind = known.type
    else:
        return "other"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    return str(kind)


def constant_value(value: exp.Expr, type: str | None = None) -> pa.Scalar | None:
    """The value of an expression without columns; None if it has none."""
    return _computed(twin_sql(value) if type is None else f"CAST({twin_sql(value)} AS {type})")


@lru_cache(limits.BOUND_QUERIES_MAX)
def _computed(text: str) -> pa.Scalar | None:
    try:
        return connect().sql(f"SELECT {text}").to_arrow_table().column(0)[0]
    except duckdb.Error:
        return None


def _is_true(condition: exp.Expr) -> bool:
    value = constant_value(condition, "BOOLEAN")
    return value is not None and value.as_py() is True


def _is_false(condition: exp.Expr) -> bool:
    """Whether no row passes: the condition reads no column, and is false or NULL."""
    if condition.find(exp.Column, exp.Query) is not None:
        return False
    value = constant_value(condition, "BOOLEAN")
    return value is not None and not value.as_py()


def _nothing(columns: Sequence[Column]) -> Plan:
    items = ", ".join(f"CAST(NULL AS {c.type}) AS {twin_sql(as_column(c.name))}" for c in columns)
    return p.Constant(f"SELECT {items} WHERE FALSE", tuple(columns))


def _renamed(condition: exp.Expr, items: _Renamed) -> exp.Expr | None:
    """The condition over what the items are made of; None if it reads one that is computed."""
    if not all(isinstance(items.get(column.name), exp.Column) for column in every(condition, exp.Column)):
        return None
    return substituted(condition, items)


def substituted(value: exp.Expr, items: _Renamed) -> exp.Expr:
    return copied(value).transform(lambda node: copied(items[node.name]) if isinstance(node, exp.Column) else node)


def _fused(plan: p.Map) -> Plan:
    """One map in the place of two, where the lower one computes nothing; none where it only has what is there."""
    below = plan.input
    if isinstance(below, p.Map) and (below.where is None or plan.where is None):
        inner = dict(below.items)
        if all(isinstance(item, exp.Column) for item in inner.values()):
            where = below.where if plan.where is None else substituted(plan.where, inner)
            items = tuple((name, substituted(item, inner)) for name, item in plan.items)
            return _fused(p.Map(below.input, items, where, plan.columns))
    same = [(c.name, c.arrow) for c in plan.columns] == [(c.name, c.arrow) for c in below.columns]
    if same and plan.where is None and all(isinstance(i, exp.Column) and i.name == name for name, i in plan.items):
        return below
    return plan


def _bounded(plan: Plan) -> Plan:
    """`plan` reading of the logs the columns that its lowest maps name, and the event times that they ask for."""
    match plan:
        case p.Map(input=p.Scan() as scan):
            return replace(plan, input=_read(scan, plan, None))
        case p.Map(input=p.Late(input=p.Scan() as scan) as late):
            return replace(plan, input=replace(late, input=_read(scan, plan, late.time)))
        case _:
            return with_inputs(plan, [_bounded(below) for below in p.inputs_of(plan)])


def _read(scan: p.Scan, plan: p.Map, time: str | None) -> p.Scan:
    """Of the scan below a map what it asks for; and the column `time`."""
    values = [*(item for _, item in plan.items), *([] if plan.where is None else [plan.where])]
    named = {column.name for value in values for column in every(value, exp.Column)} | {time}
    columns = tuple(column for column in scan.columns if column.name in named) or scan.columns[:1]
    event_time = next((column for column in columns if column.name == scan.event_time), None)
    if event_time is None:
        return replace(scan, columns=columns, event_time=None)
    return replace(scan, columns=columns, times=_times(plan.where, event_time))


def _times(where: exp.Expr | None, column: Column) -> tuple[int | None, int | None] | None:
    """The least and the greatest value of a timestamp that passes the condition, in microseconds; None: any."""
    if not (pa.types.is_timestamp(column.arrow) and column.arrow.unit == "us"):
        return None
    least: list[int] = []
    greatest: list[int] = []
    for condition in conjuncts(where):
        for compared, value in _sides(condition, column.name):
            constant = None if value.find(exp.Column, exp.Query) else constant_value(value, column.type)
            if constant is None or not constant.is_valid or _finer(value):
                continue
            moment = constant.cast(pa.int64()).as_py()
            if compared in (exp.GT, exp.GTE, exp.EQ):
                least.append(moment + (compared is exp.GT))
            if compared in (exp.LT, exp.LTE, exp.EQ):
                greatest.append(moment - (compared is exp.LT))
    if not least and not greatest:
        return None
    first, last = max(least, default=None), min(greatest, default=None)
    return first if first is None else min(first, END_OF_TIME), last if last is None else max(last, NO_WATERMARK)


def _finer(value: exp.Expr) -> bool:
    """Whether a constant says more of a time than its microsecond."""
    known = constant_value(value)
    return known is not None and pa.types.is_timestamp(known.type) and known.type.unit == "ns"


_MIRRORED: Mapping[type[exp.Expr], type[exp.Expr]] = {
    exp.EQ: exp.EQ,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
}


def _sides(condition: exp.Expr, name: str) -> list[tuple[type[exp.Expr], exp.Expr]]:
    """How the condition compares the column of that name, and with what."""

    def is_it(value: exp.Expr) -> bool:
        return isinstance(value, exp.Column) and value.name == name

    if isinstance(condition, exp.Between) and is_it(condition.this) and not condition.args.get("symmetric"):
        return [(exp.GTE, condition.args["low"]), (exp.LTE, condition.args["high"])]
    if type(condition) in _MIRRORED and is_it(condition.this):
        return [(type(condition), condition.expression)]
    if type(condition) in _MIRRORED and is_it(condition.expression):
        return [(_MIRRORED[type(condition)], condition.this)]
    return []


def _names(plan: Plan) -> set[str]:
    return {column.name for column in plan.columns}


def as_they_are(columns: Sequence[Column]) -> tuple[tuple[str, exp.Expr], ...]:
    """The items of a map that passes these columns on."""
    return tuple((column.name, as_column(column.name)) for column in columns)
