"""Watermarks: the least over partitions that speak, held by history, unmoved by the far future."""

from __future__ import annotations

from headrace.engine.operator import NO_WATERMARK
from headrace.engine.watermark import PartitionTime, StreamTime

GUARD = 1_000_000
NOW = 10_000_000


def stream(partitions: int = 2, delay: int = 5, idle: int = 100) -> StreamTime:
    return StreamTime(delay, idle, GUARD, [PartitionTime() for _ in range(partitions)])


def test_it_is_the_least_over_partitions_less_the_delay() -> None:
    time = stream()
    assert time.advance(NOW, [None, None]) == NO_WATERMARK
    time.observe(0, 50, NOW)
    assert time.advance(NOW, [None, None]) == NO_WATERMARK, "partition 1 has not spoken yet"
    time.observe(1, 40, NOW)
    assert time.advance(NOW, [None, None]) == 35


def test_it_never_goes_back() -> None:
    time = stream(partitions=1)
    time.observe(0, 50, NOW)
    time.advance(NOW, [None])
    time.observe(0, 10, NOW)
    assert time.advance(NOW, [None]) == 45


def test_a_silent_partition_stops_holding_it_back_and_comes_back() -> None:
    time = stream()
    time.observe(0, 50, NOW)
    assert time.next_timeout() == NOW + 100
    assert time.advance(NOW + 99, [None, None]) == NO_WATERMARK
    time.observe(0, 60, NOW + 99)
    assert time.advance(NOW + 100, [None, None]) == 55, "partition 1 is silent"
    time.observe(1, 20, NOW + 101)
    assert time.advance(NOW + 101, [None, None]) == 55, "never back"
    time.observe(0, 90, NOW + 102)
    assert time.advance(NOW + 102, [None, None]) == 55, "partition 1 counts again"


def test_history_still_to_be_read_holds_it_back() -> None:
    time = stream(partitions=1)
    time.observe(0, 500, NOW)
    assert time.advance(NOW, [120]) == 120
    assert time.advance(NOW, [None]) == 495


def test_the_far_future_does_not_move_it() -> None:
    time = stream(partitions=1)
    time.observe(0, NOW + GUARD + 1, NOW)
    assert time.advance(NOW, [None]) == NO_WATERMARK
    time.observe(0, 70, NOW)
    assert time.advance(NOW, [None]) == 65


def test_two_that_read_the_same_log_merge() -> None:
    left, right = stream(partitions=1), stream(partitions=1)
    right.observe(0, 50, NOW)
    right.advance(NOW, [None])
    left.merge(right)
    assert left.advance(NOW, [None]) == 45


def test_what_is_said_counts_as_if_a_row_had_shown_it() -> None:
    time = stream()
    time.say((100, None), NOW)
    assert time.advance(NOW, [None, None]) == NO_WATERMARK, "nothing was said of partition 1"
    time.say((50, 90), NOW)
    assert time.advance(NOW, [None, None]) == 90, "the delay is no part of it, and it never goes back"
    time.observe(1, 200, NOW)
    assert time.advance(NOW, [None, None]) == 100
    time.say((300, 300), NOW)
    assert time.advance(NOW, [None, 120]) == 120, "history is never late"


def test_silence_says_how_far_the_time_of_arrival_is() -> None:
    time = stream(delay=5, idle=100)
    time.arrival = True
    assert time.next_timeout() is None, "nothing has come yet"
    time.observe(0, NOW, NOW)
    time.observe(1, NOW - 50, NOW)
    assert time.advance(NOW, [None, None]) == NOW - 55
    assert time.next_timeout() == NOW + 100
    assert time.advance(NOW + 100, [None, None]) == NOW, "as far as the silence has been waited for"
    assert time.next_timeout() == NOW + 200
    assert time.advance(NOW + 350, [None, None]) == NOW + 250
    time.observe(0, NOW + 360, NOW + 360)
    assert time.advance(NOW + 360, [None, None]) == NOW + 355, "partition 1 is silent"
    assert time.advance(NOW + 500, [NOW + 1, None]) == NOW + 355, "history holds it back"
