"""EXPLAIN as a statement: of a query, of what runs under a name, and of why it has no output."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from ..storage.errors import NotSupportedError
from .database import Database
from .explain import explain, explain_analyze, explain_state
from .outputs import engine_name
from .reading import Rows
from .skipping import skips_of
from .state_ttl import live_ttl
from .statements import CreateDerived, CreateView, Explain, Select, Subscribe
from .subscribing import bare_name
from .twin import expand_views, twin
from .why import why_no_output


def explained(database: Database, statement: Explain, ends: Mapping[str, list[int]], said: Mapping[str, str]) -> Rows:
    """The lines that EXPLAIN answers with; of what runs, once it covers `ends`. `said` is what SET did."""
    lines = pa.array(_lines(database, statement, ends, said), pa.string())
    return Rows(pa.table({"plan": lines}), ("VARCHAR",))


def _lines(database: Database, statement: Explain, ends: Mapping[str, list[int]], said: Mapping[str, str]) -> list[str]:
    inner = statement.statement
    if not isinstance(inner, CreateView | CreateDerived | Select | Subscribe):
        raise NotSupportedError("EXPLAIN takes a query, a name or CREATE ... AS", position=inner.start)
    query, emit = inner.query, None if isinstance(inner, Subscribe) else inner.emit
    final, lateness_us = (False, 0) if emit is None else (emit.mode == "FINAL", emit.lateness_us)
    name = bare_name(query)
    relation = None if name is None else database.relations.get(name)
    derived = None if relation is None else database.queries.get(relation.name)
    if isinstance(inner, CreateDerived):
        derived = database.queries.derive(inner)
    if derived is not None and statement.mode in ("PLAN", "STATE"):
        target = derived.writes
        lines = [f"write to {target.kind.lower()} {target.name}", "    state: none; its progress is on disk"]
        runs = relation is not None and not database.read_only
        state = database.engine.state(engine_name(derived.relation.name)) if runs else None
        told = explain_state if statement.mode == "STATE" else explain
        result, *operators = told(derived.planned.plan, state)
        return [result, *lines, *(f"  {line}" for line in operators)]
    if relation is not None and relation.query is not None:
        query = relation.query
    skips = isinstance(inner, CreateView) and skips_of(inner.options, inner.start)
    if statement.mode == "TWIN":
        running = derived.planned if derived is not None else database.plans.get("" if name is None else name.lower())
        if skips and running is None:
            running = database.plan(query, final=final, lateness_us=lateness_us, skips=True)
        marked = running is not None and running.skips
        expanded = running.query if running is not None and marked else expand_views(query, database.relations)
        return twin(expanded).sql(dialect="duckdb", pretty=True).splitlines()
    kept = None if relation is None else database.plans.get(relation.name.lower())
    if statement.mode in ("ANALYZE", "WHY NO OUTPUT"):
        running = derived.planned if derived is not None else kept
        if relation is None or running is None:
            raise NotSupportedError(
                f"EXPLAIN {statement.mode} takes a materialized view, or a query that writes",
                detail="It says what the operators of one that runs have done so far.",
                hint="CREATE MATERIALIZED VIEW, then ask by its name.",
                position=inner.start,
            )
        name = relation.name if derived is None else engine_name(relation.name)
        database.engine.wait(ends, [relation.name])
        if statement.mode == "WHY NO OUTPUT":
            return why_no_output(database, relation, running.plan, name)
        return explain_analyze(running.plan, database.engine.state(name))
    if kept is None:
        kept = database.plan(query, final=final, lateness_us=lateness_us, skips=skips)
        kept = kept.expiring(live_ttl(inner, said))
        relation = None
    plan = kept.plan
    state = None if relation is None else database.engine.state(relation.name)
    return explain_state(plan, state) if statement.mode == "STATE" else explain(plan, state)
