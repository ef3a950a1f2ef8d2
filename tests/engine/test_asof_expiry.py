"""AsofJoin whose rows live for a time: as if each came, found or corrected what is there, and went, one by one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import key_index, slotted_rows
from headrace.engine.join_side import JoinInput
from headrace.engine.operator import Time
from headrace.engine.operators.asof_join import AsofJoin, AsofRule
from headrace.engine.versions import Versions
from tests.laws import check_forgetting, delta_of, restored

LEFT = pa.schema([("k", pa.int64()), ("lat", pa.int64())])
RIGHT = pa.schema([("rk", pa.int64()), ("rat", pa.int64()), ("v", pa.string())])
Row = tuple[Any, ...]
Ttls = tuple[int | None, int | None]
Epoch = tuple[int, list[tuple[int, list[tuple[Row, int]]]]]  # how much later, and what comes to which port, with dice


@dataclass
class Left:
    row: Row
    came: int
    version: Row | None


@dataclass
class Key:
    """What is there of one key. `came`: when a version of each time did that."""

    last: int
    start: int = -1
    versions: list[Row] = field(default_factory=list)
    came: dict[int, int] = field(default_factory=dict)


@dataclass
class Model:
    """The same with lists, a row at a time."""

    ttls: Ttls
    keyed: bool
    strict: bool
    outer: bool
    lefts: list[Left] = field(default_factory=list)
    keys: dict[Any, Key] = field(default_factory=dict)
    output: Counter[Row] = field(default_factory=Counter)

    def expire(self, clock: int) -> None:
        left_ttl, right_ttl = self.ttls
        if left_ttl is not None:
            self.lefts = [left for left in self.lefts if left.came + left_ttl > clock]
        if right_ttl is None:
            return
        for key in self.keys.values():
            key.start = max([key.start, *(time for time, came in key.came.items() if came + right_ttl <= clock)])
            key.versions = [row for row in key.versions if row[1] >= key.start]
            key.came = {time: came for time, came in key.came.items() if time >= key.start}
        if left_ttl is not None:
            ttl = max(left_ttl, right_ttl)
            self.keys = {name: key for name, key in self.keys.items() if key.last + ttl > clock}

    def left(self, row: Row, clock: int) -> None:
        known = row[1] is not None and (row[0] is not None or not self.keyed)
        left = Left(row, clock, self._nearest(row, self._key(row, clock).versions) if known else None)
        self._tell(left, 1)
        if known:
            self.lefts.append(left)

    def right(self, row: Row, clock: int) -> bool:
        """Whether it comes."""
        if row[1] is None or (row[0] is None and self.keyed):
            return False
        key = self._key(row, clock)
        if row[1] < key.start:
            return False
        key.came.setdefault(row[1], clock)
        key.versions.append(row)
        for left in self._beside(row):
            self._correct(left, self._nearest(left.row, [row] if left.version is None else [left.version, row]))
        return True

    def retract(self, row: Row, clock: int) -> None:
        key = self._key(row, clock)
        key.versions.remove(row)
        for left in self._beside(row):
            self._correct(left, self._nearest(left.row, key.versions))

    def _beside(self, row: Row) -> list[Left]:
        return [left for left in self.lefts if left.row[0] == row[0] or not self.keyed]

    def _key(self, row: Row, clock: int) -> Key:
        key = self.keys.setdefault(row[0] if self.keyed else 0, Key(clock))
        key.last = clock
        return key

    def _nearest(self, row: Row, versions: list[Row]) -> Row | None:
        before = [each for each in versions if each[1] < row[1] + (not self.strict)]
        return max(
            before, key=lambda each: [each[1], *((value is not None, value or 0) for value in each)], default=None
        )

    def _correct(self, left: Left, version: Row | None) -> None:
        self._tell(left, -1)
        left.version = version
        self._tell(left, 1)

    def _tell(self, left: Left, weight: int) -> None:
        if left.version is not None or self.outer:
            self.output[left.row + (left.version or (None, None, None))] += weight


DICE = st.integers(0, 99)
TIME = st.sampled_from([None, 1, 2, 3, 4, 5])
KEY = st.sampled_from([None, 1, 1, 2])
COMES = st.one_of(
    st.tuples(st.just(0), st.lists(st.tuples(st.tuples(KEY, TIME), DICE), max_size=4)),
    st.tuples(
        st.just(1), st.lists(st.tuples(st.tuples(KEY, TIME, st.sampled_from([None, "a", "b"])), DICE), max_size=4)
    ),
)
STORED = st.sampled_from([1, 1 << 16])  # with so many rows a checkpoint has their orders
EPOCHS = st.lists(st.tuples(st.integers(0, 3), st.lists(COMES, max_size=3)), max_size=8)


@pytest.mark.parametrize("ttls", [(2, 2), (1, 3), (3, 1), (2, None), (None, 2)])
@pytest.mark.parametrize("keyed", [True, False])
@settings(max_examples=40)
@given(epochs=EPOCHS, strict=st.booleans(), outer=st.booleans(), gone_min=st.sampled_from([0, 256]), stored=STORED)
def test_laws(
    ttls: Ttls, keyed: bool, epochs: list[Epoch], strict: bool, outer: bool, gone_min: int, stored: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slotted_rows, "_GONE_MIN", gone_min)
        patch.setattr(key_index, "STORED_KEYS", stored)
        check(Model(ttls, keyed, strict, outer), epochs, changing=False)


@settings(max_examples=40)
@given(epochs=EPOCHS, outer=st.booleans(), gone_min=st.sampled_from([0, 256]), stored=STORED)
def test_left_rows_go_while_versions_are_retracted(
    epochs: list[Epoch], outer: bool, gone_min: int, stored: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slotted_rows, "_GONE_MIN", gone_min)
        patch.setattr(key_index, "STORED_KEYS", stored)
        check(Model((2, None), True, False, outer), epochs, changing=True)


def asof_join(model: Model) -> AsofJoin:
    keys, safe = ((("k",), ("rk",)), (False,)) if model.keyed else (((), ()), ())
    return AsofJoin(
        AsofRule("lat", "rat", model.strict),
        JoinInput(LEFT, keys[0], safe, tuple(LEFT.names)),
        JoinInput(RIGHT, keys[1], safe, tuple(RIGHT.names)),
        pa.schema([*LEFT, *RIGHT]),
        outer=model.outer,
        final=False,
        ttls_us=model.ttls,
    )


def check(model: Model, epochs: list[Epoch], *, changing: bool) -> None:
    """As the model has it, also when it is restored after each epoch: nothing is taken back that is not there."""

    operators = [asof_join(model) for _ in range(2)]
    sums: list[Counter[Row]] = [Counter(), Counter()]
    present: list[Row] = []  # of the right, to be retracted
    clock = 0
    for number, (later, comes) in enumerate(epochs, 1):
        clock += later
        time = Time(epoch=number, clock=clock)
        model.expire(clock)
        deltas = []
        for port, dice in comes:
            rows, weights = [], []
            for row, die in dice:
                weight = 1
                if port == 0:
                    model.left(row, clock)
                elif changing and die >= 50 and present:
                    row, weight = present.pop(die % len(present)), -1
                    model.retract(row, clock)
                elif model.right(row, clock):
                    present.append(row)
                rows.append(row)
                weights.append(weight)
            deltas.append((port, delta_of((LEFT, RIGHT)[port], rows, weights if changing and port else None)))
        for operator, output in zip(operators, sums, strict=True):
            if operator.wake is not None and operator.wake <= clock:
                assert operator.expire(time) is None
            check_forgetting(operator, output, model.output, time, deltas)
        operators[1] = restored(operators[1], asof_join(model))


def test_left_rows_that_go_do_not_let_all_versions_be_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    numbered = []
    compact = Versions.compact
    monkeypatch.setattr(Versions, "compact", lambda self: numbered.append(self) or compact(self))
    operator = asof_join(Model((1, None), True, False, True))
    operator.process(delta_of(RIGHT, [(number, 0, "a") for number in range(3000)]), 1)
    for clock in range(60):  # each with keys of its own
        time = Time(epoch=clock, clock=clock)
        if operator.wake is not None and operator.wake <= clock:
            operator.expire(time)
        operator.process(delta_of(LEFT, [(1_000_000 + 300 * clock + number, 1) for number in range(300)]))
        operator.advance(time)
        if clock < 10:
            assert numbered == []
    assert 3 < len(numbered) <= 6
    assert operator._versions.slots_end < 7000, "keys that are gone are never forgotten"
