"""Which rows a slot has seen, where rows only come: what DISTINCT asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from .key_index import KeyIndex
from .slot_array import Slots, pieces, where


class Seen:
    """A set of rows of one or more columns by slot. Unlike a bag it does not count them, and cannot list them by slot.

    State: each different row of each slot once, with its slot, and 8 to 32 bytes of table.
    """

    def __init__(self, kinds: Sequence[pa.DataType]) -> None:
        fields = [("slot", pa.int64()), *((f"value{place}", kind) for place, kind in enumerate(kinds))]
        self._index = KeyIndex(pa.schema(fields))

    def reserve(self, size: int) -> None:
        """Nothing is kept by slot."""

    def add(self, slots: Slots, columns: Sequence[pa.Array]) -> Slots:
        """Take in row i of `columns` for `slots[i]`; the places of those that are new there, each once."""
        batch = pa.RecordBatch.from_arrays([pa.array(slots), *columns], schema=self._index.schema)
        _, new = self._index.lookup_or_insert(batch)
        return where(new)

    def keep(self, slots: Slots) -> None:
        """Slot `slots[i]` becomes slot i; all others are gone."""
        owners = self._owners()
        renumbered = np.full(int(max(owners.max(initial=0), slots.max(initial=0))) + 1, -1, np.int64)
        renumbered[slots] = np.arange(len(slots))
        kept = where(renumbered[owners] >= 0)
        schema, old = self._index.schema, self._index

        def rows() -> Iterator[pa.RecordBatch]:
            for piece in pieces(kept):
                columns = [pa.array(renumbered[owners[piece]]), *old.key_columns(piece)[1:]]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

        self._index = KeyIndex(schema)
        self._index.fill(rows())

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        """All rows."""
        return dict(self._index.snapshot("rows"))

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        """Become what `snapshot` was taken of."""
        self._index = KeyIndex(self._index.schema)
        self._index.restore(snapshot, "rows")

    def _owners(self) -> Slots:
        """The slot of each row."""
        parts = (self._index.key_columns(p, [0])[0].to_numpy() for p in pieces(range(self._index.slots)))
        return np.concatenate([np.zeros(0, np.int64), *parts])

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._index.bytes
