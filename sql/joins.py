"""FROM with joins as plans: sources side by side, each condition where it does the most good, left to right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pyarrow as pa
from sqlglot import exp

from ..engine.time_bound import Kind
from ..storage.errors import ProgrammingError
from . import plan as p
from .blocks import Unplannable
from .dialect import twin_sql
from .join_scope import JoinedSource, JoinNames, JoinScope, inner_column
from .places import PLACE
from .plan import Plan
from .relations import Column
from .temporal import has_clock
from .time_bounds import bounded, ends
from .twin import bind_over
from .types import Binder
from .unnesting import Elements, elements_of

SourcePlanner = Callable[[exp.Expr], tuple[Plan, str]]

_KINDS: dict[tuple[str, str], Kind] = {  # by side and kind
    ("", ""): "inner",
    ("", "INNER"): "inner",
    ("", "CROSS"): "inner",
    ("LEFT", ""): "left",
    ("LEFT", "OUTER"): "left",
    ("RIGHT", ""): "right",
    ("RIGHT", "OUTER"): "right",
    ("FULL", ""): "full",
    ("FULL", "OUTER"): "full",
    ("", "OUTER"): "full",
    ("", "SEMI"): "semi",
    ("LEFT", "SEMI"): "semi",
    ("", "ANTI"): "anti",
    ("LEFT", "ANTI"): "anti",
}
_LEFT_STAYS = ("inner", "left", "semi", "anti")  # joins that say nothing of rows they add no columns to


@dataclass
class _Joined:
    """One source and how it is joined to those before it."""

    plan: Plan | None
    kind: Kind = "inner"
    place: int | None = None  # of the join in the query's text, if that says its condition
    elements: Elements | None = None  # where it is UNNEST, and has no plan
    conditions: list[exp.Expr] = field(default_factory=list)  # of the join
    below: list[exp.Expr] = field(default_factory=list)  # filters on the source alone
    above: list[exp.Expr] = field(default_factory=list)  # filters on what the join gives


def plan_joins(
    select: exp.Select, source: SourcePlanner, binder: Binder, *, final: bool, lateness: int
) -> tuple[JoinScope, exp.Select]:
    """The scope of a block's joined sources, and the block without its joins and with what is left of its WHERE."""
    names = JoinNames()
    joined: list[_Joined] = []
    for join in (None, *select.args["joins"]):
        item = select.args["from_"].this if join is None else join.this
        kind: Kind = "inner" if join is None else _kind(join)
        elements = None if join is None else elements_of(item)
        if elements is not None and join is not None:
            joined.append(_unnest(elements, kind, join, names))
            new = elements.source(names, binder)
        elif isinstance(item, exp.Lateral):
            raise Unplannable("LATERAL")
        else:
            below, alias = source(item)
            place = None if join is None or len(joined) > 1 or join.method else join.meta.get(PLACE)
            joined.append(_Joined(below, kind, place))
            new = JoinedSource(alias, below.columns)
        names.add(replace(new, aside=join is not None and bool(join.args.get("aside"))))
        if join is not None:
            _place_on(join, names, joined)
        if joined[-1].kind in ("semi", "anti"):
            names.hidden.add(len(joined) - 1)
    where = select.args.get("where")
    left_over = []
    for conjunct in conjuncts(where.this if where is not None else None):
        if has_clock(conjunct):  # a filter of its own, above the join
            left_over.append(conjunct)
            continue
        try:
            _place(names.resolve(conjunct), names, joined, len(joined) - 1)
        except Unplannable:  # it names an item of the select list, or has a subquery
            left_over.append(conjunct)
    left_over += joined[-1].above
    joined[-1].above = []
    select = select.copy()
    select.set("joins", None)
    select.set("where", exp.Where(this=exp.and_(*left_over, copy=True)) if left_over else None)
    needed = _needed(select, names)
    builder = _Builder(names, joined, binder, final=final, lateness=lateness)
    return JoinScope(builder.plan(needed), names, binder), select


def _unnest(elements: Elements, kind: Kind, join: exp.Join, names: JoinNames) -> _Joined:
    """UNNEST of what the sources before it have."""
    on = join.args.get("on")
    always = on is None or (isinstance(on, exp.Boolean) and on.this)
    if not (kind == "inner" or (kind == "left" and always)) or join.args.get("using") or join.method:
        raise Unplannable(f"UNNEST in a {kind} join")
    resolved = tuple(names.resolve(value) for value in elements.lists)
    return _Joined(None, kind, elements=replace(elements, lists=resolved))


def conjuncts(condition: exp.Expr | None) -> Iterator[exp.Expr]:
    """The conditions that all must hold for `condition` to."""
    if isinstance(condition, exp.Paren):
        yield from conjuncts(condition.this)
    elif isinstance(condition, exp.And):
        yield from conjuncts(condition.this)
        yield from conjuncts(condition.expression)
    elif condition is not None:
        yield condition


def _kind(join: exp.Join) -> Kind:
    if join.method.upper() not in ("", "NATURAL"):
        raise Unplannable(f"{join.method.upper()} join")
    kind = _KINDS.get((join.side.upper(), join.kind.upper()))
    if kind is None:
        raise Unplannable(f"{join.side} {join.kind} join".strip())
    return kind


def _place_on(join: exp.Join, names: JoinNames, joined: list[_Joined]) -> None:
    """The conditions of ON, USING or NATURAL, each where it belongs."""
    last = len(joined) - 1
    kind = joined[last].kind
    shared = [identifier.name for identifier in join.args.get("using") or ()]
    if join.method.upper() == "NATURAL":
        shared = names.common()
    conditions = [names.merge(name, kind) for name in shared]
    conditions += [names.resolve(part) for part in conjuncts(join.args.get("on"))]
    for condition in conditions:
        if condition.find(exp.Query):
            raise Unplannable("subquery in ON")
        if isinstance(condition, exp.Boolean) and condition.this:
            continue
        owners = names.owners(condition)
        if kind == "inner":
            _place(condition, names, joined, last)
        elif owners == {last} and kind in ("left", "semi", "anti"):
            joined[last].below.append(condition)
        elif owners and last not in owners and kind in ("right", "semi"):
            _place(condition, names, joined, last - 1)
        else:
            joined[last].conditions.append(condition)


def _place(condition: exp.Expr, names: JoinNames, joined: list[_Joined], at: int) -> None:
    """Put a filter on what the join number `at` gives as far down as it says the same."""
    if condition.find(exp.Query):
        raise Unplannable("subquery")
    owners = names.owners(condition)
    if not owners:
        joined[at].above.append(condition)
        return
    while at > 0 and max(owners) < at and joined[at].kind in _LEFT_STAYS:
        at -= 1
    if joined[at].elements is not None:
        joined[at].above.append(condition)
    elif at == 0 or (owners == {at} and joined[at].kind in ("inner", "right")):
        joined[at].below.append(condition)
    elif joined[at].kind == "inner":
        joined[at].conditions.append(condition)
    else:
        joined[at].above.append(condition)


def _needed(select: exp.Select, names: JoinNames) -> set[str]:
    """The inner names that the block reads of its sources."""
    needed: set[str] = set()
    for clause, value in select.args.items():
        for part in value if isinstance(value, list) else [value]:
            if clause == "from_" or not isinstance(part, exp.Expr):
                continue
            for star in part.find_all(exp.Star):
                if not isinstance(star.parent, exp.Count):
                    table = star.parent.table if isinstance(star.parent, exp.Column) else ""
                    for _, value in names.star(table):
                        needed |= _names_in(value)
            for column in part.find_all(exp.Column):
                if not isinstance(column.this, exp.Star):
                    try:
                        needed |= _names_in(names.resolve(column))
                    except Unplannable:
                        continue  # an item of the select list, or a mistake that is found later
    return needed


def _names_in(resolved: exp.Expr) -> set[str]:
    return {column.name for column in resolved.find_all(exp.Column)}


class _Builder:
    """Builds the tree of joins, left to right, each with only the columns that something above it reads."""

    def __init__(self, names: JoinNames, joined: list[_Joined], binder: Binder, *, final: bool, lateness: int) -> None:
        self._names = names
        self._joined = joined
        self._binder = binder
        self._final = final
        self._lateness = lateness

    def plan(self, needed: set[str]) -> Plan:
        wanted = [set(needed)]  # from the last join to the first: what stands above it reads
        for part in reversed(self._joined[1:]):
            above = wanted[-1].union(*map(_names_in, part.above))
            lists = () if part.elements is None else part.elements.lists
            wanted.append(above.union(*map(_names_in, (*part.conditions, *lists))))
        wanted.reverse()
        left = self._source(0, wanted[0])
        for place in range(1, len(self._joined)):
            if self._joined[place].elements is None:
                left = self._join(place, left, wanted[place - 1], wanted[place])
            else:
                left = self._unnested(place, left, wanted[place])
        return left

    def _source(self, place: int, wanted: set[str]) -> Plan:
        """A source with the columns that are wanted, under their inner names."""
        source, part = self._names.sources[place], self._joined[place]
        assert part.plan is not None
        kept = [column for column in source.columns if source.inner(column.name) in wanted] or [source.columns[0]]
        originals = {source.inner(column.name): column.name for column in source.columns}
        filters = [
            condition.transform(lambda n: inner_column(originals[n.name]) if isinstance(n, exp.Column) else n)
            for condition in part.below
        ]
        columns = tuple(Column(source.inner(c.name), c.type, c.arrow, c.nullable) for c in kept)
        items = tuple((source.inner(column.name), inner_column(column.name)) for column in kept)
        return p.Map(part.plan, items, exp.and_(*filters, copy=True) if filters else None, columns)

    def _join(self, place: int, left: Plan, below: set[str], above: set[str]) -> Plan:
        part = self._joined[place]
        above = above.union(*map(_names_in, part.above))
        right = self._source(place, below)
        left, right, bounds = bounded(part.conditions, left, right, final=self._final, lateness=self._lateness)
        keys, residual = [], []
        for condition in part.conditions:
            key = self._key(condition, place, left, right)
            if key is None:
                residual.append(condition)
            else:
                keys.append(key)
        kept = above.union(*map(_names_in, residual), *({bound.left, bound.right} for bound in bounds))
        left, left_names = self._with_keys(left, [key.left for key in keys], kept)
        right, right_names = self._with_keys(right, [key.right for key in keys], kept)
        columns = [column for column in left.columns if column.name in above]
        if part.kind not in ("semi", "anti"):
            columns += [column for column in right.columns if column.name in above]
        columns = columns or [left.columns[0]]  # something has to carry the rows
        pairs = tuple((a, b, key.null_safe) for a, b, key in zip(left_names, right_names, keys, strict=True))
        rest = exp.and_(*residual, copy=True) if residual else None
        join = p.Join(left, right, part.kind, pairs, rest, tuple(columns), bounds, place=part.place)
        final = self._final and part.place is not None and ends(join)
        joined: Plan = replace(join, final=True) if final else join
        return _filtered(joined, part.above)

    def _unnested(self, place: int, left: Plan, above: set[str]) -> Plan:
        """The sources so far with the elements of lists of theirs beside them."""
        source, part = self._names.sources[place], self._joined[place]
        assert part.elements is not None
        above = above.union(*map(_names_in, part.above))
        left, lists = self._with_keys(left, list(part.elements.lists), above)
        columns = [column for column in left.columns if column.name in above]
        columns += [Column(source.inner(column.name), column.type, column.arrow) for column in source.columns]
        outer, numbered = part.kind == "left", part.elements.numbered
        return _filtered(p.Unnest(left, tuple(lists), outer, numbered, tuple(columns)), part.above)

    def _key(self, condition: exp.Expr, place: int, left: Plan, right: Plan) -> _Key | None:
        """The two sides of an equality that an index can find partners by."""
        if not isinstance(condition, exp.EQ | exp.NullSafeEQ):
            return None
        ours, theirs = condition.this, condition.expression
        if self._names.owners(ours) == {place}:
            ours, theirs = theirs, ours
        owners = self._names.owners(ours)
        if self._names.owners(theirs) != {place} or not owners or place in owners:
            return None
        types = [self._bound(value, side) for value, side in ((ours, left), (theirs, right))]
        if types[0].type != types[1].type:
            columns = (*left.columns, *right.columns)
            mixed = f"SELECT CASE WHEN TRUE THEN {twin_sql(ours)} ELSE {twin_sql(theirs)} END FROM _in"
            try:
                both = bind_over(mixed, [("_in", columns)], self._binder)[0]
            except ProgrammingError:  # DuckDB compares them by a cast that it does not do elsewhere
                return None
            if not all(_same_order(column.arrow, both.arrow) for column in types):
                return None
            ours, theirs = (
                value if column.type == both.type else exp.cast(value.copy(), both.type, dialect="duckdb")
                for value, column in zip((ours, theirs), types, strict=True)
            )
            types = [both, both]
        if not _indexable(types[0].arrow):
            return None
        return _Key(ours, theirs, isinstance(condition, exp.NullSafeEQ))

    def _bound(self, value: exp.Expr, below: Plan) -> Column:
        return bind_over(f"SELECT {twin_sql(value)} FROM _in", [("_in", below.columns)], self._binder)[0]

    def _with_keys(self, below: Plan, values: list[exp.Expr], kept: set[str]) -> tuple[Plan, list[str]]:
        """`below` with its columns in `kept` and one for each of `values`, and the names of the latter."""
        if all(isinstance(value, exp.Column) for value in values):
            return below, [value.name for value in values]
        kept = kept | {value.name for value in values if isinstance(value, exp.Column)}
        columns = [column for column in below.columns if column.name in kept]
        items: list[tuple[str, exp.Expr]] = [(column.name, inner_column(column.name)) for column in columns]
        found = []
        for value in values:
            found.append(value.name if isinstance(value, exp.Column) else twin_sql(value))
            if found[-1] not in (name for name, _ in items):
                bound = self._bound(value, below)
                columns.append(Column(found[-1], bound.type, bound.arrow))
                items.append((found[-1], value))
        if isinstance(below, p.Map) and all(isinstance(item, exp.Column) for _, item in below.items):
            inner = dict(below.items)
            items = [
                (name, item.transform(lambda n: inner[n.name].copy() if isinstance(n, exp.Column) else n))
                for name, item in items
            ]
            return p.Map(below.input, tuple(items), below.where, tuple(columns)), found
        return p.Map(below, tuple(items), None, tuple(columns)), found


def _filtered(plan: Plan, conditions: list[exp.Expr]) -> Plan:
    """The rows of `plan` for which all `conditions` hold."""
    if not conditions:
        return plan
    items = tuple((column.name, inner_column(column.name)) for column in plan.columns)
    return p.Map(plan, items, exp.and_(*conditions, copy=True), plan.columns)


@dataclass(frozen=True)
class _Key:
    left: exp.Expr
    right: exp.Expr
    null_safe: bool


def _same_order(have: pa.DataType, want: pa.DataType) -> bool:
    """Whether values of type `have` are equal in type `want` just when they compare equal in DuckDB."""

    def number(kind: pa.DataType) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))

    def moment(kind: pa.DataType) -> bool:
        return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))

    return have == want or (number(have) and number(want)) or (moment(have) and moment(want))


def _indexable(kind: pa.DataType) -> bool:
    """Whether values of this type are equal just when a KeyIndex says so."""
    return not (pa.types.is_nested(kind) or pa.types.is_interval(kind) or pa.types.is_dictionary(kind))
