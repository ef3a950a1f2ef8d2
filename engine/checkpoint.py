"""Checkpoints of running queries: what is written of them at one epoch, and how a new engine takes it over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import pyarrow as pa

from ..storage.checkpoints import Checkpoint, Checkpoints, stream_of
from .arrangement import Arrangement
from .dataflow import Node
from .freezing import Frozen
from .group import Group
from .journal import Entry, Journal, delta_of, enter
from .metrics import Figures
from .operator import Operator, Snapshot
from .output import Progress
from .view import Stream, StreamRead, View
from .watermark import PartitionTime, StreamTime

Table = TypeVar("Table")
STATE_VERSION = 1  # another one when an operator's snapshot is not what it was: then views are built from the log


@dataclass(frozen=True)
class Moment:
    """When a checkpoint is of. Units: `clock` microseconds since 1970."""

    epoch: int
    clock: int


@dataclass(frozen=True)
class Capture:
    """All that a checkpoint says: `content` as JSON, and tables: new ones and the places of those that are the same.

    `whole` has the parts whose state it says, by number, and `entries` what went into others. `changes` counts, by
    number, what the tables contain.
    """

    content: Mapping[str, Any]
    whole: dict[int, Frozen[Operator | Arrangement]]
    entries: Mapping[str, Entry]
    same: Mapping[str, Mapping[str, Any]]
    changes: Mapping[int, int]

    def tables(self) -> Iterator[tuple[str, pa.Buffer]]:
        """The new ones and their names, as Arrow streams, once. No epoch need wait for this."""
        while self.whole:
            number, part = self.whole.popitem()
            for name, table in part.thaw().snapshot().items():
                yield f"{number}.{name}", stream_of(table)
        for prefix, entry in self.entries.items():
            for name, table in entry.tables().items():
                yield f"{prefix}.{name}", stream_of(table)


@dataclass(frozen=True, eq=False)
class Part:
    """What has state: a node, or the rows that a view keeps. `changes` counts how often it has become another one."""

    of: Node | Arrangement
    changes: int
    journal: Journal

    @property
    def journalled(self) -> bool:
        """Whether what went in may stand for its state."""
        return isinstance(self.of, Arrangement) or (self.of.operator is not None and self.of.operator.journalled)

    @property
    def dated(self) -> bool:
        """Whether that is kept by epochs."""
        return isinstance(self.of, Node) and self.of.operator is not None and self.of.operator.dated

    @property
    def state(self) -> Operator | Arrangement:
        """Who keeps it."""
        if isinstance(self.of, Arrangement):
            return self.of
        assert self.of.operator is not None
        return self.of.operator


class RestoreError(Exception):
    """A checkpoint says what an operator does not understand."""


class Recorder:
    """Takes checkpoints of views, and writes of each only what has changed since the one before.

    Each part has a number for as long as it lives. Of one that has changed there is its whole state, under its number,
    or what went in since then, under the number and a place in their order: whichever is less.
    State: per part 100 bytes, and its journal.
    """

    def __init__(self) -> None:
        self._numbers: WeakKeyDictionary[Node | Arrangement, int] = WeakKeyDictionary()
        self._next = 0
        self._unsaved: list[Journal] = []  # what they have cut is on no disk
        self._changes: Mapping[int, int] = {}
        self._written: Mapping[int, Mapping[str, Mapping[str, Any]]] = {}  # by part, where its tables are
        self.resumed: frozenset[str] = frozenset()  # the views that went on from one that was found
        self.wanted: set[View] = set()  # that should be in one soon
        self._wanted: set[View] = set()  # when one was captured last

    def capture(self, group: Group, moment: Moment) -> Capture:
        """The group's views, between two epochs; those that have stopped are left out."""
        views: dict[str, Any] = {}
        whole: dict[int, Frozen[Operator | Arrangement]] = {}
        entries: dict[str, Entry] = {}
        same: dict[str, Mapping[str, Any]] = {}
        changes: dict[int, int] = {}
        figures: dict[str, Any] = {}
        for journal in self._unsaved:
            journal.stop()
        self._unsaved, self._wanted = [], set(self.wanted)

        def keep(number: int, part: Part) -> None:
            if number in changes:
                return
            changes[number] = part.changes
            before = self._changes.get(number)  # None if the last checkpoint has not got it
            goes_on = before is not None and part.journal.whole
            if before == part.changes or goes_on:
                same.update(self._written.get(number, {}))
            if before == part.changes:
                return
            self._unsaved.append(part.journal)
            if goes_on:
                entries[f"{number}+{part.journal.entries}"] = part.journal.cut()
                return
            whole[number] = Frozen(part.state)
            if part.journalled:
                part.journal.start(part.state.bytes, dated=part.dated)

        for view in group.views:
            if view.error is not None or view.key is None:
                continue
            numbers = [self._number(node) for node in view.dataflow.nodes]
            for number, node in zip(numbers, view.dataflow.nodes, strict=True):
                figures[str(number)] = dict(vars(node.figures))
                if node.operator is not None:
                    keep(number, Part(node, node.figures.changes, node.journal))
            stepped = [[sorted(streams), mark] for streams, mark in view.stepped.items()]
            views[view.name] = {"key": view.key, "nodes": numbers, "stepped": stepped}
            kept = view.result.kept
            if kept is not None:
                number = self._number(kept)
                keep(number, Part(kept, view.dataflow.result.figures.rows_out, view.result.journal))
                views[view.name]["kept"] = number
        streams = {name: _stream_content(group, stream) for name, stream in group.streams.items()}
        content = {"version": STATE_VERSION, **asdict(moment), "streams": streams, "views": views, "nodes": figures}
        return Capture(content, whole, entries, same, changes)

    def saved(self, capture: Capture, checkpoint: Checkpoint) -> None:
        """What was captured is on disk."""
        self._changes, self._written, self._unsaved = capture.changes, _by_part(checkpoint.tables), []
        self.wanted -= self._wanted  # those that are not in it have stopped, or were dropped

    def want(self, views: Iterable[View]) -> None:
        """They have gone through history: where it shows how, no log gives again what they have, and nobody waits."""
        self.wanted |= {view for view in views if view.key is not None and view.shows_cuts}

    def took_over(self, found: Found) -> None:
        """What was found, and taken over, need not be written again while it stays what it is."""
        changes = {number: node.figures.changes for number, node in found.nodes.items()}
        for view in found.checkpoint.content["views"].values():
            self._next = max(self._next, *view["nodes"], view.get("kept", 0)) + 1
            if view.get("kept") in found.kept:
                changes[view["kept"]] = found.nodes[view["nodes"][-1]].figures.rows_out
        self._changes, self._written = changes, _by_part(found.checkpoint.tables)
        parts: dict[int, Node | Arrangement] = {**found.nodes, **found.kept}
        for number, part in parts.items():
            self._numbers[part] = number
            places = self._written.get(number, {})
            sizes = [int(place["bytes"]) for place in places.values()]
            whole = sum(size for name, size in zip(places, sizes, strict=True) if "+" not in name)
            entries = {name.split(".")[0] for name in places if "+" in name}
            of = Part(part, 0, found.journals[number])
            if of.journalled:
                epochs = sum(found.tables[f"{entry}.time"].num_rows for entry in entries) if of.dated else 0
                of.journal.start(whole, sum(sizes) - whole, len(entries), dated=of.dated, epochs=epochs)
        self.resumed = frozenset(found.views)

    def _number(self, part: Node | Arrangement) -> int:
        number = self._numbers.get(part)
        if number is None:
            number = self._numbers[part] = self._next
            self._next += 1
        return number


@dataclass
class Found:
    """A checkpoint that was found on disk, for views and streams that are declared anew to go on from.

    Holds: a view goes on from it only as what it was: with an equal `key`, over streams and views that do so, too.
    """

    checkpoint: Checkpoint
    tables: Mapping[str, pa.Table]
    views: set[str] = field(default_factory=set)  # that went on
    streams: dict[str, StreamRead] = field(default_factory=dict)
    nodes: dict[int, Node] = field(default_factory=dict)  # by their numbers
    kept: dict[int, Arrangement] = field(default_factory=dict)
    journals: dict[int, Journal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_part = _by_part(self.tables)

    @classmethod
    def newest(cls, checkpoints: Checkpoints) -> Found | None:
        """The one to go on from."""
        loaded = checkpoints.load()
        return cls(*loaded) if loaded is not None and loaded[0].content["version"] == STATE_VERSION else None

    @property
    def moment(self) -> Moment:
        """When it is of."""
        content = self.checkpoint.content
        return Moment(content["epoch"], content["clock"])

    @property
    def read(self) -> dict[str, list[int]]:
        """How far each stream had been read, by name."""
        return reads_of(self.checkpoint.content)

    def stream(self, stream: Stream, clock: int) -> StreamRead | None:
        """How far the stream had been read; None if it is another one, or has not got all those rows any more."""
        known = self.checkpoint.content["streams"].get(stream.name)
        topic = stream.topic
        if known is None or known["created"] != topic.created:
            return None
        positions = list(known["positions"])
        if len(positions) != len(topic.partitions):
            return None
        if any(at > p.end_offset for at, p in zip(positions, topic.partitions, strict=True)):
            return None
        partitions = [PartitionTime(**partition) for partition in known["partitions"]]
        began = None if known["began"] is None else clock
        time = StreamTime(stream.delay_us, 0, 0, partitions, known["watermark"], began)
        time.listen_again(clock)
        self.streams[stream.name] = StreamRead(positions, time)
        return self.streams[stream.name]

    def has_all(self, done: Progress | None) -> bool:
        """Whether it is of a time when a query had come as far as it wrote last."""
        if done is None:
            return True
        reads = {name: self.streams[name] for name in done.positions}
        ends = {name: read.positions for name, read in reads.items()}
        return Progress(ends, {name: read.time.watermark for name, read in reads.items()}, self.moment.clock).covers(
            done
        )

    def take_over(self, view: View) -> bool:
        """Let the view go on from here; False if it cannot, and then nothing has changed.

        Raises: RestoreError if an operator cannot become what it was; the view is of no use then.
        """
        known = self.checkpoint.content["views"].get(view.name)
        if known is None or view.key is None or known["key"] != view.key:
            return False
        if not view.dataflow.streams <= self.streams.keys() or not view.dataflow.views <= self.views:
            return False
        numbers = known["nodes"]
        if len(numbers) != len(view.dataflow.nodes) or ("kept" in known) != (view.result.kept is not None):
            return False
        places = dict(zip(view.dataflow.nodes, numbers, strict=True))
        for node, number in places.items():
            if number not in self.nodes and node.operator is not None:
                try:
                    node.operator.restore(self._tables(number))
                    for entry in self._entries(number):
                        enter(node.operator, entry)
                except Exception as error:
                    raise RestoreError(f'{type(node.operator).__name__} of "{view.name}": {error}') from error
        view.dataflow.share(lambda node: self.nodes.get(places[node]))
        view.result.refresh()
        for number, node in zip(numbers, view.dataflow.nodes, strict=True):
            if number not in self.nodes:
                node.figures.go_on(Figures(**self.checkpoint.content["nodes"][str(number)]))
            self.nodes[number], self.journals[number] = node, node.journal
        if view.result.kept is not None:
            view.result.kept.restore(self._tables(known["kept"]))
            for entry in self._entries(known["kept"]):
                view.result.kept.insert(delta_of(entry["port0"]))
            self.kept[known["kept"]], self.journals[known["kept"]] = view.result.kept, view.result.journal
        view.stepped = {frozenset(streams): mark for streams, mark in known["stepped"]}
        view.wake = view.dataflow.wake
        self.views.add(view.name)
        return True

    def _tables(self, number: int, entry: str = "") -> Snapshot:
        """The tables of a part's state, or of an `entry` since, by their own names."""
        prefix = f"{number}{entry}."
        tables = self._by_part.get(number, {})
        return {name.removeprefix(prefix): table for name, table in tables.items() if name.startswith(prefix)}

    def _entries(self, number: int) -> Iterator[Snapshot]:
        """What went in since the state was written whole, in order."""
        start = f"{number}+"
        names = (name for name in self._by_part.get(number, {}) if name.startswith(start))
        for place in sorted({int(name.removeprefix(start).partition(".")[0]) for name in names}):
            yield self._tables(number, f"+{place}")


def reads_of(content: Mapping[str, Any]) -> dict[str, list[int]]:
    """How far a checkpoint had read each stream, by name."""
    return {name: stream["positions"] for name, stream in content["streams"].items()}


def _by_part(tables: Mapping[str, Table]) -> dict[int, dict[str, Table]]:
    """What tables there are of each part, whose number their names begin with."""
    found: dict[int, dict[str, Table]] = {}
    for name, table in tables.items():
        number = name.partition(".")[0].partition("+")[0]
        found.setdefault(int(number), {})[name] = table
    return found


def _stream_content(group: Group, stream: Stream) -> dict[str, Any]:
    time = group.times[stream.name]
    return {
        "created": stream.topic.created,
        "positions": list(group.positions[stream.name]),
        "watermark": time.watermark,
        "began": time.began,
        "partitions": [asdict(partition) for partition in time.partitions],
    }
