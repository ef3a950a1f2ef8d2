"""Queries: windows in every spelling, and whatever else DuckDB says, the twin says the same."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from headrace.sql.aggregate_names import AGGREGATE_NAMES
from headrace.sql.dialect import Headrace, WindowFunction, parse_script, position_of, twin_sql
from headrace.sql.fidelity import Parsed, difference, parse, same_words
from headrace.sql.intervals import constant_length, constant_us, interval_sql
from headrace.sql.rewrites import rewrite
from headrace.sql.statements import Select
from headrace.storage.errors import NotSupportedError, Position, ProgrammingError

S = 1_000_000


def query(text: str) -> exp.Query:
    (statement,) = parse_script(text)
    assert isinstance(statement, Select)
    return statement.query


def flink(text: str) -> str:
    """The query as our dialect prints it."""
    return query(text).sql(dialect=Headrace)


def window(text: str) -> tuple[str, str, str, int, int | None, int | None]:
    """Kind, source, column, size, slide and offset of the one window in a query."""
    (found,) = query(text).find_all(WindowFunction)
    size, slide, offset = (found.args.get(name) for name in ("size_us", "slide_us", "offset_us"))
    assert size is not None
    return (
        found.args["kind"],
        found.this.sql(),
        found.args["column"].sql(),
        int(size.name),
        None if slide is None else int(slide.name),
        None if offset is None else int(offset.name),
    )


@pytest.mark.parametrize(
    "text",
    [
        "TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)",
        "tumble(table bids, descriptor(ts), interval 10 seconds)",
        "TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 seconds'))",
        "TUMBLE(DATA => TABLE bids, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '00:00:10')",
        "TUMBLE(SIZE := INTERVAL '10 s', DATA := bids, TIMECOL := ts)",
        "TUMBLE(bids, ts, INTERVAL '10' SECOND)",
        "TUMBLE(bids, ts, (INTERVAL '10000' MILLISECOND))",
    ],
)
def test_tumble(text: str) -> None:
    assert window(f"SELECT * FROM {text}") == ("TUMBLE", "bids", "ts", 10 * S, None, None)
    assert window(f"SELECT * FROM a JOIN {text} AS b USING (x)")[0] == "TUMBLE"
    assert window(f"FROM {text} b, c SELECT *")[0] == "TUMBLE"
    assert query(f"SELECT * FROM {text} AS b").args["from_"].this.alias == "b"


def test_hop_and_offsets() -> None:
    lengths = "INTERVAL '2' SECOND, INTERVAL '1' MINUTE, INTERVAL '-1' SECOND"
    assert window(f"FROM HOP(TABLE t, DESCRIPTOR(ts), {lengths})") == ("HOP", "t", "ts", 60 * S, 2 * S, -S)
    assert window("FROM HOP(t, ts, SIZE => INTERVAL '9' SECOND, SLIDE => INTERVAL '4' SECOND)")[3:5] == (9 * S, 4 * S)
    assert window("FROM TUMBLE(t, ts, INTERVAL '1' WEEK, -INTERVAL '1' DAY)")[3:] == (604_800 * S, None, -86_400 * S)


def test_windows_over_queries() -> None:
    assert (
        window("FROM TUMBLE((SELECT * FROM t WHERE x > 1), ts, INTERVAL '1' DAY)")[1] == "(SELECT * FROM t WHERE x > 1)"
    )
    assert window("WITH a AS (SELECT 1) SELECT * FROM TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '1' DAY)")[1] == "a"
    nested = query("FROM TUMBLE((FROM TUMBLE(t, ts, INTERVAL '1' DAY)), window_time, INTERVAL '1' WEEK)")
    assert len(list(nested.find_all(WindowFunction))) == 2


def test_windows_print_as_flink_writes_them_and_come_back() -> None:
    text = "SELECT * FROM HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '90' MINUTE) AS w"
    assert flink(text) == text
    assert flink(flink(text)) == text
    with pytest.raises(AssertionError, match="no DuckDB text"):
        twin_sql(query(text))


LEGACY = "SELECT {0} FROM bids AS b WHERE x > 1 GROUP BY {1}TUMBLE(b.ts, INTERVAL '1' MINUTE), x"


def test_legacy_windows_move_to_from() -> None:
    tumble = "FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' MINUTE) AS b WHERE x > 1"
    assert flink(LEGACY.format("x, count(*)", "")) == (
        f"SELECT x, COUNT(*) {tumble} GROUP BY window_start, window_end, x"
    )
    parts = "TUMBLE_START(b.ts, INTERVAL '1' MINUTE) AS s, TUMBLE_ROWTIME(b.ts, INTERVAL '1' MINUTE)"
    assert flink(LEGACY.format(parts, "y, ")) == (
        f"SELECT window_start AS s, window_time {tumble} GROUP BY y, window_start, window_end, window_time, x"
    )
    lengths = "ts, INTERVAL '1' SECOND, INTERVAL '3' SECOND"
    assert flink(f"SELECT count(*) FROM t GROUP BY HOP({lengths}) HAVING HOP_END({lengths}) > x") == (
        "SELECT COUNT(*) FROM HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '3' SECOND) "
        "GROUP BY window_start, window_end HAVING window_end > x"
    )


def test_legacy_windows_in_subqueries_at_both_levels() -> None:
    inner = "SELECT TUMBLE_ROWTIME(ts, INTERVAL '1' SECOND) AS ts FROM t GROUP BY TUMBLE(ts, INTERVAL '1' SECOND)"
    outer = query(f"SELECT count(*) FROM ({inner}) AS q GROUP BY TUMBLE(ts, INTERVAL '1' DAY)")
    assert len(list(outer.find_all(WindowFunction))) == 2
    assert outer.args["from_"].this.alias == "q"
    assert rewrite(outer.copy()) == outer


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (1, "INTERVAL '1' MICROSECOND"),
        (1500, "INTERVAL '1500' MICROSECOND"),
        (90 * 60 * S, "INTERVAL '90' MINUTE"),
        (7 * 86_400 * S, "INTERVAL '7' DAY"),
        (-S, "INTERVAL '-1' SECOND"),
    ],
)
def test_interval_text(us: int, text: str) -> None:
    assert interval_sql(us) == text


@pytest.mark.parametrize(
    "text",
    [
        "'5' SECOND", "'5 seconds'", "5 MINUTE", "'1 hour 30 minutes'", "'-3 days'", "'01:02:03.5'", "'-00:00:01'",
        "'1 day 02:03:04'", "'2 weeks ago'", "'250' MILLISECOND", "'1 us'", "'1.5 hours'", "'1.5' SECOND", "'7' WEEKS",
        "'1h30m'", "'1:30'", "'1 day -1 hour'",
    ],
)  # fmt: skip
def test_intervals_are_as_long_as_duckdb_says(text: str) -> None:
    node = query(f"SELECT INTERVAL {text}").expressions[0]
    us = duckdb.execute(f"SELECT epoch_us(TIMESTAMP '1970-01-01' + INTERVAL {text})").fetchone()
    assert us == (constant_us(node, None, "it"),)


@pytest.mark.parametrize("text", ["'1' MONTH", "'1 year'", "1 QUARTER", "'1 day 2 months'"])
def test_calendar_intervals_have_no_fixed_length(text: str) -> None:
    node = query(f"SELECT INTERVAL {text}").expressions[0]
    with pytest.raises(NotSupportedError):
        constant_us(node, None, "it")
    months, us = constant_length(node, None, "it")
    whole = duckdb.execute(f"SELECT INTERVAL {text} = to_months({months}) + to_microseconds({us})").fetchone()
    assert whole == (True,)


@pytest.mark.parametrize(
    "text", ["'1.5' HOUR", "'x'", "''", "'5'", "'5 apples'", "'0.1 us'", "'1 : 2'", "'99999999999999 days'"]
)
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(ProgrammingError):
        parse_script(f"FROM TUMBLE(t, ts, INTERVAL {text})")


def test_positions() -> None:
    select = query("SELECT a,\n  t.b + sum(c)\nFROM  t WHERE 'x' < INTERVAL '1' DAY")
    first, second = select.expressions
    assert position_of(first) == Position(1, 8, 1)
    assert position_of(second) == Position(2, 3, 1)
    assert position_of(select.find(exp.AggFunc) or select) == Position(2, 9, 3)
    assert position_of(select.find(exp.Table) or select) == Position(3, 7, 1)
    assert position_of(select.args["where"].this.this) == Position(3, 15, 3)
    assert position_of(select.args["where"].this.expression) == Position(3, 21, 8)
    assert position_of(exp.column("x")) is None


# Each comes back from sqlglot as the same query, by DuckDB's own reading of both texts.
SAME = [
    "SELECT a::INTEGER, TRY_CAST(c AS DATE), a::DECIMAL(10,2)[], a::STRUCT(x INTEGER), a::VARCHAR(3) FROM t",
    "SELECT ts + INTERVAL '1' HOUR, ts - INTERVAL 5 MINUTE, INTERVAL '1 day 02:03:04', INTERVAL (a) DAY FROM t",
    "SELECT a / b, a // b, a % b, a ** b, -a ** 2, ~a, a & b | c << 1, a || b, +a, @a, a ^@ b FROM t",
    "SELECT a IS NOT NULL, a NOTNULL, a IS NOT TRUE, a IS DISTINCT FROM b, a NOT IN (1), NOT a = b OR c AND d FROM t",
    "SELECT a LIKE 'x' ESCAPE '$', a NOT ILIKE b, a SIMILAR TO b, a ~ b, a !~ b, a GLOB b, a BETWEEN 1 AND 2 FROM t",
    "SELECT len(a), ceiling(a), log10(a), any_value(a), list(a), bool_and(a), ifnull(a, b), if(a, 1, 2) FROM t",
    "SELECT EXTRACT(dow FROM ts), extract('hour' FROM ts), substring(a FROM 1 FOR 2), trim(BOTH 'x' FROM a) FROM t",
    "SELECT count(), count(DISTINCT (a, b)), sum(a) FILTER (WHERE b), string_agg(DISTINCT a, ',' ORDER BY b) FROM t",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a), first(a ORDER BY b), max(a, 3), arg_max(a, b, 3) FROM t",
    "SELECT lag(a, 1 IGNORE NULLS) OVER w, sum(a) OVER (ROWS 3 PRECEDING EXCLUDE TIES) FROM t WINDOW w AS (ORDER BY b)",
    "SELECT * EXCLUDE (a) REPLACE (b + 1 AS b), t.*, COLUMNS('x.*'), COLUMNS(c -> c LIKE 'a%') FROM t",
    "FROM t SELECT a ORDER BY ALL DESC LIMIT 10%",
    "SELECT DISTINCT ON (a) a, b FROM t QUALIFY row_number() OVER (PARTITION BY a ORDER BY b NULLS FIRST) <= 3",
    "SELECT a, grouping(a) FROM t GROUP BY GROUPING SETS ((a), (b, c), ())",
    "SELECT * FROM a ASOF LEFT JOIN b USING (x, ts) SEMI JOIN c ON a.x = c.x POSITIONAL JOIN d",
    "SELECT * FROM a, LATERAL (SELECT a.x + 1 AS y) l",
    "SELECT * FROM a, b, unnest(a.z) AS u(v), c",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5), m AS MATERIALIZED (FROM r) FROM m",
    "SELECT 1 UNION ALL BY NAME (SELECT 2 ORDER BY 1) EXCEPT ALL SELECT 3 INTERSECT SELECT 4 ORDER BY 1 LIMIT 2",
    "SELECT (SELECT max(x) FROM u), EXISTS (FROM u), a > ALL (FROM u), a IN (FROM u), a = ANY ([1, 2]) FROM t",
    "SELECT [1, 2][1], a[:2], {'a': 1, b: 2}.a, MAP {'k': 1}, MAP(['k'], [1]), row(1, 2), array[1]",
    "SELECT list_transform(a, x -> x + 1), list_filter(a, lambda x, i: x > i), [x + 1 FOR x IN a IF x > 2] FROM t",
    "SELECT (j -> 'a.b') ->> '$.c', json_extract(j, '/x'), j.a.b FROM t",
    "SELECT 1e5, .5, 1_000_000, 'it''s', e'a\\nb', $$dollar$$, TIMESTAMP '2020-01-01', DATE '2020-01-01', true, NULL",
    "SELECT x: 1, y: a + 2 FROM z: t",
    "SELECT a FROM t USING SAMPLE reservoir(10 ROWS) REPEATABLE (42)",
    "SELECT * FROM t PIVOT (sum(a) FOR b IN ('x', 'y') GROUP BY c)",
    "SELECT * FROM (UNPIVOT t ON a, b INTO NAME n VALUE v)",
    "SELECT * FROM range(3) r(i), generate_series(1, 10, 2), read_csv('x.csv', header = true), 'x.parquet'",
    "VALUES (1, 'a'), (2, NULL)",
]  # fmt: skip


@pytest.mark.parametrize("text", SAME)
def test_the_twin_is_the_same_query(text: str) -> None:
    written, twin = parse(text), parse(twin_sql(query(text)))
    assert isinstance(written, Parsed)
    assert isinstance(twin, Parsed)
    if not text.startswith("VALUES"):  # which becomes SELECT * FROM (VALUES ...)
        assert difference(written, twin) is None


@pytest.mark.parametrize(
    ("written", "twin", "same"),
    [
        ("select a b,\n count( * ) from t u", "SELECT a AS b, COUNT(*) FROM t AS u", True),
        ("SELECT a != 1", "SELECT a <> 1", True),
        ("SELECT 'A  b'", "SELECT 'a  b'", False),
        ("SELECT 'A  b'", "SELECT 'A b'", False),
        ('SELECT "A"', 'SELECT "a"', False),
        ("SELECT INTERVAL '1' year", "SELECT INTERVAL '1' AS year", False),
        ("SELECT a AS b", "SELECT a b", False),
        ("SELECT a b c", "SELECT a b", False),
        ("SELECT a b", "SELECT a b c", False),
        ("SELECT a < -1", "SELECT a <- 1", False),
        ("SELECT a --b", "SELECT a /* b */", False),
        ("SELECT 'it''s', \"a\"\"b\"", "SELECT 'it''s' , \"a\"\"b\"", True),
    ],
)
def test_texts_are_the_same_words_only_where_duckdb_must_read_the_same(written: str, twin: str, *, same: bool) -> None:
    assert same_words(written, twin) is same


OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "||", "=", "<>", "<", ">=", "AND", "OR", "&", "|", "<<", "->", "->>"]
OPERATORS += [
    "LIKE",
    "NOT LIKE",
    "~",
    "IS DISTINCT FROM",
    "IN (1) AND",
    "BETWEEN 1 AND",
    "IS NULL OR",
    "NOTNULL AND",
    "^@",
]
operands = st.tuples(
    st.sampled_from(["", "", "-", "NOT ", "~", "@", "+"]),
    st.sampled_from("abc"),
    st.sampled_from(["", "", "::INT", "[1]"]),
).map("".join)


@given(st.lists(st.tuples(st.sampled_from(OPERATORS), operands), min_size=1, max_size=4))
def test_precedence_is_duckdbs_or_an_error(parts: list[tuple[str, str]]) -> None:
    text = "SELECT a " + " ".join(f"{operator} {operand}" for operator, operand in parts)
    written = parse(text)
    try:
        tree = query(text)
    except (ProgrammingError, NotSupportedError):
        return
    twin = parse(twin_sql(tree))
    assert isinstance(written, Parsed)
    assert isinstance(twin, Parsed)
    assert difference(written, twin) is None


def test_the_twin_computes_the_same() -> None:
    items = "-a ** 2, a // 2 * 3 - -1, NOT a > 2 OR b IS NOT NULL, a % 4 = 1 AND b LIKE 'x%', mod(a, 2)"
    text = f"SELECT {items} FROM (VALUES (7, 'xy'), (2, NULL)) v(a, b)"
    assert duckdb.execute(twin_sql(query(text))).fetchall() == duckdb.sql(text).fetchall()


def test_every_aggregate_of_duckdb_is_known() -> None:
    names = duckdb.sql(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
    ).fetchall()
    assert {name for (name,) in names} <= AGGREGATE_NAMES
    for name in ("median", "sum", "max", "stddev", "first"):
        assert query(f"SELECT {name}(a) FROM t").find(exp.AggFunc) is not None
