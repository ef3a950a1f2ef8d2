"""A window function's twins: the same rows in DuckDB's SQL, and the engine's rule for its panes."""

from __future__ import annotations

from ..engine.windows import Cumulate, Hop, Sessions, Window
from .calendar_twin import calendar_rule, calendar_sql
from .types import quote
from .window_function import WindowFunction

_DAYS_1970_TO_2000_US = 10_959 * 86_400 * 1_000_000  # DuckDB's time_bucket starts at Monday 2000-01-03
_UNITS = [
    ("day", 86_400_000_000),
    ("hour", 3_600_000_000),
    ("minute", 60_000_000),
    ("second", 1_000_000),
    ("millisecond", 1_000),
]


def interval(us: int) -> str:
    """A fixed length as a DuckDB interval literal in its largest whole unit."""
    for unit, size in _UNITS:
        if us % size == 0:
            return f"INTERVAL '{us // size} {unit}{'' if us == size else 's'}'"
    return f"INTERVAL '{us} microseconds'"


def window_rule(window: WindowFunction) -> Window:
    """The panes that a window function speaks of."""
    if window.by_calendar:
        return calendar_rule(window)
    size, offset = _us(window, "size_us"), _us(window, "offset_us")
    if window.args["kind"] == "CUMULATE":
        return Cumulate(size, _us(window, "slide_us"), offset)
    return Hop(size, _us(window, "slide_us") or size, offset)


def window_sessions(window: WindowFunction) -> Sessions:
    """What SESSION speaks of."""
    return Sessions(_us(window, "size_us"))


def windowed_sql(window: WindowFunction, source: str, *, late: bool, closed: int | None) -> str:
    """The rows of `source`, each once per window that holds it, with window_start, window_end, window_time.

    `late`: the source has a column `_closed` to obey. `closed`: only windows that end by then (microseconds).
    """
    if window.args["kind"] == "SESSION":
        return _session_sql(window, source, late=late, closed=closed)
    column = quote(window.args["column"].name)
    if window.by_calendar:
        sql = calendar_sql(window, source)
        if late:
            sql = f"SELECT * EXCLUDE (_closed) FROM ({sql}) WHERE (_closed IS NULL OR window_end > _closed)"
        return sql + (f" {'AND' if late else 'WHERE'} epoch_us(window_end) <= {closed}" if closed is not None else "")
    rule = window_rule(window)
    match rule:
        case Hop():
            panes, every = -(-rule.size // rule.slide), rule.slide
            inside = [f"{column} < window_end"] if rule.size % rule.slide else []
            start = _bucket(column, every, rule.offset) + (f" - _pane * {interval(every)}" if panes > 1 else "")
            end = f"window_start + {interval(rule.size)}"
        case Cumulate():
            panes = rule.size // rule.step
            inside = [f"{column} < window_end"]
            start = _bucket(column, rule.size, rule.offset)
            end = "window_start + " + ("(_pane + 1) * " if panes > 1 else "") + interval(rule.step)
        case _:
            raise AssertionError(f"no twin of {rule}")
    each = f" CROSS JOIN (SELECT unnest(range({panes})) AS _pane) AS _panes" if panes > 1 else ""
    hidden = [name for name, there in (("_pane", panes > 1), ("_closed", late)) if there]
    if late:
        inside.append("(_closed IS NULL OR window_end > _closed)")
    if closed is not None:
        inside.append(f"epoch_us(window_end) <= {closed}")
    star = f"* EXCLUDE ({', '.join(hidden)})" if hidden else "*"
    sql = f"SELECT *, {start} AS window_start FROM {source} AS _source{each} WHERE {column} IS NOT NULL"
    sql = f"SELECT *, {end} AS window_end, {end} - INTERVAL '1 millisecond' AS window_time FROM ({sql})"
    if hidden or inside:
        sql = f"SELECT {star} FROM ({sql})" + (f" WHERE {' AND '.join(inside)}" if inside else "")
    return sql


def _session_sql(window: WindowFunction, source: str, *, late: bool, closed: int | None) -> str:
    """The same for sessions, by gaps and islands: a row more than the gap after the one before it starts a session.

    So does one that came when the session of the row before it had ended.
    """
    column, gap = quote(window.args["column"].name), interval(window_sessions(window).gap)
    keys = ", ".join(quote(key.name) for key in window.args.get("partition") or ())
    partition = f"PARTITION BY {keys} " if keys else ""
    order = f"OVER ({partition}ORDER BY {column}" + (", _closed NULLS FIRST)" if late else ")")
    due = f"lag({column}) {order} + {gap}"
    new = f"coalesce({column} > {due}, true)" + (f" OR coalesce({due} <= _closed, false)" if late else "")
    sql = f"SELECT *, {new} AS _new FROM {source} AS _source WHERE {column} IS NOT NULL"
    if late:
        sql += f" AND (_closed IS NULL OR {column} + {gap} > _closed)"
    # Rows of one time are counted together: which of them is the first may differ from one OVER to the next.
    sql = f"SELECT *, count(*) FILTER (WHERE _new) {order} AS _session FROM ({sql})"
    whole = f"OVER ({partition + ', ' if partition else 'PARTITION BY '}_session)"
    hidden = ["_new", "_session", *(["_closed"] if late else [])]
    sql = f"SELECT *, min({column}) {whole} AS window_start, max({column}) {whole} + {gap} AS window_end FROM ({sql})"
    sql = f"SELECT * EXCLUDE ({', '.join(hidden)}), window_end - INTERVAL '1 millisecond' AS window_time FROM ({sql})"
    return sql + (f" WHERE epoch_us(window_end) <= {closed}" if closed is not None else "")


def _bucket(column: str, length: int, offset: int) -> str:
    """The last time of those that are `offset` and whole lengths from 1970-01-01, at or before `column`."""
    shift = (offset - _DAYS_1970_TO_2000_US) % length
    return f"time_bucket({interval(length)}, {column}" + (f", {interval(shift)})" if shift else ")")


def _us(window: WindowFunction, name: str) -> int:
    """The microseconds of one of its lengths; 0 where it is not given."""
    value = window.args.get(name)
    return 0 if value is None else int(value.name)
