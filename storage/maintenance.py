"""Maintenance: one thread for a whole folder that deletes, compacts and coalesces, while others append and read."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from .coalescing import coalesce
from .compaction import Compactor
from .discarded import Discarded
from .errors import CorruptionError, Error
from .limits import MAINTENANCE_INTERVAL_S, MAINTENANCE_REST_S, MAINTENANCE_RETRY_S, MAINTENANCE_STRETCH_S
from .remote_files import RemoteFiles
from .remote_segment import remote_uris
from .retention import Needed, retain
from .rewriting import Breathe
from .tiering import remove_discarded, tier
from .topic import Topic

_SPAN = 8  # segments that are joined hold what was appended within so small a part of the retention


class _EndedError(Exception):
    """The work is not wanted any more: the folder closes, or the topic is dropped."""


class Maintenance:
    """Rounds over the topics that it is given, in a thread that starts with the first need and in `round`.

    Holds: what goes wrong with one topic is told by `notices` until a later round succeeds, and keeps no other from
    its turn. Nothing holds a partition's lock while it reads or writes rows.
    """

    def __init__(self, remote: RemoteFiles, discarded: Discarded) -> None:
        self._remote = remote
        self._discarded = discarded
        self.topics: Mapping[str, Topic] = {}
        self.needed: Needed = lambda topic: None  # by those who have not read so far for good
        self._changed = threading.Condition()
        self._errors: dict[Topic | None, tuple[str, float]] = {}  # and when it is tried again
        self._turn = threading.Lock()  # one round at a time
        self._working: object = None  # a topic, or what is discarded
        self._unwanted: Topic | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._rested = 0.0
        self._compactor = Compactor()

    @property
    def notices(self) -> tuple[str, ...]:
        """What could not be done in the last round, one sentence each."""
        return tuple(notice for notice, _ in tuple(self._errors.values()))

    def need(self) -> None:
        """There is, or will be, something to do: the thread runs from now on."""
        if self._thread is not None or self._stopped:
            return
        with self._changed:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="headrace-maintenance", daemon=True)
                self._thread.start()

    def round(self, now_us: int | None = None) -> tuple[str, ...]:
        """All that is due is done when this returns; the notices of what could not be."""
        self._round(now_us, pausing=False)
        return self.notices

    def leave(self, topic: Topic) -> None:
        """Nobody works on the topic any more: it is about to be dropped, and not among `topics` any more."""
        with self._changed:
            self._unwanted = topic
            while self._working is topic:
                self._changed.wait()
            self._unwanted = None
            self._errors.pop(topic, None)

    def stop(self) -> None:
        """The thread has ended, and so has every round."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            thread = self._thread
            while self._working is not None and thread is not threading.current_thread():
                self._changed.wait()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, timeout=MAINTENANCE_INTERVAL_S)
                if self._stopped:
                    return
            self._round(None, pausing=True)

    def _round(self, now_us: int | None, *, pausing: bool) -> None:
        def breathe() -> None:
            if self._stopped or self._unwanted is self._working:
                raise _EndedError
            now = time.perf_counter()
            if pausing and now - self._rested > MAINTENANCE_STRETCH_S:
                time.sleep(MAINTENANCE_REST_S)  # whoever waits for the interpreter gets it now
                self._rested = time.perf_counter()

        with self._turn:
            for topic in list(self.topics.values()):
                with self._changed:
                    if self._stopped or self.topics.get(topic.name) is not topic:
                        continue
                    if pausing and topic in self._errors and time.monotonic() < self._errors[topic][1]:
                        continue
                    self._working = topic
                try:
                    now = time.time_ns() // 1000 if now_us is None else now_us
                    self._tend(topic, now, breathe)
                    self._errors.pop(topic, None)
                except _EndedError:
                    pass
                except Error as error:
                    self._keep(topic, error.headline)
                except Exception as error:  # a mistake of ours, which must not keep the other topics from their turn
                    self._keep(topic, f"{type(error).__name__}: {error}")
                finally:
                    with self._changed:
                        self._working = None
                        self._changed.notify_all()
            self._remove_discarded(breathe, pausing=pausing)

    def _tend(self, topic: Topic, now_us: int, breathe: Breathe) -> None:
        """Raises: CorruptionError in the end, for the first damage found; all other segments have had their turn."""
        retain(topic, now_us, self.needed)
        retention_ms = topic.options.retention_ms if "delete" in topic.options.cleanup else None
        span_us = None if retention_ms is None else 1000 * retention_ms // _SPAN
        damage: list[CorruptionError] = []
        for partition in topic.partitions:
            partition.check_writable()
            try:
                self._compactor.compact(topic, partition, now_us, breathe)
            except CorruptionError as error:
                damage.append(error)
            try:
                coalesce(partition, breathe, span_us=span_us)
            except CorruptionError as error:
                damage.append(error)
        try:
            tier(topic, self._remote, self._discarded, now_us, breathe)
        except CorruptionError as error:
            damage.append(error)
        if damage:
            raise damage[0]

    def _remove_discarded(self, breathe: Breathe, *, pausing: bool) -> None:
        """What topics do not use any more is removed elsewhere. Nothing is on its way there meanwhile."""
        if pausing and None in self._errors and time.monotonic() < self._errors[None][1]:
            return
        with self._changed:
            if self._stopped:
                return
            self._working = self._discarded
        logs = [log for topic in self.topics.values() for log in topic.partitions]
        used = {uri for log in logs for uri in remote_uris(log.segments)}
        try:
            remove_discarded(self._discarded, self._remote, used, breathe)
            self._errors.pop(None, None)
        except _EndedError:
            pass
        except Error as error:
            self._keep(None, error.headline)
        finally:
            with self._changed:
                self._working = None
                self._changed.notify_all()

    def _keep(self, topic: Topic | None, reason: str) -> None:
        notice = reason if topic is None else f'could not tend "{topic.name}": {reason}'
        self._errors[topic] = notice, time.monotonic() + MAINTENANCE_RETRY_S


def needs_rounds(topic: Topic) -> bool:
    """Whether there may be something to do even if nothing is appended."""
    options = topic.options
    kept = options.retention_ms is None and options.retention_bytes is None and options.cleanup == "delete"
    return not kept or any(len(partition.segments) > 1 for partition in topic.partitions)
