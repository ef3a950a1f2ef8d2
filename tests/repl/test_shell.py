"""The shell on a real terminal, driven by keys: what is typed, shown, refused, interrupted."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>()][A-Z0-9]?)|\r")
CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """A terminal with the shell in it."""

    def __init__(self, folder: Path) -> None:
        self.seen = ""
        self.read_until = 0
        self.process, self.file = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            root = str(Path(__file__).parent.parent.parent)
            settings = {"PYTHONPATH": root, "XDG_STATE_HOME": str(folder / "state"), "TERM": "xterm", "EDITOR": "ed"}
            settings |= {"XDG_CONFIG_HOME": str(folder / "config"), "PAGER": "sed s/^/paged:/"}
            sizes = {"PROMPT_TOOLKIT_NO_CPR": "1", "NO_COLOR": "1", "COLUMNS": "100", "LINES": "40"}
            os.execve(sys.executable, [sys.executable, "-m", "headrace", "db"], os.environ | settings | sizes)

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self.file, keys.encode())

    def enter(self, line: str) -> None:
        """Types a line at the prompt and presses Enter."""
        self.prompt()
        self.type(line + "\r")

    def prompt(self) -> None:
        """Waits until the shell waits."""
        self.expect("headrace> ")

    def expect(self, text: str, timeout_s: float = 30) -> str:
        """Waits until `text` is shown, after what was last waited for; what came up to it."""
        end = time.monotonic() + timeout_s
        while True:
            shown = ESCAPES.sub("", self.seen)
            found = shown.find(text, self.read_until)
            if found >= 0:
                start, self.read_until = self.read_until, found + len(text)
                return shown[start : self.read_until]
            assert time.monotonic() < end, f"{text!r} never came after {shown[self.read_until :]!r}"
            if select.select([self.file], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.file, 65536).decode(errors="replace")
                except OSError:
                    pytest.fail(f"the shell ended: {shown[self.read_until :]!r}")

    def exit_code(self) -> int:
        """Waits for the shell to end."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if select.select([self.file], [], [], 0.1)[0]:
                with suppress(OSError):
                    os.read(self.file, 65536)
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                return os.waitstatus_to_exitcode(status)
        pytest.fail("the shell did not end")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A shell that has come up."""
    terminal = Terminal(tmp_path)
    terminal.expect("? for help")
    yield terminal
    os.close(terminal.file)


def test_a_session(terminal: Terminal, tmp_path: Path) -> None:
    terminal.enter("SELECT 40 +")
    terminal.expect("...>")
    terminal.type("2 AS answer;\r")
    assert "INTEGER" in terminal.expect("│      42 │")

    terminal.enter("SELECT 1 AS one, nonsense;")
    terminal.expect("^^^^^^^^")
    terminal.enter("CREATE STREAM s (k VARCHAR, n INTEGER); INSERT INTO s VALUES ('a', 1);")
    terminal.expect("INSERT 0 1")
    terminal.enter("\\ds")
    terminal.expect("k VARCHAR, n INTEGER")
    terminal.enter("\\nope")
    terminal.expect("there is no command \\nope")

    terminal.enter("SUBSCRIBE (SELECT k, sum(n) AS total FROM s GROUP BY k);")
    assert "HUGEINT" in terminal.expect("1 rows ·")
    terminal.type(CTRL_C)
    terminal.expect("Stopped.")
    terminal.enter("\\changelog")
    terminal.expect("show their changes")
    terminal.enter("SUBSCRIBE s;")
    terminal.expect("+I  a")
    terminal.type(CTRL_C)
    terminal.expect("Stopped.")

    terminal.enter(f"\\o {tmp_path}/s.csv")
    terminal.enter("SELECT * FROM s;")
    terminal.enter("\\o")
    terminal.enter("SELECT 'done' AS word;")
    terminal.expect("│ done")
    assert (tmp_path / "s.csv").read_text() == "k,n\na,1\n"

    terminal.prompt()
    terminal.type("SELECT 1" + CTRL_C)
    terminal.enter("\\q")
    assert terminal.exit_code() == 0
    assert "SELECT * FROM s;" in (tmp_path / "state" / "headrace" / "history").read_text()


def test_tab_completes_and_ctrl_d_leaves(terminal: Terminal) -> None:
    terminal.enter("CREATE STREAM departures (gate VARCHAR);")
    terminal.expect("CREATE STREAM\n")
    terminal.prompt()
    terminal.type("SELECT count(*) AS n FROM depart")
    terminal.expect("departures")  # in the menu
    terminal.type("\t ;\r")
    terminal.expect("│      0 │")
    terminal.prompt()
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0


def test_it_begins_as_its_file_says_and_pages(tmp_path: Path) -> None:
    (tmp_path / "config" / "headrace").mkdir(parents=True)
    (tmp_path / "config" / "headrace" / "config.toml").write_text("timing = true\npager = true\nsize = 3\n")
    terminal = Terminal(tmp_path)
    assert 'sets "size", which is no setting' in terminal.expect("? for help")
    terminal.enter("SELECT 1 AS one;")
    assert "paged" not in terminal.expect("Time: ")
    terminal.enter("SELECT i AS number FROM range(100) AS r(i);")
    assert "│     57 │" in terminal.expect("paged:│     99 │")
    terminal.enter("\\copy (SELECT 42 AS answer) to answer.csv")
    terminal.expect("COPY 1")
    assert (tmp_path / "answer.csv").read_text() == "answer\n42\n"
    terminal.enter("\\pager off")
    terminal.expect("Pager: off.")
    terminal.enter("SELECT i AS number FROM range(100) AS r(i);")
    assert "paged" not in terminal.expect("Time: ")
    terminal.prompt()
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0
    os.close(terminal.file)
