"""A view as the engine runs it: a dataflow over streams, what it has come to, and who reads it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from ..storage.errors import CorruptionError, Error, InternalError, OperationalError
from ..storage.files import DISK_FULL
from ..storage.memory import NO_MEMORY, no_memory
from ..storage.readable import ReadableTopic
from .dataflow import Dataflow, Node, Result
from .delta import Delta
from .operators.late import Late
from .operators.lookup_join import LookupJoin
from .output import Output
from .subscription import Subscription
from .watermark import Advance, StreamTime


@dataclass(frozen=True)
class Stream:
    """A topic as the engine sees it; `arrival`: its event time is when rows came. Units: `delay_us` microseconds."""

    name: str
    topic: ReadableTopic
    event_time: str | None
    delay_us: int = 0
    advance: Advance | None = None
    arrival: bool = False


@dataclass(frozen=True)
class StreamRead:
    """How far a stream was read, by partition, and what was known of its event time then."""

    positions: list[int]
    time: StreamTime


class UnreadError(Exception):
    """The log could not be read now, as a segment that is kept elsewhere could not be fetched; `reason` says why."""

    def __init__(self, reason: OperationalError) -> None:
        super().__init__(reason.headline)
        self.reason = reason


@dataclass(eq=False)
class View:
    """A dataflow that is kept up to date, its result, and who listens to it.

    `key` says what it computes, for a checkpoint to be of the same thing; None: it is in no checkpoint.
    """

    name: str
    dataflow: Dataflow
    result: Result
    inputs: tuple[View, ...] = ()
    subscriptions: list[Subscription] = field(default_factory=list)
    readers: list[View] = field(default_factory=list)
    output: Output | None = None
    error: Error | None = None
    stepped: dict[frozenset[str], int] = field(default_factory=dict)
    key: str | None = None
    wake: int | None = None  # when, on the engine's clock, its result changes though no row comes

    @property
    def all_streams(self) -> frozenset[str]:
        """Every stream the result depends on, through other views too."""
        return self.dataflow.streams.union(*(view.all_streams for view in self.inputs))

    @cached_property
    def looks_up(self) -> tuple[frozenset[str], frozenset[str]] | None:
        """The streams below all that looks up, and those that are only looked up in; None where there are none."""
        below = {view.name: view.all_streams for view in self.inputs}
        seen: set[Node] = set()

        def visit(node: Node) -> None:
            seen.add(node)
            for each in node.inputs[:1] if isinstance(node.operator, LookupJoin) else node.inputs:
                visit(each)

        def streams(nodes: Iterable[Node]) -> frozenset[str]:
            sources = [node.source for node in nodes if node.source is not None]
            return frozenset[str]().union(*(below.get(s.name, ()) if s.is_view else (s.name,) for s in sources))

        visit(self.dataflow.result)
        left = streams(seen)
        right = streams(node for node in self.dataflow.nodes if node not in seen) - left
        return (left, right) if right else None

    @property
    def shows_cuts(self) -> bool:
        """Whether its rows depend on how history was cut into epochs, or on when; what was late is on disk."""
        operators = [node.operator for node in self.dataflow.nodes]
        return any(one is not None and one.shows_cuts and not isinstance(one, Late) for one in operators)

    @property
    def present(self) -> Result:
        """Its result. Raises: OperationalError, why it has stopped, if it has."""
        if self.error is not None:
            raise self.error
        return self.result

    def subscribe(self, subscription: Subscription, epoch: int | None) -> None:
        """Tell its changes from now on, first its rows as they are after `epoch`, if it is given."""
        result = self.present
        self.subscriptions.append(subscription)
        self.refresh_listeners()
        rows = result.rows().combine_chunks()
        if epoch is not None and rows.num_rows:
            subscription.put(epoch, Delta(rows.to_batches()[0]))

    def refresh_listeners(self) -> None:
        """Let the operators emit exactly if somebody needs the changelog."""
        self.result.listen(wanted=bool(self.subscriptions or self.readers or self.output))

    def fail(self, error: Exception) -> None:
        """Stop: the rest of the database goes on without this view and those that read it."""
        if self.error is not None:
            return
        if isinstance(error, MemoryError):
            error = no_memory("go on", error)
        detail = error.headline if isinstance(error, Error) else f"{type(error).__name__}: {error}"
        hint = (
            "ALTER it, AS a query that handles such rows or WITH (on_error = 'skip'); "
            "or RESUME once the cause is gone. Other views go on."
        )
        if isinstance(error, CorruptionError):
            hint = error.hint or hint
        if isinstance(error, Error) and error.sqlstate in (DISK_FULL, NO_MEMORY):
            hint = "Make room, and say ALTER ... RESUME, or open the database again; other views go on now."
        self.error = OperationalError(
            f'view "{self.name}" has stopped',
            detail=detail[:1].upper() + detail[1:] + ("" if detail.endswith(".") else "."),
            hint=hint,
        )
        for subscription in self.subscriptions:
            subscription.fail(self.error)
        for reader in self.readers:
            reader.fail(InternalError(f'its input "{self.name}" has stopped'))

    def end(self, reason: str) -> None:
        """There is no such view any more: who listens is told so, and live queries that read it stop."""
        for subscription in self.subscriptions:
            subscription.fail(OperationalError(f'"{self.name}" {reason}'))
        for reader in self.readers:
            reader.fail(OperationalError(f'"{self.name}" {reason}'))

    def renamed(self, new: str) -> View:
        """The same view, called otherwise from now on."""
        self.end(f'is called "{new}" now')
        self.name = new
        return self
