"""Every error headrace raises: the PEP 249 tree, each with a headline, a reason and a next step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """A place in SQL text. Units: `line` and `column` count from 1; `length` in characters."""

    line: int
    column: int
    length: int = 1


class Warning(Exception):
    """Something worth knowing that stopped nothing."""


class Error(Exception):
    """The root. `str(error)` is the headline alone; `report(text)` shows all of it with a caret.

    Shape: headline lower case without full stop; `detail` and `hint` are whole sentences or None.
    """

    sqlstate = "XX000"

    def __init__(
        self,
        headline: str,
        *,
        detail: str | None = None,
        hint: str | None = None,
        position: Position | None = None,
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(headline)
        self.headline = headline
        self.detail = detail
        self.hint = hint
        self.position = position
        if sqlstate is not None:
            self.sqlstate = sqlstate

    def report(self, text: str | None = None, *, source: str | None = None) -> str:
        """The error as a person reads it: headline, the SQL line with a caret under the place, Detail, Hint.

        `text` is the SQL that `position` counts in; `source` a file name shown as `file:line`.
        """
        lines = [f"Error: {self.headline}"]
        if self.position is not None and text is not None:
            sql_lines = text.splitlines() or [""]
            line = sql_lines[min(self.position.line, len(sql_lines)) - 1]
            place = f"{source}:{self.position.line}" if source else f"LINE {self.position.line}"
            prefix = f"{place}: "
            shown = line.replace("\t", " ")
            caret = "^" * max(1, min(self.position.length, len(shown) - self.position.column + 1))
            lines += [prefix + shown, " " * (len(prefix) + self.position.column - 1) + caret]
        elif source is not None:
            lines[0] = f"{source}: {lines[0]}"
        if self.detail:
            lines.append(f"Detail: {self.detail}")
        if self.hint:
            lines.append(f"Hint: {self.hint}")
        return "\n".join(lines)


class InterfaceError(Error):
    """The Python interface was used in a way it does not allow, such as a closed cursor."""

    sqlstate = "08000"


class DatabaseError(Error):
    """Anything about the database rather than the interface."""


class DataError(DatabaseError):
    """A value does not fit: overflow, a cast that fails, NULL into NOT NULL is IntegrityError instead."""

    sqlstate = "22000"


class OperationalError(DatabaseError):
    """The machine, the disk, a lock, a timeout: could not now, might next time."""

    sqlstate = "58000"


class IntegrityError(DatabaseError):
    """A constraint says no: NOT NULL, a key."""

    sqlstate = "23000"


class InternalError(DatabaseError):
    """Our mistake, not the user's; please report it."""


class ProgrammingError(DatabaseError):
    """The statement is wrong: syntax, an unknown name, a type that does not match."""

    sqlstate = "42000"


class NotSupportedError(DatabaseError):
    """The statement means something, but headrace cannot do it."""

    sqlstate = "0A000"


class CorruptionError(OperationalError):
    """Acknowledged data on disk is damaged; names the file, the offsets and what can be salvaged."""

    sqlstate = "XX001"


class FolderLockedError(OperationalError):
    """Another process owns the folder; names it."""

    sqlstate = "55006"


class OffsetOutOfRangeError(DataError):
    """Rows were asked for that retention or a DELETE has removed; `start_offset` is where the log begins now."""

    sqlstate = "22003"

    def __init__(self, offset: int, start_offset: int) -> None:
        super().__init__(
            f"cannot read offset {offset}: the log begins at {start_offset}",
            detail="The rows before were deleted, by the topic's retention or by DELETE ... BEFORE.",
            hint=f"Read from offset {start_offset} on.",
        )
        self.start_offset = start_offset
