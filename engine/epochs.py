"""The journal of epochs: which rows and what time each of them had, so that it can be run again as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow.compute as pc

from ..storage import limits
from ..storage.epoch_log import EpochLog, Row
from ..storage.errors import Error
from .digest import Digest
from .view import Stream, View


class Read(NamedTuple):
    """How far a stream was read, by partition, and its watermark. `created` tells apart streams that had one name."""

    created: int | None
    ends: list[int]
    watermark: int


@dataclass(frozen=True)
class Cut:
    """What an epoch had: how far each stream was read at its end, and its clock, in microseconds since 1970.

    It went on from the state after the epoch `after`, 0 being nothing. `news` has the streams that are elsewhere than
    after the epoch before, or all of them. `joined` has the keys of the views that were
    brought in between, by name.
    """

    epoch: int
    clock: int
    after: int
    streams: Mapping[str, Read]
    news: Mapping[str, Read]
    rows: int = 0
    joined: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Digest] | None = None  # by view, where they were taken
    begins: bool = False  # it is the first of a process

    def of(self, streams: Mapping[str, Stream]) -> dict[str, Read]:
        """What it says of these streams."""
        return {
            name: read
            for name, read in self.streams.items()
            if name in streams and read.created == streams[name].topic.created
        }


class Epochs:
    """Writes down each epoch before anybody sees what it brought, and finds what was written.

    Holds: an epoch has a number that no other ever had, also when a power failure has taken the last ones from the
    journal. Where the disk refuses, epochs go on without it, and `notices` says so.
    State: how far each stream is by what was written last.
    """

    def __init__(self, log: EpochLog, *, kept: int = limits.EPOCHS_KEPT) -> None:
        self._log = log
        self._kept = kept
        self._last: dict[str, Read] = {}
        self._since_whole = limits.EPOCHS_WHOLE
        self._taken = 0  # the numbers up to here
        self._clock = 0  # of the last one
        self._stopped = log.read_only  # nothing is recorded
        self._wrote = False
        self._joined: dict[str, str] = {}  # since the last epoch
        self._ends: list[int] = []  # where the journal ended at the last checkpoints
        self._notices: list[str] = []
        self.failure: Error | None = None  # why nothing is recorded any more

    @property
    def notices(self) -> list[str]:
        """What there is to say about how the journal was found, and about what could not be written."""
        return [*self._log.notices, *self._notices]

    def begin(self, base: int) -> list[Cut]:
        """What there is to run again after the epoch `base`, where there is a checkpoint; 0 for nothing.

        Empty if there is nothing, if it is not all there, and where nothing is recorded.
        """
        path: list[Cut] = []
        if self._stopped:
            return path
        try:
            start, end = self._log.bounds
            self._taken = base + limits.EPOCHS_SKIPPED if base else 0
            if start < end:
                (last,) = self._log.read(end - 1, end)
                closed, self._clock = '"closed"' in last.content and last.epoch >= base, last.clock
                self._taken = max(base, last.epoch) + (0 if closed else limits.EPOCHS_SKIPPED)
                path = self.path(base)
                if not path and last.epoch > base:
                    self._notices.append(
                        f"the epochs after {base} are not all in the journal: their rows are cut into epochs anew"
                    )
        except Error as error:
            self._log.put_aside(error.headline)
            self._taken = base + limits.EPOCHS_SKIPPED
        return path

    def after(self, epoch: int) -> int:
        """The number of the epoch that follows."""
        return max(epoch, self._taken) + 1

    def join(self, views: Iterable[View]) -> None:
        """The views are with the others from the next epoch on."""
        self._joined.update({view.name: view.key for view in views if view.key is not None})

    def record(
        self,
        epoch: int,
        clock: int,
        after: int,
        rows: int,
        news: Callable[[Mapping[str, Read]], dict[str, Read]],
        changes: Mapping[str, Digest] | None = None,
    ) -> None:
        """The epoch is over; `news` says how far each stream is that is elsewhere than it is said to be."""
        self._taken, self._clock = epoch, clock
        if self._stopped:
            return
        whole = self._since_whole >= limits.EPOCHS_WHOLE or after != epoch - 1
        streams = news({} if whole else self._last)
        content: dict[str, Any] = {"streams": streams}
        if whole:
            content["whole"], self._last, self._since_whole = True, {}, 0
        if after != epoch - 1:
            content["after"] = after
        if changes is not None:
            content["changes"] = changes
        if self._joined:
            content["joined"], self._joined = self._joined, {}
        self._append(Row(epoch, clock, rows, json.dumps(content, separators=(",", ":"))))
        self._last.update(streams)
        self._since_whole += 1

    def path(self, start: int, end: int | None = None) -> list[Cut]:
        """The cuts that lead from the state after epoch `start` to that after `end`, or to the last one.

        Empty if they are not all there. Raises: CorruptionError if they cannot be read.
        """
        cuts = list(self.cuts(start, end))
        wanted, found = end if end is not None else (cuts[-1].epoch if cuts else None), list[Cut]()
        for cut in reversed(cuts):
            if cut.epoch == wanted:
                found.append(cut)
                wanted = cut.after
        return found[::-1] if wanted == start else []

    def cuts(self, start: int, end: int | None = None) -> Iterator[Cut]:
        """All that were recorded of the epochs (start, end], in order."""
        place = self._log.bounds[1] if end is None else self._log.after(epoch=end)
        return (cut for cut in self._scan(self._log.after(epoch=start), place) if cut.epoch > start)

    def _scan(self, first: int, end: int) -> Iterator[Cut]:
        """The cuts at the places [first, end), and some before that are needed to know them."""
        known: dict[str, Read] | None = None
        joined: dict[str, str] = {}
        closed = False
        for row in self._log.read(self._anchor(first), end):
            content = json.loads(row.content)
            joined |= content.get("joined", {})
            if content.get("whole"):
                known = {}
            closed, begins = content.get("closed", False), closed or "after" in content
            if known is None or closed:
                continue
            news = {name: Read(*read) for name, read in content["streams"].items()}
            known = {**known, **news}
            told = content.get("changes")
            changes = None if told is None else {name: Digest(*change) for name, change in told.items()}
            after = content.get("after", row.epoch - 1)
            yield Cut(row.epoch, row.clock, after, known, news, row.rows, joined, changes, begins)
            joined = {}

    def at(self, *, epoch: int | None = None, clock: int | None = None) -> Cut | None:
        """That of the epoch, or of the last one by the time `clock`; None if there is none."""
        place = self._log.after(epoch=epoch, clock=clock)
        found = None
        for found in self._scan(place - 1, place):  # noqa: B007
            pass
        return found if epoch is None or (found is not None and found.epoch == epoch) else None

    def joined(self, name: str, key: str) -> int | None:
        """After which epoch a view of that name and key was brought in first; None if the journal does not know."""
        table = self._log.table()
        for row in table.filter(pc.match_substring(table.column("content"), '"joined"')).to_pylist():
            content = json.loads(row["content"])
            if content["joined"].get(name) == key:
                return int(row["epoch"]) if content.get("closed") else int(content.get("after", row["epoch"] - 1))
        return None

    def bounds(self) -> tuple[int, int] | None:
        """The first and the last epoch that are recorded; None if there is none."""
        start, end = self._log.bounds
        first = next(self._scan(start, min(end, start + limits.EPOCHS_WHOLE + 1)), None)
        if first is None:
            return None
        (last,) = self._log.read(end - 1, end)
        return first.epoch, last.epoch

    def settle(self) -> None:
        """Returns when all that was recorded is on the medium, or could not be written."""
        try:
            if not self._stopped:
                self._log.sync()
        except Error as error:
            self._fail(error)

    def checkpointed(self, at_us: int) -> None:
        """There is a checkpoint now: what is old may go, but for what came after the checkpoint before.

        Units: microseconds since 1970.
        """
        try:
            if not self._stopped:
                self._prune(at_us)
        except Error as error:
            self._fail(error)

    def close(self) -> None:
        """All that was recorded is on the medium, and it says that nothing is missing. Closing twice is harmless."""
        if (self._wrote or self._joined) and not self._stopped:
            content = {"closed": True, **({"joined": self._joined} if self._joined else {})}
            self._append(Row(self._taken, self._clock, 0, json.dumps(content)))
            self._stopped = True
        try:
            self._log.close()
        except Error as error:
            self._notices.append(f"the journal of epochs may lack the last ones: {error.headline}")

    def _prune(self, at_us: int) -> None:
        start, end = self._log.bounds
        self._ends = [*self._ends[-1:], end]
        if len(self._ends) == 2:
            old = max(self._log.old(at_us - int(limits.EPOCHS_KEPT_S * 1e6)), end - self._kept)
            place = self._anchor(min(old, self._ends[0]))
            if place - start >= min(limits.EPOCHS_PRUNED, self._kept):
                self._log.delete_before(place)

    def _fail(self, error: Error) -> None:
        """Epochs go on, and nothing more is recorded."""
        self._stopped, self.failure = True, error

    def _append(self, row: Row) -> None:
        try:
            self._log.append(row)
            if not self._wrote:
                self._log.sync()  # it does not say any more that it was closed
            self._wrote = True
        except Error as error:
            self._fail(error)

    def _anchor(self, place: int) -> int:
        """The place of a row, there or before, from which on it is known of all streams how far they are."""
        start, end = self._log.bounds
        at = max(start, min(place, end - 1))
        while at > start and '"whole":true' not in next(self._log.read(at, at + 1)).content:
            at -= 1
        return at
