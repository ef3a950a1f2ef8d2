"""Completion: what is proposed where, from the catalog and the query's own scope."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.repl.complete import suggestions
from headrace.sql.dbapi import RelationInfo

RELATIONS = [
    RelationInfo("flights", "STREAM", (("departs", "TIMESTAMP"), ("origin", "VARCHAR"), ("dep_delay", "INTEGER"))),
    RelationInfo("per_hour", "MATERIALIZED VIEW", (("hour", "TIMESTAMP"), ("Mean Delay", "DOUBLE"))),
    RelationInfo("system.late_rows", "SYSTEM", (("stream", "VARCHAR"),)),
]


def proposed(text: str) -> list[str]:
    """What is proposed at the `|` in `text`."""
    before, _, after = text.partition("|")
    return [suggestion.text for suggestion in suggestions(before, after, RELATIONS)]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("sel|", "select"),
        ("SEL|", "SELECT"),
        ("SELECT * FROM fl|", "flights"),
        ("SUBSCRIBE per|", "per_hour"),
        ("SELECT dep_d| FROM flights", "dep_delay"),
        ("SELECT f.or| FROM flights AS f", "origin"),
        ("SELECT f.or| FROM flights f WHERE true", "origin"),
        ("SELECT flights.de| FROM flights JOIN per_hour p ON true", "departs"),
        ("SELECT p.me| FROM flights JOIN per_hour p ON true", '"Mean Delay"'),
        ('SELECT "me| FROM per_hour', '"Mean Delay"'),
        ("SELECT * FROM system.|", "late_rows"),
        ("SELECT date_t|", "date_trunc"),
        ("FROM flights WHERE ori|", "origin"),
        ("\\ti|", "\\timing"),
        ("\\d per|", "per_hour"),
        ("\\format jso|", "json"),
        ("\\x a|", "auto"),
    ],
)
def test_the_likeliest_comes_first(text: str, first: str) -> None:
    assert proposed(text)[0] == first


def test_nothing_is_proposed_inside_a_string_or_a_comment() -> None:
    assert proposed("SELECT 'sel|") == []
    assert proposed("-- sel|") == []
    assert proposed("SELECT 'it''s', sel|") != []


def test_columns_are_those_of_the_relations_that_are_read() -> None:
    assert "dep_delay" not in proposed("SELECT d| FROM per_hour")
    assert proposed("SELECT | FROM flights") == ["departs", "origin", "dep_delay"]


def test_what_is_replaced_is_the_word_before_the_cursor() -> None:
    assert {s.replaces for s in suggestions("SELECT dep_d", " FROM flights", RELATIONS)} == {5}
    assert {s.replaces for s in suggestions("SELECT f.or", " FROM flights f", RELATIONS)} == {2}


def test_files_are_completed_after_i(tmp_path: Path) -> None:
    (tmp_path / "one.sql").touch()
    (tmp_path / "one_folder").mkdir()
    assert proposed(f"\\i {tmp_path}/on|") == ["one.sql", "one_folder/"]
