"""The twin: any streaming SELECT as plain DuckDB SQL over whole relations.

It binds (names, types, errors), answers pull reads, checks views (VERIFY) and runs inside `recompute`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import sqlglot
from sqlglot import exp

from ..storage.errors import NotSupportedError, ProgrammingError
from .asof_twin import settle_versions
from .dialect import WindowFunction, position_of, twin_sql
from .join_twin import LATE_SUFFIX, end_joins, leave_out_late
from .places import FAILS
from .relations import VERSIONS_SUFFIX, Column, Relation, Relations
from .rewrites.ksql_windows import EVENT_TIME
from .skipping_twin import leave_out_failing
from .trees import copied, every
from .types import Binder, quote, typed_empty
from .versioned import VERSIONS, join_versions
from .window_function import ARRIVAL, EXAMPLES
from .window_twin import windowed_sql

_RELATION = "relation"  # marks in a tree what is no CTE, wherever it is moved


def table_name(table: exp.Table) -> str:
    """The relation a table reference names: `bids`, `system.late_rows`."""
    return ".".join(part for part in (table.catalog, table.db, table.name) if part)


def named_tables(query: exp.Expr) -> list[exp.Table]:
    """Every reference to a relation of the database: not window or table functions, not CTEs."""
    return [
        table for table in every(query, exp.Table) if isinstance(table.this, exp.Identifier) and _cte_of(table) is None
    ]


def _cte_of(table: exp.Table) -> exp.CTE | None:
    """The CTE that a table reference means. One sees those before it, and itself only if WITH is RECURSIVE."""
    if table.db or table.meta.get(_RELATION):
        return None
    below: exp.Expr = table
    node = table.parent
    inside: exp.Expr | None = None  # the CTE of the clause just passed, if the way up led out of its body
    while node is not None:
        if isinstance(node, exp.CTE):
            inside = node
        clause = node.args.get("with_")
        if clause is not None:
            seen = clause.expressions
            if below is clause and not clause.args.get("recursive"):
                seen = seen[: next(i for i, cte in enumerate(seen) if cte is inside)]
            for cte in reversed(seen):
                if isinstance(cte, exp.CTE) and cte.alias.lower() == table.name.lower():
                    return cte
        below, node = node, node.parent
    return None


def inline_ctes(query: exp.Query) -> exp.Query:
    """`query` (views expanded) with each reference to a CTE replaced by the CTE's query; recursive ones stay."""
    query = copied(query)
    for node in every(query, exp.Query):  # outermost first, so that no body falls into another scope
        clause = node.args.get("with_")
        if clause is None or clause.args.get("recursive"):
            continue
        if not all(isinstance(cte.this, exp.Query) for cte in clause.expressions):
            continue
        for cte in clause.expressions:
            for table in [t for t in every(node, exp.Table) if _cte_of(t) is cte]:
                alias = (table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name))).copy()
                if not alias.args.get("columns"):
                    alias.set("columns", [copied(name) for name in cte.args["alias"].args.get("columns") or ()])
                beside = {name: table.args[name] for name in ("joins", "pivots", "sample") if table.args.get(name)}
                table.replace(exp.Subquery(this=copied(cte.this), alias=alias, **beside))
        node.set("with_", None)
    return query


def expand_views(query: exp.Query, relations: Relations, stateless: Collection[str] = ()) -> exp.Query:
    """`query` with each plain view replaced by its own query, and every name checked and spelled as declared.

    So are the materialized views named in `stateless` (lower case): read again from their streams, they cost nothing
    to keep, and event time passes through them.
    """
    query = copied(query)
    name_event_times(query, relations)
    join_versions(query, relations)
    for table in named_tables(query):
        relation = relations.require(table_name(table), position_of(table) or position_of(table.this))
        if relation.kind == "QUERY":
            raise ProgrammingError(
                f'"{relation.name}" is a query that inserts into "{relation.target}"',
                hint=f"Read {relation.target}.",
                position=position_of(table) or position_of(table.this),
            )
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        replacement: exp.Expr
        if relation.kind == "VIEW" or relation.name.lower() in stateless or VERSIONS in table.meta:
            query_of = table.meta.get(VERSIONS, relation.query)
            assert query_of is not None
            inner = expand_views(query_of, relations, stateless)
            names = [exp.to_identifier(column.name, quoted=True) for column in relation.columns]
            wrapped = exp.select(exp.Star()).from_(
                exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("_v"), columns=names))
            )
            replacement = exp.Subquery(this=wrapped, alias=copied(alias))
        else:
            replacement = exp.Table(this=exp.to_identifier(relation.name, quoted=True), alias=copied(alias))
            replacement.meta.update({**table.meta, _RELATION: True})
        for name in ("joins", "pivots", "sample"):
            if table.args.get(name):
                replacement.set(name, table.args[name])
        table.replace(replacement)
    return query


def simple_source(source: exp.Expr) -> exp.Table | None:
    """The one table under `source`, if only projections, filters and UNNEST stand between: event time passes them."""
    if isinstance(source, exp.Table):
        plain = (
            isinstance(source.this, exp.Identifier) and not source.args.get("joins") and not source.args.get("sample")
        )
        return source if plain else None
    select = source.this if isinstance(source, exp.Subquery) else source
    if isinstance(select, exp.Subquery):
        return simple_source(select)
    if not isinstance(select, exp.Select) or select.args.get("from_") is None:
        return None
    if not all(_unnests(join.this) for join in select.args.get("joins") or ()):
        return None
    if FAILS in select.meta:  # its OFFSET takes no row away
        return simple_source(select.args["from_"].this)
    blocking = (
        "with_",
        "laterals",
        "group",
        "having",
        "qualify",
        "distinct",
        "limit",
        "offset",
        "pivots",
        "sample",
    )
    if any(select.args.get(name) for name in blocking) or any(every(select, exp.AggFunc, exp.Window)):
        return None
    return simple_source(select.args["from_"].this)


def _unnests(item: exp.Expr) -> bool:
    """Whether an item of FROM has elements of what stands before it, and no rows of its own."""
    if isinstance(item, exp.Table):
        return isinstance(item.this, exp.Anonymous) and item.find(exp.Column) is not None
    return isinstance(item.this if isinstance(item, exp.Lateral) else item, exp.Unnest)


def name_event_times(query: exp.Query, relations: Relations) -> None:
    """Give each window of `query` over the event time, or the time of arrival, the stream's column that has it."""
    for window in every(query, WindowFunction):
        name = window.args["column"].this
        if not name.meta.get(EVENT_TIME) and not name.meta.get(ARRIVAL):
            continue
        table = simple_source(window.this)
        relation = None if table is None else relations.get(table_name(table))
        if name.meta.get(ARRIVAL):
            if relation is None or relation.arrival is None:
                raise ProgrammingError(
                    "nothing says when the rows below the window came",
                    detail="A stream keeps it in a column of its own, and a window over that is the same ever after.",
                    hint="Declare it with the stream: CREATE STREAM name (..., came AS PROCTIME()).",
                    position=position_of(name),
                )
            window.args["column"].set("this", exp.to_identifier(relation.arrival, quoted=True))
            continue
        if relation is None or relation.event_time is None:
            raise ProgrammingError(
                "WINDOW needs a stream with a WATERMARK",
                detail="Its windows are over the event time of the stream.",
                hint=f"To say the column yourself, write FROM {EXAMPLES[window.args['kind']]}.",
                position=position_of(name),
            )
        window.args["column"].set("this", exp.to_identifier(relation.event_time, quoted=True))


def _carry_closed(source: exp.Expr, late: Collection[str]) -> bool:
    """Let `_closed` pass from a stream with late rows up to the window above; False if this source has none."""
    table = simple_source(source)
    if table is None or table.name.lower() not in late:
        return False
    table.set("this", exp.to_identifier(table.name + LATE_SUFFIX, quoted=True))
    node: exp.Expr | None = table
    while node is not None and node is not source:
        node = node.parent
        if isinstance(node, exp.Select) and not any(isinstance(item, exp.Star) for item in node.expressions):
            node.append("expressions", exp.column("_closed"))
    return True


def twin(query: exp.Query, *, late: Collection[str] = (), closed: Mapping[str, int] | None = None) -> exp.Query:
    """The batch twin of `query` (views already expanded): no WindowFunction is left.

    `late` names (lower case) streams some of whose rows came too late for a window of this query; they are then
    read inside windows, and where a join is bound in time, from the relation `<stream>+closed`. `closed` gives
    watermarks per relation (lower case): only windows that have closed by then come out, as EMIT FINAL has it.
    """
    query = copied(query)
    leave_out_failing(query)
    leave_out_late(query, late)
    # Innermost first, so that a window over a subquery with a window finds that one already rewritten.
    for table in reversed([t for t in every(query, exp.Table) if isinstance(t.this, WindowFunction)]):
        window = table.this
        carried = _carry_closed(window.this, late)
        source = twin_sql(copied(window.this))
        if isinstance(window.this, exp.Table):
            source = f"(SELECT * FROM {source})"
        elif isinstance(window.this, exp.Subquery) and window.this.alias:
            bare = copied(window.this)
            bare.set("alias", None)
            source = twin_sql(bare)
        until = None
        if closed is not None:
            below = [
                closed[name]
                for t in named_tables(window)
                if (name := t.name.lower().removesuffix(LATE_SUFFIX)) in closed
            ]
            until = min(below, default=None)
        inner = sqlglot.parse_one(windowed_sql(window, source, late=carried, closed=until), read="duckdb")
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(_default_alias(window)))
        replacement = exp.Subquery(this=inner, alias=copied(alias), joins=table.args.get("joins"))
        table.replace(replacement)
    if closed is not None:
        end_joins(query, closed)
    settle_versions(query, closed)
    return query


def _default_alias(window: WindowFunction) -> str:
    """What columns of an unaliased window may be qualified with: its source's name."""
    return window.this.alias_or_name or "_window"


def settle_ties(query: exp.Query, columns: Callable[[exp.Query], int]) -> exp.Query:
    """`query` with every LIMIT made a function of the rows: all columns are appended to its ORDER BY.

    Without it ORDER BY ... LIMIT may cut between equal rows either way, and no two runs need agree.
    """
    query = copied(query)
    for node in every(query, exp.Select, exp.SetOperation):
        if not (node.args.get("limit") or node.args.get("offset")):
            continue
        order = node.args.get("order")
        keys = list(order.expressions) if order is not None else []
        left = node
        while isinstance(left, exp.SetOperation | exp.Subquery) and not left.args.get("by_name"):
            left = left.this
        width = len(left.expressions) if isinstance(left, exp.Select) and not left.is_star else columns(node)
        if keys and isinstance(keys[0].this, exp.Var | exp.Star) and keys[0].this.name.upper() in ("ALL", "*"):
            how = {name: keys[0].args.get(name) for name in ("desc", "nulls_first")}
            keys = [exp.Ordered(this=exp.Literal.number(i + 1), **how) for i in range(width)]
            node.set("order", exp.Order(expressions=keys))
            continue
        keys += [exp.Ordered(this=exp.Literal.number(i + 1), nulls_first=False) for i in range(width)]
        node.set("order", exp.Order(expressions=keys))
    return query


def bind(
    query: exp.Query, relations: Iterable[Relation], binder: Binder, node: exp.Expr | None = None
) -> tuple[Column, ...]:
    """The columns that the twin `query` returns, or a ProgrammingError placed in `node`."""
    used = {table.name.lower() for table in every(query, exp.Table)}
    sources = [(r.name, r.columns) for r in relations if r.name.lower() in used]
    if isinstance(relations, Relations):
        versions = [relations.require(name) for name in sorted(used) if name.endswith(VERSIONS_SUFFIX)]
        sources += [(relation.name, relation.columns) for relation in versions]
    return bind_over(twin_sql(query), sources, binder, node)


def bind_over(
    sql: str, sources: Iterable[tuple[str, tuple[Column, ...]]], binder: Binder, node: exp.Expr | None = None
) -> tuple[Column, ...]:
    """The columns that `sql` returns over the named sources."""
    ctes = ", ".join(f"{quote(name)} AS {typed_empty(columns)}" for name, columns in sources)
    return binder.bind(f"WITH {ctes} SELECT * FROM ({sql})" if ctes else sql, node)


def refuse_volatile(query: exp.Query, volatile: Collection[str]) -> None:
    """Raise at a function whose value is not decided by its arguments, and at samples: no view could equal its twin."""
    for sample in every(query, exp.TableSample):
        raise NotSupportedError(
            "cannot keep a sample up to date",
            detail="Which rows it has is left to chance.",
            hint="Sample in the SELECT that reads the view, or choose rows by what they hold: WHERE hash(id) % 10 = 0.",
            position=next((found for node in sample.walk() if (found := position_of(node))), None),
        )
    for node in every(query, exp.Func, exp.CurrentTimestamp, exp.CurrentDate):
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
        until_today = name.lower() == "age" and len(node.expressions) == 1  # DuckDB does not say so
        if name.lower() in volatile or until_today:
            raise NotSupportedError(
                f"cannot use {name.lower()}() in a continuous query",
                detail="Its value changes without any row changing, so no view could follow it.",
                hint="Compute the value when the row is inserted, or call it in the SELECT that reads the view.",
                position=position_of(node),
            )


def refuse_outside(query: exp.Query) -> None:
    """Raise at a table function that reads files or the like: no change of them would ever be noticed."""
    for table in every(query, exp.Table):
        source = table.this
        if isinstance(source, exp.Func) and not isinstance(source, exp.GenerateSeries | exp.Unnest):
            name = (source.name if isinstance(source, exp.Anonymous) else source.sql_name()).lower()
            if name not in ("range", "generate_series", "unnest"):
                raise NotSupportedError(
                    f"cannot keep a view over {name}() up to date",
                    detail="What it reads may change without any row being appended to a stream.",
                    hint="COPY the rows into a stream, or call it in a plain SELECT.",
                    position=position_of(source) or position_of(table),
                )
