"""The statements that change a setting."""

from __future__ import annotations

from dataclasses import dataclass

from .statements import Statement


@dataclass(frozen=True, kw_only=True)
class Set(Statement):
    """SET name = value; `name` in lower case."""

    name: str
    value: str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Reset(Statement):
    """RESET name; `name` in lower case."""

    name: str
