"""What verification finds: one thing that is not as it should be, where, and which rows it affects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """`what` is wrong with `file`, at byte `position` if there is one place.

    Shape: the rows at offsets [start, end) are affected, None for both if none are, or nobody can say which; `topic`
    and `partition` None where the file belongs to the whole folder; `file` relative to the folder; `what` a sentence.
    """

    topic: str | None
    partition: int | None
    file: str
    position: int | None
    start: int | None
    end: int | None
    what: str

    @property
    def rows(self) -> int:
        """How many offsets are affected."""
        return 0 if self.start is None or self.end is None else self.end - self.start


@dataclass(frozen=True)
class Place:
    """The part of a folder that findings are about: `folder` of the database, and perhaps a topic and a partition."""

    root: Path
    topic: str | None = None
    partition: int | None = None

    def found(
        self, path: Path, what: str, *, position: int | None = None, start: int | None = None, end: int | None = None
    ) -> Finding:
        """A finding here."""
        return Finding(self.topic, self.partition, path.relative_to(self.root).as_posix(), position, start, end, what)


@dataclass
class Checked:
    """What was looked at, and what was found."""

    findings: list[Finding] = field(default_factory=list)
    partitions: int = 0
    segments: int = 0
    rows: int = 0
    size_bytes: int = 0

    def add(self, others: Sequence[Checked]) -> None:
        """What the others say counts here too."""
        for other in others:
            self.findings += other.findings
            self.partitions += other.partitions
            self.segments += other.segments
            self.rows += other.rows
            self.size_bytes += other.size_bytes
