"""The shell: a prompt that takes statements until `;` and commands with a backslash, and shows what they give."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import completion_is_selected, has_focus
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.styles import Style
from pygments.lexers.sql import SqlLexer
from pygments.token import Keyword, Name, _TokenType

from ..sql.dialect import split_script
from ..storage.errors import Error, InternalError
from .commands import Leave, Shell, run_command
from .complete import ShellCompleter
from .config import config_path, configure
from .console import Console, UsageError
from .interrupts import kept_apart
from .script import run_text
from .theme import PROMPT_STYLE
from .words import FUNCTIONS, KEYWORDS

if TYPE_CHECKING:
    from ..sql.dbapi import Connection

PROMPT = "headrace> "
CONTINUATION = "     ...> "


def run_shell(con: Connection, console: Console, *, title: str) -> None:
    """Reads and runs what is typed until Ctrl-D or `\\q`; an error or Ctrl-C ends a statement, never the shell."""
    shell = Shell(con, console)
    try:
        configure(console.settings, config_path())
    except UsageError as error:
        console.say(f"Error: {error}", role="error")
    session = prompt_session(con, console.settings.keys)
    console.say(f"headrace · {title} · \\? for help", role="footer")
    while True:
        try:
            text = session.prompt()
        except KeyboardInterrupt as stop:
            raise_unless_typed(stop)
            continue
        except EOFError:
            return
        try:
            run_line(shell, text)
        except Leave:
            return


def run_line(shell: Shell, text: str) -> None:
    """Runs what was typed at one prompt: a command, or statements. Raises: Leave."""
    try:
        if text.lstrip().startswith("\\"):
            with kept_apart():
                run_command(shell, text)
        elif text.strip():
            shell.last = text
            run_text(shell.con, shell.console, text)
    except Error as error:
        shell.console.complain(error, None)
    except UsageError as error:
        shell.console.say(f"Error: {error}", role="error")
    except Leave:
        raise
    except Exception as error:
        shell.console.say(traceback.format_exc(), role="footer")
        shell.console.complain(
            InternalError("this is a mistake in headrace", hint="Please report it.", detail=f"{error}"), None
        )
    except KeyboardInterrupt as stop:
        raise_unless_typed(stop)
        shell.console.say("Stopped.", role="tag")
        for name in shell.con.status().backfills:
            shell.console.say(f'"{name}" is built in the background; DROP it, or see SHOW QUERIES.', role="tag")


def raise_unless_typed(stop: KeyboardInterrupt) -> None:
    """Lets through what only looks like Ctrl-C: the process is to end."""
    if type(stop) is not KeyboardInterrupt:
        raise stop


def prompt_session(con: Connection, keys: str | None) -> PromptSession[str]:
    """The line editor, with history, highlighting and completion; vi keys where EDITOR or `keys` asks for them."""
    editor = os.environ.get("VISUAL", os.environ.get("EDITOR", "")).rpartition("/")[2]
    vi = keys == "vi" or (keys is None and editor.startswith(("vi", "nvim")))
    return PromptSession(
        PROMPT,
        multiline=True,
        prompt_continuation=lambda width, line_number, wrapped: "" if wrapped else CONTINUATION,
        key_bindings=enter_runs_what_is_complete(),
        editing_mode=EditingMode.VI if vi else EditingMode.EMACS,
        history=history(),
        auto_suggest=AutoSuggestFromHistory(),
        enable_history_search=False,
        lexer=PygmentsLexer(HeadraceLexer),
        completer=ShellCompleter(con.relations),
        complete_while_typing=True,
        style=Style.from_dict(dict(PROMPT_STYLE)),
        enable_open_in_editor=True,
    )


def enter_runs_what_is_complete() -> KeyBindings:
    """Enter takes a completion, runs what is complete, and otherwise begins a new line."""
    bindings = KeyBindings()

    @bindings.add("enter", filter=has_focus("DEFAULT_BUFFER") & completion_is_selected)
    def take(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    @bindings.add("enter", filter=has_focus("DEFAULT_BUFFER") & ~completion_is_selected)
    def enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    return bindings


def is_complete(text: str) -> bool:
    """Whether Enter runs it: nothing, a command, or statements of which the last has its `;`."""
    return text.lstrip().startswith("\\") or not split_script(text)[1]


def history() -> History:
    """What was typed before, kept in the user's state folder; in memory where that cannot be written."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "headrace"
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = state / "history"
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


class HeadraceLexer(SqlLexer):  # type: ignore[misc]  # Pygments has no types
    """SQL with headrace's own words."""

    words = frozenset(KEYWORDS)
    functions = frozenset(FUNCTIONS)

    def get_tokens_unprocessed(self, text: str, *arguments: Any) -> Iterator[tuple[int, _TokenType, str]]:
        """Pygments' tokens; a word of ours is a keyword even where Pygments takes it for a name."""
        for index, kind, value in super().get_tokens_unprocessed(text, *arguments):
            if kind in Name or kind in Keyword:
                if value.upper() in self.words:
                    kind = Keyword
                elif value.lower() in self.functions:
                    kind = Name.Builtin
            yield index, kind, value
