"""Backfills: views on their way through history, a stretch at a time between the epochs of all others."""

from __future__ import annotations

import time as machine
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from ..storage import limits
from ..storage.errors import Error, OperationalError
from .dataflow import Dataflow, Done, Node, Passing, Source
from .delta import PIECE_ROWS, Delta
from .delta_store import DeltaStore
from .group import Group
from .operator import Operator, ResultHolder
from .operators.lookup_join import LookupJoin
from .view import UnreadError, View


@dataclass(frozen=True)
class BackfillProgress:
    """How far a view is through history, in rows; `problem` says why it does not come further at the moment.

    `replaces`: it is a new version of one that goes on meanwhile.
    """

    done: int
    total: int
    problem: str | None = None
    replaces: bool = False


class Feed:
    """What comes from a part of the graph that runs already: its rows when the feed began, then its changes.

    `dataflow` has the node whose output that is, or a source that reads the view whose changes they are. While
    nothing else runs the node it is run for the feed.
    State: the rows and changes that were not taken yet.
    """

    def __init__(self, node: Node, rows: pa.Table) -> None:
        self.dataflow = Dataflow(node)
        self.total = int(rows.num_rows)
        self.error: Exception | None = None
        self._left = DeltaStore()
        for batch in rows.to_batches(max_chunksize=PIECE_ROWS):
            self._left.add(Delta(batch))

    def fail(self, error: Exception) -> None:
        """Nothing right comes any more."""
        self.error = self.error or error

    def tell(self, deltas: Mapping[tuple[str, bool], Delta], time: Passing, done: Done) -> None:
        """An epoch has passed, in which these nodes are `done`."""
        try:
            change = self.dataflow.step(deltas, time, done)
        except Exception as error:
            self.fail(error)
            return
        if change is not None and change.rows:
            self.total += change.rows
            self._left.add(Delta(change.batch, change.weights))

    def take(self, rows: int) -> Delta | None:
        """The next changes, about as many rows; None when there are none."""
        return self._left.take(rows)

    @property
    def left(self) -> int:
        """Rows that were not taken yet."""
        return self._left.rows


@dataclass(eq=False)
class Backfill:
    """Views, each before those that read it, and the group in which they go through history.

    What other views compute already, and keep the rows of, is taken from there: see `begin`. Rows that come meanwhile
    are history too, so that none of it is late. With `replaced` they take the place of views of equal names, whose
    operators they may go on with where `keeps` says so; who listens goes on where `told` does. Nothing of those changes
    before the backfill is at its end. What is looked up in is read before what looks it up, so that history finds all
    that is there.
    State: `feeds` by the node whose output they are; `fed` are these nodes and all below, which run elsewhere.
    """

    views: list[View]
    group: Group
    replaced: Mapping[str, View] = field(default_factory=dict)
    keeps: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()
    feeds: dict[Node, Feed] = field(default_factory=dict)
    fed: set[Node] = field(default_factory=set)
    begun: bool = False
    problem: OperationalError | None = None  # why rows cannot be read at the moment
    retry_s: float = 0.0  # not before, on the monotonic clock
    _starts: dict[str, list[int]] = field(default_factory=dict)
    _first: set[Node] = field(default_factory=set)  # what is only looked up in
    _first_streams: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._rows_max = self.group.rows_per_epoch
        self._rows = min(limits.BACKFILL_ROWS, self._rows_max)

    @property
    def error(self) -> Error | None:
        """Why one of the views has stopped."""
        return next((view.error for view in self.views if view.error is not None), None)

    @property
    def inputs(self) -> Iterator[View]:
        """The views outside that those here read."""
        return (upstream for view in self.views for upstream in view.inputs if upstream not in self.views)

    def ready(self, main: Group) -> bool:
        """Whether it has something to do that can be done now."""
        if self.replaced and self.level(main):
            return False
        return machine.monotonic() >= self.retry_s and all(upstream in main.views for upstream in self.inputs)

    def level(self, main: Group) -> bool:
        """Whether its views have taken in all that those of `main` have, or have stopped."""
        if self.error is not None:
            return True
        ends = {name: main.positions[name] for name in self.group.streams}
        return self.begun and self.group.reached(ends) and not any(feed.left for feed in self.feeds.values())

    def begin(self, main: Group) -> None:
        """From now on changes of `main` are taken in; all views that are read run there."""
        self.begun = True
        for view in self.views:
            self._cut(view, main)
        for view in self.views:
            for node in view.dataflow.nodes:
                source = node.source
                if source is not None and source.is_view and node not in self.fed:
                    upstream = next((one for one in view.inputs if one.name == source.name), None)
                    if upstream is None or upstream in self.views:
                        continue
                    upstream.refresh_listeners()
                    if upstream.error is not None:
                        view.fail(OperationalError(f'its input "{upstream.name}" has stopped'))
                        continue
                    self._feed(node, Feed(node, upstream.result.rows().select(list(source.columns))))
        followed = {
            node.source.name
            for view in self.views
            for node in view.dataflow.nodes
            if node.source is not None and not node.source.is_view and node not in self.fed
        }
        for name in [name for name in self.group.streams if name not in followed]:
            self.group.drop_stream(name)
        self._starts = {name: list(positions) for name, positions in self.group.positions.items()}
        self._find_first()
        main.feeds += self.feeds.values()

    def anew(self, kind: type[Operator]) -> set[str]:
        """The views that have an operator of this kind which is built anew."""
        return {
            view.name
            for view in self.views
            for node in view.dataflow.nodes
            if isinstance(node.operator, kind) and node not in self.fed
        }

    def join(self, main: Group, epoch: int, clock: int) -> None:
        """The views go on in `main`, whose level they have reached."""
        self.end(main)
        for name, time in self.group.times.items():
            main.times[name].merge(time)
        main.join(self.views, epoch, clock, self.shared)

    def end(self, main: Group) -> None:
        """Take in no more changes."""
        taken = list(self.feeds.values())
        main.feeds = [feed for feed in main.feeds if feed not in taken]
        for feed in taken:
            feed.dataflow.release()

    def step(self, main: Group, epoch: int, clock: int, stretch_s: float) -> bool:
        """A stretch of history that takes about `stretch_s` seconds; whether the views are level with `main`."""
        group = self.group
        if not self.begun:
            self.begin(main)
            if stretch_s >= limits.BACKFILL_STRETCH_S_QUIET:  # from few rows operators would learn nothing of all keys
                self._rows = min(PIECE_ROWS, self._rows_max)
        failure = next((feed.error for feed in self.feeds.values() if feed.error is not None), None)
        if failure is not None:
            for view in self.views:
                view.fail(failure)
        if self.error is not None:
            return True
        ends = {name: list(main.positions[name]) for name in group.streams}
        group.replay_ends.update(ends)
        group.rows_per_epoch, begun, before = self._rows, machine.perf_counter(), self.progress.done
        try:
            level = self._step(ends, epoch, clock)
        except UnreadError as error:
            self.problem, self.retry_s = error.reason, machine.monotonic() + limits.UNREAD_RETRY_S
            return False
        except Error as error:
            for view in self.views:
                view.fail(error)
            return True
        self.problem = None
        took_s, rows = machine.perf_counter() - begun, self.progress.done - before
        if took_s > stretch_s or rows >= self._rows // 2:
            wanted = int(self._rows * min(8.0, max(0.25, stretch_s / max(took_s, 1e-6))))
            self._rows = min(max(wanted, limits.BACKFILL_ROWS), self._rows_max)
        return level

    @property
    def shared(self) -> Done:
        """What the nodes that run elsewhere put out here unless they are fed: nothing."""
        return dict.fromkeys(self.fed)

    @property
    def progress(self) -> BackfillProgress:
        """How far it is. Never waits: it may be a moment old."""
        done = total = 0
        for name, positions in list(self.group.positions.items()):
            stream = self.group.streams.get(name)
            starts = self._starts.get(name)
            if stream is not None and starts is not None:
                done += sum(positions) - sum(starts)
                total += sum(partition.end_offset for partition in stream.topic.partitions) - sum(starts)
        for feed in list(self.feeds.values()):
            done, total = done + feed.total - feed.left, total + feed.total
        problem = None if self.problem is None else self.problem.headline
        return BackfillProgress(done, total, problem, bool(self.replaced))

    def _step(self, ends: Mapping[str, list[int]], epoch: int, clock: int) -> bool:
        group, output = self.group, self.views[-1].output
        if self._behind_first(ends) and (output is None or output.done is None):
            held = {name: to if name in self._first_streams else group.positions[name] for name, to in ends.items()}
            self._take_in({name: list(to) for name, to in held.items()}, epoch, clock, self._first)
            if self._behind_first(ends):
                return False
        self._take_in(ends, epoch, clock, self.feeds)
        if output is not None:
            return output.done is None and group.reached(ends)
        return group.reached(ends) and not any(feed.left for feed in self.feeds.values())

    def _take_in(self, ends: Mapping[str, list[int]], epoch: int, clock: int, nodes: Container[Node]) -> None:
        """The next rows of streams, up to `ends`, and of the feeds of `nodes`."""
        group, view, done = self.group, self.views[-1], self.shared
        if view.output is not None:
            group.step_output(view, view.output, epoch, clock, ends)
            return
        for node, feed in self.feeds.items():
            done[node] = feed.take(self._rows) if node in nodes else None
        if not group.reached(ends) or any(change is not None for change in done.values()):
            group.step(epoch, clock, limits=ends, fed=done)

    def _behind_first(self, ends: Mapping[str, list[int]]) -> bool:
        """Whether there are still rows that are only looked up in."""
        streams = {name: ends[name] for name in self._first_streams}
        return not self.group.reached(streams) or any(
            feed.left for node, feed in self.feeds.items() if node in self._first
        )

    def _find_first(self) -> None:
        """Find what is only looked up in, and no part of what looks up."""
        others: set[Node] = set()

        def visit(node: Node) -> None:
            if node not in others:
                others.add(node)
                below = () if node in self.feeds else node.inputs
                for each in below[:1] if isinstance(node.operator, LookupJoin) else below:
                    visit(each)

        for view in self.views:
            visit(view.dataflow.result)
        nodes = [node for view in self.views for node in view.dataflow.nodes]
        self._first = {node for node in nodes if node not in others and (node in self.feeds or node not in self.fed)}
        streams = {n: n.source.name for n in nodes if n.source is not None and not n.source.is_view}
        followed = {name for node, name in streams.items() if node in others}
        self._first_streams = {name for node, name in streams.items() if node in self._first} - followed
        self._first_streams &= self.group.streams.keys()

    def _cut(self, view: View, main: Group) -> None:
        """Let nodes whose rows are kept by a view that runs be taken from there, with all that is below them."""
        old = self.replaced.get(view.name)
        kept = old if old is not None and view.name in self.keeps and old.error is None and old.stepped else None
        if view.output is not None or view.stepped:
            return
        known: dict[object, _Readable] = {}
        wanted = {node.identity for node in view.dataflow.nodes if node.identity is not None}
        for other in main.views:
            if other.error is not None or not other.stepped or other.output is not None:
                continue
            if any(node.identity in wanted for node in other.dataflow.nodes):
                for one in _readable(other):
                    if one.node.identity is not None and main.whole(one.node.streams):
                        known.setdefault(one.node.identity, one)
        own = {} if kept is None else {one.node.plan: one for one in _readable(kept)}
        found: dict[Node, _Readable] = {}

        def look(node: Node) -> None:
            one = own.get(node.plan) or known.get(node.identity)
            if one is not None and not any(self._replaces(below.source) for below in _below([node])):
                found[node] = one
                return
            for below in node.inputs:
                look(below)

        look(view.dataflow.result)
        if not found:
            return
        view.dataflow.share(lambda node: found[node].node if node in found else None)
        view.result.refresh()
        view.refresh_listeners()
        for one in {one.node: one for one in found.values()}.values():
            unread = view.result.holding is one.node and not view.readers
            rows = view.result.schema.empty_table() if unread else one.rows()
            self._feed(one.node, Feed(one.node, rows))

    def _replaces(self, source: Source | None) -> bool:
        """Whether that is a view that will be another one."""
        return source is not None and source.is_view and source.name in self.replaced

    def _feed(self, node: Node, feed: Feed) -> None:
        self.feeds.setdefault(node, feed)
        self.fed.update(_below([node]))


@dataclass(frozen=True)
class _Readable:
    """A node that runs, and how the rows are read that it has put out so far."""

    node: Node
    rows: Callable[[], pa.Table]


def _readable(view: View) -> Iterator[_Readable]:
    """The nodes of a view whose rows are kept, the result first."""
    yield _Readable(view.dataflow.result, view.result.rows)
    for node in view.dataflow.nodes:
        operator = node.operator
        if isinstance(operator, ResultHolder) and (operator.whole or node is view.result.holding):
            yield _Readable(node, operator.rows)


def _below(nodes: Iterable[Node]) -> Iterator[Node]:
    """These nodes and all below them."""
    for node in nodes:
        yield node
        yield from _below(node.inputs)


def stretch(took_s: float, quiet_s: float) -> float:
    """How long to work on history at once, in seconds: an epoch of the others took `took_s`, and was `quiet_s` ago."""
    least_s = limits.BACKFILL_STRETCH_S_QUIET if quiet_s > limits.BACKFILL_QUIET_S else limits.BACKFILL_STRETCH_S
    return min(max(least_s, took_s), limits.BACKFILL_STRETCH_S_MAX)
