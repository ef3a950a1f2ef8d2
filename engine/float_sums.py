"""Sums of floats by slot: added up as they come, or exact where rows can leave again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.hashing import fixed_values
from .delta import Weights
from .exact_sums import Doubles, ExactSums
from .slot_array import Mask, SlotArray, Slots, where
from .specials import Specials
from .sums import Accumulator, slots_table, table_columns
from .words import Words, words_array

Floats = npt.NDArray[np.float64]


class FloatSum(Accumulator):
    """The sum of floats as DOUBLE."""

    def read(self, slots: Slots) -> Words:
        """The bits of the sum."""
        return [self.read_floats(slots).view(np.int64)]

    @abstractmethod
    def read_floats(self, slots: Slots) -> Floats:
        """The sums themselves."""

    def to_array(self, words: Words, nulls: Mask | None) -> pa.Array:
        return words_array(pa.float64(), words, nulls)


class GrowingFloatSum(FloatSum):
    """One addition per row, in the order of the rows, as DuckDB adds; no row can leave.

    State: 8 bytes a slot.
    """

    def __init__(self, kind: pa.DataType) -> None:
        self._dtype = kind.to_pandas_dtype()
        self._sum = SlotArray(np.float64)

    def reserve(self, size: int) -> None:
        self._sum.reserve(size)

    def update(
        self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None, counts: npt.NDArray[np.int64]
    ) -> None:
        floats = fixed_values(columns[0], self._dtype).astype(np.float64, copy=False)
        with np.errstate(invalid="ignore", over="ignore"):
            self._sum.add(slots, floats if weights is None else floats * weights)

    def read_floats(self, slots: Slots) -> Floats:
        floats: Floats = self._sum.values[slots]
        return floats

    def keep(self, slots: Slots) -> None:
        self._sum.keep(slots)

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        return {"sum": slots_table([self._sum], size)}

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        self._sum.load(table_columns(snapshot["sum"])[0])

    @property
    def bytes(self) -> int:
        return self._sum.bytes


class ExactFloatSum(FloatSum):
    """Exact, so that rows leave without a trace: rounded once, where it is read. NaN and infinities are apart.

    State: an exact sum a slot, and 24 bytes more from the first NaN or infinity on.
    """

    def __init__(self, kind: pa.DataType) -> None:
        self._dtype = kind.to_pandas_dtype()
        self._sums = ExactSums()
        self._specials = Specials()

    def reserve(self, size: int) -> None:
        self._sums.reserve(size)
        self._specials.reserve(size)

    def update(
        self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None, counts: npt.NDArray[np.int64]
    ) -> None:
        floats = fixed_values(columns[0], self._dtype).astype(np.float64, copy=False)
        finite = self._specials.take(slots, floats, weights)
        if finite is not None:
            rows = where(finite)
            slots, floats = slots[rows], floats[rows]
            weights = None if weights is None else weights[rows]
        self._sums.add(slots, Doubles(floats), weights)

    def read_floats(self, slots: Slots) -> Floats:
        return self._specials.added_to(self._sums.read(slots), slots)

    def keep(self, slots: Slots) -> None:
        self._sums.keep(slots)
        self._specials.keep(slots)

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        limbs = pa.table(self._sums.columns(size))
        return {"sum": limbs, "size": pa.table({"size": [size]}), "specials": slots_table(self._specials.arrays, size)}

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        limbs = snapshot["sum"]
        columns = {name: limbs.column(name).to_numpy() for name in limbs.column_names}
        self._sums.load(columns, snapshot["size"]["size"][0].as_py())
        self._specials.load(table_columns(snapshot["specials"]))

    @property
    def bytes(self) -> int:
        return self._sums.bytes + self._specials.bytes
