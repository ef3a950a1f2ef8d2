"""What SET and RESET change: settings of a connection, and the memory of its database."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..storage.errors import Position, ProgrammingError
from .database import Database
from .memory_limit import read_memory_limit
from .setting_statements import Reset, Set
from .skipping import OPTION as ON_ERROR
from .skipping import read_on_error
from .time_to_live import OPTION as STATE_TTL
from .time_to_live import read_ttl

_SWITCHES = {"allow_recompute": True, "background_ddl": False, "allow_partial_history": False}
_WORDS = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
_USUAL: Mapping[str, Callable[[object, Position], object]] = {STATE_TTL: read_ttl, ON_ERROR: read_on_error}


class Settings:
    """The settings of one connection; switches are read by their names. `memory_limit` is of the whole database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._switches = dict(_SWITCHES)
        self.of_queries: dict[str, str] = {}  # options of what is created, unless it says otherwise

    def __getitem__(self, name: str) -> bool:
        return self._switches[name]

    def change(self, statement: Set | Reset) -> None:
        """Do what SET or RESET says. Raises: ProgrammingError for a setting or a value that there is not."""
        name = statement.name
        if name in self._switches:
            self._switches[name] = _on(statement)
        elif name == "memory_limit":
            limit = read_memory_limit(statement.value, statement.start) if isinstance(statement, Set) else None
            self._database.memory.limit(limit, self._database.engine)
        elif name in _USUAL:
            value = statement.value if isinstance(statement, Set) else None
            if value is not None and _USUAL[name](value, statement.start):
                self.of_queries[name] = str(value)
            else:
                self.of_queries.pop(name, None)
        else:
            raise ProgrammingError(
                f'there is no setting "{name}"',
                hint=f"There is {', '.join([*_SWITCHES, 'memory_limit', *_USUAL])}.",
                position=statement.start,
            )


def _on(statement: Set | Reset) -> bool:
    """Whether it is switched on."""
    if isinstance(statement, Reset):
        return _SWITCHES[statement.name]
    if str(statement.value).lower() not in _WORDS:
        raise ProgrammingError(f"{statement.name} is on or off, not {statement.value!r}", position=statement.start)
    return _WORDS[str(statement.value).lower()]
