"""Calendar windows: the engine's rule for their panes, and the same rows in DuckDB's SQL."""

from __future__ import annotations

from ..engine.calendar import DAY_US, ByDay, Calendar, Grid
from ..engine.windows import Cumulate, Hop, Window
from .intervals import Length
from .types import quote
from .window_function import WindowFunction
from .zones import zone

_TURNED_BACK = (20, 30, 60, 120, 1440)  # minutes by which clocks have been since 1970


def calendar_rule(window: WindowFunction) -> Window:
    """The panes that a window function by the calendar speaks of."""
    size, slide, offset = _lengths(window)
    where = None if window.timezone is None else zone(window.timezone)
    months, days = Grid("month", where, offset.us), Grid("day", where, offset.us)
    if slide.months != size.months and not slide.months:
        return ByDay(size.months, offset.months, days, months)
    units, every = _units(size), _units(slide)
    cumulates = window.args["kind"] == "CUMULATE"
    rule = Cumulate(units, every, offset.months) if cumulates else Hop(units, every, offset.months)
    return Calendar(rule, months if size.months else days)


def calendar_sql(window: WindowFunction, source: str) -> str:
    """The rows of `source`, each once per window that holds it, with window_start, window_end, window_time.

    As a calendar has it: from the window that a row would be in by the clock on the wall, a few to either side, and of
    those the ones that begin at or before the row and end after it.
    """
    size, slide, offset = _lengths(window)
    column, place, first = quote(window.args["column"].name), window.timezone, offset.months
    units, every, unit = _units(size), _units(slide), "month" if size.months else "day"
    shift = f"to_microseconds({offset.us})"
    clock = f"make_timestamp(epoch_us({column}))"  # what the clocks show
    if place is not None:
        clock = f"timezone('{place}', make_timestamptz(epoch_us({column})))"

    def shown(number: str) -> str:
        """What the clocks show where the unit of that number begins."""
        return f"TIMESTAMP '1970-01-01' + to_{unit}s(CAST({number} AS INTEGER)) + {shift}"

    whole = units if window.args["kind"] == "CUMULATE" else every
    passed = f"date_diff('{unit}', TIMESTAMP '1970-01-01', {clock} - {shift}) - ({first})"
    begin = f"CAST(floor(({passed}) / {whole}) + _pane AS BIGINT) * {whole} + ({first})"
    panes, within = "(SELECT unnest([-1, 0, 1]) AS _pane) AS _panes", ""
    if window.args["kind"] == "CUMULATE":
        by_day = bool(size.months) and not slide.months
        steps = units * 31 if by_day else units // every
        panes += f", (SELECT unnest(range(1, {steps + 1})) AS _step) AS _steps"
        finish = f"{shown('_unit')} + to_days(CAST(_step AS INTEGER))" if by_day else shown(f"_unit + _step * {every}")
        within = f" WHERE _finish <= {shown(f'_unit + {units}')}"
    else:
        panes = f"(SELECT unnest(range({-(units // every) - 2}, 2)) AS _pane, 0 AS _step) AS _panes"
        finish = shown(f"_unit + {units}")
    sql = f"SELECT *, {begin} AS _unit FROM {source} AS _source, {panes} WHERE {column} IS NOT NULL"
    sql = f"SELECT *, {shown('_unit')} AS _begin, {finish} AS _finish FROM ({sql})"
    sql = f"SELECT *, {_moment('_begin', place)} AS _from, {_moment('_finish', place)} AS _to FROM ({sql}){within}"
    sql = f"SELECT * FROM ({sql}) WHERE epoch_us({column}) >= _from AND epoch_us({column}) < _to"
    start, stop = (f"{column} + to_microseconds({side} - epoch_us({column}))" for side in ("_from", "_to"))
    return (
        f"SELECT * EXCLUDE (_pane, _step, _unit, _begin, _finish, _from, _to), {start} AS window_start, "
        f"{stop} AS window_end, {stop} - INTERVAL '1 millisecond' AS window_time FROM ({sql})"
    )


def _moment(local: str, place: str | None) -> str:
    """When the clocks first show `local`, in microseconds since 1970; DuckDB has the last of times that come twice."""
    if place is None:
        return f"epoch_us({local})"
    last = f"timezone('{place}', {local})"
    again = [
        f"CASE WHEN timezone('{place}', {last} - INTERVAL {minutes} MINUTE) = {local} "
        f"THEN {last} - INTERVAL {minutes} MINUTE END"
        for minutes in _TURNED_BACK
    ]
    return f"epoch_us(least({last}, {', '.join(again)}))"


def _lengths(window: WindowFunction) -> tuple[Length, Length, Length]:
    """Its size, its slide, which is the size where it has none, and its offset."""
    size = window.length("size")
    assert size is not None
    return size, window.length("slide") or size, window.length("offset") or Length()


def _units(length: Length) -> int:
    """A length in the units that it is counted in, months or days."""
    return length.months or length.us // DAY_US


def calendar_words(window: Calendar | ByDay) -> str:
    """What EXPLAIN calls such windows: TUMBLE of 1 month by the clocks of Europe/Berlin."""
    if isinstance(window, ByDay):
        text = f"CUMULATE up to {_count(window.months, 'month')} by 1 day"
    else:
        rule, unit = window.rule, window.grid.unit
        match rule:
            case Cumulate():
                text = f"CUMULATE up to {_count(rule.size, unit)} by {_count(rule.step, unit)}"
            case Hop() if rule.overlaps:
                text = f"HOP of {_count(rule.size, unit)} every {_count(rule.slide, unit)}"
            case Hop():
                text = f"TUMBLE of {_count(rule.size, unit)}"
    return text + ("" if window.grid.zone is None else f" by the clocks of {window.grid.zone.name}")


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" + ("" if number == 1 else "s")
