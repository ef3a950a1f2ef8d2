"""One query block over one source: whose columns its names mean, and what its items compute."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache

from sqlglot import exp

from . import plan as p
from .aggregate_names import AGGREGATE_NAMES
from .dialect import twin_sql
from .plan import Plan
from .relations import Column
from .temporal import has_clock, split_condition
from .time_to_live import Said
from .trees import as_column, copied, every, every_node
from .twin import bind_over
from .types import Binder, connect


class Unplannable(Exception):
    """No incremental operator does this yet; the message is the reason EXPLAIN shows."""


@cache
def volatile_names() -> frozenset[str]:
    """Names of DuckDB's scalar functions whose value their arguments do not decide: now(), random() and the like.

    Those of which some forms depend on the time zone only, as date_trunc() does, are not among them: ours is UTC.
    """
    rows = connect().sql(
        "SELECT lower(function_name) FROM duckdb_functions() WHERE function_type = 'scalar' "
        "GROUP BY ALL HAVING NOT bool_or(stability = 'CONSISTENT')"
    )
    keywords = ("current_timestamp", "current_time", "localtime", "localtimestamp")  # written without parentheses
    return frozenset((*(str(row[0]) for row in rows.fetchall()), *keywords))


def function_name(node: exp.Func) -> str:
    """The SQL name of a function call, lower case."""
    return (node.name if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc) else node.sql_name()).lower()


def is_aggregate(node: exp.Expr) -> bool:
    """Whether the node is a call of an aggregate function."""
    return isinstance(node, exp.AggFunc) or (isinstance(node, exp.Anonymous) and function_name(node) in AGGREGATE_NAMES)


def has_aggregate(node: exp.Expr) -> bool:
    """Whether an aggregate function is called anywhere in `node`."""
    return any(is_aggregate(found) for found in every_node(node))


def has_window(node: exp.Expr) -> bool:
    """Whether an OVER clause stands anywhere in `node`."""
    return node.find(exp.Window) is not None


class Scope:
    """The columns of one planned source, and expressions over them."""

    def __init__(self, below: Plan, alias: str, binder: Binder) -> None:
        self.below = below
        self.alias = alias
        self.binder = binder
        self.said: Said | None = None  # of what is made of the source
        self._by_name = {column.name.lower(): column for column in below.columns}

    def has(self, name: str) -> bool:
        return name.lower() in self._by_name

    def resolve(self, expression: exp.Expr) -> exp.Expr:
        """`expression` with every column named exactly as the source does, without qualifiers."""

        def spell(node: exp.Expr) -> exp.Expr:
            if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
                return node
            parts = [part.name for part in node.parts]
            if len(parts) > 1 and parts[0].lower() == self.alias.lower():
                parts = parts[1:]
            column = self._by_name.get(parts[0].lower())
            if column is None:
                raise Unplannable(f'name "{node.name}"')
            result: exp.Expr = as_column(column.name)
            for part in parts[1:]:
                result = exp.Anonymous(this="struct_extract", expressions=[result, exp.Literal.string(part)])
            return result

        return copied(expression).transform(spell, copy=False)

    def items(self, expressions: Iterable[exp.Expr]) -> list[exp.Expr]:
        """The select list resolved, stars expanded; aliases stay."""
        items: list[exp.Expr] = []
        for item in expressions:
            star = item.this if isinstance(item, exp.Column) and isinstance(item.this, exp.Star) else item
            if isinstance(star, exp.Star):
                if star.args.get("replace") or star.args.get("rename"):
                    raise Unplannable("* REPLACE")
                dropped = {found.name.lower() for found in star.args.get("except_") or ()}
                items += self.star(item.table if isinstance(item, exp.Column) else "", dropped)
            else:
                resolved = self.resolve(item)
                if resolved.find(exp.Star, exp.Unnest, exp.Explode) and not has_aggregate(resolved):
                    raise Unplannable("UNNEST")
                if any(
                    function_name(call) in ("unnest", "columns", "generate_subscripts")
                    for call in every(resolved, exp.Anonymous)
                ):
                    raise Unplannable("UNNEST or COLUMNS")
                items.append(self.labelled(item, resolved))
        return items

    def labelled(self, item: exp.Expr, resolved: exp.Expr) -> exp.Expr:
        """`resolved` under the name that `item` has in the result, where that is not its own."""
        return resolved

    def star(self, table: str, dropped: Collection[str]) -> list[exp.Expr]:
        """What `*` or `table.*` stands for, without the columns `dropped` (lower case)."""
        if table and table.lower() != self.alias.lower():
            raise Unplannable("qualified *")
        return [as_column(c.name) for c in self.below.columns if c.name.lower() not in dropped]

    def bind(self, items: Sequence[exp.Expr], condition: exp.Expr | None = None) -> tuple[Column, ...]:
        """Names and types that DuckDB gives the items over this source."""
        if condition is None and (plain := self._plain(items)) is not None:
            return plain
        select = exp.select(*[copied(item) for item in items]).from_(
            exp.Table(this=exp.to_identifier("_in", quoted=True))
        )
        if condition is not None:
            select = select.where(copied(condition))
        return bind_over(twin_sql(select), [("_in", self.below.columns)], self.binder)

    def _plain(self, items: Sequence[exp.Expr]) -> tuple[Column, ...] | None:
        """The same where all items are columns of different names, which needs no question."""
        found: dict[str, Column] = {}
        for item in items:
            value = item.unalias()
            below = self._by_name.get(value.name.lower()) if isinstance(value, exp.Column) else None
            if below is None or below.name != value.name or value.args.get("table"):
                return None
            name = item.alias or below.name
            found[name.lower()] = Column(name, below.type, below.arrow)
        return tuple(found.values()) if len(found) == len(items) else None

    def map(self, items: Sequence[exp.Expr], where: exp.Expr | None) -> Plan:
        """The plan that computes the items (resolved) for the rows `where` (not resolved) lets pass."""
        if not items:
            raise Unplannable("no columns")
        if where is not None and has_clock(where):
            return self._temporal(items, where)
        condition = None if where is None else self.resolve(where)
        columns = self.bind(items, condition)
        bare = [item.unalias() for item in items]
        same = len(items) == len(self.below.columns) and all(
            isinstance(item, exp.Column) and item.name == below.name == column.name
            for item, below, column in zip(bare, self.below.columns, columns, strict=True)
        )
        if same and condition is None:
            return self.below
        return p.Map(
            self.below, tuple((c.name, item) for c, item in zip(columns, bare, strict=True)), condition, columns
        )

    def _temporal(self, items: Sequence[exp.Expr], where: exp.Expr) -> Plan:
        """The same where the condition looks at the clock."""
        rest, bounds = split_condition(where)
        columns = self.bind(items, None if rest is None else self.resolve(rest))
        values = [_moment(self.resolve(bound.value), self) for bound in bounds]
        names = [f"+{place}" for place in range(len(bounds))]
        below = self.map([*items, *(exp.alias_(v, n, quoted=True) for v, n in zip(values, names, strict=True))], rest)
        said = [(name, bound.length_us, bound.ends) for name, bound in zip(names, bounds, strict=True)]
        return p.TemporalFilter(
            below,
            tuple((name, length) for name, length, ends in said if not ends),
            tuple((name, length) for name, length, ends in said if ends),
            columns,
        )


def _moment(value: exp.Expr, scope: Scope) -> exp.Expr:
    """`value` as what can be compared with the clock."""
    known = scope.bind([value])[0].type
    if known in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"):
        return value
    return exp.cast(value, "TIMESTAMP", dialect="duckdb")


def substitute_aliases(select: exp.Select, scope: Scope) -> exp.Select:
    """`select` with GROUP BY ordinals and ALL spelled out, and names of select items replaced by what they name."""
    select = copied(select)
    named: dict[str, exp.Expr] = {}

    def replace(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Column) and not node.table and not scope.has(node.name) and node.name.lower() in named:
            return exp.Paren(this=copied(named[node.name.lower()]))
        return node

    items = []
    for item in select.expressions:
        item = copied(item).transform(replace, copy=False)
        if isinstance(item, exp.Alias):
            named[item.alias.lower()] = item.this
        items.append(item)
    select.set("expressions", items)
    group = select.args.get("group")
    if group is not None:
        if group.args.get("all"):
            keys = [item.unalias().copy() for item in items if not has_aggregate(item)]
        else:
            keys = [_ordinal(key, items) for key in group.expressions]
        group.set("expressions", [_unwrap(copied(key).transform(replace, copy=False)) for key in keys])
        group.set("all", None)
    for clause in ("where", "having", "qualify"):
        if select.args.get(clause):
            select.args[clause].set("this", copied(select.args[clause].this).transform(replace, copy=False))
    return select


def _ordinal(key: exp.Expr, items: Sequence[exp.Expr]) -> exp.Expr:
    if isinstance(key, exp.Rollup | exp.Cube | exp.GroupingSets | exp.Tuple):
        key = copied(key)
        key.set("expressions", [_ordinal(part, items) for part in key.expressions])
        return key
    if isinstance(key, exp.Literal) and key.is_int and 1 <= int(key.name) <= len(items):
        return items[int(key.name) - 1].unalias().copy()
    return key


def _unwrap(node: exp.Expr) -> exp.Expr:
    return node.this if isinstance(node, exp.Paren) else node
