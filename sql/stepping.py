"""Stepping: a database that is closed, or another process's, looked at epoch by epoch, operator by operator."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..engine.epochs import Cut
from ..engine.shadow import Shadow
from ..engine.watching import Seen, Watch
from ..storage.errors import Error, Position, ProgrammingError
from .database import Database
from .dbapi import connect
from .explain import operator_names
from .past import shadow_before

_STATE_BYTES_MAX = 16 << 20  # of an operator whose state is compared before and after
_NOWHERE = Position(1, 1)


@dataclass(frozen=True)
class ViewStep:
    """What the operators of a view did in an epoch, by name, inputs before what reads them; or why nobody can tell."""

    view: str
    operators: tuple[tuple[str, Seen], ...]
    problem: Error | None = None


@dataclass(frozen=True)
class EpochStep:
    """An epoch: what it took of the streams since the one `before`, and what the views made of it."""

    cut: Cut
    before: Cut | None
    views: tuple[ViewStep, ...]


class Stepper:
    """Goes to any epoch of the journal; the next one costs only that, another one what lies before it."""

    def __init__(self, database: Database, view: str | None) -> None:
        self._database = database
        names = [relation.name for relation in database.relations if relation.kind == "MATERIALIZED VIEW"]
        if view is not None:
            relation = database.relations.require(view)
            if relation.name.lower() not in database.plans and database.queries.get(relation.name) is None:
                raise ProgrammingError(f'"{relation.name}" has no operators', hint="Name a view, a table or a query.")
            names = [relation.name]
        self._names = names
        self._cuts = list(database.epochs.cuts(0))
        self._runs: dict[str, tuple[Shadow, list[tuple[str, Watch]]]] = {}
        self._at: int | None = None  # the place of the epoch that the runs are at

    @property
    def epochs(self) -> list[int]:
        """All that there are."""
        return [cut.epoch for cut in self._cuts]

    def step(self, epoch: int) -> EpochStep:
        """What happened in this epoch, or in the next one that there is."""
        if not self._cuts:
            raise ProgrammingError("the journal has no epochs", detail="Nothing was recorded in this folder so far.")
        place = min(bisect.bisect_left(self.epochs, epoch), len(self._cuts) - 1)
        cut = self._cuts[place]
        goes_on = self._at is not None and self._at + 1 == place and cut.after == self._cuts[self._at].epoch
        if not goes_on:
            self._runs = {}
        views = [step for name in self._names if (step := self._step_view(name, cut)) is not None]
        self._at = place
        return EpochStep(cut, self._cuts[place - 1] if place else None, tuple(views))

    def _step_view(self, name: str, cut: Cut) -> ViewStep | None:
        """None where the view was not there."""
        try:
            if name not in self._runs:
                shadow, plan, first = shadow_before(self._database, cut, name, _NOWHERE)
                if first.epoch != cut.epoch:
                    return None
                self._runs[name] = shadow, self._watched(name, shadow, plan.name)
            shadow, watches = self._runs[name]
            for _, watch in watches:
                watch.begin()
            shadow.step(cut)
            return ViewStep(name, tuple((title, watch.end()) for title, watch in watches))
        except Error as error:
            self._runs.pop(name, None)
            return ViewStep(name, (), error)

    def _watched(self, name: str, shadow: Shadow, engine_name: str) -> list[tuple[str, Watch]]:
        derived = self._database.queries.get(name)
        planned = self._database.plans[name.lower()] if derived is None else derived.planned
        shadow.listen(engine_name)
        nodes = shadow.view(engine_name).dataflow.nodes
        titles = operator_names(planned.plan)
        return [
            (title, Watch(node, bytes_max=_STATE_BYTES_MAX))
            for title, node in zip(titles, nodes, strict=True)
            if node.operator is not None
        ]


@contextmanager
def stepping(folder: Path, view: str | None) -> Iterator[Stepper]:
    """The folder's epochs, to read only; of one view, table or query, or of all materialized views."""
    with connect(folder, read_only=True) as con:
        yield Stepper(con._database, view)
