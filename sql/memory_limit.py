"""How much memory a database takes: what SET memory_limit says, shared out between state and DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..engine.runtime import Engine
from ..storage import limits
from ..storage.errors import Position, ProgrammingError
from ..storage.files import make_temporary_folder, remove_folder
from ..storage.memory import Memory
from ..storage.readable import ReadableFolder
from .declaration import bytes_of
from .types import limit_memory

_NONE = ("none", "")


class MemoryLimit:
    """The memory of one database: `state` is what its queries keep, and DuckDB is told what it may take.

    What has no room goes into the folder `spill` of the database; whoever only reads has a folder of its own. What is
    there is of no use after a restart.
    """

    def __init__(self, folder: ReadableFolder, read_only: bool) -> None:
        self._temporary: Path | None = make_temporary_folder() if read_only else None
        self._folder = (self._temporary or folder.path) / "spill"
        self._bytes: int | None = None
        self.state = Memory(self._folder / "state")
        remove_folder(self._folder)

    def limit(self, bytes: int | None, engine: Engine) -> None:
        """Take about so much memory from now on; None: as much as it comes to."""
        if bytes != self._bytes:
            self._tell_duckdb(bytes)
        with engine.still():
            self.state.set_limit(None if bytes is None else int(bytes * limits.MEMORY_STATE_SHARE))

    def _tell_duckdb(self, bytes: int | None) -> None:
        self._bytes = bytes
        part = None if bytes is None else max(int(bytes * limits.MEMORY_DUCKDB_SHARE), limits.MEMORY_DUCKDB_MIN)
        limit_memory(part, None if part is None else self._folder / "duckdb")

    def close(self) -> None:
        """Let go of the files."""
        if self._bytes is not None:
            self._tell_duckdb(None)
        self.state.close()
        remove_folder(self._folder)
        if self._temporary is not None:
            remove_folder(self._temporary)


def read_memory_limit(value: Any, position: Position | None = None) -> int | None:
    """'1GB' as bytes; 'none' is None. Raises: ProgrammingError for what is no size, or too small."""
    if str(value).lower() in _NONE:
        return None
    try:
        bytes = bytes_of(value)
    except ValueError:
        raise ProgrammingError(
            f"cannot set memory_limit to {value!r}", hint="Give a size such as '1GB', or 'none'.", position=position
        ) from None
    if bytes < limits.MEMORY_MIN:
        raise ProgrammingError(
            f"cannot set memory_limit to {value!r}",
            detail=f"Python and the libraries alone take about {limits.MEMORY_MIN >> 20} MiB.",
            hint=f"Give {limits.MEMORY_MIN >> 20} MiB or more.",
            position=position,
        )
    return bytes
