"""Window: panes against their definition, before 1970 too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.windows import Window
from headrace.storage.errors import ProgrammingError

TIMES = st.lists(st.one_of(st.integers(-50, 50), st.integers(-(2**50), 2**50)), max_size=20)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    size = draw(st.integers(1, 40))
    if draw(st.booleans()):
        return Window("tumble", size, size, draw(st.integers(-50, 50)))
    return Window("hop", size, draw(st.integers(1, size)), draw(st.integers(-50, 50)))


@given(windows(), TIMES)
def test_a_row_is_in_every_pane_that_spans_its_time_and_in_no_other(window: Window, times: list[int]) -> None:
    expected = []
    for row, time in enumerate(times):
        number = (time - window.size - window.offset) // window.slide - 1
        while (start := number * window.slide + window.offset) <= time:
            if time < start + window.size:
                expected.append((row, start))
            number += 1
    rows, starts = window.panes(np.array(times, dtype=np.int64))
    assert list(zip(rows.tolist(), starts.tolist(), strict=True)) == expected


@given(windows(), TIMES)
def test_first_end_is_the_end_of_the_earliest_pane(window: Window, times: list[int]) -> None:
    rows, starts = window.panes(np.array(times, dtype=np.int64))
    ends = {}
    for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
        ends.setdefault(row, start + window.size)
    assert window.first_end(np.array(times, dtype=np.int64)).tolist() == [ends[row] for row in range(len(times))]


def test_too_many_panes_per_row_is_an_error() -> None:
    with pytest.raises(ProgrammingError, match="cannot put a row into"):
        Window("hop", 3_600_000_000, 1)
