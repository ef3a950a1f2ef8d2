"""The command `headrace`: its arguments, its exit codes, and what each of its forms starts."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .interrupts import Terminated, TimedOut, kept_apart, listen

if TYPE_CHECKING:
    from ..sql.dbapi import Connection
    from .console import Console

OK, SQL_ERROR, USAGE, TIMEOUT, INTERRUPTED, TERMINATED, BROKEN_PIPE = 0, 1, 2, 4, 130, 143, 141

EXAMPLES = """
examples:
  headrace                                  a shell over a database in memory
  headrace db                               a shell over the database in the folder db
  headrace db -c "SELECT * FROM per_hour"   run a statement and leave
  headrace db -c "SUBSCRIBE per_hour" --limit 10 | jq .op
  echo "SHOW VIEWS" | headrace db           statements on standard input
  headrace run flights.sql db --until-idle  run a script, end when all input is processed
  headrace run flights.sql db --watch       run a script, keep its views up to date until Ctrl-C
  headrace topic --help                     look into the log, verify, repair, export and import it
  headrace debug db --view per_hour         step through epochs, operator by operator
  headrace demo                             a year of New York's flights, live

exit codes: 0 well, 1 a statement failed, 2 usage or the folder could not be opened, 4 --timeout, 130 interrupted
"""


class WithoutPandas:
    """Hides pandas from this process: pyarrow looks for it the first time it converts a list, and where it is there
    (the demo's package brings it along) that costs a third of a second for what no command line needs."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuses pandas, leaves all else to the finders that follow."""
        if name == "pandas":
            raise ModuleNotFoundError("the command line runs without pandas", name=name)


def main(argv: Sequence[str] | None = None) -> int:
    """Makes this process the command: its signals, and what it hides. The exit code."""
    sys.meta_path.insert(0, WithoutPandas())
    listen()
    return command(sys.argv[1:] if argv is None else argv)


def command(words: Sequence[str]) -> int:
    """Runs one command line; its exit code."""
    parse, run = FORMS.get(words[0] if words else "", (shell_arguments, open_or_run))
    arguments = parse(words[1:] if parse is not shell_arguments else words)
    from ..storage.errors import Error
    from .console import UsageError

    try:
        with kept_apart():
            return run(arguments)
    except (UsageError, Error) as error:
        print(error.report() if isinstance(error, Error) else f"Error: {error}", file=sys.stderr)
        return USAGE
    except TimedOut:
        print(f"Stopped after {arguments.timeout:g} s.", file=sys.stderr)
        return TIMEOUT
    except Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at its end
        return BROKEN_PIPE


def shell_arguments(words: Sequence[str]) -> argparse.Namespace:
    """`headrace [FOLDER] [-c SQL]`."""
    parser = argument_parser(
        "headrace", "headrace [FOLDER] [-c SQL]... | headrace run FILE [FOLDER] | headrace demo [FOLDER]"
    )
    parser.description = (
        "A streaming SQL database in a folder. Without -c, a shell; or the statements on standard input."
    )
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help="the database; without, one in memory")
    parser.add_argument("-c", "--command", metavar="SQL", action="append", help="run these statements and leave")
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    add_options(parser)
    arguments = parser.parse_args(words)
    if arguments.version:
        from importlib.metadata import version

        print(f"headrace {version('headrace')}")
        parser.exit()
    return arguments


def run_arguments(words: Sequence[str]) -> argparse.Namespace:
    """`headrace run FILE [FOLDER]`."""
    parser = argument_parser("headrace run", "headrace run FILE [FOLDER] [--until-idle | --watch]")
    parser.description = "Run the statements of a file, up to the first that fails."
    parser.add_argument("file", metavar="FILE", help="a file of SQL statements; - for standard input")
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help="the database; without, one in memory")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--until-idle", action="store_true", help="end when every view has caught up with every stream")
    end.add_argument("--watch", action="store_true", help="keep the views up to date, with a status line, until Ctrl-C")
    add_options(parser)
    return parser.parse_args(words)


def demo_arguments(words: Sequence[str]) -> argparse.Namespace:
    """`headrace demo [FOLDER]`."""
    parser = argument_parser("headrace demo", "headrace demo [FOLDER] [--speed ROWS_PER_S] [--rows N]")
    parser.description = "The 336,776 flights out of New York in 2013 and the weather, streamed into five views."
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help="where to keep it; goes on where it was stopped")
    parser.add_argument("--speed", metavar="ROWS_PER_S", type=positive, help="flights per second; without, all it can")
    parser.add_argument("--rows", metavar="N", type=positive, help="only the first so many flights")
    return parser.parse_args(words)


def topic_arguments(words: Sequence[str]) -> argparse.Namespace:
    """`headrace topic ACTION FOLDER ...`."""
    from .topic_command import topic_arguments

    return topic_arguments(words)


def debug_arguments(words: Sequence[str]) -> argparse.Namespace:
    """`headrace debug FOLDER ...`."""
    from .debug_command import debug_arguments

    return debug_arguments(words)


def argument_parser(program: str, usage: str) -> argparse.ArgumentParser:
    """A parser that shows the examples under its options."""
    return argparse.ArgumentParser(
        prog=program,
        usage=usage,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every form that runs statements takes."""
    formats = ["table", "csv", "json", "jsonl", "markdown", "parquet", "arrow"]
    parser.add_argument("--format", choices=formats, help="of results; without, what the name after -o says, or table")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write results to this file")
    parser.add_argument("--limit", metavar="N", type=positive, help="a live query ends after so many changes")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=positive_seconds, help="stop after so long, with exit code 4"
    )
    parser.add_argument("--read-only", action="store_true", help="open a folder that another process owns")
    parser.set_defaults(until_idle=False, watch=False)


def open_or_run(arguments: argparse.Namespace) -> int:
    """The statements of -c or of standard input; with neither, the shell."""
    texts = arguments.command
    if texts is None and not sys.stdin.isatty():
        texts = [sys.stdin.read()]
    with connected(arguments) as (con, console):
        if texts is None:
            from .shell import run_shell

            run_shell(con, console, title=arguments.folder or "in memory")
            return OK
        from .script import run_text

        return OK if all(run_text(con, console, text) for text in texts) else SQL_ERROR


def run_file(arguments: argparse.Namespace) -> int:
    """The statements of a file."""
    from .console import UsageError

    try:
        text = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"could not read {arguments.file}: {reason}") from error
    with connected(arguments) as (con, console):
        from .script import run_text, status_shown, watch

        source = "<stdin>" if arguments.file == "-" else arguments.file
        if not run_text(con, console, text, source=source, idle=arguments.until_idle):
            return SQL_ERROR
        if arguments.until_idle:
            with status_shown(con, console):
                con.flush()
        if arguments.watch:
            watch(con, console)
    return OK


def run_demo(arguments: argparse.Namespace) -> int:
    """The demonstration."""
    from .demo import demonstrate

    return OK if demonstrate(arguments.folder, rows_per_s=arguments.speed, rows_max=arguments.rows) else SQL_ERROR


def run_topic(arguments: argparse.Namespace) -> int:
    """What the word after `topic` asks for."""
    from .topic_command import run_topic

    return run_topic(arguments)


def run_debug(arguments: argparse.Namespace) -> int:
    """A walk through epochs."""
    from .debug_command import run_debug

    return run_debug(arguments)


@contextmanager
def connected(arguments: argparse.Namespace) -> Iterator[tuple[Connection, Console]]:
    """The database and the console that the options ask for; --timeout counts from when it is open."""
    from .console import Console, Settings
    from .formats import format_of

    chosen = arguments.format or (format_of(arguments.output) if arguments.output else None)
    console = Console(Settings(format=chosen, changes_max=arguments.limit), output=arguments.output)
    try:
        with opened(arguments.folder, read_only=arguments.read_only) as con:
            signal.setitimer(signal.ITIMER_REAL, arguments.timeout or 0)
            yield con, console
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        console.close()


def opened(folder: str | None, *, read_only: bool) -> Connection:
    """The database. Raises: UsageError, Error if it could not be opened."""
    from ..sql.dbapi import connect
    from .console import UsageError

    try:
        return connect(folder or ":memory:", read_only=read_only)
    except OSError as error:
        raise UsageError(f"could not open {folder}: {error.strerror}") from error


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def positive_seconds(text: str) -> float:
    """A number of seconds above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


FORMS: Mapping[str, tuple[Callable[[Sequence[str]], argparse.Namespace], Callable[[argparse.Namespace], int]]] = {
    "run": (run_arguments, run_file),
    "demo": (demo_arguments, run_demo),
    "topic": (topic_arguments, run_topic),
    "debug": (debug_arguments, run_debug),
}

if __name__ == "__main__":
    sys.exit(main())
