"""Live queries: the changes of a view, or of a query that is kept for as long as somebody listens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from ..engine.changelog import changelog
from ..engine.delta import Delta
from ..engine.subscription import Subscription
from ..storage.errors import ProgrammingError
from .database import Database
from .evolving import Unnamed
from .pacing import Pace, Paced
from .plan_keys import key_of
from .relations import Relation
from .resuming import Resumed
from .statements import Select, Subscribe
from .time_to_live import OPTION

_numbers = itertools.count()


@dataclass
class Live:
    """A running subscription: the changes of a query until it is closed."""

    subscription: Subscription
    schema: pa.Schema
    types: tuple[str, ...]
    key: tuple[str, ...] | None
    weights: bool
    on_close: Callable[[], None]
    paced: Paced

    def next(self, timeout_s: float | None) -> pa.Table | None:
        """The changes of the next epoch that has any; None after the timeout, or once closed."""
        return self._table(self.paced.next(timeout_s))

    def rest(self) -> pa.Table | None:
        """What is held until its interval ends; None where that is nothing."""
        return self._table(self.paced.rest())

    @property
    def ends(self) -> bool:
        """Whether it ends by itself."""
        return self.paced.pace.ends

    @property
    def ended(self) -> bool:
        """Whether no more changes will come."""
        return self.subscription.closed

    def close(self) -> None:
        """End it; once or more, from any thread."""
        self.subscription.close()
        self.on_close()

    def _table(self, change: tuple[int, Delta] | None) -> pa.Table | None:
        return None if change is None else pa.Table.from_batches([self._batch(*change)])

    def _batch(self, epoch: int, delta: Delta) -> pa.RecordBatch:
        if not self.weights:
            return changelog(epoch, delta, self.key)
        columns = [pa.array([epoch] * delta.rows, pa.int64()), pa.array(delta.weight_array())]
        return pa.RecordBatch.from_arrays(
            [*columns, *delta.batch.columns], names=["epoch", "weight", *delta.batch.schema.names]
        )


def subscribe(
    database: Database,
    query: exp.Query,
    planned: Callable[[], Unnamed],
    ends: Mapping[str, list[int]],
    *,
    snapshot: bool,
    weights: bool,
    final: bool,
    pace: Pace,
) -> Live:
    """The changes of `query` from an epoch on that covers `ends`, first its rows then if `snapshot`; told at `pace`.

    `planned` plans it, unless it is the name of a table or a materialized view, which is kept already.
    """
    own = None
    with database.lock:
        relation = None if final else _kept(database, query)
        if relation is not None:
            view, columns, key = relation.name, relation.columns, database.properties(relation.name).key
            close = _nothing
        else:
            unnamed = planned()
            view = f"(subscription {next(_numbers)})"
            own = unnamed.planned
            columns, key = own.columns, key_of(own.plan)
            database.start_unnamed(view, unnamed)
            close = _once(lambda: database.stop_unnamed(view))
    try:
        database.engine.wait(ends, [view])
        shadow = None
        if pace.as_of is not None and pace.as_of.epoch != database.engine.epoch:
            shadow = Resumed(database, view, own, pace.as_of, snapshot=snapshot)
        with database.engine.still():
            subscription = database.engine.subscribe(view, snapshot=snapshot and shadow is None)
            if shadow is not None:
                subscription.begin_with(shadow.changes())
            paced = Paced(subscription, pace, lambda: (database.engine.epoch, database.engine.now()))
            paced.begin()
    except BaseException:  # Ctrl-C while history is read leaves no view behind
        close()
        raise
    first = [("epoch", pa.int64()), ("weight", pa.int64()) if weights else ("op", pa.string())]
    schema = pa.schema([*first, *((c.name, c.arrow) for c in columns)])
    types = ("BIGINT", "BIGINT" if weights else "VARCHAR", *(c.type for c in columns))
    return Live(subscription, schema, types, key, weights, close, paced)


def refuse_kept(database: Database, statement: Select | Subscribe) -> None:
    """Raises: ProgrammingError for WITH (state_ttl = ...) of what is kept already, by a statement of its own."""
    options = statement.options if isinstance(statement, Subscribe) else {}
    if isinstance(statement, Select) and statement.emit is not None:
        options = statement.emit.options
    relation = _kept(database, statement.query)
    if relation is not None and OPTION in options:
        raise ProgrammingError(
            f'cannot set {OPTION} of "{relation.name}" here',
            detail=f"It is a {relation.kind.lower()}, whose state lives as long as its own statement says.",
            position=statement.start,
        )


def _kept(database: Database, query: exp.Query) -> Relation | None:
    """The relation whose rows are kept already, if the query just names it."""
    name = bare_name(query)
    relation = None if name is None else database.relations.get(name)
    return relation if relation is not None and relation.kept else None


def bare_name(query: exp.Query) -> str | None:
    """The relation's name if the query is just SELECT * FROM name."""
    if (
        not isinstance(query, exp.Select)
        or len(query.expressions) != 1
        or not isinstance(query.expressions[0], exp.Star)
    ):
        return None
    given = {name for name, value in query.args.items() if value}
    source = query.args.get("from_")
    if given - {"expressions", "from_"} or source is None or not isinstance(source.this, exp.Table):
        return None
    table = source.this
    plain = isinstance(table.this, exp.Identifier) and not {n for n, v in table.args.items() if v} - {"this", "alias"}
    return table.name if plain and not query.expressions[0].args.get("except_") else None


def _nothing() -> None:
    """A view that stays has nothing to close."""


def _once(act: Callable[[], None]) -> Callable[[], None]:
    done: list[bool] = []

    def call() -> None:
        if not done:
            done.append(True)
            act()

    return call
