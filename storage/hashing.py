"""One 64-bit hash per row, over any Arrow columns: the same in every run, process and machine.

A row's hash depends on its values only, never on how they are laid out: an INTEGER 5 and a BIGINT 5, a FLOAT 1.5 and a
DOUBLE 1.5, a dictionary-encoded and a plain string hash alike; NaN equals NaN and -0.0 equals 0.0.
Topics are partitioned by it, so it is part of the format on disk: it never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

_TEXT_IDS: Final = frozenset(kind.id for kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()))
_GOLDEN: Final = 0x9E3779B97F4A7C15
_MIX_SHIFTS: Final = (np.uint64(30), np.uint64(27), np.uint64(31))
_MIX_FACTORS: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_NULL_HASH: Final = np.uint64(0x6A09E667F3BCC909)
_WORDS_PADDED = 16  # of a string: up to here word by word for all rows; what is longer, all words at once

_FIRST_BYTES: Final = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)

_WORD_TYPES: Final = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}
_UNSIGNED_TYPES: Final = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def hash_columns(columns: Sequence[pa.Array], padded: Sequence[Hashes | None] | None = None) -> Hashes:
    """The hash of each row of `columns`, which are of one length and at least one.

    `padded` is what `padded_words` makes of those that are strings or binaries, where the caller knows it already.
    Holds: for a single column of at most 64 bits a value, different values that are not NULL have different hashes.
    """
    words = [None] * len(columns) if padded is None else padded
    hashes = _hash_array(columns[0], words[0])
    for place in range(1, len(columns)):
        hashes = combine(hashes, _hash_array(columns[place], words[place]))
    return hashes


def combine(left: Hashes, right: Hashes) -> Hashes:
    """The hash of a pair of values, given the hash of each; the order of the two matters."""
    with np.errstate(over="ignore"):
        mixed = left * np.uint64(_GOLDEN)
        mixed += right
    return _mix(mixed)


def hash_integers(values: Integers) -> Hashes:
    """The hashes `hash_columns` gives a BIGINT column of `values` without NULL."""
    return _mix(values.astype(np.uint64))


def fixed_values(array: pa.Array, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The values buffer of a fixed-width `array`, not copied; what stands under a NULL is arbitrary."""
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.zeros(len(array), dtype)
    return np.frombuffer(buffer, dtype, count=array.offset + len(array))[array.offset :]


def _hash_array(array: pa.Array, padded: Hashes | None = None) -> Hashes:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _hash_array(array.storage)
    if pa.types.is_null(kind):
        return np.full(len(array), _NULL_HASH)
    if pa.types.is_dictionary(kind):
        return _hash_dictionary(array)
    if pa.types.is_floating(kind):
        hashes = _hash_floats(array)
    elif pa.types.is_boolean(kind):
        hashes = _mix(array.cast(pa.uint8()).fill_null(0).to_numpy().astype(np.uint64))
    elif pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _hash_array(array.cast(pa.large_binary()))
    elif _is_text(kind):
        hashes = _hash_text(array, padded)
    elif pa.types.is_fixed_size_binary(kind) and not pa.types.is_decimal(kind):
        hashes = _hash_text(array.cast(pa.binary()))
    elif pa.types.is_struct(kind):
        hashes = _hash_struct(array)
    elif pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        hashes = _hash_list(array)
    elif pa.types.is_fixed_size_list(kind):
        hashes = _hash_list(array.cast(pa.list_(kind.value_field)))
    elif pa.types.is_union(kind):
        return _hash_text(pa.array([repr(value) for value in array.to_pylist()], pa.string()))
    else:
        hashes = _hash_words(array)
    if array.null_count:
        hashes[array.is_null().to_numpy(zero_copy_only=False)] = _NULL_HASH
    return hashes


def _hash_words(array: pa.Array) -> Hashes:
    """Fixed-width values, as one or more 64-bit words each, least significant first."""
    width = array.type.bit_width // 8
    unsigned = pa.types.is_unsigned_integer(array.type)
    if width in _WORD_TYPES:
        kind = (_UNSIGNED_TYPES if unsigned else _WORD_TYPES)[width]
        return _mix(fixed_values(array, kind).astype(np.int64).view(np.uint64))
    words = fixed_values(array, np.dtype((np.uint64, (width // 8,))))
    hashes = _mix(words[:, 0].copy())
    for word in range(1, width // 8):
        hashes = combine(hashes, words[:, word])
    return hashes


def _hash_floats(array: pa.Array) -> Hashes:
    values = fixed_values(array, array.type.to_pandas_dtype()).astype(np.float64)
    values += 0.0  # makes -0.0 positive
    values[values != values] = np.nan  # one NaN of the many
    return _mix(values.view(np.uint64))


def _hash_dictionary(array: pa.DictionaryArray) -> Hashes:
    hashes = np.append(_hash_array(array.dictionary), _NULL_HASH)
    indices: Integers = array.indices.cast(pa.int64()).fill_null(len(hashes) - 1).to_numpy()
    return hashes[indices]


def _is_text(kind: pa.DataType) -> bool:
    return kind.id in _TEXT_IDS


def _offsets(array: pa.Array) -> Integers:
    """The n + 1 offsets of a variable-length array, into its values buffer or child."""
    kind = array.type
    wide = pa.types.is_large_list(kind) or pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.zeros(len(array) + 1, np.int64)
    offsets = np.frombuffer(buffer, np.int64 if wide else np.int32, count=array.offset + len(array) + 1)
    return offsets[array.offset :].astype(np.int64)


def _hash_text(array: pa.Array, padded: Hashes | None = None) -> Hashes:
    """The sum over a value's 8-byte words, each mixed with its place, mixed with the length."""
    offsets = _offsets(array)
    lengths = np.diff(offsets)
    if array.null_count:  # a NULL may still span bytes
        lengths = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    hashes: Hashes = lengths.astype(np.uint64)
    longest = int(lengths.max(initial=0))
    if longest == 0:
        return _mix(hashes)
    shortest = int(lengths.min())
    count = min(-(-longest // 8), _WORDS_PADDED)
    if padded is None or padded.shape[1] < count:
        padded = padded_words(array, count)
    for word in range(count):
        if shortest > word * 8:
            hashes += _placed(padded[:, word], word)
        else:
            rows = np.flatnonzero(lengths > word * 8)
            hashes[rows] += _placed(padded[rows, word], word)
    if longest > _WORDS_PADDED * 8:
        rows = np.flatnonzero(lengths > _WORDS_PADDED * 8)
        hashes[rows] += _hash_tails(array, offsets[:-1][rows], lengths[rows])
    return _mix(hashes)


def padded_words(array: pa.Array, words: int) -> Hashes:
    """Strings or binaries as `words` 64-bit words a row: cut there, filled up with zero bytes; NULL is all zeros."""
    large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    text = array.view(pa.large_string() if large else pa.string())
    if text.null_count:
        text = text.fill_null("")
    if words == 1:
        return _first_words(text)
    padded = pc.ascii_rpad(text, width=words * 8, padding="\0")
    offsets = _offsets(padded)
    data = np.frombuffer(padded.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    if len(data) == len(array) * words * 8:
        matrix: Hashes = data.view(np.dtype("<u8")).reshape(-1, words)
        return matrix
    starts = offsets[:-1] - offsets[0]  # some are longer: take the first bytes of each
    windows = np.lib.stride_tricks.sliding_window_view(data, words * 8)
    cut: Hashes = windows[starts].view(np.dtype("<u8"))
    return cut


def _first_words(text: pa.Array) -> Hashes:
    """The first 8 bytes of each string, one word a row: read wherever they stand, and what is not theirs masked."""
    offsets = _offsets(text)
    size = int(offsets[-1] - offsets[0])
    data = np.zeros(size + 8, np.uint8)  # so that 8 bytes can be read anywhere
    if size:
        data[:size] = np.frombuffer(text.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    anywhere: Hashes = np.ndarray((size + 1,), np.dtype("<u8"), data, strides=(1,))
    first: Hashes = anywhere[offsets[:-1] - offsets[0]]
    first &= _FIRST_BYTES[np.minimum(np.diff(offsets), 8)]
    return first.reshape(-1, 1)


def _hash_tails(array: pa.Array, starts: Integers, lengths: Integers) -> Hashes:
    """The part of `_hash_text`'s sum that comes from the words beyond the padded ones, for few and long values."""
    data = np.frombuffer(array.buffers()[2], np.uint8)
    counts = -(-lengths // 8) - _WORDS_PADDED
    row, word = _expand(counts)
    word += _WORDS_PADDED
    words = np.zeros(len(row), np.uint64)
    for byte in range(8):
        place = word * 8 + byte
        inside = np.flatnonzero(place < lengths[row])
        words[inside] |= data[starts[row[inside]] + place[inside]].astype(np.uint64) << np.uint64(8 * byte)
    return np.add.reduceat(_placed(words, word), np.cumsum(counts) - counts)


def _placed(words: Hashes, place: int | Integers) -> Hashes:
    """`words` made to matter by their place, so that their sum depends on the order."""
    with np.errstate(over="ignore"):
        placed = words + np.asarray(place + 1).astype(np.uint64) * np.uint64(_GOLDEN)
    placed *= np.uint64(0xBF58476D1CE4E5B9)
    placed ^= placed >> np.uint64(32)
    placed *= np.uint64(0x94D049BB133111EB)
    return placed


def _expand(counts: Integers) -> tuple[Integers, Integers]:
    """For each i, `counts[i]` rows of (i, 0), (i, 1), ..."""
    row = np.repeat(np.arange(len(counts)), counts)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)


def _hash_struct(array: pa.StructArray) -> Hashes:
    hashes = np.full(len(array), np.uint64(array.type.num_fields))
    for child in array.flatten():
        hashes = combine(hashes, _hash_array(child))
    return hashes


def _hash_list(array: pa.Array) -> Hashes:
    """As text, with the items in place of the words; a map is a list of its entries."""
    offsets = _offsets(array)
    lengths = np.diff(offsets)
    if array.null_count:  # a NULL list may still span items
        lengths = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    hashes: Hashes = lengths.astype(np.uint64)
    rows = np.flatnonzero(lengths)
    if len(rows):
        items = _items(array)
        row, place = _expand(lengths[rows])
        hashed = _hash_array(items)[offsets[:-1][rows][row] + place]
        hashes[rows] += np.add.reduceat(_placed(hashed, place), np.cumsum(lengths[rows]) - lengths[rows])
    return _mix(hashes)


def _items(array: pa.Array) -> pa.Array:
    """The child of a list or map array, unsliced, as the offsets count it."""
    if pa.types.is_map(array.type):
        return pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])
    return array.values


def _mix(hashes: Hashes) -> Hashes:
    """Every bit spread over all others, in place; a bijection.

    From: Stafford, "Better Bit Mixing" (2011), variant 13, the finaliser of SplitMix64.
    """
    scratch = hashes >> _MIX_SHIFTS[0]
    hashes ^= scratch
    hashes *= _MIX_FACTORS[0]
    np.right_shift(hashes, _MIX_SHIFTS[1], out=scratch)
    hashes ^= scratch
    hashes *= _MIX_FACTORS[1]
    np.right_shift(hashes, _MIX_SHIFTS[2], out=scratch)
    hashes ^= scratch
    return hashes
