"""Subqueries as joins: a block with IN, EXISTS or scalar subqueries as one that joins them, for the planner alone.

The twin stays what was written. Where this finds no join that surely says the same, the block is recomputed.
From: Galindo-Legaria and Joshi, "Orthogonal Optimization of Subqueries and Aggregation" (SIGMOD 2001); Neumann and
Kemper, "Unnesting Arbitrary Queries" (BTW 2015), for those that are correlated by more than equal keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlglot import exp

from .aggregation import aggregate_calls
from .block_names import Bind, block_names, name_items, stands_alone
from .blocks import Unplannable, function_name, has_aggregate, is_aggregate
from .correlation import Apart, Outer, has_own_aggregates, one_row, own_conjuncts, plain, same_values
from .plan import Plan
from .plan_keys import key_of
from .subqueries_of_groups import split_groups
from .trees import as_column

ZERO_OF_NO_ROWS = frozenset(["count", "count_star", "approx_count_distinct", "regr_count"])
UNKNOWN_OF_NO_ROWS = frozenset(  # neither 0 nor surely NULL, as all others
    ["approx_top_k", "combine_aggr", "decimal_average", "entropy", "histogram_exact", "lttb", "variant_group_object"]
)
_ASIDE = "aside"  # of a join: columns that only those know who ask for them by the name of its source


def without_subqueries(select: exp.Select, bind: Bind, plan: Callable[[exp.Expr], Plan]) -> exp.Select:
    """`select` with joins in the place of its subqueries; itself if it has none.

    Raises: Unplannable where there is no such block.
    """
    if not any(_queries(part) for part in _clauses(select)):
        return select
    select = select.copy()
    name_items(select, bind, _queries)
    aggregates = select.args.get("group") or select.args.get("having") or has_own_aggregates(select)
    if aggregates and any(_beside_aggregates(part) for part in _clauses(select) if not isinstance(part, exp.Where)):
        select = split_groups(select, bind)
    elif select.args.get("from_") is None:
        select.set("from_", exp.From(this=one_row()))
    return _Block(select, bind, plan).rewritten()


def _clauses(select: exp.Select) -> Iterator[exp.Expr]:
    yield from select.expressions
    for name in ("where", "group", "having", "qualify", "order"):
        if select.args.get(name) is not None:
            yield select.args[name]


def _queries(node: exp.Expr) -> bool:
    return node.find(exp.Query) is not None


def _beside_aggregates(part: exp.Expr) -> bool:
    """Whether a subquery stands in `part` other than within the argument of an aggregate."""
    nodes = part.walk(prune=lambda node: is_aggregate(node) or isinstance(node, exp.Query | exp.Filter))
    return any(isinstance(node, exp.Query) for node in nodes)


class _Block:
    """One block on its way, with the joins that have been found for it."""

    def __init__(self, select: exp.Select, bind: Bind, plan: Callable[[exp.Expr], Plan]) -> None:
        self._select = select
        self._bind = bind
        self._plan = plan
        self._outer = Outer(select.copy(), block_names(select, bind), bind)
        self._joins: list[exp.Join] = []
        self._count = 0

    def rewritten(self) -> exp.Select:
        select = self._select
        where = select.args.get("where")
        kept = []
        for part in list(own_conjuncts(where.this if where is not None else None)):
            test = self._tested(part) if _queries(part) else part
            if test is not None:
                kept.append(test)
        select.set("where", exp.Where(this=exp.and_(*kept, copy=True)) if kept else None)
        select.set("expressions", [self._valued(item) for item in select.expressions])
        if select.args.get("qualify") is not None:
            select.args["qualify"].set("this", self._valued(select.args["qualify"].this))
        select.set("joins", [*(select.args.get("joins") or ()), *self._joins])
        return select

    # -- conditions that all must hold: semi and anti joins ---------------------------------------------------------

    def _tested(self, part: exp.Expr) -> exp.Expr | None:
        """What is left of a condition that has a subquery, if it is not all said by a join."""
        node, negated = part, False
        while isinstance(node, exp.Paren | exp.Not):
            negated ^= isinstance(node, exp.Not)
            node = node.this
        if isinstance(node, exp.Exists):
            return self._if_exists(node, negated=negated)
        if not isinstance(node, exp.In | exp.Binary) or _queries(node.this):
            return self._valued(part)
        of_groups = isinstance(node, exp.In) and node.args.get("query") and self._aggregates_apart(node.args["query"])
        match node:
            case exp.In() if node.args.get("query") is not None and not of_groups:
                self._if_in(node.this, plain(node.args["query"]), negated=negated)
            case exp.EQ(expression=exp.Any() as some) if not negated:
                self._if_in(node.this, plain(some.this), negated=False)
            case exp.NEQ(expression=exp.All() as every) if not negated:
                self._if_in(node.this, plain(every.this), negated=True)
            case exp.Binary(expression=exp.Any() | exp.All()) if not negated:
                self._if_compared(node)
            case _:
                return self._valued(part)
        return None

    def _if_exists(self, node: exp.Exists, *, negated: bool) -> exp.Expr | None:
        query = _any_row(plain(node.this))
        if query is None:
            return exp.false() if negated else None
        apart = self._outer.apart(query, self._alias(), any_condition=True)
        self._join("ANTI" if negated else "SEMI", apart, [])
        return None

    def _if_in(self, value: exp.Expr, query: exp.Query, *, negated: bool) -> None:
        apart = self._outer.apart(query, self._alias(), any_condition=True)
        equal = _equalities(value, apart)
        self._join("ANTI" if negated else "SEMI", apart, equal)
        if not negated:
            return
        # NOT IN is not true beside a NULL, on either side, unless there are no rows at all.
        if len(equal) > 1:
            self._unless_unknown(value, query)
            return
        if not self._selects_no_null(query):
            apart = self._outer.apart(query, self._alias(), any_condition=True)
            null = exp.Is(this=as_column(apart.values[0]), expression=exp.Null())
            self._join("ANTI", apart, [], _distinct(apart, apart.keys, where=null), apart.keys)
        if not self._outer.names.never_null(value):
            apart = self._outer.apart(query, self._alias(), any_condition=True)
            value_null = exp.Paren(this=exp.Is(this=value.copy(), expression=exp.Null()))
            test = exp.EQ(this=value_null, expression=apart.column("there"))
            self._join("ANTI", apart, [test], _distinct(apart, apart.keys), [*apart.keys, "there"])

    def _unless_unknown(self, values: exp.Expr, query: exp.Query) -> None:
        """(a, b) NOT IN: without rows that are equal but where one of the two has a NULL, too."""

        def tests(apart: Apart) -> list[exp.Expr]:
            return [
                exp.Coalesce(this=exp.Paren(this=equal), expressions=[exp.true()])
                for equal in _equalities(values, apart)
            ]

        if not self._selects_no_null(query):
            apart = self._outer.apart(query, self._alias(), any_condition=True)
            null = exp.or_(*(exp.Is(this=as_column(name), expression=exp.Null()) for name in apart.values))
            names = [*apart.values, *apart.keys]
            self._join("ANTI", apart, tests(apart), _distinct(apart, names, where=null), names)
        if not all(self._outer.names.never_null(value) for value in values.expressions):
            apart = self._outer.apart(query, self._alias(), any_condition=True)
            null = exp.or_(*(exp.Is(this=value.copy(), expression=exp.Null()) for value in values.expressions))
            there = exp.EQ(this=exp.Paren(this=null), expression=apart.column("there"))
            names = [*apart.values, *apart.keys]
            self._join("ANTI", apart, [there, *tests(apart)], _distinct(apart, names), [*names, "there"])

    def _if_compared(self, node: exp.Binary) -> None:
        """x < ANY (...), or x < ALL (...)."""
        every = isinstance(node.expression, exp.All)
        apart = self._outer.apart(plain(node.expression.this), self._alias(), any_condition=True)
        test: exp.Expr = type(node)(this=node.this.copy(), expression=apart.column(apart.values[0]))
        if every:
            test = exp.Not(this=exp.Coalesce(this=exp.Paren(this=test), expressions=[exp.false()]))
        self._join("ANTI" if every else "SEMI", apart, [test])

    def _selects_no_null(self, query: exp.Query) -> bool:
        if not isinstance(query, exp.Select) or query.is_star:
            return False
        names = block_names(query, self._bind)
        return all(names.never_null(item.unalias()) for item in query.expressions)

    # -- values: joins that leave the rows as many as they are ------------------------------------------------------

    def _valued(self, node: exp.Expr) -> exp.Expr:
        """`node` with a value that a join brings in the place of each subquery."""
        match node:
            case exp.Exists():
                return self._whether_exists(node)
            case exp.In() if node.args.get("query") is not None:
                return self._whether_in(self._valued(node.this), plain(node.args["query"]))
            case exp.Subquery():
                return self._scalar(plain(node))
            case exp.Query() | exp.Any() | exp.All():
                raise Unplannable("subquery")
            case exp.Anonymous() if any(isinstance(part, exp.Select | exp.SetOperation) for part in node.expressions):
                raise Unplannable(f"{function_name(node)}() of a subquery")
        if not _queries(node):
            return node.copy()
        node = node.copy()
        for child in list(node.iter_expressions()):
            child.replace(self._valued(child))
        return node

    def _whether_exists(self, node: exp.Exists) -> exp.Expr:
        query = _any_row(plain(node.this))
        if query is None:
            return exp.true()
        apart = self._outer.apart(query, self._alias(), one_group=True)
        self._join("LEFT", apart, [], _distinct(apart, apart.keys), [*apart.keys, "there"])
        return _is_there(apart.column("there"))

    def _whether_in(self, value: exp.Expr, query: exp.Query) -> exp.Expr:
        """True, false or NULL: whether the value is among the rows, and if it is not, whether a NULL is."""
        if self._aggregates_apart(query):
            return exp.Paren(this=exp.EQ(this=value, expression=self._scalar(query)))
        apart = self._outer.apart(query, self._alias(), one_group=True)
        if isinstance(value, exp.Tuple) or len(apart.values) != 1:
            raise Unplannable("IN of several values, as a value")
        name = apart.values[0]
        column = self._bind(exp.select(as_column(name)).from_(apart.source()))[0]
        if not same_values(self._outer.type_of(value), column):
            raise Unplannable("IN of another type, as a value")
        different = _distinct(apart, [name, *apart.keys])
        self._join("LEFT", apart, _equalities(value, apart), different, [name, *apart.keys, "there"])
        found = _is_there(apart.column("there"))
        if self._selects_no_null(query) and self._outer.names.never_null(value):
            return found
        groups = self._outer.apart(query, self._alias(), one_group=True)
        null = exp.Is(this=as_column(name), expression=exp.Null())
        any_null = exp.AnonymousAggFunc(this="bool_or", expressions=[null])
        grouped = exp.select(*map(as_column, groups.keys), exp.alias_(any_null, "some null", quoted=True))
        grouped = grouped.from_(groups.source())
        if groups.keys:
            grouped = grouped.group_by(*map(as_column, groups.keys))
        self._join("LEFT", groups, [], grouped, [*groups.keys, "some null"])
        some_null = groups.column("some null")
        unknown = exp.or_(exp.Is(this=value.copy(), expression=exp.Null()), some_null.copy())
        case = exp.Case().when(found, exp.true())
        case = case.when(exp.Is(this=some_null, expression=exp.Null()), exp.false())
        return exp.Paren(this=case.when(unknown, exp.Null()).else_(exp.false()))

    def _scalar(self, query: exp.Query) -> exp.Expr:
        """The one value of a subquery, NULL if it has no row."""
        if isinstance(query, exp.Select) and self._aggregates_apart(query):
            return self._aggregated(query)
        if isinstance(query, exp.Select) and [name for name, part in query.args.items() if part] == ["expressions"]:
            return exp.Paren(this=self._valued(query.expressions[0].unalias()))  # SELECT x + 1
        apart = self._outer.apart(query, self._alias(), one_group=True)
        if len(apart.values) != 1:
            raise Unplannable("a subquery of several columns as a value")
        one = isinstance(query, exp.Select) and has_own_aggregates(query) and not query.args.get("group")
        if _takes_one(query):
            one = False
        elif not one or any(query.args.get(clause) for clause in ("having", "qualify", "limit", "offset")):
            key = key_of(self._plan(apart.query))
            if not one and (key is None or not set(key) <= set(apart.keys)):
                raise Unplannable("a subquery as a value that may have several rows")
            one = False
        self._join("CROSS" if one else "LEFT", apart, [])
        return apart.column(apart.values[0])

    def _aggregated(self, query: exp.Select) -> exp.Expr:
        """The value of a correlated aggregate, computed from its aggregates of the outer row's group."""
        if len(query.expressions) != 1 or any(
            query.args.get(clause) for clause in ("distinct", "qualify", "order", "limit", "offset")
        ):
            raise Unplannable("a correlated aggregate with other clauses")
        having = query.args.get("having")
        parts = [query.expressions[0].unalias(), *([] if having is None else [having.this])]
        if any(_queries(part) for part in parts):
            raise Unplannable("a subquery in a correlated aggregate")
        calls = {call.sql(): call for part in parts for call in aggregate_calls(part)}
        inside = block_names(query, self._bind)
        core = query.copy()
        core.set("expressions", [call.copy() for call in calls.values()])
        core.set("having", None)
        apart = self._outer.apart(core, self._alias(), one_group=True, no_rows=True)
        self._join("LEFT", apart, [])
        columns = map(apart.column, apart.values)
        named = {text: _or_none(call, c) for (text, call), c in zip(calls.items(), columns, strict=True)}

        def after(node: exp.Expr) -> exp.Expr:
            if node.sql() in named:
                return named[node.sql()].copy()
            if isinstance(node, exp.Column) and (inside.knows(node) or not self._outer.names.knows(node)):
                raise Unplannable(f'"{node.name}" beside aggregates')
            node = node.copy()
            for child in list(node.iter_expressions()):
                child.replace(after(child))
            return node

        value: exp.Expr = exp.Paren(this=after(parts[0]))
        if having is not None:
            value = exp.Paren(this=exp.Case().when(after(parts[1]), value))
        return value

    def _aggregates_apart(self, query: exp.Query) -> bool:
        """Whether a subquery is correlated, and one row by an aggregate whatever rows there are."""
        query = plain(query)
        if not isinstance(query, exp.Select) or not has_own_aggregates(query) or query.args.get("group"):
            return False
        return not stands_alone(query, self._bind)

    # -- joins ------------------------------------------------------------------------------------------------------

    def _alias(self) -> str:
        self._count += 1
        return f"subquery {self._count}"

    def _join(
        self,
        kind: str,
        apart: Apart,
        tests: list[exp.Expr],
        query: exp.Query | None = None,
        columns: list[str] | None = None,
    ) -> None:
        """Join what stands apart, or `query` with its `columns` instead, where its conditions and `tests` hold."""
        conditions = [*apart.conditions, *tests]
        on = exp.and_(*conditions, copy=True) if conditions else exp.true()
        source = apart.source(query, columns if query is None or columns else ["there"])
        join = exp.Join(this=source, **({"side": kind} if kind == "LEFT" else {"kind": kind}))
        if kind != "CROSS":
            join.set("on", on)
        join.set(_ASIDE, [identifier.name for identifier in source.args["alias"].args["columns"]])
        self._joins.append(join)


def _any_row(query: exp.Query) -> exp.Query | None:
    """A query that has rows just when `query` has, with less in it; None if that is always so."""
    if not isinstance(query, exp.Select):
        return query
    limit = query.args.get("limit")
    if limit is not None and not (
        isinstance(limit.expression, exp.Literal) and limit.expression.is_int and int(limit.expression.name) > 0
    ):
        return query
    if query.args.get("offset"):
        return query
    query.set("limit", None)
    query.set("order", None)
    if has_own_aggregates(query) and not query.args.get("group"):
        return query if query.args.get("having") or query.args.get("qualify") else None
    plain_rows = not any(query.args.get(clause) for clause in ("group", "having", "qualify"))
    if plain_rows and not has_aggregate(query) and not query.find(exp.Explode, exp.Unnest):
        query.set("distinct", None)
        query.set("expressions", [exp.true()])
    return query


def _takes_one(query: exp.Query) -> bool:
    """Whether LIMIT 1 says that there is one row at most."""
    limit = query.args.get("limit")
    return limit is not None and isinstance(limit.expression, exp.Literal) and str(limit.expression.name) == "1"


def _equalities(value: exp.Expr, apart: Apart) -> list[exp.Expr]:
    """The value, or each of several, equal to what the subquery selects."""
    values = value.expressions if isinstance(value, exp.Tuple) and len(apart.values) > 1 else [value]
    if len(values) != len(apart.values):
        raise Unplannable("IN of as many values as the subquery has not")
    return [
        exp.EQ(this=ours.copy(), expression=apart.column(name)) for ours, name in zip(values, apart.values, strict=True)
    ]


def _distinct(apart: Apart, names: list[str], where: exp.Expr | None = None) -> exp.Select:
    """The different values of some columns of what stands apart, and the word that they are there."""
    items: list[exp.Expr] = [*map(as_column, names)]
    if where is None or not items:
        items.append(exp.alias_(exp.true(), "there"))
    query = exp.select(*items).distinct().from_(apart.source())
    return query if where is None else query.where(where)


def _is_there(column: exp.Expr) -> exp.Expr:
    return exp.Paren(this=exp.Not(this=exp.Is(this=column, expression=exp.Null())))


def _or_none(call: exp.Expr, column: exp.Expr) -> exp.Expr:
    """An aggregate's `column`, and what it is of no rows where there is none."""
    function = call
    while isinstance(function, exp.Filter | exp.WithinGroup):
        function = function.this
    name = function_name(function) if isinstance(function, exp.Func) else ""
    if name in ZERO_OF_NO_ROWS:
        return exp.Coalesce(this=column, expressions=[exp.Literal.number(0)])
    if name in UNKNOWN_OF_NO_ROWS or not name:
        raise Unplannable(f"{name}() in a correlated subquery")
    return column
