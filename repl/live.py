"""Live queries: a table that changes in place on a terminal, the changes themselves line by line elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .console import Console, duration
from .formats import csv_header, csv_lines, json_lines
from .render import COLUMN_WIDTH_MIN, Column, box_text, excerpt, expanded_text, sized
from .text import sql_text

if TYPE_CHECKING:
    from ..sql.cursors import Cursor
    from ..sql.dbapi import Connection

REFRESH_S = 0.1  # a live table is drawn at most this often
DRAWING_SHARE = 0.2  # and takes at most this part of one core
ROWS_KEPT_MAX = 1_000_000  # of a live table; of more, the latest
BAR_CELLS = 20  # of a progress bar
RATE_S = 2.0  # rows/s is the mean over so long
FRAME_LINES = 8  # of a live table that are not rows: its box, footer, prompt
HEAD = 2  # the columns epoch and op, before those of the result
Order = Sequence[tuple[str, str]]  # (column, "ascending" or "descending")


def follow(con: Connection, cursor: Cursor, console: Console, *, idle: bool = False) -> None:
    """Shows a live query until it is interrupted, has given `changes_max` changes, or, with `idle`, caught up."""
    steps = changes(con, cursor, limit=console.settings.changes_max, idle=idle)
    try:
        if not console.terminal or console.settings.format not in (None, "table"):
            write_changes(steps, console)
        elif console.settings.changelog:
            scroll_changes(steps, cursor, console)
        else:
            draw_rows(steps, con, cursor, console)
    finally:
        cursor.close()


def changes(con: Connection, cursor: Cursor, *, limit: int | None, idle: bool) -> Iterator[pa.Table | None]:
    """What the cursor brings, and None each time that it brings nothing for a moment; ends as `follow` says."""
    left = limit
    while left is None or left > 0:
        table = cursor.next_changes(timeout_s=REFRESH_S)
        if table is None and idle and con.status().lag == 0:
            table = cursor.next_changes(timeout_s=0)
            table = cursor.rest_of_changes() if table is None else table
            if table is None:
                return
        if table is None and cursor.ended:
            return
        if table is not None and left is not None:
            table = table.slice(0, left)
            left -= table.num_rows
        yield table


def write_changes(steps: Iterator[pa.Table | None], console: Console) -> None:
    """Each change as a line of JSON or CSV; what came together is flushed together."""
    name = console.stream_format()
    started = False
    for table in steps:
        if table is None:
            continue
        for batch in table.to_batches():
            if name == "csv":
                console.out.write(csv_lines(batch) if started else csv_header(table.schema) + csv_lines(batch))
            else:
                console.out.write(json_lines(batch))
            started = True
        console.out.flush()


def scroll_changes(steps: Iterator[pa.Table | None], cursor: Cursor, console: Console) -> None:
    """Each change as a row of a table without end, in the colour of what it does; widths are those of the first."""
    widths: list[int] = []
    for table in steps:
        if table is None:
            continue
        part = excerpt(table, cursor.types, rows_max=None)
        if not widths:
            widths = [max(column.width, COLUMN_WIDTH_MIN) for column in part.columns]
            widths[:HEAD] = [6, 2]
            names = [sized(column.name, width) for column, width in zip(part.columns, widths, strict=True)]
            console.write(console.theme.paint("name", "  ".join(names)) + "\n")
        texts = [aligned(column, width) for column, width in zip(part.columns, widths, strict=True)]
        lines = [console.theme.paint(cells[1].strip(), "  ".join(cells)) for cells in zip(*texts, strict=True)]
        console.write("\n".join(lines) + "\n")


def draw_rows(steps: Iterator[pa.Table | None], con: Connection, cursor: Cursor, console: Console) -> None:
    """The rows the query has now, drawn in place, with a footer that says how fast and how far it is."""
    rows = LiveRows([(name, "ascending") for name in cursor.key or ()])
    progress = Progress(con)

    def picture() -> str:
        return rows.picture(cursor.types, console) + console.theme.paint(
            "footer", f"  {rows.summary} · {progress.line()}"
        )

    with Screen() as screen:
        try:
            for table in steps:
                if table is not None:
                    rows.apply(table)
                screen.draw(picture)
        finally:
            screen.draw(picture, last=True)


class LiveRows:
    """The rows that a live query's changes add up to.

    Holds: a row is there as often as it was inserted more than retracted. They are drawn sorted by `order`, or with
    an empty one as they came.
    State: the present rows, up to `ROWS_KEPT_MAX` of them.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.rows: pa.Table | None = None  # the columns of the result, then weight and order
        self.pending: list[pa.Table] = []
        self.names: list[str] = []
        self.seen = 0
        self.shown = 0

    def apply(self, table: pa.Table) -> None:
        """Takes changes in; they are added up when the rows are looked at."""
        weights = table.column(1)  # EMIT CHANGELOG says weights, all else says op
        if pa.types.is_string(weights.type):
            inserted = pc.starts_with(weights, "+")
            weights = pc.if_else(inserted, pa.scalar(1, pa.int64()), pa.scalar(-1, pa.int64()))
        order = pa.array(np.arange(self.seen, self.seen + table.num_rows))
        self.seen += table.num_rows
        self.names = table.column_names[HEAD:]
        columns = [comparable(column) for column in table.columns[HEAD:]]
        self.pending.append(pa.table([*columns, weights, order], names=[*map(str, range(len(columns))), "w", "o"]))

    def present(self) -> pa.Table:
        """The rows there are now, with `w` and `o`."""
        if self.pending:
            parts = self.pending if self.rows is None else [self.rows, *self.pending]
            self.rows, self.pending = summed(pa.concat_tables(parts)), []
        assert self.rows is not None
        return self.rows

    def picture(self, types: Sequence[str], console: Console) -> str:
        """As many rows as fit on the screen: all, or those that came last, in order."""
        if self.rows is None and not self.pending:
            return ""
        rows = self.present()
        room = max(3, console.height - FRAME_LINES)
        if rows.num_rows > room:
            rows = rows.take(pc.select_k_unstable(rows, k=room, sort_keys=[("o", "descending")]))
        self.shown = rows.num_rows
        rows = rows.sort_by(
            [(str(self.names.index(name)), direction) for name, direction in self.order] or [("o", "ascending")]
        )
        result = rows.select(range(len(self.names))).rename_columns(self.names)
        part = excerpt(result, types[-len(self.names) :], rows_max=None)
        box = box_text(part, width=console.width, theme=console.theme, footer=False)
        return box if box is not None else expanded_text(part, theme=console.theme)

    @property
    def summary(self) -> str:
        """`12 rows`, or `19,000 rows, the latest 30`."""
        count = 0 if self.rows is None else self.rows.num_rows
        return f"{count:,} rows" + (f", the latest {self.shown}" if self.shown < count else "")


class Screen:
    """A place on the terminal that is drawn anew, as often as that is cheap; what was drawn last stays."""

    def __init__(self) -> None:
        from rich.console import Console as Terminal
        from rich.live import Live

        self.live = Live(console=Terminal(), auto_refresh=False, vertical_overflow="crop")
        self.due = 0.0

    def __enter__(self) -> Screen:
        self.live.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.live.stop()

    def draw(self, picture: Callable[[], str], *, last: bool = False) -> None:
        """Draws, unless it was drawn just now and this is not the `last` time."""
        started = time.perf_counter()
        if started < self.due and not last:
            return
        from rich.text import Text

        self.live.update(Text.from_ansi(picture(), no_wrap=True, overflow="ellipsis"), refresh=True)
        drawn = time.perf_counter()
        self.due = max(started + REFRESH_S, drawn + (drawn - started) / DRAWING_SHARE)


class Progress:
    """How fast and how far the engine is, as a line: rows/s, watermark, lag, time since the line began."""

    def __init__(self, con: Connection) -> None:
        self.con = con
        self.started = time.perf_counter()
        self.samples: deque[tuple[float, int]] = deque()

    def line(self) -> str:
        """`52,000 rows/s · watermark 2013-06-01 12:00:00 · lag 0 · 3.4 s`; first, what is being built, and how far."""
        status = self.con.status()
        now = time.perf_counter()
        self.samples.append((now, status.rows + sum(done for done, _ in status.backfills.values())))
        while len(self.samples) > 2 and self.samples[0][0] < now - RATE_S:
            self.samples.popleft()
        (first, rows), elapsed = self.samples[0], now - self.samples[0][0]
        rate = max(0, self.samples[-1][1] - rows) / elapsed if now > first else 0.0
        if status.backfills:
            name, (done, total) = next(iter(status.backfills.items()))
            others = f" and {len(status.backfills) - 1} more" if len(status.backfills) > 1 else ""
            left = f" · {duration((total - done) / rate)} left" if rate and total > done else ""
            return f"{name}{others} {bar(done, total)} {done:,} of {total:,} rows · {rate:,.0f} rows/s{left}"
        known = [mark for mark in status.watermarks.values() if mark is not None]
        parts = [f"{rate:,.0f} rows/s"]
        if known:
            parts.append(f"watermark {sql_text(pa.array([min(known)], pa.timestamp('us')))[0].as_py()}")
        return " · ".join([*parts, f"lag {status.lag:,}", duration(now - self.started)])


def bar(done: int, total: int) -> str:
    """`█████▌    55 %`."""
    share = min(1.0, done / total) if total else 1.0
    eighths = round(share * 8 * BAR_CELLS)
    full, part = divmod(eighths, 8)
    return f"{'█' * full + ' ▏▎▍▌▋▊▉'[part]:<{BAR_CELLS}}"[:BAR_CELLS] + f" {share:.0%}".replace("%", " %")


def aligned(column: Column, width: int) -> list[str]:
    """The column's values, each in exactly `width` cells."""
    return [sized("NULL" if cell is None else cell, width, right=column.right) for cell in column.cells]


def comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column that can be grouped by: nested values become their text, which is all that is drawn of them."""
    if pa.types.is_nested(column.type) or pa.types.is_interval(column.type):
        return pa.chunked_array([sql_text(chunk) for chunk in column.chunks], pa.string())
    return column


def summed(rows: pa.Table) -> pa.Table:
    """Equal rows added up; those that cancel out are gone. Appends alone are left as they are."""
    if pc.min_max(rows["w"]).as_py() not in ({"min": 1, "max": 1}, {"min": None, "max": None}):
        keys = rows.column_names[:-2]
        rows = rows.group_by(keys, use_threads=False).aggregate([("w", "sum"), ("o", "max")])
        rows = rows.rename_columns([*keys, "w", "o"])
        rows = rows.filter(pc.greater(rows["w"], 0))
        if rows.num_rows and pc.max(rows["w"]).as_py() > 1:
            rows = rows.take(pa.array(np.repeat(np.arange(rows.num_rows), rows["w"].to_numpy())))
            rows = rows.set_column(len(keys), "w", pa.array(np.ones(rows.num_rows, dtype=np.int64)))
    if rows.num_rows > ROWS_KEPT_MAX:
        rows = rows.take(pc.select_k_unstable(rows, k=ROWS_KEPT_MAX, sort_keys=[("o", "descending")]))
    return rows.combine_chunks()
