"""Calendar windows: panes against Python's own zoneinfo, and against their twin in DuckDB."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.calendar import DAY_US, ByDay, Calendar, Grid
from headrace.engine.operators.assign_window import AssignWindow
from headrace.engine.windows import Cumulate, Hop, Window
from headrace.sql.dialect import parse_script, twin_sql
from headrace.sql.statements import Select
from headrace.sql.twin import twin
from headrace.sql.window_function import WindowFunction
from headrace.sql.window_twin import window_rule
from headrace.sql.zones import zone
from tests.laws import batch_query, changes, check_laws

# Midnight is left out (Cairo, Asuncion), comes twice (Havana), is turned back to just after it (St Johns), a day is
# left out (Apia); half hours (Lord Howe, Kolkata) and none at all (UTC).
ZONES = [
    "Europe/Berlin", "Africa/Cairo", "America/Asuncion", "America/Havana", "America/St_Johns", "Pacific/Apia",
    "Australia/Lord_Howe", "Asia/Kolkata", "UTC",
]  # fmt: skip
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = (int((datetime(year, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()) * 1_000_000 for year in (1980, 2024))
TIMES = st.integers(FIRST, LAST)
SCHEMA = pa.schema([("ts", pa.timestamp("us")), ("n", pa.int64())])
WINDOWED = pa.schema([*SCHEMA, *((name, pa.timestamp("us")) for name in ("window_start", "window_end", "window_time"))])


def midnight(day: date, name: str) -> int:
    """When the clocks of a place first show that day or a later one, minute by minute."""
    place = ZoneInfo(name)
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=15)
    while moment.astimezone(place).replace(tzinfo=None) < datetime(day.year, day.month, day.day):
        moment += timedelta(hours=1)
    moment -= timedelta(hours=3)  # St Johns shows a minute of a day, and then an hour of the one before again
    while moment.astimezone(place).replace(tzinfo=None) < datetime(day.year, day.month, day.day):
        moment += timedelta(minutes=1)
    return int((moment - EPOCH).total_seconds()) * 1_000_000


@pytest.mark.parametrize("name", ZONES)
@given(day=st.dates(date(1980, 1, 2), date(2023, 12, 31)))
@settings(max_examples=40)
def test_a_day_begins_when_the_clocks_first_show_it(name: str, day: date) -> None:
    grid, number = Grid("day", zone(name)), (day - date(1970, 1, 1)).days
    assert grid.times(np.array([number])).tolist() == [midnight(day, name)]


@pytest.mark.parametrize(
    ("name", "day", "hours"),
    [
        ("Europe/Berlin", date(2024, 3, 31), 23), ("Europe/Berlin", date(2024, 10, 27), 25),
        ("Europe/Berlin", date(2200, 3, 30), 23), ("Australia/Lord_Howe", date(2024, 4, 7), 24.5),
        ("Africa/Cairo", date(2024, 4, 26), 23), ("America/Havana", date(2023, 11, 5), 25),
        ("Pacific/Apia", date(2011, 12, 30), 0), ("Asia/Kolkata", date(2024, 3, 31), 24),
    ],
)  # fmt: skip
def test_days_are_as_long_as_the_clocks_say(name: str, day: date, hours: float) -> None:
    number = (day - date(1970, 1, 1)).days
    begin, end = Grid("day", zone(name)).times(np.array([number, number + 1])).tolist()
    assert (end - begin) / 3_600_000_000 == hours


@pytest.mark.parametrize("name", ZONES)
@given(times=st.lists(TIMES | st.integers(-(10**17), 10**17), max_size=8), unit=st.sampled_from(["day", "month"]))
@settings(max_examples=40)
def test_a_time_is_in_the_unit_that_begins_before_it_and_the_next_does_not(
    name: str, times: list[int], unit: Any
) -> None:
    grid = Grid(unit, zone(name), 3_600_000_000)
    units = grid.units(np.array(times, np.int64))
    assert np.all(grid.times(units) <= times)
    assert np.all(grid.times(units + 1) > times)
    alone = [grid.units(np.array([time]))[0] for time in times]
    assert units.tolist() == alone, "whatever else is in the batch"


def test_many_units_at_once_are_found_as_well() -> None:
    grid = Grid("day", zone("Europe/Berlin"))
    times = np.arange(FIRST, LAST, 7 * 3_600_000_000)
    units = grid.units(times)
    assert np.all((grid.times(units) <= times) & (times < grid.times(units + 1)))


WINDOWS = [
    "TUMBLE({0}, INTERVAL '1' MONTH)",
    "TUMBLE({0}, INTERVAL '1' DAY, TIMEZONE => '{1}')",
    "TUMBLE({0}, INTERVAL '1' WEEK, INTERVAL '4' DAY, '{1}')",
    "TUMBLE({0}, INTERVAL '1' MONTH, TIMEZONE => '{1}')",
    "TUMBLE({0}, INTERVAL '1' QUARTER, INTERVAL '1' MONTH, '{1}')",
    "TUMBLE({0}, INTERVAL '1' YEAR, INTERVAL '3 months 6 hours', '{1}')",
    "HOP({0}, INTERVAL '1' DAY, INTERVAL '3' DAY, TIMEZONE => '{1}')",
    "HOP({0}, INTERVAL '2' MONTH, INTERVAL '1' QUARTER, TIMEZONE => '{1}')",
    "CUMULATE({0}, INTERVAL '1' DAY, INTERVAL '1' WEEK, TIMEZONE => '{1}')",
    "CUMULATE({0}, INTERVAL '1' MONTH, INTERVAL '1' YEAR, INTERVAL '-1' MONTH, '{1}')",
    "CUMULATE({0}, INTERVAL '1' DAY, INTERVAL '1' MONTH, TIMEZONE => '{1}')",
    "CUMULATE({0}, INTERVAL '1' DAY, INTERVAL '1' QUARTER, INTERVAL '30' DAY)",
]


def of(text: str, name: str) -> tuple[Window, str]:
    """The engine's window and the twin's SQL of a window function."""
    (statement,) = parse_script(f"SELECT * FROM {text.format('TABLE input, DESCRIPTOR(ts)', name)}")
    assert isinstance(statement, Select)
    found = statement.query.find(WindowFunction)
    assert found is not None
    return window_rule(found), twin_sql(twin(statement.query))


@pytest.mark.parametrize("text", WINDOWS)
@given(data=st.data())
@settings(max_examples=4)
def test_the_operator_obeys_the_laws_and_equals_its_twin(text: str, data: st.DataObject) -> None:
    window, sql = of(text, data.draw(st.sampled_from(ZONES)))
    inputs = data.draw(changes(SCHEMA))
    check_laws(lambda: AssignWindow(window, "ts", WINDOWED), batch_query(sql), inputs)


@pytest.mark.parametrize("name", ZONES)
@given(text=st.sampled_from(WINDOWS), times=st.lists(TIMES, min_size=20, max_size=20), near=st.booleans())
@settings(max_examples=10)
def test_panes_equal_their_twin_in_the_years_of_changing_clocks(
    name: str, text: str, times: list[int], near: bool
) -> None:
    window, sql = of(text, name)
    if near:  # a second around where clocks change
        changed = zone(name).starts
        changed = changed[(changed > FIRST) & (changed < LAST)]
        times = [int(changed[time % len(changed)]) + time % 3 - 1 for time in times] if len(changed) else times
    batch = pa.record_batch([pa.array(times, pa.timestamp("us")), pa.array(times, pa.int64())], schema=SCHEMA)
    rows, numbers = window.pane_numbers(np.array(times))
    found = [np.array(times)[rows], window.starts(numbers), window.ends(numbers)]
    expected = batch_query(sql)(pa.Table.from_batches([batch]))
    columns = [expected.column(place).cast(pa.int64()).to_pylist() for place in (0, 2, 3)]
    assert sorted(zip(*(c.tolist() for c in found), strict=True)) == sorted(zip(*columns, strict=True))


@pytest.mark.parametrize("text", WINDOWS)
@given(time=TIMES, name=st.sampled_from(ZONES))
@settings(max_examples=20)
def test_panes_end_in_their_order_and_slices_are_in_the_panes_of_their_times(text: str, time: int, name: str) -> None:
    window, _ = of(text, name)
    _, numbers = window.pane_numbers(np.array([time]))
    assert np.all((window.starts(numbers) <= time) & (time < window.ends(numbers)))
    assert window.pane_numbers(window.slices(np.array([time])))[1].tolist() == numbers.tolist()
    last = window.ended(time)
    ends = window.ends(np.arange(last - 2, last + 3)).tolist()
    assert all(before <= after for before, after in pairwise(ends))
    assert ends[2] <= time < ends[3]


def test_windows_by_the_calendar_are_those_kinds() -> None:
    assert of(WINDOWS[0], "UTC")[0] == Calendar(Hop(1, 1), Grid("month"))
    assert of(WINDOWS[8], "UTC")[0] == Calendar(Cumulate(7, 1), Grid("day", zone("UTC")))
    assert of(WINDOWS[11], "UTC")[0] == ByDay(3, 0, Grid("day", None, 30 * DAY_US), Grid("month", None, 30 * DAY_US))
