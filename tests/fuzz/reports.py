"""Whether system.failed_rows has each row once that a query does without, and no other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb

import headrace
from headrace.engine.windows import Moments
from headrace.sql import plan as p
from headrace.sql.dialect import twin_sql
from headrace.sql.failed_rows import versions_of
from headrace.sql.skipping import screening


def wrong_reports(connection: headrace.Connection) -> tuple[int, str]:
    """How many rows were told of, and what is wrong with that; "" if nothing is."""
    query = (
        'SELECT version, source, partition, "offset", CASE WHEN "offset" IS NULL THEN row END FROM system.failed_rows'
    )
    told = Counter(connection.execute(query).fetchall())
    twice = [row for row, times in told.items() if times > 1]
    if twice:
        return 0, f"told more than once: {twice[:3]}"
    counts = Counter((version, source) for version, source, *_ in told)
    database: Any = connection._session.database
    running = [(name, derived.planned, derived.query_id) for name, derived in database.queries._running.items()]
    plans = {name: plan for name, plan in database.plans.items() if name in database.view_ids}
    running += [(name, plan, database.view_ids[name]) for name, plan in plans.items()]
    for name, planned, number in running:
        versions = versions_of(number, planned.plan)
        maps = [node for node in p.nodes(planned.plan) if isinstance(node, p.SkippingMap)]
        for source in {node.source for node in maps}:
            mine = [node for node in maps if node.source == source]
            if not all(isinstance(node.input, p.Scan | p.Late) for node in mine):
                continue  # of tables and views those that are gone were told of, too
            found, expected = counts[versions[source], source], _failing(connection, source, mine)
            of_any = len({row[2:] for row in told if row[0].startswith(f"{number}:") and row[1] == source})
            late = any(isinstance(node.input, p.Late) and isinstance(node.input.window, Moments) for node in mine)
            if found > expected or (of_any < expected and not late):  # parts of it may be those of before an ALTER
                return 0, f"{name} tells of {found} rows of {source}, and fails on {expected}"
    return len(told), ""


def _failing(connection: headrace.Connection, source: str, maps: list[p.SkippingMap]) -> int:
    rows = connection.execute(f"SELECT * FROM {source}").fetch_arrow_table()
    fails = [
        f"({twin_sql(each.sound)}) IS NOT TRUE" + ("" if each.asked is None else f" AND ({twin_sql(each.asked)})")
        for each in map(screening, maps)
    ]
    with duckdb.connect() as other:
        other.execute("SET TimeZone = 'UTC'")
        other.register("rows", rows)
        found = other.sql(f"SELECT count(*) FROM rows WHERE {' OR '.join(f'({each})' for each in fails)}").fetchall()
    return int(found[0][0])
