"""Alterations: what ALTER can ask for, as statements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..storage.errors import Position
from .statements import ColumnDefinition, Option, Statement


@dataclass(frozen=True)
class AddColumn:
    """ADD COLUMN."""

    column: ColumnDefinition
    if_not_exists: bool
    position: Position = field(compare=False)


@dataclass(frozen=True)
class DropColumn:
    """DROP COLUMN."""

    name: str
    if_exists: bool
    position: Position = field(compare=False)


@dataclass(frozen=True)
class RenameColumn:
    """RENAME COLUMN old TO new."""

    old: str
    new: str
    position: Position = field(compare=False)


@dataclass(frozen=True)
class AlterType:
    """ALTER COLUMN name TYPE type, as written."""

    name: str
    type: str
    position: Position = field(compare=False)


@dataclass(frozen=True)
class SetOptions:
    """SET (...), lower-case names as in CREATE STREAM's WITH."""

    options: Mapping[str, Option]
    position: Position = field(compare=False)


@dataclass(frozen=True)
class ResetOptions:
    """RESET (...), lower-case names."""

    names: tuple[str, ...]
    position: Position = field(compare=False)


@dataclass(frozen=True)
class AdvanceWatermark:
    """ADVANCE WATERMARK TO `time` of one partition, or of all."""

    time: str
    partition: int | None
    time_position: Position = field(compare=False)
    position: Position = field(compare=False)


StreamChange = AdvanceWatermark | AddColumn | DropColumn | RenameColumn | AlterType | SetOptions | ResetOptions


@dataclass(frozen=True, kw_only=True)
class AlterStream(Statement):
    """ALTER STREAM, or TABLE as `kind` says."""

    name: str
    change: StreamChange
    kind: Literal["STREAM", "TABLE"] = "STREAM"
    if_exists: bool = False
    position: Position = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Resume(Statement):
    """ALTER `kind` `name` RESUME: a query that has stopped runs again."""

    kind: str
    name: str
    position: Position = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class RenameView(Statement):
    """ALTER VIEW or MATERIALIZED VIEW, as `kind` says, RENAME TO `new`."""

    kind: str
    name: str
    new: str
    if_exists: bool = False
    position: Position = field(compare=False)
    new_position: Position = field(compare=False)
