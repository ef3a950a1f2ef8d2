"""Exact sums of doubles, and of products of two of them, by slot: what comes and goes leaves no trace of rounding.

A double is an integer of 53 bits times a power of two. Its sum is kept as one long integer per slot, in limbs of 32
bits over the range of powers that have occurred; a product of two doubles is an integer of 106 bits and goes the same
way. Whole numbers that are small enough, as most are, wait in one integer of 64 bits a slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..storage.memory import current
from .delta import Weights
from .slot_array import SlotArray, Slots, where

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.int64]

_LIMB_BITS = 32
_LIMB = np.int64(0xFFFFFFFF)
_HALF_BITS = 27  # the low half of a mantissa; the high half has 26 bits and the sign
_HALF = np.int64((1 << _HALF_BITS) - 1)
_WHOLE_MAX = float(1 << 53)
_WAITING_MAX = float(1 << 62)  # of 64 bits: what whole numbers may add up to before they are put into limbs
_PENDING_MAX = 1 << 28  # so many numbers may be added before limbs of 64 bits must be carried
_SLOTS_MIN = 64
_PIECE = 1 << 18  # slots gone through at once
_READ = 1 << 15  # slots whose digits are multiplied at once


class Doubles:
    """Finite doubles as mantissas times powers of two: `mantissas * 2.0 ** powers`, the mantissas below 2^53.

    Where all are `whole` they have the power 0, and then the powers are one number for all.
    """

    def __init__(self, values: Floats) -> None:
        self.mantissas: Integers
        self.powers: Integers
        self.largest = max(float(values.max()), -float(values.min())) if len(values) else 0.0
        self.whole = self.largest <= _WHOLE_MAX
        if self.whole:
            self.mantissas, self.powers = values.astype(np.int64), np.zeros(1, np.int64)
            self.whole = bool((self.mantissas == values).all())
        if not self.whole:
            fractions, powers = np.frexp(values)
            self.mantissas = np.ldexp(fractions, 53).astype(np.int64)
            self.powers = powers.astype(np.int64) - 53


class ExactSums:
    """One exact sum per slot.

    State: 8 bytes a slot, and 8 a slot and limb; no limbs for whole numbers whose sum stays below 2^62, else as many as
    the powers of two among the numbers make necessary, mostly 3 for sums and 6 for sums of products.
    From: Kulisch, "Computer Arithmetic and Validity" (2008), chapter 8; Neal, "Fast Exact Summation Using Small and
    Large Superaccumulators" (2015).
    """

    def __init__(self, slots: int = _SLOTS_MIN) -> None:
        self._slots = 0
        self._room = 0  # limbs a slot
        self._cells = SlotArray(np.int64)  # the limbs of slot 0, the lowest first, then those of slot 1, ...
        self._low = 0  # the first limb counts multiples of 2 ** (32 * _low)
        self._pending = 0  # how many numbers were added since the limbs were carried
        self._waiting = SlotArray(np.int64)  # to be added to the limbs
        self._waiting_sum = 0.0  # no slot's is more than this, or less than minus this
        self.reserve(slots)

    def reserve(self, size: int) -> None:
        """Make room for slots below `size`."""
        if size > self._slots:
            self._slots = size
            self._cells.reserve(size * self._room)
            self._waiting.reserve(size)

    @property
    def _limbs(self) -> Matrix:
        """The limbs of each slot. A view: what is written there counts."""
        return self._cells.values[: self._slots * self._room].reshape(self._slots, self._room)

    def add(self, slots: Slots, values: Doubles, weights: Weights | None) -> None:
        """Add `values[i]` to `slots[i]`, `weights[i]` times."""
        if values.whole and self._waits(values.largest, len(slots), weights):
            self._waiting.add(slots, values.mantissas if weights is None else values.mantissas * weights)
            return
        self._add(slots, values.mantissas, values.powers, weights)

    def add_products(self, slots: Slots, left: Doubles, right: Doubles, weights: Weights | None) -> None:
        """Add `left[i] * right[i]` to `slots[i]`, `weights[i]` times."""
        if left.whole and right.whole and self._waits(left.largest * right.largest, len(slots), weights):
            products = left.mantissas * right.mantissas
            self._waiting.add(slots, products if weights is None else products * weights)
            return
        powers = left.powers + right.powers
        left_high, left_low = left.mantissas >> _HALF_BITS, left.mantissas & _HALF
        if left is right:
            right_high, right_low, middle = left_high, left_low, 2 * left_high * left_low
        else:
            right_high, right_low = right.mantissas >> _HALF_BITS, right.mantissas & _HALF
            middle = left_high * right_low + left_low * right_high
        low, high = left_low * right_low, left_high * right_high
        low += (middle & _HALF) << _HALF_BITS
        high += middle >> _HALF_BITS
        self._add(slots, low, powers, weights)
        if high.any():
            self._add(slots, high, powers + 2 * _HALF_BITS, weights)

    def absorb(self, slots: Slots, other: ExactSums, sources: Slots) -> None:
        """Add what slot `sources[i]` of `other` holds to `slots[i]`."""
        digits, low = other._carried(sources)
        if not digits.shape[1]:
            return
        first = self._make_room(low, low + digits.shape[1], len(slots))
        cells = slots * self._room + first
        for limb in range(digits.shape[1]):
            self._cells.add(cells + limb, digits[:, limb])

    def _waits(self, largest: float, rows: int, weights: Weights | None) -> bool:
        """Whether so many numbers, none above `largest`, can wait; afterwards there is room for them."""
        heaviest = (
            1.0 if weights is None else max(abs(float(weights.min(initial=0))), abs(float(weights.max(initial=0))))
        )
        added = largest * rows * heaviest
        if added > _WAITING_MAX:
            return False
        if self._waiting_sum + added > _WAITING_MAX:
            for start in range(0, self._slots, _PIECE):
                waiting = self._waiting.values[start : start + _PIECE]
                places = where(waiting)
                integers = waiting[places]
                self._waiting[start + places] = 0
                self._add(start + places, integers & _LIMB, np.zeros(1, np.int64), None)
                self._add(start + places, integers >> _LIMB_BITS, np.full(1, _LIMB_BITS), None)
            self._waiting_sum = 0.0
        self._waiting_sum += added
        return True

    def _add(self, slots: Slots, integers: Integers, powers: Integers, weights: Weights | None) -> None:
        """Add `integers * 2.0 ** powers`, the integers below 2^56."""
        if not len(integers):
            return
        heaviest = 1 if weights is None else max(abs(int(weights.min())), abs(int(weights.max())))
        limbs, shifts = powers >> 5, powers & 31
        first = self._make_room(int(limbs.min()), int(limbs.max()) + 3, heaviest * len(slots))
        below, above = (integers & _LIMB) << shifts, (integers >> _LIMB_BITS) << shifts
        digits = [below & _LIMB, (below >> _LIMB_BITS) + (above & _LIMB), above >> _LIMB_BITS]
        cells = slots * self._room + (first + (limbs - int(limbs.min())))
        for place, digit in enumerate(digits):
            if place < 2 or digit.any():
                self._cells.add(cells + place, digit if weights is None else digit * weights)

    def _make_room(self, start: int, end: int, added: int) -> int:
        """Have the limbs `[start, end)` and room in them for `added` numbers; the place of limb `start`."""
        assert added < _PENDING_MAX, "so many rows, or weights this large, have no place in one delta"
        if self._pending + added > _PENDING_MAX:
            limbs = self._limbs
            for some in self._pieces():
                self._cells.touch(slice(some.start * self._room, some.stop * self._room))
                limbs[some] = _carry(limbs[some])
            self._pending = 0
        self._pending += added
        room = self._room
        if not room:
            self._low = start
        low, high = min(self._low, start), max(self._low + room, end)
        if high - low > room:
            limbs, first = self._limbs, self._low - low
            self._begin(self._slots, high - low)
            self._limbs[:, first : first + room] = limbs
            self._low = low
        return start - self._low

    def _begin(self, slots: int, room: int) -> None:
        """Have other limbs, all of them zero."""
        self._slots, self._room, self._cells = slots, room, SlotArray(np.int64)
        self._cells.reserve(slots * room)

    def _pieces(self) -> Iterator[slice]:
        """All slots, so many at once that what is made of them takes little memory."""
        for start in range(0, self._slots, _PIECE):
            yield slice(start, min(start + _PIECE, self._slots))

    def _carried(self, slots: Slots) -> tuple[Matrix, int]:
        """The limbs of `slots`, all but the last between 0 and 2^32, the last with the sign; and which the first is."""
        room = self._room
        if not self._waiting_sum:
            return (_carry(np.pad(self._limbs[slots], ((0, 0), (0, 1)))) if room else self._limbs[slots]), self._low
        waiting = self._waiting.values[slots]
        low, high = (min(self._low, 0), max(self._low + room, 2)) if room else (0, 2)
        limbs = np.zeros((len(slots), high - low + 1), np.int64)
        limbs[:, self._low - low : self._low - low + room] = self._limbs[slots]
        limbs[:, -low] += waiting & _LIMB
        limbs[:, 1 - low] += waiting >> _LIMB_BITS
        return _carry(limbs), low

    def read(self, slots: Slots) -> Floats:
        """The sums, each as a double next to it."""
        return _floats(*self._carried(slots))

    def less_product(self, slots: Slots, factors: Floats, others: ExactSums) -> Floats:
        """The sums of `slots` less `factors[i]` times the sums of `others`: exact but for one rounding at the end."""
        if len(slots) > _READ:
            places = [slice(start, start + _READ) for start in range(0, len(slots), _READ)]
            return np.concatenate([self.less_product(slots[some], factors[some], others) for some in places])
        result = ExactSums(len(slots))
        rows = np.arange(len(slots))
        result.absorb(rows, self, slots)
        digits, low = others._carried(slots)
        if digits.shape[1]:
            numbers = Doubles(factors)
            count = digits.shape[1]
            powers = np.broadcast_to(numbers.powers, len(slots)) + _LIMB_BITS * low
            steps = np.repeat(powers, count) + np.tile(np.arange(count) * _LIMB_BITS, len(slots))
            owners = np.repeat(rows, count)
            for half, power in ((numbers.mantissas & _HALF, 0), (numbers.mantissas >> _HALF_BITS, _HALF_BITS)):
                products = -(digits * half[:, None]).reshape(-1)  # below 2^60: in two steps
                result._add(owners, products & _LIMB, steps + power, None)
                result._add(owners, products >> _LIMB_BITS, steps + power + _LIMB_BITS, None)
        return result.read(rows)

    def less_multiple(self, slots: Slots, factors: Floats, counts: Integers) -> Floats:
        """The sums of `slots` less `factors[i] * counts[i]`, the counts below 2^31; exact but for one rounding."""
        result = ExactSums(len(slots))
        rows = np.arange(len(slots))
        result.absorb(rows, self, slots)
        numbers = Doubles(factors)
        powers = np.broadcast_to(numbers.powers, len(slots))
        for half, power in ((numbers.mantissas & _HALF, 0), (numbers.mantissas >> _HALF_BITS, _HALF_BITS)):
            products = -half * counts
            result._add(rows, products & _LIMB, powers + power, None)
            result._add(rows, products >> _LIMB_BITS, powers + power + _LIMB_BITS, None)
        return result.read(rows)

    def keep(self, slots: Slots) -> None:
        """Slot `slots[i]` becomes slot i; all others are gone."""
        limbs = self._limbs
        self._begin(max(_SLOTS_MIN, len(slots)), self._room)
        kept = self._limbs
        for start in range(0, len(slots), _PIECE):
            some = slots[start : start + _PIECE]
            kept[start : start + len(some)] = limbs[some]
        self._waiting.keep(slots)
        self._waiting.reserve(self._slots)

    def columns(self, size: int) -> dict[str, npt.NDArray[Any]]:
        """The limbs of the slots below `size`, by the power of 2^32 that each counts."""
        low, columns = self._low, list[Integers]()
        for start in range(0, size, _PIECE):
            limbs, low = self._carried(np.arange(start, min(start + _PIECE, size)))
            columns = columns or [current().array(size, np.int64) for _ in range(limbs.shape[1])]
            for column, digits in zip(columns, limbs.T, strict=True):
                column[start : start + len(digits)] = digits
        while len(columns) > 1 and max(int(columns[-1].max()), -int(columns[-1].min())) < _PENDING_MAX:
            for start in range(0, size, _PIECE):  # it has a place below
                columns[-2][start : start + _PIECE] += columns[-1][start : start + _PIECE] << _LIMB_BITS
            columns.pop()
        return {str(low + place): column for place, column in enumerate(columns)}

    def load(self, columns: dict[str, npt.NDArray[Any]], size: int) -> None:
        """Become the sums of `size` slots that `columns` was taken of."""
        self._begin(max(_SLOTS_MIN, size), len(columns))
        self._low = min(map(int, columns), default=0)
        limbs = self._limbs
        for power, values in columns.items():
            limbs[:size, int(power) - self._low] = values
        self._pending = _PENDING_MAX
        self._waiting, self._waiting_sum = SlotArray(np.int64), 0.0
        self._waiting.reserve(self._slots)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._cells.bytes + self._waiting.bytes


def _carry(limbs: Matrix) -> Matrix:
    """The same sums with all but the last limb between 0 and 2^32."""
    carried = limbs.copy()
    for limb in range(carried.shape[1] - 1):
        carried[:, limb + 1] += carried[:, limb] >> _LIMB_BITS
        carried[:, limb] &= _LIMB
    return carried


def _floats(digits: Matrix, low: int) -> Floats:
    """Carried limbs as doubles."""
    floats = np.zeros(len(digits))
    if not digits.shape[1]:
        return floats
    negative = digits[:, -1] < 0
    if negative.any():  # -1 has a borrow in its last limb, however far that is
        digits = _carry(np.where(negative[:, None], -digits, digits))
    with np.errstate(over="ignore"):
        for limb in reversed(range(digits.shape[1])):
            floats += np.ldexp(digits[:, limb].astype(np.float64), _LIMB_BITS * (low + limb))
    return np.where(negative, -floats, floats)
