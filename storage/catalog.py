"""The catalog: the named objects of a database, kept as the SQL that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .document import load_document, save_document
from .files import exists


@dataclass(frozen=True)
class CatalogEntry:
    """An object: what it is called, what it is, the statement that made it, and what else is to be known (JSON)."""

    name: str
    kind: str
    sql: str
    properties: Mapping[str, Any] = field(default_factory=dict)


class Catalog:
    """All entries, in the order in which they were made. A change is on disk when its method returns, or not made."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._entries: dict[str, CatalogEntry] = {}
        if exists(path):
            entries = load_document(path)["entries"]
            self._entries = {entry["name"]: CatalogEntry(**entry) for entry in entries}

    @property
    def entries(self) -> Mapping[str, CatalogEntry]:
        """By name; a change makes another mapping, this one stays as it is."""
        return MappingProxyType(self._entries)

    def put(self, entry: CatalogEntry) -> None:
        """The entry is last, or takes the place of that with its name."""
        self._save({**self._entries, entry.name: entry})

    def remove(self, *names: str) -> None:
        """None of `names` is there any more; all go at once."""
        self._save({name: entry for name, entry in self._entries.items() if name not in names})

    def replace(self, name: str, entry: CatalogEntry) -> None:
        """The entry is last and that of `name` gone, in one step."""
        self._save({**{key: value for key, value in self._entries.items() if key != name}, entry.name: entry})

    def rewrite(self, entries: Sequence[CatalogEntry], last: Sequence[str] = ()) -> None:
        """The entries take the places of those with their names, and those called `last` come last; in one step."""
        new = {**self._entries, **{entry.name: entry for entry in entries}}
        self._save({**{name: entry for name, entry in new.items() if name not in last}, **{n: new[n] for n in last}})

    def _save(self, entries: dict[str, CatalogEntry]) -> None:
        content = {"entries": [dict(vars(entry)) for entry in entries.values()]}
        save_document(self._path, content, durable=self._durable)
        self._entries = entries
