"""FROM with joins as plans: sources side by side, each condition where it does the most good, a join at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from sqlglot import exp

from ..engine.operators.asof_join import AsofRule
from ..storage.errors import NotSupportedError
from . import plan as p
from .asof import nearness, refuse_unordered, settled_after
from .blocks import Unplannable
from .correlation import own_conjuncts
from .dialect import twin_sql
from .join_keys import JoinKeys
from .join_order import join_order, relates_times
from .join_ranges import comparisons, named
from .join_scope import JoinedSource, JoinNames, JoinScope
from .joined import Joined, hint_of_rows, joined_source, kind_of, unnested_source
from .plan import Plan
from .pushdown import as_they_are
from .relations import Column
from .temporal import has_clock
from .time_bounds import bounded, ends
from .time_to_live import Said, Sides
from .trees import as_column, copied, every
from .types import Binder
from .unnesting import elements_of

SourcePlanner = Callable[[exp.Expr], tuple[Plan, str]]

_LEFT_STAYS = ("inner", "left", "semi", "anti")  # joins that say nothing of rows they add no columns to


def plan_joins(
    select: exp.Select,
    source: SourcePlanner,
    binder: Binder,
    hints: Mapping[str, Said],
    *,
    final: bool,
    lateness: int,
) -> tuple[JoinScope, exp.Select]:
    """The scope of a block's joined sources, and the block without its joins and with what is left of its WHERE.

    `hints` say of sources, by their names in lower case, how long their rows are kept.
    """
    names = JoinNames()
    joined: list[Joined] = []
    for join in (None, *select.args["joins"]):
        item = select.args["from_"].this if join is None else join.this
        elements = None if join is None else elements_of(item)
        if elements is not None and join is not None:
            joined.append(unnested_source(elements, kind_of(join), join, names))
            new = elements.source(names, binder)
        elif isinstance(item, exp.Lateral):
            raise Unplannable("LATERAL")
        else:
            below, alias = source(item)
            joined.append(Joined(below) if join is None else joined_source(below, join, first=len(joined) == 1))
            new = JoinedSource(alias, below.columns)
        aside = [] if join is None else join.args.get("aside") or []
        names.add(replace(new, aside=frozenset(aside)))
        if join is not None:
            _place_on(join, names, joined)
        if joined[-1].kind in ("semi", "anti"):
            names.hidden.add(len(joined) - 1)
            joined[-1].said = hint_of_rows(item) if aside else None
    where = select.args.get("where")
    left_over = []
    for conjunct in own_conjuncts(where.this if where is not None else None):
        if has_clock(conjunct):  # a filter of its own, above the join
            left_over.append(conjunct)
            continue
        try:
            _place(names.resolve(conjunct), names, joined, len(joined) - 1)
        except Unplannable:  # it names an item of the select list, or has a subquery
            left_over.append(conjunct)
    left_over += joined[-1].above
    joined[-1].above = []
    select = copied(select)
    select.set("joins", None)
    select.set("where", exp.Where(this=exp.and_(*left_over, copy=True)) if left_over else None)
    needed = _needed(select, names)
    for part, known in zip(joined, names.sources, strict=True):
        part.said = hints.get(known.alias.lower(), part.said)
    builder = _Builder(names, joined, _order(names, joined), binder, final=final, lateness=lateness)
    return JoinScope(builder.plan(needed), names, binder), select


def _order(names: JoinNames, joined: list[Joined]) -> list[int]:
    """The order in which to join, with each condition at the first join that has all it reads."""
    if any(part.kind != "inner" or part.elements is not None for part in joined):
        return list(range(len(joined)))  # outer joins, and UNNEST, mean the order they are written in
    conditions = [condition for part in joined for condition in part.conditions]
    plans = [part.plan for part in joined if part.plan is not None]
    if relates_times(names, plans, conditions):
        return list(range(len(joined)))  # what is late is a matter of that order, too
    order = join_order(names, plans, conditions)
    for part in joined:
        part.conditions = []
    for condition in conditions:
        joined[max(names.owners(condition), key=order.index)].conditions.append(condition)
    return order


def _place_on(join: exp.Join, names: JoinNames, joined: list[Joined]) -> None:
    """The conditions of ON, USING or NATURAL, each where it belongs."""
    last = len(joined) - 1
    kind = joined[last].kind
    shared = [identifier.name for identifier in join.args.get("using") or ()]
    if join.method.upper() == "NATURAL":
        shared = names.common()
    conditions = [names.merge(name, kind) for name in shared]
    conditions += [names.resolve(part) for part in own_conjuncts(join.args.get("on"))]
    for condition in conditions:
        if condition.find(exp.Query):
            raise Unplannable("subquery in ON")
        if isinstance(condition, exp.Boolean) and condition.this:
            continue
        owners = names.owners(condition)
        if joined[last].asof:
            joined[last].conditions.append(condition)
        elif kind == "inner":
            _place(condition, names, joined, last)
        elif owners == {last} and kind in ("left", "semi", "anti"):
            joined[last].below.append(condition)
        elif owners and last not in owners and kind in ("right", "semi"):
            _place(condition, names, joined, last - 1)
        else:
            joined[last].conditions.append(condition)


def _place(condition: exp.Expr, names: JoinNames, joined: list[Joined], at: int) -> None:
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
            for star in every(part, exp.Star):
                if not isinstance(star.parent, exp.Count):
                    table = star.parent.table if isinstance(star.parent, exp.Column) else ""
                    for _, value in names.star(table):
                        needed |= _names_in(value)
            for column in every(part, exp.Column):
                if not isinstance(column.this, exp.Star):
                    try:
                        needed |= _names_in(names.resolve(column))
                    except Unplannable:
                        continue  # an item of the select list, or a mistake that is found later
    return needed


def _names_in(resolved: exp.Expr) -> set[str]:
    return {column.name for column in every(resolved, exp.Column)}


class _Builder:
    """Builds the tree of joins in their order, each with only the columns that something above it reads."""

    def __init__(
        self,
        names: JoinNames,
        joined: list[Joined],
        order: list[int],
        binder: Binder,
        *,
        final: bool,
        lateness: int,
    ) -> None:
        self._names = names
        self._joined = joined
        self._keys = JoinKeys(names, binder)
        self._order = order
        self._final = final
        self._lateness = lateness

    def plan(self, needed: set[str]) -> Plan:
        wanted = [set(needed)]  # from the last join to the first: what stands above it reads
        for part in [self._joined[place] for place in reversed(self._order[1:])]:
            above = wanted[-1].union(*map(_names_in, part.above))
            lists = () if part.elements is None else part.elements.lists
            wanted.append(above.union(*map(_names_in, (*part.conditions, *lists))))
        wanted.reverse()
        left = self._source(self._order[0], wanted[0])
        for place, below, above in zip(self._order[1:], wanted[:-1], wanted[1:], strict=True):
            if self._joined[place].elements is None:
                left = self._join(place, left, below, above)
            else:
                left = self._unnested(place, left, above)
        return left

    def _source(self, place: int, wanted: set[str]) -> Plan:
        """A source with the columns that are wanted, under their inner names."""
        source, part = self._names.sources[place], self._joined[place]
        assert part.plan is not None
        kept = [column for column in source.columns if source.inner(column.name) in wanted] or [source.columns[0]]
        originals = {source.inner(column.name): column.name for column in source.columns}
        filters = [
            condition.transform(lambda n: as_column(originals[n.name]) if isinstance(n, exp.Column) else n)
            for condition in part.below
        ]
        columns = tuple(Column(source.inner(c.name), c.type, c.arrow, c.nullable) for c in kept)
        items = tuple((source.inner(column.name), as_column(column.name)) for column in kept)
        return p.Map(part.plan, items, exp.and_(*filters, copy=True) if filters else None, columns)

    def _join(self, place: int, left: Plan, below: set[str], above: set[str]) -> Plan:
        part = self._joined[place]
        above = above.union(*map(_names_in, part.above))
        right = self._source(place, below)
        if part.lookup is not None:
            return self._lookup(place, left, right, above)
        if part.asof:
            return _filtered(self._asof(place, left, right, above), part.above)
        left, right, bounds = bounded(part.conditions, left, right, final=self._final, lateness=self._lateness)
        keys, residual = [], []
        for condition in part.conditions:
            key = self._keys.find(condition, place, left, right)
            if key is None:
                residual.append(condition)
            else:
                keys.append(key)
        kept = above.union(*map(_names_in, residual), *({bound.left, bound.right} for bound in bounds))
        found = [] if keys or bounds else comparisons(residual, self._names, self._keys, place, left, right)
        sides = keys or [side for side, _ in found]
        left, left_names = self._keys.beside(left, [side.left for side in sides], kept)
        right, right_names = self._keys.beside(right, [side.right for side in sides], kept)
        order = named(found, left_names, right_names) if found else ()
        columns = [column for column in left.columns if column.name in above]
        if part.kind not in ("semi", "anti"):
            columns += [column for column in right.columns if column.name in above]
        columns = columns or [left.columns[0]]  # something has to carry the rows
        pairs = tuple((a, b, key.null_safe) for a, b, key in zip(left_names, right_names, keys, strict=False))
        rest = exp.and_(*residual, copy=True) if residual else None
        said = self._said(place)
        join = p.Join(
            left, right, part.kind, pairs, rest, tuple(columns), bounds, place=part.place, order=order, said=said
        )
        final = self._final and part.first and part.place is not None and ends(join)
        return _filtered(replace(join, final=True) if final else join, part.above)

    def _lookup(self, place: int, left: Plan, right: Plan, above: set[str]) -> Plan:
        part = self._joined[place]
        if not p.append_only(left):
            raise NotSupportedError(
                "cannot look up for rows that change",
                detail="What a row found when it came is not kept, so that it could not be taken back with the row.",
                hint="Join with a version of a time, or without FOR SYSTEM_TIME.",
                position=part.lookup,
            )
        found = {condition: self._keys.find(condition, place, left, right) for condition in part.conditions}
        keys = [key for key in found.values() if key is not None]
        rest = [condition for condition, key in found.items() if key is None]
        if not keys or (rest and part.outer):
            raise NotSupportedError(
                "a LEFT JOIN that looks up needs equalities alone"
                if keys
                else "a join that looks up needs an equality",
                hint="Put the other conditions into WHERE, or into a query that is joined.",
                position=part.lookup,
            )
        above = above.union(*map(_names_in, rest))
        left, left_names = self._keys.beside(left, [key.left for key in keys], above)
        right, right_names = self._keys.beside(right, [key.right for key in keys], above)
        columns = tuple(column for column in (*left.columns, *right.columns) if column.name in above)
        pairs = tuple((a, b, key.null_safe) for a, b, key in zip(left_names, right_names, keys, strict=True))
        looked_up = p.LookupJoin(left, right, part.outer, pairs, columns or left.columns[:1])
        return _filtered(looked_up, [*rest, *part.above])

    def _asof(self, place: int, left: Plan, right: Plan, above: set[str]) -> Plan:
        part, source = self._joined[place], self._names.sources[place]
        originals = {source.inner(column.name): column.name for column in source.columns}
        near, equal = nearness(part.conditions, originals)
        keys = [self._keys.find(condition, place, left, right) for condition in (*equal, near.sides)]
        found = [key for key in keys if key is not None]
        if len(found) < len(keys):
            raise Unplannable("ASOF join on what is no equality of its two sides")
        times = [
            self._keys.typed(side, below).arrow for side, below in ((found[-1].left, left), (found[-1].right, right))
        ]
        versions = tuple(
            twin_sql(key.right.transform(lambda n: as_column(originals[n.name]) if isinstance(n, exp.Column) else n))
            for key in found
        )
        left, left_names = self._keys.beside(left, [key.left for key in found], above)
        right, right_names = self._keys.beside(right, [key.right for key in found], {c.name for c in right.columns})
        rule = AsofRule(left_names[-1], right_names[-1], near.strict, near.backward)
        if part.temporal or self._final:
            left, right, needed = settled_after(left, right, rule, self._lateness)
            rule = replace(rule, needed=needed)
        refuse_unordered(right.columns, times)
        columns = tuple(column for column in (*left.columns, *right.columns) if column.name in above)
        final = self._final and part.first and rule.needed is not None
        final = final and p.append_only(left) and p.append_only(right)
        pairs = tuple((a, b, k.null_safe) for a, b, k in zip(left_names, right_names, found, strict=True))[:-1]
        ties = tuple(originals[column.name] for column in right.columns if column.name in originals)
        assert part.place is not None
        columns, said = columns or left.columns[:1], self._said(place)
        return p.AsofJoin(left, right, part.outer, pairs, rule, columns, final, ties, versions, part.place, said=said)

    def _said(self, place: int) -> Sides:
        """What hints say of both sides of a join; the left one has a name if it is a source."""
        first = self._joined[self._order[0]].said if place == self._order[1] else None
        return first, self._joined[place].said

    def _unnested(self, place: int, left: Plan, above: set[str]) -> Plan:
        """The sources so far with the elements of lists of theirs beside them."""
        source, part = self._names.sources[place], self._joined[place]
        assert part.elements is not None
        above = above.union(*map(_names_in, part.above))
        left, lists = self._keys.beside(left, list(part.elements.lists), above)
        columns = [column for column in left.columns if column.name in above]
        columns += [Column(source.inner(column.name), column.type, column.arrow) for column in source.columns]
        outer, numbered = part.kind == "left", part.elements.numbered
        return _filtered(p.Unnest(left, tuple(lists), outer, numbered, tuple(columns)), part.above)


def _filtered(plan: Plan, conditions: list[exp.Expr]) -> Plan:
    """The rows of `plan` for which all `conditions` hold."""
    if not conditions:
        return plan
    items = as_they_are(plan.columns)
    return p.Map(plan, items, exp.and_(*conditions, copy=True), plan.columns)
