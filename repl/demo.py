"""`headrace demo`: the script flights.sql, its COPYs fed in slowly enough, in event-time order, to watch the views."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..sql.datasets import open_dataset
from ..sql.dbapi import connect
from ..sql.dialect import parse_script
from ..sql.statements import Copy, CreateStream, CreateView, Select, Statement, Verify
from .console import Console, Every, duration
from .live import LiveRows, Progress, Screen

if TYPE_CHECKING:
    from ..sql.dbapi import Connection

WATCHED = ("worst_carriers", [("mean_delay", "descending")])  # the view that is drawn, and in which order
STEP_ROWS = 4096  # appended at once where no speed is asked for
STEPS_PER_S = 20  # and where one is
LAG_ROWS_MAX = 50_000  # the engine may be behind by so much before the demo waits for it
BAR_CELLS = 24
LOG_S = 1.0  # between lines of progress, off a terminal


@dataclass
class Source:
    """The rows for one stream in event-time order, and how many of them are in it."""

    stream: str
    rows: pa.Table
    times: npt.NDArray[np.int64]
    sent: int = 0

    def send(self, con: Connection, until: int) -> None:
        """Appends rows up to row `until`; durable when it returns."""
        if until > self.sent:
            con.append(self.stream, self.rows.slice(self.sent, until - self.sent))
            self.sent = until


def demonstrate(folder: str | None, *, rows_per_s: int | None, rows_max: int | None) -> bool:
    """Streams, shows, and verifies; whether every view equals its twin. In a folder it goes on where it was stopped."""
    console = Console()
    text = files(__package__).joinpath("flights.sql").read_text(encoding="utf-8")
    script = parse_script(text)
    sources = read_sources(script, rows_max)
    with connect(folder or ":memory:") as con:
        create(con, script)
        for source in sources:
            source.sent = int(con.execute(f"SELECT count(*) FROM {source.stream}").fetchall()[0][0])
        before = sum(source.sent for source in sources)
        if before:
            console.say(f"Goes on after {before:,} rows.", role="tag")
        started = time.perf_counter()
        stream(con, console, sources, rows_per_s)
        con.flush()
        took = time.perf_counter() - started
        sent = sum(source.sent for source in sources) - before
        views = sum(isinstance(statement, CreateView) for statement in script)
        console.say(f"{sent:,} rows into {views} views in {duration(took)}: {sent / took:,.0f} rows/s.", role="tag")
        same = show_results(con, console, script, text)
    if folder:
        console.say(f'All of it is in {folder}: headrace {folder} -c "SELECT * FROM worst_carriers"', role="hint")
    return same


def read_sources(script: Sequence[Statement], rows_max: int | None) -> list[Source]:
    """What the script copies: the stream with most rows first, at most `rows_max`; of the others, what is not later."""
    columns = {s.name: s.watermark.column for s in script if isinstance(s, CreateStream) and s.watermark is not None}
    sources = []
    for statement in script:
        if isinstance(statement, Copy):
            rows = open_dataset(statement.path).read_all()
            sources.append(Source(statement.name, rows, rows[columns[statement.name]].cast(pa.int64()).to_numpy()))
    sources.sort(key=lambda source: -source.rows.num_rows)
    first = sources[0]
    first.rows, first.times = first.rows.slice(0, rows_max), first.times[:rows_max]
    return sources


def create(con: Connection, script: Sequence[Statement]) -> None:
    """The script's streams and views, those that are not there yet."""
    there = {relation.name for relation in con.relations()}
    for statement in script:
        if isinstance(statement, CreateStream | CreateView) and statement.name not in there:
            con.run(statement)


def stream(con: Connection, console: Console, sources: Sequence[Source], rows_per_s: int | None) -> None:
    """Feeds all rows in, and draws one view and the progress as they come."""
    name, order = WATCHED
    rows, progress = LiveRows(order), Progress(con)
    first = sources[0]
    total = first.rows.num_rows
    with con.execute(f"SUBSCRIBE {name}") as cursor:
        if console.terminal:
            with Screen() as screen:

                def picture() -> str:
                    line = f"{bar(first.sent, total)} {first.stream} · {progress.line()}"
                    return rows.picture(cursor.types, console) + console.theme.paint("footer", f"  {line}")

                for pause_s in feed(con, sources, rows_per_s):
                    while (table := cursor.next_changes(timeout_s=pause_s)) is not None:
                        rows.apply(table)
                        pause_s = 0
                    screen.draw(picture)
                screen.draw(picture, last=True)
        else:
            log = Every(LOG_S, lambda text: console.say(text, role="footer"))
            for pause_s in feed(con, sources, rows_per_s):
                while cursor.next_changes(timeout_s=pause_s) is not None:
                    pause_s = 0
                log(f"{first.sent:,} of {total:,} {first.stream} · {progress.line()}")


def feed(con: Connection, sources: Sequence[Source], rows_per_s: int | None) -> Iterator[float]:
    """Appends all that is not yet sent, a step at a time, and gives after each how long to wait for the next.

    The first source sets the pace; of the others goes in before it what is not later than its step.
    """
    first, *others = sources
    start, began = first.sent, time.perf_counter()
    step = STEP_ROWS if rows_per_s is None else max(1, rows_per_s // STEPS_PER_S)
    while first.sent < len(first.times):
        until = min(first.sent + step, len(first.times))
        for other in others:
            other.send(con, int(np.searchsorted(other.times, first.times[until - 1], side="right")))
        first.send(con, until)
        yield 0 if rows_per_s is None else max(0.0, began + (until - start) / rows_per_s - time.perf_counter())
        while con.status().lag > LAG_ROWS_MAX:
            yield 0.01
    for other in others:
        other.send(con, int(np.searchsorted(other.times, first.times[-1], side="right")))
    yield 0


def show_results(con: Connection, console: Console, script: Sequence[Statement], text: str) -> bool:
    """The script's queries with the comment above each, then VERIFY; whether all views are equal to their twins."""
    lines = text.splitlines()
    same = True
    for statement in script:
        if isinstance(statement, Select | Verify):
            title = lines[statement.start.line - 2].removeprefix("-- ")
            console.write(f"\n{console.theme.paint('name', title)}\n")
            cursor = con.run(statement)
            console.show(cursor)
            if isinstance(statement, Verify):
                same = same and all(cursor.fetch_arrow_table()["equal"].to_pylist())
    return same


def bar(done: int, total: int) -> str:
    """`██████░░░░ 175,000 of 336,776`."""
    filled = BAR_CELLS * done // max(total, 1)
    return "█" * filled + "░" * (BAR_CELLS - filled) + f" {done:,} of {total:,}"
