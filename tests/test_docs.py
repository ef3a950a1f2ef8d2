"""Whatever can run in README.md and docs/ does: ```sql and ```python blocks, from top to bottom of each page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace.sql.dialect import parse_script

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)?([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# ```sql norun is a fragment or a grammar; ```sql error must be refused, as its text around says.


@dataclass(frozen=True)
class Example:
    """One fenced block that runs. Units: `line` is that of its first line in the page."""

    language: str
    mode: str
    text: str
    line: int


def examples(page: Path) -> list[Example]:
    """The blocks of a page that run, in order."""
    text = page.read_text()
    return [
        Example(match[1], match[2].strip(), match[3], text.count("\n", 0, match.start(3)) + 1)
        for match in FENCE.finditer(text)
        if match[1] in ("sql", "python") and match[2].strip() != "norun"
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example", "headrace": headrace}
    with headrace.connect(":memory:") as connection:
        names["con"] = connection
        for example in examples(page):
            text = "\n" * (example.line - 1) + example.text  # so that an error names the line of the page
            if example.language == "python":
                exec(compile(text, str(page), "exec"), names)
            elif example.mode == "error":
                with pytest.raises(headrace.Error):
                    run_sql(connection, text)
            else:
                try:
                    run_sql(connection, text)
                except headrace.Error as error:
                    pytest.fail(error.report(text, source=str(page.relative_to(ROOT))), pytrace=False)


def run_sql(connection: headrace.Connection, text: str) -> None:
    """Runs each statement of a block and reads its result, a live one only as far as it is."""
    for statement in parse_script(text):
        cursor = connection.run(statement)
        if cursor.live:
            cursor.next_changes(timeout_s=0.0)
            cursor.close()
        elif cursor.description is not None:
            cursor.fetchall()
        connection.flush()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing
