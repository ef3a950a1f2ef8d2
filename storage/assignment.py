"""Which consumer of a group reads which partitions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple


class TopicPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


Assignment = dict[str, set[TopicPartition]]  # by member


def assign(
    members: Mapping[str, Collection[str]],
    partitions: Mapping[str, int],
    previous: Mapping[str, Collection[TopicPartition]],
) -> Assignment:
    """Every partition of a topic that a member wants goes to one member that wants it.

    `members` says which topics each wants, `partitions` how many a topic has.
    Holds: members that want the same topics differ by at most one partition; as few partitions as possible move away
    from where they were in `previous`. From: Kafka's cooperative sticky assignor (KIP-54, KIP-429).
    """
    wanted = {topic for topics in members.values() for topic in topics if topic in partitions}
    free = [TopicPartition(topic, number) for topic in sorted(wanted) for number in range(partitions[topic])]
    assigned: Assignment = {member: set() for member in sorted(members)}
    taken: set[TopicPartition] = set()
    for member, kept in assigned.items():
        had = {TopicPartition(*place) for place in previous.get(member, ())}
        kept |= {place for place in free if place in had and place.topic in members[member]} - taken
        taken |= kept
    for place in free:
        if place not in taken:
            able = [member for member in assigned if place.topic in members[member]]
            assigned[min(able, key=lambda member: len(assigned[member]))].add(place)
    while _move_one(assigned, members):
        pass
    return assigned


def _move_one(assigned: Assignment, members: Mapping[str, Collection[str]]) -> bool:
    """Moves one partition from a member with many to one with at least two fewer; whether there was one."""
    by_load = sorted(assigned, key=lambda member: len(assigned[member]))
    for rich in reversed(by_load):
        for poor in by_load:
            if len(assigned[rich]) - len(assigned[poor]) < 2:
                break
            able = [place for place in sorted(assigned[rich]) if place.topic in members[poor]]
            if able:
                assigned[rich].remove(able[-1])
                assigned[poor].add(able[-1])
                return True
    return False
