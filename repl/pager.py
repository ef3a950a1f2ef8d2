"""The pager: results that are too long or too wide for the terminal, in a program that scrolls them."""

from __future__ import annotations

import os
import shlex
import subprocess
from contextlib import suppress

from .console import UsageError


def page(text: str) -> None:
    """Shows the text in what PAGER says, or less, until the person leaves it. Raises: UsageError without such."""
    words = shlex.split(os.environ.get("PAGER") or "less")
    environment = {"LESS": "FRSX", **os.environ}  # colours, no folded lines, nothing that stays on the screen
    try:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)
    except OSError as error:
        raise UsageError(
            f"could not start the pager {words[0]}: {error.strerror} (PAGER says which; \\pager off)"
        ) from error
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # who has seen enough does not wait for the rest
        process.stdin.write(text.encode())
    with suppress(BrokenPipeError):
        process.stdin.close()
    while True:
        try:
            process.wait()
            return
        except KeyboardInterrupt as stop:
            if type(stop) is not KeyboardInterrupt:  # the process is to end
                process.terminate()
                raise
