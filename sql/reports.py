"""What the operators of a query report of rows that they do without, and to whom."""

from __future__ import annotations

from collections.abc import Callable

from ..storage.folder import Folder
from ..storage.readable import ReadableFolder
from .failed_rows import FailedLog, versions_of
from .late_rows import LateLog
from .lower import Surroundings
from .outputs import shown_name
from .view_plan import ViewPlan


class Reports:
    """The topics of reported rows of a database."""

    def __init__(self, log: ReadableFolder, folder: Folder | None) -> None:
        self.late: LateLog = LateLog(log, folder)
        self.failed: FailedLog = FailedLog(log, folder)

    @property
    def ends(self) -> dict[str, list[int]]:
        """Of the streams that late rows were sent to: how far each partition goes."""
        return self.late.ends

    def flush(self) -> None:
        """Append what an epoch has reported."""
        self.late.flush()
        self.failed.flush()

    def rename(self, view_id: int, name: str) -> None:
        """What the view of that id reports from now on is under that name."""
        self.late.rename(view_id, name)
        self.failed.rename(view_id, name)

    def settle(self) -> None:
        """Returns when all reports so far are durable. Raises: OperationalError if they cannot be."""
        self.late.settle()
        self.failed.settle()

    def around(
        self, name: str, view_id: int, planned: ViewPlan, streams_of: Callable[[str], frozenset[str]]
    ) -> Surroundings:
        """What the operators of a query are told, and to whom they report."""
        late = self.late.reporter(name, view_id, planned.late_to)
        failed = self.failed.reporter(shown_name(name), view_id, versions_of(view_id, planned.plan))
        return Surroundings(streams_of, self.late.known(view_id), late, failed)
