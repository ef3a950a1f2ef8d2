"""Problems: what goes wrong beside the statements, and so would be told to nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from ..storage import limits
from ..storage.errors import Error

if TYPE_CHECKING:
    from .database import Database

PROBLEMS = pa.schema([("what", pa.string()), ("reason", pa.string()), ("hint", pa.string())])


@dataclass(frozen=True)
class Problem:
    """What does not work at the moment, why, and what can be done."""

    what: str
    reason: str
    hint: str | None = None

    @property
    def notice(self) -> str:
        """As one sentence."""
        return f"{self.what}: {self.reason}"


def failures(database: Database) -> Iterator[Problem]:
    """What has failed in the background. It is asked for with each statement."""
    failure = database.checkpointer.failure
    if failure is not None:
        hint = failure.hint or "It is tried again; until then opening the database again takes longer."
        yield Problem("no checkpoint could be taken", _said(failure), hint)
    failure = database.epochs.failure
    if failure is not None:
        hint = (
            "Queries go on. After a restart the rows since are cut into epochs anew; open it again once that is mended."
        )
        yield Problem("epochs are not recorded any more", _said(failure), hint)
    for name, error in database.queries.failures().items():
        hint = f"The rows wait, and it is tried again every {limits.FILES_RETRY_S:g} seconds; make the folder writable."
        yield Problem(f'no files can be made of "{name}"', _said(error), error.hint or hint)
    for kind, failure in (("late", database.reports.late.failure), ("failed", database.reports.failed.failure)):
        if failure is not None:
            hint = "They are kept in memory, and it is tried again after each epoch."
            yield Problem(f"{kind} rows could not be written down", _said(failure), hint)
    for relation in database.relations if database.reports.failed.ids else ():
        derived = database.queries.get(relation.name)
        number = database.view_ids.get(relation.name.lower()) if derived is None else derived.query_id
        if number in database.reports.failed.ids:
            hint = "Each is there with what it fails with; a query with TRY_CAST and the like would have them."
            yield Problem(
                f'"{relation.name}" goes on without rows on which it fails', "system.failed_rows has them", hint
            )
    for name, error in database.evolving.failures.items():
        yield Problem(f'the new version of "{name}" was given up', error.detail or _said(error), error.hint)


def problems(database: Database) -> Iterator[Problem]:
    """All there are now, but for queries that have stopped, which system.queries has."""
    yield from failures(database)
    for notice in (*database.log.notices, *database.epochs.notices):
        yield Problem("the log", notice)


def problem_rows(database: Database) -> pa.Table:
    """The rows of system.problems."""
    rows = [(problem.what, problem.reason, problem.hint) for problem in problems(database)]
    columns = [*zip(*rows, strict=True)] or [()] * len(PROBLEMS)
    return pa.Table.from_arrays([pa.array(column, pa.string()) for column in columns], schema=PROBLEMS)


def _said(error: Error) -> str:
    return error.headline if error.detail is None else f"{error.headline} ({error.detail.rstrip('.')})"
