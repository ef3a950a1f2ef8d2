"""A story: SQL that a person could have typed, and below each block what it printed. CONTRIBUTING.md has the form.

    # Prose.                                    a line of prose, anywhere between blocks
    @except four-partitions: why                this story is not told that way

    INSERT INTO bids VALUES (1, 10);            one block: statements, a line of four dashes, their output,
    SELECT * FROM bids;                         a blank line
    ----
    INSERT 0 1
    auction BIGINT | price BIGINT
    1              | 10

    @changes                                    what the open SUBSCRIBE has reported since the last @changes,
    ----                                        consolidated: how the changes were cut into epochs does not show

    @file bids.csv                              a file beside the database, with the text that follows
    1,10
    ----

    @write bids.parquet                         a file beside the database, with the rows of a DuckDB query
    SELECT 1 AS auction, 10 AS price
    ----

Rows of a query without ORDER BY are sorted, and floats rounded to 12 digits: neither is promised. The folder that
the story runs in shows as FOLDER, an empty line as a dot.
"""

from __future__ import annotations

import difflib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.ipc as ipc

import headrace
from headrace.sql.dialect import parse_script
from headrace.sql.statements import Describe, Explain, Select, Show, Statement, Subscribe, Verify

Cells = tuple[str, ...]
_SPILLED_BYTES = 256  # as few go into files in a way that spills
READS = (Select, Show, Describe, Explain, Verify)  # nothing is other after them, so nothing is tried again


@dataclass(frozen=True)
class Way:
    """One of the ways in which every story must come out the same."""

    name: str
    options: Mapping[str, Any]
    restarts: bool = False  # stop and open the folder again after each statement, in turns from checkpoint and log
    spills: bool = False  # nothing that is kept may lie in memory
    verifies: bool = False  # compare every view with its twin after each statement, not only at the end


WAYS = (
    Way("as-written", {}),
    Way("row-per-epoch", {"rows_per_epoch": 1}),
    Way("restored", {}, restarts=True),
    Way("four-partitions", {"default_partitions": 4}, spills=True),
    Way("twins", {}, verifies=True),
)


@dataclass(frozen=True)
class Block:
    """What is typed, and what it must print. Units: `start` and `end` are the lines `[start, end)` of the output."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Story:
    """A script cut into blocks; `excepted` has the reason for each way in which it is not told."""

    path: Path
    lines: tuple[str, ...]
    blocks: tuple[Block, ...]
    excepted: Mapping[str, str]

    def expected(self, block: Block) -> str:
        """What the script says that `block` prints."""
        return "\n".join(self.lines[block.start : block.end])

    def blessed(self, outputs: Sequence[str]) -> str:
        """The script's text with `outputs` in place of what it says now, one for each block."""
        lines, position = [], 0
        for block, output in zip(self.blocks, outputs, strict=True):
            lines += self.lines[position : block.start]
            lines += output.splitlines()
            position = block.end
        return "\n".join([*lines, *self.lines[position:]]).rstrip("\n") + "\n"


def read(path: Path) -> Story:
    """The story in a script."""
    lines = path.read_text().splitlines()
    blocks: list[Block] = []
    excepted: dict[str, str] = {}
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("@except "):
            way, reason = line.removeprefix("@except ").split(":", 1)
            assert any(way == known.name for known in WAYS), f"{path}:{at + 1}: no such way: {way}"
            excepted[way] = reason.strip()
        if not line or line.startswith(("#", "@except ")):
            at += 1
            continue
        assert "----" in lines[at:], f"{path}:{at + 1}: a block has no ----"
        dashes = lines.index("----", at)
        end = next((i for i in range(dashes + 1, len(lines)) if not lines[i]), len(lines))
        blocks.append(Block("\n".join(lines[at:dashes]), dashes + 1, end))
        at = end
    return Story(path, tuple(lines), tuple(blocks), excepted)


def tell(story: Story, way: Way, folder: Path) -> Iterator[str]:
    """What each block prints when the story is told in one way, its files and its database being in `folder`."""
    teller = Teller(way, folder)
    try:
        for block in story.blocks:
            yield "\n".join(line or "." for line in teller.tell(block.text)).replace(str(folder), "FOLDER")
        teller.verify()
    finally:
        teller.close()


def difference(story: Story, block: Block, output: str) -> str:
    """Expected and actual output of one block, line by line; empty when they are the same."""
    expected = story.expected(block)
    if output == expected:
        return ""
    lines = difflib.unified_diff(expected.splitlines(), output.splitlines(), "expected", "printed", n=99, lineterm="")
    return f"{story.path}:{block.start}\n{block.text}\n" + "\n".join(lines)


class Teller:
    """Types blocks into one database and keeps what is open between them."""

    def __init__(self, way: Way, folder: Path) -> None:
        self.way = way
        self.folder = folder
        self.stops = 0
        self.connection = self._open()
        self.subscription: Subscription | None = None

    def tell(self, text: str) -> list[str]:
        """The lines that a block prints."""
        first, _, rest = text.partition("\n")
        word, _, name = first.partition(" ")
        match word:
            case "@changes":
                assert self.subscription is not None, "@changes without an open SUBSCRIBE"
                return self.subscription.changes()
            case "@file":
                (self.folder / name).write_text(rest + "\n")
                return []
            case "@write":
                write(self.folder / name, rest)
                return []
            case _:
                return self._run(text)

    def verify(self) -> None:
        """Fails if a view differs from its twin; of what looks up as rows come nobody can tell."""
        self.connection.flush()
        cursor = self.connection.execute("VERIFY")
        names = [column[0] for column in cursor.description or ()]
        for row in cursor.fetchall():
            assert dict(zip(names, row, strict=True))["equal"] is not False, "\n".join(table(names, [text_of(row)]))

    def close(self) -> None:
        """Ends the database."""
        if self.subscription is not None:
            self.subscription.close()
        self.connection.close()

    def _run(self, text: str) -> list[str]:
        lines: list[str] = []
        try:
            for statement in parse_script(text):
                lines += self._statement(statement)
                if not isinstance(statement, READS):
                    self._between()
        except headrace.Error as error:
            lines += error.report(text).splitlines()
            self._between()
        return lines

    def _statement(self, statement: Statement) -> list[str]:
        cursor = self.connection.run(statement)
        notices = [f"Notice: {notice}" for notice in cursor.notices]
        if cursor.live:
            if self.subscription is not None:
                self.subscription.close()
            self.subscription = Subscription(statement, cursor)
            return [*notices, cursor.tag or "SUBSCRIBE"]
        if cursor.description is None:
            return [*notices, cursor.tag]
        rows = cursor.fetchall()
        if isinstance(statement, Select) and not statement.query.args.get("order"):
            rows = in_order(rows)
        return [*notices, *table(columns(cursor), [text_of(row) for row in rows])]

    def _between(self) -> None:
        self.connection.flush()
        if self.way.verifies:
            self.verify()
        if self.way.restarts:
            if self.subscription is not None:
                self.subscription.drain()
                self.subscription.close()
            self._stop()
            self.connection = self._open()
            self.connection.flush()
            if self.subscription is not None:
                self.subscription.reopen(self.connection)

    def _stop(self) -> None:
        """Close the database: with a checkpoint, with another, without one since the last, without any."""
        turn, self.stops = self.stops % 4, self.stops + 1
        if turn < 2:
            self.connection.execute("CHECKPOINT")
        self.connection.close()
        if turn == 3:
            shutil.rmtree(self.folder / "db" / "checkpoints", ignore_errors=True)

    def _open(self) -> headrace.Connection:
        path = self.folder / "db" if self.way.restarts else ":memory:"
        connection = headrace.connect(path, **self.way.options)
        if self.way.spills:
            memory = connection._database.engine.memory
            memory.limit, memory.smallest = 0, _SPILLED_BYTES
        return connection


class Subscription:
    """An open SUBSCRIBE: the sum of all changes so far, and the part of it that was already shown."""

    def __init__(self, statement: Statement, cursor: headrace.Cursor) -> None:
        assert isinstance(statement, Subscribe | Select)
        self.statement = statement
        self.cursor = cursor
        self.names = columns(cursor)[2:]
        self.total: Counter[Cells] = Counter()
        self.shown: Counter[Cells] = Counter()

    def changes(self) -> list[str]:
        """What has changed since this was last asked."""
        self.drain()
        change = Counter(self.total)
        change.subtract(self.shown)
        self.shown = Counter(self.total)
        rows = [
            (mark, *cells)
            for mark, sign in (("-", -1), ("+", 1))
            for cells in sorted(change)
            for _ in range(sign * change[cells])
        ]
        return table(["", *self.names], rows)

    def drain(self) -> None:
        """Takes in all changes that have been reported."""
        while (changes := self.cursor.next_changes(timeout_s=0.0)) is not None:
            self._add(changes)

    def reopen(self, connection: headrace.Connection) -> None:
        """Goes on in a database that was opened again: a new subscription begins with everything there is."""
        self.cursor = connection.run(self.statement)
        self.total = Counter()

    def close(self) -> None:
        """Ends it."""
        self.cursor.close()

    def _add(self, changes: pa.Table) -> None:
        operations = changes.column("op").to_pylist()
        rows = [*zip(*(column.to_pylist() for column in changes.columns[2:]), strict=True)]
        for operation, row in zip(operations, rows, strict=True):
            self.total[text_of(row)] += {"+I": 1, "+U": 1, "-U": -1, "-D": -1}[operation]


def columns(cursor: headrace.Cursor) -> list[str]:
    """Each column's name and SQL type."""
    assert cursor.description is not None
    return [f"{column[0]} {kind}" for column, kind in zip(cursor.description, cursor.types, strict=True)]


def table(head: Sequence[str], rows: Sequence[Cells]) -> list[str]:
    """Lines of columns as wide as they must be; a last line says so when there is no row."""
    if not rows:
        return [" | ".join(name for name in head if name), "(no rows)"]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [" | ".join(map(str.ljust, row, widths)).rstrip() for row in (tuple(head), *rows)]


def text_of(row: Sequence[object]) -> Cells:
    """A row's values as a person reads them."""
    if len(row) == 1 and isinstance(row[0], str) and row[0].startswith("  "):
        return (row[0],)  # a line of text, such as of a plan
    return tuple(map(cell, row))


def cell(value: object) -> str:
    """One value; strings that could be taken for something else are quoted."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case float():
            return repr(float(f"{value:.12g}"))
        case str() if value != value.strip() or value in ("", "NULL", "(no rows)"):
            return f"'{value}'"
        case _:
            return str(value)


def in_order(rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Rows sorted by value, NULL first; by text where values do not compare."""
    try:
        return sorted(rows, key=lambda row: [(value is not None, value) for value in row])
    except TypeError:
        return sorted(rows, key=text_of)


def write(path: Path, query: str) -> None:
    """The rows of a DuckDB query as a file in the format of its suffix."""
    with duckdb.connect() as connection:
        if path.suffix == ".arrow":
            rows = connection.sql(query).to_arrow_table()
            with ipc.new_file(path, rows.schema) as file:
                file.write_table(rows)
        else:
            kind = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}[path.suffix]
            connection.execute(f"COPY ({query}) TO '{path}' (FORMAT {kind})")
