"""The continuous queries that there are: views that are kept, and what writes derived streams and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from ..engine.backfill import BackfillProgress
from ..storage.errors import Error
from . import plan as p
from .outputs import engine_name
from .plan import Plan

if TYPE_CHECKING:
    from .database import Database

QUERIES: pa.Schema = pa.schema(
    [
        *((name, pa.string()) for name in ("name", "kind", "status", "runs", "reason", "statement")),
        ("rows_done", pa.int64()),
        ("rows_total", pa.int64()),
    ]
)
Status = Literal["running", "backfilling", "stopped", "elsewhere"]


@dataclass(frozen=True)
class RunningQuery:
    """One of them. `reason` says why it has stopped, or how far it, or its new version, is through history.

    `elsewhere` it runs where another process owns the folder.
    """

    name: str
    status: Status
    runs: Literal["incremental", "recompute"]
    reason: str | None
    backfill: BackfillProgress | None = None


def running_queries(database: Database) -> list[RunningQuery]:
    """All of them, views first."""
    engine = database.engine
    errors, backfills = engine.errors(), engine.backfills()
    found = []
    for relation in database.relations:
        planned = database.plans.get(relation.name.lower())
        if planned is not None and relation.kind != "TABLE":
            name = relation.name
            failure = database.evolving.failures.get(name.lower())
            error, backfill = errors.get(name), backfills.get(name)
            found.append(_query(name, planned.plan, error, backfill, elsewhere=False, failure=failure))
    for name, planned, error in database.queries.status():
        backfill = backfills.get(engine_name(name))
        failure = database.queries.failure(name)
        found.append(_query(name, planned.plan, error, backfill, elsewhere=database.read_only, failure=failure))
    return found


def query_rows(database: Database) -> pa.Table:
    """The rows of system.queries."""
    rows = []
    for query in running_queries(database):
        relation = database.relations.require(query.name)
        way = (None, None) if query.backfill is None else (query.backfill.done, query.backfill.total)
        rows.append((query.name, relation.kind, query.status, query.runs, query.reason, relation.sql, *way))
    columns = [*zip(*rows, strict=True)] or [()] * len(QUERIES)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, QUERIES, strict=True)]
    return pa.Table.from_arrays(arrays, schema=QUERIES)


def _query(
    name: str,
    plan: Plan,
    error: Exception | None,
    backfill: BackfillProgress | None,
    *,
    elsewhere: bool,
    failure: Error | None = None,
) -> RunningQuery:
    recomputed = any(isinstance(node, p.Recompute) for node in p.walk(plan))
    status: Status = "running"
    reason = getattr(error, "detail", None)
    if error is not None:
        status, backfill = "stopped", None
    elif elsewhere:
        status = "elsewhere"
    elif backfill is not None:
        far = backfill.problem or f"{backfill.done:,} of {backfill.total:,} rows of history"
        status, reason = ("running", f"new version: {far}") if backfill.replaces else ("backfilling", far)
    elif failure is not None:
        reason = f"{failure.headline}: {failure.detail}" if failure.detail else failure.headline
    return RunningQuery(name, status, "recompute" if recomputed else "incremental", reason, backfill)
