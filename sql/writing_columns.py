"""Which columns of a stream or a table an INSERT or COPY names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ..storage.errors import Position, ProgrammingError
from .relations import Relation


def target_columns(target: Relation, columns: Sequence[str], position: Position | None) -> list[str]:
    """The named columns of a stream as it spells them; all but what it fills in itself where none are named."""
    names: list[str] = []
    for name in columns or [column.name for column in target.columns if column.name != target.arrival]:
        column = target.column(name)
        if column is None:
            close = difflib.get_close_matches(name.lower(), [c.name.lower() for c in target.columns], n=1)
            raise ProgrammingError(
                f'{target.kind.lower()} "{target.name}" has no column "{name}"',
                hint=f'Did you mean "{close[0]}"?'
                if close
                else f"Its columns are {', '.join(c.name for c in target.columns)}.",
                position=position,
                sqlstate="42703",
            )
        if column.name == target.arrival:
            raise ProgrammingError(
                f'cannot write to column "{column.name}"',
                detail="It says when a row was appended, which nobody knows before.",
                hint="Leave it out.",
                position=position,
            )
        if column.name in names:
            raise ProgrammingError(f'column "{column.name}" is named twice', position=position, sqlstate="42701")
        names.append(column.name)
    return names
