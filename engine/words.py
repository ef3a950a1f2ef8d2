"""Fixed-width Arrow values as columns of machine words, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.hashing import fixed_values
from .slot_array import Mask

Words = list[npt.NDArray[Any]]  # one row over one or more columns, the least significant first


def fixed_words(array: pa.Array, dtype: np.dtype[Any], count: int) -> Words:
    """`array` as `count` columns of integers that are equal exactly where its values are; NULL is all zeros."""
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    if pa.types.is_floating(array.type):
        kind = array.type.to_pandas_dtype()
        floats = fixed_values(array, kind) + kind(0)  # makes -0.0 positive
        floats[floats != floats] = np.nan  # one NaN of the many
        words = [floats.view(dtype)]
    elif count == 1:
        words = [fixed_values(array, dtype)]
    else:
        matrix = fixed_values(array, np.dtype((dtype, (count,))))
        words = [matrix[:, word] for word in range(count)]
    if array.null_count:
        nulls = array.is_null().to_numpy(zero_copy_only=False)
        words = [np.where(nulls, dtype.type(0), column) for column in words]
    return words


def words_array(kind: pa.DataType, words: Words, nulls: Mask | None) -> pa.Array:
    """An array of type `kind`, as wide as `words` together, with their bits; NULL at `nulls`."""
    validity = None if nulls is None else pa.py_buffer(np.packbits(~nulls, bitorder="little"))
    rows = len(words[0])
    if pa.types.is_boolean(kind):
        data = np.packbits(words[0].astype(np.bool_), bitorder="little")
    elif len(words) == 1:
        data = np.ascontiguousarray(words[0])
    else:
        data = np.empty((rows, len(words)), words[0].dtype)
        for place, column in enumerate(words):
            data[:, place] = column
    return pa.Array.from_buffers(kind, rows, [validity, pa.py_buffer(data)])
