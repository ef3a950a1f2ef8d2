"""Which rows a slot has seen, where rows only come: what DISTINCT asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from .key_index import KeyIndex
from .slot_array import Slots, where


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
        rows = self._rows()
        owners = rows.column(0).to_numpy()
        renumbered = np.full(int(max(owners.max(initial=0), slots.max(initial=0))) + 1, -1, np.int64)
        renumbered[slots] = np.arange(len(slots))
        kept = where(renumbered[owners] >= 0)
        columns = [column.take(pa.array(kept)) for column in rows.columns[1:]]
        self._load(pa.RecordBatch.from_arrays([pa.array(renumbered[owners[kept]]), *columns], schema=rows.schema))

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        """All rows."""
        return {"rows": pa.Table.from_batches([self._rows()])}

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        """Become what `snapshot` was taken of."""
        for batch in snapshot["rows"].combine_chunks().to_batches():
            self._load(batch)

    def _rows(self) -> pa.RecordBatch:
        return self._index.keys(np.arange(self._index.slots))

    def _load(self, rows: pa.RecordBatch) -> None:
        self._index = KeyIndex(self._index.schema)
        self._index.load(rows)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._index.bytes
