"""Window: panes against their definition, before 1970 too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.windows import Cumulate, Hop, Window, tumble
from headrace.storage.errors import ProgrammingError

TIMES = st.lists(st.one_of(st.integers(-50, 50), st.integers(-(2**50), 2**50)), max_size=20)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    offset = draw(st.integers(-50, 50))
    match draw(st.sampled_from(["tumble", "hop", "cumulate"])):
        case "tumble":
            return tumble(draw(st.integers(1, 40)), offset)
        case "hop":
            size = draw(st.integers(1, 40))
            return Hop(size, draw(st.integers(1, size)), offset)
        case _:
            step = draw(st.integers(1, 10))
            return Cumulate(step * draw(st.integers(1, 8)), step, offset)


def panes_of(window: Window, time: int) -> list[tuple[int, int]]:
    """By definition: start and end of every pane that holds `time`, by their ends."""
    match window:
        case Hop():
            first = (time - window.offset) // window.slide - 50
            starts = [(first + i) * window.slide + window.offset for i in range(60)]
            panes = [(start, start + window.size) for start in starts]
        case Cumulate():
            start = time - (time - window.offset) % window.size
            panes = [(start, end) for end in range(start + window.step, start + window.size + 1, window.step)]
        case _:
            raise AssertionError(window)
    return [(start, end) for start, end in panes if start <= time < end]


@given(windows(), TIMES)
def test_a_row_is_in_every_pane_that_spans_its_time_and_in_no_other(window: Window, times: list[int]) -> None:
    rows, numbers = window.pane_numbers(np.array(times, dtype=np.int64))
    found = zip(rows.tolist(), window.starts(numbers).tolist(), window.ends(numbers).tolist(), strict=True)
    assert list(found) == [(row, *pane) for row, time in enumerate(times) for pane in panes_of(window, time)]


@given(windows(), TIMES)
def test_a_time_is_overtaken_from_the_end_of_its_first_pane_and_counted_until_that_of_its_last(
    window: Window, times: list[int]
) -> None:
    for time in times:
        ends = [end for _, end in panes_of(window, time)]
        for watermark in (ends[0] - 1, ends[0], ends[-1] - 1, ends[-1]):
            assert window.overtaken(np.array([time]), watermark).tolist() == [ends[0] <= watermark]
            assert window.counted(np.array([time]), watermark).tolist() == [ends[-1] > watermark]


@given(windows(), st.integers(-(2**50), 2**50))
def test_ended_is_the_latest_pane_that_ends_by_then(window: Window, watermark: int) -> None:
    last = window.ended(watermark)
    ends = window.ends(np.array([last, last + 1]))
    assert ends[0] <= watermark < ends[1]


@given(windows(), TIMES)
def test_a_slice_is_in_the_same_panes_as_its_times(window: Window, times: list[int]) -> None:
    for time, slice in zip(times, window.slices(np.array(times, dtype=np.int64)).tolist(), strict=True):
        assert panes_of(window, time) == panes_of(window, slice)


def test_too_many_panes_per_row_is_an_error() -> None:
    with pytest.raises(ProgrammingError, match="cannot put a row into"):
        Hop(3_600_000_000, 1)
    with pytest.raises(ProgrammingError, match="cannot put a row into"):
        Cumulate(3_600_000_000, 1)
