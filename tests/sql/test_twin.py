"""The twin of a window against arithmetic, and against the operator that assigns the same windows."""

from __future__ import annotations

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.operators.assign_window import AssignWindow
from headrace.engine.windows import Cumulate, Hop
from headrace.sql.dialect import parse_script, twin_sql
from headrace.sql.statements import Select
from headrace.sql.twin import twin
from tests.laws import batch_query, changes, check_laws

SECOND = 1_000_000
TIMES = pa.schema([("ts", pa.timestamp("us")), ("n", pa.int64())])
WINDOWED = pa.schema([*TIMES, *((name, pa.timestamp("us")) for name in ("window_start", "window_end", "window_time"))])


def twin_of(kind: str, size_s: int, slide_s: int, offset_s: int) -> str:
    text = (
        f"SELECT * FROM {kind}(TABLE input, DESCRIPTOR(ts), INTERVAL '{slide_s}' SECOND, INTERVAL '{size_s}' SECOND, "
        f"INTERVAL '{offset_s}' SECOND)"
    )
    statement = parse_script(text)[0]
    assert isinstance(statement, Select)
    return twin_sql(twin(statement.query))


@given(
    times=st.lists(st.integers(-40 * SECOND, 40 * SECOND) | st.integers(-(10**15), 10**15), max_size=6),
    slide=st.integers(1, 7),
    more=st.integers(0, 15),
    offset=st.integers(0, 9),
)
@settings(max_examples=60)
def test_hop_twin_is_arithmetic(times: list[int], slide: int, more: int, offset: int) -> None:
    size, step, shift = (slide + more) * SECOND, slide * SECOND, offset * SECOND
    expected = sorted(
        (time, start, start + size)
        for time in times
        for start in range((time - shift) // step * step + shift - (size // step + 1) * step, time + 1, step)
        if start <= time < start + size
    )
    connection = duckdb.connect()
    connection.register(
        "input", pa.table([pa.array(times, pa.timestamp("us")), pa.array(times, pa.int64())], schema=TIMES)
    )
    sql = twin_of("HOP", slide + more, slide, offset)
    rows = connection.sql(
        f"SELECT epoch_us(ts), epoch_us(window_start), epoch_us(window_end), epoch_us(window_time) FROM ({sql})"
    ).fetchall()
    assert sorted(row[:3] for row in rows) == expected
    assert all(row[3] == row[2] - 1000 for row in rows)


@given(inputs=changes(TIMES), slide=st.integers(1, 7), more=st.integers(0, 15), offset=st.integers(0, 9))
@settings(max_examples=30)
def test_assign_window_obeys_the_laws(inputs: list, slide: int, more: int, offset: int) -> None:
    size = slide + more
    window = Hop(size * SECOND, slide * SECOND, offset * SECOND)
    check_laws(lambda: AssignWindow(window, "ts", WINDOWED), batch_query(twin_of("HOP", size, slide, offset)), inputs)


@given(inputs=changes(TIMES), step=st.integers(1, 7), steps=st.integers(1, 6), offset=st.integers(-9, 9))
@settings(max_examples=30)
def test_assign_window_cumulates_as_its_twin_does(inputs: list, step: int, steps: int, offset: int) -> None:
    window = Cumulate(step * steps * SECOND, step * SECOND, offset * SECOND)
    query = batch_query(twin_of("CUMULATE", step * steps, step, offset))
    check_laws(lambda: AssignWindow(window, "ts", WINDOWED), query, inputs)
