"""Statements: what a person can ask for, as typed objects that remember where in the text they stood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sqlglot import exp

from ..storage.errors import Position
from .as_of import AsOf

EmitMode = Literal["FINAL", "CHANGES", "CHANGELOG", "EVERY"]
ExplainMode = Literal["PLAN", "TWIN", "STATE", "ANALYZE", "WHY NO OUTPUT"]
CopyFormat = Literal["csv", "json", "parquet", "arrow"]
Option = str | int | bool | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement. `text` is its own source without the `;`; `start` is where that begins in the script."""

    text: str = field(compare=False)
    start: Position = field(compare=False)


@dataclass(frozen=True)
class ColumnDefinition:
    """One column of CREATE STREAM or TABLE. `type` is DuckDB type text, as written.

    `metadata` is 'headers', 'append_time' or None.
    """

    name: str
    type: str
    not_null: bool
    default: exp.Expr | None
    metadata: str | None = None
    primary_key: bool = False
    position: Position = field(compare=False, kw_only=True)


@dataclass(frozen=True)
class Watermark:
    """WATERMARK FOR `column` AS `column` - delay. Units: microseconds."""

    column: str
    delay_us: int
    position: Position = field(compare=False)


@dataclass(frozen=True)
class Emit:
    """The EMIT clause, its aliases already resolved. Units: `lateness_us` and `every_us` microseconds.

    `options` of WITH, after it, are about the query that goes on.
    """

    mode: EmitMode
    position: Position = field(compare=False)
    lateness_us: int = 0
    late_to: str | None = None
    late_position: Position | None = field(compare=False, default=None)
    every_us: int | None = None
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CreateStream(Statement):
    """CREATE STREAM. `options` holds WITH (...) with lower-case names, for the session to judge."""

    name: str
    columns: tuple[ColumnDefinition, ...]
    watermark: Watermark | None = None
    partition_by: tuple[str, ...] = ()
    partitions: int | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    if_not_exists: bool = False
    or_replace: bool = False


@dataclass(frozen=True, kw_only=True)
class CreateTable(CreateStream):
    """CREATE TABLE: as a stream, and the columns of its key, which are none where it has no PRIMARY KEY."""

    primary_key: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CreateDerived(Statement):
    """CREATE STREAM or TABLE ... AS: `kind` says which. A table's `primary_key` is None where the query decides."""

    kind: Literal["STREAM", "TABLE"]
    name: str
    query: exp.Query
    emit: Emit | None = None
    primary_key: tuple[str, ...] | None = None
    partition_by: tuple[str, ...] = ()
    partitions: int | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    if_not_exists: bool = False
    or_replace: bool = False
    options_at: int = 0


@dataclass(frozen=True, kw_only=True)
class Comment(Statement):
    """COMMENT ON `kind` `name`, or on its column, IS `comment`; None takes it away."""

    kind: str
    name: str
    column: str | None
    comment: str | None
    position: Position = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Delete(Statement):
    """DELETE FROM name BEFORE an `offset`, of one `partition` if it is given, or BEFORE a `time`."""

    name: str
    offset: int | None = None
    partition: int | None = None
    time: str | None = None
    position: Position = field(compare=False)
    time_position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class CreateView(Statement):
    """CREATE [MATERIALIZED] VIEW. `columns` renames the query's columns; empty when they keep their names.

    `altered`: of a materialized view that is there. `options_at`: where in the text another option can be put.
    """

    name: str
    query: exp.Query
    materialized: bool
    emit: Emit | None = None
    columns: tuple[str, ...] = ()
    if_not_exists: bool = False
    or_replace: bool = False
    altered: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)
    options_at: int = 0


@dataclass(frozen=True)
class Assignment:
    """`column` = `value` of a SET; DEFAULT is None."""

    column: str
    value: exp.Expr | None
    position: Position = field(compare=False)


@dataclass(frozen=True)
class Conflict:
    """What INSERT does with a row whose key is there: OR REPLACE, or ON CONFLICT (`columns`) DO `action`."""

    action: Literal["replace", "nothing", "update"]
    position: Position = field(compare=False)
    columns: tuple[str, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    where: exp.Expr | None = None


@dataclass(frozen=True, kw_only=True)
class Insert(Statement):
    """INSERT INTO. VALUES arrives as SELECT * FROM (VALUES ...); `columns` is empty when none were named.

    With `emit` it goes on inserting.
    """

    name: str
    columns: tuple[str, ...]
    query: exp.Query
    emit: Emit | None = None
    conflict: Conflict | None = None
    returning: exp.Select | None = None
    position: Position = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Update(Statement):
    """UPDATE name AS `alias` SET. `others` is the rest as a query, FROM other relations WHERE a condition holds.

    `returning` selects from the changed rows, here and below.
    """

    name: str
    alias: str
    assignments: tuple[Assignment, ...]
    others: exp.Select | None = None
    where: exp.Expr | None = None
    returning: exp.Select | None = None
    position: Position = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class DeleteRows(Statement):
    """DELETE FROM name AS `alias` WHERE, or TRUNCATE, as `word` says; `others` as with UPDATE, from USING."""

    name: str
    alias: str
    others: exp.Select | None = None
    where: exp.Expr | None = None
    returning: exp.Select | None = None
    word: Literal["DELETE", "TRUNCATE"] = "DELETE"
    position: Position = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Copy(Statement):
    """COPY stream FROM file. `format` None: by the file's suffix. `options` has lower-case names."""

    name: str
    columns: tuple[str, ...]
    path: str
    format: CopyFormat | None = None
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CopyTo(Statement):
    """COPY of a query's rows, or of a relation's, TO a file, or with EMIT on and on to files in a folder."""

    query: exp.Query
    path: str
    format: CopyFormat | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    emit: Emit | None = None


@dataclass(frozen=True, kw_only=True)
class Select(Statement):
    """A query. `emit` None: a pull read that ends; otherwise a live one."""

    query: exp.Query
    emit: Emit | None = None
    as_of: AsOf | None = None


@dataclass(frozen=True, kw_only=True)
class Subscribe(Statement):
    """SUBSCRIBE: the changes of a query, after its rows of now if `snapshot`; with weights if `changelog`.

    `as_of` an epoch, every `every_us`, before the epoch or the time `until`, where they are given. Units: microseconds.
    """

    query: exp.Query
    snapshot: bool = True
    changelog: bool = False
    every_us: int | None = None
    as_of: AsOf | None = None
    until_epoch: int | None = None
    until: str | None = None
    until_position: Position | None = field(default=None, compare=False)
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Show(Statement):
    """SHOW `what`; `name` is there for CREATE (always) and PARTITIONS (if given)."""

    what: str
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Describe(Statement):
    """DESCRIBE name."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Drop(Statement):
    """DROP `kind` name; `kind` is STREAM, TABLE, VIEW, MATERIALIZED VIEW or QUERY."""

    kind: str
    name: str
    if_exists: bool = False
    cascade: bool = False


@dataclass(frozen=True, kw_only=True)
class Explain(Statement):
    """EXPLAIN. A bare name arrives as SELECT * FROM name."""

    mode: ExplainMode
    statement: Statement


@dataclass(frozen=True, kw_only=True)
class Verify(Statement):
    """VERIFY VIEW `name`, or all views when None."""

    name: str | None = None
    as_of: AsOf | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Statement):
    """CHECKPOINT."""
