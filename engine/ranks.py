"""Values as integers in the same order: what sorting and choosing by any type is done with. NaN is greatest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..storage.hashing import fixed_values
from .sums import integer_words
from .words import fixed_words


def ranks(values: pa.Array) -> npt.NDArray[np.int64]:
    """Integers in the order of the values, equal where these are; anything where there is NULL."""
    if values.null_count:
        found = np.zeros(len(values), np.int64)
        found[values.is_valid().to_numpy(zero_copy_only=False)] = ranks(values.drop_null())
        return found
    kind = values.type
    if pa.types.is_floating(kind):
        dtype = np.dtype(f"i{kind.bit_width // 8}")
        bits = fixed_words(values, dtype, 1)[0].astype(np.int64)
        return np.where(bits < 0, np.iinfo(dtype).min - bits, bits)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal128(kind):
        words = integer_words(values)
        if len(words) == 1:
            return words[0]
    elif pa.types.is_primitive(kind):
        return fixed_values(values, f"i{kind.bit_width // 8}").astype(np.int64)
    dense: npt.NDArray[np.int64] = pc.rank(values, tiebreaker="dense").to_numpy().astype(np.int64)
    return dense
