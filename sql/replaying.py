"""REPLAY: a view's epochs are run again, and what comes out is compared with what came out then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from ..engine.digest import Digest, digest
from ..engine.epochs import Cut
from ..engine.shadow import Plan
from ..storage.errors import OperationalError, ProgrammingError
from .looking_back import Replay
from .past import cut_of, shadow_before
from .reading import Rows

if TYPE_CHECKING:
    from .database import Database

_SCHEMA = pa.schema(
    [
        ("epoch", pa.int64()),
        ("rows", pa.int64()),
        ("digest", pa.string()),
        ("recorded", pa.string()),
        ("same", pa.bool_()),
        ("same_order", pa.bool_()),
    ]
)
_TYPES = ("BIGINT", "BIGINT", "VARCHAR", "VARCHAR", "BOOLEAN", "BOOLEAN")


def replay(database: Database, statement: Replay) -> tuple[str, Rows, str]:
    """The command tag, a row for each epoch that changes the view or is recorded to have done so, and a verdict.

    It is the same if it has the same rows and weights, each as often; `same_order` says whether they come in the same
    order within the epoch, too, as where nothing but epochs was run again. Where the journal has no digest of an epoch,
    or the view was still on its way through history, `same` is NULL.
    """
    relation = database.relations.require(statement.name, statement.start)
    if relation.name.lower() not in database.plans and database.queries.get(relation.name) is None:
        raise ProgrammingError(
            f'cannot replay "{relation.name}": it is a {relation.kind.lower()}',
            hint="REPLAY is for materialized views, tables, and queries that write.",
            position=statement.start,
        )
    first, last = cut_of(database, statement.first), cut_of(database, statement.last)
    if last.epoch < first.epoch:
        raise ProgrammingError("the last epoch comes before the first", position=statement.last.position)
    shadow, plan, first = shadow_before(database, first, relation.name, statement.first.position)
    if last.epoch < first.epoch:
        raise OperationalError(
            f'could not replay "{relation.name}"',
            detail=f"As it is now, it is there from epoch {first.epoch} on.",
            hint="CREATE OR REPLACE and ALTER ... AS begin a view anew.",
            position=statement.last.position,
        )
    cuts = database.epochs.path(first.after, last.epoch)
    if not cuts:
        raise OperationalError(
            f'could not replay "{relation.name}"',
            detail=f"Not all epochs from {first.epoch} to {last.epoch} are in the journal.",
        )
    heard = shadow.listen(plan.name)
    found: list[tuple[Cut, Digest | None]] = []
    absent = _absent(cuts, plan)
    for cut in cuts:
        shadow.step(cut)
        change = heard.get(0.0)
        known = None if cut.epoch in absent else cut.changes
        found.append((replace(cut, changes=known), None if change is None else digest(change[1])))
    return _compared(relation.name, plan.name, found)


def _absent(cuts: list[Cut], plan: Plan) -> set[int]:
    """The epochs, at the beginning of a process, in which the view was still on its way through history."""
    absent: set[int] = set()
    since: list[int] = []
    for cut in cuts:
        if cut.begins:
            since = []
        if cut.joined.get(plan.name) == plan.key:
            absent.update(since)
        since.append(cut.epoch)
    return absent


def _compared(view: str, name: str, found: list[tuple[Cut, Digest | None]]) -> tuple[str, Rows, str]:
    table: list[tuple[object, ...]] = []
    other, turned, unknown = list[int](), 0, 0
    for cut, made in found:
        unknown += cut.changes is None
        known = None if cut.changes is None else cut.changes.get(name)
        if made is None and known is None:
            continue
        same = None if cut.changes is None else _content(made) == _content(known)
        if same is False:
            other.append(cut.epoch)
        turned += same is True and made != known
        texts = (None if each is None else each.text for each in (made, known))
        table.append((cut.epoch, 0 if made is None else made.rows, *texts, same, same and made == known))
    columns = [*zip(*table, strict=True)] or [()] * len(_SCHEMA)
    rows = Rows(pa.table([pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA), _TYPES)
    changes = f"{len(table)} of {len(found)} epochs changed it"
    if other:
        return "REPLAY FAILED", rows, f'"{view}" is not what it was: {changes}, and not as in epoch {other[0]}'
    if unknown:
        lacks = f"of {unknown} of {len(found)} epochs there is no digest"
        hint = "connect(..., epoch_digests=True) lets the journal have them"
        if unknown == len(found):
            return "REPLAY", rows, f'"{view}" cannot be compared: {lacks}; {hint}'
        changes = f"{changes}; {lacks}"
    order = f"though in {turned} epochs in another order" if turned else "in the same order"
    return "REPLAY", rows, f'"{view}" is what it was, row for row, {order}: {changes}'


def _content(change: Digest | None) -> str:
    """What it says all in all: a row that comes and goes within an epoch may be there or not."""
    return f"{0:016x}" if change is None else change.content
