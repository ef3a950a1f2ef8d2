"""From a query's syntax to its plan: what runs incrementally, and what is left to `recompute`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from . import plan as p
from .aggregation import plan_aggregation
from .asof_forms import without_asof_forms
from .blocks import Scope, Unplannable, substitute_aliases
from .dialect import WindowFunction, twin_sql
from .joins import plan_joins
from .lateness import refuse_windows, when_closed, with_late
from .laterals import without_laterals
from .pivots import pivot_of, pivoted, plan_pivot
from .places import PLACE
from .plan import Motion, Plan
from .plan_keys import key_of
from .plan_properties import monotonic
from .ranking import first_of_each, plan_limit, plan_windows, split_aggregates
from .recompute import partition_columns, used_columns
from .relations import Column, Relations
from .sets import is_constant, plan_constant, plan_set
from .subqueries import without_subqueries
from .subqueries_in_on import without_subqueries_in_on
from .table_log import changelog
from .temporal import refuse_clock
from .ties import has_own_aggregate, has_own_window
from .time_to_live import hint_of_source, hinted
from .trees import as_column, copied
from .twin import bind, bind_over, named_tables, twin
from .types import Binder
from .unnesting import without_unnest
from .versioned import refuse_lookups
from .window_twin import window_rule, window_sessions


@dataclass(frozen=True)
class ViewProperties:
    """What a materialized view's own plan says of it to plans that read it."""

    append_only: bool
    time_columns: frozenset[str]
    key: tuple[str, ...] | None
    closing: tuple[tuple[str, int], ...]
    motions: tuple[tuple[str, Motion], ...]


def properties_of(plan: Plan) -> ViewProperties:
    """What the plan of a view says to plans that read it."""
    settled = any(isinstance(node, p.WindowAggregate | p.Session) for node in p.walk(plan))
    times = p.time_columns(plan) if settled else frozenset()
    closing = tuple(p.closing(plan).items()) if settled else ()
    return ViewProperties(p.append_only(plan), times, key_of(plan), closing, tuple(monotonic(plan).items()))


class Planner:
    """Plans one continuous query (views expanded, ties settled) over `relations`."""

    def __init__(
        self,
        relations: Relations,
        views: Mapping[str, ViewProperties],
        binder: Binder,
        *,
        final: bool,
        lateness_us: int = 0,
    ) -> None:
        self._relations = relations
        self._views = views
        self._binder = binder
        self._final = final
        self._lateness = lateness_us

    def plan(self, query: exp.Query, columns: tuple[Column, ...]) -> Plan:
        """The plan of the whole query; its result has exactly `columns`."""
        top = self._query(query)
        if [(c.name, c.arrow) for c in top.columns] == [(c.name, c.arrow) for c in columns]:
            return top
        # The same columns under other names or types: one cast on top.
        names = [column.name for column in top.columns]
        if len(names) != len(columns) or len(set(names)) != len(names):
            return self._recompute(query, "its columns could not be told apart", columns)
        items = tuple(
            (c.name, as_column(name) if below.arrow == c.arrow else exp.cast(as_column(name), c.type, dialect="duckdb"))
            for c, name, below in zip(columns, names, top.columns, strict=True)
        )
        if isinstance(top, p.Map) and all(isinstance(item, exp.Column) for _, item in items):
            return p.Map(
                top.input,
                tuple((c.name, item) for c, (_, item) in zip(columns, top.items, strict=True)),
                top.where,
                columns,
            )
        return p.Map(top, items, None, columns)

    # -- query blocks ---------------------------------------------------------------------------------------------

    def _query(self, query: exp.Expr) -> Plan:
        """The plan of one block; a block that has no incremental form is recomputed from the plans below it."""
        try:
            match query:
                case exp.Subquery() if not query.args.get("joins"):
                    return self._query(query.this)
                case exp.Query() if is_constant(query):
                    return plan_constant(query, self._binder)
                case exp.Select():
                    return self._select(query)
                case exp.SetOperation():
                    return self._set_operation(query)
                case exp.Pivot():
                    return self._pivot(exp.Subquery(this=copied(query)), query, query)
                case _:
                    raise Unplannable("not a plain SELECT")
        except Unplannable as reason:
            return self._recompute(query, str(reason))

    def _select(self, select: exp.Select) -> Plan:
        if select.args.get("with_"):
            raise Unplannable("recursive CTE")
        if select.args.get("limit") or select.args.get("offset"):
            return plan_limit(select, self._query)
        for clause, reason in _NOT_INCREMENTAL.items():
            if select.args.get(clause):
                raise Unplannable(reason)
        if select.args.get("distinct"):
            return self._distinct(select)
        hints, said = hinted(select), hint_of_source(select)
        select = without_laterals(select, self._bound)
        select = without_unnest(select, self._bound)
        select = without_asof_forms(select, self._bound)
        select = without_subqueries_in_on(select, self._bound)
        select = without_subqueries(select, self._bound, self._query)
        source = select.args.get("from_")
        if source is None:
            raise Unplannable("no FROM")
        scope: Scope
        if select.args.get("joins"):
            block = select
            scope, select = plan_joins(
                block,
                lambda item: self._source(item, block),
                self._binder,
                hints,
                final=self._final,
                lateness=self._lateness,
            )
        else:
            below, alias = self._source(source.this, select)
            scope = Scope(below, alias, self._binder)
        scope.said = said
        select = substitute_aliases(select, scope)
        if any(part.find(exp.Query) for name, part in _parts(select) if name != "from_"):
            raise Unplannable("subquery")
        windowed = has_own_window(select) or select.args.get("qualify")
        if (
            select.args.get("group")
            or select.args.get("having")
            or any(has_own_aggregate(item) for item in select.expressions)
        ):
            if windowed:
                return self._query(split_aggregates(select))
            return plan_aggregation(select, scope, final=self._final, lateness=self._lateness)
        if windowed:
            return first_of_each(plan_windows(select, scope))
        items = scope.items(select.expressions)
        where = select.args.get("where")
        condition = where.this if where is not None else None
        return first_of_each(scope.map(items, condition))

    def _distinct(self, select: exp.Select) -> Plan:
        distinct = select.args["distinct"]
        if distinct.args.get("on"):
            raise Unplannable("DISTINCT ON")
        inner = copied(select)
        inner.set("distinct", None)
        inner.set("order", None)
        below = self._query(inner)
        names = tuple(c.name for c in below.columns)
        return p.Aggregate(below, names, (), below.columns, said=hint_of_source(select))

    def _set_operation(self, query: exp.SetOperation) -> Plan:
        if query.args.get("with_"):
            raise Unplannable("recursive CTE")
        if query.args.get("limit") or query.args.get("offset"):
            return plan_limit(query, self._query)
        columns = bind(twin(query), self._relations, self._binder)
        return plan_set(query, self._query(query.this), self._query(query.expression), columns, self._binder)

    def _bound(self, query: exp.Query) -> tuple[Column, ...]:
        """The columns that a query returns, those of a relation as it declares them."""
        only = isinstance(query, exp.Select) and query.expressions == [exp.Star()] and not query.args.get("joins")
        source = query.args["from_"].this if only and query.args.get("from_") is not None else None
        if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier) and not _renames(source):
            return self._relations.require(source.name).columns
        return bind(twin(query), self._relations, self._binder)

    # -- sources --------------------------------------------------------------------------------------------------

    def _source(self, source: exp.Expr, select: exp.Select) -> tuple[Plan, str]:
        """The plan of a FROM item and the name its columns may be qualified with."""
        pivot = pivot_of(source)
        if pivot is not None and not source.args.get("joins"):
            return self._pivot(copied(source), source, pivot), pivot.alias or source.alias_or_name
        if source.args.get("joins") or source.args.get("pivots") or source.args.get("sample"):
            raise Unplannable("join" if source.args.get("joins") else "PIVOT or SAMPLE")
        if _renames(source) and isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
            raise Unplannable("column aliases")
        match source:
            case exp.Table(this=WindowFunction() as window):
                name = source.alias or window.this.alias_or_name
                return self._window(window, select), name
            case exp.Table(this=exp.Identifier()):
                return self._table(source, used_columns(select)), source.alias_or_name
            case exp.Subquery():
                return self._derived(source), source.alias
            case exp.Values() | exp.Unnest() | exp.Table() if is_constant(source) and not source.find(exp.Column):
                return plan_constant(exp.select(exp.Star()).from_(copied(source)), self._binder), source.alias
            case _:
                raise Unplannable("table function")

    def _pivot(self, item: exp.Expr, source: exp.Expr, pivot: exp.Pivot) -> Plan:
        """The plan of a PIVOT or UNPIVOT, which stands in FROM as `item`."""
        columns = bind(twin(exp.select(exp.Star()).from_(item)), self._relations, self._binder)
        below = self._query(pivoted(source))
        return plan_pivot(pivot, below, columns, self._binder, final=self._final, lateness=self._lateness)

    def _derived(self, subquery: exp.Subquery) -> Plan:
        """The plan of a subquery in FROM, its columns named as its alias says."""
        below = self._query(subquery.this)
        if not _renames(subquery):
            return below
        names = [identifier.name for identifier in subquery.args["alias"].args["columns"]]
        names += [column.name for column in below.columns[len(names) :]]
        columns = tuple(replace(column, name=name) for column, name in zip(below.columns, names, strict=True))
        if columns == below.columns:
            return below
        if isinstance(below, p.Map):
            items = tuple((c.name, item) for c, (_, item) in zip(columns, below.items, strict=True))
            return replace(below, items=items, columns=columns)
        return p.Map(
            below,
            tuple((c.name, as_column(b.name)) for c, b in zip(columns, below.columns, strict=True)),
            None,
            columns,
        )

    def _table(self, table: exp.Table, used: frozenset[str] | None) -> Plan:
        relation = self._relations.require(table.name)
        columns = tuple(c for c in relation.columns if used is None or c.name.lower() in used)
        if relation.kind == "VERSIONS":
            return changelog(relation, relation.target)
        place = table.meta.get(PLACE)
        if relation.kept:
            known = self._views[relation.name.lower()]
            is_table = relation.kind == "TABLE"
            return p.ViewScan(relation.name, relation.columns, **vars(known), table=is_table, place=place)
        if not columns:  # count(*) needs the rows, if none of their values: read the narrowest column
            columns = (min(relation.columns, key=lambda c: c.arrow.bit_width if _fixed(c) else 1 << 20),)
        event_time = relation.event_time if any(c.name == relation.event_time for c in columns) else None
        return p.Scan(relation.name, columns, event_time, place)

    def _window(self, window: WindowFunction, select: exp.Select) -> Plan:
        used = used_columns(select)
        time = window.args["column"].name
        if isinstance(window.this, exp.Table):
            keys = {time.lower(), *(key.name.lower() for key in window.args.get("partition") or ())}
            below = self._table(window.this, None if used is None else used | keys)
        else:
            below = self._query(window.this)
        time_column = next((c for c in below.columns if c.name.lower() == time.lower()), None)
        if time_column is None:
            raise Unplannable(f'window over "{time}"')
        bounds = [
            Column(name, time_column.type, time_column.arrow) for name in ("window_start", "window_end", "window_time")
        ]
        if {c.name.lower() for c in below.columns} & {c.name for c in bounds}:
            raise Unplannable("window over a window")
        columns = (*below.columns, *bounds)
        if window.args["kind"] == "SESSION":
            return self._session(window, below, time_column.name, columns)
        return p.AssignWindow(below, window_rule(window), time_column.name, columns)

    def _session(self, window: WindowFunction, below: Plan, time: str, columns: tuple[Column, ...]) -> Plan:
        by_name = {column.name.lower(): column.name for column in below.columns}
        keys = tuple(by_name[key.name.lower()] for key in window.args.get("partition") or ())
        sessions = window_sessions(window)
        final = self._final and time in p.time_columns(below)
        if time in p.time_columns(below):
            below = with_late(below, self._lateness, sessions)
        told_once = final and not self._lateness
        plan = p.Session(below, sessions.gap, time, keys, columns, told_once, self._lateness)
        return when_closed(plan, "window_end") if final and self._lateness else plan

    # -- recompute ------------------------------------------------------------------------------------------------

    def _recompute(self, query: exp.Expr, reason: str, columns: tuple[Column, ...] | None = None) -> Plan:
        """`query` as a recompute operator over the largest parts below it that have plans of their own."""
        query = copied(query)
        if isinstance(query, exp.Pivot):
            query = exp.select(exp.Star()).from_(exp.Subquery(this=query))
        holder = exp.Subquery(this=query)
        inputs: list[Plan] = []
        names: list[str] = []
        scans: dict[str, str] = {}

        def place(node: exp.Expr, below: Plan, alias: str) -> None:
            name = f"in{len(inputs)}"
            inputs.append(below)
            names.append(name)
            table = exp.Table(
                this=exp.to_identifier(name, quoted=True),
                alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)),
            )
            if node.args.get("joins"):
                table.set("joins", node.args["joins"])
            node.replace(table)

        for subquery in _own_sources(query):
            below = self._derived(subquery)
            if not isinstance(below, p.Recompute):
                place(subquery, below, subquery.alias)
        used = used_columns(query)
        for table in named_tables(holder):
            if table.name in names:
                continue
            name = scans.get(table.name.lower())
            if name is None or _renames(table):
                name = f"in{len(inputs)}"
                inputs.append(self._table(table, None if _renames(table) else used))
                names.append(name)
                if not _renames(table):
                    scans[table.name.lower()] = name
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
            table.set("this", exp.to_identifier(name, quoted=True))
        query = holder.this
        assert isinstance(query, exp.Query)
        if self._final:
            refuse_windows(query, reason)
        refuse_clock(query)
        refuse_lookups(query)
        sql = twin_sql(twin(query))
        if columns is None:
            columns = bind_over(sql, [(n, i.columns) for n, i in zip(names, inputs, strict=True)], self._binder)
        partition = partition_columns(query, dict(zip(names, inputs, strict=True)))
        return p.Recompute(tuple(inputs), tuple(names), sql, reason, columns, partition)


_NOT_INCREMENTAL = {
    "laterals": "LATERAL",
    "windows": "WINDOW clause",
    "pivots": "PIVOT",
    "sample": "SAMPLE",
    "match": "MATCH_RECOGNIZE",
    "locks": "FOR UPDATE",
}


def _parts(select: exp.Select) -> Iterator[tuple[str, exp.Expr]]:
    """The clauses of a block, each item with the name of the clause it belongs to."""
    for name, value in select.args.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, exp.Expr):
                yield name, part


def _fixed(column: Column) -> bool:
    try:
        return bool(column.arrow.bit_width)
    except ValueError:
        return False


def _renames(source: exp.Expr) -> bool:
    alias = source.args.get("alias")
    return alias is not None and bool(alias.args.get("columns"))


def _own_sources(query: exp.Expr) -> list[exp.Subquery]:
    """The derived tables in FROM and JOIN of the outermost block, which see nothing of it and so can run apart."""
    if isinstance(query, exp.Subquery):
        return _own_sources(query.this)
    if not isinstance(query, exp.Select) or query.args.get("from_") is None or query.args.get("with_"):
        return []
    items = [query.args["from_"].this, *(join.this for join in query.args.get("joins") or ())]
    return [
        item for item in items if isinstance(item, exp.Subquery) and isinstance(item.this, exp.Query) and item.alias
    ]
