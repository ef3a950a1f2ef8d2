"""Topics that belong to nothing any more: a DROP was committed, and the process died before the files went."""

from __future__ import annotations

from ..storage.folder import Folder
from .copying import topic_of
from .late_rows import LateLog
from .outputs import PROGRESS


def drop_orphans(folder: Folder) -> None:
    """Drop the topics of no stream or table."""
    entries = folder.catalog.entries.values()
    streams = {entry.name for entry in entries if entry.kind in ("STREAM", "TABLE")}
    copied = {topic_of(entry.properties["id"]) for entry in entries if entry.kind == "QUERY"}
    for name in set(folder.topics) - {*streams, *copied, LateLog.NAME, PROGRESS}:
        folder.drop_topic(name)
