"""What a program was told by its log, and what it only tried: all that a log may be held to after a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pyarrow as pa

from headrace.storage.errors import OperationalError
from headrace.storage.topic import Appended

SCHEMA = pa.schema([("key", pa.int32()), ("number", pa.int64()), ("text", pa.string())])
KEYS = 5
FOR_EVER = 1 << 62


def rows(numbers: list[int], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    """A row for each number, from which all its columns follow."""
    columns = {
        "key": lambda: pa.array([number % KEYS for number in numbers], pa.int32()),
        "number": lambda: pa.array(numbers, pa.int64()),
        "text": lambda: pa.array([text_of(number) for number in numbers], pa.string()),
        "extra": lambda: pa.array([2 * number for number in numbers], pa.int64()),
    }
    return pa.RecordBatch.from_arrays([columns[name]() for name in schema.names], schema=schema)


def text_of(number: int) -> str:
    return f"row {number} " * (number % 19)


@dataclass
class Fact:
    """Something that was begun after so many calls of the disk and, unless `acked` is FOR_EVER, told to be done.

    Shape: `kind` says what it is about; `numbers` are rows by their topic, `places` where they are, if one topic got
    them; `value` an offset or a sequence.
    """

    kind: str
    subject: str
    begun: int
    value: int = 0
    numbers: dict[str, list[int]] = field(default_factory=dict)
    places: tuple[Appended, ...] = ()
    acked: int = FOR_EVER


@dataclass
class Ledger:
    """All facts in order. `calls` counts the calls of the disk so far."""

    calls: Callable[[], int] = lambda: 0
    facts: list[Fact] = field(default_factory=list)
    errors: list[OperationalError] = field(default_factory=list)
    last: int = 0

    @contextmanager
    def trying(
        self, kind: str, subject: str = "", value: int = 0, numbers: dict[str, list[int]] | None = None
    ) -> Iterator[Fact]:
        """What is done in the block counts as acknowledged if it ends well; what the disk refuses is noted."""
        fact = Fact(kind, subject, self.calls(), value, numbers or {})
        self.facts.append(fact)
        try:
            yield fact
        except OperationalError as error:
            self.errors.append(error)
        else:
            fact.acked = self.calls()

    def fresh(self, count: int) -> list[int]:
        """Numbers that no row had before."""
        self.last += count
        return list(range(self.last - count + 1, self.last + 1))

    def at(self, calls: int, *, powered: bool = True) -> Ledger:
        """What was begun, and what was told, when the disk had had so many calls.

        Unless it is `powered`, what was told of `lazy` since the folder was last closed was promised to nobody.
        """
        known = [fact for fact in self.facts if fact.begun < calls]
        closed = max((fact.begun for fact in known if fact.kind == "closed" and fact.acked <= calls), default=0)
        facts = [
            fact
            if fact.acked <= calls and (powered or fact.kind != "rows" or fact.subject != "lazy" or fact.begun < closed)
            else replace(fact, places=(), acked=FOR_EVER)
            for fact in known
        ]
        return Ledger(facts=facts, last=self.last)

    def copy(self) -> Ledger:
        """One that goes on by itself."""
        return Ledger(facts=[*self.facts], last=self.last)

    def of(self, kind: str, subject: str | None = None) -> list[Fact]:
        return [fact for fact in self.facts if fact.kind == kind and subject in (None, fact.subject)]

    def told(self, kind: str, subject: str | None = None) -> list[Fact]:
        """Those that were acknowledged."""
        return [fact for fact in self.of(kind, subject) if fact.acked != FOR_EVER]

    def least(self, kind: str, subject: str = "") -> int:
        """The greatest value that was acknowledged."""
        return max((fact.value for fact in self.told(kind, subject)), default=0)

    def most(self, kind: str, subject: str = "") -> int:
        """The greatest value that was tried."""
        return max((fact.value for fact in self.of(kind, subject)), default=0)
