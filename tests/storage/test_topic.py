"""Topics: what is appended is read back, by any range, any columns, from any thread, once it is durable."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.storage.errors import DataError, InterfaceError, NotSupportedError, ProgrammingError
from headrace.storage.files import faults
from headrace.storage.folder import Folder
from headrace.storage.frame import NO_TIME, Times
from headrace.storage.frame_index import FrameIndex, SuffixMinimum
from headrace.storage.limits import FRAME_BYTES_MAX
from headrace.storage.topic import Durability, Topic, TopicOptions

from .logs import SCHEMA, numbered, numbers_of, rows_of

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=12)


@pytest.fixture
def folder() -> Iterator[Folder]:
    with closing(Folder.open(None)) as folder:
        yield folder


@settings(max_examples=40)
@given(sizes=SIZES, segment_bytes=st.sampled_from([1, 1500, 1 << 20]), again=st.booleans(), data=st.data())
def test_any_range_is_read_back(sizes: list[int], segment_bytes: int, again: bool, data: st.DataObject) -> None:
    with closing(Folder.open(None)) as folder:
        options = TopicOptions(segment_bytes=segment_bytes)
        topic = folder.create_topic("log", SCHEMA, options=options)
        end = 0
        for size in sizes:
            topic.append(numbered(end, end + size))
            end += size
        if again:
            for partition in topic.partitions:
                partition.close()
            topic = Topic.load(folder.path / "topics" / "log", surroundings=folder._around)
        (partition,) = topic.partitions
        assert (partition.start_offset, partition.end_offset) == (0, end)
        first, last = sorted(data.draw(st.tuples(st.integers(0, end), st.integers(0, end))))
        columns = data.draw(st.one_of(st.none(), st.lists(st.sampled_from(SCHEMA.names), unique=True)))
        batches = partition.read(first, last, columns)
        expected = numbered(first, last) if columns is None else numbered(first, last).select(columns)
        assert sum(batch.num_rows for batch in batches) == last - first
        assert pa.Table.from_batches(batches, expected.schema).equals(pa.Table.from_batches([expected]))
        topic.close()


def test_reading_copies_nothing(folder: Folder) -> None:
    topic = folder.create_topic("log", SCHEMA)
    topic.append(numbered(0, 100_000))
    (partition,) = topic.partitions
    before = pa.total_allocated_bytes()
    batches = partition.read(10, 99_990, ["number", "text"])
    assert pa.total_allocated_bytes() - before < 10_000
    assert batches[0].column(0).to_pylist() == list(range(10, 99_990))


def test_batches_stay_readable_after_all_else_is_gone() -> None:
    folder = Folder.open(None)
    topic = folder.create_topic("log", SCHEMA, options=TopicOptions(segment_bytes=1))
    for start in range(0, 30, 10):
        topic.append(numbered(start, start + 10))
    batches = topic.partitions[0].read(0, 30)
    folder.drop_topic("log")
    folder.close()
    assert not folder.path.exists()
    assert [n for batch in batches for n in batch.column(0).to_pylist()] == list(range(30))


@settings(max_examples=30)
@given(sizes=SIZES, partitions=st.integers(1, 5), key=st.sampled_from([(), ("text",), ("number",), ("at", "text")]))
def test_partitions_together_hold_each_row_once(sizes: list[int], partitions: int, key: tuple[str, ...]) -> None:
    with closing(Folder.open(None)) as folder:
        topic = folder.create_topic("log", SCHEMA, partitions=partitions, key=key)
        end = 0
        for size in sizes:
            places = topic.append(numbered(end, end + size))
            assert sum(place.end - place.start for place in places) == size
            end += size
        assert rows_of(topic) == list(range(end))
        for partition in topic.partitions:
            assert numbers_of(partition) == sorted(numbers_of(partition))
        if key:
            again = topic.append(numbered(0, 1))
            assert 0 in numbers_of(topic.partitions[again[0].partition])[:-1]


def test_batches_without_a_key_go_round_and_a_partition_can_be_chosen(folder: Folder) -> None:
    topic = folder.create_topic("log", SCHEMA, partitions=3)
    assert [topic.append(numbered(n, n + 1))[0].partition for n in range(4)] == [0, 1, 2, 0]
    assert topic.append(numbered(0, 1), partition=2)[0].partition == 2
    assert topic.append(numbered(0, 0)) == ()


@settings(max_examples=60)
@given(minimums=st.lists(st.one_of(st.just(NO_TIME), st.integers(-50, 50)), max_size=30), cut=st.integers(0, 30))
def test_suffix_minimum_is_the_minimum_of_each_suffix(minimums: list[int], cut: int) -> None:
    suffixes, at_once = SuffixMinimum(), SuffixMinimum()
    indexes = [FrameIndex(0, 0), FrameIndex(cut, 0)]
    for place, minimum in enumerate(minimums):
        suffixes.add(place + 1, minimum)
        indexes[place >= cut].add(1, 8, Times(0, minimum, minimum))
    for index in indexes:
        at_once.extend(index)
    for place in range(len(minimums) + 1):
        times = [minimum for minimum in minimums[place:] if minimum != NO_TIME]
        assert suffixes.at(place) == at_once.at(place) == min(times, default=None)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_event_times_come_from_the_headers(folder: Folder, unit: str) -> None:
    schema = pa.schema([("at", pa.timestamp(unit))])
    topic = folder.create_topic("log", schema, options=TopicOptions(event_time="at", segment_bytes=800))
    (partition,) = topic.partitions
    assert (partition.event_times(0, 0), partition.earliest_after(0)) == (None, None)
    scale = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}[unit]
    frames = [[5, 3, None], [None, None], [-7, 9], [8, 8]]
    for times in frames:
        values = [None if second is None else second * scale for second in times]
        topic.append(pa.record_batch([pa.array(values, schema.field(0).type)], schema=schema))

    def seconds(pair: tuple[int, int] | None) -> tuple[int, int] | None:
        return None if pair is None else (pair[0] // 1_000_000, pair[1] // 1_000_000)

    for log in (topic, Topic.load(folder.path / "topics" / "log", surroundings=folder._around)):
        (partition,) = log.partitions
        assert seconds(partition.event_times(0, 9)) == (-7, 9)
        assert seconds(partition.event_times(2, 4)) == (3, 5)
        assert partition.event_times(3, 5) is None
        assert seconds(partition.event_times(6, 8)) == (-7, 9)
        least = [partition.earliest_after(offset) for offset in (0, 6, 7, 8, 9)]
        assert least == [-7_000_000, -7_000_000, 8_000_000, 8_000_000, None]
        # Whole frames without such times are left out, but not one of which nothing is known, nor a part of one.
        assert partition.within_times(0, 9, 6_000_000, 100_000_000) == [(3, 9)]
        assert partition.within_times(1, 9, 6_000_000, 100_000_000) == [(1, 9)]
        assert partition.within_times(0, 9, -100_000_000, -8_000_000) == [(3, 5)]
        assert partition.within_times(0, 8, 3_000_000, 7_000_000) == [(0, 8)]
        assert partition.within_times(0, 9, 3_000_000, 7_000_000) == [(0, 7)]
        assert partition.within_times(7, 9, 0, 0) == []
        log.close()


def test_listeners_hear_of_every_growth(tmp_path: Path) -> None:
    durabilities: list[Durability] = ["none", "group", "each"]
    with closing(Folder.open(tmp_path)) as folder:
        for durability in durabilities:
            topic = folder.create_topic(durability, SCHEMA, options=TopicOptions(durability=durability))
            seen: list[int] = []
            end = topic.listen(lambda topic=topic, seen=seen: seen.append(topic.partitions[0].end_offset))
            for start in range(3):
                topic.append(numbered(start, start + 1))
            assert seen == [1, 2, 3]
            end()
            topic.append(numbered(3, 4))
            assert seen == [1, 2, 3]


def test_what_nobody_waits_for_becomes_durable_by_itself(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        topic = folder.create_topic("log", SCHEMA)
        readable = threading.Event()
        topic.listen(lambda: topic.partitions[0].end_offset == 50 and readable.set())
        for start in range(0, 50, 10):
            topic.append(numbered(start, start + 10), wait=False)
        assert readable.wait(10)
        topic.append(numbered(50, 60), wait=False)
        topic.sync()
        assert numbers_of(topic.partitions[0]) == list(range(60))


@pytest.mark.parametrize(("durability", "syncs"), [("none", 0), ("group", 1), ("each", 5)])
def test_only_durable_rows_are_readable(tmp_path: Path, durability: Durability, syncs: int) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        topic = folder.create_topic("log", SCHEMA, options=TopicOptions(durability=durability))
        topic.append(numbered(0, 1))
        partition = topic.partitions[0]
        seen: list[int] = []

        def fault(operation: str, path: Path) -> None:
            if operation == "sync":
                seen.append(partition.end_offset)

        with faults(fault):
            for start in range(1, 6):
                rows = numbered(start, start + 1)
                partition.append([(rows, topic._times_of(rows, topic.version, 0))], topic.version)
            topic.sync()
        assert len(seen) == syncs
        assert seen == list(range(1, syncs + 1))
        assert partition.end_offset == 6


def test_threads_share_syncs_and_lose_nothing(tmp_path: Path) -> None:
    syncs = 0

    def fault(operation: str, path: Path) -> None:
        nonlocal syncs
        syncs += operation == "sync"

    with closing(Folder.open(tmp_path)) as folder:
        topic = folder.create_topic("log", SCHEMA, options=TopicOptions(segment_bytes=50_000))
        appended: list[list[int]] = [[] for _ in range(8)]

        def work(worker: int) -> None:
            for turn in range(40):
                number = 1000 * worker + turn
                (place,) = topic.append(numbered(number, number + 1))
                assert topic.partitions[0].end_offset >= place.end
                assert topic.partitions[0].read(place.start, place.end)[0].column(0).to_pylist() == [number]
                appended[worker].append(number)

        with faults(fault):
            threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        numbers = numbers_of(topic.partitions[0])
        assert sorted(numbers) == sorted(number for numbers in appended for number in numbers)
        for worker in range(8):
            assert [number for number in numbers if number // 1000 == worker] == appended[worker]
        assert syncs < 320


def test_readers_and_a_writer_at_once(folder: Folder) -> None:
    topic = folder.create_topic("log", SCHEMA, options=TopicOptions(segment_bytes=30_000))
    (partition,) = topic.partitions
    done = threading.Event()
    errors: list[object] = []

    def follow() -> None:
        place = 0
        while not done.is_set() or place < partition.end_offset:
            end = partition.end_offset
            numbers = [n for batch in partition.read(place, end, ["number"]) for n in batch.column(0).to_pylist()]
            if numbers != list(range(place, end)):
                errors.append((place, end, numbers))
            place = end

    readers = [threading.Thread(target=follow) for _ in range(2)]
    for reader in readers:
        reader.start()
    for start in range(0, 3000, 10):
        topic.append(numbered(start, start + 10))
    done.set()
    for reader in readers:
        reader.join()
    assert errors == []


def test_large_batches_are_cut(folder: Folder) -> None:
    schema = pa.schema([("value", pa.int64()), ("bytes", pa.binary())])
    topic = folder.create_topic("log", schema)
    rows = FRAME_BYTES_MAX // 8 + 1000
    values = pa.array(np.arange(rows))
    places = topic.append(pa.record_batch([values, pa.array([b""] * rows, pa.binary())], schema=schema))
    assert [(place.start, place.end) for place in places] == [(0, rows)]
    batches = topic.partitions[0].read(0, rows)
    assert len(batches) > 1
    read = pa.Table.from_batches(batches)
    assert read.column(0).combine_chunks().equals(values)
    wide = pa.record_batch([[1], pa.array([bytes(FRAME_BYTES_MAX)])], schema=schema)
    with pytest.raises(DataError, match="cannot append a row of"):
        topic.append(wide)


def test_slices_and_looser_schemas_are_taken(folder: Folder) -> None:
    strict = pa.schema([SCHEMA.field(0).with_nullable(False), SCHEMA.field(1), SCHEMA.field(2)])
    topic = folder.create_topic("log", strict)
    topic.append(numbered(0, 100).slice(17, 5))
    (batch,) = topic.partitions[0].read(0, 5)
    assert batch.schema == strict
    assert batch.column(1).to_pylist() == numbered(17, 22).column(1).to_pylist()


def test_limits_are_errors(folder: Folder) -> None:
    with pytest.raises(ProgrammingError, match="0 partitions"):
        folder.create_topic("log", SCHEMA, partitions=0)
    with pytest.raises(ProgrammingError, match="segments of 0 bytes"):
        folder.create_topic("log", SCHEMA, options=TopicOptions(segment_bytes=0))
    for kind in (
        pa.dictionary(pa.int8(), pa.string()),
        pa.list_(pa.string_view()),
        pa.struct([("x", pa.binary_view())]),
    ):
        with pytest.raises(NotSupportedError, match='cannot store column "c" of type'):
            folder.create_topic("log", pa.schema([("c", kind)]))
    assert dict(folder.topics) == {}


def test_a_closed_folder_takes_no_rows(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    topic = folder.create_topic("log", SCHEMA)
    folder.close()
    with pytest.raises(InterfaceError, match="it is closed"):
        topic.append(numbered(0, 1))
