"""Watching: what goes into an operator in a step, what comes out, and how its state changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from .dataflow import Node
from .delta import Delta, concat
from .operator import Operator, Snapshot, Time

WEIGHT = "weight"  # the first column of what is shown


@dataclass(frozen=True)
class Seen:
    """What one node did in a step, as tables whose first column is the weight: by port, and by the part of the state.

    `state` is None where it is too much to be compared.
    """

    inputs: dict[int, pa.Table]
    output: pa.Table | None
    state: dict[str, pa.Table] | None

    @property
    def idle(self) -> bool:
        """Whether nothing happened."""
        return not self.inputs and self.output is None and not self.state


class Watch:
    """Looks at one node of a dataflow that nobody else runs, from one `begin` to the next `end`.

    State: the deltas of a step, and the state as it was before.
    """

    def __init__(self, node: Node, *, bytes_max: int) -> None:
        self.node = node
        self._bytes_max = bytes_max
        self._inputs: dict[int, list[Delta]] = {}
        self._outputs: list[Delta] = []
        self._before: Snapshot | None = None
        operator = node.operator
        if operator is not None:
            self._process, self._advance = operator.process, operator.advance
            setattr(operator, "process", self._watched_process)  # noqa: B010
            setattr(operator, "advance", self._watched_advance)  # noqa: B010

    def begin(self) -> None:
        """A step is about to come."""
        self._inputs, self._outputs = {}, []
        self._before = self._state()

    def end(self) -> Seen:
        """What happened since."""
        inputs = {port: _table(concat(deltas)) for port, deltas in sorted(self._inputs.items())}
        output = _table(concat(self._outputs)) if self._outputs else None
        before, after = self._before, self._state()
        if self.node.operator is None:
            return Seen(inputs, output, {})
        if before is None or after is None:
            return Seen(inputs, output, None)
        changes = {name: _difference(before.get(name), table) for name, table in after.items()}
        return Seen(inputs, output, {name: change for name, change in changes.items() if change.num_rows})

    def _watched_process(self, delta: Delta, port: int = 0) -> Delta | None:
        self._inputs.setdefault(port, []).append(delta)
        return self._put(self._process(delta, port))

    def _watched_advance(self, time: Time) -> Delta | None:
        return self._put(self._advance(time))

    def _put(self, output: Delta | None) -> Delta | None:
        if output is not None and output.rows:
            self._outputs.append(output)
        return output

    def _state(self) -> Snapshot | None:
        operator: Operator | None = self.node.operator
        return None if operator is None or operator.bytes > self._bytes_max else operator.snapshot()


def _table(delta: Delta) -> pa.Table:
    columns = [pa.array(delta.weight_array()), *delta.batch.columns]
    return pa.Table.from_arrays(columns, names=[WEIGHT, *delta.batch.schema.names])


def _difference(before: pa.Table | None, after: pa.Table) -> pa.Table:
    """What rows are there more often, or less, than they were."""
    rows = {repr(row): row for table in (before, after) if table is not None for row in table.to_pylist()}
    counts = Counter(repr(row) for row in after.to_pylist())
    counts.subtract(Counter(repr(row) for row in before.to_pylist()) if before is not None else {})
    changed = sorted(((count, text) for text, count in counts.items() if count), key=lambda pair: pair[0])
    columns = [pa.array([count for count, _ in changed], pa.int64())]
    for field in after.schema:
        columns.append(pa.array([rows[text][field.name] for _, text in changed], field.type))
    return pa.Table.from_arrays(columns, names=[WEIGHT, *after.column_names])
