"""What a reader waits for: that the views have taken in some rows, and all that queries wrote because of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .group import Group
from .output import Output


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
