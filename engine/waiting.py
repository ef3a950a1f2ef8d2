"""What a reader waits for: that the views have taken in some rows, and all that queries wrote because of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from .backfill import Backfill
from .group import Group
from .output import Output
from .view import View


class Wish:
    """That a group reads its streams up to `ends`, then what its `outputs` have `written` by that, and by `clock`.

    Each query may read what another has written, so it is asked for level by level.
    """

    def __init__(
        self,
        ends: Mapping[str, list[int]],
        clock: int,
        group: Group,
        outputs: Callable[[], list[Output]],
        written: Mapping[str, list[int]],
    ) -> None:
        self._clock = clock
        self._group = group
        self._outputs = outputs
        self._beside = written
        self._ends = ends
        self._levels = 0

    def reached(self) -> bool:
        """Whether it has come true. Asked again, it goes on from where it was."""
        reached = self._group.reached(self._ends)
        outputs = self._outputs()
        while reached and self._levels < len(outputs) + len(self._beside):
            self._ends = {**self._beside, **{output.target: output.ends for output in outputs if output.ends}}
            self._levels += 1
            reached = self._group.reached(self._ends)
        return reached and not self._group.due(self._clock)


def awaited(backfills: Sequence[Backfill], views: Mapping[str, View], names: Collection[str] | None) -> list[Backfill]:
    """Those that who reads these views and streams (None: all there are) has to wait for."""
    new = [one for one in backfills if not one.replaced and one.error is None]
    if names is None or not new:
        return new
    needed = set(names).union(*(views[name].all_streams for name in names if name in views))
    writing = [(view.output.target, view.all_streams) for view in views.values() if view.output is not None]
    for _ in writing:  # each may read what another writes
        needed.update(*(streams for target, streams in writing if target in needed))
    return [
        one
        for one in new
        if any(view.name in names or (view.output is not None and view.output.target in needed) for view in one.views)
    ]
