"""The command line, run in this process or in one of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.repl.__main__ import command


@dataclass(frozen=True)
class Done:
    """What one run of the command left behind."""

    returncode: int
    stdout: str
    stderr: str


Headrace = Callable[..., Done]


@pytest.fixture
def headrace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Headrace:
    """Runs the command in this process, away from any terminal, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capfd.readouterr()
        try:
            code = command(words)
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capfd.readouterr())

    return run


# A process started in the background of a shell ignores SIGINT, and so do its children: here it must not.
LISTENING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from headrace.repl.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def process(*words: str, folder: Path) -> subprocess.Popen[str]:
    """Runs the command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-c", LISTENING, *words],
        stdin=nothing, stdout=pipe, stderr=pipe, text=True, cwd=folder, env=environment,
    )  # fmt: skip
