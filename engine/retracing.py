"""Retracing: the epochs that the journal has since the last checkpoint are run again as they were cut."""

from __future__ import annotations

from collections.abc import Mapping

from ..storage.readable import ReadableTopic
from .checkpoint import Found
from .epochs import Cut, Epochs
from .group import Group
from .output import Progress
from .view import View


class Retracing:
    """What an engine runs again before it goes on: the `cuts` that led from its checkpoint to its last epoch.

    What a query writes depends on how its rows were cut, and so does what is late or looked up. Where nobody can tell,
    all rows up to the last cut are taken as history is.
    """

    def __init__(self, epochs: Epochs, found: Found | None, topics: Mapping[str, ReadableTopic]) -> None:
        """What came after the checkpoint that was `found`, as long as the topics have what was read then.

        Nothing, and rows are cut into epochs anew, where some were deleted or compacted since.
        """
        self.epochs, self.found = epochs, found
        self._base = {} if found is None else found.read
        cuts = epochs.begin(0 if found is None else found.moment.epoch)
        while cuts and not _there(cuts[-1], topics):
            cuts.pop()
        if cuts and not all(_whole(name, cuts[-1], self._base, topics) for name in cuts[-1].streams):
            cuts = []
        self._cuts = cuts
        self._taken = 0
        self._each: bool | None = None  # whether cuts show

    @property
    def left(self) -> bool:
        """Whether there is anything to run again."""
        return self._taken < len(self._cuts)

    def takes(self, view: View, *, found: bool) -> bool:
        """Whether a view is there from the beginning, where a checkpoint has it, or there is none at all (not `found`).

        It is not where it would not become what it was: it goes through history by itself then.
        """
        done = None if view.output is None else view.output.done
        if done is not None and not any(done == _progress(cut, view) for cut in self._cuts):
            return False
        if found or not self._cuts:
            return found or view.output is None
        return (view.output is None and not _shows_cuts(view)) or self._began_with_nothing(view)

    def step(self, group: Group, clock: int) -> tuple[int, Cut | None]:
        """The group runs one of them again, or a part of it; the rows taken, and the cut if it is done.

        After the last the group goes on at `clock`: while nobody listened no partition was silent.
        """
        if self._each is None:
            self._each = any(view.output is not None or _shows_cuts(view) for view in group.views)
            self._taken = 0 if self._each else len(self._cuts) - 1
        cut = self._cuts[self._taken]
        ends = group.ends_of(cut)
        if not self._each and not group.reached(ends):
            group.ceilings = {name: read.watermark for name, read in cut.streams.items()}
            return group.step(cut.epoch, cut.clock, limits=ends), None
        rows = group.step(cut.epoch, cut.clock, cut=cut)
        self._taken += 1
        if not self.left:
            group.ceilings = {}
            for time in group.times.values():
                time.listen_again(clock)
        return rows, cut

    def _began_with_nothing(self, view: View) -> bool:
        """Whether no row had been read of the view's streams when it joined."""
        before = self._base
        for cut in self._cuts:
            if cut.joined.get(view.name) == view.key:
                break
            before = {name: read.ends for name, read in cut.streams.items()}
        return not any(end for name in view.all_streams for end in before.get(name, ()))


def _shows_cuts(view: View) -> bool:
    """Whether what the view has depends on how rows were cut into epochs."""
    return any(node.operator is not None and node.operator.shows_cuts for node in view.dataflow.nodes)


def _progress(cut: Cut, view: View) -> Progress:
    reads = {name: cut.streams[name] for name in sorted(view.dataflow.streams) if name in cut.streams}
    ends = {name: read.ends for name, read in reads.items()}
    return Progress(ends, {name: read.watermark for name, read in reads.items()}, cut.clock)


def _there(cut: Cut, topics: Mapping[str, ReadableTopic]) -> bool:
    """Whether the topics have all rows up to where the cut is; those that were dropped are not asked for."""
    return all(
        end <= partition.end_offset
        for name, read in cut.streams.items()
        if name in topics and topics[name].created == read.created
        for end, partition in zip(read.ends, topics[name].partitions, strict=True)
    )


def _whole(name: str, cut: Cut, base: Mapping[str, list[int]], topics: Mapping[str, ReadableTopic]) -> bool:
    """Whether of what was read of a stream between `base` and the cut nothing is gone."""
    topic, read = topics.get(name), cut.streams[name]
    if topic is None or topic.created != read.created:
        return True
    starts = base.get(name, [0] * len(read.ends))
    return all(log.whole(start, end) for log, start, end in zip(topic.partitions, starts, read.ends, strict=True))
