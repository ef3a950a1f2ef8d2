"""The files of a consumer group: who is in it, who reads what, and how far each partition is done."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from .assignment import TopicPartition, assign
from .document import load_document, save_document
from .errors import CorruptionError, OperationalError
from .files import (
    File,
    exists,
    list_folder,
    make_folder,
    remove_file,
    sign,
    signature,
    sync_folder,
    try_lock,
    wait_for_lock,
)
from .group_offsets import SLOT_BYTES, Committed, last_committed, offsets_file, place_name, read_offsets
from .naming import checked_folder_name, original_name
from .readable import ReadableFolder


class GroupPartition(NamedTuple):
    """What a group has committed of one partition, who reads it now, and how many rows are not done yet."""

    group: str
    topic: str
    partition: int
    committed: int | None
    time: int | None
    end_offset: int
    lag: int
    member: str | None


class Membership:
    """One consumer's place in a group.

    A member is alive while it holds the lock of its file in `members/`, which the system frees when its process ends in
    any way. A partition is read by whoever holds the lock of its file in `owners/`: the plan in `assignment.json` says
    whose turn it is, the lock that the turn has come. Who comes, goes, or finds another gone makes the plan anew.
    """

    def __init__(self, path: Path, group: str, topics: Sequence[str], *, durable: bool) -> None:
        self.folder = path / "consumers" / checked_folder_name(group, "consumer group")
        self.id = uuid.uuid4().hex[:12]
        self._topics = tuple(topics)
        self._durable = durable
        self._plan = self.folder / "assignment.json"
        self._seen: tuple[int, int, int] | None = None
        self._members: dict[str, dict[str, list]] = {}  # type: ignore[type-arg]
        self._others: tuple[str, ...] = ()
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._owned: dict[TopicPartition, File] = {}
        self._offsets: dict[TopicPartition, tuple[File, int]] = {}  # and the sequence to write next
        for name in ("members", "owners", "offsets"):
            make_folder(self.folder / name, durable=durable)
        with closing(wait_for_lock(self.folder / "LOCK")):
            self._alive: File | None = wait_for_lock(self.folder / "members" / self.id)

    def assigned(self, partitions: Mapping[str, int]) -> frozenset[TopicPartition]:
        """What is this member's to read by the plan, which is made anew if somebody came or went."""
        seen = signature(self._plan)
        if seen is None or seen != self._seen:
            self._read_plan()
        if self.id not in self._members or any(_gone(self.folder, other) for other in self._others):
            self._make_plan(partitions)
        return self._assigned

    def take(self, place: TopicPartition) -> bool:
        """Whether this member has the partition for itself now."""
        if place not in self._owned:
            path = self.folder / "owners" / place_name(place)
            if not exists(path):
                with closing(wait_for_lock(self.folder / "LOCK")):
                    File(path, create=True).close()
            owner = try_lock(path)
            if owner is None:
                return False
            self._owned[place] = owner
            sign(owner, self.id)
        return True

    def give_up(self, place: TopicPartition) -> None:
        """Another may have the partition."""
        offsets = self._offsets.pop(place, None)
        if offsets is not None:
            offsets[0].close()
        owner = self._owned.pop(place, None)
        if owner is not None:
            owner.close()

    def committed(self, place: TopicPartition) -> Committed | None:
        """What was committed last, by any member.

        Raises: CorruptionError if nobody can tell any more.
        """
        return last_committed(offsets_file(self.folder, place))

    def check(self, place: TopicPartition) -> None:
        """Raises: OperationalError if the partition is not this member's now."""
        if place not in self._owned:
            raise OperationalError(
                f'could not commit partition {place.partition} of "{place.topic}": another consumer reads it now',
                detail="The group has shared its partitions anew since; what was not committed is delivered again.",
                hint="Go on with poll().",
            )

    def commit(self, place: TopicPartition, offset: int, created: int) -> None:
        """All rows before `offset` are done, and stay so after any crash once this returns.

        Raises: OperationalError, also if the partition is another's now.
        """
        self.check(place)
        if place not in self._offsets:
            self._offsets[place] = self._open_offsets(place)
        file, sequence = self._offsets[place]
        done = Committed(sequence, offset, created, time.time_ns() // 1000)
        content = done.encode()
        file.write([content], len(content), done.position)
        if self._durable:
            file.sync()
        self._offsets[place] = file, sequence + 1

    def leave(self) -> None:
        """Others may have all partitions at once. Leaving twice is harmless."""
        if self._alive is None:
            return
        for place in list(self._owned):
            self.give_up(place)
        alive, self._alive = self._alive, None
        alive.close()
        remove_file(self.folder / "members" / self.id)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _read_plan(self) -> None:
        self._seen = signature(self._plan)
        self._members = _planned(self._plan)
        self._others = tuple(member for member in self._members if member != self.id)
        mine = self._members.get(self.id, {}).get("partitions", ())
        self._assigned = frozenset(TopicPartition(*place) for place in mine)

    def _make_plan(self, partitions: Mapping[str, int]) -> None:
        """The members that are alive share the partitions anew. Who wants topics unknown here keeps those it has."""
        with closing(wait_for_lock(self.folder / "LOCK")):
            known = _planned(self._plan)
            alive = {member: list(entry["topics"]) for member, entry in known.items() if member != self.id}
            for member in [member for member in alive if _gone(self.folder, member)]:
                del alive[member]
                remove_file(self.folder / "members" / member)
            alive[self.id] = list(self._topics)
            had = {member: [TopicPartition(*p) for p in entry["partitions"]] for member, entry in known.items()}
            counts = dict(partitions)
            for place in (place for places in had.values() for place in places):
                counts[place.topic] = max(counts.get(place.topic, 0), place.partition + 1)
            assigned = assign(alive, counts, had)
            members = {
                member: {"topics": topics, "partitions": sorted(assigned[member])} for member, topics in alive.items()
            }
            save_document(self._plan, {"members": members}, durable=False)
            self._read_plan()

    def _open_offsets(self, place: TopicPartition) -> tuple[File, int]:
        path = offsets_file(self.folder, place)
        last = last_committed(path)
        if exists(path) and last is not None:
            return File(path), last.sequence + 1
        file = File(path, create=True)
        file.write([bytes(2 * SLOT_BYTES)], 2 * SLOT_BYTES, 0)
        if self._durable:
            file.sync()
            sync_folder(path.parent)
        return file, 1


def groups_in(folder: ReadableFolder) -> list[GroupPartition]:
    """All that consumer groups have committed or are reading, in order of names."""
    found = []
    for name in list_folder(folder.path / "consumers"):
        home = folder.path / "consumers" / name
        plan = _planned(home / "assignment.json")
        readers = {
            TopicPartition(*place): member
            for member, entry in plan.items()
            if not _gone(home, member)
            for place in entry["partitions"]
        }
        for topic_name, topic in sorted(folder.topics.items()):
            for number, partition in enumerate(topic.partitions):
                place = TopicPartition(topic_name, number)
                last = read_offsets(offsets_file(home, place)).last
                if last is not None and last.created != (topic.created or 0):
                    last = None
                if last is None and place not in readers:
                    continue
                done = partition.start_offset if last is None else max(last.offset, partition.start_offset)
                found.append(
                    GroupPartition(
                        original_name(name),
                        topic_name,
                        number,
                        None if last is None else last.offset,
                        None if last is None else last.time,
                        partition.end_offset,
                        max(0, partition.end_offset - done),
                        readers.get(place),
                    )
                )
    return found


def _gone(home: Path, member: str) -> bool:
    """Whether the member's process has ended, or it has left."""
    path = home / "members" / member
    lock = try_lock(path)
    if lock is None:
        return not exists(path)
    lock.close()
    return True


def _planned(path: Path) -> dict[str, dict[str, list]]:  # type: ignore[type-arg]
    """The members of a plan; none if there is no plan, or a power failure took it, and with it all members."""
    try:
        return dict(load_document(path)["members"]) if exists(path) else {}
    except CorruptionError:
        return {}
