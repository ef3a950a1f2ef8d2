"""Correlated subqueries as queries that stand by themselves, and the conditions that tell whose their rows are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from sqlglot import exp

from .block_names import Bind, Names, outer_columns, stands_alone
from .blocks import Unplannable, is_aggregate
from .dialect import WindowFunction, twin_sql
from .relations import Column
from .ties import own_nodes
from .trees import every, every_node

_OUTER = "outer row"  # the source that stands for the outer block's values
_ONE_ROW = ("limit", "offset")


@dataclass
class Apart:
    """A subquery that stands by itself, as a source called `alias` with the columns `values`, and then `keys`.

    Its rows belong to the outer rows for which all `conditions` hold, which speak of both.
    """

    query: exp.Query
    alias: str
    values: list[str]
    keys: list[str] = field(default_factory=list)
    conditions: list[exp.Expr] = field(default_factory=list)

    def column(self, name: str) -> exp.Expr:
        """A column of the source, as the outer block writes it."""
        return exp.column(exp.to_identifier(name, quoted=True), table=exp.to_identifier(self.alias, quoted=True))

    def add_key(self, inner: exp.Expr, outside: exp.Expr, kind: type[exp.EQ | exp.NullSafeEQ]) -> None:
        """Select `inner` too, and ask that it is equal to `outside`, a value of the outer row."""
        name = f"key {len(self.keys) + 1}"
        self.keys.append(name)
        self.query.append("expressions", exp.alias_(inner.copy(), name, quoted=True))
        self.conditions.append(kind(this=outside.copy(), expression=self.column(name)))

    def source(self, query: exp.Query | None = None, columns: Sequence[str] | None = None) -> exp.Subquery:
        """The source in FROM; or `query` in its place, with these columns."""
        names = [*self.values, *self.keys] if columns is None else columns
        alias = exp.TableAlias(
            this=exp.to_identifier(self.alias, quoted=True),
            columns=[exp.to_identifier(name, quoted=True) for name in names],
        )
        return exp.Subquery(this=(query or self.query).copy(), alias=alias)


@dataclass(frozen=True)
class Outer:
    """The block around subqueries: its sources, and what they are called."""

    select: exp.Select
    names: Names
    bind: Bind

    def apart(
        self,
        query: exp.Query,
        alias: str,
        *,
        any_condition: bool = False,
        one_group: bool = False,
        no_rows: bool = False,
    ) -> Apart:
        """`query` as one that stands by itself.

        `any_condition`: the conditions may say more than that keys are equal. `one_group`: an outer row belongs to
        the rows of one group of keys at most. `no_rows`: an aggregate of no rows, which is a row, may be left out.
        Raises: Unplannable where there is no such query, or none that is known to be right.
        """
        query = plain(query)
        width = len(self.bind(query)) if stands_alone(query, self.bind) else len(query.selects)
        apart = Apart(query, alias, [f"value {place}" for place in range(1, width + 1)])
        if stands_alone(query, self.bind):
            return apart
        if isinstance(query, exp.SetOperation):
            return self._sets_apart(query, apart)
        if not isinstance(query, exp.Select) or query.is_star:
            raise Unplannable("a correlated subquery that is no plain SELECT")
        if query.args.get("from_") is None:
            query.set("from_", exp.From(this=one_row()))
        if any(query.args.get(clause) for clause in ("windows", "sample", "pivots", "laterals")):
            raise Unplannable("a correlated subquery that is no plain SELECT")
        whole = has_own_aggregates(query) and not query.args.get("group")
        if whole and not no_rows:
            raise Unplannable("a correlated subquery that aggregates no rows, too")
        free = outer_columns(query, self.names, self.bind)
        if not free:
            raise Unplannable("a subquery with names of nobody knows what")
        simple = not any(query.args.get(clause) for clause in ("group", "having", "qualify", "distinct", *_ONE_ROW))
        simple = simple and not whole and not own_windows(query)
        split = self._split(query, free, residual=any_condition and simple)
        pairs: list[tuple[exp.Expr, exp.Expr]]
        residual: list[exp.Expr]
        if split is None or (one_group and not all(self._same_types(query, *pair) for pair in split[0])):
            pairs, residual = self._beside_outer(query, free), []
        else:
            pairs, residual = split
        kind = exp.EQ if split is not None and pairs is split[0] else exp.NullSafeEQ
        for inner, outside in pairs:
            apart.add_key(inner, outside, kind)
        inside = {id(column) for column in free}
        for condition in residual:
            apart.conditions.append(self._exported(condition, inside, apart))
        _by_keys(query, [inner for inner, _ in pairs], whole=whole)
        return apart

    def _split(
        self, query: exp.Select, free: Sequence[exp.Column], *, residual: bool
    ) -> tuple[list[tuple[exp.Expr, exp.Expr]], list[exp.Expr]] | None:
        """Take the conditions that name the outer block out of WHERE: equalities as (inner, outer), and others.

        None, and nothing is taken, if it is named elsewhere too.
        """
        where = query.args.get("where")
        outside = {id(column) for column in free}
        local, pairs, others, seen = [], [], [], 0
        for part in own_conjuncts(where.this if where is not None else None):
            count = sum(id(column) in outside for column in every(part, exp.Column))
            if not count:
                local.append(part)
                continue
            seen += count
            pair = _sides(part, outside)
            if pair is not None:
                pairs.append(pair)
            elif part.find(exp.Query) is None and residual:
                others.append(part)
            else:
                return None
        if seen < len(free):
            return None
        query.set("where", exp.Where(this=exp.and_(*local, copy=True)) if local else None)
        return pairs, others

    def _exported(self, condition: exp.Expr, outside: set[int], apart: Apart) -> exp.Expr:
        """A condition over both, the columns of the subquery made columns of the source."""
        assert isinstance(apart.query, exp.Select)
        condition = exp.Paren(this=condition)
        for node in every(condition, exp.Column):
            if id(node) not in outside:
                name = f"key {len(apart.keys) + 1}"
                apart.keys.append(name)
                apart.query.append("expressions", exp.alias_(node.copy(), name, quoted=True))
                node.replace(apart.column(name))
        return condition.copy()

    def _same_types(self, query: exp.Select, inner: exp.Expr, outside: exp.Expr) -> bool:
        """Whether values of the two that differ within the subquery cannot both be equal to one outside."""
        ours, theirs = self.type_of(outside), self.bind(_over(query, inner))[0]
        return same_values(ours, theirs)

    def type_of(self, value: exp.Expr) -> Column:
        """The column that `value` makes over the outer block's sources."""
        return self.bind(_over(self.select, value))[0]

    def _beside_outer(self, query: exp.Select, free: Sequence[exp.Column]) -> list[tuple[exp.Expr, exp.Expr]]:
        """Let `query` join all different values that the outer block has for it; the pairs that tell them apart."""
        joins = query.args.get("joins") or []
        if any(join.side.upper() in ("RIGHT", "FULL") for join in joins):
            raise Unplannable("a correlated subquery with an outer join")
        domain, pairs = self.different(query, free)
        source = query.args["from_"].this
        query.set("from_", exp.From(this=domain))
        query.set("joins", [exp.Join(this=source, kind="CROSS"), *joins])
        return pairs

    def _sets_apart(self, query: exp.SetOperation, apart: Apart) -> Apart:
        """The same for a set operation: each side for every different value that the outer block has for either."""
        free = outer_columns(query, self.names, self.bind)
        leaves = list(_leaves(query))
        domain, pairs = self.different(query, free)
        for leaf in leaves:
            joins = leaf.args.get("joins") or []
            if leaf.is_star or any(leaf.args.get(c) for c in ("windows", "sample", "pivots", "laterals", "with_")):
                raise Unplannable("a correlated subquery that is no plain SELECT")
            if any(join.side.upper() in ("RIGHT", "FULL") for join in joins):
                raise Unplannable("a correlated subquery with an outer join")
            if has_own_aggregates(leaf) and not leaf.args.get("group"):
                raise Unplannable("a correlated subquery that aggregates no rows, too")
            source = leaf.args.get("from_")
            leaf.set("joins", [exp.Join(this=one_row() if source is None else source.this, kind="CROSS"), *joins])
            leaf.set("from_", exp.From(this=domain.copy()))
            _by_keys(leaf, [inner for inner, _ in pairs], whole=False)
            for place, (inner, _) in enumerate(pairs, 1):
                leaf.append("expressions", exp.alias_(inner.copy(), f"key {place}", quoted=True))
        apart.query = query
        for place, (_, outside) in enumerate(pairs, 1):
            apart.keys.append(f"key {place}")
            apart.conditions.append(exp.NullSafeEQ(this=outside.copy(), expression=apart.column(f"key {place}")))
        return apart

    def different(
        self, query: exp.Query, free: Sequence[exp.Column]
    ) -> tuple[exp.Subquery, list[tuple[exp.Expr, exp.Expr]]]:
        """A source of all different values that the outer block has for the columns `free` of `query`.

        These become columns of the source; the pairs are such a column, and the value that it stands for.
        """
        if any(isinstance(table.this, WindowFunction) for table in every(self.select, exp.Table)):
            raise Unplannable("a correlated subquery over a window")
        for call in (node for node in every_node(query) if is_aggregate(node)):
            columns = [id(column) for column in every(call, exp.Column)]
            if columns and set(columns) <= {id(column) for column in free}:
                raise Unplannable("an aggregate of the outer query in a subquery")
        values = {twin_sql(column): column.copy() for column in free}
        names = {text: f"outer {place}" for place, text in enumerate(values, 1)}
        domain = _over(self.select, *(exp.alias_(value.copy(), names[t], quoted=True) for t, value in values.items()))
        domain.set("distinct", exp.Distinct())
        table = exp.to_identifier(_OUTER, quoted=True)
        for column in free:
            name = exp.to_identifier(names[twin_sql(column)], quoted=True)
            column.replace(exp.column(name, table=table.copy()))
        source = exp.Subquery(this=domain, alias=exp.TableAlias(this=table))
        return source, [
            (exp.column(exp.to_identifier(names[text], quoted=True), table=table.copy()), value)
            for text, value in values.items()
        ]


def one_row() -> exp.Subquery:
    """A source of one row, for a block that has none."""
    return exp.select(exp.alias_(exp.Literal.number(1), "one")).subquery("one row")


def _leaves(query: exp.Expr) -> Iterator[exp.Select]:
    """The blocks of a set operation."""
    while isinstance(query, exp.Subquery) and not query.args.get("joins"):
        query = query.this
    match query:
        case exp.Select():
            yield query
        case exp.SetOperation() if not any(query.args.get(c) for c in ("limit", "offset", "by_name", "with_")):
            query.set("order", None)
            yield from _leaves(query.this)
            yield from _leaves(query.expression)
        case _:
            raise Unplannable("a correlated subquery that is no plain SELECT")


def plain(query: exp.Expr) -> exp.Query:
    """A copy of a subquery without its parentheses."""
    while isinstance(query, exp.Subquery) and not query.args.get("joins"):
        query = query.this
    if not isinstance(query, exp.Query):
        raise Unplannable("a subquery that is no SELECT")
    return query.copy()


def has_own_aggregates(query: exp.Select) -> bool:
    """Whether a block without GROUP BY is one row for all, by an aggregate in it."""
    nodes = [*query.expressions, *([query.args["having"]] if query.args.get("having") else [])]
    return any(is_aggregate(node) and not _nested(node, query) for part in nodes for node in every_node(part))


def same_values(left: Column, right: Column) -> bool:
    """Whether values of two types are compared as what they are, so that different ones stay different."""
    integers = pa.types.is_integer(left.arrow) and pa.types.is_integer(right.arrow)
    return left.type == right.type or bool(integers)


def _nested(node: exp.Expr, query: exp.Select) -> bool:
    above = node.parent
    while above is not None and above is not query:
        if isinstance(above, exp.Query):
            return True
        above = above.parent
    return False


def own_windows(select: exp.Select) -> list[exp.Window]:
    """The OVER clauses of a block itself."""
    return [node for node in own_nodes(select) if isinstance(node, exp.Window)]


def _over(select: exp.Select, *values: exp.Expr) -> exp.Select:
    """A block that computes `values` over the sources of `select`."""
    block = exp.select(*(value.copy() for value in values))
    block.set("from_", select.args["from_"].copy())
    block.set("joins", [join.copy() for join in select.args.get("joins") or ()])
    return block


def own_conjuncts(condition: exp.Expr | None) -> Iterator[exp.Expr]:
    """The conditions that all must hold, as nodes of the tree."""
    if isinstance(condition, exp.Paren):
        yield from own_conjuncts(condition.this)
    elif isinstance(condition, exp.And):
        yield from own_conjuncts(condition.this)
        yield from own_conjuncts(condition.expression)
    elif condition is not None:
        yield condition


def _sides(part: exp.Expr, outside: set[int]) -> tuple[exp.Expr, exp.Expr] | None:
    """An equality's inner and its outer side."""
    if not isinstance(part, exp.EQ) or part.find(exp.Query) is not None:
        return None
    sides = [{id(column) in outside for column in every(side, exp.Column)} for side in (part.this, part.expression)]
    if sides == [{False}, {True}]:
        return part.this, part.expression
    if sides == [{True}, {False}]:
        return part.expression, part.this
    return None


def _by_keys(query: exp.Select, keys: Sequence[exp.Expr], *, whole: bool) -> None:
    """Let a block that groups, ranks or takes the first rows do so for each value of `keys`, which it selects."""
    group = query.args.get("group")
    windows = own_windows(query)
    if whole and (windows or query.args.get("distinct")):
        raise Unplannable("a correlated subquery with OVER beside an aggregate")
    if group is not None:
        sets = (exp.Rollup, exp.Cube, exp.GroupingSets)
        if any(group.args.get(name) for name in ("rollup", "cube", "grouping_sets")) or group.find(*sets):
            raise Unplannable("a correlated subquery with grouping sets")
        if not group.args.get("all"):
            group.set("expressions", [*group.expressions, *(key.copy() for key in keys)])
    elif whole:
        query.set("group", exp.Group(expressions=[key.copy() for key in keys]))
    for window in windows:
        window.set("partition_by", [*(window.args.get("partition_by") or ()), *(key.copy() for key in keys)])
    if any(query.args.get(clause) for clause in _ONE_ROW):
        _first_of_each(query, keys)


def _first_of_each(query: exp.Select, keys: Sequence[exp.Expr]) -> None:
    """ORDER BY ... LIMIT n OFFSET m as row_number() > m and <= n + m in each partition."""
    clauses = ("group", "having", "qualify", "distinct")
    if any(query.args.get(clause) for clause in clauses) or own_windows(query):
        raise Unplannable("a correlated subquery with LIMIT beside other clauses")
    limit, offset = (query.args.get(clause) for clause in _ONE_ROW)
    for bound in (limit, offset):
        number = None if bound is None else bound.expression
        if number is not None and not (isinstance(number, exp.Literal) and number.is_int):
            raise Unplannable("a correlated subquery with LIMIT that is no positive number")
    skipped = 0 if offset is None else int(offset.expression.name)
    last = None if limit is None else int(limit.expression.name) + skipped
    if last == skipped:
        raise Unplannable("a correlated subquery with LIMIT that is no positive number")
    order = query.args["order"]
    if any(isinstance(key.this, exp.Var | exp.Star) for key in order.expressions):
        raise Unplannable("a correlated subquery with ORDER BY ALL")
    for key in order.expressions:
        if isinstance(key.this, exp.Literal) and key.this.is_int:
            key.set("this", query.expressions[int(key.this.name) - 1].unalias().copy())
    number = exp.Window(
        this=exp.Anonymous(this="row_number"), partition_by=[key.copy() for key in keys], order=order, over="OVER"
    )
    for clause in ("order", *_ONE_ROW):
        query.set(clause, None)
    tests: list[exp.Expr] = [] if last is None else [exp.LTE(this=number, expression=exp.Literal.number(last))]
    if skipped:
        tests.append(exp.GT(this=number.copy(), expression=exp.Literal.number(skipped)))
    query.set("qualify", exp.Qualify(this=exp.and_(*tests)) if tests else None)
