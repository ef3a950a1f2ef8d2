"""Which partition a row belongs to, and a batch split accordingly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .hashing import hash_columns

_MULTIPLIER = np.uint32(0x5BD1E995)
_SEED = 0x9747B28C


def partition_numbers(columns: Sequence[pa.Array], partitions: int) -> npt.NDArray[np.uint16]:
    """The partition of each row, given its key columns.

    Holds: a single string or binary key goes where Kafka's default partitioner puts it, so that topics mirror Kafka's
    partition for partition; NULL, which Kafka places at random, goes to partition 0. Other keys go by `hash_columns`.
    """
    if len(columns) == 1 and has_bytes(columns[0].type):
        return murmured(columns[0], partitions)
    return (hash_columns(columns) % np.uint64(partitions)).astype(np.uint16)


def murmured(keys: pa.Array, partitions: int) -> npt.NDArray[np.uint16]:
    """The partition of each string or binary key, as Kafka's default partitioner has it; of NULL 0."""
    hashes = murmur2(keys) & np.uint32(0x7FFFFFFF)
    numbers = (hashes % np.uint32(partitions)).astype(np.uint16)
    if keys.null_count:
        numbers[keys.is_null().to_numpy(zero_copy_only=False)] = 0
    return numbers


def split(batch: pa.RecordBatch, numbers: npt.NDArray[np.uint16], partitions: int) -> list[tuple[int, pa.RecordBatch]]:
    """For each partition that gets any: its number and its rows, in the order of the batch.

    From: counting sort (NumPy's stable sort of 16-bit numbers), then one gather and slices of it.
    """
    counts = np.bincount(numbers, minlength=partitions)
    used = np.flatnonzero(counts)
    if len(used) == 1:
        return [(int(used[0]), batch)]
    ordered = batch.take(pa.array(np.argsort(numbers, kind="stable")))
    ends = np.cumsum(counts)
    return [(int(number), ordered.slice(int(ends[number] - counts[number]), int(counts[number]))) for number in used]


def murmur2(array: pa.Array) -> npt.NDArray[np.uint32]:
    """Kafka's 32-bit murmur2 of each value's bytes; that of no bytes for NULL.

    From: org.apache.kafka.common.utils.Utils.murmur2, seed 0x9747b28c; all values a word at a time.
    """
    data, starts, lengths = _bytes_of(array)
    with np.errstate(over="ignore"):
        hashes = np.uint32(_SEED) ^ lengths.astype(np.uint32)
        words = lengths // 4
        active = np.flatnonzero(words)
        for word in range(int(words.max(initial=0))):
            active = active[words[active] > word]
            mixed = _word_at(data, starts[active] + 4 * word) * _MULTIPLIER
            mixed ^= mixed >> np.uint32(24)
            hashes[active] = (hashes[active] * _MULTIPLIER) ^ (mixed * _MULTIPLIER)
        tails = lengths % 4
        ragged = np.flatnonzero(tails)
        tail_words = _word_at(data, starts[ragged] + 4 * words[ragged])
        tail_words &= (np.uint32(1) << (8 * tails[ragged]).astype(np.uint32)) - np.uint32(1)
        hashes[ragged] = (hashes[ragged] ^ tail_words) * _MULTIPLIER
        hashes ^= hashes >> np.uint32(13)
        hashes *= _MULTIPLIER
        hashes ^= hashes >> np.uint32(15)
    return hashes


def has_bytes(kind: pa.DataType) -> bool:
    """Whether values of this type are strings of bytes or characters."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_large_binary(kind)
    )


def _bytes_of(array: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The bytes of all values, with 3 spare ones at the end, and where each value starts and how long it is."""
    if array.null_count:
        array = pc.fill_null(
            array, b"" if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type) else ""
        )
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, offset_buffer, data_buffer = array.buffers()
    kind = np.dtype(np.int64 if wide else np.int32)
    offsets = np.frombuffer(offset_buffer, kind, count=len(array) + 1, offset=array.offset * kind.itemsize)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.zeros(last - first + 3, np.uint8)
    if last > first:
        data[:-3] = np.frombuffer(data_buffer, np.uint8, count=last - first, offset=first)
    bounds = offsets.astype(np.int64) - first
    return data, bounds[:-1], np.diff(bounds)


def _word_at(data: npt.NDArray[np.uint8], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """The four bytes at each position as a little-endian number."""
    words = data[positions].astype(np.uint32)
    for place in (1, 2, 3):
        words |= data[positions + place].astype(np.uint32) << np.uint32(8 * place)
    return words
