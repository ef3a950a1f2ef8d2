"""Which rows are the versions of keys: of a stream, of a table, or of a view, also one of the last row of each key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from .relations import Relation, Relations
from .trees import every
from .window_function import WindowFunction


@dataclass(frozen=True)
class VersionRows:
    """Rows that are versions from `time` on, a column of the relation: its own, those of `query`, or of its `log`.

    Of the last two the relation has the last of them per `key`, by which alone a version is to be looked for.
    """

    time: str
    query: exp.Query | None = None
    key: tuple[str, ...] = ()
    log: bool = False


@dataclass(frozen=True)
class _Output:
    """A column of a result, whether event time is in it, and the name of what it was in the innermost block."""

    name: str
    is_time: bool
    origin: str


def version_rows(relation: Relation, relations: Relations) -> VersionRows | None:
    """The versions that `relation` stands for; None where nothing says from when on its rows hold."""
    if relation.logged:
        if relation.event_time is None:
            return None
        versioned = relation.versioned
        return VersionRows(relation.event_time, None, relation.key if versioned else (), log=versioned)
    if relation.query is None:
        return None
    last = _last_of_each(relation.query)
    if last is not None:
        return _of_last_rows(relation, *last, relations)
    outputs = _outputs(relation.query, relations)
    times = [c.name for c, o in zip(relation.columns, outputs or (), strict=False) if o.is_time]
    return VersionRows(times[0]) if len(times) == 1 else None


def _of_last_rows(
    relation: Relation, query: exp.Select, key: list[str], time: str, relations: Relations
) -> VersionRows | None:
    """The rows of `query`, of which the relation has the last per `key` by `time`, both named as at their source."""
    outputs = _outputs(query, relations)
    if outputs is None:
        return None
    named = {output.origin: column.name for column, output in zip(relation.columns, outputs, strict=True)}
    if not {time, *key} <= set(named):
        return None
    return VersionRows(named[time], query, tuple(named[name] for name in key))


# -- the last row of each key -------------------------------------------------------------------------------------


def _last_of_each(query: exp.Query) -> tuple[exp.Select, list[str], str] | None:
    """`query` without what makes it the last row of each key, and key and time as its source names them."""
    if not isinstance(query, exp.Select) or query.args.get("limit") or query.args.get("offset"):
        return None
    query = query.copy()
    if query.args.get("distinct"):
        return _distinct_on(query)
    if query.args.get("qualify"):
        return _first_by(query, query, "qualify")
    source = query.args["from_"].this if query.args.get("from_") is not None else None
    inner = source.this if isinstance(source, exp.Subquery) else None
    if not isinstance(inner, exp.Select) or inner.args.get("qualify"):
        return None
    return _first_by(query, inner, "where")


def _distinct_on(query: exp.Select) -> tuple[exp.Select, list[str], str] | None:
    on, order = query.args["distinct"].args.get("on"), query.args.get("order")
    if on is None or order is None:
        return None
    keys = on.expressions if isinstance(on, exp.Tuple) else [on.unnest()]
    if [part.this for part in order.expressions[:-1]] != keys:
        return None
    query.set("distinct", None)
    query.set("order", None)
    return _named(query, keys, order.expressions[-1:])


def _first_by(query: exp.Select, inner: exp.Select, clause: str) -> tuple[exp.Select, list[str], str] | None:
    """Where `clause` of `query` asks for the first by a row_number() of `inner` and nothing else."""
    condition = query.args.get(clause)
    if condition is None:
        return None
    rank = _first(condition.this)
    if isinstance(rank, exp.Column):
        rank = next((i.this for i in inner.expressions if i.alias_or_name.lower() == rank.name.lower()), None)
    if not isinstance(rank, exp.Window) or rank.this.name.lower() != "row_number" or rank.args.get("spec"):
        return None
    order = rank.args.get("order")
    keys = list(rank.args.get("partition_by") or ())
    query.set(clause, None)
    for window in [found for found in every(inner, exp.Window) if found == rank]:
        window.replace(exp.cast(exp.Literal.number(1), "BIGINT"))
    return None if inner.find(exp.Window) else _named(query, keys, [] if order is None else order.expressions)


def _first(condition: exp.Expr) -> exp.Expr | None:
    """What a condition says is the first: x = 1, x <= 1, x < 2, and the same turned round."""
    condition = condition.unnest()
    sides: dict[type[exp.Expr], str] = {exp.EQ: "1", exp.LTE: "1", exp.LT: "2"}
    turned: dict[type[exp.Expr], str] = {exp.EQ: "1", exp.GTE: "1", exp.GT: "2"}
    for table, value, number in ((sides, "this", "expression"), (turned, "expression", "this")):
        said = condition.args.get(number)
        if isinstance(said, exp.Literal) and table.get(type(condition)) == said.name:
            found: exp.Expr = condition.args[value].unnest()
            return found
    return None


def _named(
    query: exp.Select, keys: Sequence[exp.Expr], order: Sequence[exp.Expr]
) -> tuple[exp.Select, list[str], str] | None:
    plain = len(order) == 1 and isinstance(order[0], exp.Ordered) and order[0].args.get("desc")
    columns = [*keys, *(part.this for part in order)]
    if not plain or not keys or not all(isinstance(column, exp.Column) for column in columns):
        return None
    return query, [key.name.lower() for key in keys], columns[-1].name.lower()


# -- what becomes of columns --------------------------------------------------------------------------------------


def _outputs(query: exp.Expr, relations: Relations) -> list[_Output] | None:
    """The columns of a query over one source in their order; None where that cannot be told from its text."""
    if isinstance(query, exp.Subquery):
        return None if _renames(query) else _outputs(query.this, relations)
    blocking = ("with_", "joins", "laterals", "distinct", "limit", "offset", "qualify", "pivots")
    if not isinstance(query, exp.Select) or any(query.args.get(name) for name in blocking):
        return None
    below = None if query.args.get("from_") is None else _source(query.args["from_"].this, relations)
    if below is None or any(item.find(exp.Window) for item in query.expressions):
        return None
    by_name = {output.name.lower(): output for output in below}
    outputs: list[_Output] = []
    for item in query.expressions:
        value = item.unalias()
        star = value.this if isinstance(value, exp.Column) and isinstance(value.this, exp.Star) else value
        if isinstance(star, exp.Star):
            if star.args.get("replace") or star.args.get("rename"):
                return None
            dropped = {found.name.lower() for found in star.args.get("except_") or ()}
            outputs += [output for output in below if output.name.lower() not in dropped]
            continue
        found = by_name.get(value.name.lower()) if isinstance(value, exp.Column) else None
        outputs.append(replace(found, name=item.alias_or_name) if found else _Output(item.alias_or_name, False, ""))
    return outputs


def _source(source: exp.Expr, relations: Relations) -> list[_Output] | None:
    """The columns of an item of FROM."""
    if source.args.get("joins") or source.args.get("pivots") or source.args.get("sample"):
        return None
    if isinstance(source, exp.Subquery):
        return _outputs(source, relations)
    if not isinstance(source, exp.Table) or _renames(source):
        return None
    if isinstance(source.this, WindowFunction):
        below = _source(source.this.this, relations)
        bounds = [_Output(name, name == "window_time", name) for name in ("window_start", "window_end", "window_time")]
        return None if below is None else [*(replace(output, is_time=False) for output in below), *bounds]
    relation = relations.get(source.name)
    if not isinstance(source.this, exp.Identifier) or source.db or relation is None:
        return None
    rows = version_rows(relation, relations)
    time = rows.time if rows is not None and not rows.key else None  # with a key they are others than these
    return [_Output(column.name, column.name == time, column.name.lower()) for column in relation.columns]


def _renames(source: exp.Expr) -> bool:
    alias = source.args.get("alias")
    return alias is not None and bool(alias.args.get("columns"))
