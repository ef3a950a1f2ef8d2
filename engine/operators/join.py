"""Join: pairs of rows with equal keys, and rows of either side that have or lack a partner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ..deadlines import earliest
from ..delta import Delta, Weights, concat
from ..join_side import JoinInput, JoinSide
from ..key_index import KeyIndex, worth_storing
from ..operator import NO_WATERMARK, Operator, Snapshot, Time
from ..row_lists import RowIds
from ..slot_array import Slots, distinct, pieces, where
from ..time_bound import Kind, TimeBound
from ..value_order import in_order
from .map import Map

_PAIRS_MAX = 1 << 20  # that the residual condition looks at together


class Join(Operator):
    """Per pair of a left and a right row whose keys are equal and which `residual` lets pass, a row of both.

    A left row without a partner comes out beside NULLs in a left and full join, alone in an anti join; one with a
    partner comes out alone, and once, in a semi join; a right row without a partner beside NULLs in a right and full
    join. Partners that come and go retract what was said before. With `final` nothing is ever retracted: a row without
    a partner comes out when the watermark says that none will come. Keys are equal as in KeyIndex.

    With `ttls_us` a row of a side is forgotten so long after it came, by the clock of the epochs. It finds no partner
    any more, and what came out of it stays, its pairs or itself beside NULLs; to partners that stay it has been one.
    Only a side that retracts nothing forgets; if the other comes out alone or in a semi join, neither does that.

    Shape: the outputs of the left input, then those of the right one; of the left alone for semi and anti.
    State: all rows of both inputs but those with NULL keys, as SlottedRows, and an index entry a key. With a residual
    condition, or partners that are forgotten, 8 bytes more a row of each side that comes out without a partner. With a
    time bound, 16 bytes more a row, and a row is forgotten when the watermark says that neither it nor its pairs will
    change any more. With `ttls_us` 24 bytes more a row. With an order instead of keys, 32 bytes more a row.
    From: Budiu et al., "DBSP" (VLDB 2023), section 4: d(A x B) = dA x B + (A + dA) x dB.
    """

    def __init__(
        self,
        kind: Kind,
        left: JoinInput,
        right: JoinInput,
        schema: pa.Schema,
        residual: Map | None,
        reads: pa.Schema,
        bound: TimeBound | None = None,
        *,
        final: bool = False,
        timed: bool = False,
        order: Sequence[tuple[str, str]] = (),
        ttls_us: tuple[int | None, int | None] = (None, None),
    ) -> None:
        """`residual` filters rows of the columns `reads`, which come from both sides.

        Keys and `residual` together imply `bound`; if `timed`, `residual` says no more than that. `final` needs one,
        and inputs that retract nothing. Without keys, `residual` may imply that of pairs of columns of either side the
        first is not above the second, in `order`.
        """
        assert not order or not (left.keys or bound), "keys find fewer"
        assert bound is not None or not final, "without a bound a partner may always come"
        self.schema = schema
        self._expires = ttls_us != (None, None)
        self.dated = self.shows_cuts = self._expires  # it counts when rows came
        self._pairs = kind not in ("semi", "anti")
        self._residual = residual
        self._reads = reads
        self._final = final
        self._near = bound if timed else None
        self._watermark = NO_WATERMARK
        forgotten = ttls_us[1] is not None and kind in ("left", "full", "semi", "anti")
        forgotten |= ttls_us[0] is not None and kind in ("right", "full")
        self._counts = residual is not None or forgotten  # where a key does not tell who has had a partner
        self._sides = (
            JoinSide(
                left,
                alone=kind in ("left", "full", "anti"),
                matched=kind == "semi",
                counts=self._counts,
                time=None if bound is None else bound.left,
                needed=None if bound is None else bound.left_needed,
                in_order=in_order(left.schema, order),
                ttl_us=ttls_us[0],
            ),
            JoinSide(
                right,
                alone=kind in ("right", "full"),
                matched=False,
                counts=self._counts,
                time=None if bound is None else bound.right,
                needed=None if bound is None else bound.right_needed,
                in_order=in_order(right.schema, order),
                ttl_us=ttls_us[1],
            ),
        )
        kinds = [left.schema.field(name).type for name in left.keys]
        assert kinds == [right.schema.field(name).type for name in right.keys], "keys compare in one type"
        assert residual is not None or bound is None or bound.low == bound.high, "keys say no more than that"
        self._band = None if bound is None or residual is None else bound.band
        if self._band is not None:
            kinds.append(pa.int64())  # a bucket of time
        self._index = KeyIndex(pa.schema([(str(place), kind) for place, kind in enumerate(kinds)]))

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        own, other = self._sides[port], self._sides[1 - port]
        output: list[Delta] = []
        delta, lonely = own.split(_plain(delta))
        grows = own.idle is not None or (other.idle is not None and (own.alone or own.matched))
        assert not grows or delta.weights is None, "what is forgotten, or had a partner that is, cannot be retracted"
        if lonely is not None and own.alone:
            if self._final:
                own.wait(lonely)
            else:
                output.append(self._beside_nulls(port, lonely.batch, lonely.rows, lonely.weights))
        if delta.rows:
            self._renumber(own, delta)
            slots = self._slots(own, delta.batch)
            if not self._counts:
                self._by_key(port, delta, slots, output)
            else:
                self._by_row(port, delta, slots, output)
        return concat(output) if output else None

    def expire(self, time: Time) -> Delta | None:
        for side in self._sides:
            side.forget_idle(time.clock)
        return None

    def advance(self, time: Time) -> Delta | None:
        for side in self._sides if self._expires else ():
            if side.idle is not None:
                side.idle.stamp(time.clock)
            self._set_wake()
        if time.watermark <= self._watermark:
            return None
        self._watermark = time.watermark
        output: list[Delta] = []
        expired = [side.expired(time.watermark) for side in self._sides]
        for port, rows in enumerate(expired):
            if self._final and self._sides[port].alone:
                self._emit_expired(port, rows, output)
        for side, rows in zip(self._sides, expired, strict=True):
            side.rows.remove(rows)
        return concat(output) if output else None

    def _by_key(self, port: int, delta: Delta, slots: Slots, output: list[Delta]) -> None:
        """Without a residual condition a row has a partner if its key has one."""
        own, other = self._sides[port], self._sides[1 - port]
        if self._pairs and other.rows.size:
            queries, rows = other.rows.find(slots)
            self._emit_pairs(port, delta, queries, rows, output)
        if own.alone or own.matched:
            lone = other.rows.counts(slots) == 0
            self._emit_own(port, delta, where(lone if own.alone else ~lone), output)
        if not (other.alone or other.matched):
            own.note(own.rows.insert(slots, delta).came)
            return
        touched = distinct(slots, self._slots_end)
        before = own.rows.counts(touched) > 0
        own.note(own.rows.insert(slots, delta).came)
        after = own.rows.counts(touched) > 0
        self._turn(1 - port, other.rows.find(touched[where(~before & after)])[1], True, output)
        self._turn(1 - port, other.rows.find(touched[where(before & ~after)])[1], False, output)

    def _by_row(self, port: int, delta: Delta, slots: Slots, output: list[Delta]) -> None:
        """With a residual condition, and where they are forgotten, each row's partners are counted."""
        own, other = self._sides[port], self._sides[1 - port]
        found = np.zeros(delta.rows, np.int64)
        for queries, rows in self._passing(port, delta.batch, slots):
            if self._pairs:
                self._emit_pairs(port, delta, queries, rows, output)
            if own.matches is not None:
                weights = other.rows.weights(rows)
                np.add.at(found, queries, 1 if weights is None else weights)
            if other.matches is not None:
                ids = distinct(rows, other.rows.end)
                before = other.matches.values[ids] > 0
                other.matches.add(rows, 1 if delta.weights is None else delta.weights[queries])
                after = other.matches.values[ids] > 0
                self._turn(1 - port, ids[where(~before & after)], True, output)
                self._turn(1 - port, ids[where(before & ~after)], False, output)
        if own.alone or own.matched:
            self._emit_own(port, delta, where(found == 0 if own.alone else found > 0), output)
        inserted = own.rows.insert(slots, delta)
        own.note(inserted.came)
        if own.matches is not None:
            own.matches.reserve(own.rows.end)
            own.matches[inserted.rows] = found

    def _passing(self, port: int, batch: pa.RecordBatch, slots: Slots) -> Iterator[tuple[RowIds, RowIds]]:
        """Pairs of a place in `batch` and a row of the other side that the residual condition lets pass, in pieces."""
        other = self._sides[1 - port]
        places = None
        if self._band is not None:
            places, slots = self._probes(port, batch)
        ordered = other.in_order
        bounds = None if ordered is None else ordered.bounds(batch)
        if ordered is None or bounds is None:
            ends = np.cumsum(other.rows.counts(slots))
        else:
            ends = np.cumsum(ordered.order.counts(*bounds))
        start = 0
        while start < len(slots) and other.rows.size:
            seen = int(ends[start - 1]) if start else 0
            end = max(start + 1, int(np.searchsorted(ends, seen + _PAIRS_MAX, side="right")))
            if ordered is None or bounds is None:
                queries, rows = other.rows.find(slots[start:end])
            else:
                queries, rows = ordered.order.find(*(bound[start:end] for bound in bounds))
                there = other.rows.there(rows)
                queries, rows = queries[there], rows[there]
            queries += start
            start = end
            if not len(rows):
                continue
            if places is not None:
                queries = places[queries]
            if self._near is not None:
                times = self._sides[port].times(batch)[queries], other.times_of(rows)
                near = where(self._near.holds(*(times if port == 0 else times[::-1])))
                yield queries[near], rows[near]
                continue
            if self._residual is None:
                yield queries, rows
                continue
            mine = [name for name in self._reads.names if name in batch.schema.names]
            theirs = [name for name in self._reads.names if name not in mine]
            columns = dict(zip(mine, _taken(batch, queries, mine), strict=True))
            columns |= dict(zip(theirs, other.rows.columns(rows, theirs), strict=True))
            pairs = pa.RecordBatch.from_arrays([columns[name] for name in self._reads.names], schema=self._reads)
            passed = self._residual.process(Delta(pairs, np.arange(len(rows))))
            if passed is not None:
                assert passed.weights is not None
                yield queries[passed.weights], rows[passed.weights]

    # -- what comes out -------------------------------------------------------------------------------------------

    def _emit_pairs(self, port: int, delta: Delta, queries: RowIds, rows: RowIds, output: list[Delta]) -> None:
        own, other = self._sides[port], self._sides[1 - port]
        if not len(rows):
            return
        mine = _taken(delta.batch, queries, own.input.output)
        theirs = other.rows.columns(rows, other.input.output)
        columns = mine + theirs if port == 0 else theirs + mine
        weights = other.rows.weights(rows)
        if delta.weights is not None:
            weights = delta.weights[queries] if weights is None else delta.weights[queries] * weights
        output.append(Delta(pa.RecordBatch.from_arrays(columns, schema=self.schema), weights))

    def _emit_own(self, port: int, delta: Delta, places: RowIds, output: list[Delta]) -> None:
        """The rows at `places` of a delta, without a partner."""
        if len(places) and not (self._final and self._sides[port].alone):
            part = delta if len(places) == delta.rows else delta.take(places)
            output.append(self._beside_nulls(port, part.batch, part.rows, part.weights))

    def _emit_expired(self, port: int, rows: RowIds, output: list[Delta]) -> None:
        """Of the rows of a side whose partners would all be here by now, those that have none."""
        side, other = self._sides[port], self._sides[1 - port]
        found = other.rows.counts(side.rows.slots_of(rows)) if side.matches is None else side.matches.values[rows]
        rows = rows[where(found == 0)]
        if len(rows):
            batch = side.rows.take(rows, side.input.output)
            output.append(self._beside_nulls(port, batch, len(rows), side.rows.weights(rows)))
        waited = side.waited(self._watermark)
        if waited is not None:
            output.append(self._beside_nulls(port, waited.batch, waited.rows, waited.weights))

    def _turn(self, port: int, rows: RowIds, partnered: bool, output: list[Delta]) -> None:
        """Rows of a side that got their first partner, or lost their last."""
        side = self._sides[port]
        if not len(rows) or (self._final and side.alone):
            return
        weights = side.rows.weights(rows)
        weights = np.ones(len(rows), np.int64) if weights is None else weights
        batch = side.rows.take(rows, side.input.output)
        weights = weights if partnered == side.matched else -weights
        output.append(self._beside_nulls(port, batch, len(rows), weights))

    def _beside_nulls(self, port: int, batch: pa.RecordBatch, rows: int, weights: Weights | None) -> Delta:
        """These `rows` rows of a side, of whose columns perhaps none come out, without a partner."""
        mine = [batch.column(name) for name in self._sides[port].input.output]
        if self._pairs:
            kinds = self.schema.types
            kinds = kinds[len(mine) :] if port == 0 else kinds[: len(kinds) - len(mine)]
            nulls = [pa.nulls(rows, kind) for kind in kinds]
            mine = mine + nulls if port == 0 else nulls + mine
        return Delta(pa.RecordBatch.from_arrays(mine, schema=self.schema), weights)

    # -- state ----------------------------------------------------------------------------------------------------

    @property
    def _slots_end(self) -> int:
        return self._index.slots if len(self._index.schema) else 1

    def _slots(self, side: JoinSide, batch: pa.RecordBatch) -> Slots:
        """The slot of each row's key; without keys there is one."""
        if len(self._index.schema):
            keys = [batch.column(name) for name in side.input.keys]
            if self._band is not None:
                keys.append(pa.array(self._band.buckets(side.times(batch), self._sides.index(side))))
            slots, _ = self._index.lookup_or_insert(pa.RecordBatch.from_arrays(keys, schema=self._index.schema))
        else:
            slots = np.zeros(batch.num_rows, np.int64)
        for each in self._sides:
            each.rows.reserve(self._slots_end)
        return slots

    def _probes(self, port: int, batch: pa.RecordBatch) -> tuple[RowIds, Slots]:
        """The rows of `batch`, once per bucket in which partners may be, and the slots of these."""
        side = self._sides[port]
        assert self._band is not None
        places, buckets = self._band.opposite(side.times(batch), port)
        taken = pa.array(places)
        keys = [*(batch.column(name).take(taken) for name in side.input.keys), pa.array(buckets)]
        slots = self._index.lookup(pa.RecordBatch.from_arrays(keys, schema=self._index.schema))
        there = where(slots >= 0)
        return places[there], slots[there]

    def _renumber(self, own: JoinSide, delta: Delta) -> None:
        """Make ready for `delta`."""
        if any(side.rows.wasteful for side in self._sides):
            self._compact()
        own.moved(own.rows.prepare(delta))

    def _compact(self) -> None:
        """Forget keys and rows that are gone, and renumber the others."""
        numbers = None
        if len(self._index.schema):
            end = self._slots_end
            for slots in pieces(range(end)):
                left, right = (side.rows.counts(slots) for side in self._sides)
                self._index.delete(slots[where((left == 0) & (right == 0))])
            kept = self._index.compact()
            numbers = np.full(end, -1, np.int64)
            numbers[kept] = np.arange(len(kept))
        for side in self._sides:
            side.moved(side.rows.compact(numbers))

    def snapshot(self) -> Snapshot:
        if any(side.rows.size < side.rows.end for side in self._sides):
            self._compact()
        tables = {
            f"{port}/{name}": table for port, side in enumerate(self._sides) for name, table in side.snapshot().items()
        }
        many = any(worth_storing(side.rows.end) for side in self._sides)
        if many and len(self._index.schema) and self._index.size == self._index.slots:
            tables |= self._index.snapshot("index")
        return {**tables, "time": pa.table({"watermark": pa.array([self._watermark], pa.int64())})}

    def restore(self, snapshot: Snapshot) -> None:
        self._watermark = snapshot["time"]["watermark"][0].as_py()
        if "index" in snapshot:
            self._index.restore(snapshot, "index")
        for port, side in enumerate(self._sides):
            side.restore({n.removeprefix(f"{port}/"): t for n, t in snapshot.items() if n.startswith(f"{port}/")})
            if "index" not in snapshot and len(self._index.schema):
                batches = (side.rows.take(rows) for rows in pieces(range(side.rows.end)))
                side.rows.place([self._slots(side, batch) for batch in batches])
        for side in self._sides:
            side.rows.reserve(self._slots_end)
        self._set_wake()

    def _set_wake(self) -> None:
        self.wake = earliest(side.idle.wake for side in self._sides if side.idle is not None)

    @property
    def oldest(self) -> int | None:
        return earliest(side.oldest for side in self._sides)

    @property
    def kept(self) -> int | None:
        return sum(side.rows.size for side in self._sides)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        return self._index.bytes + sum(side.bytes for side in self._sides)


def _plain(delta: Delta) -> Delta:
    """The same rows, and without weights if none is retracted."""
    if delta.weights is None or (delta.weights < 0).any():
        return Delta(delta.batch, delta.weights)
    if (delta.weights == 1).all():
        return Delta(delta.batch)
    return Delta(delta.batch.take(pa.array(np.repeat(np.arange(delta.rows), delta.weights))))


def _taken(batch: pa.RecordBatch, places: RowIds, names: Sequence[str]) -> list[pa.Array]:
    """Columns of the rows at `places`."""
    if len(places) == batch.num_rows and (places == np.arange(len(places))).all():
        return [batch.column(name) for name in names]
    indices = pa.array(places)
    return [batch.column(name).take(indices) for name in names]
