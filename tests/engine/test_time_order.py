"""TimeOrder finds the neighbours of a time as a list does, and does not pass over what is not there one by one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine import time_order
from headrace.engine.time_order import TimeOrder

PLACE = st.tuples(st.integers(0, 2), st.sampled_from([-(1 << 63), -3, 0, 1, 2, 3, 4, 5, (1 << 63) - 1]))


@given(
    added=st.lists(st.lists(st.tuples(PLACE, st.booleans()), max_size=12), max_size=4),
    asked=st.lists(PLACE, max_size=6),
    steps=st.sampled_from([0, 600, 4096]),
)
def test_it_finds_what_a_list_does(
    added: list[list[tuple[tuple[int, int], bool]]], asked: list[tuple[int, int]], steps: int
) -> None:
    order, known = TimeOrder(), [each for part in added for each in part]
    there = np.array([here - 1 for _, here in known], np.int64)  # 0, or -1 where it is not
    end = 0
    for part in added:
        order.add(*columns([place for place, _ in part]), np.arange(end, end + len(part)))
        end += len(part)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_order, "_STEPS", steps)
        last = order.last(*columns(asked), there)
        after, some = order.next_times(*columns(asked), there)
    for place, number, time, found in zip(asked, last.tolist(), after.tolist(), some.tolist(), strict=True):
        mine = [each for each, here in known if here and each[0] == place[0]]
        assert max((each for each in mine if each <= place), default=None) == (None if number < 0 else known[number][0])
        assert number < 0 or known[number][1]
        later = min((each for each in mine if each > place), default=None)
        assert later == ((place[0], time) if found else None)


def columns(places: list[tuple[int, int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return np.array([slot for slot, _ in places], np.int64), np.array([time for _, time in places], np.int64)


@pytest.mark.parametrize("asked", [1, 5000])
def test_many_that_are_not_there_are_passed_over_at_once(monkeypatch: pytest.MonkeyPatch, asked: int) -> None:
    passes = []
    slots_of = time_order._slots
    monkeypatch.setattr(time_order, "_slots", lambda places: passes.append(len(places)) or slots_of(places))
    order, rows, there = TimeOrder(), 10_000, np.full(10_000, -1)
    order.add(np.zeros(rows, np.int64), np.arange(rows), np.arange(rows))
    there[[10, -10]] = 0
    times = np.arange(rows // 2, rows // 2 + asked)
    found = order.last(np.zeros(asked, np.int64), times, there)
    assert found.tolist() == [10 if time < rows - 10 else rows - 10 for time in times.tolist()]
    after, _ = order.next_times(np.zeros(1, np.int64), times[:1], there)
    assert after.tolist() == [rows - 10]
    assert len(passes) < 50
