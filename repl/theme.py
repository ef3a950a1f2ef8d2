"""Colours: which role of the shell's text is shown how, and when there is none at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

ROLES: Mapping[str, str] = {  # role -> ANSI SGR code
    "border": "2",
    "name": "1",
    "type": "2",
    "null": "2;3",
    "footer": "2",
    "tag": "2",
    "notice": "33",
    "error": "1;31",
    "detail": "0",
    "hint": "36",
    "+I": "32",
    "+U": "32",
    "-U": "2;31",
    "-D": "31",
}

PROMPT_STYLE: Mapping[str, str] = {  # prompt_toolkit style class -> style
    "prompt": "bold ansicyan",
    "continuation": "ansibrightblack",
    "bottom-toolbar": "noreverse ansibrightblack",
    "pygments.keyword": "bold ansiblue",
    "pygments.name.builtin": "ansicyan",
    "pygments.literal.string": "ansigreen",
    "pygments.literal.number": "ansimagenta",
    "pygments.comment": "italic ansibrightblack",
    "pygments.operator": "",
}


@dataclass(frozen=True)
class Theme:
    """Paints text by role; an empty table of roles leaves all of it plain."""

    roles: Mapping[str, str] = field(default_factory=dict)

    def paint(self, role: str, text: str) -> str:
        """`text` in the colour of its role."""
        code = self.roles.get(role)
        return f"\x1b[{code}m{text}\x1b[0m" if code and text else text

    def error(self, report: str) -> str:
        """An error's report with its headline, caret, detail and hint told apart."""
        return "\n".join(self.paint(error_role(line), line) for line in report.splitlines())


PLAIN = Theme()
COLOURED = Theme(ROLES)


def theme_for(stream: TextIO) -> Theme:
    """Colours on a terminal, unless NO_COLOR is set or the terminal is dumb."""
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return PLAIN if plain else COLOURED


def error_role(line: str) -> str:
    """The role of one line of an error's report."""
    if line.startswith("Hint:"):
        return "hint"
    if line.startswith("Detail:"):
        return "detail"
    return "error" if "Error:" in line or not line.strip(" ^") else "detail"
