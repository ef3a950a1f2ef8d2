"""What belongs to nothing any more: a DROP was committed, and the process died before the files went."""

from __future__ import annotations

from ..storage.files import list_folder, remove_file
from ..storage.folder import Folder
from .copying import COPIES, topic_of
from .failed_rows import FailedLog
from .late_rows import LateLog
from .outputs import PROGRESS


def drop_orphans(folder: Folder) -> None:
    """Drop the topics of no stream or table, and how far the files of queries were that are gone."""
    entries = folder.catalog.entries.values()
    streams = {entry.name for entry in entries if entry.kind in ("STREAM", "TABLE")}
    queries = [int(entry.properties["id"]) for entry in entries if entry.kind == "QUERY"]
    ours = {*map(topic_of, queries), LateLog.NAME, FailedLog.NAME, PROGRESS}
    for name in set(folder.topics) - streams - ours:
        folder.drop_topic(name)
    journals = {f"{query}.json" for query in queries}
    for name in set(list_folder(folder.path / COPIES)) - journals:
        remove_file(folder.path / COPIES / name)
