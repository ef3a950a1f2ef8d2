"""Which rows of a log are the last of their key: found in passes over the keys, of which only so many are held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .errors import CorruptionError
from .hashing import hash_columns
from .limits import COMPACTION_KEYS_BYTES, COMPACTION_TURNS_MAX, ROWS_PER_FRAME
from .readable import ReadableTopic
from .rewriting import Breathe, Rewritten, read_frames
from .schema import OFFSET_COLUMN, SegmentSchema, project
from .segment import Segment

WEIGHT_COLUMN = "_weight"
Bits = npt.NDArray[np.bool_]
Packed = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Places = npt.NDArray[np.int64]  # of rows, counted over all segments from 0 on, doubled, and 1 more for a tombstone
_FOLD_ROWS = 4 * ROWS_PER_FRAME
_FIRST, _LAST = "first", "last"


@dataclass
class Standing:
    """What a pass found out about the rows of one sealed segment, in their order.

    State: three bits per row.
    """

    segment: Segment
    start: int  # how many rows the segments before have
    rows: int = 0
    appended: list[tuple[int, int]] = field(default_factory=list)  # where each piece ends, and its append time
    _last: Packed | None = None
    _deleted: Packed | None = None
    _alone: Packed | None = None

    def last(self) -> Bits:
        """The rows that are the last of their key, tombstones among them."""
        return self._unpacked(self._last)

    def tombstones(self) -> tuple[Integers, Bits]:
        """Which rows are tombstones and the last of their key; and of these, which are its only row, too.

        For such a one nothing is left to delete.
        """
        places = np.flatnonzero(self._unpacked(self._deleted))
        return places, self._unpacked(self._alone)[places]

    def append_times(self, rows: Integers) -> Integers:
        """When these rows were appended, or a little later where frames have become one."""
        pieces = np.array(self.appended, np.int64).reshape(-1, 2)
        times: Integers = pieces[np.searchsorted(pieces[:, 0], rows, side="right"), 1]
        return times

    def mark(self, firsts: Places, lasts: Places) -> None:
        """Takes in the places of some keys' first and last rows, sorted by the last."""
        low, high = np.searchsorted(lasts, (2 * self.start, 2 * (self.start + self.rows)))
        firsts, lasts = firsts[low:high], lasts[low:high]
        deleted = (lasts & 1).astype(np.bool_)
        self._last = self._with(self._last, lasts)
        self._deleted = self._with(self._deleted, lasts[deleted])
        self._alone = self._with(self._alone, lasts[deleted & (firsts == lasts)])

    def _with(self, packed: Packed | None, places: Places) -> Packed:
        bits = np.zeros(self.rows, np.bool_)
        bits[(places >> 1) - self.start] = True
        return np.packbits(bits) if packed is None else packed | np.packbits(bits)

    def _unpacked(self, packed: Packed | None) -> Bits:
        assert packed is not None, "nothing was found out yet"
        return np.unpackbits(packed, count=self.rows).view(np.bool_)


def find_last_rows(
    topic: ReadableTopic,
    segments: Sequence[Segment],
    active: Segment,
    *,
    start: int,
    end: int,
    damaged: dict[Segment, CorruptionError],
    breathe: Breathe,
) -> list[Standing]:
    """For each of the sealed `segments` that is not damaged, which of its rows at `start` or after it are the last.

    The rows of `active` before offset `end` count too. Segments that turn out to be damaged are added to `damaged`,
    and nothing that is in them counts.
    State: COMPACTION_KEYS_BYTES of keys; of more, the log is read in several turns, each for a share of the hashes.
    """
    layout = _Layout.of(topic)
    while True:
        standings: list[Standing] = []
        try:
            shares = [(0, 1)]
            while shares:
                keys = _Keys(*shares.pop())
                fresh = not standings
                rows = 0
                for number, segment in enumerate(one for one in segments if one not in damaged):
                    if fresh:
                        standings.append(Standing(segment, rows))
                    rows = _add_sealed(keys, standings[number], layout, start, breathe, fresh=fresh)
                _add_active(keys, active, layout, place=2 * rows, start=start, end=end, breathe=breathe)
                firsts, lasts = keys.places()
                for standing in standings:
                    standing.mark(firsts, lasts)
                    breathe()
                shares += keys.left_out
            return standings
        except _DamagedError as error:
            damaged[error.segment] = error.reason


@dataclass(frozen=True)
class _Layout:
    """How keys and tombstones look in each version of the schema."""

    version: SegmentSchema
    key: tuple[str, ...]
    headers: int | None  # the field that is no value

    @classmethod
    def of(cls, topic: ReadableTopic) -> _Layout:
        while True:
            version, key, headers = topic.version, topic.key, topic.options.headers
            if {*key, *([headers] if headers is not None else [])} <= set(version.schema.names):
                number = None if headers is None else version.fields[version.schema.get_field_index(headers)]
                return cls(version, key, number)  # else a column is being renamed at this moment

    def keys(self, batch: pa.RecordBatch, written: SegmentSchema) -> list[pa.Array]:
        """The key of each row, in arrays that are equal where keys are."""
        return [_comparable(array) for array in project(batch, written, self.version, self.key).columns]

    def tombstones(self, batch: pa.RecordBatch, written: SegmentSchema) -> Bits | None:
        """The rows that delete their key, as they were written; None if there are none."""
        known = {self.version.fields[self.version.schema.get_field_index(name)] for name in self.key}
        values = [
            array
            for number, array in zip(written.fields, batch.columns, strict=True)
            if number not in known and number != self.headers
        ]
        deleted = None
        if values and all(array.null_count for array in values):
            deleted = values[0].is_null()
            for array in values[1:]:
                deleted = pc.and_(deleted, array.is_null())
        if WEIGHT_COLUMN in written.schema.names:
            retracted = pc.fill_null(pc.less(batch.column(written.schema.get_field_index(WEIGHT_COLUMN)), 0), False)
            deleted = retracted if deleted is None else pc.or_(deleted, retracted)
        return None if deleted is None else deleted.to_numpy(zero_copy_only=False)


class _Keys:
    """The places of the first and the last row of each key whose hash falls into a share: `remainder` of `modulus`.

    State: the keys, and as many rows that are not taken in yet. When the keys become too many the share is halved, and
    the other half is for another turn, in `left_out`.
    """

    def __init__(self, remainder: int, modulus: int) -> None:
        self.left_out: list[tuple[int, int]] = []
        self._remainder, self._modulus = remainder, modulus
        self._known: pa.Table | None = None
        self._pending: list[pa.Table] = []
        self._rows = self._bytes = 0

    def add(self, keys: Sequence[pa.Array], places: pa.Array) -> None:
        """Rows with these keys, all after those added so far."""
        names = [str(number) for number in range(len(keys))]
        rows = pa.table([*keys, places, places], names=[*names, _FIRST, _LAST])
        if self._modulus > 1:
            rows = rows.filter(self._ours(keys))
        self._pending.append(rows)
        self._rows, self._bytes = self._rows + rows.num_rows, self._bytes + rows.nbytes
        known = 0 if self._known is None else self._known.num_rows
        if self._rows >= max(_FOLD_ROWS, known) or self._bytes > COMPACTION_KEYS_BYTES:
            self._fold()

    def places(self) -> tuple[Places, Places]:
        """The first and the last place of each key, sorted by the last."""
        self._fold()
        if self._known is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        firsts, lasts = self._known.column(_FIRST).to_numpy(), self._known.column(_LAST).to_numpy()
        order = np.argsort(lasts)
        return firsts[order], lasts[order]

    def _fold(self) -> None:
        if not self._rows:
            return
        rows = pa.concat_tables([*([] if self._known is None else [self._known]), *self._pending])
        names = rows.schema.names[:-2]
        grouped = rows.group_by(names, use_threads=False).aggregate([(_FIRST, "min"), (_LAST, "max")])
        self._known = grouped.select([*names, f"{_FIRST}_min", f"{_LAST}_max"]).rename_columns([*names, _FIRST, _LAST])
        self._pending, self._rows, self._bytes = [], 0, 0
        while self._known.nbytes > COMPACTION_KEYS_BYTES and self._modulus < COMPACTION_TURNS_MAX:
            self.left_out.append((self._remainder + self._modulus, 2 * self._modulus))
            self._modulus *= 2
            known = self._known.combine_chunks()
            self._known = known.filter(self._ours([known.column(name).combine_chunks() for name in names]))

    def _ours(self, keys: Sequence[pa.Array]) -> pa.Array:
        """Whether each key is in the share. By the upper bits: the lower ones chose the partition."""
        return pa.array((hash_columns(keys) >> np.uint64(40)) & np.uint64(self._modulus - 1) == self._remainder)


class _DamagedError(Exception):
    def __init__(self, segment: Segment, reason: CorruptionError) -> None:
        super().__init__(reason)
        self.segment, self.reason = segment, reason


def _add_sealed(keys: _Keys, standing: Standing, layout: _Layout, start: int, breathe: Breathe, *, fresh: bool) -> int:
    """The keys of a sealed segment's rows are taken in; how many rows there are up to its end."""
    segment, place = standing.segment, standing.start
    for piece in _pieces(segment, breathe):
        batch = piece.batch.remove_column(0)
        places = 2 * np.arange(place, place + batch.num_rows)
        deleted = layout.tombstones(batch, segment.schema)
        if deleted is not None:
            places += deleted
        if segment.base_offset < start:
            there = pc.greater_equal(piece.batch.column(OFFSET_COLUMN), start)
            batch, places = batch.filter(there), places[there.to_numpy(zero_copy_only=False)]
        keys.add(layout.keys(batch, segment.schema), pa.array(places))
        place += piece.batch.num_rows
        if fresh:
            standing.rows = place - standing.start
            standing.appended.append((standing.rows, piece.times.append))
    return place


def _add_active(
    keys: _Keys, active: Segment, layout: _Layout, *, place: int, start: int, end: int, breathe: Breathe
) -> None:
    """The keys of the rows that are readable in the active segment; all at one place, behind all sealed rows."""
    low, high = max(active.base_offset, start), min(active.end_offset, end)
    for begin in range(low, high, ROWS_PER_FRAME):
        for batch, _ in active.read(begin, min(begin + ROWS_PER_FRAME, high)):
            keys.add(layout.keys(batch, active.schema), pa.array(np.full(batch.num_rows, place)))
        breathe()


def _pieces(segment: Segment, breathe: Breathe) -> Iterator[Rewritten]:
    try:
        yield from read_frames(segment, breathe, sparse=True)
    except CorruptionError as error:
        raise _DamagedError(segment, error) from error


def _comparable(array: Any) -> pa.Array:
    """Arrow groups by bits; so one zero of the two, and one NaN of the many."""
    if isinstance(array.type, pa.BaseExtensionType):
        return _comparable(array.storage)
    if not pa.types.is_floating(array.type):
        return array
    values = array.cast(pa.float64()).to_numpy(zero_copy_only=False) + 0.0
    return pa.array(np.where(np.isnan(values), np.nan, values), mask=array.is_null().to_numpy(zero_copy_only=False))
