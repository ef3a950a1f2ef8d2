"""The key columns of a KeyIndex: one value per slot, compared with the rows of a batch, whole columns at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..storage.hashing import Hashes, fixed_values, hash_columns, padded_words
from ..storage.memory import current
from .row_store import RowStore
from .slot_array import LARGE_PIECE, Mask, SlotArray, Slots, pieces, where
from .words import fixed_words, words_array

_WORDS_COMPARED = 4  # of a string: what is longer than 32 bytes is compared as a whole

Rows = npt.NDArray[np.int64]
Integers = Sequence[npt.NDArray[np.signedinteger[Any]]]  # one column per key column

_INTEGERS = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


class KeyColumn(ABC):
    """One column of keys by slot, and the same column of the batch that is being looked up.

    NULL equals NULL, NaN equals NaN, -0.0 equals 0.0.
    """

    exact = False  # True where comparing costs no more than comparing a hash does
    hashed_again = False  # True where to hash keys costs no more than to keep their hashes

    @abstractmethod
    def load(self, array: pa.Array) -> None:
        """Make `array` the batch's column that the other methods count rows in."""

    @abstractmethod
    def equal(self, slots: Slots, rows: Rows | None) -> Mask:
        """Where slot `slots[i]` holds the key of row `rows[i]` (without `rows`: of row i); below slot 0, anything."""

    @property
    def padded(self) -> Hashes | None:
        """The batch's column as `padded_words`, where it is kept so."""
        return None

    def batch_integers(self) -> npt.NDArray[np.signedinteger[Any]] | None:
        """The batch's column as integers of the same equality; None where there are none, or a NULL."""
        return None

    def integers(self, slots: Slots) -> npt.NDArray[np.signedinteger[Any]] | None:
        """The keys of `slots` as the same integers; None where there are none, or a NULL."""
        return None

    @abstractmethod
    def append(self, size: int, rows: Rows) -> None:
        """Give the slots from `size` on the keys of `rows`."""

    @abstractmethod
    def take(self, slots: Slots) -> pa.Array:
        """The keys of `slots`."""

    @abstractmethod
    def keep(self, slots: Slots) -> None:
        """Slot `slots[i]` becomes slot i; all others are gone."""

    def whole(self, size: int) -> pa.Array | pa.ChunkedArray:
        """The keys of all slots below `size`, for `adopt`; as one array where there can be one. Does not change."""
        memory = current()
        batches = [
            memory.batch(pa.RecordBatch.from_arrays([self.take(piece)], names=["0"])) for piece in pieces(range(size))
        ]
        return pa.Table.from_batches(batches).column(0)

    def extra(self, size: int) -> pa.Table | None:
        """What `adopt` would else make of them, where that takes long. Does not change."""
        return None

    def adopt(self, keys: pa.ChunkedArray, extra: pa.Table | None) -> None:
        """Become the column of these keys; only what is empty can."""
        size = 0
        for chunk in keys.chunks:
            for start in range(0, len(chunk), LARGE_PIECE):
                piece = chunk.slice(start, LARGE_PIECE)
                self.load(piece)
                self.append(size, np.arange(len(piece)))
                size += len(piece)

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""


class Lookup:
    """The batch that is being looked up, loaded into `columns`, with what different tables want to know of it."""

    def __init__(self, columns: Sequence[KeyColumn], batch: pa.RecordBatch, hashes: Hashes | None = None) -> None:
        self.rows = int(batch.num_rows)
        self._columns = columns
        self._batch = batch
        self._hashes = hashes
        for column, array in zip(columns, batch.columns, strict=True):
            column.load(array)
        self.integers = all_or_none([column.batch_integers() for column in columns])

    @cached_property
    def hashes(self) -> Hashes:
        """The hash of each row."""
        if self._hashes is None:
            return hash_columns(self._batch.columns, [column.padded for column in self._columns])
        return self._hashes


def hashes_of(columns: Sequence[KeyColumn], slots: Slots) -> Hashes:
    """The hashes of the keys of `slots`."""
    return hash_columns([column.take(slots) for column in columns])


def all_or_none(columns: Sequence[npt.NDArray[np.signedinteger[Any]] | None]) -> Integers | None:
    """`columns`, if none of them is None."""
    known = [column for column in columns if column is not None]
    return known if len(known) == len(columns) else None


def key_column(kind: pa.DataType, *, compared: bool = True) -> KeyColumn:
    """An empty column for keys of type `kind`; without `compared` it keeps only what `take` needs."""
    if pa.types.is_boolean(kind):
        return FixedColumn(kind, np.dtype(np.int8), words=1)
    if pa.types.is_primitive(kind) or pa.types.is_decimal(kind):
        width = kind.bit_width // 8
        if width in _INTEGERS:
            return FixedColumn(kind, np.dtype(_INTEGERS[width]), words=1)
        return FixedColumn(kind, np.dtype(np.int64), words=width // 8)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return TextColumn(kind, compared=compared)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return TextColumn(kind, compared=compared)
    return NestedColumn(kind, compared=compared)


class FixedColumn(KeyColumn):
    """Keys of fixed width, as one or more integer words; NULL is zero words and a mark beside them."""

    exact = True
    hashed_again = True

    def __init__(self, kind: pa.DataType, dtype: np.dtype[Any], *, words: int) -> None:
        self._kind = kind
        self._dtype = dtype
        self._words = [SlotArray(dtype, appended=True) for _ in range(words)]
        self._nulls: SlotArray | None = None  # until the first NULL comes
        self._batch: list[npt.NDArray[Any]] = []
        self._batch_nulls: Mask | None = None

    def load(self, array: pa.Array) -> None:
        self._batch = fixed_words(array, self._dtype, len(self._words))
        self._batch_nulls = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None

    def equal(self, slots: Slots, rows: Rows | None) -> Mask:
        same: Mask | None = None
        for stored, column in zip(self._words, self._batch, strict=True):
            match = stored.values[slots] == (column if rows is None else column[rows])
            same = match if same is None else same & match
        assert same is not None
        if self._nulls is not None:
            nulls = self._batch_nulls if self._batch_nulls is not None else np.zeros(len(self._batch[0]), np.bool_)
            same &= self._nulls.values[slots] == (nulls if rows is None else nulls[rows])
        elif self._batch_nulls is not None:
            same &= ~(self._batch_nulls if rows is None else self._batch_nulls[rows])
        return same

    def batch_integers(self) -> npt.NDArray[np.signedinteger[Any]] | None:
        return self._batch[0] if len(self._batch) == 1 and self._batch_nulls is None else None

    def integers(self, slots: Slots) -> npt.NDArray[np.signedinteger[Any]] | None:
        return self._words[0].values[slots] if len(self._words) == 1 and self._nulls is None else None

    def append(self, size: int, rows: Rows) -> None:
        for stored, column in zip(self._words, self._batch, strict=True):
            stored.reserve(size + len(rows))
            stored[size : size + len(rows)] = column[rows]
        if self._batch_nulls is not None and self._nulls is None:
            self._nulls = SlotArray(np.bool_, start=False, appended=True)
        if self._nulls is not None:
            self._nulls.reserve(size + len(rows))
            self._nulls[size : size + len(rows)] = False if self._batch_nulls is None else self._batch_nulls[rows]

    def take(self, slots: Slots) -> pa.Array:
        nulls = None if self._nulls is None else self._nulls.values[slots]
        return words_array(self._kind, [stored.values[slots] for stored in self._words], nulls)

    def whole(self, size: int) -> pa.Array:
        nulls = None if self._nulls is None else self._nulls.values[:size]
        return words_array(self._kind, [stored.copied(size) for stored in self._words], nulls)

    def adopt(self, keys: pa.ChunkedArray, extra: pa.Table | None) -> None:
        simple = len(self._words) == 1 and not pa.types.is_boolean(self._kind)
        if simple and keys.num_chunks == 1 and not keys.null_count:
            self._words[0].load(fixed_values(keys.chunk(0), self._dtype))
        else:
            super().adopt(keys, extra)

    def keep(self, slots: Slots) -> None:
        for stored in self._words:
            stored.keep(slots)
        if self._nulls is not None:
            self._nulls.keep(slots)

    @property
    def bytes(self) -> int:
        return sum(stored.bytes for stored in self._words) + (self._nulls.bytes if self._nulls else 0)


class TextColumn(KeyColumn):
    """Keys of variable length: the first bytes as words and the length, to compare; all bytes one after the other.

    A NULL has length -1.
    """

    exact = True

    def __init__(self, kind: pa.DataType, *, compared: bool = True) -> None:
        self._kind = kind
        self._words_max = _WORDS_COMPARED if compared else 0
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        self._stored_kind = pa.large_string() if text else pa.large_binary()
        self._lengths = SlotArray(np.int64, appended=True)
        self._words: list[SlotArray] = []
        self._ends = SlotArray(np.int64, appended=True)  # ends.values[slot + 1]; the first is 0
        self._data = SlotArray(np.uint8, appended=True)
        self._size = 0
        self._view: pa.Array | None = None
        self._batch: pa.Array = pa.nulls(0, kind)
        self._batch_lengths: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._batch_words: npt.NDArray[np.uint64] = np.zeros((0, 0), np.uint64)

    def load(self, array: pa.Array) -> None:
        self._batch = array
        lengths = pc.binary_length(array)
        self._batch_lengths = (lengths.fill_null(-1) if array.null_count else lengths).to_numpy().astype(np.int64)
        words = min(-(-int(self._batch_lengths.max(initial=0)) // 8), self._words_max)
        self._batch_words = padded_words(array, words) if words else np.zeros((len(array), 0), np.uint64)

    @property
    def padded(self) -> Hashes | None:
        return self._batch_words

    def equal(self, slots: Slots, rows: Rows | None) -> Mask:
        lengths = self._batch_lengths if rows is None else self._batch_lengths[rows]
        same: Mask = self._lengths.values[slots] == lengths
        for stored, column in zip(self._words, self._batch_words.T, strict=False):
            same &= stored.values[slots] == (column if rows is None else column[rows])
        if self._batch_words.shape[1] == _WORDS_COMPARED:
            long = where(same & (slots >= 0) & (lengths > 8 * _WORDS_COMPARED))
            if len(long):
                batch = self._batch.take(pa.array(long if rows is None else rows[long]))
                stored_keys = self._stored().take(pa.array(slots[long]))
                same[long] = pc.equal(stored_keys, batch.cast(self._stored_kind)).to_numpy(zero_copy_only=False)
        return same

    def append(self, size: int, rows: Rows) -> None:
        assert size == self._size
        if not len(rows):
            return
        end = size + len(rows)
        lengths = self._batch_lengths[rows]
        self._lengths.reserve(end)
        self._lengths[size:end] = lengths
        while len(self._words) < self._batch_words.shape[1]:
            self._words.append(SlotArray(np.uint64, appended=True))
        for stored in self._words:
            stored.reserve(end)
        for stored, column in zip(self._words, self._batch_words.T, strict=False):
            stored[size:end] = column[rows]
        self._ends.reserve(end + 1)
        bytes_used = int(self._ends.values[size])
        self._ends[size + 1 : end + 1] = np.cumsum(np.maximum(lengths, 0)) + bytes_used
        bytes_added = int(self._ends.values[end]) - bytes_used
        if bytes_added:
            added = self._batch.take(pa.array(rows)).cast(self._stored_kind)
            text = np.frombuffer(added.buffers()[2], np.uint8)
            self._data.reserve(bytes_used + bytes_added)
            self._data[bytes_used : bytes_used + bytes_added] = text[:bytes_added]
        self._size = end
        self._view = None

    def _stored(self) -> pa.Array:
        """All keys as one array, over the very bytes; it stays true when keys are appended."""
        if self._view is None:
            validity = None
            present = self._lengths.values[: self._size] >= 0
            if not present.all():
                validity = pa.py_buffer(np.packbits(present, bitorder="little"))
            buffers = [validity, pa.py_buffer(self._ends.values), pa.py_buffer(self._data.values)]
            self._view = pa.Array.from_buffers(self._stored_kind, self._size, buffers)
        return self._view

    def take(self, slots: Slots) -> pa.Array:
        taken = self._stored().take(pa.array(slots))
        return taken if taken.type == self._kind else taken.cast(self._kind)

    def whole(self, size: int) -> pa.Array:
        assert size == self._size
        ends = self._ends.copied(size + 1)
        data = self._data.copied(int(ends[size]))
        buffers = [self._stored().buffers()[0], pa.py_buffer(ends), pa.py_buffer(data)]
        return pa.Array.from_buffers(self._stored_kind, size, buffers)

    def extra(self, size: int) -> pa.Table | None:
        words = [stored.copied(size) for stored in self._words]
        return pa.table({str(place): column for place, column in enumerate(words)}) if words else None

    def adopt(self, keys: pa.ChunkedArray, extra: pa.Table | None) -> None:
        known = not self._words_max or (extra is not None and extra.num_rows == len(keys))
        if keys.num_chunks != 1 or keys.type != self._stored_kind or not known:
            super().adopt(keys, extra)
            return
        (chunk,) = keys.chunks
        self._size = len(chunk)
        ends = np.frombuffer(chunk.buffers()[1], np.int64)[: self._size + 1]
        lengths = np.diff(ends)
        if chunk.null_count:
            lengths[chunk.is_null().to_numpy(zero_copy_only=False)] = -1
        self._ends.load(ends)
        self._lengths.load(lengths)
        if ends[-1]:
            self._data.load(np.frombuffer(chunk.buffers()[2], np.uint8)[: int(ends[-1])])
        for column in extra.columns if extra is not None else []:
            self._words.append(SlotArray(np.uint64, appended=True))
            self._words[-1].load(column.to_numpy())

    def keep(self, slots: Slots) -> None:
        kept = self.take(slots)
        self._lengths, self._words = SlotArray(np.int64, appended=True), []
        self._ends, self._data = (SlotArray(kind, appended=True) for kind in (np.int64, np.uint8))
        self._size, self._view = 0, None
        self.load(kept)
        self.append(0, np.arange(len(kept)))

    @property
    def bytes(self) -> int:
        return sum(array.bytes for array in (self._lengths, self._ends, self._data, *self._words))


class NestedColumn(KeyColumn):
    """Keys of any other type (lists, structs, maps): rows of a RowStore, compared by their text."""

    def __init__(self, kind: pa.DataType, *, compared: bool = True) -> None:
        self._values = RowStore(pa.schema([("0", kind)]))
        self._texts = TextColumn(pa.large_string()) if compared else None
        self._batch: pa.Array = pa.nulls(0)

    def load(self, array: pa.Array) -> None:
        self._batch = array
        if self._texts is None:
            return
        texts = [None if value is None else repr(value) for value in array.to_pylist()]
        self._texts.load(pa.array(texts, pa.large_string()))

    def equal(self, slots: Slots, rows: Rows | None) -> Mask:
        assert self._texts is not None
        return self._texts.equal(slots, rows)

    def append(self, size: int, rows: Rows) -> None:
        if self._texts is not None:
            self._texts.append(size, rows)
        self._values.append(pa.RecordBatch.from_arrays([self._batch.take(pa.array(rows))], names=["0"]))

    def take(self, slots: Slots) -> pa.Array:
        return self._values.take(slots).column(0)

    def keep(self, slots: Slots) -> None:
        self._values.keep(slots)
        if self._texts is not None:
            self._texts.keep(slots)

    @property
    def bytes(self) -> int:
        return self._values.bytes + (self._texts.bytes if self._texts else 0)
