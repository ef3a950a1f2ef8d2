"""AsofJoin: each row beside the last of the other side's versions that is not after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..deadlines import earliest
from ..delta import Delta, Weights, concat
from ..join_side import JoinInput, JoinSide
from ..key_index import worth_storing
from ..operator import NO_WATERMARK, Operator, Snapshot, Time
from ..row_lists import RowIds
from ..slot_array import Slots, where
from ..time_order import TimeOrder
from ..timed_rows import TimedRows
from ..version_expiry import VersionExpiry
from ..versions import Versions
from ..windows import Times

_AT = "+at"  # when a row is, in the left input's order of time


@dataclass(frozen=True)
class AsofRule:
    """Of versions with equal keys that one is taken which is the last with `right` <= `left`; strict: with <.

    backward: the first with `right` >= `left`, or >. With `needed` a left row's version is settled when the watermark
    is so long after its time, and its own changes too; None: never. Units: as the columns.
    """

    left: str
    right: str
    strict: bool
    backward: bool = False
    needed: int | None = None


class AsofJoin(Operator):
    """Each left row beside the version that the rule chooses of the right rows with its keys.

    Without a version it comes out beside NULLs, with `outer`, or not at all. Where versions come late or go again,
    rows that had or will have another one are corrected; with `final` they come once instead, when their version is
    settled. Of versions of one time the greatest row is taken, by its columns in their order, NULL as the least.

    With `ttls_us` a left row is forgotten so long after it came, by the clock of the epochs: it stays as it was told. A
    version is forgotten so long after a later one of its key came, and no earlier one comes any more; where both live
    for a time, all versions of a key to which nothing came for the longer one. No row that may be forgotten may be
    retracted, and no left row where versions are forgotten.

    Shape: the outputs of the left input, then those of the right one.
    State: the rows of both inputs but those with a NULL in key or time, 24 bytes more for each and for each time of a
    key. Where the watermark settles versions, only the left rows that are not, and of each key the versions from the
    last settled one on. With `ttls_us` those that are not forgotten, 24 bytes more for each, and 32 for each key.
    From: Flink's TemporalRowTimeJoinOperator, and DuckDB's ASOF JOIN, with corrections.
    """

    def __init__(
        self,
        rule: AsofRule,
        left: JoinInput,
        right: JoinInput,
        schema: pa.Schema,
        *,
        outer: bool,
        final: bool,
        ttls_us: tuple[int | None, int | None] = (None, None),
    ) -> None:
        assert rule.needed is not None or not final, "what never settles never comes"
        self.schema = schema
        self._rule = rule
        self._outer = outer
        self._final = final
        self._watermark = NO_WATERMARK
        timed = left.schema.append(pa.field(_AT, pa.int64()))
        keys = JoinInput(timed, (*left.keys, _AT), (*left.null_safe, False), left.output)
        assert rule.needed is None or not rule.backward, "what comes first after a time may always still come"
        needed = None if final or rule.needed is None else rule.needed + rule.strict
        left_us, right_us = ttls_us
        assert rule.needed is None or ttls_us == (None, None), "the watermark says how long rows are needed"
        assert right_us is None or not rule.backward, "what comes first after a time may always still come"
        self._left = JoinSide(keys, alone=outer, matched=False, counts=False, time=_AT, needed=needed, ttl_us=left_us)
        self._left_order = TimeOrder()
        self._left_gone = 0  # left rows that went since keys were numbered: so many keys may be gone
        self._right = JoinSide(
            JoinInput(right.schema, (*right.keys, rule.right), (*right.null_safe, False), right.output),
            alone=False,
            matched=False,
            counts=False,
        )
        self._versions = Versions(right.schema, right.keys)
        idle_us = None if left_us is None or right_us is None else max(left_us, right_us)
        self._expiry = None if right_us is None else VersionExpiry(self._versions, right_us, idle_us)
        self._waiting = TimedRows(timed)
        self.dated = self.shows_cuts = ttls_us != (None, None)  # it counts when rows came

    def process(self, delta: Delta, port: int = 0) -> Delta | None:
        output: list[Delta] = []
        if port == 0:
            self._left_rows(Delta(self._timed(delta.batch), delta.weights), output)
        else:
            self._right_rows(delta, output)
        return concat(output) if output else None

    def expire(self, time: Time) -> Delta | None:
        self._left.forget_idle(time.clock)
        if self._expiry is not None:
            self._expiry.expire(time.clock)
        return None

    def advance(self, time: Time) -> Delta | None:
        if self._left.idle is not None:
            self._left.idle.stamp(time.clock)
        if self._expiry is not None:
            self._expiry.stamp(time.clock)
        self._set_wake()
        if time.watermark <= self._watermark or self._rule.needed is None:
            return None
        self._watermark = time.watermark
        output: list[Delta] = []
        due = self._waiting.cut(time.watermark)
        if due is not None:
            batch = due[1].batch
            found = self._versions.at(batch, self._left.input.keys[:-1], self._left.times(batch))
            self._emit(batch, due[1].weights, found, output)
        self._left.rows.remove(self._left.expired(time.watermark))
        self._versions.forget(time.watermark - self._rule.needed - self._rule.strict)
        return concat(output) if output else None

    def snapshot(self) -> Snapshot:
        self._number_anew()
        parts = [
            ("left", self._left.snapshot()),
            ("right", self._versions.snapshot()),
            ("waiting", self._waiting.snapshot()),
        ]
        if self._expiry is not None:
            parts.append(("expiry", self._expiry.snapshot(self._keys_of_rows())))
        tables = {f"{part}/{name}": table for part, tables in parts for name, table in tables.items()}
        if worth_storing(self._left.rows.end):
            tables["left order"] = self._left_order.table()
        return {**tables, "time": pa.table({"watermark": pa.array([self._watermark], pa.int64())})}

    def restore(self, snapshot: Snapshot) -> None:
        def part(name: str) -> Snapshot:
            return {n.removeprefix(f"{name}/"): t for n, t in snapshot.items() if n.startswith(f"{name}/")}

        self._watermark = snapshot["time"]["watermark"][0].as_py()
        self._left.restore(part("left"))
        same = self._versions.restore(part("right"))
        self._waiting.restore(part("waiting"))
        order = snapshot.get("left order")
        if same and order is not None and order.num_rows == self._left.rows.end:
            self._left.rows.reserve(self._versions.slots_end)
            self._left_order.adopt(order)
        else:
            self._place_left()
        if self._expiry is not None:
            self._expiry.restore(part("expiry"), self._keys_of_rows())
        self._set_wake()

    def _set_wake(self) -> None:
        self.wake = earliest(each.wake for each in (self._left.idle, self._expiry) if each is not None)

    @property
    def oldest(self) -> int | None:
        return earliest(each.oldest for each in (self._left.idle, self._expiry) if each is not None)

    @property
    def bytes(self) -> int:
        """Memory in use. Units: bytes."""
        expiry = 0 if self._expiry is None else self._expiry.bytes
        return self._left.bytes + self._left_order.bytes + self._versions.bytes + self._waiting.bytes + expiry

    # -- the left input -------------------------------------------------------------------------------------------

    def _timed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """`batch` with the time by which its versions are found."""
        column = batch.column(self._rule.left)
        times = _integers(column)
        if self._rule.backward:
            times = ~times
        if self._rule.strict:
            times = times - (times > np.iinfo(np.int64).min)
        nulls = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        return batch.append_column(pa.field(_AT, pa.int64()), pa.array(times, mask=nulls))

    def _left_rows(self, delta: Delta, output: list[Delta]) -> None:
        if self._final:
            assert self._rule.needed is not None
            valid = delta.batch.column(_AT).is_valid().to_numpy(zero_copy_only=False)
            delta = delta if valid.all() else delta.take(where(valid))
            self._waiting.add(self._left.times(delta.batch) + (self._rule.needed + self._rule.strict), delta)
            return
        delta, lonely = self._left.split(delta)
        if lonely is not None and self._outer:
            self._emit(lonely.batch, lonely.weights, np.full(lonely.rows, -1), output)
        if not delta.rows:
            return
        if self._left.rows.wasteful:
            self._number_left()
        moved = self._left.rows.prepare(delta)
        if moved is not None:
            self._place_left()
        times = self._left.times(delta.batch)
        slots = self._versions.slots(delta.batch, self._left.input.keys[:-1])
        self._left.rows.reserve(self._versions.slots_end)
        if self._expiry is not None:
            self._expiry.touch(slots)
        self._emit(delta.batch, delta.weights, self._versions.find(slots, times), output)
        came = self._left.rows.insert(slots, delta).came
        self._left.note(came)
        self._order(came)

    def _order(self, rows: RowIds) -> None:
        if len(rows):
            times = self._left.times(self._left.rows.take(rows, [_AT]))
            self._left_order.add(self._left.rows.slots_of(rows), times, rows)

    def _place_left(self) -> None:
        """Find the slots of all left rows again, and their order."""
        rows = self._left.rows.rows()
        slots = self._versions.slots(self._left.rows.take(rows), self._left.input.keys[:-1])
        self._left.rows.place([slots])
        self._left.rows.reserve(self._versions.slots_end)
        self._left.moved(rows)
        self._left_order.clear()
        self._order(rows)

    def _number_left(self) -> None:
        """Forget left rows that are gone, and number the others from 0 on; all, once keys of theirs may be so many."""
        self._left_gone += self._left.rows.end - self._left.rows.size
        if self._left_gone > self._versions.size:
            self._number_anew()
        else:
            self._compact_left()
            self._place_left()

    def _compact_left(self) -> None:
        kept = self._left.rows.compact()
        if self._left.idle is not None:
            self._left.idle.keep(kept)

    def _number_anew(self) -> None:
        """Forget rows and keys that are gone, and number the others from 0 on."""
        self._left_gone = 0
        self._compact_left()
        left_keys = self._left.rows.slots_of(self._left.rows.rows())
        versions, version_keys = self._versions.compact()
        self._place_left()
        if self._expiry is not None:
            keys = np.zeros(self._versions.slots_end, np.int64)
            keys[self._keys_of_versions(np.arange(len(versions)))] = version_keys
            keys[self._left.rows.slots_of(self._left.rows.rows())] = left_keys
            self._expiry.moved(versions, keys)

    def _keys_of_versions(self, versions: Slots) -> Slots:
        return self._versions.places(versions)[0]

    def _keys_of_rows(self) -> Slots:
        """The slots of the keys of all versions' rows, then of all left rows."""
        left = self._left.rows
        return np.concatenate([self._keys_of_versions(self._versions.by_row()), left.slots_of(left.rows())])

    # -- the right input ------------------------------------------------------------------------------------------

    def _right_rows(self, delta: Delta, output: list[Delta]) -> None:
        delta, _ = self._right.split(delta)
        if not delta.rows:
            return
        if self._versions.wasteful:
            self._number_anew()
        times = _integers(delta.batch.column(self._rule.right))
        if self._expiry is not None:
            come = self._expiry.comes(self._versions.slots(delta.batch, self._right.input.keys[:-1]), times)
            if not come.all():
                delta, times = delta.take(where(come)), times[come]
            if not delta.rows:
                return
        change = self._versions.insert(delta, ~times if self._rule.backward else times)
        if self._expiry is not None:
            self._expiry.inserted(change)
        self._left.rows.reserve(self._versions.slots_end)
        if not len(change.slots) or not self._left.rows.size:
            return
        there = self._left.rows.present(
            np.unique(self._left_order.between(change.slots, change.starts, change.ends, change.endless))
        )
        if not len(there):
            return
        slots, times = self._left.rows.slots_of(there), self._left.times(self._left.rows.take(there, [_AT]))
        before, after = self._versions.before_and_after(change, slots, times)
        changed = where(before != after)
        there, before, after = there[changed], before[changed], after[changed]
        batch, weights = self._left.rows.take(there), self._left.rows.weights(there)
        weights = np.ones(len(there), np.int64) if weights is None else weights
        self._emit(batch, -weights, before, output)
        self._emit(batch, weights, after, output)

    def _emit(self, batch: pa.RecordBatch, weights: Weights | None, found: RowIds, output: list[Delta]) -> None:
        """Left rows beside the right rows of these ids, or NULLs where that is -1."""
        beside = where(found >= 0)
        if len(beside):
            whole = len(beside) == len(found)
            mine = batch if whole else batch.take(pa.array(beside))
            theirs = self._versions.columns(found[beside], self._right.input.output)
            columns = [*(mine.column(name) for name in self._left.input.output), *theirs]
            some = weights if whole or weights is None else weights[beside]
            output.append(Delta(pa.RecordBatch.from_arrays(columns, schema=self.schema), some))
        if self._outer and len(beside) < len(found):
            alone = where(found < 0)
            mine = batch.take(pa.array(alone))
            columns = [mine.column(name) for name in self._left.input.output]
            columns += [pa.nulls(len(alone), kind) for kind in self.schema.types[len(columns) :]]
            output.append(
                Delta(
                    pa.RecordBatch.from_arrays(columns, schema=self.schema), None if weights is None else weights[alone]
                )
            )


def _integers(column: pa.Array) -> Times:
    """Integers in the order of the values; any for NULL."""
    kind = column.type
    if not pa.types.is_integer(kind):
        column = column.view(pa.int64() if kind.bit_width == 64 else pa.int32())
    times: Times = column.cast(pa.int64()).fill_null(0).to_numpy()
    return times
