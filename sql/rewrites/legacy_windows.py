"""GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE), as Flink and Calcite wrote it first, turned into FROM TUMBLE(...)."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from ...storage.errors import NotSupportedError, ProgrammingError
from ..intervals import constant_length, constant_us
from ..positions import position_of
from ..trees import every
from ..window_function import ARGUMENTS, EXAMPLES, OPTIONAL, WindowFunction, build_window

_PARTS = {"START": "window_start", "END": "window_end", "ROWTIME": "window_time"}


def legacy_windows(query: exp.Query) -> exp.Query:
    """`query` with each window function of a GROUP BY in its FROM, grouped by window_start and window_end instead.

    TUMBLE_START, TUMBLE_END, TUMBLE_ROWTIME (and HOP_...) of the same window become its columns. SESSION is of the rows
    that WHERE lets pass and, per group, of those that agree in the other keys.
    Raises: ProgrammingError for a window function that stands elsewhere or names another window.
    """
    for select in every(query, exp.Select):
        group = select.args.get("group")
        calls = [item for item in group.expressions if _name(item) in ARGUMENTS] if group else []
        if len(calls) > 1:
            hint = "Group a view of one window by the other."
            raise ProgrammingError("cannot group by two windows", hint=hint, position=position_of(calls[1]))
        for call in calls:
            _rewrite(select, call)
    for call in every(query, exp.Anonymous):
        _refuse(call)
    return query


def _rewrite(select: exp.Select, call: exp.Anonymous) -> None:
    kind = _name(call)
    from_ = select.args.get("from_")
    table = from_.this if from_ is not None else None
    alone = not any(select.args.get(name) for name in ("joins", "laterals"))
    if not (isinstance(table, exp.Table | exp.Subquery) and alone and _plain(table)):
        raise NotSupportedError(
            f"GROUP BY {kind} needs one stream, view or query in FROM",
            hint=f"Put the join into a query of its own: FROM {kind}(TABLE (SELECT ...), ...).",
            position=position_of(call),
        )
    parts = {f"{kind}_{part}": column for part, column in _PARTS.items()}
    used = {"window_start", "window_end"}
    for other in list(_own_calls(select)):
        if _name(other) in parts:
            _require_same(other, call)
            used.add(parts[_name(other)])
            other.replace(_column(parts[_name(other)], other))
    columns = [_column(column, call) for column in _PARTS.values() if column in used]
    group = select.args["group"]
    partition = [_partition_key(item, call) for item in group.expressions if item is not call and kind == "SESSION"]
    keys = [columns if item is call else [item] for item in group.expressions]
    group.set("expressions", [key for some in keys for key in some])
    alias = table.args.get("alias")
    if kind == "SESSION" and select.args.get("where"):
        filtered = exp.select(exp.Star()).from_(table.copy())
        filtered.set("where", select.args["where"].pop())
        alias = alias or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        table = exp.Subquery(this=filtered)
    table.set("alias", None)
    select.args["from_"].set("this", exp.Table(this=_window(table, call, partition), alias=alias))


def _partition_key(key: exp.Expr, call: exp.Anonymous) -> exp.Column:
    """What a session is of, besides its time."""
    if not isinstance(key, exp.Column) or not isinstance(key.this, exp.Identifier):
        raise NotSupportedError(
            "GROUP BY SESSION takes only columns beside it",
            detail="Each group has sessions of its own.",
            hint="Compute the value in a query in FROM, and group by the column.",
            position=position_of(key) or position_of(call),
        )
    return exp.Column(this=key.this.copy())


def _plain(table: exp.Table | exp.Subquery) -> bool:
    """Whether only a name or a query stands there."""
    named = isinstance(table, exp.Subquery) or isinstance(table.this, exp.Identifier)
    return named and not any(table.args.get(name) for name in ("joins", "sample", "pivots", "laterals"))


def _window(source: exp.Table | exp.Subquery, call: exp.Anonymous, partition: list[exp.Column]) -> WindowFunction:
    """The window that `call` makes of `source`."""
    kind, position = _name(call), position_of(call)
    wanted = [name for name in ARGUMENTS[kind][1:] if name != "TIMEZONE"]
    needed = [name for name in wanted if name not in OPTIONAL]
    if not len(needed) <= len(call.expressions) <= len(wanted):
        said = " and ".join(f"a {name.lower()}" for name in needed[1:])
        raise ProgrammingError(f"{kind} in GROUP BY takes a time column and {said}", position=position)
    column, *given = call.expressions
    if not isinstance(column, exp.Column) or not isinstance(column.this, exp.Identifier):
        raise ProgrammingError(f"{kind} takes one column as its time", position=position_of(column) or position)
    lengths = {
        name: constant_length(length, position_of(length) or position, f"the {name.lower()} of {kind}")
        for name, length in zip(wanted[1:], given, strict=False)
    }
    window = build_window(
        kind,
        source,
        exp.Column(this=column.this.copy()),
        size=lengths["GAP" if kind == "SESSION" else "SIZE"],
        slide=lengths.get("SLIDE", lengths.get("STEP")),
        offset=lengths.get("OFFSET"),
        position=position,
        partition=partition,
    )
    if call.args.get("grace"):
        window.set("grace_us", exp.Literal.number(constant_us(call.args["grace"], position, "GRACE PERIOD")))
    window.meta.update(call.meta)
    return window


def _require_same(other: exp.Anonymous, call: exp.Anonymous) -> None:
    if other.expressions != call.expressions:
        raise ProgrammingError(
            f"{_name(other)} names another window than GROUP BY",
            detail=f"GROUP BY has {call.sql('duckdb')}.",
            hint="Give both the same arguments.",
            position=position_of(other),
        )


def _refuse(call: exp.Anonymous) -> None:
    """Raise for a window function that no rewrite has taken away."""
    name = _name(call)
    kind, _, part = name.partition("_")
    if kind not in ARGUMENTS or (part and part not in (*_PARTS, "PROCTIME")):
        return
    if part == "PROCTIME":
        raise NotSupportedError(
            f"{name} is not supported yet", hint=f"{kind} works: {EXAMPLES[kind]}.", position=position_of(call)
        )
    if part:
        raise ProgrammingError(
            f"{name} needs {kind} in GROUP BY",
            hint=f"FROM {kind}(...) has the columns window_start, window_end and window_time.",
            position=position_of(call),
        )
    raise ProgrammingError(
        f"{kind} belongs in FROM or, by itself, in GROUP BY",
        hint=f"Write FROM {EXAMPLES[kind]}.",
        position=position_of(call),
    )


def _own_calls(select: exp.Select) -> Iterator[exp.Anonymous]:
    """The unknown functions that `select` calls outside its subqueries."""
    for node in select.walk(prune=lambda node: node is not select and isinstance(node, exp.Query)):
        if isinstance(node, exp.Anonymous):
            yield node


def _column(name: str, origin: exp.Expr) -> exp.Column:
    column = exp.Column(this=exp.Identifier(this=name, quoted=False))
    column.this.meta.update(origin.meta)
    return column


def _name(node: exp.Expr) -> str:
    return node.name.upper() if isinstance(node, exp.Anonymous) else ""
