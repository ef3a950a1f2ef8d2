"""A folder that another process writes, followed as it grows: nothing is locked, nothing is written."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from .catalog import Catalog
from .control import CONTROL_BYTES, Durable, decode_control
from .document import load_document
from .errors import Error, OperationalError
from .files import exists, file_size, list_folder, map_file, read_file, signature
from .frame import decode_frame
from .frame_index import FrameIndex
from .limits import (
    SEGMENT_CACHE_BYTES,
    TAIL_BUSY_FOR_S,
    TAIL_BUSY_S,
    TAIL_IDLE_S,
    TAIL_LOOK_S,
    TAIL_RETRIES,
    TAIL_SETTLE_S,
)
from .log import Log
from .manifest import Manifest, SegmentEntry, load_manifest
from .readable import ReadableFolder, ReadableTopic, TopicOptions
from .remote_files import RemoteFiles
from .remote_segment import open_sealed
from .schema import SegmentSchema
from .segment import Segment, damaged
from .segment_cache import SegmentCache
from .showing import Shown


class TailPartition(Log):
    """One log as far as its writer has said that it may be read.

    Holds: no row is shown before it was acknowledged, and none that was shown is taken back.
    """

    def __init__(self, folder: Path, schemas: Sequence[SegmentSchema], cache: SegmentCache) -> None:
        super().__init__(schemas)
        self._folder = folder
        self._cache = cache
        self._mapped: pa.Buffer | None = None
        self._said: Durable | None = None
        self._manifest: Manifest | None = None
        self._noted = 0  # the offset up to which event times are known

    def control(self) -> Durable | None:
        """What the writer says at this moment; None if it says nothing, or is saying something new just now."""
        if self._mapped is None:
            path = self._folder / "ctl"
            if not exists(path) or file_size(path) == 0:
                return None
            self._mapped = map_file(path, min(file_size(path), CONTROL_BYTES))
        said = decode_control(self._mapped.to_pybytes())
        if said is None or self._mapped.size < CONTROL_BYTES:  # an older writer's file is shorter
            self._mapped = None
        return said

    def advance(self, said: Durable | None) -> bool:
        """Shows what the writer said; whether there are more rows now."""
        if said is None or said == self._said:
            return False
        if self._manifest is None or said.manifest != self._manifest.number:
            self._reload()
        before = self._readable
        if self._segments:
            self._extend(self._segments[-1], said.visible)
        if said.visible > before:
            self._readable = min(said.visible, self._segments[-1].end_offset)
        self._said = said
        return self._readable > before

    def _reload(self) -> None:
        """The segments of the manifest that is in force now; those known already stay the same objects."""
        known = {segment.path.name: segment for segment in self._segments}
        for attempt in range(TAIL_RETRIES):
            manifest = None
            try:
                manifest = load_manifest(self._folder)
                entries = () if manifest is None else manifest.segments
                segments = tuple(self._segment(entry, known.get(entry.file)) for entry in entries)
                break
            except OperationalError:  # the writer replaced a file between two looks
                if attempt == TAIL_RETRIES - 1:
                    raise
                time.sleep(TAIL_BUSY_S)
        if manifest is None:
            return
        for segment in segments[:-1]:
            self._note_times(segment.index)
        self._start = manifest.start_offset
        self._readable = max(self._readable, self._start)
        self._manifest, self._segments = manifest, segments

    def _segment(self, entry: SegmentEntry, known: Segment | None) -> Segment:
        path = self._folder / entry.file
        schema = self._schemas[entry.schema_id]
        if entry.end_offset is None:
            if known is not None:
                return known
            return Segment(
                path, schema, FrameIndex(entry.base_offset, len(schema.file_start)), base_offset=entry.base_offset
            )
        if entry.remote is not None and (known is None or not known.remote):
            return open_sealed(path, schema, entry, self._cache, save_index=False)
        if known is not None and known.entry is None:  # it was active when it was last seen
            self._extend(known, entry.end_offset)
            known.entry = entry
        if known is None:
            known = Segment.sealed(path, schema, entry, save_index=False)
            known.mapped(known.size)  # so that it can be read when the writer has removed the file
        return known

    def _extend(self, segment: Segment, end: int) -> None:
        """The index knows the frames up to offset `end`, each of which is whole."""
        index = segment.index
        buffer = segment.mapped(0)
        while index.end_offset < end:
            frame = decode_frame(buffer, index.end_position)
            if frame is None or not frame.intact(buffer):
                buffer = segment.mapped(file_size(segment.path))  # it has grown since it was mapped
                frame = decode_frame(buffer, index.end_position)
            if frame is None or frame.base_offset != index.end_offset or not frame.intact(buffer):
                lost = f"Offsets {index.end_offset} to {end} cannot be read."
                raise damaged(segment.path, f"A frame does not match its checksum at byte {index.end_position}. {lost}")
            index.add(frame.rows, frame.size, frame.times)
        self._note_times(index)

    def _note_times(self, index: FrameIndex) -> None:
        """Remembers the event times of the frames that are new."""
        for frame in index.find(self._noted, index.end_offset):
            _, end, _, _ = index.place(frame)
            if end > self._noted:
                self._earliest.add(end, index.minimums[frame])
                self._noted = end


class TailTopic(ReadableTopic):
    """A topic whose `topic.json` and partitions are looked at again and again."""

    def __init__(self, folder: Path, visibility: threading.RLock, cache: SegmentCache) -> None:
        self._signature = signature(folder / "topic.json")
        content = load_document(folder / "topic.json")
        schemas = [SegmentSchema.from_json(entry) for entry in content["schemas"]]
        options = TopicOptions(**content["options"])
        super().__init__(folder, content["name"], schemas, tuple(content["key"]), options, visibility)
        self.created = content.get("created")
        self.tails = tuple(
            TailPartition(folder / f"p-{n:04d}", self._schemas, cache) for n in range(content["partitions"])
        )
        self.partitions = self.tails

    def look(self) -> bool:
        """Takes over what `topic.json` says, if it was written since; False if it is of another topic of that name."""
        seen = signature(self.folder / "topic.json")
        if seen is None or seen == self._signature:
            return seen is not None
        content = load_document(self.folder / "topic.json")
        if content.get("created") != self.created:
            return False
        for entry in content["schemas"][len(self._schemas) :]:
            self._schemas.append(SegmentSchema.from_json(entry))
        self.key, self.options = tuple(content["key"]), TopicOptions(**content["options"])
        self._signature = seen
        return True


class TailFolder(ReadableFolder):
    """A database folder open for reading only, also while another process writes it.

    One thread looks at the control files, about two thousand times a second while rows come and three hundred when
    none do, and tells the topics' listeners. All partitions show one cut: what belongs together appears together.
    """

    def __init__(
        self, path: Path, *, remote: RemoteFiles | None = None, cache_bytes: int = SEGMENT_CACHE_BYTES
    ) -> None:
        """What is kept elsewhere is opened by `remote`, and held in a temporary folder up to `cache_bytes`.

        Raises: OperationalError if there is no database.
        """
        self.path = path.absolute()
        if not any(exists(self.path / name) for name in ("LOCK", "catalog.json", "topics")):
            raise OperationalError(
                f'could not open "{self.path}" to read: there is no database',
                hint="A folder is made by the first process that opens it to write.",
            )
        self.temporary = False
        self.visibility = threading.RLock()
        self._cache = SegmentCache(None, remote or RemoteFiles(), cache_bytes)
        self._signature = signature(self.path / "catalog.json")
        self.catalog = Catalog(self.path / "catalog.json", durable=False)
        self._topics: dict[str, TailTopic] = {}
        self._broken: dict[TailPartition, str] = {}
        self._stopped = threading.Event()
        self._shown = Shown(self.path / "ctl")
        self._looked = 0.0
        self._find_topics()
        deadline = time.monotonic() + TAIL_SETTLE_S
        while self.follow(settled=time.monotonic() > deadline) is None:
            time.sleep(TAIL_BUSY_S)
        weakref.finalize(self, self._stopped.set)
        self._thread = threading.Thread(
            target=_follow, args=(weakref.ref(self), self._stopped), name="headrace-tail", daemon=True
        )
        self._thread.start()

    @property
    def topics(self) -> Mapping[str, TailTopic]:
        """Those that have been seen so far."""
        return MappingProxyType(self._topics)

    @property
    def notices(self) -> tuple[str, ...]:
        """The partitions that cannot be followed any further, one sentence each."""
        return tuple(self._broken.values())

    @property
    def owner(self) -> str:
        """The number of the process that has the folder open to write, or had it last."""
        lock = self.path / "LOCK"
        return (read_file(lock).decode(errors="replace").strip() if exists(lock) else "") or "unknown"

    def look(self) -> bool:
        """Takes over topics and catalog entries that are new; whether the catalog is another than before."""
        with self.visibility:
            self._find_topics()
            seen = signature(self.path / "catalog.json")
            changed = seen != self._signature
            if changed:
                self.catalog = Catalog(self.path / "catalog.json", durable=False)
                self._signature = seen
            self.follow()
            return changed

    def follow(self, *, settled: bool = False) -> bool | None:
        """Shows one cut of all partitions, and tells the listeners of topics with more rows; whether there are any.

        None, and nothing happens, if the writer is just showing rows that belong together, unless this is `settled`:
        a writer that died then will never end it.
        """
        if time.monotonic() - self._looked > TAIL_LOOK_S:
            self._find_topics()
        before = self._shown.sequence()
        said = [(topic, tail, tail.control()) for topic in self._topics.values() for tail in topic.tails]
        if not settled and (before % 2 or self._shown.sequence() != before):
            return None
        grown = {}
        with self.visibility:
            for topic, tail, control in said:
                if tail not in self._broken and self._advance(topic, tail, control):
                    grown[topic.name] = topic
        for topic in grown.values():
            topic.notify()
        return bool(grown)

    def close(self) -> None:
        """The thread has ended. Closing twice is harmless."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._cache.close()

    def _advance(self, topic: TailTopic, tail: TailPartition, control: Durable | None) -> bool:
        try:
            return tail.advance(control)
        except IndexError:  # a segment has a schema that topic.json has got since it was read
            topic.look()
        except Error as error:
            if exists(topic.folder / "topic.json"):  # or it was dropped
                self._broken[tail] = f"{error.headline}. {error.detail or ''}".strip()
        return False

    def _find_topics(self) -> None:
        self._looked = time.monotonic()
        known = {topic.folder: topic for topic in self._topics.values()}
        topics = {}
        for name in list_folder(self.path / "topics"):
            folder = self.path / "topics" / name
            if exists(folder / "topic.json"):
                topic = known.get(folder)
                if topic is None or not topic.look():
                    topic = TailTopic(folder, self.visibility, self._cache)
                topics[topic.name] = topic
        self._topics = topics


def _follow(folder: weakref.ref[TailFolder], stopped: threading.Event) -> None:
    """What the thread does; it ends with the folder."""
    pause = TAIL_IDLE_S
    busy_until = 0.0
    while not stopped.wait(pause):
        followed = folder()
        if followed is None:
            return
        if followed.follow():
            busy_until = time.monotonic() + TAIL_BUSY_FOR_S
        del followed
        pause = TAIL_BUSY_S if time.monotonic() < busy_until else TAIL_IDLE_S
