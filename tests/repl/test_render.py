"""Tables for people: boxes, head and tail, what is cut to fit, records, Markdown, colours."""

from __future__ import annotations

import pyarrow as pa
from rich.cells import cell_len

from headrace.repl.render import box_text, excerpt, expanded_text, markdown_text
from headrace.repl.theme import COLOURED, PLAIN

TABLE = pa.table({"origin": ["EWR", None, "日本"], "n": [1, 22, None]})
TYPES = ["VARCHAR", "BIGINT"]


def test_a_box_has_types_under_the_names_and_numbers_on_the_right() -> None:
    assert box_text(excerpt(TABLE, TYPES, rows_max=None)) == (
        "┌─────────┬────────┐\n"
        "│ origin  │   n    │\n"
        "│ VARCHAR │ BIGINT │\n"
        "├─────────┼────────┤\n"
        "│ EWR     │      1 │\n"
        "│ NULL    │     22 │\n"
        "│ 日本    │   NULL │\n"
        "└─────────┴────────┘\n"
        "  3 rows\n"
    )


def test_a_long_result_is_shown_by_head_and_tail() -> None:
    part = excerpt(pa.table({"i": range(1_000_000)}), ["BIGINT"], rows_max=5)
    text = box_text(part)
    assert text is not None
    cells = [line.strip("│ ") for line in text.splitlines()[4:-2]]
    assert cells == ["0", "1", "2", "·", "·", "·", "999998", "999999"]
    assert text.endswith("  1,000,000 rows (5 shown)\n")


def test_no_rows_and_one_row_are_counted_right() -> None:
    assert excerpt(TABLE.slice(0, 0), TYPES, rows_max=4).footer == "0 rows"
    assert excerpt(TABLE.slice(0, 1), TYPES, rows_max=4).footer == "1 row"
    assert "│ BIGINT" in (box_text(excerpt(TABLE.slice(0, 0), TYPES, rows_max=4)) or "")


def test_only_the_widest_column_is_cut_to_fit() -> None:
    part = excerpt(pa.table({"short": ["abc"], "long": ["x" * 100]}), ["VARCHAR", "VARCHAR"], rows_max=None)
    text = box_text(part, width=40)
    assert text is not None
    assert {cell_len(line) for line in text.splitlines()[:-1]} == {40}
    assert "abc" in text
    assert "x…" in text


def test_what_cannot_fit_is_left_to_records() -> None:
    part = excerpt(pa.table({f"c{i}": ["wide enough value"] for i in range(10)}), ["VARCHAR"] * 10, rows_max=None)
    assert box_text(part, width=80) is None
    assert expanded_text(part).splitlines()[:2] == ["─ row 1 ──────────────────", "c0 │ wide enough value"]


def test_records_of_the_tail_have_their_own_numbers() -> None:
    text = expanded_text(excerpt(pa.table({"i": range(100)}), ["BIGINT"], rows_max=2))
    assert "─ row 1 ─" in text
    assert "─ row 100 ─" in text


def test_control_characters_move_no_cursor() -> None:
    text = box_text(excerpt(pa.table({"a\x1b[31m": ["x\n\x1b[2Jy\x9b"]}), ["VARCHAR"], rows_max=None))
    assert text is not None
    assert "x\\n\\x1b[2Jy\\x9b" in text
    assert "\x1b" not in text


def test_markdown_escapes_what_would_end_a_cell() -> None:
    text = markdown_text(excerpt(pa.table({"a|b": ["x|y"], "n": [1]}), TYPES, rows_max=None))
    assert text == "| a\\|b | n |\n|---|---:|\n| x\\|y | 1 |\n"


def test_names_may_come_twice() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array(["x"])], names=["a", "a"])
    assert "│ 1 │ x │" in (box_text(excerpt(table, ["I", "V"], rows_max=None)) or "")


def test_colours_add_nothing_to_the_text() -> None:
    part = excerpt(TABLE, TYPES, rows_max=None)
    coloured = box_text(part, theme=COLOURED)
    assert coloured is not None
    assert "\x1b[2;3mNULL" in coloured
    plain = coloured
    for code in {*COLOURED.roles.values(), "0"}:
        plain = plain.replace(f"\x1b[{code}m", "")
    assert plain == box_text(part, theme=PLAIN)


def test_an_error_report_is_coloured_line_by_line() -> None:
    report = "Error: no\nLINE 1: SELECT x\n               ^\nDetail: why\nHint: do"
    lines = COLOURED.error(report).splitlines()
    assert [line.startswith("\x1b[1;31m") for line in lines] == [True, False, True, False, False]
    assert lines[4] == "\x1b[36mHint: do\x1b[0m"
    assert PLAIN.error(report) == report
