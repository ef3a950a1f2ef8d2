"""The shell's backslash commands: a table, one row each."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from .console import Console, UsageError
from .formats import FORMATS, format_of
from .live import Progress
from .script import run_text
from .text import sql_text

if TYPE_CHECKING:
    from ..sql.dbapi import Connection


@dataclass
class Shell:
    """What a command works on. `last` is the statement typed before, for `\\watch`."""

    con: Connection
    console: Console
    last: str = ""


class Leave(Exception):
    """The shell is to end."""


@dataclass(frozen=True)
class Command:
    """One command: `\\name argument`."""

    name: str
    argument: str
    help: str
    run: Callable[[Shell, str], None]


def run_command(shell: Shell, line: str) -> None:
    """Runs one line that starts with a backslash. Raises: Leave for `\\q`; UsageError; Error."""
    name, _, argument = line.strip().partition(" ")
    command = next((row for row in COMMANDS if row.name == name), None)
    if command is None:
        raise UsageError(f"there is no command {name}: \\? lists them")
    command.run(shell, argument.strip().rstrip(";").strip())


def describe(shell: Shell, argument: str) -> None:
    """The relations, or the columns of one."""
    if argument:
        name = argument if argument.startswith('"') else ".".join(f'"{part}"' for part in argument.split("."))
        shell.console.show(shell.con.execute(f"DESCRIBE {name}"))
    else:
        relations(shell, "STREAM", "TABLE", "VIEW", "MATERIALIZED VIEW")


def streams(shell: Shell, argument: str) -> None:
    """The streams."""
    relations(shell, "STREAM")


def tables(shell: Shell, argument: str) -> None:
    """The tables."""
    relations(shell, "TABLE")


def views(shell: Shell, argument: str) -> None:
    """The views, materialized ones too."""
    relations(shell, "VIEW", "MATERIALIZED VIEW")


def relations(shell: Shell, *kinds: str) -> None:
    """The relations of some kinds with their columns, as a table."""
    found = [relation for relation in shell.con.relations() if relation.kind in kinds]
    columns = [", ".join(f"{name} {kind}" for name, kind in relation.columns) for relation in found]
    rows = {
        "name": [relation.name for relation in found],
        "kind": [relation.kind for relation in found],
        "columns": columns,
    }
    shell.console.show_table(
        pa.table({name: pa.array(cells, pa.string()) for name, cells in rows.items()}), ["VARCHAR"] * 3
    )


def queries(shell: Shell, argument: str) -> None:
    """The continuous queries that run."""
    shell.console.show(shell.con.execute("SHOW QUERIES"))


def lag(shell: Shell, argument: str) -> None:
    """How far the engine is: its epoch, rows waiting, and the watermark of each stream."""
    status = shell.con.status()
    shell.console.say(
        f"epoch {status.epoch:,} · {status.rows:,} rows processed · lag {status.lag:,} rows", role="footer"
    )
    marks = pa.array(list(status.watermarks.values()), pa.timestamp("us"))
    table = pa.table({"stream": pa.array(list(status.watermarks), pa.string()), "watermark": sql_text(marks)})
    shell.console.show_table(table, ["VARCHAR", "TIMESTAMP"])


def expanded(shell: Shell, argument: str) -> None:
    """Records instead of tables: always, never, or where a table is too wide."""
    settings = shell.console.settings
    following = {"auto": "on", "on": "off", "off": "auto"}
    choice = argument or following[settings.expanded]
    match choice:
        case "on" | "off" | "auto":
            settings.expanded = choice
        case _:
            raise UsageError(f'\\x takes on, off or auto, not "{argument}"')
    shell.console.say(f"Records instead of tables: {choice}.", role="tag")


def timing(shell: Shell, argument: str) -> None:
    """How long each statement took."""
    settings = shell.console.settings
    settings.timing = switched(settings.timing, argument)
    shell.console.say(f"Timing: {'on' if settings.timing else 'off'}.", role="tag")


def pager(shell: Shell, argument: str) -> None:
    """Results that the terminal has no room for are scrolled."""
    settings = shell.console.settings
    settings.pager = switched(settings.pager, argument)
    shell.console.say(f"Pager: {'on' if settings.pager else 'off'}.", role="tag")


def copy(shell: Shell, argument: str) -> None:
    """COPY on one line, without `;`; the file needs no quotes."""
    if not argument:
        raise UsageError("\\copy takes what COPY does: NAME FROM FILE, NAME TO FILE, (QUERY) TO FILE")
    run_text(shell.con, shell.console, f"COPY {quoted_file(argument)}")


def quoted_file(argument: str) -> str:
    """What COPY takes, its file in quotes: the last FROM or TO outside of brackets and quotes has it behind it."""
    place, depth, quote = None, 0, ""
    for found in re.finditer(r"""['"()]|\b(?:FROM|TO)\b\s*""", argument, re.IGNORECASE):
        mark = found[0]
        if quote or mark in "'\"":
            quote = "" if mark == quote else (quote or mark)
        elif mark in "()":
            depth += 1 if mark == "(" else -1
        elif not depth:
            place = found
    if place is None:
        return argument
    name, space, rest = argument[place.end() :].partition(" ")
    if not name or name.startswith("'"):
        return argument
    doubled = name.replace("'", "''")
    return f"{argument[: place.end()]}'{doubled}'{space}{rest}"


def changelog(shell: Shell, argument: str) -> None:
    """Live queries scroll their changes instead of drawing their rows."""
    settings = shell.console.settings
    settings.changelog = switched(settings.changelog, argument)
    shell.console.say(f"Live queries show their {'changes' if settings.changelog else 'rows'}.", role="tag")


def choose_format(shell: Shell, argument: str) -> None:
    """How results are written."""
    if argument and argument not in FORMATS:
        raise UsageError(f'there is no format "{argument}": choose {", ".join(FORMATS)}')
    shell.console.settings.format = argument or None
    shell.console.say(f"Format: {argument or 'table'}.", role="tag")


def include(shell: Shell, argument: str) -> None:
    """Runs a file of statements; it stops at the first that fails."""
    if not argument:
        raise UsageError("\\i takes the name of a file")
    path = Path(argument).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"could not read {path}: {error}") from error
    run_text(shell.con, shell.console, text, source=str(path))


def output(shell: Shell, argument: str) -> None:
    """Results go to a file, or without a name to the terminal again; the suffix chooses the format."""
    path = Path(argument).expanduser() if argument else None
    shell.console.send_to(path)
    shell.console.settings.format = format_of(path) if path is not None else None


def watch(shell: Shell, argument: str) -> None:
    """Runs the last statement again and again, every so many seconds, until Ctrl-C."""
    try:
        pause_s = float(argument or 2)
    except ValueError as error:
        raise UsageError(f'\\watch takes a number of seconds, not "{argument}"') from error
    if not shell.last:
        raise UsageError("\\watch runs the last statement again, and there is none yet")
    while run_text(shell.con, shell.console, shell.last):
        time.sleep(pause_s)


def flush(shell: Shell, argument: str) -> None:
    """Waits until every view has caught up with every stream."""
    shell.con.flush()
    shell.console.say(Progress(shell.con).line(), role="footer")


def leave(shell: Shell, argument: str) -> None:
    """Ends the shell."""
    raise Leave


def show_help(shell: Shell, argument: str) -> None:
    """This list."""
    width = max(len(f"{row.name} {row.argument}") for row in COMMANDS)
    for row in COMMANDS:
        shell.console.write(f"{f'{row.name} {row.argument}':{width}}  {row.help}\n")
    shell.console.write(
        "\nA statement ends with ; and may span lines. Ctrl-C ends a query, Ctrl-D leaves, Ctrl-R searches.\n"
    )


COMMANDS = (
    Command("\\d", "[NAME]", "relations, or the columns of one", describe),
    Command("\\ds", "", "streams", streams),
    Command("\\dt", "", "tables", tables),
    Command("\\dv", "", "views", views),
    Command("\\dq", "", "queries that run", queries),
    Command("\\lag", "", "how far the engine is, and each stream's watermark", lag),
    Command("\\flush", "", "wait until every view has caught up with every stream", flush),
    Command("\\x", "[on|off|auto]", "records instead of tables; auto: where a table is too wide", expanded),
    Command("\\format", "[NAME]", "table, csv, json, jsonl, markdown, parquet, arrow", choose_format),
    Command("\\changelog", "[on|off]", "live queries scroll +I -U +U -D instead of drawing their rows", changelog),
    Command("\\pager", "[on|off]", "scroll results that the terminal has no room for, in PAGER or less", pager),
    Command("\\timing", "[on|off]", "say how long each statement took", timing),
    Command("\\watch", "[SECONDS]", "run the last statement again and again", watch),
    Command("\\copy", "...", "COPY on one line: NAME FROM FILE, NAME TO FILE, (QUERY) TO FILE", copy),
    Command("\\i", "FILE", "run the statements of a file", include),
    Command("\\o", "[FILE]", "write results to a file; without a name, to the terminal again", output),
    Command("\\?", "", "this list", show_help),
    Command("\\q", "", "leave", leave),
)


def switched(now: bool, argument: str) -> bool:
    """What `on`, `off` or nothing (the other one) makes of a switch."""
    if argument not in ("", "on", "off"):
        raise UsageError(f'choose on or off, not "{argument}"')
    return not now if argument == "" else argument == "on"
