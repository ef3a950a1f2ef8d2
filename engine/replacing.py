"""Replacing views that run: new versions are built beside the old ones, then take their place at one epoch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..storage import limits
from ..storage.errors import OperationalError
from .arrangement import consolidate
from .backfill import Backfill
from .dataflow import Dataflow, Result
from .delta import Delta, concat
from .group import Group
from .turn import Turns
from .view import View


@dataclass(frozen=True)
class Version:
    """What a view is to be.

    `keeps`: it may go on with the state of what it has been. `told`: who listens to it, or reads it, goes on with the
    difference.
    """

    name: str
    dataflow: Dataflow
    schema: pa.Schema
    key: str
    keeps: bool
    told: bool


class Replacements:
    """How views become others while they run. Methods may be called from any thread; no epoch runs meanwhile.

    `wake` lets the loop look for work; `progress` is told when something has come further; `between` makes an epoch of
    what it is given; `check` raises where the engine has stopped.
    """

    def __init__(
        self,
        views: dict[str, View],
        main: Group,
        backfills: list[Backfill],
        group: Callable[[], Group],
        turns: Turns,
        wake: threading.Event,
        progress: threading.Condition,
        check: Callable[[], None],
        between: Callable[[Callable[[int, int], None]], None],
    ) -> None:
        self._views = views
        self._main = main
        self._backfills = backfills
        self._group = group
        self._turns = turns
        self._wake = wake
        self._progress = progress
        self._check = check
        self._between = between

    def begin(self, versions: Sequence[Version]) -> Backfill:
        """New versions of views begin to be built, each given before those that read it; the old ones go on.

        Raises: OperationalError where a view that they read is itself not through history.
        """
        with self._turns:
            self._check()
            names = {version.name for version in versions}
            for other in [one for one in self._backfills if not names.isdisjoint(one.replaced)]:
                self.abandon(other)
            backfill = _beside(self._views, self._main, self._group(), versions)
            self._backfills.append(backfill)
        self._wake.set()
        return backfill

    def wait(self, backfill: Backfill) -> None:
        """Return when it is level with all others, or has been abandoned. Raises: why it cannot go on."""

        def level() -> bool:
            self._check()
            if (error := backfill.error or backfill.problem) is not None:
                raise error
            return backfill not in self._backfills or backfill.level(self._main)

        with self._turns:
            self._progress.wait_for(level)

    def swap(self, backfill: Backfill, commit: Callable[[], None], ended: Collection[str] = ()) -> None:
        """Let the new versions take the place of the old ones at one epoch, in which no row comes.

        Who listens to an old one, or reads it, gets the difference; or an end, where that is not `told`, and where it
        is a query of those `ended`. `commit` is what makes it last. Where it raises nothing has changed.
        Raises: OperationalError if an old version has gone, or a new one has stopped.
        """
        with self._turns:
            self._check()
            if backfill not in self._backfills:
                raise OperationalError("it was replaced by another one, or dropped, before it was there")
            self._between(lambda epoch, clock: _swap(self._views, self._main, backfill, commit, epoch, clock))
            self._backfills.remove(backfill)
            for subscription in [
                each for name in ended if name in self._views for each in self._views[name].subscriptions
            ]:
                subscription.fail(OperationalError("what the query reads was replaced", hint="Start it again."))
            self._progress.notify_all()

    def abandon(self, backfill: Backfill) -> None:
        """Build it no further: the views that it was to replace stay what they are."""
        with self._turns:
            if backfill in self._backfills:
                self._backfills.remove(backfill)
                _abandon(backfill, self._main)
            self._progress.notify_all()


def _beside(views: dict[str, View], main: Group, group: Group, versions: Sequence[Version]) -> Backfill:
    """The backfill of new versions of `views`, in a `group` that is new."""
    made: dict[str, View] = {}
    for version in versions:
        dataflow = version.dataflow
        inputs = tuple(made.get(name) or views[name] for name in sorted(dataflow.views))
        for upstream in inputs:
            if upstream not in made.values() and upstream not in main.views:
                raise OperationalError(f'"{upstream.name}" is still being built', hint="Wait for it: SHOW QUERIES.")
        made[version.name] = View(
            version.name, dataflow, Result(dataflow, version.schema), inputs=inputs, key=version.key
        )
    for view in made.values():
        for upstream in view.inputs:
            upstream.readers.append(view)
    group.views += made.values()
    for name in sorted({name for version in versions for name in version.dataflow.streams}):
        group.add_stream(main.streams[name], replay_ends=list(main.positions[name]))
    keeps = frozenset(version.name for version in versions if version.keeps)
    told = frozenset(version.name for version in versions if version.told)
    backfill = Backfill(list(made.values()), group, {name: views[name] for name in made}, keeps, told)
    for view in made.values():
        view.refresh_listeners()
    backfill.begin(main)
    return backfill


def _abandon(backfill: Backfill, main: Group) -> None:
    backfill.end(main)
    for view in backfill.views:
        for upstream in view.inputs:
            if view in upstream.readers:
                upstream.readers.remove(view)
                upstream.refresh_listeners()
        view.dataflow.release()


def _swap(
    views: dict[str, View], main: Group, backfill: Backfill, commit: Callable[[], None], epoch: int, clock: int
) -> None:
    if any(views.get(name) is not old for name, old in backfill.replaced.items()):
        raise OperationalError("what was to be replaced is not there any more")
    while not backfill.level(main):
        backfill.step(main, epoch, clock, limits.BACKFILL_STRETCH_S_MAX)
        if backfill.problem is not None:
            raise backfill.problem
    before = {view.name: _rows(backfill.replaced[view.name]) for view in backfill.views}
    gone, present = set(backfill.replaced.values()), main.views
    main.views = [view for view in present if view not in gone]
    try:
        backfill.join(main, epoch, clock)
        if backfill.error is not None:
            raise backfill.error
        commit()
    except BaseException:
        main.views = present
        raise
    changes: dict[tuple[str, bool], Delta] = {}
    for view in backfill.views:
        old = views[view.name]
        views[view.name] = view
        _take_over(view, old, gone, told=view.name in backfill.told)
        rows = before[view.name]
        told = rows is not None and view.name in backfill.told
        change = _difference(rows, view.result.rows()) if told else None
        if change is not None:
            changes[(view.name, True)] = change
            for subscription in view.subscriptions:
                subscription.put(epoch, change)
    main.views = _ordered(main.views)
    main.pass_on(changes, epoch, clock, [view for view in main.views if view not in backfill.views])
    for old in gone:
        old.dataflow.release()


def _take_over(view: View, old: View, gone: set[View], *, told: bool) -> None:
    """The new version has the listeners of the old one, and the readers that stay."""
    for upstream in old.inputs:
        if old in upstream.readers:
            upstream.readers.remove(old)
            upstream.refresh_listeners()
    if told:
        view.subscriptions, old.subscriptions = old.subscriptions, []
        view.readers += [reader for reader in old.readers if reader not in gone and reader not in view.readers]
        for reader in view.readers:
            reader.inputs = tuple(view if each is old else each for each in reader.inputs)
    else:
        old.readers = [reader for reader in old.readers if reader not in gone]
        old.end("has other columns, or another key, now")
    view.refresh_listeners()


def _rows(view: View) -> pa.Table | None:
    """What who listens has been told of; None where nobody does."""
    listens = view.subscriptions or view.readers
    return view.result.rows() if listens and view.error is None else None


def _difference(before: pa.Table, after: pa.Table) -> Delta | None:
    went = [Delta(batch, -Delta(batch).weight_array()) for batch in before.to_batches()]
    both = [*went, *(Delta(batch) for batch in after.to_batches())]
    change = consolidate(concat(both)) if both else None
    return change if change is not None and change.rows else None


def _ordered(views: Sequence[View]) -> list[View]:
    """The same, each after those it reads, and otherwise in the order that they had."""
    here, ordered = set(views), dict[View, None]()

    def visit(view: View) -> None:
        if view in here and view not in ordered:
            for upstream in view.inputs:
                visit(upstream)
            ordered[view] = None

    for view in views:
        visit(view)
    return list(ordered)
