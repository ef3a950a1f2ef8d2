"""Partitioning: where Kafka puts a key, and nothing lost when a batch is split."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.storage.partitioning import murmur2, partition_numbers, split

# org.apache.kafka.common.utils.UtilsTest.testMurmur2
KAFKA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def murmur2_of_one(key: bytes) -> int:
    """The same algorithm, byte by byte as its authors wrote it."""
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    result = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for place in range(0, whole, 4):
        word = int.from_bytes(key[place : place + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        result = (result * multiplier & mask) ^ word
    if whole < len(key):
        result = (result ^ int.from_bytes(key[whole:], "little")) * multiplier & mask
    result = (result ^ result >> 13) * multiplier & mask
    return result ^ result >> 15


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.string(), pa.large_string()], ids=str)
def test_murmur2_is_kafkas(kind: pa.DataType) -> None:
    keys = pa.array([key.decode() for key in KAFKA]).cast(kind)
    assert murmur2(keys).astype(np.int32).tolist() == list(KAFKA.values())
    assert murmur2(keys.slice(2, 3)).astype(np.int32).tolist() == list(KAFKA.values())[2:5]


@given(keys=st.lists(st.one_of(st.none(), st.binary(max_size=40)), max_size=30), start=st.integers(0, 5))
def test_murmur2_of_a_column_is_that_of_each_value(keys: list[bytes | None], start: int) -> None:
    array = pa.array(keys, pa.binary()).slice(start)
    assert murmur2(array).tolist() == [murmur2_of_one(key or b"") for key in keys[start:]]


def test_partitions_are_kafkas_and_null_is_in_the_first() -> None:
    keys = pa.array([None, *(key.decode() for key in KAFKA)])
    expected = [0, *((murmur2_of_one(key) & 0x7FFFFFFF) % 7 for key in KAFKA)]
    assert partition_numbers([keys], 7).tolist() == expected


@pytest.mark.parametrize("partitions", [2, 8, 1024])
def test_other_keys_spread_and_equal_keys_stay_together(partitions: int) -> None:
    numbers = partition_numbers([pa.array(range(100_000)), pa.array(["x", "y"] * 50_000)], partitions)
    counts = np.bincount(numbers, minlength=partitions)
    assert counts.min() > 0.4 * 100_000 / partitions
    again = partition_numbers([pa.array(range(100)), pa.array(["x", "y"] * 50)], partitions)
    assert numbers[:100].tolist() == again.tolist()


@settings(max_examples=50)
@given(places=st.lists(st.integers(0, 4), min_size=1, max_size=50))
def test_split_keeps_every_row_and_their_order(places: list[int]) -> None:
    batch = pa.record_batch({"row": range(len(places)), "place": places})
    parts = split(batch, np.array(places, np.uint16), 5)
    assert [number for number, _ in parts] == sorted(set(places))
    for number, rows in parts:
        assert rows.column("row").to_pylist() == [row for row, place in enumerate(places) if place == number]
