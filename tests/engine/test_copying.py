"""Copies of arrays are of the moment when they were begun, whoever writes meanwhile."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from headrace.engine import copying as module
from headrace.engine import slot_array
from headrace.engine.freezing import Frozen
from headrace.engine.slot_array import SlotArray


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE_BYTES", 256)
    monkeypatch.setattr(slot_array, "_COPIED_AT_ONCE", 0)


def filled(size: int) -> SlotArray:
    array = SlotArray(np.int64, start=-1)
    array.reserve(size)
    array[:size] = np.arange(size)
    return array


@pytest.mark.parametrize("seed", range(20))
def test_what_was_there_is_copied_whatever_is_written_meanwhile(seed: int) -> None:
    random = np.random.default_rng(seed)
    size = int(random.integers(1, 3000))
    array = filled(size)
    frozen = Frozen(array)
    for _ in range(int(random.integers(1, 6))):
        slots = random.integers(0, size, int(random.integers(0, 200)))
        for write in random.permutation(6)[:3]:
            if write == 0:
                array[slots] = random.integers(0, 9, len(slots))
            elif write == 1:
                array.add(slots, 5)
            elif write == 2:
                array.apply(np.minimum, slots, np.full(len(slots), -7))
            elif write == 3:
                start = int(random.integers(0, size))
                array[start : start + 100] = 3
            elif write == 4:
                array.reserve(int(random.integers(1, 3 * size)))
                array[slots] = 4
            else:
                array.keep(np.arange(size)[::-1].copy())
    copy = frozen.thaw()
    assert copy.values[:size].tolist() == list(range(size))
    copy.keep(np.arange(size // 2))  # it is its own
    again = Frozen(array)
    now = array.values[:size].copy()
    array[:size] = 0
    assert (again.thaw().values[:size] == now).all()


def test_one_thread_copies_while_another_writes() -> None:
    size = 1 << 17
    for _ in range(10):
        array = filled(size)
        frozen = Frozen(array)
        copies: list[SlotArray] = []
        thread = threading.Thread(target=lambda frozen=frozen, copies=copies: copies.append(frozen.thaw()))
        random = np.random.default_rng(1)
        array.add(random.integers(0, size, 5000), 1)
        thread.start()
        while thread.is_alive():
            array.add(random.integers(0, size, 5000), 1)
        thread.join()
        assert (copies[0].values[:size] == np.arange(size)).all()
        assert not (array.values[:size] == np.arange(size)).all()


def test_a_copy_that_nobody_wants_any_more_is_forgotten() -> None:
    array = filled(5000)
    frozen = Frozen(array)
    array[:10] = 0
    assert array._copying is not None
    del frozen
    array[:10] = 1
    assert array._copying is None


def test_lists_and_objects_are_copied_and_what_does_not_change_is_shared() -> None:
    class Holder:
        """Not of the engine: shared."""

    other, values = Holder(), np.zeros(3)
    part = [{"a": [1, 2]}, other, values, filled(10)]
    copy = Frozen(part).thaw()
    part[0]["a"].append(3)  # type: ignore[index]
    assert copy[0] == {"a": [1, 2]}
    assert copy[1] is other
    assert copy[2] is values
