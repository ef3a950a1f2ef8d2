"""Live queries that begin in the past: what changed since an epoch is run again, and then they go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.delta import Delta
from ..engine.epochs import Cut
from ..storage.errors import NotSupportedError, OperationalError
from .as_of import AsOf
from .fingerprint import fingerprint
from .past import cut_of, shadow_at, shadow_of
from .view_plan import ViewPlan

if TYPE_CHECKING:
    from .database import Database

_NEAR = 16  # epochs that are run again while no other runs, so that none is left out


class Resumed:
    """The changes of a view after an epoch that is over, first its rows as they were then if `snapshot`.

    With `own` that is the plan of a query that nobody else asks for. They are run again up to an epoch that is near
    the present one.
    State: as that of the view and those it reads, and the changes.
    """

    def __init__(self, database: Database, view: str, own: ViewPlan | None, as_of: AsOf, *, snapshot: bool) -> None:
        self._database = database
        if database.read_only:
            raise NotSupportedError(
                "cannot subscribe as of an epoch where the database is open for reading only",
                detail="This process cuts its own epochs.",
                hint="Subscribe in the process that owns the folder.",
                position=as_of.position,
            )
        cut = cut_of(database, as_of)
        if own is None:
            _refuse_before_it_was(database, view, cut, as_of)
        self._shadow = shadow_at(database, cut, [view]) if own is None else shadow_of(database, cut, view, own)
        if own is not None and self._shadow.shows_cuts:
            raise NotSupportedError(
                "cannot subscribe to this query as of an epoch",
                detail="Which rows were late or idle, or what they looked up, is known of views, not of queries.",
                hint="CREATE MATERIALIZED VIEW, and subscribe to that.",
                position=as_of.position,
            )
        rows = self._shadow.rows(view) if snapshot else None
        self._changes = [] if rows is None else [(cut.epoch, rows)]
        self._heard = self._shadow.listen(view)
        while database.engine.epoch - self._shadow.epoch > _NEAR:
            self._follow()

    def changes(self) -> list[tuple[int, Delta]]:
        """All up to the present epoch. No other may run meanwhile: who goes on from there has each change once."""
        self._follow()
        return self._changes

    def _follow(self) -> None:
        """Run the epochs again that have come since."""
        start, end = self._shadow.epoch, self._database.engine.epoch
        if start == end:
            return
        cuts = self._database.epochs.path(start, end)
        if not cuts:
            raise OperationalError(
                f"could not follow from epoch {start} to {end}",
                detail="The journal has not all epochs in between.",
                hint="Subscribe without AS OF: it begins with the rows that are there now.",
            )
        for cut in cuts:
            self._shadow.step(cut)
            while (change := self._heard.get(0.0)) is not None:
                self._changes.append(change)


def _refuse_before_it_was(database: Database, view: str, cut: Cut, as_of: AsOf) -> None:
    planned, view_id = database.plans[view.lower()], database.view_ids[view.lower()]
    joined = database.epochs.joined(view, fingerprint(view_id, planned.plan))
    if joined is not None and joined > cut.epoch:
        raise NotSupportedError(
            f'cannot subscribe to "{view}" as of epoch {cut.epoch}',
            detail=f"It was made, or replaced, after epoch {joined}.",
            hint=f"AS OF EPOCH {joined}, or without AS OF.",
            position=as_of.position,
        )
