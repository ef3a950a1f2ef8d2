"""The operators of one view, joined output to input, and how one epoch passes through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import pyarrow as pa

from .arrangement import Arrangement
from .delta import Delta, concat
from .metrics import Figures
from .operator import Operator, ResultHolder, Time
from .operators.map import Map
from .operators.upsert import Upsert
from .slot_array import Mask


@dataclass(frozen=True)
class Source:
    """Where a dataflow takes changes from: a stream's log, or the changelog of another view."""

    name: str
    columns: tuple[str, ...]
    is_view: bool = False


@dataclass(frozen=True)
class Node:
    """An operator, or a source, and the numbers of the nodes that feed its ports."""

    operator: Operator | None
    inputs: tuple[int, ...] = ()
    source: Source | None = None
    streams: frozenset[str] = frozenset()  # all streams below, by whose watermarks its time passes


class Dataflow:
    """Nodes in topological order; the last one is the result."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        assert nodes, "a dataflow has a result"
        self.nodes = tuple(nodes)
        self.figures = tuple(Figures() for _ in self.nodes)
        self.sources = tuple(node.source for node in self.nodes if node.source is not None)

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
        wakes = [n.operator.wake for n in self.nodes if n.operator is not None and n.operator.wake is not None]
        return min(wakes, default=None)

    def step(self, deltas: Mapping[tuple[str, bool], Delta], time: Callable[[frozenset[str]], Time]) -> Delta | None:
        """The change of the result in one epoch. `deltas` by (name, is_view); `time` by the streams below a node."""
        outputs: list[Delta | None] = []
        start = perf_counter()
        for node, figures in zip(self.nodes, self.figures, strict=True):
            if node.source is not None:
                delta = deltas.get((node.source.name, node.source.is_view))
                outputs.append(None if delta is None else _select(delta, node.source.columns))
                figures.rows_out += 0 if delta is None else delta.rows
                continue
            assert node.operator is not None
            results = []
            taken = 0
            for port, index in enumerate(node.inputs):
                delta = outputs[index]
                if delta is not None and delta.rows:
                    taken += delta.rows
                    results.append(node.operator.process(delta, port))
            results.append(node.operator.advance(time(node.streams)))
            changes = [delta for delta in results if delta is not None and delta.rows]
            output = concat(changes) if changes else None
            outputs.append(output)
            end = perf_counter()
            figures.add(taken, 0 if output is None else output.rows, end - start)
            start = end
        return outputs[-1]


def _select(delta: Delta, columns: tuple[str, ...]) -> Delta:
    if tuple(delta.batch.schema.names) == columns:
        return delta
    return Delta(delta.batch.select(list(columns)), delta.weights, delta.closed, delta.origin)


class Result:
    """The rows of a dataflow's result. Keeps nothing that an operator in it already holds.

    If only maps stand above an operator whose state is its result, rows are read from there and mapped; the
    operator need then not even emit its changelog unless somebody listens. Otherwise the rows are arranged here.
    """

    def __init__(self, dataflow: Dataflow, schema: pa.Schema, *, keeps: bool = True) -> None:
        self.schema = schema
        self._maps: list[Map] = []
        self._holder: ResultHolder | None = None
        self._kept: Arrangement | None = None
        index = len(dataflow.nodes) - 1
        while isinstance(operator := dataflow.nodes[index].operator, Map):
            self._maps.insert(0, operator)
            index = dataflow.nodes[index].inputs[0]
        if isinstance(operator, ResultHolder):
            self._holder = operator
        elif keeps:
            self._kept = Arrangement(schema)

    def insert(self, delta: Delta | None) -> None:
        """Take the change of an epoch."""
        if self._kept is not None and delta is not None:
            self._kept.insert(Delta(delta.batch, delta.weights))

    def listen(self, wanted: bool) -> None:
        """Whether somebody needs the changelog from the next epoch on."""
        if self._holder is not None:
            self._holder.emits = wanted

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
