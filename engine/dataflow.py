"""The operators of one view, joined output to input, and how one epoch passes through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter

import pyarrow as pa

from .arrangement import Arrangement
from .deadlines import earliest
from .delta import Delta, concat
from .journal import Journal
from .metrics import Figures
from .operator import END_OF_TIME, NO_WATERMARK, Operator, ResultHolder, Time
from .operators.map import Map
from .operators.upsert import Upsert
from .slot_array import Mask


@dataclass(frozen=True)
class Source:
    """Where a dataflow takes changes from: a stream's log, or the changelog of another view."""

    name: str
    columns: tuple[str, ...]
    is_view: bool = False
    times: tuple[int | None, int | None] | None = None  # no row with another event time (microseconds) is asked for


@dataclass(frozen=True, eq=False)
class Node:
    """An operator, or a source, and the nodes that feed its ports. Dataflows that ask for the same share it.

    Nodes of equal `identity` have the same state and output whenever they have read the same rows; without one a node
    is shared by none. `needed` has the dataflows that its changelog goes on to something in.
    """

    operator: Operator | None
    inputs: tuple[Node, ...] = ()
    source: Source | None = None
    streams: frozenset[str] = frozenset()  # all streams below, by whose watermarks its time passes
    identity: object | None = None
    plan: object | None = None  # what it computes, where that depends on more than the rows, too
    figures: Figures = field(default_factory=Figures)
    needed: set[Dataflow] = field(default_factory=set)
    journal: Journal = field(default_factory=Journal)

    @property
    def bytes(self) -> int:
        """Memory that its state takes. Units: bytes."""
        return 0 if self.operator is None else self.operator.bytes

    def need(self, dataflow: Dataflow, *, wanted: bool) -> None:
        """Whether the dataflow needs the changelog from the next epoch on."""
        (self.needed.add if wanted else self.needed.discard)(dataflow)
        if isinstance(self.operator, ResultHolder):
            self.operator.emits = bool(self.needed)


Passing = Callable[[frozenset[str]], Time]  # the time of an epoch, by the streams below a node
Done = dict[Node, "Delta | Exception | None"]  # what the nodes have put out that had their turn in this epoch


class Dataflow:
    """A result and the nodes below it, in topological order."""

    def __init__(self, result: Node) -> None:
        self._take(result)

    def _take(self, result: Node) -> None:
        self.nodes = tuple(_below(result, {}))
        self.sources = tuple(node.source for node in self.nodes if node.source is not None)
        self.read = frozenset((source.name, source.is_view) for source in self.sources)
        self.passings = frozenset(node.streams for node in self.nodes)  # by whose watermarks time passes
        for node in self.nodes:
            node.need(self, wanted=True)

    @property
    def result(self) -> Node:
        """The node whose output is that of the dataflow."""
        return self.nodes[-1]

    def share(self, known: Callable[[Node], Node | None]) -> None:
        """Let nodes that are `known` to do the same take the place of those here."""
        replaced: dict[Node, Node] = {}
        for node in self.nodes:
            found = known(node)
            inputs = tuple(replaced[below] for below in node.inputs)
            replaced[node] = found or (node if inputs == node.inputs else replace(node, inputs=inputs, needed=set()))
        self.release()
        self._take(replaced[self.result])

    def release(self) -> None:
        """It needs no node any more."""
        for node in self.nodes:
            node.need(self, wanted=False)

    @property
    def streams(self) -> frozenset[str]:
        """The streams whose logs it reads itself."""
        return frozenset(source.name for source in self.sources if not source.is_view)

    @property
    def views(self) -> frozenset[str]:
        """The views whose changelogs it reads."""
        return frozenset(source.name for source in self.sources if source.is_view)

    def columns_of(self, stream: str) -> set[str]:
        """The columns it needs of a stream."""
        return {column for s in self.sources if s.name == stream and not s.is_view for column in s.columns}

    @property
    def wake(self) -> int | None:
        """When, on the engine's clock, an operator has something to do though no row comes."""
        return earliest(node.operator.wake for node in self.nodes if node.operator is not None)

    def step(
        self,
        deltas: Mapping[tuple[str, bool], Delta],
        time: Passing,
        done: Done | None = None,
    ) -> Delta | None:
        """The change of the result in one epoch. `deltas` by (name, is_view); `time` by the streams below a node.

        A node that is `done` has had its turn in this epoch, in another dataflow, and failed here if it did there.
        """
        done = {} if done is None else done
        start = perf_counter()
        for node in self.nodes:
            if node not in done:
                try:
                    done[node] = _output(node, deltas, time, done)
                except Exception as error:
                    done[node] = error
                end = perf_counter()
                node.figures.seconds += end - start
                start = end
            if isinstance(failure := done[node], Exception):
                raise failure
        change = done[self.result]
        assert not isinstance(change, Exception)
        return change


def _output(node: Node, deltas: Mapping[tuple[str, bool], Delta], time: Passing, done: Done) -> Delta | None:
    """What a node puts out in one epoch, given what its inputs have."""
    figures = node.figures
    if node.source is not None:
        delta = deltas.get((node.source.name, node.source.is_view))
        figures.rows_out += 0 if delta is None else delta.rows
        return None if delta is None else select(delta, node.source.columns)
    operator = node.operator
    assert operator is not None
    output: Delta | None = None
    parts: list[Delta] = []
    rows_before, woken = figures.rows_in, operator.wake is not None
    now = time(node.streams)
    if operator.wake is not None and operator.wake <= now.clock:
        output = operator.expire(now)
        if output is not None and output.rows:
            parts.append(output)
    for port, below in enumerate(node.inputs):
        delta = done[below]  # type: ignore[assignment]
        if delta is not None and (rows := delta.rows):
            figures.rows_in += rows
            node.journal.take(port, delta)
            output = operator.process(delta, port)
            if output is not None and output.rows:
                parts.append(output)
    output = operator.advance(now)
    if output is not None and output.rows:
        parts.append(output)
    if parts or woken or figures.rows_in > rows_before or figures.watermark < now.watermark:
        figures.changes += 1
        figures.watermark = now.watermark
        node.journal.pass_time(now)
    if not parts:
        return None
    output = concat(parts)
    figures.rows_out += output.rows
    return output


def _below(node: Node, seen: dict[Node, None]) -> dict[Node, None]:
    """The node and all below it, each once, inputs before what reads them."""
    if node not in seen:
        for part in node.inputs:
            _below(part, seen)
        seen[node] = None
    return seen


def wanted_times(dataflows: Iterable[Dataflow], stream: str) -> tuple[int, int] | None:
    """The first and the last event time of a stream that somebody asks for; None if it may be any."""
    asked = [s.times for flow in dataflows for s in flow.sources if s.name == stream and not s.is_view]
    known = [times for times in asked if times is not None]
    if len(known) < len(asked) or not known:
        return None
    firsts, lasts = zip(*known, strict=True)
    first = NO_WATERMARK if None in firsts else min(firsts)
    last = END_OF_TIME if None in lasts else max(lasts)
    return first, last


def select(delta: Delta, columns: tuple[str, ...]) -> Delta:
    """The same change of fewer columns."""
    names = delta.batch.schema.names
    if len(names) == len(columns) and tuple(names) == columns:
        return delta
    return Delta(delta.batch.select(columns), delta.weights, delta.closed, delta.origin)


class Result:
    """The rows of a dataflow's result. Keeps nothing that an operator in it already holds.

    If only maps stand above an operator whose state is its result, rows are read from there and mapped; the
    operator need then not even emit its changelog unless somebody listens. Otherwise the rows are arranged here.
    """

    def __init__(self, dataflow: Dataflow, schema: pa.Schema, *, keeps: bool = True) -> None:
        self.schema = schema
        self._dataflow = dataflow
        self._keeps = keeps
        self._kept: Arrangement | None = None
        self.journal = Journal()  # of the rows that are kept
        self.refresh()

    def refresh(self) -> None:
        """Find the nodes again that rows are read from: the dataflow may have other ones, which do the same."""
        self._maps: list[Map] = []
        node = self._dataflow.result
        while isinstance(node.operator, Map):
            self._maps.insert(0, node.operator)
            (node,) = node.inputs
        self._holding = node
        self._holder = node.operator if isinstance(node.operator, ResultHolder) else None
        if self._holder is None and self._keeps and self._kept is None:
            self._kept = Arrangement(self.schema)

    def insert(self, delta: Delta | None) -> None:
        """Take the change of an epoch."""
        if self._kept is not None and delta is not None:
            self.journal.take(0, delta)
            self._kept.insert(Delta(delta.batch, delta.weights))

    def listen(self, wanted: bool) -> None:
        """Whether somebody needs the changelog from the next epoch on."""
        self._holding.need(self._dataflow, wanted=wanted)

    @property
    def holding(self) -> Node | None:
        """The node whose state has the rows, but for maps above it; None where they are kept here."""
        return None if self._holder is None else self._holding

    @property
    def kept(self) -> Arrangement | None:
        """The rows that are kept here, and not in an operator."""
        return self._kept

    @property
    def bytes(self) -> int:
        """Memory of the rows that are kept here and in no operator. Units: bytes."""
        return 0 if self._kept is None else self._kept.bytes

    def find(self, keys: pa.RecordBatch) -> tuple[Mask, pa.RecordBatch]:
        """Which of `keys` there are in a table with a key, and their rows; without reading the others."""
        assert isinstance(self._holder, Upsert), "only what is kept by key is found by it"
        return self._holder.find(keys)

    def rows(self) -> pa.Table:
        """All rows at the end of the last epoch; what is returned does not change later."""
        if self._kept is not None:
            return self._kept.rows()
        assert self._holder is not None
        table = self._holder.rows()
        for operator in self._maps:
            mapped = [operator.process(Delta(batch)) for batch in table.to_batches()]
            table = pa.Table.from_batches([d.batch for d in mapped if d is not None], schema=operator.schema)
        return table
