"""The folder that is a database: its lock, its catalog and its topics."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from .catalog import Catalog
from .discarded import Discarded
from .errors import Error, OperationalError
from .files import (
    File,
    exists,
    list_folder,
    lock_file,
    make_folder,
    make_temporary_folder,
    remove_file,
    remove_folder,
    sync_folder,
)
from .flusher import Flusher
from .frame import NO_MARK, Mark
from .group_offsets import recover_offsets
from .limits import SEGMENT_CACHE_BYTES
from .maintenance import Maintenance, needs_rounds
from .manifest import load_manifest
from .naming import checked_folder_name
from .partition import Partition
from .readable import ReadableFolder
from .remote_files import RemoteFiles
from .remote_segment import remote_uris
from .retention import Needed
from .segment_cache import SegmentCache
from .topic import Appended, Durability, Placing, Surroundings, Topic, TopicOptions
from .transactions import Part, Transactions
from .writers import Writers

_DEFAULTS = TopicOptions()


class Folder(ReadableFolder):
    """One open database folder; nobody else has it open meanwhile.

    Holds: if it is never closed, nothing that was acknowledged is lost, and a temporary folder goes with the process.
    """

    def __init__(
        self,
        path: Path,
        lock: File,
        durability: Durability | None,
        *,
        temporary: bool,
        remote: RemoteFiles,
        cache_bytes: int,
    ) -> None:
        self.path = path
        self.temporary = temporary
        self._lock = lock
        self._durability = durability
        durable = durability != "none"
        discarded = Discarded(path / "discarded.json", durable=durable)
        flusher, self._maintenance = Flusher(), Maintenance(remote, discarded)
        self._cleanup = weakref.finalize(self, _release, path if temporary else None, flusher, self._maintenance)
        self.transactions = Transactions(path / "transactions", durable=durable, published=not temporary)
        self.writers = Writers(path / "writers.json", durable=durable)
        self.visibility = self.transactions.visibility
        cache = SegmentCache(path / "cache", remote, cache_bytes)
        self._around = Surroundings(
            durability, temporary, flusher, self.transactions, cache, discarded, self._maintenance.need
        )
        self.catalog = Catalog(path / "catalog.json", durable=durable)
        self._topics: dict[str, Topic] = {}
        for name in list_folder(path / "topics"):
            folder = path / "topics" / name
            if exists(folder / "topic.json"):
                topic = Topic.load(folder, surroundings=self._around)
                self._topics[topic.name] = topic
            else:
                discarded.add(_remote_files(folder))
                remove_folder(folder)  # a crash came between the steps of making or dropping it
        self.transactions.recovered()
        self._lost_places = tuple(recover_offsets(path, self._topics, durable=durable))
        self._maintenance.topics = self._topics
        if discarded.due or any(needs_rounds(topic) for topic in self._topics.values()):
            self._maintenance.need()

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        durability: Durability | None = None,
        remote: RemoteFiles | None = None,
        cache_bytes: int = SEGMENT_CACHE_BYTES,
    ) -> Folder:
        """The database in `path`, which is made if need be; with None an empty one that is gone when it is closed.

        `durability` overrides that of every topic; with 'none', as in a temporary folder, nothing is ever synced.
        Segments that are kept elsewhere are opened by `remote`, and those fetched held up to `cache_bytes`.
        Raises: FolderLockedError if it is open already; CorruptionError if acknowledged rows are damaged.
        """
        remote = RemoteFiles() if remote is None else remote
        if path is None:
            path = make_temporary_folder()
            lock = lock_file(path / "LOCK")
            return cls(path, lock, "none", temporary=True, remote=remote, cache_bytes=cache_bytes)
        path = path.absolute()
        make_folder(path, durable=durability != "none")
        lock = lock_file(path / "LOCK")
        try:
            return cls(path, lock, durability, temporary=False, remote=remote, cache_bytes=cache_bytes)
        except BaseException:
            lock.close()
            raise

    @property
    def topics(self) -> Mapping[str, Topic]:
        """By name, in order of their folders' names, then of their making."""
        return MappingProxyType(self._topics)

    @property
    def notices(self) -> tuple[str, ...]:
        """One sentence each: what recovery dropped as it was never acknowledged, places of groups that were damaged,
        what maintenance could not do.
        """
        partitions = (partition for topic in self._topics.values() for partition in topic.partitions)
        dropped = tuple(partition.notice for partition in partitions if partition.notice is not None)
        return dropped + self._lost_places + self._maintenance.notices

    def topic(self, name: str) -> Topic:
        return self._topics[name]

    def create_topic(
        self,
        name: str,
        schema: pa.Schema,
        *,
        partitions: int = 1,
        key: Sequence[str] = (),
        options: TopicOptions = _DEFAULTS,
    ) -> Topic:
        """A new empty topic; it is on disk, all of it or nothing."""
        assert name not in self._topics, "a topic made twice"
        topic = Topic.create(
            self._folder_of(name),
            name,
            schema,
            partitions=partitions,
            key=key,
            options=options,
            surroundings=self._around,
        )
        self._topics = {**self._topics, name: topic}
        self._maintenance.topics = self._topics
        if needs_rounds(topic):
            self._maintenance.need()
        return topic

    def drop_topic(self, name: str) -> None:
        """The topic is gone with all its rows; batches already read from it stay readable."""
        topic = self._topics[name]
        folder = self._folder_of(name)
        remove_file(folder / "topic.json")
        self._topics = {other: kept for other, kept in self._topics.items() if other != name}
        self._maintenance.topics = self._topics
        self._maintenance.leave(topic)
        topic.close(keep=False)
        self._around.discarded.add(uri for log in topic.partitions for uri in remote_uris(log.segments))
        if self._durability != "none":
            sync_folder(folder)
        remove_folder(folder)

    def append_atomic(
        self, appends: Sequence[tuple[Topic, pa.RecordBatch, Placing]], mark: Mark = NO_MARK
    ) -> tuple[tuple[Topic, Appended], ...]:
        """All these rows, of several topics and partitions, are durable and readable in one moment; or none ever is.

        Each comes with its topic and, as in `Topic.append`, the partition it goes to.
        """
        parts: dict[Partition, Part] = {}
        topics: dict[Partition, tuple[Topic, int]] = {}
        for topic, batch, placing in appends:
            schema = topic.version
            for number, frames in topic.place(batch, placing, schema):
                partition = topic.partitions[number]
                known = parts.get(partition)
                assert known is None or known.schema is schema, "the schema changed between two batches of one append"
                parts[partition] = Part(partition, schema, [*(known.frames if known is not None else ()), *frames])
                topics[partition] = (topic, number)
        if not parts:
            return ()
        placed = self.transactions.append(list(parts.values()), mark)
        return tuple(
            (topics[one.partition][0], Appended(topics[one.partition][1], one.start, one.end)) for one in placed
        )

    def hold(self, needed: Needed) -> None:
        """Retention leaves what is `needed` from now on."""
        self._maintenance.needed = needed

    def maintain(self, now_us: int | None = None) -> tuple[str, ...]:
        """Retention, compaction and coalescing are done with what is due, which else happens in the background.

        The answer says what could not be done, a sentence each, as `notices` does.
        Units: `now_us` microseconds since 1970-01-01 UTC; the clock's if None.
        """
        return self._maintenance.round(now_us)

    def close(self) -> None:
        """All rows are durable and the lock is free; a temporary folder is removed. Closing twice is harmless.

        Raises: OperationalError in the end, if the rows of some topic could not be made durable.
        """
        if not self._cleanup.alive:
            return
        self._maintenance.stop()
        self._around.flusher.stop()
        errors = []
        for topic in self._topics.values():
            try:
                topic.close()
            except Error as error:
                errors.append(error)
        self.transactions.close()
        self._lock.close()
        self._cleanup()
        if errors:
            raise errors[0]

    def _folder_of(self, name: str) -> Path:
        return self.path / "topics" / checked_folder_name(name, "topic")


def _remote_files(folder: Path) -> list[str]:
    """Where the files of a topic are that has been dropped; as far as its manifests can be read."""
    uris: list[str] = []
    for name in list_folder(folder):
        with suppress(OperationalError):
            manifest = load_manifest(folder / name)
            uris += [entry.remote for entry in (manifest.segments if manifest else ()) if entry.remote is not None]
    return uris


def _release(temporary: Path | None, flusher: Flusher, maintenance: Maintenance) -> None:
    maintenance.stop()
    flusher.stop()
    if temporary is not None:
        remove_folder(temporary)
