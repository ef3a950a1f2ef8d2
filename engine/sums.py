"""Sums by slot of integers and decimals, exact and such that rows can leave again; and what all sums have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.errors import DataError
from ..storage.hashing import fixed_values
from .delta import Weights
from .slot_array import Mask, SlotArray, Slots, distinct
from .words import Words, words_array

_NARROW_MAX = 1 << 62
_LIMB = np.int64(0xFFFFFFFF)
_DECIMAL_HIGH_MAX = 10**38 >> 64  # the high word of a total that still has 38 digits, or all but


class SlotState(ABC):
    """What is kept per slot while rows come and go.

    A slot that never saw a row, or whose rows have all gone, is as new.
    """

    @abstractmethod
    def reserve(self, size: int) -> None:
        """Make room for slots below `size`, and tidy up: what was read before may no longer become an array."""

    @abstractmethod
    def update(
        self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None, counts: npt.NDArray[np.int64]
    ) -> None:
        """Take in row i of `columns` for `slots[i]`, `weights[i]` times.

        `counts` says by slot how many rows it holds now, these included.
        """

    @abstractmethod
    def absorb(self, slots: Slots, other: SlotState, sources: Slots, counts: npt.NDArray[np.int64]) -> None:
        """Take in, for `slots[i]`, all that slot `sources[i]` of `other` holds; no rows can leave."""

    @abstractmethod
    def keep(self, slots: Slots) -> None:
        """Slot `slots[i]` becomes slot i; all others are gone."""

    @abstractmethod
    def snapshot(self, size: int) -> dict[str, pa.Table]:
        """The state of the slots below `size`."""

    @abstractmethod
    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        """Become the state that `snapshot` was taken of."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""


class Accumulator(SlotState):
    """The state of one aggregate of one column, none of whose values is NULL; it can be read at any time."""

    @abstractmethod
    def read(self, slots: Slots) -> Words:
        """The value of each of `slots`, in words that are equal where values are; anything where it holds no rows."""

    @abstractmethod
    def to_array(self, words: Words, nulls: Mask | None) -> pa.Array:
        """What `read` gave, as an Arrow array that is NULL at `nulls`."""

    def absorb(self, slots: Slots, other: SlotState, sources: Slots, counts: npt.NDArray[np.int64]) -> None:
        assert isinstance(other, Accumulator)
        self.update(slots, [other.to_array(other.read(sources), None)], None, counts)


class IntegerSum(Accumulator):
    """The exact sum of integers or decimals, read as DECIMAL(38, scale).

    State: 8 bytes a slot; from the day a sum might leave 62 bits, 32 bytes a slot: limbs of 32 bits, the last signed.
    Raises: DataError when a sum of more than 38 digits is read.
    """

    def __init__(self, kind: pa.DataType) -> None:
        self._scale = kind.scale if pa.types.is_decimal(kind) else 0
        self._narrow = SlotArray(np.int64)
        self._bound = 0  # no sum is further from zero
        self._limbs: list[SlotArray] | None = None

    def reserve(self, size: int) -> None:
        for array in self._limbs or [self._narrow]:
            array.reserve(size)

    def update(
        self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None, counts: npt.NDArray[np.int64]
    ) -> None:
        if not len(slots):
            return
        words = integer_words(columns[0])
        heaviest = 1 if weights is None else max(abs(int(weights.min())), abs(int(weights.max())))
        if len(words) == 1 and self._limbs is None:
            furthest = max(abs(int(words[0].min())), abs(int(words[0].max())))
            if self._fits(furthest * heaviest * len(slots)):
                self._narrow.add(slots, words[0] if weights is None else words[0] * weights)
                return
        assert heaviest * len(slots) < 1 << 30, "weights this large have no place in one delta"
        for limb, values_of in zip(self._widen(), _split(words), strict=True):
            limb.add(slots, values_of if weights is None else values_of * weights)
        self._carry(distinct(slots, len(counts)))

    def _fits(self, added: int) -> bool:
        if self._bound + added >= _NARROW_MAX:
            self._bound = int(np.abs(self._narrow.values).max())
        if self._bound + added >= _NARROW_MAX:
            return False
        self._bound += added
        return True

    def _widen(self) -> list[SlotArray]:
        if self._limbs is None:
            self._limbs = [SlotArray(np.int64) for _ in range(4)]
            for limb, values in zip(self._limbs, _split([self._narrow.values]), strict=True):
                limb.load(values)
            self._narrow = SlotArray(np.int64)
        return self._limbs

    def _carry(self, slots: Slots) -> None:
        """Bring all but the last limb back below 2^32."""
        assert self._limbs is not None
        for limb, above in zip(self._limbs[:-1], self._limbs[1:], strict=True):
            values = limb.values[slots]
            limb[slots] = values & _LIMB
            above[slots] = above.values[slots] + (values >> 32)

    def read(self, slots: Slots) -> Words:
        """The sum, or once it was widened its low and its high 64 bits."""
        if self._limbs is None:
            return [self._narrow.values[slots]]
        limbs = [limb.values[slots] for limb in self._limbs]
        if len(slots) and np.abs(limbs[3]).max() >= 1 << 31:
            raise self._overflow()
        return [limbs[0] | limbs[1] << 32, limbs[2] | limbs[3] << 32]

    def read_floats(self, slots: Slots) -> npt.NDArray[np.float64]:
        """The sums as doubles."""
        if self._limbs is None:
            floats = self._narrow.values[slots].astype(np.float64)
        else:
            floats = np.zeros(len(slots))
            for limb in reversed(self._limbs):
                floats = floats * 2.0**32 + limb.values[slots]
        return floats / 10.0**self._scale if self._scale else floats

    def to_array(self, words: Words, nulls: Mask | None) -> pa.Array:
        low, high = widened(words, 2)
        if len(words) == 2 and len(high) and max(-int(high.min()), int(high.max())) > _DECIMAL_HIGH_MAX:
            raise self._overflow()
        return words_array(pa.decimal128(38, self._scale), [low, high], nulls)

    def _overflow(self) -> DataError:
        return DataError(
            "cannot hold a sum of more than 38 digits", detail=f"A sum has the type DECIMAL(38, {self._scale})."
        )

    def keep(self, slots: Slots) -> None:
        for array in self._limbs or [self._narrow]:
            array.keep(slots)

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        return {"sum": slots_table(self._limbs or [self._narrow], size)}

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        columns = table_columns(snapshot["sum"])
        self._limbs = [SlotArray(np.int64) for _ in columns] if len(columns) == 4 else None
        for array, values in zip(self._limbs or [self._narrow], columns, strict=True):
            array.load(values)
        self._bound = _NARROW_MAX

    @property
    def bytes(self) -> int:
        return sum(array.bytes for array in self._limbs or [self._narrow])


def integer_words(array: pa.Array) -> Words:
    """Integers or decimals without NULL as one int64 column, or where that cannot hold them as low and high words."""
    kind = array.type
    if pa.types.is_boolean(kind):
        return [array.cast(pa.int8()).to_numpy().astype(np.int64)]
    if pa.types.is_uint64(kind):
        low = fixed_values(array, np.int64)
        return [low] if not len(low) or low.min() >= 0 else [low, np.zeros(len(low), np.int64)]
    if kind.bit_width <= 64:
        return [fixed_values(array, kind.to_pandas_dtype() if pa.types.is_integer(kind) else np.int64).astype(np.int64)]
    matrix = fixed_values(array, np.dtype((np.int64, (2,))))
    low, high = np.ascontiguousarray(matrix[:, 0]), matrix[:, 1]
    return [low] if np.array_equal(low >> 63, high) else [low, high]


def widened(words: Words, count: int) -> Words:
    """What was read of a sum, as `count` words; it may have been read before the sum was widened."""
    return words if len(words) == count else [*words, words[-1] >> 63]


def _split(words: Words) -> Words:
    """The four 32-bit limbs of 64-bit or 128-bit integers; all but the last are not negative."""
    low = words[0]
    high = widened(words, 2)[1]
    return [low & _LIMB, low >> 32 & _LIMB, high & _LIMB, high >> 32]


def slots_table(arrays: list[SlotArray], size: int) -> pa.Table:
    """The first `size` slots of each array as a column."""
    return pa.table({str(place): array.copied(size) for place, array in enumerate(arrays)})


def table_columns(table: pa.Table) -> Words:
    """What `slots_table` was given."""
    return [column.to_numpy() for column in table.columns]
