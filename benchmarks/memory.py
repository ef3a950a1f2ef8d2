"""What state takes in memory: bytes per key of an index, per group of an aggregate and per row that is kept.

    python benchmarks/memory.py [--keys 1000000]

Prints a Markdown table of what states say of themselves, as `system.operators` and `EXPLAIN STATE` show it: arrays with
the room that they have for more keys, which is up to half of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Protocol

import numpy as np
import pyarrow as pa

from headrace.engine.aggregates import AggregateCall, OrderKey
from headrace.engine.delta import Delta
from headrace.engine.groups import Groups, Rows
from headrace.engine.key_index import KeyIndex
from headrace.engine.keyed_rows import KeyedRows

Batches = Callable[[], list[pa.RecordBatch]]
_ROWS = 65_536


class Sized(Protocol):
    """State that says how large it is."""

    @property
    def bytes(self) -> int: ...


def batches(keys: int) -> dict[str, Batches]:
    """Keys of each kind, every one once, as they come: in deltas of 65,536 rows."""
    random = np.random.default_rng(5)
    order = random.permutation(keys)

    def cut(**columns: pa.Array) -> list[pa.RecordBatch]:
        return pa.table(columns).to_batches(max_chunksize=_ROWS)  # type: ignore[no-any-return]

    return {
        "BIGINT, close together": lambda: cut(k=pa.array(order)),
        "BIGINT, far apart": lambda: cut(k=pa.array(order * 1_000_003)),
        "VARCHAR of 12 bytes": lambda: cut(k=pa.array([f"user{number:08}" for number in order])),
        "(BIGINT, BIGINT), far apart": lambda: cut(k=pa.array(order * 1_000_003), l=pa.array(order % 1000 * 7_919)),
    }


def index(made: list[pa.RecordBatch]) -> Sized:
    """A KeyIndex of all keys."""
    found = KeyIndex(made[0].schema)
    for batch in made:
        found.lookup_or_insert(batch)
    return found


def groups(*calls: AggregateCall, append_only: bool = True) -> Callable[[list[pa.RecordBatch]], Sized]:
    """A group for each key, of one row each."""

    def make(made: list[pa.RecordBatch]) -> Sized:
        key = pa.schema([made[0].schema.field("k")])
        values = pa.schema([*key, ("v", pa.int64()), ("x", pa.float64())])
        found = Groups(key, list(calls), values, append_only=append_only)
        for batch in made:
            value = pa.array(np.arange(batch.num_rows))
            slots = found.find([batch.column("k")], batch.num_rows)
            found.update(slots, Rows({"v": value, "x": value.cast(pa.float64())}, None))
        return found

    return make


def rows(made: list[pa.RecordBatch]) -> Sized:
    """Rows of a BIGINT key and two BIGINTs beside it, one a key."""
    schema = pa.schema([("k", made[0].schema.field("k").type), ("v", pa.int64()), ("t", pa.int64())])
    found = KeyedRows(schema, ["k"])
    for batch in made:
        value = pa.array(np.arange(batch.num_rows))
        found.insert(Delta(pa.RecordBatch.from_arrays([batch.column("k"), value, value], schema=schema)))
    return found


def call(function: str, argument: str | None, *others: str, order: tuple[OrderKey, ...] = ()) -> AggregateCall:
    """A call over the columns v, a BIGINT, and x, a DOUBLE."""
    kind = pa.decimal128(38, 0) if function == "sum" else pa.int64()
    kind = pa.float64() if function == "stddev_samp" else kind
    return AggregateCall(function, argument, None, function, kind, others=others, order=order)


COUNT, SUM = call("count_star", None), call("sum", "v")
STATES: list[tuple[str, str, Callable[[list[pa.RecordBatch]], Sized]]] = [
    ("KeyIndex", "BIGINT, close together", index),
    ("KeyIndex", "BIGINT, far apart", index),
    ("KeyIndex", "VARCHAR of 12 bytes", index),
    ("KeyIndex", "(BIGINT, BIGINT), far apart", index),
    ("GROUP BY: count, sum", "BIGINT, close together", groups(COUNT, SUM)),
    ("GROUP BY: count, sum", "BIGINT, far apart", groups(COUNT, SUM)),
    ("GROUP BY: count, sum", "VARCHAR of 12 bytes", groups(COUNT, SUM)),
    ("GROUP BY: max", "BIGINT, far apart", groups(call("max", "v"))),
    ("GROUP BY: max, rows can go", "BIGINT, far apart", groups(call("max", "v"), append_only=False)),
    ("GROUP BY: arg_max", "BIGINT, far apart", groups(call("arg_max", "v", "x"))),
    ("GROUP BY: arg_max, rows can go", "BIGINT, far apart", groups(call("arg_max", "v", "x"), append_only=False)),
    ("GROUP BY: stddev", "BIGINT, far apart", groups(call("stddev_samp", "x"))),
    ("rows of 24 bytes by key (join, top n, OVER)", "BIGINT, far apart", rows),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    keys = parser.parse_args().keys
    made = batches(keys)
    print(f"{keys:,} keys\n\n| state | key | bytes per key |\n|---|---|---|")
    for name, kind, make in STATES:
        print(f"| {name} | {kind} | {make(made[kind]()).bytes / keys:.0f} |", flush=True)


if __name__ == "__main__":
    main()
