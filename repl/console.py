"""The console: where results go, in which format, and where everything that is not a result is said."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from ..storage.errors import Error
from .theme import PLAIN, theme_for

if TYPE_CHECKING:
    import pyarrow as pa

    from ..sql.cursors import Cursor

STATUS_LOG_S = 10.0  # between two lines of status where no line can be written anew
STREAMS = {"csv": "csv", "jsonl": "jsonl", None: "jsonl"}  # format asked for -> format of a live query's changes


class UsageError(Exception):
    """The command line, or an option set in the shell, asks for something that does not go together."""


@dataclass
class Settings:
    """What the shell's commands and the command line's options set."""

    format: str | None = None  # None: a table; for a live query whatever suits the place
    expanded: Literal["on", "off", "auto"] = "auto"
    timing: bool = False
    changelog: bool = False
    pager: bool = False
    keys: Literal["emacs", "vi"] | None = None  # None: as EDITOR has them
    changes_max: int | None = None  # after how many changes a live query ends


class Console:
    """One place for results, a file or standard output, and one for chatter, standard error.

    On a terminal, tables are coloured, cut to its width, and long ones shown by head and tail; elsewhere all is plain
    and complete. Formats for programs are the same everywhere.
    """

    def __init__(self, settings: Settings | None = None, *, output: Path | None = None) -> None:
        self.settings = settings or Settings()
        self.path: Path | None = None
        self.out: BinaryIO = sys.stdout.buffer
        self.results = 0
        self.send_to(output)

    @property
    def terminal(self) -> bool:
        """Whether a person watches the results."""
        return self.path is None and sys.stdout.isatty()

    @property
    def width(self) -> int:
        return shutil.get_terminal_size().columns

    @property
    def height(self) -> int:
        return shutil.get_terminal_size().lines

    def send_to(self, path: Path | None) -> None:
        """Results go to the file `path` from now on, or with None to standard output again.

        Raises: UsageError if the file cannot be written.
        """
        self.close()
        try:
            self.out = sys.stdout.buffer if path is None else path.open("wb")
        except OSError as error:
            raise UsageError(f"could not write {path}: {error.strerror}") from error
        self.path = path
        self.results = 0
        self.theme = PLAIN if path is not None else theme_for(sys.stdout)

    def close(self) -> None:
        """Everything written has arrived."""
        self.out.flush()
        if self.path is not None:
            self.out.close()
            self.out, self.path = sys.stdout.buffer, None

    def write(self, content: str | bytes) -> None:
        """Part of a result."""
        self.out.write(content.encode() if isinstance(content, str) else content)
        self.out.flush()

    def say(self, text: str, role: str = "notice") -> None:
        """Something that is not a result."""
        self.out.flush()
        print(theme_for(sys.stderr).paint(role, text), file=sys.stderr, flush=True)

    def complain(self, error: Error, text: str | None, *, source: str | None = None) -> None:
        """An error, with the place in `text` and what to do next."""
        self.out.flush()
        print(theme_for(sys.stderr).error(error.report(text, source=source)), file=sys.stderr, flush=True)

    def show(self, cursor: Cursor) -> None:
        """All rows of a result that ends, in the format set."""
        from .formats import FORMATS, write_result

        name = self.settings.format or "table"
        if FORMATS[name].shown:
            self.show_table(cursor.fetch_arrow_table(), cursor.types)
            return
        if FORMATS[name].binary and self.terminal:
            raise UsageError(f"{name} is not for a terminal: name a file with -o FILE, or \\o FILE in the shell")
        if FORMATS[name].binary and self.results:
            raise UsageError(f"a {name} file holds one result, and this would be the second")
        write_result(cursor.fetch_record_batch(), name, self.out)
        self.out.flush()
        self.results += 1

    def show_table(self, table: pa.Table, types: Sequence[str]) -> None:
        """Rows for a person: a box, records if it would be too wide for the terminal, or Markdown."""
        from .render import ROWS_SHOWN_MAX, box_text, excerpt, expanded_text, markdown_text

        if self.settings.format == "markdown":
            self.write(markdown_text(excerpt(table, types, rows_max=None)))
            return
        if self.terminal and self.settings.pager:
            self._page(table, types)
            return
        part = excerpt(table, types, rows_max=ROWS_SHOWN_MAX if self.terminal else None)
        box = None
        if self.settings.expanded != "on":
            room = self.width if self.terminal and self.settings.expanded == "auto" else None
            box = box_text(part, width=room, theme=self.theme)
        self.write(box if box is not None else expanded_text(part, theme=self.theme))

    def _page(self, table: pa.Table, types: Sequence[str]) -> None:
        """Rows for a person who scrolls, where the terminal has no room for all of them."""
        from .pager import page
        from .render import ROWS_PAGED_MAX, box_text, excerpt, expanded_text

        part = excerpt(table, types, rows_max=ROWS_PAGED_MAX)
        box = None if self.settings.expanded == "on" else box_text(part, width=None, theme=self.theme)
        text = expanded_text(part, theme=self.theme) if box is None else box
        plain = box_text(part, width=self.width, theme=PLAIN)
        if plain is not None and text.count("\n") < self.height - 1:
            self.write(text)
        else:
            self.out.flush()
            page(text)

    def stream_format(self) -> str:
        """How changes are written where there is no live table. Raises: UsageError for a format that must end."""
        if self.settings.format not in STREAMS:
            raise UsageError(f"{self.settings.format} cannot be written change by change: choose jsonl or csv")
        return STREAMS[self.settings.format]

    @contextmanager
    def status_line(self) -> Iterator[Callable[[str], None]]:
        """A line on standard error that can be written anew; gone at the end. Off a terminal, a line every 10 s."""
        if not sys.stderr.isatty():
            yield Every(STATUS_LOG_S, lambda text: self.say(text, role="footer"))
            return
        theme = theme_for(sys.stderr)
        try:
            yield lambda text: print(f"\r\x1b[2K{theme.paint('footer', text)}", end="", file=sys.stderr, flush=True)
        finally:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Says afterwards how long it took, if `\\timing` is on."""
        started = time.perf_counter()
        try:
            yield
        finally:
            if self.settings.timing:
                self.say(f"Time: {duration(time.perf_counter() - started)}", role="footer")


class Every:
    """Calls through at most once in `pause_s`, and at once the first time."""

    def __init__(self, pause_s: float, call: Callable[[str], None]) -> None:
        self.pause_s = pause_s
        self.call = call
        self.due = 0.0

    def __call__(self, text: str) -> None:
        if time.perf_counter() >= self.due:
            self.due = time.perf_counter() + self.pause_s
            self.call(text)


def duration(seconds: float) -> str:
    """`0.8 ms`, `12 ms`, `3.4 s`, `2 min 05 s`."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02} s"
