"""Values of at most 64 bits folded into one per slot as they come: least, greatest, and the bits they share or have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.hashing import fixed_values
from .delta import Weights
from .slot_array import Mask, SlotArray, Slots, where
from .sums import Accumulator, slots_table, table_columns
from .words import Words, words_array


class Fold(Accumulator):
    """What a ufunc makes of all values of a slot, `start` being what it makes of none. Rows never go.

    State: one value a slot.
    """

    def __init__(self, kind: pa.DataType, dtype: np.dtype[Any], fold: np.ufunc, start: object) -> None:
        self._kind = kind
        self._dtype = dtype
        self._fold = fold
        self._values = SlotArray(dtype, start)

    def reserve(self, size: int) -> None:
        self._values.reserve(size)

    def update(
        self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None, counts: npt.NDArray[np.int64]
    ) -> None:
        with np.errstate(invalid="ignore"):
            self._values.apply(self._fold, slots, fixed_values(columns[0], self._dtype))

    def read(self, slots: Slots) -> Words:
        return [self._values.values[slots].view(f"i{self._dtype.itemsize}")]

    def to_array(self, words: Words, nulls: Mask | None) -> pa.Array:
        return words_array(self._kind, words, nulls)

    def keep(self, slots: Slots) -> None:
        self._values.keep(slots)

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        return {"fold": slots_table([self._values], size)}

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        self._values.load(table_columns(snapshot["fold"])[0])

    @property
    def bytes(self) -> int:
        return self._values.bytes


class Parity(Fold):
    """The bits that an odd number of values have; rows can go, since twice the same bit is none.

    State: one value a slot.
    """

    def update(
        self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None, counts: npt.NDArray[np.int64]
    ) -> None:
        values = fixed_values(columns[0], self._dtype)
        if weights is not None:
            odd = where((weights & 1).astype(np.bool_))
            slots, values = slots[odd], values[odd]
        self._values.apply(self._fold, slots, values)


def fixed_extreme(side: Literal["min", "max"], kind: pa.DataType) -> Fold:
    """The least or greatest value; NaN is greater than every other float."""
    least = side == "min"
    if pa.types.is_floating(kind):
        dtype = np.dtype(kind.to_pandas_dtype())
        # fmin passes NaN over, maximum takes it
        return Fold(kind, dtype, np.fmin, np.nan) if least else Fold(kind, dtype, np.maximum, -np.inf)
    dtype = _integers(kind)
    limits = np.iinfo(dtype)
    return Fold(kind, dtype, np.minimum, limits.max) if least else Fold(kind, dtype, np.maximum, limits.min)


def bits(name: str, kind: pa.DataType) -> Fold:
    """The bits that all values of an integer type have ('bit_and'), that one has ('bit_or'), or Parity ('bit_xor')."""
    dtype = _integers(kind)
    if name == "bit_xor":
        return Parity(kind, dtype, np.bitwise_xor, 0)
    if name == "bit_or":
        return Fold(kind, dtype, np.bitwise_or, 0)
    assert name == "bit_and"
    return Fold(kind, dtype, np.bitwise_and, np.invert(np.zeros(1, dtype))[0])


def _integers(kind: pa.DataType) -> np.dtype[Any]:
    return np.dtype(f"{'u' if pa.types.is_unsigned_integer(kind) else 'i'}{kind.bit_width // 8}")
