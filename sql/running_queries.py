"""The continuous queries that there are: views that are kept, and what writes derived streams and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from . import plan as p
from .plan import Plan

if TYPE_CHECKING:
    from .database import Database

QUERIES = pa.schema([(name, pa.string()) for name in ("name", "kind", "status", "runs", "reason", "statement")])


@dataclass(frozen=True)
class RunningQuery:
    """One of them. `reason` says why it has stopped; `elsewhere` it runs where another process owns the folder."""

    name: str
    status: Literal["running", "stopped", "elsewhere"]
    runs: Literal["incremental", "recompute"]
    reason: str | None


def running_queries(database: Database) -> list[RunningQuery]:
    """All of them, views first."""
    errors = database.engine.errors()
    found = []
    for relation in database.relations:
        planned = database.plans.get(relation.name.lower())
        if planned is not None and relation.kind != "TABLE":
            error = errors.get(relation.name)
            found.append(_query(relation.name, planned.plan, error, elsewhere=False))
    for name, planned, error in database.queries.status():
        found.append(_query(name, planned.plan, error, elsewhere=database.read_only))
    return found


def query_rows(database: Database) -> pa.Table:
    """The rows of system.queries."""
    rows = []
    for query in running_queries(database):
        relation = database.relations.require(query.name)
        rows.append((query.name, relation.kind, query.status, query.runs, query.reason, relation.sql))
    columns = [*zip(*rows, strict=True)] or [()] * len(QUERIES)
    return pa.Table.from_arrays([pa.array(column, pa.string()) for column in columns], schema=QUERIES)


def _query(name: str, plan: Plan, error: Exception | None, *, elsewhere: bool) -> RunningQuery:
    recomputed = any(isinstance(node, p.Recompute) for node in p.walk(plan))
    status: Literal["running", "stopped", "elsewhere"] = "stopped" if error is not None else "running"
    reason = getattr(error, "detail", None)
    return RunningQuery(
        name, "elsewhere" if elsewhere else status, "recompute" if recomputed else "incremental", reason
    )
