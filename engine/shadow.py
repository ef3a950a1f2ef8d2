"""Shadows: views that are run a second time, beside all else, as they were at epochs that the journal has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from .checkpoint import Found, RestoreError
from .dataflow import Dataflow, Result
from .delta import Delta
from .epochs import Cut
from .group import Group
from .looking import reading
from .operators.late import Late
from .options import Options
from .reading import Reading
from .subscription import Subscription
from .view import Stream, View


@dataclass(frozen=True)
class Plan:
    """A view to run again: `make` gives its operators, without anything they know; `key` as a checkpoint has it."""

    name: str
    make: Callable[[], Dataflow]
    schema: pa.Schema
    key: str | None


class Shadow:
    """The views of `plans`, each after those that it reads, over `streams`, as they were after the epoch `epoch`.

    From a checkpoint that was `found` where it has all of them, or from the start of their logs.
    State: as that of the views.
    """

    def __init__(
        self, options: Options, streams: Sequence[Stream], plans: Sequence[Plan], found: Found | None = None
    ) -> None:
        self._group = Group(options)
        self._views: dict[str, View] = {}
        self.epoch = 0 if found is None else found.moment.epoch
        for stream in streams:
            read = None if found is None else found.stream(stream, found.moment.clock)
            self._group.add_stream(stream, replay_ends=[0] * len(stream.topic.partitions), read=read)
        for plan in plans:
            dataflow = plan.make()
            inputs = tuple(self._views[name] for name in sorted(dataflow.views))
            view = View(plan.name, dataflow, Result(dataflow, plan.schema), inputs, key=plan.key)
            if found is not None and not found.take_over(view):
                raise RestoreError(f'the checkpoint of epoch {self.epoch} has no "{plan.name}"')
            self._views[plan.name] = view
            self._group.views.append(view)
            for upstream in inputs:
                upstream.readers.append(view)
                upstream.refresh_listeners()
            view.refresh_listeners()

    @property
    def needs_each(self) -> bool:
        """Whether what a view has depends on how rows were cut into epochs, and that is recorded of no row."""
        nodes = (node.operator for view in self._views.values() for node in view.dataflow.nodes)
        return any(one is not None and one.shows_cuts and not isinstance(one, Late) for one in nodes)

    @property
    def shows_cuts(self) -> bool:
        """Whether what a view has depends on how rows were cut into epochs."""
        nodes = (node for view in self._views.values() for node in view.dataflow.nodes)
        return any(node.operator is not None and node.operator.shows_cuts for node in nodes)

    @property
    def positions(self) -> dict[str, list[int]]:
        """How far each stream is read."""
        return {name: list(positions) for name, positions in self._group.positions.items()}

    def view(self, name: str) -> View:
        """One of the views."""
        return self._views[name]

    def listen(self, name: str) -> Subscription:
        """The changes of a view from here on, a step at a time."""
        subscription = Subscription(lambda _: None)
        self._views[name].subscribe(subscription, None)
        return subscription

    def go_through_history(self, cut: Cut) -> None:
        """All rows up to the cut are taken in; none is late that is not known to be. Raises: why a view has stopped."""
        group, ends = self._group, self._group.ends_of(cut)
        group.replay_ends.update(ends)
        group.ceilings = {name: read.watermark for name, read in cut.streams.items()}
        while not group.reached(ends):
            group.step(cut.epoch, cut.clock, limits=ends)
            self._check()
        group.ceilings = {}
        self.step(cut)

    def step(self, cut: Cut) -> None:
        """The epoch is run again as it was cut. Raises: why a view has stopped."""
        self._group.step(cut.epoch, cut.clock, cut=cut)
        self.epoch = cut.epoch
        self._check()

    def rows(self, name: str) -> Delta | None:
        """The rows of a view now; None where it has none."""
        batches = self._views[name].present.rows().combine_chunks().to_batches()
        return Delta(batches[0]) if batches and batches[0].num_rows else None

    def reading(self, cut: Cut, views: Sequence[str], streams: Sequence[str]) -> Reading:
        """What these are after the cut, at which it is."""
        assert cut.epoch == self.epoch
        return reading(self._group, [self._views[name] for name in views], streams, cut.epoch, cut.clock)

    def _check(self) -> None:
        for view in self._views.values():
            if view.error is not None:
                raise view.error
