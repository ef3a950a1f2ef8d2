"""The epoch loop: one thread that advances every view over what the log has gained, and wakes who waits for it."""

from __future__ import annotations

import threading
import time as machine
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

import pyarrow as pa

from ..storage import limits
from ..storage.errors import InterfaceError, OperationalError
from ..storage.memory import Memory, use
from .backfill import Backfill, BackfillProgress, stretch
from .checkpoint import Capture, Moment, Recorder
from .dataflow import Dataflow, Result
from .group import Group
from .looking import digests, news, reading, state
from .metrics import ViewState
from .options import Options
from .output import Output
from .reading import Reading
from .replacing import Replacements
from .retracing import Retracing
from .slot_array import Mask
from .subscription import Subscription
from .turn import Turns
from .view import Stream, UnreadError, View
from .waiting import Wish, awaited
from .watermark import Advance


class Engine:
    """All continuous queries of one database. Methods may be called from any thread.

    Views created while it runs are first brought through history in a group of their own, a stretch at a time between
    the epochs of the others, whom they then join. After a restart all of them go through history together.
    """

    def __init__(
        self,
        options: Options,
        after_epoch: Callable[[], None],
        written: Mapping[str, list[int]],
        memory: Memory,
        retracing: Retracing,
    ) -> None:
        self.memory = memory
        self._options, self._after_epoch = options, after_epoch
        self._written = written  # end offsets of what `after_epoch` writes, by stream
        self._main = Group(options)
        self._backfills: list[Backfill] = []  # whose turn it is first
        self._others, self._took_s, self._others_at = False, 0.0, 0.0  # the last turn was theirs; its seconds; when
        self._views: dict[str, View] = {}
        self._turns = Turns(self.memory)
        self._lock, self._closed = self._turns.lock, False
        self._progress, self._wake = threading.Condition(self._lock), threading.Event()
        self.replacements = Replacements(
            self._views, self._main, self._backfills, lambda: Group(options), self._turns, self._wake, self._progress,
            self._check, self._between
        )  # fmt: skip
        self._failure: BaseException | None = None
        self._unread: UnreadError | None = None  # why there is no progress at the moment
        self._unlisten: dict[str, Callable[[], None]] = {}  # by stream
        self._thread: threading.Thread | None = None
        self.epoch, self.rows, self._clock = 0, 0, 0  # the clock is that of the last epoch
        self.recorder, self._retracing, self._epochs = Recorder(), retracing, retracing.epochs
        self._found = retracing.found  # on disk, until it is started
        if self._found is not None:
            self.epoch, self._clock = self._found.moment.epoch, self._found.moment.clock

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to run epochs; what is added before goes through history together, or on from a checkpoint."""
        if self._found is not None:
            self.recorder.took_over(self._found)
            self._found = None
        self._thread = threading.Thread(target=self._run, name="headrace-engine", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the running epoch; subscriptions end."""
        with self._turns:
            if self._closed:
                return
            self._closed = True
            for subscription in [each for view in self._views.values() for each in view.subscriptions]:
                subscription.end()
            self._progress.notify_all()
        self._wake.set()
        for unlisten in self._unlisten.values():
            unlisten()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._epochs.close()

    # -- what it runs ---------------------------------------------------------------------------------------------

    def add_stream(self, stream: Stream) -> None:
        """Follow a stream's log; what it holds already is history."""
        with self._turns:
            ends = [partition.end_offset for partition in stream.topic.partitions]
            read = None if self._found is None else self._found.stream(stream, self.now())
            self._main.add_stream(stream, replay_ends=ends, read=read)
            self._unlisten[stream.name] = stream.topic.listen(self._wake.set)
        self._wake.set()

    def drop_stream(self, name: str) -> None:
        """Forget a stream that no view reads."""
        with self._turns:
            for view in (view for one in self._backfills for view in one.views if name in view.dataflow.streams):
                view.fail(OperationalError(f'"{name}" was dropped'))
            self._main.drop_stream(name)
            self._unlisten.pop(name)()

    def add_view(
        self, name: str, dataflow: Dataflow, schema: pa.Schema, output: Output | None = None, key: str | None = None
    ) -> None:
        """Keep the result of `dataflow` up to date under `name`, from the start of its streams on.

        With an `output` its changes are written there, and no rows are kept; such a one reads no other view.
        With a `key` it is in checkpoints, and goes on from one that was found before the engine is started.
        Raises: RestoreError if it cannot, and then it has to be added without a key.
        """
        with self._turns:
            inputs = tuple(self._views[source] for source in sorted(dataflow.views))
            assert output is None or not inputs, "what was written must follow from logs"
            view = View(name, dataflow, Result(dataflow, schema, keeps=output is None), inputs, output=output, key=key)
            found = self._found if self._found is not None and self._found.take_over(view) else None
            if output is not None and found is not None and found.has_all(output.done):
                output.done = None
            self._views[name] = view
            for upstream in inputs:
                upstream.readers.append(view)
            view.refresh_listeners()
            there = self._thread is None and (found is not None or self._found is None)
            there = there and all(each in self._main.views for each in inputs)
            if there and self._retracing.takes(view, found=found is not None):
                if found is None:
                    self._main.share(view)
                    self._epochs.join([view])
                self._main.views.append(view)
                for upstream in inputs:
                    upstream.refresh_listeners()
            else:
                group = Group(self._options)
                history = self._main.replay_ends if self._thread is None else self._main.positions
                group.views.append(view)
                for stream in sorted(dataflow.streams):
                    read = None if found is None else found.streams[stream]
                    group.add_stream(self._main.streams[stream], replay_ends=list(history[stream]), read=read)
                self._backfills.append(Backfill([view], group))
        self._wake.set()

    def capture(self) -> Capture | None:
        """What a checkpoint of the present epoch says; None while it would not have what the last one has."""
        with self._turns:
            self._check()
            building = {view.name for one in self._backfills for view in one.views if view.error is None}
            if self._retracing.left or building & self.recorder.resumed:
                return None
            return self.recorder.capture(self._main, Moment(self.epoch, self._clock))

    def drop_view(self, name: str, reason: str = "was dropped") -> None:
        """Forget a view; live queries that read it end, and nothing else may."""
        with self._turns:
            view = self._views.pop(name)
            view.end(reason)
            for upstream in view.inputs:
                upstream.readers.remove(view)
                upstream.refresh_listeners()
            if view in self._main.views:
                self._main.views.remove(view)
            view.dataflow.release()
            for backfill in [b for b in self._backfills if view in (*b.views, *b.replaced.values())]:
                self.replacements.abandon(backfill)

    def rename_view(self, name: str, new: str) -> None:
        """Call a view otherwise; live queries that read it end."""
        with self._turns:
            self._views[new] = self._views.pop(name).renamed(new)

    def advance_watermark(self, name: str, advance: Advance) -> None:
        """Event time of a stream has come as far as `advance` says; whoever waits from now on sees what that closes."""
        with self._turns:
            for group in (self._main, *(backfill.group for backfill in self._backfills)):
                group.say(name, advance)
        self._wake.set()

    def still(self) -> AbstractContextManager[None]:
        """Within the block no epoch runs."""
        return self._turns

    def end_readers(self, stream: str, columns: Collection[str], reason: Exception) -> None:
        """Stop the views that read any of these columns of a stream, which are not what they were."""
        with self._turns:
            for view in self._views.values():
                if not view.dataflow.columns_of(stream).isdisjoint(columns):
                    view.fail(reason)

    # -- what others see of it ------------------------------------------------------------------------------------

    def wait(
        self, ends: Mapping[str, list[int]], names: Iterable[str] | None = None, timeout_s: float | None = None
    ) -> bool:
        """Return True once every position has reached `ends` and what is named (None: all) is through history.

        Names are those of views, and of streams whose rows are read.
        What the time of this call changes in a view has then changed.
        """
        wanted, clock = None if names is None else set(names), self.now()
        wish = Wish(ends, clock, self._main, self._outputs, self._written)

        def done() -> bool:
            self._check()
            pending = awaited(self._backfills, self._views, wanted)
            if problem := next((one.problem for one in pending if one.problem is not None), None):
                raise problem
            reached = not pending and not self._retracing.left and wish.reached()
            if self._unread is not None and not reached:
                raise self._unread.reason
            return reached

        with self._turns, self._turns.listening():
            if self._main.due(clock):
                self._wake.set()
            return bool(self._progress.wait_for(done, timeout_s))

    def read(self, views: Sequence[str], streams: Sequence[str]) -> Reading:
        """The named views and streams as of the present epoch."""
        with self._turns:
            self._check()
            return reading(self._main, [self._views[name] for name in views], streams, self.epoch, self._clock)

    def find(self, name: str, keys: pa.RecordBatch) -> tuple[Mask, pa.RecordBatch]:
        """Which of `keys` the table of that name has at the present epoch, and the rows of those, in their order."""
        with self._turns:
            self._check()
            return self._views[name].present.find(keys)

    def subscribe(self, name: str, *, snapshot: bool) -> Subscription:
        """The changes of a view from the present epoch on, first its rows as they are."""
        with self._turns:
            subscription = Subscription(self._unsubscribe)
            self._views[name].subscribe(subscription, self.epoch if snapshot else None)
            return subscription

    def watermarks(self) -> dict[str, int | None]:
        """Per stream with a WATERMARK how far event time has come, None where no row has come yet. Never waits."""
        return self._main.watermarks()

    def behind(self) -> int:
        """Rows in the log that the views have not taken yet. Never waits: it may be a moment old."""
        return self._main.behind() + sum(one.group.behind() for one in list(self._backfills))

    def backfills(self) -> dict[str, BackfillProgress]:
        """How far the views are that are not through history yet. Never waits: it may be a moment old."""
        return {view.name: one.progress for one in list(self._backfills) for view in one.views}

    def state(self, name: str) -> ViewState:
        """What the nodes of a view have done so far, and what they keep."""
        with self._turns:
            return state(self._main, self._views[name])

    def errors(self) -> dict[str, Exception]:
        """The views that have stopped, and why."""
        with self._turns:
            return {name: view.error for name, view in self._views.items() if view.error is not None}

    # -- the loop -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        use(self.memory)
        try:
            while not self._closed:
                self._wake.clear()
                with self._lock:
                    worked = self._try_to_advance()
                    if worked or self._unread is not None:
                        self._progress.notify_all()
                    if self._unread is not None:
                        self._progress.wait_for(lambda: self._closed, limits.UNREAD_RETRY_S)
                        continue
                if worked:
                    if self._turns.waiting:
                        machine.sleep(0.0002)
                else:
                    self._wake.wait(self._sleep_s())
        except BaseException as error:
            with self._lock:
                self._failure = error
                self._progress.notify_all()

    def _try_to_advance(self) -> bool:
        """As `_advance`; where the log could not be read those who wait are told why, and it is tried again."""
        self._unread = None
        try:
            return self._advance()
        except UnreadError as error:
            self._unread = error
            return False

    def _advance(self) -> bool:
        """Run one epoch of whoever is behind; whether there was anything to do."""
        if self._closed:
            return False
        if self._retracing.left:
            self._retrace()
            return True
        clock, history = self.now(), self._backfills and self._main.reached(self._main.replay_ends)
        if self._others and history and self._backfill(clock):
            return True
        begun = machine.perf_counter()
        self._others = self._step(clock)
        self._took_s, self._others_at = machine.perf_counter() - begun, begun if self._others else self._others_at
        return self._others or (bool(history) and self._backfill(clock))

    def _step(self, clock: int) -> bool:
        """An epoch of all views, if it would change anything."""
        timeout = self._main.next_timeout()
        if not self._main.behind() and (timeout is None or clock < timeout) and self.epoch:
            return False
        number = self._epochs.after(self.epoch)
        self._over(number, clock, self._main.step(number, clock))
        return True

    def _retrace(self) -> None:
        """An epoch that the journal has, or a part of it."""
        rows, cut = self._retracing.step(self._main, self.now())
        epoch, clock = (self.epoch, self._clock) if cut is None else (cut.epoch, cut.clock)
        self._over(epoch, clock, rows, again=True)

    def _over(self, epoch: int, clock: int, rows: int, *, again: bool = False) -> None:
        """The epoch has taken so many rows; record it, unless it was recorded once, and write what it brought."""
        if not again:
            self._epochs.record(epoch, clock, self.epoch, rows, partial(news, self._main), digests(self._main))
        self.epoch, self._clock = epoch, clock
        self.rows += rows
        self._after_epoch()
        self._main.write_outputs(clock)

    def _backfill(self, clock: int) -> bool:
        """A stretch of one view through history; at the end of it, let the view join the others."""
        self._others = False
        backfill = next((one for one in self._backfills if one.ready(self._main)), None)
        if backfill is None:
            return False
        self._clock = clock
        stretch_s = stretch(self._took_s, machine.perf_counter() - self._others_at)
        self._backfills[:] = [*(one for one in self._backfills if one is not backfill), backfill]  # never without it
        done = backfill.step(self._main, self.epoch, clock, stretch_s) and not backfill.replaced
        if done:
            self._backfills.remove(backfill)
            backfill.join(self._main, self.epoch, clock)
            self._epochs.join(backfill.views)
            self.recorder.want(backfill.views if backfill.progress.done else ())
        self._after_epoch()
        for view in backfill.views if done else ():
            self._main.write_output(view, clock)
        return True

    def _between(self, act: Callable[[int, int], None]) -> None:
        """An epoch in which no row comes, but `act` changes views, given its number and clock; none if it raises."""
        epoch, clock, before, self._main.changed = self._epochs.after(self.epoch), self.now(), set(self._main.views), {}
        act(epoch, clock)
        self._epochs.join(view for view in self._main.views if view not in before)
        self.recorder.want(view for view in self._main.views if view not in before)
        self._over(epoch, clock, 0)

    def _outputs(self) -> list[Output]:
        return [view.output for view in self._views.values() if view.output is not None and view.error is None]

    def _sleep_s(self) -> float | None:
        timeout = self._main.next_timeout()
        if self._backfills:
            retry = self.now() + int(limits.UNREAD_RETRY_S * 1e6)
            timeout = retry if timeout is None else min(timeout, retry)
        return None if timeout is None else min(threading.TIMEOUT_MAX, max(0.001, (timeout - self.now()) / 1e6))

    def now(self) -> int:
        """The clock, which never goes back. Units: microseconds since 1970."""
        return max(self._clock, self._options.clock())

    def _unsubscribe(self, subscription: Subscription) -> None:
        with self._turns:
            for view in self._views.values():
                if subscription in view.subscriptions:
                    view.subscriptions.remove(subscription)
                    view.refresh_listeners()

    def _check(self) -> None:
        if self._failure is not None:
            raise OperationalError(
                "the engine has stopped", detail=f"{type(self._failure).__name__}: {self._failure}."
            ) from self._failure
        if self._closed:
            raise InterfaceError("the connection is closed")
