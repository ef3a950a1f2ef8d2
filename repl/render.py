"""Results as a person reads them: a box with types under the names, records one below the other, or Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from rich.cells import cell_len, set_cell_size

from .text import is_numeric, sql_text
from .theme import PLAIN, Theme

ROWS_SHOWN_MAX = 40  # of a long result: the first half and the last half
ROWS_PAGED_MAX = 10_000  # in a pager
COLUMN_WIDTH_MIN = 12  # narrower than this no column is cut to make a box fit
COLUMN_WIDTH_MAX = 200
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True)
class Column:
    """One column, ready to be drawn: None is NULL."""

    name: str
    type: str
    cells: Sequence[str | None]
    right: bool

    @property
    def width(self) -> int:
        """In terminal cells, of the widest of name, type and values."""
        widest = max((cell_len(cell) if cell is not None else 4 for cell in self.cells), default=0)
        return min(COLUMN_WIDTH_MAX, max(widest, cell_len(self.name), cell_len(self.type), 1))


@dataclass(frozen=True)
class Excerpt:
    """The rows of a result that are shown: all of them, or its head (the first `gap` rows shown) and its tail."""

    columns: Sequence[Column]
    rows: int
    shown: int
    gap: int | None

    @property
    def footer(self) -> str:
        """`3 rows`, or `336,776 rows (40 shown)`."""
        count = f"{self.rows:,} row{'' if self.rows == 1 else 's'}"
        return count if self.gap is None else f"{count} ({self.shown:,} shown)"


def excerpt(table: pa.Table, types: Sequence[str], *, rows_max: int | None) -> Excerpt:
    """The head and the tail of `table` as text, `rows_max` rows together (None: all); only those are looked at."""
    gap = None
    shown = table
    if rows_max is not None and table.num_rows > rows_max:
        gap = (rows_max + 1) // 2
        shown = pa.concat_tables([table.slice(0, gap), table.slice(table.num_rows - rows_max // 2)])
    columns = [
        Column(clean(name), kind, [cell and clean(cell) for cell in cells(column)], is_numeric(column.type))
        for name, kind, column in zip(table.column_names, types, shown.columns, strict=True)
    ]
    return Excerpt(columns, rows=table.num_rows, shown=shown.num_rows, gap=gap)


def box_text(part: Excerpt, *, width: int | None = None, theme: Theme = PLAIN, footer: bool = True) -> str | None:
    """A box no wider than `width` cells; the widest columns are cut to fit. None if that is not enough."""
    widths = fitted([column.width for column in part.columns], width)
    if widths is None:
        return None
    lines = [rule("┌┬┐", widths, theme)]
    lines.append(row([centred(c.name, w) for c, w in zip(part.columns, widths, strict=True)], theme, role="name"))
    lines.append(row([centred(c.type, w) for c, w in zip(part.columns, widths, strict=True)], theme, role="type"))
    lines.append(rule("├┼┤", widths, theme))
    for index in range(part.shown):
        if index == part.gap:
            lines += [row([centred("·", w) for w in widths], theme, role="border")] * 3
        lines.append(row([value(c, index, w, theme) for c, w in zip(part.columns, widths, strict=True)], theme))
    lines.append(rule("└┴┘", widths, theme))
    if footer:
        lines.append(theme.paint("footer", f"  {part.footer}"))
    return "\n".join(lines) + "\n"


def expanded_text(part: Excerpt, *, theme: Theme = PLAIN) -> str:
    """Each row as a record, one value a line: what `\\x` shows, and what is too wide for a box."""
    widest = max((cell_len(column.name) for column in part.columns), default=0)
    first_of_tail = part.rows - part.shown
    lines = []
    for index in range(part.shown):
        in_tail = part.gap is not None and index >= part.gap
        number = index + 1 + (first_of_tail if in_tail else 0)
        lines.append(theme.paint("border", f"─ row {number:,} ".ljust(widest + 24, "─")))
        for column in part.columns:
            cell = column.cells[index]
            shown = theme.paint("null", "NULL") if cell is None else cell
            name = theme.paint("name", set_cell_size(column.name, widest))
            lines.append(f"{name} {theme.paint('border', '│')} {shown}")
    lines.append(theme.paint("footer", f"  {part.footer}"))
    return "\n".join(lines) + "\n"


def markdown_text(part: Excerpt) -> str:
    """A Markdown table; numbers are marked to line up on the right."""
    lines = [
        "| " + " | ".join(markdown(column.name) for column in part.columns) + " |",
        "|" + "|".join("---:" if column.right else "---" for column in part.columns) + "|",
    ]
    for cells_of_row in zip(*(column.cells for column in part.columns), strict=True):
        lines.append("| " + " | ".join("NULL" if cell is None else markdown(cell) for cell in cells_of_row) + " |")
    return "\n".join(lines) + "\n"


def cells(column: pa.ChunkedArray) -> Iterator[str | None]:
    """The text of each value."""
    for chunk in column.chunks:
        yield from sql_text(chunk).to_pylist()


def clean(text: str) -> str:
    """Text that can move no cursor: control characters are shown as escapes."""
    if text.isprintable():
        return text
    return CONTROL.sub(lambda found: ESCAPES.get(found[0]) or f"\\x{ord(found[0]):02x}", text)


def fitted(widths: Sequence[int], room: int | None) -> Sequence[int] | None:
    """Column widths that fit into `room` cells: one cap for all, so that only the widest are cut. None if none does."""
    if room is None:
        return widths
    available = room - 3 * len(widths) - 1
    if sum(widths) <= available:
        return widths
    for cap in range(max(widths, default=0), COLUMN_WIDTH_MIN - 1, -1):
        capped = [min(width, cap) for width in widths]
        if sum(capped) <= available:
            return capped
    return None


def rule(corners: str, widths: Sequence[int], theme: Theme) -> str:
    """A horizontal line of the box."""
    left, middle, right = tuple(corners)
    return theme.paint("border", left + middle.join("─" * (width + 2) for width in widths) + right)


def row(texts: Sequence[str], theme: Theme, role: str = "") -> str:
    """One line of the box around texts that have their final width."""
    bar = theme.paint("border", "│")
    return bar + bar.join(f" {theme.paint(role, text)} " for text in texts) + bar


def value(column: Column, index: int, width: int, theme: Theme) -> str:
    """One value, padded or cut to `width`; NULL is dimmed."""
    cell = column.cells[index]
    text = sized("NULL" if cell is None else cell, width, right=column.right)
    return theme.paint("null", text) if cell is None else text


def sized(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells; what is cut off is marked with an ellipsis."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…"
    padding = " " * (width - length)
    return padding + text if right else text + padding


def centred(text: str, width: int) -> str:
    """`text` in the middle of `width` cells."""
    text = text if cell_len(text) <= width else sized(text, width)
    space = width - cell_len(text)
    return " " * (space // 2) + text + " " * (space - space // 2)


def markdown(text: str) -> str:
    """A cell's text with what would end the cell escaped."""
    return text.replace("|", "\\|")
