"""Checkpoints of running queries: what is written of them at one epoch, and how a new engine takes it over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import pyarrow as pa

from ..storage.checkpoints import Checkpoint, stream_of
from .arrangement import Arrangement
from .dataflow import Node
from .group import Group, Stream, StreamRead, View
from .metrics import Figures
from .operator import Snapshot
from .watermark import PartitionTime, StreamTime

STATE_VERSION = 1  # another one when an operator's snapshot is not what it was: then views are built from the log


@dataclass(frozen=True)
class Moment:
    """When a checkpoint is of. Units: `clock` microseconds since 1970."""

    epoch: int
    clock: int


@dataclass(frozen=True)
class Capture:
    """All that a checkpoint says: `content` as JSON, new `tables` by name, and the places of those that are the same.

    `changes` counts, by part number, what the tables contain.
    """

    content: Mapping[str, Any]
    tables: Mapping[str, pa.Buffer]
    same: Mapping[str, Mapping[str, Any]]
    changes: Mapping[int, int]


class RestoreError(Exception):
    """A checkpoint says what an operator does not understand."""


class Recorder:
    """Takes checkpoints of views, and writes of each only what has changed since the one before.

    What has state is a part: a node, or the rows that a view keeps. It has a number for as long as it lives.
    State: per part 100 bytes.
    """

    def __init__(self) -> None:
        self._numbers: WeakKeyDictionary[Node | Arrangement, int] = WeakKeyDictionary()
        self._next = 0
        self._changes: Mapping[int, int] = {}
        self._last: Checkpoint | None = None
        self.resumed: frozenset[str] = frozenset()  # the views that went on from one that was found

    def capture(self, group: Group, moment: Moment) -> Capture:
        """The group's views, between two epochs; those that have stopped are left out."""
        views: dict[str, Any] = {}
        tables: dict[str, pa.Buffer] = {}
        same: dict[str, Mapping[str, Any]] = {}
        changes: dict[int, int] = {}
        figures: dict[str, Any] = {}

        def keep(number: int, changed: int, part: Arrangement | Node) -> None:
            if number in changes:
                return
            changes[number] = changed
            if self._last is not None and self._changes.get(number) == changed:
                prefix = f"{number}."
                same.update((name, place) for name, place in self._last.tables.items() if name.startswith(prefix))
                return
            tables.update((f"{number}.{name}", stream_of(table)) for name, table in _snapshot(part).items())

        for view in group.views:
            if view.error is not None or view.key is None:
                continue
            numbers = [self._number(node) for node in view.dataflow.nodes]
            for number, node in zip(numbers, view.dataflow.nodes, strict=True):
                figures[str(number)] = asdict(node.figures)
                if node.operator is not None:
                    keep(number, node.figures.changes, node)
            stepped = [[sorted(streams), mark] for streams, mark in view.stepped.items()]
            views[view.name] = {"key": view.key, "nodes": numbers, "stepped": stepped}
            kept = view.result.kept
            if kept is not None:
                number = self._number(kept)
                keep(number, view.dataflow.result.figures.rows_out, kept)
                views[view.name]["kept"] = number
        streams = {name: _stream_content(group, stream) for name, stream in group.streams.items()}
        content = {"version": STATE_VERSION, **asdict(moment), "streams": streams, "views": views, "nodes": figures}
        return Capture(content, tables, same, changes)

    def saved(self, capture: Capture, checkpoint: Checkpoint) -> None:
        """What was captured is on disk."""
        self._changes, self._last = capture.changes, checkpoint

    def took_over(self, found: Found) -> None:
        """What was found, and taken over, need not be written again while it stays what it is."""
        changes = {number: node.figures.changes for number, node in found.nodes.items()}
        for view in found.checkpoint.content["views"].values():
            self._next = max(self._next, *view["nodes"], view.get("kept", 0)) + 1
            if view.get("kept") in found.kept:
                changes[view["kept"]] = found.nodes[view["nodes"][-1]].figures.rows_out
        for number, node in found.nodes.items():
            self._numbers[node] = number
        for number, kept in found.kept.items():
            self._numbers[kept] = number
        self._changes, self._last = changes, found.checkpoint
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

    @property
    def moment(self) -> Moment:
        """When it is of."""
        content = self.checkpoint.content
        return Moment(content["epoch"], content["clock"])

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
        for partition in partitions:
            if not partition.idle and partition.heard is not None:
                partition.heard = clock  # while nobody listened it was not silent
        began = None if known["began"] is None else clock
        time = StreamTime(stream.delay_us, 0, 0, partitions, known["watermark"], began)
        self.streams[stream.name] = StreamRead(positions, time)
        return self.streams[stream.name]

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
                    node.operator.restore(self._snapshot(number))
                except Exception as error:
                    raise RestoreError(f'{type(node.operator).__name__} of "{view.name}": {error}') from error
        view.dataflow.share(lambda node: self.nodes.get(places[node]))
        view.result.refresh()
        for number, node in zip(numbers, view.dataflow.nodes, strict=True):
            if number not in self.nodes:
                node.figures.go_on(Figures(**self.checkpoint.content["nodes"][str(number)]))
            self.nodes[number] = node
        if view.result.kept is not None:
            view.result.kept.restore(self._snapshot(known["kept"]))
            self.kept[known["kept"]] = view.result.kept
        view.stepped = {frozenset(streams): mark for streams, mark in known["stepped"]}
        view.wake = view.dataflow.wake
        self.views.add(view.name)
        return True

    def _snapshot(self, number: int) -> Snapshot:
        prefix = f"{number}."
        return {name.removeprefix(prefix): t for name, t in self.tables.items() if name.startswith(prefix)}


def _snapshot(part: Node | Arrangement) -> Snapshot:
    if isinstance(part, Arrangement):
        return part.snapshot()
    assert part.operator is not None
    return part.operator.snapshot()


def _stream_content(group: Group, stream: Stream) -> dict[str, Any]:
    time = group.times[stream.name]
    return {
        "created": stream.topic.created,
        "positions": list(group.positions[stream.name]),
        "watermark": time.watermark,
        "began": time.began,
        "partitions": [asdict(partition) for partition in time.partitions],
    }
