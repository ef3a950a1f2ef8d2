"""Statements: each form of the dialect becomes the object that it says, and remembers where it stood."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from headrace.sql.dialect import parse_script, position_of, split_script
from headrace.sql.setting_statements import Reset, Set
from headrace.sql.statements import (
    Copy,
    CreateStream,
    CreateView,
    Describe,
    Drop,
    Explain,
    Insert,
    Select,
    Show,
    Statement,
    Subscribe,
    Verify,
)
from headrace.storage.errors import Position


def one(text: str) -> Any:
    """The only statement of `text`."""
    (statement,) = parse_script(text)
    return statement


def test_statements_know_their_text_and_place() -> None:
    script = "-- first\nSELECT 1 ; \n\n  DESCRIBE bids;;\nVERIFY /* all */"
    found = parse_script(script)
    assert [statement.text for statement in found] == ["SELECT 1", "DESCRIBE bids", "VERIFY"]
    assert [(s.start.line, s.start.column) for s in found] == [(2, 1), (4, 3), (5, 1)]
    assert parse_script(" ; -- nothing\n;") == []


def test_create_stream() -> None:
    stream = one(
        """CREATE STREAM IF NOT EXISTS "Bids" (
          auction BIGINT NOT NULL, price DECIMAL(18,2) DEFAULT 1 + 2, channel VARCHAR DEFAULT 'web' NOT NULL,
          ts TIMESTAMP WITH TIME ZONE NULL, parts STRUCT(a INTEGER, b VARCHAR[]),
          WATERMARK FOR TS AS ts - INTERVAL '5' SECOND
        ) PARTITIONED BY (Auction, channel) INTO 4 PARTITIONS
        WITH (durability = 'group', 'Segment.Bytes' = 1_000, compress = true, mode = fast)"""
    )
    assert isinstance(stream, CreateStream)
    assert (stream.name, stream.if_not_exists, stream.or_replace) == ("Bids", True, False)
    assert [(c.name, c.type, c.not_null) for c in stream.columns] == [
        ("auction", "BIGINT", True),
        ("price", "DECIMAL(18,2)", False),
        ("channel", "VARCHAR", True),
        ("ts", "TIMESTAMP WITH TIME ZONE", False),
        ("parts", "STRUCT(a INTEGER, b VARCHAR[])", False),
    ]
    assert stream.columns[1].default == exp.Add(this=exp.Literal.number(1), expression=exp.Literal.number(2))
    assert stream.columns[0].position == Position(2, 11, 7)
    assert stream.watermark is not None
    assert (stream.watermark.column, stream.watermark.delay_us) == ("ts", 5_000_000)
    assert (stream.partition_by, stream.partitions) == (("auction", "channel"), 4)
    assert dict(stream.options) == {"durability": "group", "segment.bytes": 1000, "compress": True, "mode": "fast"}


def test_create_stream_at_its_shortest() -> None:
    stream = one("create or replace stream s (x int, watermark for x as x)")
    assert (stream.or_replace, stream.partition_by, stream.partitions, dict(stream.options)) == (True, (), None, {})
    assert stream.watermark is not None
    assert stream.watermark.delay_us == 0


def test_create_view() -> None:
    view = one("CREATE OR REPLACE MATERIALIZED VIEW v (k, n) AS SELECT a, count(*) FROM t GROUP BY ALL EMIT FINAL")
    assert isinstance(view, CreateView)
    assert (view.name, view.columns, view.materialized, view.or_replace) == ("v", ("k", "n"), True, True)
    assert view.emit is not None
    assert view.emit.mode == "FINAL"
    assert view.query.sql() == "SELECT a, COUNT(*) FROM t GROUP BY ALL"
    assert one("CREATE VIEW IF NOT EXISTS v AS FROM t").if_not_exists
    assert not one("CREATE VIEW v AS (SELECT 1)").materialized


@pytest.mark.parametrize(
    ("clause", "mode"),
    [
        ("EMIT CHANGES", "CHANGES"),
        ("emit on update", "CHANGES"),
        ("EMIT FINAL", "FINAL"),
        ("EMIT ON WINDOW CLOSE", "FINAL"),
        ("EMIT AFTER WINDOW CLOSE", "FINAL"),
        ("EMIT CHANGELOG", "CHANGELOG"),
    ],
)
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM t",
        "FROM t SELECT *",
        "SELECT a FROM t u",
        "SELECT a FROM t GROUP BY ALL",
        "SELECT a FROM t WHERE b IS NULL",
        "SELECT a FROM t WHERE b = 'x'",
        "SELECT a FROM t ORDER BY a DESC NULLS LAST LIMIT 3",
        "SELECT a FROM t WHERE (b)",
        "SELECT CASE WHEN a THEN 1 END",
        "SELECT a[1]",
        'SELECT a AS "emit", emit.emit, emit, t.emit, (emit) FROM emit AS emit',
        "SELECT a * emit FROM t",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT ?",
    ],
)
def test_emit(query: str, clause: str, mode: str) -> None:
    statement = one(f"{query} {clause}")
    assert isinstance(statement, Select)
    assert statement.emit is not None
    assert statement.emit.mode == mode
    assert statement.emit.position == Position(1, len(query) + 2, 4)
    assert statement.query == one(query).query
    assert one(query).emit is None


def test_insert() -> None:
    insert = one("INSERT INTO bids (price, ts) VALUES (1, 'x;y'), (?, NULL)")
    assert isinstance(insert, Insert)
    assert (insert.name, insert.columns, insert.position) == ("bids", ("price", "ts"), Position(1, 13, 4))
    assert isinstance(insert.query.args["from_"].this, exp.Values)
    assert one("INSERT INTO t SELECT * FROM u").query.sql() == "SELECT * FROM u"
    assert one("INSERT INTO t (SELECT 1)").columns == ()
    assert one('INSERT INTO t (select_, "from") FROM u').columns == ("select_", "from")
    assert one("INSERT INTO t WITH a AS (SELECT 1) SELECT * FROM a").query.sql().startswith("WITH a")


@pytest.mark.parametrize("parameter", ["?", "$name", ":name", "$1"])
def test_parameters(parameter: str) -> None:
    select = one(f"SELECT a FROM t WHERE b = {parameter} AND c[1:2] = [1]")
    (found,) = select.query.find_all(exp.Placeholder)
    assert found.name == (parameter.strip("$:"))


def test_copy() -> None:
    copy = one("COPY bids (a, b) FROM 'x.csv' (FORMAT CSV, HEADER, DELIMITER '|', skip = 2)")
    assert isinstance(copy, Copy)
    assert (copy.name, copy.columns, copy.path, copy.format) == ("bids", ("a", "b"), "x.csv", "csv")
    assert dict(copy.options) == {"header": True, "delimiter": "|", "skip": 2}
    assert (one("COPY t FROM 'x.parquet'").format, dict(one("COPY t FROM 'x'").options)) == (None, {})
    assert one("COPY t FROM 'x' WITH (format = 'ndjson')").format == "json"


def test_subscribe() -> None:
    for text, query, snapshot, changelog in [
        ("SUBSCRIBE v", 'SELECT * FROM "v"', True, False),
        ("SUBSCRIBE TO system.late_rows EMIT CHANGES", 'SELECT * FROM "system"."late_rows"', True, False),
        ("SUBSCRIBE TO v EMIT CHANGELOG WITH (snapshot = false)", 'SELECT * FROM "v"', False, True),
        ("SUBSCRIBE (SELECT 1) WITH (snapshot = false)", "(SELECT 1)", False, False),
        ("SUBSCRIBE WITH a AS (SELECT 1) SELECT * FROM a", "WITH a AS (SELECT 1) SELECT * FROM a", True, False),
        ("SUBSCRIBE TO SELECT 1 EMIT CHANGELOG", "SELECT 1", True, True),
    ]:
        statement = one(text)
        assert isinstance(statement, Subscribe)
        assert (statement.query.sql(), statement.snapshot, statement.changelog) == (query, snapshot, changelog)
    assert position_of(one("SUBSCRIBE TO  v").query) == Position(1, 15, 1)


def test_show_describe_drop_verify() -> None:
    for what in ("STREAMS", "TABLES", "VIEWS", "QUERIES", "PARTITIONS"):
        assert (one(f"SHOW {what}").what, one(f"show {what.lower()}").name) == (what, None)
    for text in ("SHOW CREATE V", "SHOW CREATE VIEW V", "SHOW CREATE MATERIALIZED VIEW V", "SHOW CREATE STREAM V"):
        assert (one(text).what, one(text).name) == ("CREATE", "V")
    assert one("SHOW CREATE stream").name == "stream"
    assert (one("SHOW PARTITIONS OF s").name, one("SHOW PARTITIONS s").name) == ("s", "s")
    assert isinstance(one("SHOW VIEWS"), Show)
    assert isinstance(one("DESC v"), Describe)
    assert one('DESCRIBE system."late_rows"').name == "system.late_rows"
    drop = one("DROP MATERIALIZED VIEW IF EXISTS v CASCADE")
    assert isinstance(drop, Drop)
    assert (drop.kind, drop.name, drop.if_exists, drop.cascade) == ("MATERIALIZED VIEW", "v", True, True)
    assert not one("DROP STREAM s RESTRICT").cascade
    verified = {text: one(text).name for text in ("VERIFY", "VERIFY ALL VIEWS", "VERIFY VIEW v")}
    assert verified == {"VERIFY": None, "VERIFY ALL VIEWS": None, "VERIFY VIEW v": "v"}
    assert isinstance(one("VERIFY"), Verify)


@pytest.mark.parametrize(
    ("text", "mode", "kind", "inner"),
    [
        ("EXPLAIN v", "PLAN", Select, "v"),
        ("EXPLAIN twin", "PLAN", Select, "twin"),
        ("EXPLAIN TWIN v", "TWIN", Select, "v"),
        ("EXPLAIN STATE SELECT 1 EMIT FINAL", "STATE", Select, "SELECT 1 EMIT FINAL"),
        ("EXPLAIN PLAN (SELECT 1)", "PLAN", Select, "(SELECT 1)"),
        ("EXPLAIN CREATE VIEW v AS SELECT 1", "PLAN", CreateView, "CREATE VIEW v AS SELECT 1"),
        ("EXPLAIN INSERT INTO t SELECT 1", "PLAN", Insert, "INSERT INTO t SELECT 1"),
        ("EXPLAIN TWIN SUBSCRIBE v", "TWIN", Subscribe, "SUBSCRIBE v"),
    ],
)
def test_explain(text: str, mode: str, kind: type[Statement], inner: str) -> None:
    explain = one(text)
    assert isinstance(explain, Explain)
    assert (explain.mode, type(explain.statement), explain.statement.text) == (mode, kind, inner)
    assert explain.statement.start.column == text.index(inner) + 1


def test_set_and_reset() -> None:
    values = {"'x'": "x", "1": 1, "-2.5": -2.5, "on": True, "FALSE": False, "word": "word", "1e3": 1000.0}
    for text, value in values.items():
        statement = one(f"SET Allow.Recompute = {text}")
        assert isinstance(statement, Set)
        assert (statement.name, statement.value, type(statement.value)) == ("allow.recompute", value, type(value))
    assert one("SET a TO 1") == one("SET A = 1")
    assert isinstance(one("RESET a"), Reset)


def test_split_script() -> None:
    assert split_script("") == ([], "")
    assert split_script("SELECT 1; SELECT 2") == (["SELECT 1;"], "SELECT 2")
    for quoted in ("';'", '";"', "$$;$$", "$a$;$$;$a$", "/* ; /* ; */ ; */", "-- ;\n", "e'\\';'", "'it''s;'"):
        assert split_script(f"SELECT {quoted} ;") == ([f"SELECT {quoted} ;"], "")
    for unfinished in ("'a;", '"a;', "$$;", "/* ; /* */", "-- ;", "e'\\';"):
        assert split_script(f"SELECT 1; SELECT {unfinished}") == (["SELECT 1;"], f"SELECT {unfinished}")


@given(st.lists(st.sampled_from(["SELECT", ";", "'", '"', "$$", "/*", "*/", "--", "\n", " ", "a", "\\"]), max_size=12))
def test_split_script_keeps_every_character(parts: list[str]) -> None:
    text = "".join(parts)
    complete, rest = split_script(text)
    squeezed = "".join([*complete, rest])
    assert "".join(squeezed.split()) == "".join(text.split())
    assert all(statement.endswith(";") for statement in complete)
