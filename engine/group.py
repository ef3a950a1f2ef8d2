"""A group: views that advance together, epoch by epoch, over the same positions of the same streams."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

from ..storage.errors import CorruptionError, Error
from .dataflow import Dataflow, Done, Node, Passing
from .deadlines import earliest
from .delta import Delta
from .epochs import Cut
from .operator import NO_WATERMARK, Time
from .options import Options
from .output import Output, Progress
from .taking import Taken, take
from .view import Stream, StreamRead, View
from .watermark import Advance, PartitionTime, StreamTime


class Told(Protocol):
    """What is told in each epoch how a view or a node here has changed."""

    @property
    def dataflow(self) -> Dataflow: ...

    @property
    def error(self) -> Exception | None: ...

    def fail(self, error: Exception) -> None: ...

    def tell(self, deltas: Mapping[tuple[str, bool], Delta], time: Passing, done: Done) -> None: ...


class Group:
    """Views with one position per partition of every stream they read, advanced by `step`."""

    def __init__(self, options: Options) -> None:
        self.views: list[View] = []
        self.streams: dict[str, Stream] = {}
        self.positions: dict[str, list[int]] = {}
        self.replay_ends: dict[str, list[int]] = {}
        self.times: dict[str, StreamTime] = {}
        self.feeds: list[Told] = []
        self._goals: dict[str, dict[str, list[int]]] = {}  # by view that looks up: what is read first, and then
        self._marks: dict[frozenset[str], int] = {}  # watermarks, while an epoch lasts
        self.ceilings: Mapping[str, int] = {}  # how far event time may come, by stream
        self._said: dict[str, Advance] = {}  # and has come by what somebody says, to count when it is read so far
        self._idle_timeout_us = int(options.idle_timeout_s * 1e6)
        self._future_guard_us = int(options.future_guard_s * 1e6)
        self.rows_per_epoch = options.rows_per_epoch
        self.digests = options.epoch_digests
        self.changed: dict[str, Delta] = {}  # the views in the last epoch, where digests are wanted

    def add_stream(self, stream: Stream, *, replay_ends: list[int], read: StreamRead | None = None) -> None:
        """Follow a stream from the start of its log, or from where it was `read` to.

        Rows before `replay_ends` are history and never late.
        """
        self.streams[stream.name] = stream
        self.replay_ends[stream.name] = replay_ends
        partitions = [PartitionTime() for _ in stream.topic.partitions]
        time = StreamTime(
            stream.delay_us, self._idle_timeout_us, self._future_guard_us, partitions, arrival=stream.arrival
        )
        self.times[stream.name] = time
        if read is None:
            self.positions[stream.name] = [partition.start_offset for partition in stream.topic.partitions]
        else:
            self.positions[stream.name] = list(read.positions)
            time.go_on(read.time)
        if stream.advance is not None:
            self._said[stream.name] = stream.advance

    def drop_stream(self, name: str) -> None:
        for table in (self.streams, self.positions, self.replay_ends, self.times, self._said):
            table.pop(name, None)

    def say(self, name: str, advance: Advance) -> None:
        """Let the event time of a stream, if it is followed, come as far as `advance` says."""
        if name in self.streams:
            self.streams[name] = replace(self.streams[name], advance=advance)
            self._said[name] = advance

    def behind(self) -> int:
        """Rows appended and readable that no epoch has taken yet."""
        return sum(
            partition.end_offset - position
            for name, stream in list(self.streams.items())
            for partition, position in zip(stream.topic.partitions, self.positions.get(name, ()), strict=False)
        )

    def reached(self, ends: Mapping[str, list[int]]) -> bool:
        """Whether every position is at or past `ends`; streams not followed do not count."""
        return all(
            position >= end
            for name, wanted in ends.items()
            if name in self.positions
            for position, end in zip(self.positions[name], wanted, strict=True)
        )

    def next_timeout(self) -> int | None:
        """When, on the engine's clock, time alone may move a watermark or change a view."""
        if self._heard():
            return NO_WATERMARK
        timeouts = [t for time in self.times.values() if (t := time.next_timeout()) is not None]
        wake = self.wake
        return min(timeouts if wake is None else [*timeouts, wake], default=None)

    @property
    def wake(self) -> int | None:
        """When, on the engine's clock, time alone changes a view."""
        return earliest(view.wake for view in self.views if view.error is None)

    def due(self, clock: int) -> bool:
        """Whether by `clock` time has changed a view that does not know yet."""
        wake = self.wake
        return bool(self._heard()) or (wake is not None and wake <= clock)

    def _heard(self) -> list[str]:
        """The streams of which somebody has said how far time has come, and which are read so far."""
        return [name for name, advance in self._said.items() if self.reached({name: list(advance.ends)})]

    def step(
        self,
        epoch: int,
        clock: int,
        limits: Mapping[str, list[int]] | None = None,
        *,
        fed: Done | None = None,
        cut: Cut | None = None,
    ) -> int:
        """Run one epoch over what has arrived (up to `limits`) or what the `cut` says; `fed` run elsewhere. Rows taken.

        Raises: UnreadError if the log could not be read, and then nothing has changed.
        """
        if self.digests:  # a view that is only read says no more than that it has changed
            for view in self.views:
                view.result.listen(wanted=True)
        again = {} if cut is None else cut.of(self.streams)
        ends = {name: read.ends for name, read in again.items()} if cut else self._hold(self._readable(limits))
        taken = [self._take(self.streams[name], to, whole=cut is not None) for name, to in ends.items()]
        deltas: dict[tuple[str, bool], Delta] = {}
        for one in taken:
            self._move_on(one, clock)
            if one.delta is not None:
                deltas[(one.stream, False)] = one.delta
        for name in self._heard():
            self.times[name].say(self._said.pop(name).times, clock)
        for name, time in self.times.items():
            time.advance(clock, self._floors(name), self.ceilings.get(name))
            if name in again:
                time.watermark = again[name].watermark
        self._go_beyond(clock)
        self._marks.clear()
        done: Done = {} if fed is None else fed
        told = {node for node, change in done.items() if change is not None}
        for view in self.views:
            if view.error is None:
                self._step_view(view, deltas, epoch, clock, done, told)
        self._tell(deltas, epoch, clock, done)
        self.changed = {name: delta for (name, is_view), delta in deltas.items() if is_view and self.digests}
        return sum(one.rows for one in taken)

    def join(self, views: Sequence[View], epoch: int, clock: int, done: Done) -> None:
        """Take in views that have read what is read here; what is `done` runs here already."""
        deltas: dict[tuple[str, bool], Delta] = {}
        self._marks.clear()
        for view in views:
            self.views.append(view)
            view.stepped = {}
            if view.error is None:
                self._step_view(view, deltas, epoch, clock, done)
                self.share(view)

    def pass_on(self, deltas: dict[tuple[str, bool], Delta], epoch: int, clock: int, views: Iterable[View]) -> None:
        """Tell `views`, in an epoch in which no row comes from a stream, by which changes others have become others."""
        done: Done = {}
        self._marks.clear()
        for view in views:
            if view.error is None and not view.dataflow.read.isdisjoint(deltas):
                self._step_view(view, deltas, epoch, clock, done)
        self._tell(deltas, epoch, clock, done)

    def _tell(self, deltas: Mapping[tuple[str, bool], Delta], epoch: int, clock: int, done: Done) -> None:
        for feed in self.feeds:
            feed.tell(deltas, lambda streams: Time(epoch, clock, self.watermark(streams)), done)

    def share(self, view: View) -> None:
        """Let a view run on the nodes of the others here where they do the same, and have read the same rows."""
        if view.stepped and not self.whole(view.dataflow.streams):
            return
        known: dict[object, Node] = {}
        wanted = {node.identity for node in view.dataflow.nodes} - {None}
        for other in self.views:
            if other is view or other.dataflow.read.isdisjoint(view.dataflow.read):
                continue
            if other.error is None and bool(other.stepped) == bool(view.stepped):
                known = {node.identity: node for node in other.dataflow.nodes if node.identity in wanted} | known
        view.dataflow.share(lambda node: known.get(node.identity))
        view.result.refresh()
        view.refresh_listeners()

    def whole(self, streams: Iterable[str]) -> bool:
        """Whether these streams have all rows they ever had, so that all who have read so far have read the same."""
        topics = [self.streams[name].topic for name in streams]
        return all(
            topic.options.cleanup == "delete" and all(partition.start_offset == 0 for partition in topic.partitions)
            for topic in topics
        )

    def step_output(self, view: View, output: Output, epoch: int, clock: int, ends: Mapping[str, list[int]]) -> bool:
        """One step of a view that writes, alone here, through history up to `ends`; False once it is there.

        As far as it had come before a restart, the time is what it was then, and what comes out is written already.
        """
        done = output.done
        if done is None:
            if self.reached(ends):
                return False
            self.step(epoch, clock, limits=ends)
            self.write_output(view, clock)
            return True
        self.ceilings = done.watermarks
        if not self.reached(done.positions):
            self.step(epoch, done.clock, limits=done.positions)
            return True
        for name, mark in done.watermarks.items():
            self.times[name].watermark = max(self.times[name].watermark, mark)
        view.stepped = {}
        self._marks.clear()
        self._step_view(view, {}, epoch, done.clock, {})
        output.done, self.ceilings = None, {}
        return True

    def write_outputs(self, clock: int) -> None:
        """Write what the views of an epoch have put out."""
        for view in self.views:
            self.write_output(view, clock)

    def write_output(self, view: View, clock: int) -> None:
        """Write what one view has put out, and how far it is; it stops if that cannot be written."""
        if view.output is None or view.error is not None:
            return
        try:
            view.output.flush(self._progress(view, clock))
        except Error as error:
            view.fail(error)

    def _progress(self, view: View, clock: int) -> Progress:
        """How far a view is."""
        streams = sorted(view.dataflow.streams)
        positions = {name: list(self.positions[name]) for name in streams}
        return Progress(positions, {name: self.times[name].watermark for name in streams}, clock)

    def watermark(self, streams: Iterable[str]) -> int:
        """The least watermark over those of `streams` that have one; NO_WATERMARK where one is not followed here."""
        marks = []
        for name in streams:
            if name not in self.streams:
                return NO_WATERMARK
            if self.streams[name].event_time is not None:
                marks.append(self.times[name].watermark)
        return min(marks, default=NO_WATERMARK)

    def watermarks(self) -> dict[str, int | None]:
        """The watermark of each stream that has one; None where no row has come yet."""
        known = {name: self.times.get(name) for name, stream in list(self.streams.items()) if stream.event_time}
        return {n: None if t.watermark == NO_WATERMARK else t.watermark for n, t in known.items() if t is not None}

    def _step_view(
        self,
        view: View,
        deltas: dict[tuple[str, bool], Delta],
        epoch: int,
        clock: int,
        done: Done,
        told: Collection[Node] = (),
    ) -> None:
        marks = {s: self._marks.get(s) or self._marks.setdefault(s, self.watermark(s)) for s in view.dataflow.passings}
        due = view.wake is not None and view.wake <= clock
        news = not view.dataflow.read.isdisjoint(deltas)
        fed = bool(told) and any(node in told for node in view.dataflow.nodes)
        if marks == view.stepped and not (due or news or fed):
            return

        def time(streams: frozenset[str]) -> Time:
            return Time(epoch, clock, marks[streams])

        try:
            change = view.dataflow.step(deltas, time, done)
            view.result.insert(change)
        except Exception as error:
            view.fail(error)
            return
        view.stepped = marks
        view.wake = view.dataflow.wake
        if change is not None:
            deltas[(view.name, True)] = change
            for subscription in view.subscriptions:
                subscription.put(epoch, change)
            if view.output is not None:
                view.output.put(change)

    def ends_of(self, cut: Cut) -> dict[str, list[int]]:
        """How far the cut is, of each stream that is followed here; of one it does not know as far as it is here."""
        ends = {name: list(positions) for name, positions in self.positions.items()}
        return {**ends, **{name: read.ends for name, read in cut.of(self.streams).items()}}

    def _go_beyond(self, clock: int) -> None:
        """Let those write that have come further than they had when they wrote last."""
        for view in self.views:
            if view.output is not None and view.output.done is not None:
                view.output.go_beyond(self._progress(view, clock))

    def _hold(self, ends: dict[str, list[int]]) -> dict[str, list[int]]:
        """Where each stream may be read to up to `ends`, now that an epoch takes only so many rows of each.

        Rows that look up wait until all is read that was there to look up in when they had come.
        """
        for view in self.views:
            if view.looks_up is None or view.error is not None:
                continue
            left, right = ({name for name in names if name in ends} for names in view.looks_up)
            goal = self._goals.get(view.name)
            if goal is None and any(self._exceeds(name, ends[name]) for name in right):
                goal = self._goals[view.name] = {name: list(ends[name]) for name in left | right}
            if goal is None:
                continue
            waits = False
            for name in right & goal.keys():
                if not self.reached({name: goal[name]}):
                    ends[name] = self._up_to(name, ends[name], goal[name])
                    waits |= self._exceeds(name, ends[name])
            for name in left & goal.keys():
                ends[name] = list(self.positions[name]) if waits else self._up_to(name, ends[name], goal[name])
            if not waits and not any(self._exceeds(name, ends[name]) for name in left):
                del self._goals[view.name]
        return ends

    def _up_to(self, name: str, ends: list[int], goal: list[int]) -> list[int]:
        """The earlier of both, but nothing that is read already."""
        return [max(at, min(end, to)) for at, end, to in zip(self.positions[name], ends, goal, strict=True)]

    def _exceeds(self, name: str, ends: list[int]) -> bool:
        """Whether a stream has more rows up to `ends` than an epoch takes."""
        return sum(ends) - sum(self.positions[name]) > self.rows_per_epoch

    def _readable(self, limits: Mapping[str, list[int]] | None) -> dict[str, list[int]]:
        """Where each stream may be read to: one cut, so that rows of one atomic append are there together."""
        with ExitStack() as held:
            for lock in {stream.topic.visibility for stream in self.streams.values()}:
                held.enter_context(lock)
            ends = {name: [p.end_offset for p in stream.topic.partitions] for name, stream in self.streams.items()}
        if limits is not None:
            ends = {name: list(map(min, present, limits.get(name, present))) for name, present in ends.items()}
        return ends

    def _take(self, stream: Stream, ends: list[int], *, whole: bool) -> Taken:
        """The next rows of a stream. Where they are damaged the views that read them stop, and they are passed over."""
        reading: list[View | Told] = [*self.views, *self.feeds]
        reading = [one for one in reading if (stream.name, False) in one.dataflow.read and one.error is None]
        budget = None if whole else self.rows_per_epoch
        try:
            return take(stream, self.positions[stream.name], ends, [one.dataflow for one in reading], budget)
        except CorruptionError as error:
            for one in reading:
                one.fail(error)
            return Taken(stream.name, None, 0, list(ends), {})

    def _move_on(self, taken: Taken, clock: int) -> None:
        """The rows are this epoch's, and their event times known."""
        self.positions[taken.stream][:] = taken.positions
        for index, highest in taken.highest.items():
            self.times[taken.stream].observe(index, highest, clock)

    def _floors(self, name: str) -> list[int | None]:
        ends, positions = self.replay_ends[name], self.positions[name]
        if positions >= ends and all(p >= e for p, e in zip(positions, ends, strict=True)):
            return [None] * len(ends)
        partitions = self.streams[name].topic.partitions
        return [
            p.earliest_after(position) if position < end else None
            for p, position, end in zip(partitions, positions, ends, strict=True)
        ]
