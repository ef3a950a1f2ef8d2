"""GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE), as Flink and Calcite wrote it first, turned into FROM TUMBLE(...)."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from ...storage.errors import NotSupportedError, ProgrammingError
from ..intervals import constant_us
from ..positions import position_of
from ..window_function import ARGUMENTS, EXAMPLES, NOT_YET, build_window

_PARTS = {"START": "window_start", "END": "window_end", "ROWTIME": "window_time"}


def legacy_windows(query: exp.Query) -> exp.Query:
    """`query` with each window function of a GROUP BY in its FROM, grouped by window_start and window_end instead.

    TUMBLE_START, TUMBLE_END, TUMBLE_ROWTIME (and HOP_...) of the same window become its columns.
    Raises: ProgrammingError for a window function that stands elsewhere or names another window.
    """
    for select in list(query.find_all(exp.Select)):
        group = select.args.get("group")
        windows = [item for item in group.expressions if _name(item) in (*ARGUMENTS, *NOT_YET)] if group else []
        if windows:
            _rewrite(select, group, windows)
    for call in query.find_all(exp.Anonymous):
        _refuse(call)
    return query


def _rewrite(select: exp.Select, group: exp.Group, windows: list[exp.Anonymous]) -> None:
    call = windows[0]
    kind = _name(call)
    if kind in NOT_YET:
        raise NotSupportedError(
            f"{kind} windows are not supported yet", hint=f"{NOT_YET[kind]} works: {EXAMPLES[NOT_YET[kind]]}.", position=position_of(call)
        )
    if len(windows) > 1:
        raise ProgrammingError("cannot group by two windows", hint="Group a view of one window by the other.", position=position_of(windows[1]))
    _open_window(select, call)
    parts = {f"{kind}_{part}": column for part, column in _PARTS.items()}
    used = {"window_start", "window_end"}
    for other in list(_own_calls(select)):
        column = parts.get(_name(other))
        if column is None:
            continue
        _same_window(other, call)
        used.add(column)
        other.replace(_column(column, other))
    index = group.expressions.index(call)
    columns = [_column(column, call) for column in _PARTS.values() if column in used]
    group.set("expressions", [*group.expressions[:index], *columns, *group.expressions[index + 1 :]])


def _open_window(select: exp.Select, call: exp.Anonymous) -> None:
    """Put the window that `call` names around the one table in FROM."""
    kind, position = _name(call), position_of(call)
    from_ = select.args.get("from_")
    table = from_.this if from_ else None
    plain = isinstance(table, exp.Subquery) or (isinstance(table, exp.Table) and isinstance(table.this, exp.Identifier))
    if not plain or any(table.args.get(name) for name in ("joins", "sample", "pivots")) or select.args.get("joins") or select.args.get("laterals"):
        raise NotSupportedError(
            f"GROUP BY {kind} needs one stream, view or query in FROM",
            hint=f"Put the join into a query of its own: FROM {kind}(TABLE (SELECT ...), ...).",
            position=position,
        )
    wanted = ["TIMECOL", *ARGUMENTS[kind][2:]]
    if not len(wanted) - 1 <= len(call.expressions) <= len(wanted):
        raise ProgrammingError(
            f"{kind} in GROUP BY takes a time column and {'a size' if kind == 'TUMBLE' else 'a slide and a size'}", position=position
        )
    column, *lengths = call.expressions
    if not isinstance(column, exp.Column) or not isinstance(column.this, exp.Identifier):
        raise ProgrammingError(f"{kind} takes one column as its time", position=position_of(column) or position)
    us = {
        name: constant_us(length, position_of(length) or position, f"the {name.lower()} of {kind}")
        for name, length in zip(wanted[1:], lengths, strict=False)
    }
    alias = table.args.get("alias")
    table.set("alias", None)
    bare = exp.Column(this=column.this.copy())
    window = build_window(
        kind, table, bare, size_us=us["SIZE"], slide_us=us.get("SLIDE"), offset_us=us.get("OFFSET"), position=position
    )
    window.meta.update(call.meta)
    from_.set("this", exp.Table(this=window, alias=alias))


def _same_window(other: exp.Anonymous, call: exp.Anonymous) -> None:
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
    if kind not in (*ARGUMENTS, *NOT_YET) or (part and part not in (*_PARTS, "PROCTIME")):
        return
    if kind in NOT_YET or part == "PROCTIME":
        works = NOT_YET.get(kind, kind)
        raise NotSupportedError(f"{name} is not supported yet", hint=f"{works} works: {EXAMPLES[works]}.", position=position_of(call))
    if part:
        raise ProgrammingError(
            f"{name} needs {kind} in GROUP BY",
            hint=f"FROM {kind}(...) has the columns window_start, window_end and window_time.",
            position=position_of(call),
        )
    raise ProgrammingError(
        f"{kind} belongs in FROM or, by itself, in GROUP BY", hint=f"Write FROM {EXAMPLES[kind]}.", position=position_of(call)
    )


def _own_calls(select: exp.Select) -> Iterator[exp.Anonymous]:
    """The unknown functions that `select` calls outside its subqueries."""
    for node in select.walk(prune=lambda node: node is not select and isinstance(node, exp.Query)):
        if isinstance(node, exp.Anonymous):
            yield node


def _column(name: str, origin: exp.Expression) -> exp.Column:
    column = exp.Column(this=exp.Identifier(this=name, quoted=False))
    column.this.meta.update(origin.meta)
    return column


def _name(node: exp.Expression) -> str:
    return node.name.upper() if isinstance(node, exp.Anonymous) else ""

