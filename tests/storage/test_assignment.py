"""The plan of a consumer group: every partition once, shared evenly, and moved only where it must be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.storage.assignment import TopicPartition, assign

members = st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from(["x", "y", "z"]), min_size=1), min_size=1)


@settings(max_examples=150)
@given(before=members, after=members, counts=st.fixed_dictionaries({t: st.integers(1, 7) for t in "xyz"}))
def test_partitions_are_shared_fairly_and_move_little(
    before: dict[str, set[str]], after: dict[str, set[str]], counts: dict[str, int]
) -> None:
    first = assign(before, counts, {})
    second = assign(after, counts, first)
    for assigned, wanting in ((first, before), (second, after)):
        given_out = [place for places in assigned.values() for place in places]
        wanted = {topic for topics in wanting.values() for topic in topics}
        assert sorted(given_out) == sorted(TopicPartition(t, n) for t in wanted for n in range(counts[t]))
        for rich, places in assigned.items():
            assert {place.topic for place in places} <= wanting[rich]
            for poor in assigned:
                movable = [place for place in places if place.topic in wanting[poor]]
                assert not movable or len(places) - len(assigned[poor]) < 2
    assert assign(after, counts, second) == second
    if before.keys() < after.keys() and all(topics == {"x"} for topics in [*before.values(), *after.values()]):
        stayed = sum(len(first[member] & second[member]) for member in first)
        assert stayed == sum(min(len(first[member]), len(second[member])) for member in first)
