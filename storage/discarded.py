"""What is to be removed elsewhere: remote files that no segment uses any more, or not yet."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from .document import load_document, save_document
from .files import exists


class Discarded:
    """URIs in a document of the folder, which a file is in before it is written and before its segment goes.

    Holds: whatever happens in between, a file is used by a segment or listed here, or both, and then it stays.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._saved = True  # False after an error: nobody knows whether the list on disk is this one
        self._uris: tuple[str, ...] = tuple(load_document(path)["files"]) if exists(path) else ()

    @property
    def due(self) -> tuple[str, ...]:
        """Those that may be removed now, unless a segment uses them."""
        return tuple(uri for uri in self._uris if uri not in self._held)

    def add(self, uris: Iterable[str]) -> None:
        """On disk when this returns."""
        with self._lock:
            asked = tuple(uris)
            self._held -= set(asked)
            new = tuple(uri for uri in asked if uri not in self._uris)
            if new or (asked and not self._saved):
                self._save((*self._uris, *new))

    def hold(self, uri: str) -> None:
        """It may be in use soon: it is not `due` until it is released, or the folder is opened again."""
        self._held.add(uri)

    def release(self, uri: str) -> None:
        """It is due again."""
        self._held.discard(uri)

    def settle(self, uris: Iterable[str]) -> None:
        """They are gone, or in use: they are not listed any more."""
        with self._lock:
            settled = set(uris)
            self._save(tuple(uri for uri in self._uris if uri not in settled))
            self._held -= settled

    def _save(self, uris: tuple[str, ...]) -> None:
        self._saved = False
        save_document(self._path, {"files": list(uris)}, durable=self._durable)
        self._uris, self._saved = uris, True
