"""Statements one after the other: those of `-c`, of standard input, of `headrace run FILE` and of `\\i`."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..sql.dialect import parse_script
from ..storage.errors import Error, OperationalError
from .console import Console
from .interrupts import kept_apart
from .live import Progress, follow

if TYPE_CHECKING:
    from ..sql.dbapi import Connection
    from ..sql.statements import Statement

STATUS_S = 0.2  # how often the status line is written anew
PATIENCE_S = 0.5  # what takes longer shows how far it is


def run_text(con: Connection, console: Console, text: str, *, source: str | None = None, idle: bool = False) -> bool:
    """Runs all statements of `text` up to the first that fails; that one is reported. Whether all went well.

    The text is parsed as a whole before anything runs. With `idle`, live queries end when all input is processed.
    """
    try:
        for statement in parse_script(text):
            run_statement(con, console, statement, idle=idle)
    except Error as error:
        console.complain(error, text, source=source)
        return False
    return True


def run_statement(con: Connection, console: Console, statement: Statement, *, idle: bool = False) -> None:
    """Runs one statement and shows what it gives. An error without a place gets the statement's."""
    try:
        with kept_apart(), console.timed():
            with status_shown(con, console):
                cursor = con.run(statement)
            for notice in cursor.notices:
                console.say(f"Notice: {notice}")
            if cursor.live:
                follow(con, cursor, console, idle=idle)
            elif cursor.description is not None:
                console.show(cursor)
                if cursor.tag == "VERIFY FAILED":
                    raise OperationalError(
                        "a view differs from its twin",
                        detail="The row with equal = false says by how many rows.",
                        hint="This is a defect of headrace: please report it with the folder or the script.",
                    )
            else:
                console.say(cursor.tag, role="tag")
    except Error as error:
        if error.position is None:
            error.position = statement.start
        raise


def watch(con: Connection, console: Console) -> None:
    """Keeps the continuous queries running, with a status line on standard error, until it is interrupted."""
    progress = Progress(con)
    console.say("Running. Ctrl-C stops; the folder keeps everything.", role="tag")
    with console.status_line() as update:
        while True:
            update(progress.line())
            time.sleep(STATUS_S)


@contextmanager
def status_shown(con: Connection, console: Console) -> Iterator[None]:
    """On a terminal, a status line as long as the body takes; gone afterwards."""
    done = threading.Event()

    def write() -> None:
        if not done.wait(PATIENCE_S):
            progress = Progress(con)
            with console.status_line() as update:
                while not done.wait(STATUS_S):
                    update(progress.line())

    if not sys.stderr.isatty():
        yield
        return
    writer = threading.Thread(target=write, name="status line", daemon=True)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()
