"""The order of SQL as unsigned words: rows in the order of their words are in the order that ORDER BY asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..storage.hashing import fixed_values, padded_words
from .slot_array import Mask

OrderWords = npt.NDArray[np.uint64]

_TEXT_IDS = frozenset(kind.id for kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()))
_SIGN = np.uint64(1 << 63)
_DIGITS_OF_WORD = 18  # decimals up to here fit into one word
_WORDS_OF_TEXT = 4  # strings beyond 32 bytes are ranked among each other
LAST = np.uint64((1 << 64) - 1)


@dataclass(frozen=True)
class SortKey:
    """A column to sort by. NULLs are first or last whichever way the values go; NaN is the greatest number."""

    column: str
    descending: bool = False
    nulls_first: bool = False


def sortable(kind: pa.DataType) -> bool:
    """Whether values of that type have words."""
    return (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal128(kind)
        or (pa.types.is_temporal(kind) and not pa.types.is_interval(kind))
        or _is_text(kind)
    )


def order_words(batch: pa.RecordBatch, keys: Sequence[SortKey]) -> list[OrderWords]:
    """Columns of words, the most significant first, that order the rows of `batch` by `keys`.

    They compare rows of one batch only, since strings have as many words as the longest of the batch needs.
    """
    words: list[OrderWords] = []
    for key in keys:
        column = batch.column(key.column)
        own = _words(column)
        if key.descending:
            own = [~word for word in own]
        if column.null_count:
            nulls = _nulls(column)
            own = [np.where(nulls, np.uint64(0), word) for word in own]
            words.append((nulls ^ np.bool_(key.nulls_first)).astype(np.uint64))
        words += own
    return words


def first_words(column: pa.Array, key: SortKey) -> OrderWords:
    """A word per value that compares rows of any batches: where it is less the row comes first.

    Equal words say nothing, but for those between 0 and `LAST` of types with an `exact_word`: these are equal values.
    """
    word = padded_words(column, 1)[:, 0].byteswap() if _is_text(column.type) else _words(column)[0]
    if key.descending:
        word = ~word
    if column.null_count:
        word[_nulls(column)] = 0 if key.nulls_first else LAST
    return word


def exact_word(kind: pa.DataType) -> bool:
    """Whether values of this type that differ have different first words."""
    return not _is_text(kind) and not (pa.types.is_decimal(kind) and kind.precision > _DIGITS_OF_WORD)


def sorted_rows(groups: npt.NDArray[np.int64], words: Sequence[OrderWords]) -> npt.NDArray[np.int64]:
    """The places of rows, in ascending order of their groups and in each of their words."""
    if not len(groups):
        return np.zeros(0, np.int64)
    columns: list[npt.NDArray[Any]] = [*reversed(words)]
    if groups[0] != groups[-1] or (groups != groups[0]).any():
        columns.append(groups)
    return np.lexsort(columns) if columns else np.arange(len(groups))


def changes(columns: Sequence[npt.NDArray[Any]], rows: int) -> Mask:
    """True at each row that differs from the one before it in any of `columns`; True at the first."""
    differs = np.zeros(rows, np.bool_)
    differs[:1] = True
    for column in columns:
        differs[1:] |= column[1:] != column[:-1]
    return differs


def _is_text(kind: pa.DataType) -> bool:
    return kind.id in _TEXT_IDS


def _nulls(column: pa.Array) -> Mask:
    nulls: Mask = column.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _words(column: pa.Array) -> list[OrderWords]:
    """The values' words, ascending; those of NULL may be anything."""
    kind = column.type
    if _is_text(kind):
        return _text_words(column)
    if pa.types.is_floating(kind):
        floats = column.cast(pa.float64()) if kind != pa.float64() else column
        values = fixed_values(floats, np.float64) + 0.0  # makes -0.0 positive
        values[np.isnan(values)] = np.nan
        bits = values.view(np.uint64)
        return [np.where(bits & _SIGN, ~bits, bits | _SIGN)]
    if pa.types.is_decimal(kind) and kind.precision <= _DIGITS_OF_WORD:
        return [fixed_values(column, np.dtype((np.uint64, (2,))))[:, 0] ^ _SIGN]
    if pa.types.is_decimal(kind):
        pairs = fixed_values(column, np.dtype((np.uint64, (2,))))
        return [pairs[:, 1] ^ _SIGN, pairs[:, 0].copy()]
    if pa.types.is_boolean(kind):
        return [column.cast(pa.uint8()).fill_null(0).to_numpy().astype(np.uint64)]
    width = kind.bit_width // 8
    if pa.types.is_unsigned_integer(kind):
        return [fixed_values(column, f"u{width}").astype(np.uint64)]
    return [fixed_values(column, f"i{width}").astype(np.int64).view(np.uint64) ^ _SIGN]


def _text_words(column: pa.Array) -> list[OrderWords]:
    lengths = pc.binary_length(column).fill_null(0).to_numpy().astype(np.uint64)
    longest = int(lengths.max(initial=0))
    if longest > 8 * _WORDS_OF_TEXT:
        ranked = column.view(
            pa.large_binary() if column.type in (pa.large_string(), pa.large_binary()) else pa.binary()
        )
        return [pc.rank(ranked, tiebreaker="dense").to_numpy().astype(np.uint64)]
    words = padded_words(column, max(1, -(-longest // 8)))
    return [*(word.byteswap() for word in words.T), lengths]
