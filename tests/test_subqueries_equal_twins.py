"""Subqueries, LATERAL and UNNEST of every kind, over rows with NULLs and duplicates: each view equals its twin."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pytest

import headrace
from headrace.sql.aggregate_names import AGGREGATE_NAMES
from headrace.sql.subqueries import UNKNOWN_OF_NO_ROWS, ZERO_OF_NO_ROWS

RELATIONS = """
CREATE STREAM t (id BIGINT, g INTEGER, x INTEGER, s VARCHAR, l INTEGER[]);
CREATE STREAM u (k BIGINT, h INTEGER, y INTEGER, r VARCHAR);
CREATE STREAM n (k BIGINT NOT NULL, y INTEGER NOT NULL);
CREATE TABLE p (k BIGINT PRIMARY KEY, v INTEGER);
CREATE MATERIALIZED VIEW tot AS SELECT g, count(*) AS n, sum(x) AS sx FROM t GROUP BY g;
"""
VIEWS = [
    "SELECT id FROM t WHERE id IN (SELECT k FROM u)",
    "SELECT id FROM t WHERE id NOT IN (SELECT k FROM u)",
    "SELECT id FROM t WHERE id NOT IN (SELECT k FROM n)",
    "SELECT k FROM n WHERE k NOT IN (SELECT k FROM u)",
    "SELECT k FROM n WHERE k NOT IN (SELECT y FROM n)",
    "SELECT id FROM t WHERE id NOT IN (SELECT k FROM u WHERE u.h = t.g)",
    "SELECT id FROM t WHERE id NOT IN (SELECT k FROM u WHERE u.h < t.g)",
    "SELECT id FROM t WHERE id IN (SELECT k FROM u WHERE u.h < t.g)",
    "SELECT id FROM t WHERE id IN (SELECT y FROM u WHERE u.h = t.g AND r <> 'a')",
    "SELECT * FROM t WHERE EXISTS (SELECT * FROM u WHERE u.k = t.id)",
    "SELECT * FROM t WHERE NOT EXISTS (SELECT * FROM u WHERE u.k = t.id)",
    "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.id AND u.y > t.x)",
    "SELECT * FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.id AND u.y > t.x AND s IS NOT NULL)",
    "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u)",
    "SELECT * FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE y > 3)",
    "SELECT * FROM t WHERE EXISTS (SELECT k FROM u WHERE u.k = t.id GROUP BY k HAVING count(*) > 1)",
    "SELECT id, x FROM t WHERE x > (SELECT avg(y) FROM u)",
    "SELECT id, (SELECT max(y) FROM u) AS m FROM t",
    "SELECT id, (SELECT max(y) FROM u) FROM t",
    "SELECT id, (SELECT max(y) FROM u WHERE u.k = t.id) AS m FROM t",
    "SELECT id, (SELECT count(*) FROM u WHERE u.k = t.id) AS c FROM t",
    "SELECT id, (SELECT count(*) + coalesce(sum(y), 7) + t.x FROM u WHERE u.k = t.id) AS c FROM t",
    "SELECT id, (SELECT count(*) FROM u WHERE u.k = t.id HAVING count(*) > 1) AS c FROM t",
    "SELECT id, (SELECT max(y) FROM u WHERE u.k < t.id) AS c FROM t",
    "SELECT id, (SELECT sum(y * t.x) FROM u WHERE u.k = t.id) AS c FROM t",
    "SELECT id, (SELECT v FROM p WHERE p.k = t.id) AS c FROM t",
    "SELECT id, (SELECT y FROM u WHERE u.k = t.id ORDER BY y LIMIT 1) AS c FROM t",
    "SELECT id, (SELECT y FROM u ORDER BY y DESC LIMIT 1) AS c FROM t",
    "SELECT id, id IN (SELECT k FROM u) AS c FROM t",
    "SELECT id, id NOT IN (SELECT k FROM u) AS c FROM t",
    "SELECT id, id IN (SELECT k FROM u WHERE u.h = t.g) AS c FROM t",
    "SELECT id, EXISTS (SELECT 1 FROM u WHERE u.k = t.id) AS c FROM t",
    "SELECT id, NOT EXISTS (SELECT 1 FROM u) AS c FROM t",
    "SELECT id FROM t WHERE x = 1 OR id IN (SELECT k FROM u)",
    "SELECT id FROM t WHERE x = 1 OR EXISTS (SELECT 1 FROM u WHERE u.k = t.id AND u.y < t.x)",
    "SELECT id FROM t WHERE id > ALL (SELECT k FROM u)",
    "SELECT id FROM t WHERE id > ALL (SELECT k FROM u WHERE u.h = t.g)",
    "SELECT id FROM t WHERE id < ANY (SELECT k FROM u)",
    "SELECT id FROM t WHERE id = ANY (SELECT k FROM u) AND id <> ALL (SELECT y FROM u)",
    "SELECT id FROM t WHERE (id, x) IN (SELECT k, y FROM u)",
    "SELECT id FROM t WHERE id IN (SELECT k FROM u WHERE y IN (SELECT v FROM p))",
    "SELECT id FROM t WHERE id IN (SELECT k FROM u WHERE EXISTS (SELECT 1 FROM p WHERE p.k = u.k AND p.v = t.x))",
    "SELECT id FROM t WHERE id IN (SELECT k FROM u UNION ALL SELECT k FROM p)",
    "SELECT id FROM t WHERE id IN (SELECT k FROM u GROUP BY k HAVING count(*) > 1)",
    "SELECT id FROM t WHERE id IN (SELECT max(k) FROM u WHERE u.h = t.g)",
    "SELECT a.id, b.y FROM t AS a LEFT JOIN u AS b ON a.id = b.k WHERE a.x IN (SELECT v FROM p) AND b.y NOT "
    "IN (SELECT k FROM p)",
    "SELECT g, count(*) AS c FROM t WHERE id IN (SELECT k FROM u) GROUP BY g",
    "SELECT g, count(*) AS c FROM t WHERE x > (SELECT min(y) FROM u) GROUP BY g HAVING count(*) > 1",
    "SELECT g, sum(x) AS c FROM t GROUP BY g HAVING sum(x) > (SELECT avg(y) FROM u)",
    "SELECT g, sum(x) AS c, (SELECT max(y) FROM u) AS m FROM t GROUP BY g",
    "SELECT g, sum(x) AS c, (SELECT max(y) FROM u WHERE u.h = t.g) AS m FROM t GROUP BY g",
    "SELECT g, sum((SELECT max(y) FROM u WHERE u.h = t.x)) AS c FROM t GROUP BY g",
    "SELECT id, x, row_number() OVER (PARTITION BY g ORDER BY x, id) AS rn FROM t WHERE id IN (SELECT k FROM "
    "u) QUALIFY rn <= 2",
    "SELECT id, x FROM t QUALIFY row_number() OVER (PARTITION BY g ORDER BY x, id) <= 2 AND id IN (SELECT k FROM u)",
    "SELECT (SELECT count(*) FROM t) AS a, (SELECT count(*) FROM u) AS b",
    "SELECT DISTINCT g FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.h = t.g) ORDER BY g LIMIT 3",
    "SELECT * FROM tot WHERE n > (SELECT avg(n) FROM tot)",
    "SELECT id FROM t WHERE x >= (SELECT max(x) FROM t AS i WHERE i.g = t.g)",
    "SELECT id, (SELECT t.x + 1) AS c FROM t",
    "SELECT id FROM t WHERE id IN (SELECT k + t.x FROM u)",
    "SELECT id FROM t WHERE 1 IN (SELECT h FROM u WHERE u.k = t.id)",
    "SELECT id FROM t WHERE s IN (SELECT r FROM u) AND s NOT IN (SELECT r FROM u WHERE h > 2)",
    "SELECT id, (SELECT list(y ORDER BY y) FROM u WHERE u.k = t.id) AS c FROM t",
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u JOIN p ON u.k = p.k AND p.v > t.x WHERE u.h = t.g)",
    "SELECT id, (SELECT count(*) FROM u JOIN p ON u.k = p.k WHERE u.h = t.g) AS c FROM t",
    "SELECT id FROM t WHERE (SELECT count(*) FROM u WHERE u.k = t.id) > 1",
    "SELECT id FROM t WHERE g IN (SELECT DISTINCT h FROM u WHERE u.k = t.id)",
    "SELECT id FROM t WHERE NOT (id IN (SELECT k FROM u))",
    "SELECT id FROM t WHERE x BETWEEN (SELECT min(y) FROM u) AND (SELECT max(y) FROM u)",
    "SELECT CASE WHEN id IN (SELECT k FROM u) THEN 'in' ELSE 'out' END AS c FROM t",
    "SELECT id FROM t WHERE id IN (SELECT y FROM u WHERE u.k = t.id ORDER BY y LIMIT 2)",
    "SELECT g + 1 AS h, sum(x) AS c FROM t GROUP BY h HAVING count(*) > (SELECT count(*) FROM p) OR h IN "
    "(SELECT k FROM p)",
    "SELECT sum(x) AS c, (SELECT count(*) FROM p) AS d FROM t",
    "SELECT id, (SELECT y FROM (SELECT h, sum(y) AS y FROM u GROUP BY h) AS q WHERE q.h = t.g) AS c FROM t",
    "SELECT id, (SELECT sum(y) FROM u WHERE u.h = t.g GROUP BY h) AS c FROM t",
    "SELECT id FROM t WHERE id IN (SELECT k FROM u WHERE u.h = t.g QUALIFY row_number() OVER (ORDER BY y, k) <= 2)",
    "SELECT id, (SELECT string_agg(r, ',' ORDER BY r) FROM u WHERE u.k = t.id) AS c FROM t",
    "SELECT id, (SELECT max(v) FROM p WHERE p.k = t.id) - (SELECT min(y) FROM u WHERE u.k = t.id AND u.r = "
    "t.s) AS c FROM t",
    "SELECT id FROM t AS o WHERE NOT EXISTS (SELECT 1 FROM t AS i WHERE i.g = o.g AND i.x > o.x)",
    "SELECT g FROM tot WHERE NOT EXISTS (SELECT 1 FROM u WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.g = tot.g "
    "AND t.id = u.k))",
    "SELECT id FROM t WHERE CAST(s AS VARCHAR) IN (SELECT upper(r) FROM u)",
    "SELECT id FROM t WHERE x IN (SELECT k FROM u)",
    "SELECT id, x IN (SELECT k FROM u) AS c FROM t",
    "SELECT id, EXISTS (SELECT 1 FROM u WHERE u.k = t.x) AS c FROM t",
    "SELECT id, s IN (SELECT r FROM u WHERE u.h = t.g) OR x > 2 AS c FROM t",
    "SELECT id FROM t WHERE id NOT IN (SELECT k FROM n WHERE n.y = t.x)",
    "SELECT id, k FROM t JOIN u ON t.id = u.k WHERE EXISTS (SELECT 1 FROM p WHERE p.k = t.id AND p.v = u.y)",
    "SELECT id, (SELECT v FROM p WHERE p.k = u.k) AS c FROM t LEFT JOIN u ON t.id = u.k",
    "SELECT * FROM (SELECT id, (SELECT count(*) FROM u WHERE u.k = t.id) FROM t) AS q",
    "SELECT id, 2 IN (SELECT h FROM u) AS c FROM t",
    "SELECT id, NULL IN (SELECT h FROM u) AS c FROM t",
    "SELECT id FROM t WHERE NULL NOT IN (SELECT h FROM u)",
    "SELECT id, (SELECT count(DISTINCT y) FILTER (WHERE h > 1) FROM u WHERE u.k = t.id) AS c FROM t",
    "SELECT id FROM t WHERE EXISTS (SELECT max(y) FROM u WHERE u.k = t.id)",
    "SELECT id FROM t WHERE EXISTS (SELECT k FROM u WHERE u.k = t.id ORDER BY y LIMIT 1)",
    "SELECT id FROM t WHERE s = (SELECT max(r) FROM u WHERE u.k = t.id AND y IN (SELECT v FROM p WHERE p.k = u.h))",
    "SELECT id FROM t WHERE (SELECT max(r) FROM u WHERE u.k = t.id AND y IN (SELECT v FROM p WHERE p.k = t.g)) IS NULL",
    "SELECT id FROM t WHERE x > (SELECT avg(y) FROM u) UNION ALL SELECT k FROM n WHERE k IN (SELECT id FROM t)",
    "SELECT id, x FROM t WHERE id IN (SELECT k FROM u) ORDER BY x DESC, id LIMIT 3",
    "SELECT id, x FROM t ORDER BY (SELECT max(y) FROM u WHERE u.k = t.id) DESC, id, x LIMIT 3",
]
UNNESTED = [
    "SELECT id, v FROM t, UNNEST(t.l) AS e(v)",
    "SELECT id, v FROM t CROSS JOIN UNNEST(l) AS e(v) WHERE v > 1 AND x > 0",
    "SELECT id, v FROM t LEFT JOIN UNNEST(t.l) AS e(v) ON TRUE",
    "SELECT id, v, o FROM t LEFT JOIN UNNEST(t.l) WITH ORDINALITY AS e(v, o) ON TRUE",
    "SELECT id, v, o FROM t CROSS JOIN UNNEST(t.l) WITH ORDINALITY AS e(v, o) WHERE o = 1",
    "SELECT * FROM t, UNNEST(l) WITH ORDINALITY",
    "SELECT * FROM t, LATERAL UNNEST(l) AS e",
    "SELECT id, e FROM t, UNNEST(l) AS e",
    "SELECT id, unnest(l) AS v FROM t WHERE x > 1",
    "SELECT id, unnest(l) FROM t",
    "SELECT id, unnest(l) + 1 AS v, unnest([7, 8, 9]) AS w, unnest(l) AS z FROM t",
    "SELECT *, unnest([id, x]) AS w FROM t",
    "SELECT v, count(*) AS c FROM t, UNNEST(l) AS e(v) GROUP BY v",
    "SELECT v, sum(id) AS c FROM (SELECT id, unnest(l) AS v FROM t) AS q GROUP BY v",
    "SELECT DISTINCT unnest(l) AS v FROM t",
    "SELECT unnest(l) AS v FROM t ORDER BY v LIMIT 3",
    "SELECT id, v, w FROM t, UNNEST(l) AS e(v), UNNEST([v, v + 1]) AS f(w) WHERE w > 1",
    "SELECT t.id, v, u.y FROM t CROSS JOIN UNNEST(l) AS e(v) JOIN u ON u.k = v",
    "SELECT t.id, v, u.y FROM t LEFT JOIN u ON u.k = t.id CROSS JOIN UNNEST(l || [u.y]) AS e(v)",
    "SELECT id, n FROM t, range(t.x) AS r(n)",
    "SELECT id, n FROM t, generate_series(1, t.x) AS r(n) WHERE n <> 2",
    "SELECT id, n FROM t LEFT JOIN generate_series(1, t.x, 2) AS r(n) ON TRUE",
    "SELECT id, (SELECT sum(y) FROM u WHERE u.k = v) AS s FROM t, UNNEST(l) AS e(v)",
    "SELECT id FROM t, UNNEST(l) AS e(v) WHERE v IN (SELECT k FROM u)",
    "SELECT id FROM t WHERE id IN (SELECT unnest([k, y]) FROM u)",
    "SELECT id, unnest(['a', s]) AS v FROM t",
    "SELECT id, CASE WHEN id > 1 THEN unnest(l) END AS v FROM t",
    "SELECT id, unnest([{'a': x, 'b': s}]) AS v FROM t",
    "SELECT g, sx, unnest([n, sx]) AS v FROM tot",
    "SELECT id, v FROM t, UNNEST([1, 2]) AS e(v)",
    "SELECT t.id, q.b FROM t JOIN (VALUES (1, 'a'), (2, 'b')) AS q(i, b) ON q.i = t.id",
    "SELECT t.id FROM t JOIN generate_series(1, 3) AS q(i) ON q.i = t.id",
    "SELECT t.id, i FROM range(4) AS q(i) LEFT JOIN t ON q.i = t.id",
    "SELECT t.id, i FROM t, UNNEST([1, 2]) AS q(i) WHERE q.i = t.id",
    "SELECT id, v FROM t, UNNEST(CAST([x, g] AS INTEGER[2])) AS e(v)",
    "SELECT id FROM t WHERE id IN (VALUES (1), (2))",
    "SELECT id, i IN (SELECT k FROM u) AS c FROM t JOIN (SELECT unnest([1, 2]) AS i) AS q ON q.i = t.id",
]
LATERAL = [
    "SELECT id, z.y FROM t, LATERAL (SELECT y FROM u WHERE u.k = t.id UNION ALL SELECT t.x) AS z",
    "SELECT id, array(SELECT y FROM u WHERE u.k = t.id ORDER BY h) AS c FROM t",
    "SELECT id FROM t WHERE id IN (SELECT k FROM u WHERE u.h = t.g ORDER BY y, k LIMIT 1 OFFSET 1)",
    "SELECT id, x FROM t WHERE (id, x) NOT IN (SELECT k, y FROM u)",
    "SELECT id, x FROM t WHERE x NOT IN (SELECT y FROM u WHERE u.k = t.id EXCEPT SELECT t.g)",
    "SELECT t.id, u.y FROM t LEFT JOIN u ON u.k = t.id AND u.y >= (SELECT avg(y) FROM u AS other WHERE other.h = u.h)",
    "SELECT * FROM t, LATERAL (SELECT y FROM u WHERE u.k = t.id) AS z",
    "SELECT t.*, z.* FROM t JOIN LATERAL (SELECT y, r FROM u WHERE u.k = t.id AND u.h < t.x) AS z ON z.y > 1",
    "SELECT * FROM t LEFT JOIN LATERAL (SELECT y AS w FROM u WHERE u.k = t.id) AS z ON TRUE",
    "SELECT id, w FROM t LEFT JOIN LATERAL (SELECT y + t.x AS w FROM u WHERE u.k = t.id) AS z ON w > 2",
    "SELECT id, c, m FROM t, LATERAL (SELECT count(*) AS c, max(y) AS m FROM u WHERE u.k = t.id) AS z",
    "SELECT id, c FROM t, (SELECT count(*) AS c FROM u WHERE u.k < t.id) AS z WHERE c > 0",
    "SELECT id, z.y FROM t, LATERAL (SELECT y FROM u WHERE u.k = t.id ORDER BY y DESC LIMIT 2) AS z",
    "SELECT id, z.y, z.n FROM t, LATERAL (SELECT y, count(*) AS n FROM u WHERE u.k = t.id GROUP BY y) AS z(y, n)",
    "SELECT id, z.y FROM t CROSS JOIN LATERAL (SELECT DISTINCT y FROM u WHERE u.k = t.id) AS z",
    "SELECT g.g, z.y FROM (SELECT DISTINCT g FROM t) AS g, LATERAL (SELECT y FROM u WHERE u.h = g.g ORDER BY "
    "y LIMIT 1) AS z",
    "SELECT t.id, a.y, b.v FROM t, LATERAL (SELECT y FROM u WHERE u.k = t.id) AS a LEFT JOIN LATERAL (SELECT "
    "v FROM p WHERE p.k = a.y) AS b ON TRUE",
    "SELECT t.id, z.y FROM t LEFT JOIN p ON p.k = t.id, LATERAL (SELECT y FROM u WHERE u.k = p.v) AS z",
    "SELECT id, z.s FROM t, LATERAL (SELECT sum(y) AS s FROM u WHERE u.k = t.id) AS z WHERE z.s IS NULL OR z.s > 2",
    "SELECT id, z.y FROM t, LATERAL (SELECT u.y FROM u JOIN p ON u.k = p.k WHERE p.v = t.x) AS z",
    "SELECT id, z.one FROM t, LATERAL (SELECT 1 AS one FROM u WHERE u.k = t.id AND u.y IN (SELECT v FROM p)) AS z",
    "SELECT t.id, q.y FROM t, LATERAL (SELECT y FROM u) AS q WHERE q.y = t.x",
    "SELECT k, c FROM n, LATERAL (SELECT count(*) AS c FROM t WHERE t.id = n.k AND t.x > n.y) AS z",
]
RECOMPUTED = [
    "SELECT g FROM t GROUP BY g HAVING EXISTS (SELECT 1 FROM u WHERE u.y > max(t.x))",
    "SELECT id, (SELECT y FROM u WHERE u.k = t.id AND u.h > 100) AS c FROM t",
    "SELECT id, unnest(l) AS v, row_number() OVER (ORDER BY id, g, x, s) AS r FROM t WHERE id > 100",
    "SELECT id, unnest([[1], [2]], recursive := true) AS v FROM t WHERE id > 100",
    "SELECT id, v FROM t RIGHT JOIN UNNEST([1, 2]) AS e(v) ON e.v = t.id",
    "SELECT id, (id, x) IN (SELECT k, y FROM u) AS c FROM t",
    "SELECT id, x > ALL (SELECT y FROM u) AS c FROM t",
    "SELECT id, id IN (SELECT y / 2 FROM u) AS c FROM t",
    "SELECT id, (SELECT entropy(y) FROM u WHERE u.k = t.id) AS c FROM t",
]
KEYS = [None, 0, 1, 1, 2, 2, 3, 4]
LISTS: list[list[int | None] | None] = [None, [], [1], [1, 2], [3, None]]
TEXTS = [None, "a", "b", "c"]


def change(con: headrace.Connection, chance: random.Random) -> None:
    """Some rows more, or other rows in the table."""
    key, some = lambda: chance.choice(KEYS), lambda: chance.choice(KEYS[1:])
    match chance.choice("ttuunpd"):
        case "t":
            values = [key(), key(), key(), chance.choice(TEXTS), chance.choice(LISTS)]
            con.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", values)
        case "u":
            con.execute("INSERT INTO u VALUES (?, ?, ?, ?)", [key(), key(), key(), chance.choice(TEXTS)])
        case "n":
            con.execute("INSERT INTO n VALUES (?, ?)", [some(), some()])
        case "p":
            con.execute("INSERT OR REPLACE INTO p VALUES (?, ?)", [some(), key()])
        case _:
            con.execute("DELETE FROM p WHERE k = ?", [some()])


@pytest.mark.parametrize("part", range(6))
def test_every_subquery_equals_its_twin(tmp_path: Path, part: int) -> None:
    chance = random.Random(part)
    options = {"rows_per_epoch": 5, "default_partitions": 2} if part % 2 else {}
    con = headrace.connect(tmp_path / "db", **options)
    con.execute(RELATIONS)
    views = {f"v{place}": query for place, query in enumerate([*VIEWS, *UNNESTED, *LATERAL][part::6])}
    recomputed = {f"r{place}": query for place, query in enumerate(RECOMPUTED[part::6])}
    every = {**views, **recomputed}
    for name, query in every.items():
        con.execute(f"CREATE MATERIALIZED VIEW {name} AS {query}")
    for turn in range(4):
        for _ in range(2 if turn < 1 else 12):
            change(con, chance)
        if turn == 2:
            con.close()
            con = headrace.connect(tmp_path / "db", **options)
        verdicts = con.execute("VERIFY").fetchall()
        assert [(verdict, every.get(verdict[0])) for verdict in verdicts if not verdict[1]] == []
    assert len(verdicts) == len(every) + 2
    plans = {name: con.execute(f"EXPLAIN {name}").fetchall() for name in every}
    left_to_recompute = {name for name, plan in plans.items() if any("recompute (" in line for (line,) in plan)}
    assert left_to_recompute == set(recomputed)
    con.close()


@pytest.mark.parametrize("name", sorted(AGGREGATE_NAMES - UNKNOWN_OF_NO_ROWS))
def test_what_aggregates_are_of_no_rows(name: str) -> None:
    connection = duckdb.connect()
    rows = "(SELECT NULL::INTEGER AS i, NULL::DOUBLE AS d, NULL::BOOLEAN AS b WHERE false)"
    found = []
    for arguments in ("i", "i, i", "i, 0.5", "d", "d, 0.5", "b", "*"):
        try:
            found += connection.sql(f"SELECT {name}({arguments}) FROM {rows}").fetchall()
        except duckdb.Error:
            continue  # it takes others
    assert found
    assert set(found) == {(0 if name in ZERO_OF_NO_ROWS else None,)}
