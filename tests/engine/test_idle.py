"""Idle: slots are told as expired as if each one's last touch stood in a dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.idle import Idle


@given(
    st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 6), max_size=4), st.booleans()), max_size=20),
    st.integers(1, 4),
)
def test_slots_expire_as_in_a_dictionary(epochs: list[tuple[int, list[int], bool]], ttl: int) -> None:
    idle, model, clock = Idle(ttl), dict[int, int](), 0
    for passed, touched, renumber in epochs:
        clock += passed
        expired = idle.expire(clock)
        gone = [slot for slot, last in model.items() if last + ttl <= clock]
        assert sorted(expired.tolist()) == sorted(gone)
        for slot in gone:
            del model[slot]
        idle.touch(np.array(touched, np.int64))
        idle.stamp(clock)
        model |= dict.fromkeys(touched, clock)
        if model:
            assert idle.wake is not None
            assert idle.wake <= min(model.values()) + ttl
        if renumber:
            kept = np.array(sorted(model), np.int64)
            again = Idle(ttl)
            again.load(np.arange(len(kept)), idle.times(kept))
            idle.keep(kept)
            model = {place: model[slot] for place, slot in enumerate(kept.tolist())}
            idle = again if passed % 2 else idle
