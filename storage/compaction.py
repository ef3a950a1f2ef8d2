"""Compaction: of each key the last row stays, and a deletion for a time; the rest leaves the sealed segments."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from .errors import CorruptionError
from .last_rows import Bits, find_last_rows
from .limits import COMPACTED_SHARE_MIN
from .partition import Partition
from .rewriting import Breathe, Rewritten, next_file, read_frames, regroup, remove_rewritten, write_segment
from .segment import Segment
from .topic import Topic


class _Seen(NamedTuple):
    """What the last look at a partition has left: sealed rows before offset `end` were compared with each other.

    When tombstones up to append time `ripe` are due, there is a segment that is worth writing anew.
    """

    end: int
    ripe: int | None


class Compactor:
    """Tells which partitions have enough that is new to be looked at, and compacts these.

    State: a pair of numbers per partition, of none before it was looked at by this process.
    """

    def __init__(self) -> None:
        self._seen: WeakKeyDictionary[Partition, _Seen] = WeakKeyDictionary()

    def compact(self, topic: Topic, partition: Partition, now_us: int, breathe: Breathe) -> None:
        """Of the rows of a key in sealed segments only the last stays, if it is the last in the partition at all.

        A tombstone stays until it is older than `tombstone_retention_ms` and no row of its key is left before it.
        Holds: rows that stay keep their offsets and their order, and the log its start and its end. A segment that
        would lose less than COMPACTED_SHARE_MIN of its rows stays as it is, and so does one that is elsewhere.
        Raises: CorruptionError in the end, if a segment is damaged, which stays as it is.
        """
        if "compact" not in topic.options.cleanup:
            return
        cutoff = now_us - 1000 * topic.options.tombstone_retention_ms
        if not _due(partition, self._seen.get(partition), cutoff):
            return
        damaged: dict[Segment, CorruptionError] = {}
        again = True
        while again:
            seen, again = _compact(topic, partition, cutoff, damaged, breathe)
        for failure in damaged.values():
            self._seen.pop(partition, None)
            raise failure
        self._seen[partition] = seen


def _due(partition: Partition, seen: _Seen | None, cutoff: int) -> bool:
    sealed = [segment for segment in partition.segments[:-1] if not segment.remote]
    if seen is None or not sealed:
        return bool(sealed)
    new = sum(min(segment.rows, max(segment.end_offset - seen.end, 0)) for segment in sealed)
    enough = new > 0 and new >= COMPACTED_SHARE_MIN * sum(segment.rows for segment in sealed)
    return enough or (seen.ripe is not None and seen.ripe <= cutoff)


def _compact(
    topic: Topic, partition: Partition, cutoff: int, damaged: dict[Segment, CorruptionError], breathe: Breathe
) -> tuple[_Seen, bool]:
    """One pass over the keys, and then one over each segment that is worth it.

    Says too whether another pass may find more: rows went that tombstones had waited for.
    """
    segments = partition.segments
    end = partition.end_offset
    sealed = [segment for segment in segments[:-1] if segment.end_offset <= end]
    if not sealed:
        return _Seen(0, None), False
    here = [segment for segment in sealed if not segment.remote]
    standings = find_last_rows(
        topic, here, segments[-1], start=partition.start_offset, end=end, damaged=damaged, breathe=breathe
    )
    unread = min((segment.base_offset for segment in sealed if segment.remote or segment in damaged), default=end)
    ripe: list[int] = []
    waited = rewritten = False
    for standing in standings:
        keep = standing.last()
        tombstones, alone = standing.tombstones()
        if standing.segment.base_offset > unread:  # where nobody looked may be what they delete
            tombstones, alone = tombstones[:0], alone[:0]
        times = standing.append_times(tombstones)
        old = times < cutoff
        keep[tombstones[old & alone]] = False
        waited = waited or bool((old & ~alone).any())
        rows, left = standing.rows, int(keep.sum())
        if rows - left >= max(COMPACTED_SHARE_MIN * rows, 1):
            try:
                _rewrite(partition, standing.segment, keep, breathe)
                rewritten, rows = True, left
            except CorruptionError as error:  # the rest is worth the work all the same
                damaged[standing.segment] = error
        wanted = max(ceil(COMPACTED_SHARE_MIN * rows) - (rows - left), 1)
        later = np.sort(times[~old])
        if wanted <= len(later):
            ripe.append(int(later[wanted - 1]) + 1)
    return _Seen(sealed[-1].end_offset, min(ripe, default=None)), waited and rewritten


def _rewrite(partition: Partition, segment: Segment, keep: Bits, breathe: Breathe) -> None:
    path = next_file([segment])
    entry = write_segment(
        path,
        segment.schema,
        regroup(_kept(segment, keep, breathe)),
        base_offset=segment.base_offset,
        end_offset=segment.end_offset,
        sparse=True,
        compression=partition.compression,
        durable=partition.durable_folder,
    )
    if not partition.replace([segment], [] if entry is None else [entry]):
        remove_rewritten(path)  # after an error a manifest may name the file: recovery knows


def _kept(segment: Segment, keep: Bits, breathe: Breathe) -> Iterator[Rewritten]:
    """The rows of a segment that stay."""
    start = 0
    for piece in read_frames(segment, breathe, sparse=True):
        end = start + piece.batch.num_rows
        rows = piece.batch.filter(pa.array(keep[start:end]))
        if rows.num_rows:
            yield Rewritten(rows.column(0)[0].as_py(), rows, piece.times)
        start = end
