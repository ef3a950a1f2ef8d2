"""Topics that belong to nothing any more: a DROP was committed, and the process died before the files went."""

from __future__ import annotations

from ..storage.folder import Folder
from .late_rows import LateLog
from .outputs import PROGRESS


def drop_orphans(folder: Folder) -> None:
    """Drop the topics of no stream or table."""
    streams = {entry.name for entry in folder.catalog.entries.values() if entry.kind in ("STREAM", "TABLE")}
    for name in [name for name in folder.topics if name not in {*streams, LateLog.NAME, PROGRESS}]:
        folder.drop_topic(name)
