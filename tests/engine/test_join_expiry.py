"""Joins whose rows live for a time: as if each came, was paired once with who was there, and went, one by one."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, get_args

import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import row_lists, slotted_rows
from headrace.engine.join_side import JoinInput
from headrace.engine.operator import Time
from headrace.engine.operators.join import Join
from headrace.engine.operators.map import Map
from headrace.engine.time_bound import Kind
from headrace.sql.expressions import compile_map
from tests.laws import check_forgetting, delta_of, restored

LEFT = pa.schema([("k", pa.int64()), ("v", pa.int64())])
RIGHT = pa.schema([("rk", pa.int64()), ("rv", pa.int64())])
Row = tuple[Any, ...]
Ttls = tuple[int | None, int | None]
Dice = tuple[Row, int]  # a row that comes, or takes the place of one that goes
Epoch = tuple[int, list[tuple[int, list[Dice]]]]  # how much later it is, and what comes to which port


@functools.cache
def residual() -> Map:
    reads = pa.schema([*LEFT, *RIGHT])
    condition = sqlglot.parse_one("v < rv", read="duckdb")
    return compile_map([("k", sqlglot.exp.column("k"))], condition, reads, pa.schema([reads.field("k")]))


def make(kind: Kind, ttls: Ttls, *, keyed: bool, compared: bool) -> Join:
    paired = kind not in ("semi", "anti")
    left_keys, right_keys, safe = (("k",), ("rk",), (False,)) if keyed else ((), (), ())
    return Join(
        kind,
        JoinInput(LEFT, left_keys, safe, tuple(LEFT.names)),
        JoinInput(RIGHT, right_keys, safe, tuple(RIGHT.names) if paired else ()),
        pa.schema([*LEFT, *RIGHT]) if paired else LEFT,
        residual() if compared else None,
        pa.schema([*LEFT, *RIGHT]),
        ttls_us=ttls,
    )


@dataclass
class Kept:
    """A row of a side: when it came, and how many partners it has had that were not taken back."""

    row: Row
    came: int
    partners: int = 0


@dataclass
class Model:
    """The same with lists, a row at a time."""

    kind: Kind
    ttls: Ttls
    keyed: bool
    compared: bool
    sides: tuple[list[Kept], list[Kept]] = field(default_factory=lambda: ([], []))
    output: Counter[Row] = field(default_factory=Counter)

    def expire(self, clock: int) -> None:
        for side, ttl in zip(self.sides, self.ttls, strict=True):
            side[:] = [kept for kept in side if ttl is None or kept.came + ttl > clock]

    def come(self, port: int, row: Row, clock: int) -> None:
        kept = Kept(row, clock)
        for other in self.sides[1 - port]:
            if self._matched(port, kept, other):
                kept.partners += 1
                self._partner(1 - port, other, 1)
        self._tell(port, kept, 1)
        self.sides[port].append(kept)

    def go(self, port: int, place: int) -> Row:
        kept = self.sides[port].pop(place % len(self.sides[port]))
        self._tell(port, kept, -1)
        for other in self.sides[1 - port]:
            if self._matched(port, kept, other, -1):
                self._partner(1 - port, other, -1)
        return kept.row

    def _matched(self, port: int, kept: Kept, other: Kept, weight: int = 1) -> bool:
        """Whether they are a pair, which comes or goes."""
        left, right = (kept.row, other.row) if port == 0 else (other.row, kept.row)
        if not self._pair(left, right):
            return False
        if self.kind not in ("semi", "anti"):
            self.output[left + right] += weight
        return True

    def _partner(self, port: int, kept: Kept, change: int) -> None:
        self._tell(port, kept, -1)
        kept.partners += change
        self._tell(port, kept, 1)

    def _tell(self, port: int, kept: Kept, weight: int) -> None:
        """What comes out of a row by itself, given its partners."""
        if self.kind in (("left", "full", "anti"), ("right", "full"))[port] and not kept.partners:
            self.output[self._beside_nulls(port, kept.row)] += weight
        if self.kind == "semi" and port == 0 and kept.partners:
            self.output[kept.row] += weight

    def _pair(self, left: Row, right: Row) -> bool:
        if self.keyed and (left[0] is None or left[0] != right[0]):
            return False
        return not self.compared or (left[1] is not None and right[1] is not None and left[1] < right[1])

    def _beside_nulls(self, port: int, row: Row) -> Row:
        if self.kind == "anti":
            return row
        return (*row, None, None) if port == 0 else (None, None, *row)


ROW = st.tuples(st.sampled_from([None, 1, 2]), st.sampled_from([None, 1, 2, 3]))
COME = st.tuples(ROW, st.integers(0, 99))
EPOCHS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.tuples(st.integers(0, 1), st.lists(COME, max_size=4)), max_size=2)),
    max_size=8,
)
TTLS = st.sampled_from([(2, 2), (1, 4), (3, None), (None, 2)])


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("kind", get_args(Kind))
@settings(max_examples=25)
@given(epochs=EPOCHS, ttls=TTLS, gone_min=st.sampled_from([0, 256]))
def test_laws(kind: Kind, keyed: bool, compared: bool, epochs: list[Epoch], ttls: Ttls, gone_min: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slotted_rows, "_GONE_MIN", gone_min)
        patch.setattr(row_lists, "_WASTED_MIN", gone_min)
        check(kind, ttls, epochs, keyed=keyed, compared=compared)


CHANGING: list[tuple[Kind, int]] = [  # and the side that forgets nothing and whose rows may be retracted
    ("inner", 0), ("inner", 1), ("left", 1), ("right", 0), ("semi", 1), ("anti", 1),
]  # fmt: skip


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize(("kind", "changing"), CHANGING)
@settings(max_examples=25)
@given(epochs=EPOCHS, ttl=st.integers(1, 4))
def test_laws_of_rows_that_meet_a_table(
    kind: Kind, changing: int, compared: bool, epochs: list[Epoch], ttl: int
) -> None:
    ttls = (None, ttl) if changing == 0 else (ttl, None)
    check(kind, ttls, epochs, keyed=True, compared=compared, changing=changing)


def check(
    kind: Kind, ttls: Ttls, epochs: list[Epoch], *, keyed: bool, compared: bool, changing: int | None = None
) -> None:
    """As the model has it, also when it is restored after each epoch: nothing is taken back that is not there."""
    model = Model(kind, ttls, keyed, compared)
    operators = [make(kind, ttls, keyed=keyed, compared=compared) for _ in range(2)]
    sums: list[Counter[Row]] = [Counter(), Counter()]
    clock = 0
    for number, (later, changes) in enumerate(epochs, 1):
        clock += later
        time = Time(epoch=number, clock=clock)
        model.expire(clock)
        deltas = []
        for port, dice in changes:
            rows, weights = [], []
            for row, number_of_row in dice:
                if port == changing and number_of_row >= 50 and model.sides[port]:
                    row = model.go(port, number_of_row)
                    weights.append(-1)
                else:
                    model.come(port, row, clock)
                    weights.append(1)
                rows.append(row)
            deltas.append((port, delta_of((LEFT, RIGHT)[port], rows, weights if port == changing else None)))
        for operator, output in zip(operators, sums, strict=True):
            assert operator.expire(time) is None
            check_forgetting(operator, output, model.output, time, deltas)
        operators[1] = restored(operators[1], make(kind, ttls, keyed=keyed, compared=compared))
        assert operators[0].wake == operators[1].wake
