"""Errors: whatever cannot be understood is refused with a caret under the place, and nothing is silently ignored."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.sql.dialect import parse_script, split_script
from headrace.storage.errors import Error, NotSupportedError, ProgrammingError

# «» stand around what the caret must point at.
WRONG = [
    ("«SELCT» 1", '"SELCT" is not a statement'),
    ("«42»", 'unexpected "42"'),
    ("SELECT f(a «FROM» t", 'unexpected "FROM"'),
    ("SELECT 1,«,»2", 'unexpected ","'),
    ("SELECT * FROM t «WHERE»", "unexpected end"),
    ("SELECT a\nFROM t\nWHERE b = «)»", 'unexpected ")"'),
    ("SELECT é, 'é', «)»", 'unexpected ")"'),
    ("SELECT 1; SELECT 2 x «y»", 'unexpected "y"'),
    ("SELECT «'»abc", "the text ends before the closing '"),
    ("SELECT 1;\n«/*» comment", "the text ends before the closing */"),
    ("SELECT «$»$abc", "the text ends before the closing $$"),
    ("SELECT a «/*+» STATE_TTL('t' = '1 day') */ FROM t", "a hint stands right after SELECT"),
    ("SELECT /*+ «BROADCAST»(t) */ a FROM t", 'there is no hint "BROADCAST"'),
    ("SELECT /*+ STATE_TTL(«'a'» = '1 day') */ 1", 'there is no "a" in the FROM of this SELECT'),
    ("SELECT /*+ STATE_TTL('u' = '1d', «t» = '1d') */ 1 FROM t AS u", 'there is no "t" in the FROM of this SELECT'),
    ("SELECT /*+ STATE_TTL('t' = «'often'») */ a FROM t", "cannot set state_ttl to 'often'"),
    ("SELECT /*+ STATE_TTL('t' = «1» day) */ a FROM t", "cannot read this hint"),
    ("SELECT «/*+ STATE_TTL('t' = '1d' */» a FROM t", "cannot read this hint"),
    ("SELECT /*+ STATE_TTL('t' = '1d', «'T'» = '2d') */ a FROM t", 'the hint says it of "T" twice'),
    ("CREATE VIEW v AS SELECT 1 «EMIT» CHANGES WITH (state_ttl = '1d')", "WITH (...) comes before AS"),
    ("INSERT INTO t SELECT 1 EMIT CHANGES «WITH» (ttl = '1d')", 'what goes on has no option "ttl"'),
    ("SELECT * FROM «nowhere».t", 'there is no schema "nowhere"'),
    ("SELECT * FROM «a».system.t", 'there is no schema "a"'),
    ("DESCRIBE «main».t", 'there is no schema "main"'),
    ("SELECT * FROM t «EMIT»", "unexpected end"),
    ("DELETE FROM t «USING» u WHERE t.a = u.a ORDER BY 1", "DELETE ... USING takes relations and WHERE, and no more"),
    ("INSERT INTO t SELECT 1 «RETURNING» a FROM t", "RETURNING takes expressions, and no more"),
    ("SELECT * FROM t EMIT «CHANGE»", '"CHANGE" is not a way to EMIT'),
    ("SELECT * FROM t EMIT CHANGES «LIMIT» 3", 'unexpected "LIMIT"'),
    ("SELECT * FROM (SELECT * FROM t «EMIT» CHANGES)", "EMIT belongs at the end"),
    ("CREATE VIEW v «WITH» (a = 1) AS SELECT 1", 'a view has no option "a"'),
    ("CREATE VIEW v AS SELECT «?»", "a view cannot have parameters"),
    ("CREATE VIEW v AS SELECT a FROM t WHERE b > «:»low", "a view cannot have parameters"),
    ("CREATE «STREEM» s (x INT)", '"STREEM" is not something to CREATE'),
    ("CREATE STREAM «s»", "unexpected end"),
    ("CREATE STREAM s («)»", 'unexpected ")"'),
    ("CREATE STREAM s (x «FLOOT»)", 'there is no type "FLOOT"'),
    ("CREATE STREAM s (x INT, «X» INT)", 'column "X" is declared twice'),
    ("CREATE STREAM s (x INT NOT NULL «NULL»)", "a column is either NULL or NOT NULL"),
    ("CREATE STREAM s (x INT DEFAULT «y»)", "a default must be a value by itself"),
    ("CREATE STREAM s (x INT) «FOO»", 'unexpected "FOO"'),
    ("CREATE STREAM s (x INT «FOO»)", 'unexpected "FOO"'),
    ("CREATE STREAM s (x INT) PARTITIONED BY («y»)", 'column "y" is not declared'),
    ("CREATE STREAM s (x INT) PARTITIONED BY (x, «X»)", '"X" is named twice'),
    ("CREATE STREAM s (x INT) INTO «0» PARTITIONS", "a stream has at least one partition"),
    ("CREATE STREAM s (x INT) INTO «'4'» PARTITIONS", "the number of partitions must be a whole number"),
    ("CREATE STREAM s (x INT) WITH (a = 1) «WITH» (b = 2)", "this clause is given twice"),
    ("CREATE STREAM s (x INT) WITH (a = 1, «A» = 2)", '"a" is given twice'),
    ("CREATE STREAM s (x INT) WITH (a = «1.5»)", "a must be text, a whole number"),
    ("CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR «et» AS et)", 'the watermark\'s column "et" is not declared'),
    ("CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR ts AS «ts» + INTERVAL '5' SECOND)", "a watermark is its column"),
    ("CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR ts AS «ts» - x)", "the delay of a watermark must be an interval"),
    ("CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR ts AS «ts» - INTERVAL '-5' SECOND)", "cannot be negative"),
    ("CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR ts AS ts, «WATERMARK» FOR ts AS ts)", "a stream has one watermark"),
    ('CREATE STREAM «""» (x INT)', "a name cannot be empty"),
    ("CREATE STREAM «select» (x INT)", 'unexpected "select"'),
    ("CREATE TABLE t (x INT PRIMARY KEY, «y» INT PRIMARY KEY)", "a table has one PRIMARY KEY"),
    ("CREATE TABLE t (x INT, «PRIMARY KEY» (y))", 'column "y" of the key is not declared'),
    ("CREATE TABLE t (x INT) «PARTITIONED» BY (x)", "unexpected"),
    ("UPDATE t SET a = 1, «A» = 2", 'column "A" is set twice'),
    ("UPDATE t SET a = «WHERE» b", "unexpected"),
    ("UPDATE t SET a = 1 FROM u WHERE b «)»", 'unexpected ")"'),
    ("UPDATE t SET a = 1 «FROM» u GROUP BY b", "UPDATE ... FROM takes relations and WHERE"),
    ("DELETE FROM t WHERE «sum»(a) > 1", "a condition says something of each row"),
    ("INSERT OR «FAIL» INTO t VALUES (1)", '"FAIL" is not what to do with a row'),
    ("INSERT «OR» REPLACE INTO t VALUES (1) ON CONFLICT DO NOTHING", "OR REPLACE and ON CONFLICT"),
    ("INSERT INTO t VALUES (1) ON CONFLICT DO «REPLACE»", '"REPLACE" is not what to DO'),
    ("INSERT «VALUES» (1)", 'unexpected "VALUES"'),
    ("INSERT INTO s (a, «a») VALUES (1, 2)", '"a" is named twice'),
    ("INSERT INTO s «SHOW» STREAMS", 'unexpected "SHOW"'),
    ("COPY s FROM «x»", 'unexpected "x"'),
    ("COPY s FROM 'x' «(»FORMAT excel)", '"excel" is not a format'),
    ("COPY s FROM 'x' «foo»", 'unexpected "foo"'),
    ("SHOW «STREEMS»", '"STREEMS" is not something to SHOW'),
    ("SHOW STREAMS «x»", 'unexpected "x"'),
    ("DROP «TOPIC» t", '"TOPIC" is not something to DROP'),
    ("DROP STREAM a«,» b", 'unexpected ","'),
    ("DROP STREAM a CASCADE «RESTRICT»", 'unexpected "RESTRICT"'),
    ("VERIFY «v»", 'unexpected "v"'),
    ("SET a = 1 «2»", 'unexpected "2"'),
    ("SET a «1»", 'unexpected "1"'),
    ("EXPLAIN v «w»", 'unexpected "w"'),
    ("SUBSCRIBE TO v WITH «(»snapshot = 3)", "snapshot must be true or false"),
    ("SELECT * FROM «TUMBLE»(TABLE t, DESCRIPTOR(ts))", "TUMBLE lacks its SIZE"),
    ("SELECT * FROM TUMBLE(TABLE t, DESCRIPTOR(ts)«,»", "unexpected end"),
    ("SELECT * FROM TUMBLE(t, ts, «10»)", "the size of TUMBLE must be an interval"),
    ("SELECT * FROM TUMBLE(t, ts, «INTERVAL» '0' SECOND)", "the size of TUMBLE must be longer than nothing"),
    ("SELECT * FROM TUMBLE(t, ts «+» 1, INTERVAL '1' SECOND)", 'unexpected "+"'),
    ("SELECT * FROM TUMBLE(t, «u».ts, INTERVAL '1' SECOND)", "TUMBLE takes one column as its time"),
    ("SELECT at «+» 1", 'unexpected "+"'),
    ("CREATE STREAM s («at» INT)", 'unexpected "at"'),
    ("SELECT * FROM TUMBLE(«f»(x), ts, INTERVAL '1' SECOND)", "TUMBLE takes a stream, a view or a query"),
    ("SELECT * FROM TUMBLE(t, ts, SIZE => INTERVAL '1' DAY, «SIZE» => INTERVAL '1' DAY)", "is given its SIZE twice"),
    ("SELECT * FROM TUMBLE(«WHAT» => t)", 'TUMBLE has no argument "WHAT"'),
    ("SELECT * FROM HOP(t, ts, INTERVAL '1' HOUR, «INTERVAL» '1' MINUTE)", "the slide of HOP cannot be longer"),
    ("SELECT «TUMBLE»(ts, INTERVAL '1' DAY) FROM t", "TUMBLE belongs in FROM"),
    ("SELECT «TUMBLE_START»(ts, INTERVAL '1' DAY) FROM t", "TUMBLE_START needs TUMBLE in GROUP BY"),
    ("SELECT «HOP_END»(ts, INTERVAL '1' DAY) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' DAY)", "HOP_END needs HOP"),
    (
        "SELECT «TUMBLE_END»(ts, INTERVAL '2' DAY) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' DAY)",
        "TUMBLE_END names another window",
    ),
    ("SELECT 1 FROM t GROUP BY «TUMBLE»(ts)", "TUMBLE in GROUP BY takes a time column and a size"),
    ("SELECT {:1} «,»", "unexpected"),
    ("SELECT * FROM t EMIT EVERY «5»", "what comes after EVERY"),
    ("SELECT * FROM t EMIT EVERY «INTERVAL» '-1' SECOND", "longer than nothing"),
    ("SUBSCRIBE v AS OF EPOCH «x»", "an epoch must be a whole number"),
    ("SUBSCRIBE v UP TO «3»", 'unexpected "3"'),
    ("SUBSCRIBE v UP TO EPOCH 3 «EMIT» CHANGES", 'unexpected "EMIT"'),
]
NOT_SUPPORTED = [
    ("UPDATE t SET a = 1 RETURNING «count»(*)", "RETURNING takes no parameters, queries or aggregates"),
    ("DELETE FROM t BEFORE OFFSET 3 «RETURNING» a", "DELETE ... BEFORE has no rows to return"),
    ("INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = «?»", "DO UPDATE takes no parameters"),
    ("«CALL» f()", "CALL is not supported"),
    ("«PRAGMA» x", "PRAGMA is not supported"),
    ("CREATE TABLE t (x INT PRIMARY KEY «NOT ENFORCED»)", "a key is always enforced"),
    ("CREATE TABLE t (x INT «UNIQUE»)", "UNIQUE is not supported on a table's column"),
    ("CREATE TABLE t (x INT, «CHECK» (x > 1))", "a table has no CHECK"),
    ("CREATE STREAM s (x INT «PRIMARY KEY»)", "PRIMARY KEY is not supported"),
    ("CREATE STREAM s (x INT, «PRIMARY KEY» (x))", "a stream has no PRIMARY KEY"),
    ("CREATE STREAM s (x INT, y «AS» x + 1)", "computed columns"),
    ("CREATE STREAM s (x INT METADATA «FROM» 'offset')", "a column from 'offset' is not supported"),
    ("INSERT INTO t VALUES (1, «DEFAULT»)", "DEFAULT among VALUES"),
    ("INSERT INTO t SELECT 1 FROM s EMIT CHANGES «RETURNING» a", "what goes on inserting has no rows to return"),
    ("INSERT «OVERWRITE» t VALUES (1)", "INSERT OVERWRITE is not supported"),
    ("SUBSCRIBE v AS OF «EARLIEST»", "SUBSCRIBE ... AS OF EARLIEST is not supported"),
    ("SUBSCRIBE v «EMIT» FINAL", "EMIT FINAL is not supported"),
    ("SUBSCRIBE v WITH «(»progress = true)", 'SUBSCRIBE has no option "progress"'),
    ("EXPLAIN «DROP» STREAM s", "cannot explain DROP"),
    ("CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR ts AS «ts» - INTERVAL '1' MONTH)", "cannot be counted in month"),
    ("SELECT 1 FROM a JOIN b USING (x) GROUP BY «TUMBLE»(ts, INTERVAL '1' DAY)", "needs one stream, view or query"),
    ("SELECT «j» -> 'a' = 'x' FROM t", "headrace reads this differently from DuckDB"),
    ("SELECT * FROM t AT (VERSION => «1»)", "reading a relation as of a time"),
    ("«WITH» a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "not a query"),
]


def check(marked: str, headline: str, kind: type[Error]) -> None:
    text, place = marked.replace("«", "").replace("»", ""), marked.index("«")
    with pytest.raises(Error) as caught:
        parse_script(text)
    assert headline in str(caught.value)
    assert type(caught.value) is kind
    position = caught.value.position
    assert position is not None
    before = text[: min(place, len(text))]
    assert (position.line, position.column) == (before.count("\n") + 1, len(before) - before.rfind("\n")), (
        caught.value.report(text)
    )


@pytest.mark.parametrize(("marked", "headline"), WRONG)
def test_what_is_wrong(marked: str, headline: str) -> None:
    check(marked, headline, ProgrammingError)


@pytest.mark.parametrize(("marked", "headline"), NOT_SUPPORTED)
def test_what_is_not_supported(marked: str, headline: str) -> None:
    check(marked, headline, NotSupportedError)


def test_an_error_reads_as_a_person_needs_it() -> None:
    text = "SELECT *\nFROM HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '1' MINUTE)"
    with pytest.raises(ProgrammingError) as caught:
        parse_script(text)
    assert caught.value.report(text) == (
        "Error: the slide of HOP cannot be longer than its size\n"
        "LINE 2: FROM HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '1' MINUTE)\n"
        "                                                             ^^^^^^^^\n"
        "Detail: Read as windows of INTERVAL '1' MINUTE, one every INTERVAL '1' HOUR, "
        "the rows between two windows are in none.\n"
        "Hint: Slide comes before size. For windows of INTERVAL '1' HOUR, one every INTERVAL '1' MINUTE, "
        "write INTERVAL '1' MINUTE, INTERVAL '1' HOUR."
    )


def test_deep_nesting_is_an_error_too() -> None:
    with pytest.raises(ProgrammingError):
        parse_script(f"SELECT {'(' * 3000}1{')' * 3000}")


SCRIPTS = [
    "CREATE STREAM bids (price DECIMAL(18,2) NOT NULL DEFAULT 1 + 2, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)",
    "CREATE MATERIALIZED VIEW v (a) AS SELECT a FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY) EMIT FINAL",
    "SELECT a, sum(b) FILTER (WHERE c) FROM t JOIN u USING (x) WHERE a BETWEEN 1 AND :n GROUP BY ALL LIMIT 3",
    "SELECT TUMBLE_START(ts, INTERVAL '1' DAY) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' DAY), x EMIT CHANGES",
    "INSERT INTO bids (a, b) VALUES (1, 'x;y'), (?, -2.5); COPY bids (a) FROM 'x.csv' (FORMAT csv, HEADER)",
    "SUBSCRIBE TO v EMIT CHANGES WITH (snapshot = false); SHOW CREATE VIEW v; DROP VIEW IF EXISTS v CASCADE",
    "EXPLAIN TWIN WITH a AS (SELECT [1, 2][1], {'k': 'v'}) SELECT x -> 'y', x::INT FROM a; SET a.b = 'x'; VERIFY",
]
TOKENS = [re.findall(r"'[^']*'|\w+|\s+|[^\w\s]", script) for script in SCRIPTS]
STRANGE = [
    "'",
    '"',
    "$$",
    "/*",
    "*/",
    "/*+",
    "--",
    "\0",
    "é",
    "😀",
    "\u2028",
    "\r\n",
    "EMIT",
    "SELECT",
    "(",
    "NOT",
    "::",
]
WORDS = [*sorted({token for script in TOKENS for token in script}), *STRANGE]
edits = st.tuples(st.sampled_from(["drop", "put", "cut"]), st.floats(0, 1), st.sampled_from(WORDS))


@settings(max_examples=150)
@given(st.sampled_from(TOKENS), st.lists(edits, min_size=1, max_size=4))
def test_any_text_is_understood_or_refused_with_a_place(tokens: list[str], edits: list[tuple[str, float, str]]) -> None:
    tokens = list(tokens)
    for edit, where, word in edits:
        index = int(where * len(tokens))
        if edit == "cut":
            tokens = tokens[:index]
        else:
            tokens[index : index + (edit == "drop")] = [] if edit == "drop" else [f" {word} "]
    text = "".join(tokens)
    split_script(text)
    error = refusal(text)
    if error is None:
        return
    position, lines = error.position, text.splitlines() or [""]
    assert isinstance(error, ProgrammingError | NotSupportedError)
    assert position is not None
    assert 1 <= position.line <= len(lines)
    assert 1 <= position.column <= len(lines[position.line - 1]) + 1
    assert not re.search(r"\b(invalid|bad|illegal|unable|failed to)\b", error.report(), re.IGNORECASE)


def refusal(text: str) -> Error | None:
    """The error that `text` is, if it is one."""
    try:
        parse_script(text)
    except Error as error:
        return error
    return None
