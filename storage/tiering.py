"""Tiering: sealed segments that are old, or for which there is no room, move to another file system."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import google_crc32c

from .discarded import Discarded
from .errors import CorruptionError, OperationalError
from .partition import Partition
from .remote_files import RemoteFiles, uri_below, uri_shown
from .retention import append_times, file_size
from .rewriting import Breathe
from .segment import Segment, damaged
from .topic import Topic


def tier(topic: Topic, remote: RemoteFiles, discarded: Discarded, now_us: int, breathe: Breathe) -> None:
    """What the topic's `tier_after_ms` and `local_bytes` no longer keep in the folder is moved to its `tier`.

    Holds: a local file is removed when its copy has been read back and a manifest names that.
    Units: `now_us` microseconds since 1970-01-01 UTC.
    Raises: CorruptionError in the end, if a segment is damaged, which stays where it is.
    """
    base = topic.options.tier
    if base is None:
        return
    damage: list[CorruptionError] = []
    for partition, segment in _due(topic, now_us):
        name = f"{Path(segment.path.name).stem}-{secrets.token_hex(8)}.arrow"
        uri = uri_below(base, topic.folder.name, partition.folder.name, name)
        try:
            _move(partition, segment, uri, remote, discarded, breathe)
        except CorruptionError as error:  # the rest is worth the work all the same
            damage.append(error)
    if damage:
        raise damage[0]


def remove_discarded(discarded: Discarded, remote: RemoteFiles, used: Collection[str], breathe: Breathe) -> None:
    """The remote files that are listed as discarded are gone, but for those that are `used`."""
    gone = []
    try:
        for uri in discarded.due:
            breathe()
            if uri not in used:
                remote.remove(uri)
                gone.append(uri)
    finally:
        if gone:
            discarded.settle(gone)


def _due(topic: Topic, now_us: int) -> list[tuple[Partition, Segment]]:
    """Sealed segments in the folder that are too many or too old for it, the oldest first.

    All of them, where the topic says neither.
    """
    options = topic.options
    local = [
        (partition, segment) for partition in topic.partitions for segment in partition.segments if not segment.remote
    ]
    size = sum(file_size(segment) for _, segment in local)
    sealed = [pair for pair in local if pair[1].entry is not None]
    sealed.sort(key=lambda pair: (append_times(pair[1])[1], pair[1].base_offset))
    always = options.tier_after_ms is None and options.local_bytes is None
    due = []
    for partition, segment in sealed:
        old = options.tier_after_ms is not None and append_times(segment)[1] < now_us - 1000 * options.tier_after_ms
        large = options.local_bytes is not None and size > options.local_bytes
        if always or old or large:
            due.append((partition, segment))
            size -= file_size(segment)
    return due


def _move(
    partition: Partition, segment: Segment, uri: str, remote: RemoteFiles, discarded: Discarded, breathe: Breathe
) -> None:
    entry = segment.entry
    assert entry is not None
    assert entry.size_bytes is not None
    for _ in segment.frames():  # damage does not move under a new checksum
        breathe()
    content = segment.mapped(entry.size_bytes).slice(0, entry.size_bytes)  # mapped while it was active it has more
    checksum = google_crc32c.value(content)
    if entry.crc32c is not None and entry.crc32c != checksum:
        raise damaged(segment.path, "It does not match its checksum.")
    discarded.add([uri])
    remote.write(uri, content, breathe)
    found = 0
    for piece in remote.read(uri):
        breathe()
        found = google_crc32c.extend(found, piece)
    if found != checksum:
        raise OperationalError(f'could not move "{segment.path}": what "{uri_shown(uri)}" gives back is not the same')
    segment.index.save(segment.path.with_suffix(".idx"), durable=partition.durable_folder)
    moved = replace(
        entry,
        crc32c=checksum,
        append_times=append_times(segment),
        event_times=segment.event_times(segment.base_offset, segment.end_offset),
        remote=uri,
    )
    discarded.hold(uri)  # an error may leave a manifest that names it: opening the folder again tells
    if not partition.replace([segment], [moved]):
        discarded.release(uri)
        return
    discarded.settle([uri])
    segment.remove(keep_index=True)
