"""The lines of the benchmark's table, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .rows import ROW_BYTES


class Missing(Exception):
    """Something that a part needs is not there; the message says what, and how to get it."""


@dataclass(frozen=True)
class Line:
    """One line: what was done, how many rows a second that made, how long something took, what it is beside."""

    case: str
    rows_per_s: float | None = None
    time: str = ""
    note: str = ""


def heading(name: str) -> Line:
    return Line(f"**{name}**")


def markdown(lines: Sequence[Line]) -> str:
    rows = ["| case | M rows/s | MB/s | time | beside |", "|---|---|---|---|---|"]
    for line in lines:
        rate = line.rows_per_s
        millions = "" if rate is None else f"{rate / 1e6:.3g}"
        megabytes = "" if rate is None else f"{rate * ROW_BYTES / 1e6:,.{0 if rate > 1e5 else 1}f}"
        rows.append(f"| {line.case} | {millions} | {megabytes} | {line.time} | {line.note} |")
    return "\n".join(rows)
